"""TensorFlow 1's names: ``import gpugrad.compat.v1 as tf``."""

from typing import Any

from gpugrad import api, data, messages, raw_ops, train
from gpugrad.nearest import missing
from gpugrad.version import VERSION

_names = api.tree("v1", __name__)
_names |= {"data": data, "raw_ops": raw_ops, "train": train}
_names["__version__"] = VERSION
globals().update(_names)

__all__ = sorted(_names)


def __getattr__(name: str) -> Any:
    if name in messages.PUBLIC:
        return messages.message(name)
    return missing(__name__, globals())(name)
