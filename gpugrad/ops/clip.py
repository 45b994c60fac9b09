"""Clipping: of values, of the norm of a tensor, of the norm of many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.graph.build import apply_op, convert_to_tensor, is_tensor, name_scope
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily

family = OpFamily()


def _values(t: Any) -> Any:
    """The tensor to compute with: of IndexedSlices, the rows."""
    return t.values if isinstance(t, IndexedSlices) else convert_to_tensor(t, name="t")


def _like(t: Any, values: Any) -> Any:
    """``values`` as IndexedSlices if ``t`` is."""
    if isinstance(t, IndexedSlices):
        return IndexedSlices(values, t.indices, t.dense_shape)
    return values


# --- ClipByValue ----------------------------------------------------------------------

family.elementwise(
    "ClipByValue",
    "t clip_value_min clip_value_max",
    lambda t, low, high: scalar.maximum(scalar.minimum(t, high), low),
    types=rules.REAL,
)


@family.gradient("ClipByValue")
def _clip_by_value_grad(op: Any, dy: Tensor) -> Any:
    t, low, high = op.inputs
    apply = op.graph.apply
    zero = rules.const(op.graph, 0, dy.dtype, "zeros")
    below, above = apply("Less", t, low), apply("Greater", t, high)
    dt = apply("SelectV2", apply("LogicalOr", below, above), zero, dy)
    dlow = apply("SelectV2", below, dy, zero)
    return dt, dlow, apply("SelectV2", above, dy, zero)


def clip_by_value(
    t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None
) -> Any:
    """``t`` with everything below the one bound or above the other set to it.

    The bounds may be tensors that broadcast to t's shape. The gradient is 1 from
    bound to bound, both included. IndexedSlices stay so.
    """
    tensors = [t, clip_value_min, clip_value_max]
    with name_scope(name, "clip_by_value", tensors) as scope:
        values = _values(t)
        below = apply_op("Minimum", values, clip_value_max)
        values.shape.assert_is_compatible_with(below.shape)
        clipped = apply_op("Maximum", below, clip_value_min, name=scope)
        values.shape.assert_is_compatible_with(clipped.shape)
        return _like(t, clipped)


@family.numpy_function(np.clip)
def _numpy_clip(a: Any, a_min: Any = None, a_max: Any = None, **bounds: Any) -> Any:
    low, high = bounds.pop("min", a_min), bounds.pop("max", a_max)
    if bounds:
        raise TypeError(f"clip of a tensor does not take {', '.join(bounds)}.")
    result = a if high is None else apply_op("Minimum", a, high)
    return result if low is None else apply_op("Maximum", result, low)


# --- norms ----------------------------------------------------------------------------


def _every_axis(x: Any) -> Any:
    if x.shape.ndims is None:
        return apply_op("Range", 0, apply_op("Rank", x), 1, name="range")
    return np.arange(x.shape.ndims, dtype=np.int32)


def _sum(x: Any, axes: Any = None, keepdims: bool = False) -> Any:
    axes = _every_axis(x) if axes is None else axes
    return apply_op("Sum", x, axes, keep_dims=keepdims)


def clip_by_norm(
    t: Any, clip_norm: Any, axes: Any = None, name: str | None = None
) -> Any:
    """``t``, scaled down to an L2 norm of ``clip_norm`` if it is longer.

    The norm is over all elements, or over ``axes``. A negative ``clip_norm`` counts as
    0. IndexedSlices stay so; their norm is that of the rows as they stand.
    """
    with name_scope(name, "clip_by_norm", [t, clip_norm]) as scope:
        values = _values(t)
        if isinstance(clip_norm, (int, float)):
            clip_norm = max(clip_norm, 0)
        else:
            positive = apply_op("Maximum", clip_norm, 0)
            clip_norm = apply_op("Cast", positive, DstT=values.dtype)
        squares = _sum(values * values, axes, keepdims=True)
        # The root has an infinite slope at 0: it is taken of 1 there, and not used.
        positive = squares > 0
        root = apply_op("Sqrt", apply_op("SelectV2", positive, squares, 1))
        norm = apply_op("SelectV2", positive, root, squares)
        scaled = values * clip_norm
        values.shape.assert_is_compatible_with(scaled.shape)
        clipped = scaled / apply_op("Maximum", norm, clip_norm)
        return _like(t, apply_op("Identity", clipped, name=scope))


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """``t``, scaled down if its L2 norm by its element count exceeds ``clip_norm``."""
    with name_scope(name, "clip_by_average_norm", [t, clip_norm]) as scope:
        values = convert_to_tensor(t, name="t")
        size = apply_op("Size", values)
        count = apply_op("Cast", size, DstT=values.dtype)
        inverse = apply_op("Rsqrt", _sum(values * values))
        factor = apply_op("Minimum", inverse * count, _inverse(clip_norm))
        return apply_op("Identity", values * clip_norm * factor, name=scope)


def _inverse(clip_norm: Any) -> Any:
    return 1 / clip_norm if is_tensor(clip_norm) else float(np.divide(1.0, clip_norm))


def _checked_list(t_list: Any) -> list[Any]:
    if not isinstance(t_list, Sequence) or isinstance(t_list, str):
        raise TypeError(
            f"`t_list` should be a sequence of tensors. Received {type(t_list)}."
        )
    return [t if t is None else _values(t) for t in t_list]


def global_norm(t_list: Any, name: str | None = None) -> Tensor:
    """The L2 norm of all elements of all tensors together; None entries count nothing.

    Of IndexedSlices the rows count as they stand.
    """
    values = [v for v in _checked_list(t_list) if v is not None]
    with name_scope(name, "global_norm", values):
        if not values:
            return convert_to_tensor(0.0, name="global_norm")
        halves = [apply_op("L2Loss", v) for v in values]
        total = _sum(apply_op("Pack", halves, axis=0, name="stack"))
        return apply_op("Sqrt", total * 2, name="global_norm")


def clip_by_global_norm(
    t_list: Any, clip_norm: Any, use_norm: Any = None, name: str | None = None
) -> tuple[list[Any], Any]:
    """Scale tensors down together to a common L2 norm of at most ``clip_norm``.

    Returns the list, with None and IndexedSlices where ``t_list`` has them, and the
    norm: ``use_norm`` or what global_norm gives. An infinite or undefined norm makes
    everything NaN.
    """
    values = _checked_list(t_list)
    norm = global_norm(t_list) if use_norm is None else convert_to_tensor(use_norm)
    present = [v for v in values if v is not None]
    with name_scope(name, "clip_by_global_norm", [*present, clip_norm]) as scope:
        factor = apply_op("Minimum", 1 / norm, _inverse(clip_norm))
        factor = apply_op("Mul", clip_norm, factor, name="mul")
        # norm - norm is 0, or NaN for what cannot be scaled.
        factor = factor + (norm - norm)
        clipped = []
        for i, (t, v) in enumerate(zip(t_list, values)):
            if v is not None:
                label = f"{scope}_{i}"
                v = _like(t, apply_op("Identity", v * factor, name=label))
            clipped.append(v)
    return clipped, norm
