"""Adding rows up by index: what scatter and segment ops run."""

from __future__ import annotations

from typing import Any

from gpugrad.ops.static import on_host

# The ufunc of each way to combine rows that have one index.
UFUNCS = {"sum": "add", "prod": "multiply", "max": "maximum", "min": "minimum"}
# Elements whose places are worked out at a time.
_AT_A_TIME = 1 << 15
# Elements of a row, and of all rows, from which rows are combined whole.
_LONG_ROW, _MANY = 32, 1 << 12
# What CuPy has atomic updates for.
_ATOMIC = ("float32", "float64", "int32", "uint32", "uint64")


def combine(xp: Any, out: Any, kind: str, index: Any, rows: Any) -> None:
    """``out[index[i]] = ufunc(out[index[i]], rows[i])`` for all i, also repeated ones.

    ``out`` is [n, d], ``rows`` [m, d], ``index`` [m] within 0 to n - 1. Halves are
    summed and multiplied in float32.
    """
    if index.size == 0 or out.shape[-1] == 0:
        return
    ufunc = getattr(xp, UFUNCS[kind])
    if out.dtype.itemsize == 2 and out.dtype.kind not in "iu":
        wide = out.astype(xp.float32)
        combine(xp, wide, kind, index, rows.astype(xp.float32))
        out[...] = wide.astype(out.dtype)
    elif on_host(xp):
        _combine_on_host(xp, out, ufunc, index, rows)
    elif kind == "sum" and out.dtype.name in ("int64", "complex64", "complex128"):
        # Sums of int64 are those of uint64; a complex sum is two real ones.
        part = {"int64": "uint64", "complex64": "float32"}.get(
            out.dtype.name, "float64"
        )
        ufunc.at(out.view(part), index, xp.ascontiguousarray(rows).view(part))
    elif kind == "prod" or out.dtype.name not in _ATOMIC:
        _combine_in_rounds(xp, out, ufunc, index, rows)
    else:
        ufunc.at(out, index, rows)


def _combine_on_host(xp: Any, out: Any, ufunc: Any, index: Any, rows: Any) -> None:
    """Flat arrays of real numbers part by part; all others sorted, by reduceat.

    The parts took a third to a fifth of that for rows of 8 to 512 elements.
    """
    width = out.shape[-1]
    if width == 1 and out.dtype.kind != "O":
        ufunc.at(out[:, 0], index, rows[:, 0])
        return
    if out.dtype.kind in "fiu" and out.flags.c_contiguous:
        step = max(1, _AT_A_TIME // width)
        for low in range(0, index.size, step):
            part = slice(low, low + step)
            _combine_part(xp, out, ufunc, index[part], rows[part])
        return
    order = xp.argsort(index, kind="stable")
    ordered = index[order]
    starts = xp.flatnonzero(xp.concatenate([[True], ordered[1:] != ordered[:-1]]))
    totals = ufunc.reduceat(rows[order], starts, axis=0)
    places = ordered[starts]
    out[places] = ufunc(out[places], totals)


def _combine_part(xp: Any, out: Any, ufunc: Any, index: Any, rows: Any) -> None:
    """Rows whole where they are long and few indices come again, else by element.

    512 rows of 64 took 38 us whole, 4 indices twice, and 73 by element.
    """
    count, width = rows.shape
    if width >= _LONG_ROW and rows.size >= _MANY:
        # Sorted with the place behind it, each index comes right before its next one.
        bits = count.bit_length()
        keys = (index.astype(xp.int64) << bits) | xp.arange(count)
        keys.sort()
        ordered = keys >> bits
        lost = (keys[:-1] & ((1 << bits) - 1))[ordered[1:] == ordered[:-1]]
        if lost.size * 8 <= count:
            sums = out.take(index, axis=0)
            ufunc(sums, rows, out=sums)
            out[index] = sums  # of equal indices the last one stays
            if not lost.size:
                return
            index, rows = index[lost], rows[lost]
    places = index.astype(xp.int64)[:, None] * width + xp.arange(width)
    ufunc.at(out.reshape(-1), places.reshape(-1), rows.reshape(-1))


def _combine_in_rounds(xp: Any, out: Any, ufunc: Any, index: Any, rows: Any) -> None:
    """The first row of every index, then the second, and so on: no atomics needed."""
    order = xp.argsort(index)
    ordered = index[order]
    count = xp.arange(ordered.size)
    first = xp.where(
        xp.concatenate([xp.ones(1, bool), ordered[1:] != ordered[:-1]]), count, 0
    )
    place = count - xp.maximum.accumulate(first)
    for turn in range(int(place.max()) + 1):
        now = order[place == turn]
        out[index[now]] = ufunc(out[index[now]], rows[now])
