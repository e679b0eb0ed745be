"""Triton kernels and their custom operators, imported on first use."""
