"""The CUDA backend: generated kernels, launched through CuPy."""
