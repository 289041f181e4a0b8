"""Classical fusion of three registered images of one size: BitonicX and CTSR."""
