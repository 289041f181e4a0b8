"""CTSR, a classical fusion method by sparse codes."""
