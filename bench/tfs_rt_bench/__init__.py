"""Latency, fidelity and accuracy, through the public API."""
