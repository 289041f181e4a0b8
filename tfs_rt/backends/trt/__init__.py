"""Backends `tensorrt` and `tensorrt-rtx`: FP16 engines, built once and kept in the cache."""
