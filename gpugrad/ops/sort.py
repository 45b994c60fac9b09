"""Sorting: top_k, sort, argsort."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import axis_in, rank_of, shape_of, size_of

family = OpFamily()

# --- TopKV2 -------------------------------------------------------------------------


def _top_k_infer(op: Operation) -> Any:
    x, k = op.inputs
    known = values.constant_value(k)
    count = None if known is None else int(known)
    index = op.attrs["index_type"]
    if x._shape is None:
        return ((x.dtype, None), (index, None))
    if len(x._shape) == 0:
        raise ValueError("Shape must be at least rank 1 but is rank 0")
    last = x._shape[-1]
    if count is not None and (count < 0 or (last is not None and last < count)):
        raise ValueError(f"input must have last dimension >= k = {count} but is {last}")
    shape = (*x._shape[:-1], count)
    return ((x.dtype, shape), (index, shape))


def _top_k(xp: Any, outs: Any, x: Any) -> None:
    """x [rows, n] into the greatest [rows, k] and where they stood, lowest first."""
    best, places = outs
    count = x.shape[1]
    # Backwards twice: a stable sort then leaves equal ones in their order.
    order = xp.argsort(x[:, ::-1], axis=1, kind="stable")[:, ::-1][:, : best.shape[1]]
    order = count - 1 - order
    best[...] = xp.take_along_axis(x, order, axis=1)
    places[...] = order


def _top_k_lower(b: Builder, site: Site) -> Sequence[View]:
    x = site.inputs[0]
    (count,) = b.integers(site.inputs[1])
    if not 0 <= count <= x.shape[-1]:
        raise ValueError(
            f"input must have at least k = {count} columns: {list(x.shape)}"
        )
    rows = prod(x.shape[:-1])
    flat = b.reshape(x, (rows, x.shape[-1]))
    outs = [(dtype, (rows, count)) for dtype in site.dtypes]
    found = b.call("top_k", _top_k, [flat], outs)
    return [b.reshape(view, (*x.shape[:-1], count)) for view in found]


family.op(
    "TopKV2",
    (Input("input"), Input("k", attr="Tk", default=dtypes.int32, static=True)),
    attrs={"sorted": True, "index_type": dtypes.int32},
    infer=_top_k_infer,
    lower=_top_k_lower,
)


@family.gradient("TopKV2")
def _top_k_grad(op: Operation, dy: Tensor, _: Any) -> Any:
    x, places = op.inputs[0], op.outputs[1]
    graph, apply = op.graph, op.graph.apply
    if places.dtype is not dtypes.int32:
        places = apply("Cast", places, DstT=dtypes.int32)
    shape, chosen = shape_of(x, graph=graph), shape_of(places, graph=graph)
    size = size_of(x, graph=graph)
    # Places counted through the whole input: those of row r begin at r * columns.
    columns = shape[-1]
    flat = apply("Reshape", places, apply("Pack", [-1, chosen[-1]], axis=0))
    starts = apply("Range", 0, size, apply("Maximum", columns, 1))
    flat = apply("Reshape", flat + apply("ExpandDims", starts, -1), [-1, 1])
    total = apply("Pack", [size], axis=0)
    spread = apply("ScatterNd", flat, apply("Reshape", dy, [-1]), total)
    return [apply("Reshape", spread, shape), None]


TopKV2 = namedtuple("TopKV2", ["values", "indices"])


def top_k(
    input: Any,
    k: Any = 1,
    sorted: bool = True,
    index_type: Any = dtypes.int32,
    name: str | None = None,
) -> Any:
    """(values, indices): the ``k`` greatest along the last axis, the greatest first.

    Of equal elements the first ones are taken. The gradient goes to the chosen ones.
    """
    found = apply_op(
        "TopKV2", input, k, sorted=sorted, index_type=index_type, name=name
    )
    return TopKV2(*found)


# --- sort, argsort ------------------------------------------------------------------


def _ordered(value: Any, axis: int, direction: str, which: int, dtype: Any) -> Tensor:
    """Output ``which`` of TopKV2 over the whole ``axis``, in the asked direction."""
    if direction not in ("ASCENDING", "DESCENDING"):
        raise ValueError(
            f"direction must be ASCENDING or DESCENDING, not {direction!r}."
        )
    x = convert_to_tensor(value, name="values")
    perm = _last(x, axis)
    if perm is not None:
        x = apply_op("Transpose", x, perm)
    # Greatest first of what falls where x rises: of integers ~x, which never overflows.
    turn = "Invert" if x.dtype.is_integer else "Neg"
    ascending = direction == "ASCENDING"
    if ascending:
        x = apply_op(turn, x)
    size = x.shape[-1]
    count: Any = shape_of(x)[-1] if size is None else size
    result = apply_op("TopKV2", x, count, index_type=dtype)[which]
    if ascending and which == 0:
        result = apply_op(turn, result)
    if perm is not None:
        result = apply_op("Transpose", result, perm)
    return result


def _last(x: Tensor, axis: int) -> Any:
    """The permutation that swaps ``axis`` with the last; None if it is the last."""
    rank = x.shape.rank
    if rank is None:
        if axis == -1:
            return None
        last = rank_of(x) - 1
        numbers = apply_op("Range", 0, last + 1, 1)
        place = axis if axis >= 0 else last + 1 + axis
        swapped = apply_op("SelectV2", apply_op("Equal", numbers, last), place, numbers)
        return apply_op("SelectV2", apply_op("Equal", numbers, place), last, swapped)
    place = axis_in(axis, rank)
    if place == rank - 1:
        return None
    perm = list(range(rank))
    perm[place], perm[-1] = perm[-1], perm[place]
    return perm


def sort(
    values: Any, axis: int = -1, direction: str = "ASCENDING", name: str | None = None
) -> Tensor:
    """``values`` sorted along ``axis``. Differentiable: a permutation."""
    with name_scope(name, "sort", [values]):
        return _ordered(values, axis, direction, 0, dtypes.int32)


def argsort(
    values: Any,
    axis: int = -1,
    direction: str = "ASCENDING",
    stable: bool = False,
    name: str | None = None,
) -> Tensor:
    """The indices, int32, that sort ``values`` along ``axis``. Always stable."""
    with name_scope(name, "argsort", [values]):
        return _ordered(values, axis, direction, 1, dtypes.int32)


@family.numpy_function(np.sort)
def _numpy_sort(a: Any, axis: int = -1) -> Tensor:
    return sort(a, axis)


@family.numpy_function(np.argsort)
def _numpy_argsort(a: Any, axis: int = -1) -> Tensor:
    return argsort(a, axis)
