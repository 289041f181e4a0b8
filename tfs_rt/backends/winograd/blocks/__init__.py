"""What the operations are made of: a matrix product, a strip of an image, Winograd's transforms, statistics."""
