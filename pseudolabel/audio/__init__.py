"""Audio: recordings of any format, the clip store that they become, and front ends."""
