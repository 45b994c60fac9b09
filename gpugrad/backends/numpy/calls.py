"""Library calls for which NumPy has one function, called without a way round.

A product is one call, and what reads it comes after all of it. Rows in blocks, each
with what reads it while it is in cache, were not faster: each block packs the right
factor again. Milliseconds on two cores, NumPy calls, OpenBLAS 0.3.31:

    what reads it   product            rows 32    64   128   256   whole   without
    tanh(x + b)     256 x 1024 x 1024     4.94  3.45  3.18     -    2.91      2.57
    tanh(x + b)     512 x 256 x 1024      2.82  2.10  2.08  1.82    1.80      1.30
    w - rate * x    1024 x 256 x 1024     5.85  4.49  4.39  4.03    3.82      2.71
    w - rate * x    1024 x 512 x 256      2.76  2.01  1.84  1.65    1.44      1.29
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gpugrad.dtypes import complex64, complex128, float32, float64
from gpugrad.kir.program import Call


def _matmul(call: Call) -> Any:
    """numpy.matmul, unless halves are to be summed in float32, or there is no sum."""
    a, b = call.args
    (out,) = call.outs
    attrs = dict(call.attrs)
    if attrs.get("conj_a") or attrs.get("conj_b"):
        return None
    if out.dtype.is_floating and out.dtype.itemsize == 2:
        return None
    if a.shape[-1] == 0 or 0 in out.shape or a.rank < 2 or b.rank < 2:
        return None
    return np.matmul


# Bytes of a product that ndarray.dot makes faster than matmul: its call takes 0.3 us
# where matmul's takes 1.2, but it fills the product with zeros before.
_DOT_BYTES: Final = 1 << 15


def is_dot(call: Call) -> bool:
    """True for a small product that ``a.dot(b, out)`` computes as matmul does."""
    (out,) = call.outs
    dtypes = {v.dtype for v in (*call.args, out)}
    return (
        direct(call) is np.matmul
        and out.rank == 2
        and len(dtypes) == 1
        and dtypes <= _BLAS
        and out.is_contiguous
        and out.size * out.dtype.itemsize <= _DOT_BYTES
        and all(v.is_contiguous or v.transpose((1, 0)).is_contiguous for v in call.args)
    )


# Rows, and operations: between these OpenBLAS 0.3.31 takes 68 us for 32 rows of 512 by
# a turned matrix for 192 results, and 44 for the same product the other way round, 5
# more to turn it back; 382 and 229 for 8 rows of 1024 by 1024. With fewer operations,
# more rows, or rows short beside their number, it gains nothing.
_FEW_ROWS: Final = (4, 32)
_TURNED_FLOPS: Final = 1 << 21
_ROWS_A_TERM: Final = 8


def is_turned(call: Call) -> bool:
    """True for ``a @ b.T`` of few rows, which ``(b @ a.T).T`` computes faster."""
    if direct(call) is not np.matmul:
        return False
    (a, b), (out,) = call.args, call.outs
    if out.rank != 2 or a.rank != 2 or b.rank != 2 or not out.is_contiguous:
        return False
    if not (a.dtype is b.dtype is out.dtype and out.dtype in (float32, float64)):
        return False
    (rows, terms), columns = a.shape, b.shape[1]
    return (
        _FEW_ROWS[0] <= rows <= _FEW_ROWS[1]
        and terms >= _ROWS_A_TERM * rows
        and 2 * rows * terms * columns >= _TURNED_FLOPS
        and a.strides[1] == b.strides[0] == 1
        and a.strides[0] >= terms
        and b.strides[1] >= terms
    )


_BLAS: Final = {float32, float64, complex64, complex128}
_DIRECT: Final[dict[str, Callable[[Call], Any]]] = {"matmul": _matmul}


def direct(call: Call) -> Any:
    """A function ``f(*args, out)`` that does the call; None if there is none."""
    choose = _DIRECT.get(call.name)
    return None if choose is None else choose(call)


def needs_no_copy(call: Call) -> bool:
    """True if BLAS takes the matrices as they lie, so that the call needs no memory."""
    return all(
        view.rank > 1 and 1 in view.strides[-2:] and min(view.strides) >= 0
        for view in (*call.args, *call.outs)
    )
