"""The operations of a network's program: their fields, and the code that computes them."""
