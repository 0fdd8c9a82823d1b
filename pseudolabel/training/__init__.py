"""Training: from clips and targets to a model."""
