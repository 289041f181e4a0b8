"""Training: configuration, samples, loss, state on disk, validation and the loop."""
