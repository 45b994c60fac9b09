"""How the results of a fold are joined, started and rounded, as C text."""

from __future__ import annotations

from typing import Final

from gpugrad.backends.cupy.layout import identity
from gpugrad.backends.cupy.literals import literal, storage
from gpugrad.dtypes import DType
from gpugrad.kir.scalar import Reduce

_JOINS: Final = {
    "sum": "JoinSum",
    "prod": "JoinProduct",
    "max": "JoinMaximum",
    "min": "JoinMinimum",
    "all": "JoinAll",
    "any": "JoinAny",
}
# What the folds of numbers are among truth values.
_OF_BOOL: Final = {"sum": "any", "max": "any", "prod": "all", "min": "all"}


def join(fold: Reduce) -> str:
    """The struct of kernels/reduce.cuh that joins two results of ``fold``."""
    kind = _OF_BOOL.get(fold.kind, fold.kind) if fold.dtype.is_bool else fold.kind
    dtype = fold.dtype
    impossible = kind in ("all", "any") and not dtype.is_bool
    if impossible or (kind in ("max", "min") and dtype.is_complex):
        raise TypeError(
            f"The reduction {fold.kind!r} does not take {dtype.name} on CUDA. "
            "Cast its argument."
        )
    return _JOINS[kind]


def start(fold: Reduce) -> str:
    """The identity of ``fold`` as C text."""
    join(fold)  # which refuses what has none
    return literal(identity(fold).value, fold.dtype)


def rounded(value: str, dtype: DType) -> str:
    """A fold's result as if it had been in memory, which is where halves round."""
    half = dtype.is_floating and dtype.itemsize == 2
    return f"widen(narrow<{storage(dtype)}>({value}))" if half else value
