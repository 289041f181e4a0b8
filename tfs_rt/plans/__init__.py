"""FP16 engines: built from a bundle's half graph, kept in a private cache."""
