"""Image measures and confidence intervals."""
