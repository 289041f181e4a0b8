"""The page of a bench: HTML and SVG."""
