"""docs/studies/accuracy.md and the accuracy on a model's card."""
