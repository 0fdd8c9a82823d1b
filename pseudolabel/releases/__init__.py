"""Releases: enhanced labels and models as folders that others can use, check, compare and cite."""
