"""`tfs-rt eval`: results scored against ground truth."""
