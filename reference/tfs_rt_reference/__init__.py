"""The PyTorch reference: network, diffusion, loss, training, checkpoints."""
