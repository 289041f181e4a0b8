"""docs/studies/guards.md."""
