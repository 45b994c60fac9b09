"""gpugrad: tf.gradients on NumPy and CUDA, without TensorFlow."""

import importlib
from typing import Any

from gpugrad import api, control, messages, ops, version
from gpugrad.data import iterator
from gpugrad.nearest import missing
from gpugrad.runtime import eager

__version__ = version.VERSION

ops.install()
control.install()
iterator.family.install()
eager.install()

_names = api.names("gg")
globals().update(_names)

# These read the registry and the table, so they come after both.
_MODULES = (
    "bitwise",
    "data",
    "debugging",
    "image",
    "initializers",
    "linalg",
    "math",
    "nn",
    "random",
    "raw_ops",
    "signal",
    "sparse",
    "summary",
    "test",
    "train",
)
# These come when somebody asks for them.
_LATER = {
    "compat": "compat.v1",
    "layers": "layers",
    "losses": "losses",
    "rnn": "rnn",
}
for _module in _MODULES:
    importlib.import_module(f"gpugrad.{_module}")

__all__ = sorted([*_names, "__version__", *_MODULES])


def __getattr__(name: str) -> Any:
    if name in _LATER:
        importlib.import_module(f"gpugrad.{_LATER[name]}")
        return globals()[name]
    if name in messages.PUBLIC:
        return messages.message(name)
    return missing(__name__, globals())(name)
