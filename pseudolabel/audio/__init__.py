"""Audio: recordings, the clip store, front ends, synthesis."""
