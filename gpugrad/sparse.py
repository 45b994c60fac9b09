"""Sums of rows that indices pick, under TensorFlow's names."""

from typing import Any

from gpugrad import api
from gpugrad.nearest import missing

_names = api.names("gg", "sparse")
globals().update(_names)
__all__ = sorted(_names)


def __getattr__(name: str) -> Any:
    return missing(__name__, globals())(name)
