"""Volumes in the formats of other programs, read by the rules for NIfTI."""
