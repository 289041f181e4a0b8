"""Model bundles: the files of a model, and the checks before one is trusted."""
