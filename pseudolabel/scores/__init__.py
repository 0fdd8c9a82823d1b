"""Scores: what a model answered, by clip and window, and how good it is."""
