"""Kernels in Triton. Imported when a kernel is first wanted, as Triton itself is."""
