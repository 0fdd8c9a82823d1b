"""Training: clips and targets become a model."""
