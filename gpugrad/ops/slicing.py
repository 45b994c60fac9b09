"""Slice: a part of a tensor, as a view."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.slice_at import PART, Window, completed, integers
from gpugrad.ops.static import rank_of, shape_of, static_input, tidy
from gpugrad.shapes import known

family = OpFamily()

Sizes = Sequence[int | None]

# A new axis in x[..., newaxis], as in NumPy.
newaxis = None


# --- Slice --------------------------------------------------------------------------


def _slice_sizes(shape: Sizes, begin: Sizes, size: Sizes) -> list[int | None]:
    """The sizes with -1 worked out; ValueError for what is outside of ``shape``."""
    if not len(shape) == len(begin) == len(size):
        raise ValueError(
            f"Expected begin and size to have one entry an axis, {len(shape)}, but got "
            f"{len(begin)} and {len(size)}"
        )
    out: list[int | None] = []
    for axis, (extent, start, count) in enumerate(zip(shape, begin, size)):
        if start is not None and (start < 0 or (extent is not None and start > extent)):
            raise ValueError(
                f"Expected begin[{axis}] in [0, {extent}], but got {start}"
            )
        if count is not None and count < -1:
            raise ValueError(f"Expected size[{axis}] >= -1, but got {count}")
        room = None if extent is None or start is None else extent - start
        if count == -1:
            out.append(room)
            continue
        most = extent if room is None else room
        if count is not None and most is not None and count > most:
            text = f"Expected size[{axis}] in [0, {most}], but got {count}"
            raise InvalidArgumentError(None, None, text)
        out.append(count)
    return out


def _slice_infer(op: Operation) -> Any:
    x, begin, size = op.inputs
    starts, sizes = values.sizes(begin), values.sizes(size)
    shape = x._shape
    if shape is None:
        known = starts if sizes is None else sizes
        if known is None:
            return ((x.dtype, None),)
        shape = (None,) * len(known)
    rank = len(shape)
    starts = (None,) * rank if starts is None else starts
    sizes = (None,) * rank if sizes is None else sizes
    return ((x.dtype, tuple(_slice_sizes(shape, starts, sizes))),)


def _slice_value(op: Operation, inputs: list[Any]) -> Any:
    x, begin, size = inputs
    if x is None or x.size > FOLD_LIMIT or not (is_known(begin) and is_known(size)):
        return None
    sizes = _slice_sizes(x.shape, begin.tolist(), size.tolist())
    part = x[tuple(builtins.slice(b, b + n) for b, n in zip(begin.tolist(), sizes))]
    result = tidy(part, op.inputs[0].dtype)
    return None if result is None else [result]


def _slice_lower(b: Builder, site: Site) -> View:
    x, begin = site.inputs[:2]
    starts, sizes = b.scalars(begin), b.integers(site.inputs[2])
    found = _slice_sizes(x.shape, integers(starts), sizes)
    found = completed(found, site.shapes[0])
    if None in found:
        starts = list(b.integers(begin))
        found = _slice_sizes(x.shape, integers(starts), sizes)
    window = Window(starts, known(found), (1,) * x.rank, PART)
    return window.read(b, x)


family.op(
    "Slice",
    (
        Input("input"),
        static_input("begin", "Index"),
        static_input("size", "Index"),
    ),
    infer=_slice_infer,
    value=_slice_value,
    lower=_slice_lower,
)


@family.gradient("Slice")
def _slice_grad(op: Operation, dy: Tensor) -> Any:
    x, begin, _ = op.inputs
    apply = op.graph.apply
    rank = rank_of(x, graph=op.graph)
    size = shape_of(op.outputs[0], begin.dtype, graph=op.graph)
    one = apply("Const", value=np.array(1, np.int32), dtype=rank.dtype, name="stack/1")
    column = apply("Pack", [rank, one], axis=0, name="stack")
    before = apply("Reshape", begin, column)
    rest = shape_of(x, begin.dtype, graph=op.graph) - size - begin
    after = apply("Reshape", rest, column)
    paddings = apply("ConcatV2", [before, after], 1, name="concat")
    return [apply("Pad", dy, paddings), None, None]


def slice(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """``size[i]`` elements from ``begin[i]`` on along each axis; -1: to the end.

    Raises:  InvalidArgumentError for a part that reaches outside of ``input_``. A GPU
             does not look at a ``begin`` that only the run knows: it takes the nearest
             place at which the part lies inside.
    """
    return apply_op("Slice", input_, begin, size, name=name)
