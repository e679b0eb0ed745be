"""CPU kernels in C++ and their PyTorch operators."""
