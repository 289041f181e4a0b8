"""BitonicX, a classical fusion method."""
