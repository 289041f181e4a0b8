"""docs/studies/uncertainty.md."""
