"""CUDA kernels and the reverse loop in CUDA graphs, around any network on an NVIDIA GPU."""
