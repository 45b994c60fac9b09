"""StridedSlice: what ``x[...]`` builds; a view, where its place is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.slice_at import RANGE, Window, integers
from gpugrad.ops.static import shape_of, static_input, tidy
from gpugrad.shapes import known

family = OpFamily()

Sizes = Sequence[int | None]

# --- StridedSlice -------------------------------------------------------------------


class Plan(NamedTuple):
    """A strided slice in terms of its input's axes.

    ``starts``, ``sizes``, ``steps``: for each axis of the input, None if unknown.
    ``result``: for each axis of the output the input axis, or -1 for a new one.
    ``entries``: for each axis of the input its entry of begin, or -1.
    """

    starts: list[int | None]
    sizes: list[int | None]
    steps: list[int]
    result: list[int]
    entries: list[int]


class Masks(NamedTuple):
    """The bit masks of a strided slice: bit ``i`` is about entry ``i`` of begin."""

    begin: int
    end: int
    ellipsis: int
    new_axis: int
    shrink: int


_MASKS = {f"{name}_mask": 0 for name in ("begin", "end", "ellipsis", "new_axis")}
_MASKS["shrink_axis_mask"] = 0


def _masks(attrs: dict[str, Any]) -> Masks:
    return Masks(*[attrs[name] for name in _MASKS])


def plan(shape: Sizes, entries: Sequence[Sizes], masks: Masks) -> Plan:
    """What a strided slice takes; ValueError if it is not a slice of ``shape``.

    ``entries``: begin, end and strides.
    """
    begin, end, strides = entries
    rank, count = len(shape), len(strides)
    if masks.ellipsis & (masks.ellipsis - 1):
        raise ValueError("Multiple ellipses in slice spec not allowed")
    made = Plan([], [], [], [], [])

    def keep_all(upto: int) -> None:
        for axis in range(len(made.starts), upto):
            made.starts.append(0)
            made.sizes.append(shape[axis])
            made.steps.append(1)
            made.result.append(axis)
            made.entries.append(-1)

    for i in range(count):
        bit = 1 << i
        if masks.ellipsis & bit:
            later = range(i + 1, count)
            taken = sum(not masks.new_axis >> j & 1 for j in later)
            keep_all(max(len(made.starts), rank - taken))
        elif masks.new_axis & bit:
            made.result.append(-1)
        else:
            axis = len(made.starts)
            if axis >= rank:
                raise ValueError(
                    f"Index out of range using input dim {axis}; input has only {rank} "
                    "dims"
                )
            entry = (begin[i], end[i], strides[i])
            if masks.shrink & bit:
                start = _index(shape[axis], entry, axis)
                made.sizes.append(1)
            else:
                masked = (bool(masks.begin & bit), bool(masks.end & bit))
                start, size = _range(shape[axis], entry, masked, i)
                made.sizes.append(size)
                made.result.append(axis)
            made.starts.append(start)
            made.entries.append(i)
            made.steps.append(1 if strides[i] is None else int(strides[i]))  # type: ignore[arg-type]
    keep_all(rank)
    return made


def _index(extent: int | None, entry: tuple[int | None, ...], axis: int) -> int | None:
    """One index of an axis, counted from 0."""
    index, _, stride = entry
    if stride is not None and stride <= 0:
        raise ValueError("only stride 1 allowed on non-range indexing.")
    if index is None or extent is None:
        return None
    if not -extent <= index < extent:
        raise ValueError(f"slice index {index} of dimension {axis} out of bounds.")
    return index % extent


def _range(
    extent: int | None,
    entry: tuple[int | None, ...],
    masked: tuple[bool, bool],
    i: int,
) -> tuple[int | None, int | None]:
    """Start and size of a range along an axis; a masked end is that of the axis."""
    begin, end, stride = entry
    if stride == 0:
        raise ValueError(f"strides[{i}] must be non-zero")
    if extent is None or stride is None:
        return None, None
    first, last = (0, extent) if stride > 0 else (-1, extent - 1)
    bounds: list[int | None] = []
    for value, is_masked, whole in (
        (begin, masked[0], first if stride > 0 else last),
        (end, masked[1], last if stride > 0 else first),
    ):
        if is_masked:
            bounds.append(whole)
        elif value is None:
            bounds.append(None)
        else:
            value = value + extent if value < 0 else value
            bounds.append(min(max(value, first), last))
    start, stop = bounds
    if start is None or stop is None:
        return start, None
    return start, max(0, -((start - stop) // stride))


def _entries(op: Operation, inputs: Sequence[Tensor]) -> list[Sizes] | None:
    """begin, end and strides as far as they are known; None without any length."""
    known = [values.sizes(t) for t in inputs]
    count = max((len(k) for k in known if k is not None), default=None)
    if count is None:
        return None
    return [(None,) * count if k is None else k for k in known]


def _strided_infer(op: Operation) -> Any:
    x = op.inputs[0]
    entries = _entries(op, op.inputs[1:4])
    if x._shape is None or entries is None:
        return ((x.dtype, None),)
    made = plan(x._shape, entries, _masks(op.attrs))
    return ((x.dtype, tuple(1 if a < 0 else made.sizes[a] for a in made.result)),)


def _strided_value(op: Operation, inputs: list[Any]) -> Any:
    x, *entries = inputs
    if x is None or x.size > FOLD_LIMIT or not all(is_known(e) for e in entries):
        return None
    made = plan(x.shape, [e.tolist() for e in entries], _masks(op.attrs))
    part = x
    for axis, (start, size, step) in enumerate(zip(*made[:3])):
        indices = (start or 0) + step * np.arange(size or 0)
        part = np.take(part, indices, axis)
    part = part.reshape([1 if a < 0 else made.sizes[a] for a in made.result])
    result = tidy(part, op.inputs[0].dtype)
    return None if result is None else [result]


def _strided_window(
    b: Builder,
    shape: Shape,
    inputs: Sequence[View],
    attrs: dict[str, Any],
    result: Sizes | None,
) -> tuple[Window, list[int]]:
    """Where a strided slice stands, and its Plan.result.

    ``inputs``: begin, end and strides. ``result``: what else is known of its shape.
    """
    masks, strides = _masks(attrs), b.integers(inputs[2])
    begin, end = (b.scalars(v) for v in inputs[:2])
    made = plan(shape, [integers(begin), integers(end), strides], masks)
    if result is not None and len(result) == len(made.result):
        for size, axis in zip(result, made.result):
            if axis >= 0 and made.sizes[axis] is None:
                made.sizes[axis] = size
    still = all(
        step == 1 for start, step in zip(made.starts, made.steps) if start is None
    )
    if None in made.sizes or not still:
        made = plan(shape, [b.integers(v) for v in inputs], masks)
    starts = [
        begin[entry] if start is None else start
        for start, entry in zip(made.starts, made.entries)
    ]
    indices = tuple(set(range(len(shape))) - set(made.result))
    window = Window(starts, known(made.sizes), tuple(made.steps), RANGE, indices)
    return window, made.result


def _strided_lower(b: Builder, site: Site) -> View:
    x, *entries = site.inputs
    window, result = _strided_window(b, x.shape, entries, site.attrs, site.shapes[0])
    part = window.read(b, x).drop_axes(window.indices)
    for place, axis in enumerate(result):
        if axis < 0:
            part = part.insert_axis(place)
    return part


_ENTRIES = tuple(static_input(n, "Index") for n in ("begin", "end", "strides"))

family.op(
    "StridedSlice",
    (Input("input"), *_ENTRIES),
    attrs=_MASKS,
    infer=_strided_infer,
    value=_strided_value,
    lower=_strided_lower,
)


@family.gradient("StridedSlice")
def _strided_grad(op: Operation, dy: Tensor) -> Any:
    x, *entries = op.inputs
    shape = shape_of(x, entries[0].dtype, graph=op.graph)
    known = [values.constant_value(t) for t in (shape, *entries)]
    inputs = [t if k is None else k for t, k in zip((shape, *entries), known)]
    masks = {name: op.attrs[name] for name in _MASKS}
    grad = op.graph.apply("StridedSliceGrad", *inputs, dy, **masks)
    return [grad, None, None, None]


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
    name: str | None = None,
) -> Tensor:
    """``input_[begin:end:strides]`` along each axis; ``input_[...]`` builds these.

    Bit ``i`` of a mask says that entry ``i`` begins or ends where the axis does, is an
    ellipsis, a new axis, or a single index whose axis is dropped.

    Raises:  InvalidArgumentError for a single index outside of its axis. A GPU does not
             look at an index that only the run knows: it takes the nearest place.
    Where only ``begin`` at single indices differs from run to run, nothing is compiled
    again; where sizes do, each is.
    """
    if strides is None:
        from gpugrad.ops.fill import ones_like

        strides = ones_like(begin)
    return apply_op(
        "StridedSlice",
        input_,
        begin,
        end,
        strides,
        name=name,
        begin_mask=begin_mask,
        end_mask=end_mask,
        ellipsis_mask=ellipsis_mask,
        new_axis_mask=new_axis_mask,
        shrink_axis_mask=shrink_axis_mask,
    )


# --- StridedSliceGrad ---------------------------------------------------------------


def _strided_grad_infer(op: Operation) -> Any:
    return ((op.inputs[4].dtype, values.sizes(op.inputs[0])),)


def _strided_grad_lower(b: Builder, site: Site) -> View:
    shape, *entries, dy = site.inputs
    sizes = b.integers(shape)
    window, result = _strided_window(b, sizes, entries, site.attrs, dy.shape)
    wanted = tuple(1 if a < 0 else window.sizes[a] for a in result)
    if wanted != dy.shape:
        raise ValueError(f"shape of dy was {list(dy.shape)} instead of {list(wanted)}")
    part = dy.drop_axes(tuple(p for p, axis in enumerate(result) if axis < 0))
    for axis in sorted(window.indices):
        part = part.insert_axis(axis)
    return window.put(b, part, sizes)


family.op(
    "StridedSliceGrad",
    (static_input("shape", "Index"), *_ENTRIES, Input("dy")),
    attrs=_MASKS,
    infer=_strided_grad_infer,
    lower=_strided_grad_lower,
)


@family.gradient("StridedSliceGrad")
def _strided_grad_grad(op: Operation, dy: Tensor) -> Any:
    masks = {name: op.attrs[name] for name in _MASKS}
    part = op.graph.apply("StridedSlice", dy, *op.inputs[1:4], **masks)
    return [None, None, None, None, part]


class IndexGradient(NamedTuple):
    """The gradient of ``x[:, i]``: ``row`` stands in zeros along ``axis``."""

    axis: int
    row: Tensor
    indices: Tensor


def index_gradient(gradient: Tensor) -> IndexGradient | None:
    """A gradient as the one row that it has along an axis; None if it is no such one.

    ``indices`` has the shape [1] and ``row`` a first axis of size 1, so that those of
    many can be joined. Negative indices count from the end.
    """
    op = gradient.op
    if op.type != "StridedSliceGrad":
        return None
    shape, begin, _, strides, dy = op.inputs
    masks = _masks(op.attrs)
    steps, sizes = values.constant_value(strides), values.sizes(shape)
    if steps is None or (steps != 1).any() or sizes is None:
        return None
    count, entry = len(steps), masks.shrink.bit_length() - 1
    whole = (masks.begin & masks.end) | masks.ellipsis
    if masks.new_axis or entry < 0 or (whole | 1 << entry) + 1 != 1 << count:
        return None
    before = masks.ellipsis & (1 << entry) - 1
    axis = len(sizes) - (count - entry) if before else entry
    at = [np.array([k], begin.dtype.np_dtype) for k in (entry, entry + 1, 1)]
    index = op.graph.apply("StridedSlice", begin, *at)
    return IndexGradient(axis, op.graph.apply("ExpandDims", dy, 0), index)
