"""The search for a model's best recipes: `tfs-rt tune`."""
