"""File formats: each module reads one into a `Picture`, and writes it if results may be in it."""
