"""Latency, fidelity and accuracy, through the public API."""

import tfs_rt  # noqa: F401 - before any module here: it disables the report that ONNX Runtime makes of its use
