"""Checkpoint files: read without running pickle's code, checked, recognised."""
