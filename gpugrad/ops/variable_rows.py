"""Rows of variables on arrays: what gathers, scatters and sparse optimizers call."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from gpugrad.errors import InvalidArgumentError
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import InPlace
from gpugrad.kir.space import View
from gpugrad.ops.indices import check_indices, check_vectors
from gpugrad.ops.scatter_rows import combine
from gpugrad.ops.static import on_host

Array = Any

# ufuncs that scatter_rows.combine knows, and what it calls them.
_COMBINED = {
    "add": "sum",
    "subtract": "sum",
    "multiply": "prod",
    "maximum": "max",
    "minimum": "min",
}


def gather_rows(xp: Any, outs: Any, params: Array, indices: Array) -> None:
    """``params[indices]``."""
    check_indices(xp, indices, params.shape[0], indices.shape)
    if on_host(xp) and outs[0].size:
        # Already checked; only modes other than "raise" write straight into out.
        xp.take(params, indices, axis=0, out=outs[0], mode="clip")
    else:
        outs[0][...] = params[indices]


def check_scatter(
    xp: Any, params: Array, indices: Array, updates: Array, how: str, nd: bool
) -> None:
    """All that a scatter can refuse."""
    if nd:
        *places, depth = indices.shape
        vectors = indices.reshape(prod(places), depth)
        check_vectors(xp, vectors, params.shape[:depth])
    else:
        places, depth = list(indices.shape), 1
        check_indices(xp, indices, params.shape[0], indices.shape)
    wanted = (*places, *params.shape[depth:])
    if updates.shape not in (wanted, ()):
        raise InvalidArgumentError(
            None,
            None,
            f"updates must have the shape {list(wanted)} or none, not "
            f"{list(updates.shape)}",
        )


def scatter(
    xp: Any,
    outs: Any,
    params: Array,
    indices: Array,
    updates: Array,
    how: str,
    nd: bool,
) -> None:
    """``params`` with ``updates`` set, or joined by the ufunc ``how``, at indices.

    ``outs[0]`` may be ``params`` itself, which then changes in place.
    """
    (out,) = outs
    check_scatter(xp, params, indices, updates, how, nd)
    if not xp.may_share_memory(out, params):
        out[...] = params
    where: Any = indices
    if nd:
        where = tuple(indices[..., axis] for axis in range(indices.shape[-1]))
    if how == "set":
        out[where] = updates
    elif how in _COMBINED and not nd and updates.shape and out.flags.c_contiguous:
        if how == "subtract":
            updates = -updates
        width = out[0].size if out.shape[0] else 0
        rows = updates.reshape(indices.size, width)
        table = out.reshape(out.shape[0], width)
        combine(xp, table, _COMBINED[how], indices.reshape(-1), rows)
    else:
        getattr(xp, how).at(out, where, updates)


def add_scatter(
    b: Builder, old: View, indices: View, updates: View, how: str, nd: bool = False
) -> View:
    """The call of ``scatter``, which may change a variable in place."""
    (new,) = b.call(
        "scatter",
        scatter,
        [old, indices, updates],
        [(old.dtype, old.shape)],
        in_place=InPlace(0, check_scatter),
        how=how,
        nd=nd,
    )
    return new


def sum_equal_rows(xp: Any, outs: Any, rows: Array, indices: Array, size: int) -> None:
    """For each row, the sum of all rows that have its index: [m, ...] of [m, ...]."""
    (out,) = outs
    check_indices(xp, indices, size, indices.shape)
    _, places = xp.unique(indices, return_inverse=True)
    places = places.reshape(-1)
    totals = xp.zeros_like(rows)
    combine(xp, _flat(totals), "sum", places, _flat(rows))  # halves in float32
    out[...] = totals[places]


def _flat(rows: Array) -> Array:
    return rows.reshape(rows.shape[0], -1) if rows.size else rows.reshape(0, 1)


def add_sum_equal_rows(b: Builder, rows: View, indices: View, size: int) -> View:
    """The call of ``sum_equal_rows``."""
    (total,) = b.call(
        "sum_equal_rows",
        sum_equal_rows,
        [rows, indices],
        [(rows.dtype, rows.shape)],
        size=size,
    )
    return total


def add_gather_rows(b: Builder, params: View, indices: View) -> Sequence[View]:
    """The call of ``gather_rows``."""
    shape = indices.shape + params.shape[1:]
    return b.call(
        "gather_rows", gather_rows, [params, indices], [(params.dtype, shape)]
    )
