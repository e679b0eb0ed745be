"""Integrations with other software: spandrel and ONNX Runtime."""
