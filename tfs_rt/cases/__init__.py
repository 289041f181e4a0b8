"""Cases: which files belong together, and whether they fit."""
