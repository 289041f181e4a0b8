"""File formats: each reads bytes into a `Picture`; some also write results."""
