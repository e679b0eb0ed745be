"""Operations, one per file: naive reference and eager implementation; Triton kernels in a subpackage."""
