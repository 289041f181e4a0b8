"""SVG charts: drawing, axes, labels."""
