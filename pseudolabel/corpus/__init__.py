"""Corpora with known truth: isolated sounds, scenes mixed from them, and a careless annotator who labels the scenes."""
