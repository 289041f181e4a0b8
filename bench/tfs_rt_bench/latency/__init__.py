"""Latency, fidelity and accuracy measured: `tfs-rt bench`."""
