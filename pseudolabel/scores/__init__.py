"""Scores: a model's output by clip and window, and metrics of its quality."""
