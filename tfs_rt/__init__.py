"""tfs-rt: few-step TFS-Diff without PyTorch. Research use only; not a medical device."""

import os

__version__ = "0.1.0"

# ONNX Runtime 1.29 and later reports its use to Microsoft from the moment of its import. Python runs this file before
# any other of the package, in every process of a run; so whatever imports onnxruntime, it finds the report disabled.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
