"""Sums over rows and columns of large arrays, faster and more exact than add.reduce.

A sum is a product with ones, which BLAS does several times as fast, in blocks so small
that BLAS starts no threads and that rounding errors stay below those of NumPy's
pairwise sum. The blocks' sums are added in the same way, the last few by NumPy.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np

# Elements that one BLAS call adds up. OpenBLAS starts threads from 9,216.
_BLOCK: Final = 8192
# Elements of one sum that one BLAS call adds up, for exactness.
_RUN: Final = 512
# Rows from which sum_columns() is faster than add.reduce.
_FEW_ROWS: Final = 32


@lru_cache(maxsize=64)
def _ones(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    return np.ones(shape, dtype)


def sum_rows(x: np.ndarray, out: np.ndarray) -> None:
    """``x`` summed over its last axes into ``out``, the rest; both contiguous."""
    rows = out.size
    length = x.size // rows
    if length > _RUN:
        np.add.reduce(x.reshape(rows, length), axis=1, out=out.reshape(rows))
        return
    step = min(rows, _BLOCK // length)
    whole = rows // step * step
    ones = _ones((length, 1), x.dtype)
    flat, sums = x.reshape(rows, length), out.reshape(rows, 1)
    np.matmul(
        flat[:whole].reshape(-1, step, length),
        ones,
        sums[:whole].reshape(-1, step, 1),
    )
    if whole < rows:
        np.matmul(flat[whole:], ones, sums[whole:])


def sum_columns(x: np.ndarray, out: np.ndarray) -> None:
    """``x`` summed over its first axes into ``out``, the rest; both contiguous."""
    columns = out.size
    rows = x.size // columns
    flat, into = x.reshape(rows, columns), out.reshape(columns)
    step = min(rows, _RUN, _BLOCK // columns)
    if step < _FEW_ROWS:
        np.add.reduce(flat, axis=0, out=into)
        return
    blocks, rest = divmod(rows, step)
    sums = np.empty((blocks + (rest > 0), 1, columns), x.dtype)
    whole = blocks * step
    ones = _ones((1, step), x.dtype)
    np.matmul(ones, flat[:whole].reshape(blocks, step, columns), sums[:blocks])
    if rest:
        np.matmul(ones[:, :rest], flat[whole:], sums[blocks])
    sum_columns(sums, out)
