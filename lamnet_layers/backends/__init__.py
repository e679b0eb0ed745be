"""Backend selection, eager implementation and operators of the Triton kernels."""
