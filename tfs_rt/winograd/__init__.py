"""The network on a CPU by kernels of our own, made for the very processor that runs them."""
