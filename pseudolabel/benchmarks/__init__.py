"""Benchmarks: what this machine can do, stage by stage, beside the plain way of doing it."""
