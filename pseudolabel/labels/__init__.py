"""Labels: which sounds each clip is labelled with, and which labels an ontology lets us add."""
