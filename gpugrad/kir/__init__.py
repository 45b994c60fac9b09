"""Kernel IR: what one kernel does, and a program of them."""
