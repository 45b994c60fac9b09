"""gpugrad: tf.gradients on NumPy and CUDA, without TensorFlow."""

from typing import Any

from gpugrad import api, control, ops
from gpugrad.runtime import eager
from gpugrad.version import VERSION as __version__

ops.install()
control.install()
eager.install()

_names = api.names("gg")
globals().update(_names)

from gpugrad import (  # noqa: E402 (these read the registry and the table)
    bitwise,
    debugging,
    initializers,
    linalg,
    math,
    nn,
    random,
    raw_ops,
    test,
    train,
)

__all__ = sorted(
    [*_names, "__version__", "bitwise", "debugging", "initializers", "linalg", "math"]
    + ["nn", "random", "raw_ops", "test", "train"]
)


def __getattr__(name: str) -> Any:
    return api.missing(__name__, globals())(name)
