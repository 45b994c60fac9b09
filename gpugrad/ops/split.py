"""Splitting a tensor into pieces along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import (
    axis_in,
    known_axis,
    outputs,
    static_input,
    whole_slice,
)

family = OpFamily()

# --- Split, SplitV ------------------------------------------------------------------


def _split_infer(op: Operation) -> Any:
    axis, x = op.inputs
    count = op.attrs["num_split"]
    shape = x._shape
    place = known_axis(axis)
    if shape is not None and place is None:
        shape = (None,) * len(shape)
    elif shape is not None and place is not None:
        place = axis_in(place, len(shape), "split_dim")
        size = shape[place]
        if size is not None and size % count:
            raise ValueError(
                f"Dimension size must be evenly divisible by {count} but is {size}"
            )
        part = None if size is None else size // count
        shape = (*shape[:place], part, *shape[place + 1 :])
    return [(x.dtype, shape)] * count


def _split_lower(b: Builder, site: Site) -> Sequence[View]:
    axis, x = site.inputs
    place = axis_in(b.integers(axis)[0], x.rank, "split_dim")
    count = site.attrs["num_split"]
    if x.shape[place] % count:
        raise ValueError(
            f"Number of ways to split should evenly divide the split dimension, but "
            f"got split_dim {place} (size = {x.shape[place]}) and num_split {count}"
        )
    size = x.shape[place] // count
    return [whole_slice(x, place, i * size, size) for i in range(count)]


family.op(
    "Split",
    (
        Input("split_dim", attr=None, dtype=dtypes.int32, static=True),
        Input("value"),
    ),
    attrs={"num_split": ...},
    infer=_split_infer,
    lower=_split_lower,
)


@family.gradient("Split")
def _split_grad(op: Operation, *dys: Tensor) -> Any:
    return [None, op.graph.apply("ConcatV2", list(dys), op.inputs[0], name="concat")]


def _split_sizes(sizes: Sequence[int | None], total: int | None) -> list[int | None]:
    """The sizes with -1 worked out; ValueError if they do not add up."""
    found = list(sizes)
    if found.count(-1) > 1:
        raise ValueError(f"There can only be one -1 in the sizes of a split: {found}")
    known = sum(n for n in found if n not in (None, -1))
    if -1 in found:
        rest = None if total is None or None in found else total - known
        if rest is not None and rest < 0:
            raise ValueError(f"Cannot split {total} into sizes {found}: too large")
        found[found.index(-1)] = rest
    elif total is not None and None not in found and known != total:
        raise ValueError(
            f"can't split axis of size {total} into pieces of size {found}: "
            f"they add up to {known}"
        )
    return found


def _split_v_infer(op: Operation) -> Any:
    x, sizes, axis = op.inputs
    count = op.attrs["num_split"]
    place = known_axis(axis)
    if x._shape is None:
        return [(x.dtype, None)] * count
    if place is None:
        return [(x.dtype, (None,) * len(x._shape))] * count
    place = axis_in(place, len(x._shape), "split_dim")
    parts = values.sizes(sizes) or (None,) * count
    if len(parts) != count:
        raise ValueError(f"Length of split_sizes should be {count}, not {len(parts)}")
    return [
        (x.dtype, (*x._shape[:place], n, *x._shape[place + 1 :]))
        for n in _split_sizes(parts, x._shape[place])
    ]


def _split_v_lower(b: Builder, site: Site) -> Sequence[View]:
    x, sizes, axis = site.inputs
    place = axis_in(b.integers(axis)[0], x.rank, "split_dim")
    parts, start = [], 0
    for size in _split_sizes(b.integers(sizes), x.shape[place]):
        assert size is not None
        parts.append(whole_slice(x, place, start, size))
        start += size
    return parts


family.op(
    "SplitV",
    (
        Input("value"),
        static_input("size_splits", "Tlen"),
        Input("split_dim", attr=None, dtype=dtypes.int32, static=True),
    ),
    attrs={"num_split": ...},
    infer=_split_v_infer,
    lower=_split_v_lower,
)


@family.gradient("SplitV")
def _split_v_grad(op: Operation, *dys: Tensor) -> Any:
    joined = op.graph.apply("ConcatV2", list(dys), op.inputs[2], name="concat")
    return [joined, None, None]


def split(
    value: Any,
    num_or_size_splits: Any,
    axis: Any = 0,
    num: int | None = None,
    name: str | None = "split",
) -> list[Tensor]:
    """``value`` in pieces along ``axis``: so many equal ones, or of the given sizes.

    One of the sizes may be -1. ``num`` is the number of sizes where their static shape
    does not say. ValueError if the pieces do not make up the whole.
    """
    name = name or "split"
    if isinstance(num_or_size_splits, shapes.Dimension):
        num_or_size_splits = int(num_or_size_splits)
    if isinstance(num_or_size_splits, (int, np.integer)):
        count = int(num_or_size_splits)
        if count < 1:
            raise ValueError(f"The number of pieces must be positive, not {count}.")
        return outputs(apply_op("Split", axis, value, num_split=count, name=name))
    sizes = convert_to_tensor(num_or_size_splits)
    if sizes.shape.rank == 0:
        raise ValueError(
            "Rank-0 tensors are not supported as the num_or_size_splits argument to "
            f"split. Argument provided: {num_or_size_splits}"
        )
    if num is None:
        num = sizes.shape[0] if sizes.shape.rank is not None else None
        if num is None:
            raise ValueError(f"Cannot infer argument `num` from shape {sizes.shape}")
    return outputs(apply_op("SplitV", value, sizes, axis, num_split=num, name=name))


@family.numpy_function(np.split)
def _numpy_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Tensor]:
    if isinstance(indices_or_sections, (int, np.integer)):
        return split(ary, int(indices_or_sections), axis)
    size = ary.shape[axis]
    if size is None:
        raise ValueError(
            "np.split() at indices needs the size of the axis to be known."
        )
    bounds = [0, *(min(int(i), size) for i in indices_or_sections), size]
    return split(ary, [hi - lo for lo, hi in pairwise(bounds)], axis)
