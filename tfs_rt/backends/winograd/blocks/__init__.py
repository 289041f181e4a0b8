"""Blocks that the operations call: a matrix product, a strip of an image, Winograd's transforms, statistics."""
