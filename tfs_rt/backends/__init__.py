"""Backends: one file or folder for each way to run a network, and one entry in `registry`."""
