"""gpugrad: tf.gradients on NumPy and CUDA, without TensorFlow."""

import importlib
from typing import Any

from gpugrad import api, control, messages, ops, version
from gpugrad.runtime import eager

__version__ = version.VERSION

ops.install()
control.install()
eager.install()

_names = api.names("gg")
globals().update(_names)

# These read the registry and the table, so they come after both.
_MODULES = (
    "bitwise",
    "debugging",
    "image",
    "initializers",
    "linalg",
    "math",
    "nn",
    "random",
    "raw_ops",
    "signal",
    "summary",
    "test",
    "train",
)
for _module in _MODULES:
    importlib.import_module(f"gpugrad.{_module}")

__all__ = sorted([*_names, "__version__", *_MODULES])


def __getattr__(name: str) -> Any:
    if name == "compat":  # TensorFlow 1's names, made when somebody asks for them
        importlib.import_module("gpugrad.compat.v1")
        return globals()["compat"]
    if name in messages.PUBLIC:
        return messages.message(name)
    return api.missing(__name__, globals())(name)
