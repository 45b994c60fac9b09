"""The CPU backend: straight-line Python over NumPy."""
