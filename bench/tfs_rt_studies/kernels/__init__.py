"""Timings of the CPU kernels."""
