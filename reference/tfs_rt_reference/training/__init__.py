"""Training: what a run is asked for, its material, its objective, its state on disk, its validation and its loop."""
