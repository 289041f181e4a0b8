"""Training sets: preparation, splits, groups."""
