"""Padding with a value, or with mirrored elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops import slice_at
from gpugrad.ops.concat import joined
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import rank_of, shape_of, static_input, whole_slice
from gpugrad.shapes import is_known, known

family = OpFamily()

Pairs = list[tuple[int, int]]

# --- Pad, PadV2 ---------------------------------------------------------------------


def _pad_infer(op: Operation) -> Any:
    x, paddings = op.inputs[:2]
    known = values.constant_value(paddings)
    shape = x._shape
    if known is None:
        have = paddings._shape
        rank = have[0] if have is not None and len(have) == 2 else None
        if shape is not None:
            rank = len(shape)
        return ((x.dtype, None if rank is None else (None,) * rank),)
    pairs = _pairs(known)
    if shape is None:
        return ((x.dtype, (None,) * len(pairs)),)
    _check(pairs, len(shape))
    padded = tuple(None if n is None else n + sum(p) for n, p in zip(shape, pairs))
    return ((x.dtype, padded),)


def _pairs(paddings: np.ndarray) -> Pairs:
    if paddings.ndim != 2 or paddings.shape[1] != 2:
        raise ValueError(
            f"paddings must be a matrix with 2 columns: {list(paddings.shape)}"
        )
    return [(int(a), int(b)) for a, b in paddings.tolist()]


def _check(pairs: Pairs, rank: int) -> None:
    if len(pairs) != rank:
        raise ValueError(
            f"The first dimension of paddings must be the rank of inputs, {rank}, not "
            f"{len(pairs)}"
        )
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"Paddings must be non-negative: {pairs}")


def _pad_lower(b: Builder, site: Site) -> View:
    x, paddings = site.inputs[:2]
    shape = site.shapes[0]
    if b.known(paddings) is None and is_known(shape) and len(site.inputs) == 2:
        return _pad_to(b, x, paddings, known(shape))
    pairs = _pairs(b.value(site.inputs[1]))
    _check(pairs, x.rank)
    if not any(n for pair in pairs for n in pair):
        view: View = x
        return view
    out = b.new(x.dtype, tuple(n + sum(p) for n, p in zip(x.shape, pairs)))
    if len(site.inputs) == 3:
        b.store(out, lambda value: value, site.inputs[2])
    else:
        b.store_value(out, 0)
    if x.size:
        b.copy(x, into=out.slice(tuple(p[0] for p in pairs), x.shape))
    return out


def _pad_to(b: Builder, x: View, paddings: View, shape: Shape) -> View:
    """Padded to a known shape: only where ``x`` stands in it is for the run to say."""
    if paddings.shape != (x.rank, 2) or len(shape) != x.rank:
        raise ValueError(
            f"paddings must be a matrix of shape {[x.rank, 2]}, not "
            f"{list(paddings.shape)}, for a result of shape {list(shape)}"
        )
    moving = [
        slice_at.Moving(
            axis,
            slice_at.PART,
            paddings.slice((axis, 0), (1, 1)).drop_axes((0, 1)),
        )
        for axis in range(x.rank)
        if x.shape[axis] != shape[axis]
    ]
    return slice_at.put(b, x, shape, moving)


_PADDINGS = static_input("paddings", "Tpaddings")

family.op("Pad", (Input("input"), _PADDINGS), infer=_pad_infer, lower=_pad_lower)
family.op(
    "PadV2",
    (Input("input"), _PADDINGS, Input("constant_values")),
    infer=_pad_infer,
    lower=_pad_lower,
)


@family.gradient("Pad", "PadV2")
def _pad_grad(op: Operation, dy: Tensor) -> Any:
    x, paddings = op.inputs[:2]
    apply = op.graph.apply
    rank = rank_of(x, graph=op.graph)
    one = apply("Const", value=np.array(1, np.int32), dtype=rank.dtype, name="stack/1")
    column = apply("Pack", [rank, one], axis=0, name="stack")
    begin = np.zeros(2, paddings.dtype.np_dtype)
    if paddings.dtype is not column.dtype:
        column = apply("Cast", column, DstT=paddings.dtype)
    before = apply("Reshape", apply("Slice", paddings, begin, column), [-1])
    size = shape_of(x, before.dtype, graph=op.graph)
    grad = apply("Slice", dy, before, size)
    return [grad] + [None] * (len(op.inputs) - 1)


def pad(
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    name: str | None = None,
    constant_values: Any = 0,
) -> Tensor:
    """``tensor`` with ``paddings[i]`` = (before, after) elements added along axis i.

    ``mode``: "CONSTANT" adds ``constant_values``; "REFLECT" mirrors without repeating
    the edge (paddings below the size of the axis), "SYMMETRIC" with it (up to it).
    """
    kind = mode.upper()
    if kind in ("REFLECT", "SYMMETRIC"):
        return apply_op("MirrorPad", tensor, paddings, mode=kind, name=name)
    if kind != "CONSTANT":
        raise ValueError(
            "Value of argument `mode` expected to be one of 'CONSTANT', 'REFLECT', or "
            f"'SYMMETRIC'. Received `mode` = {mode!r}"
        )
    is_tensor = isinstance(constant_values, Tensor) or hasattr(
        constant_values, "__tensor__"
    )
    if not is_tensor and np.ndim(constant_values) == 0 and not constant_values:
        return apply_op("Pad", tensor, paddings, name=name)
    return apply_op("PadV2", tensor, paddings, constant_values, name=name)


def pad_v2(
    tensor: Any,
    paddings: Any,
    mode: str = "CONSTANT",
    constant_values: Any = 0,
    name: str | None = None,
) -> Tensor:
    """``pad`` with the signature of TensorFlow 2."""
    return pad(tensor, paddings, mode, name, constant_values)


_NUMPY_MODES = {"constant": "CONSTANT", "reflect": "REFLECT", "symmetric": "SYMMETRIC"}


@family.numpy_function(np.pad)
def _numpy_pad(
    array: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0
) -> Tensor:
    if mode not in _NUMPY_MODES:
        raise ValueError(
            f"np.pad() of a tensor has the modes {', '.join(_NUMPY_MODES)}, not "
            f"{mode!r}."
        )
    if array.ndim is None:
        raise ValueError("np.pad() needs a tensor of known rank; use gpugrad.pad().")
    pairs = np.broadcast_to(pad_width, (array.ndim, 2))
    return pad(array, pairs.astype(np.int32), _NUMPY_MODES[mode], None, constant_values)


# --- MirrorPad, MirrorPadGrad -------------------------------------------------------


def _reversed(view: View, axis: int, last: int, count: int) -> View:
    """``count`` indices of ``axis`` from ``last`` downwards."""
    starts = tuple(last if i == axis else 0 for i in range(view.rank))
    sizes = tuple(count if i == axis else n for i, n in enumerate(view.shape))
    steps = tuple(-1 if i == axis else 1 for i in range(view.rank))
    return view.slice(starts, sizes, steps)


def _check_mirror(pairs: Pairs, shape: Sequence[int], mode: str) -> int:
    """1 for REFLECT, 0 for SYMMETRIC; ValueError for paddings past the other edge."""
    _check(pairs, len(shape))
    skip = 1 if mode == "REFLECT" else 0
    for axis, (pair, extent) in enumerate(zip(pairs, shape)):
        if max(pair) > extent - skip and max(pair):
            raise ValueError(
                f"paddings must be {'less than' if skip else 'no greater than'} the "
                f"dimension size: {pair} of axis {axis} are not for {extent}"
            )
    return skip


def _mirror_pad_lower(b: Builder, site: Site) -> View:
    x: View = site.inputs[0]
    pairs = _pairs(b.value(site.inputs[1]))
    skip = _check_mirror(pairs, x.shape, site.attrs["mode"])
    for axis, (before, after) in enumerate(pairs):
        if before or after:
            extent = x.shape[axis]
            left = _reversed(x, axis, before - 1 + skip, before)
            right = _reversed(x, axis, extent - 1 - skip, after)
            x = joined(b, [left, x, right], axis)
    return x


def _mirror_grad_infer(op: Operation) -> Any:
    dy, paddings = op.inputs
    known = values.constant_value(paddings)
    if dy._shape is None:
        return ((dy.dtype, None),)
    if known is None:
        return ((dy.dtype, (None,) * len(dy._shape)),)
    pairs = _pairs(known)
    shape = zip(dy._shape, pairs)
    return ((dy.dtype, tuple(None if n is None else n - sum(p) for n, p in shape)),)


def _mirror_grad_lower(b: Builder, site: Site) -> View:
    grad: View = site.inputs[0]
    pairs = _pairs(b.value(site.inputs[1]))
    shape = tuple(n - sum(p) for n, p in zip(grad.shape, pairs))
    skip = _check_mirror(pairs, shape, site.attrs["mode"])
    for axis, (before, after) in enumerate(pairs):
        if not (before or after):
            continue
        extent = shape[axis]
        middle = whole_slice(grad, axis, before, extent)
        # What was mirrored to the left and to the right, added where it came from.
        for part, start in (
            (_reversed(grad, axis, before - 1, before), skip),
            (
                _reversed(grad, axis, before + extent + after - 1, after),
                extent - after - skip,
            ),
        ):
            if part.size:
                middle = _added(b, middle, part, axis, start)
        grad = middle
    return grad


def _added(b: Builder, x: View, part: View, axis: int, start: int) -> View:
    """``x`` with ``part`` added to the indices of ``axis`` from ``start`` on."""
    count = part.shape[axis]
    out = b.new(x.dtype, x.shape)
    rest = start + count
    for first, size in ((0, start), (rest, x.shape[axis] - rest)):
        if size:
            b.copy(
                whole_slice(x, axis, first, size), whole_slice(out, axis, first, size)
            )
    here = whole_slice(x, axis, start, count)
    b.store(whole_slice(out, axis, start, count), lambda p, q: p + q, here, part)
    return out


family.op(
    "MirrorPad",
    (Input("input"), _PADDINGS),
    attrs={"mode": ...},
    infer=_pad_infer,
    lower=_mirror_pad_lower,
)
family.op(
    "MirrorPadGrad",
    (Input("input"), _PADDINGS),
    attrs={"mode": ...},
    infer=_mirror_grad_infer,
    lower=_mirror_grad_lower,
)


@family.gradient("MirrorPad")
def _mirror_pad_grad(op: Operation, dy: Tensor) -> Any:
    mode = op.attrs["mode"]
    return [op.graph.apply("MirrorPadGrad", dy, op.inputs[1], mode=mode), None]


@family.gradient("MirrorPadGrad")
def _mirror_pad_grad_grad(op: Operation, dy: Tensor) -> Any:
    mode = op.attrs["mode"]
    return [op.graph.apply("MirrorPad", dy, op.inputs[1], mode=mode), None]
