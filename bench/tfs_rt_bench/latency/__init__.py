"""`tfs-rt bench`: latency with fidelity and accuracy."""
