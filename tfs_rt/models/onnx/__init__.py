"""ONNX files, read and checked without the onnx package."""
