"""Slice and StridedSlice: parts of a tensor, as views."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known
from gpugrad.ops.static import rank_of, shape_of, static_input, tidy

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
    x = site.inputs[0]
    starts, sizes = b.integers(site.inputs[1]), b.integers(site.inputs[2])
    found = tuple(n or 0 for n in _slice_sizes(x.shape, starts, sizes))
    result: View = x.slice(starts, found)
    return result


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
    """``size[i]`` elements from ``begin[i]`` on along each axis; -1: to the end."""
    return apply_op("Slice", input_, begin, size, name=name)


# --- StridedSlice -------------------------------------------------------------------


class Plan(NamedTuple):
    """A strided slice in terms of its input's axes.

    ``starts``, ``sizes``, ``steps``: for each axis of the input, None if unknown.
    ``result``: for each axis of the output the input axis, or -1 for a new one.
    """

    starts: list[int | None]
    sizes: list[int | None]
    steps: list[int]
    result: list[int]


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
    made = Plan([], [], [], [])

    def keep_all(upto: int) -> None:
        for axis in range(len(made.starts), upto):
            made.starts.append(0)
            made.sizes.append(shape[axis])
            made.steps.append(1)
            made.result.append(axis)

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


def _strided_view(view: View, entries: Sequence[Sizes], attrs: dict[str, Any]) -> View:
    """The part of ``view`` that a strided slice with known entries takes."""
    made = plan(view.shape, entries, _masks(attrs))
    starts, sizes = (
        tuple(s or 0 for s in made.starts),
        tuple(n or 0 for n in made.sizes),
    )
    part = view.slice(starts, sizes, tuple(made.steps))
    part = part.drop_axes(tuple(set(range(view.rank)) - set(made.result)))
    for place, axis in enumerate(made.result):
        if axis < 0:
            part = part.insert_axis(place)
    return part


def _strided_lower(b: Builder, site: Site) -> View:
    x, *entries = site.inputs
    return _strided_view(x, [b.integers(e) for e in entries], site.attrs)


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
    out = b.new(dy.dtype, b.integers(shape))
    part = _strided_view(out, [b.integers(e) for e in entries], site.attrs)
    if part.shape != dy.shape:
        raise ValueError(
            f"shape of dy was {list(dy.shape)} instead of {list(part.shape)}"
        )
    if part.size != out.size:
        b.store_value(out, 0)
    if part.size:
        b.copy(dy, into=part)
    return out


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


def strided_slice_grad(
    shape: Any,
    begin: Any,
    end: Any,
    strides: Any,
    dy: Any,
    name: str | None = None,
    **masks: int,
) -> Tensor:
    """Zeros of ``shape`` with ``dy`` in the place that the strided slice takes."""
    return apply_op(
        "StridedSliceGrad", shape, begin, end, strides, dy, name=name, **masks
    )
