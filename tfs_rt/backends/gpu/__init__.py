"""Our CUDA kernels and the reverse loop in CUDA graphs, around any engine on an NVIDIA GPU."""
