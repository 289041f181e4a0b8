"""NIfTI volumes, read and written."""
