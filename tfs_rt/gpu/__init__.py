"""What runs on an NVIDIA GPU around the network: pixels in, the reverse loop, pixels out."""
