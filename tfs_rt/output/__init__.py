"""The output folder: names, sidecars and the order of writing."""
