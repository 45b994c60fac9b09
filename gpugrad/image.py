"""Images, under TensorFlow's names."""

from typing import Any

from gpugrad import api

_names = api.names("gg", "image")
globals().update(_names)
__all__ = sorted(_names)


def __getattr__(name: str) -> Any:
    return api.missing(__name__, globals())(name)
