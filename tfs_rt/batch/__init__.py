"""Runs over many cases: isolated, resumable, shared between processes."""
