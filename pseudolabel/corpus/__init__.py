"""Corpora with known truth: sources of sound, scenes mixed from them, and a careless annotator of the scenes."""
