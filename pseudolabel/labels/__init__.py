"""Labels: what clips are said to contain, and which labels an ontology lets us add."""
