"""The library under the names of other versions of TensorFlow's API."""

from gpugrad.compat import v1

__all__ = ["v1"]
