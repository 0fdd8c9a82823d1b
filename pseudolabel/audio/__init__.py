"""Audio: recordings in any format, the clip store made from them, and front ends."""
