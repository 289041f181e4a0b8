"""Backend `winograd`: the network by CPU kernels of our own."""
