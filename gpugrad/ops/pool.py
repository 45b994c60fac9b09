"""Maximum and mean over sliding windows, and their gradients."""

from __future__ import annotations

import functools
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.graph import constant
from gpugrad.graph.spec import Input
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr, Index, Lit
from gpugrad.kir.space import Shape, View
from gpugrad.ops import rules, static, windows
from gpugrad.ops.family import OpFamily
from gpugrad.ops.softmax import wide_dtype
from gpugrad.ops.windows import Window

family = OpFamily()

_ATTRS = {
    "ksize": ...,
    "strides": ...,
    "padding": "VALID",
    "data_format": "NHWC",
}
_FORMATS = ("NHWC", "NCHW", "NDHWC", "NCDHW")


# --- what pools share -----------------------------------------------------------------


def _window(attrs: dict[str, Any]) -> Window:
    data_format = attrs["data_format"]
    every = tuple(attrs["ksize"]), tuple(attrs["strides"])
    for values in every:
        sizes = windows.spatial(values, data_format)
        if prod(values) != prod(sizes) or any(v < 1 for v in values):
            raise ValueError(
                "Pooling windows and strides must be 1 over batch and channels, and at "
                f"least 1 elsewhere, not {list(values)}."
            )
    return windows.window_of(attrs, windows.spatial(every[0], data_format))


def _infer(op: Any) -> Any:
    x = op.inputs[0]
    data_format = op.attrs["data_format"]
    windows.check_format(data_format, _FORMATS, op.spec.type)
    rank = len(op.attrs["ksize"])
    rules.require_dtype(op, 0, rules.REAL)
    rules.require_rank(x._shape, rank)
    window = _window(op.attrs)
    shape = x._shape or (None,) * rank
    shape = windows.permuted(shape, windows.channels_last(data_format, rank))
    out = (shape[0], *windows.output_sizes(window, shape[1:-1]), shape[-1])
    return (
        (x.dtype, windows.permuted(out, windows.channels_first(data_format, rank))),
    )


class _Plan(NamedTuple):
    """Concrete sizes of one pooling, and the orders of axes to and from NHWC."""

    window: Window
    pads: tuple[tuple[int, int], ...]
    positions: Shape
    last: Shape | None
    first: Shape | None

    @property
    def rank(self) -> int:
        return len(self.pads)

    @property
    def window_axes(self) -> tuple[int, ...]:
        """The window's axes in [batch, places..., window..., channels]."""
        return tuple(range(self.rank + 1, 2 * self.rank + 1))


def _plan(site: Site, shape: Shape) -> _Plan:
    """The plan for an input shape in the node's own order of axes."""
    data_format, rank = site.attrs["data_format"], len(shape)
    last = windows.channels_last(data_format, rank)
    window = _window(site.attrs)
    sizes = windows.permuted(shape, last)[1:-1]
    positions: Any = windows.output_sizes(window, sizes)
    first = windows.channels_first(data_format, rank)
    return _Plan(window, windows.known(window, sizes), positions, last, first)


def _slid(b: Builder, x: View, plan: _Plan, pad: Any) -> View:
    """[batch, positions..., window..., channels] of ``x``, channels last."""
    return windows.slide(
        windows.padded(b, x, plan.pads, pad), plan.window, plan.positions
    )


# Windows of up to so many elements are opened up: one load for each.
_UNROLLED = 16


def _opened(slid: View, plan: _Plan) -> list[View] | None:
    """A view for each element of the window, or None if they are many."""
    window = [slid.shape[axis] for axis in plan.window_axes]
    if not 0 < prod(window) <= _UNROLLED or 0 in slid.shape:
        return None
    axes = plan.window_axes
    views = []
    for place in np.ndindex(*window):
        starts = [0] * slid.rank
        sizes = list(slid.shape)
        for axis, start in zip(axes, place):
            starts[axis], sizes[axis] = start, 1
        views.append(slid.slice(tuple(starts), tuple(sizes)).drop_axes(axes))
    return views


def _fold(b: Builder, slid: View, plan: _Plan, kind: str, wide: DType) -> View:
    """Maxima or sums over the window, in ``wide``."""
    opened = _opened(slid, plan)
    if opened is None:
        return b.reduce(
            kind, slid, plan.window_axes, before=lambda e: scalar.cast(e, wide)
        )
    join = scalar.maximum if kind == "max" else scalar.add
    return b.map(
        lambda *e: functools.reduce(join, [scalar.cast(x, wide) for x in e]), *opened
    )


def _beside(view: View, rank: int) -> View:
    """[batch, places..., channels] with axes of extent 1 for the window."""
    for _ in range(rank):
        view = view.insert_axis(rank + 1)
    return view


def _place(plan: _Plan, flipped: bool = False) -> Expr:
    """The number of an element of the window, in row-major order, as int64."""
    number: Expr = Lit(0, dtypes.int64)
    for axis, size in zip(plan.window_axes, plan.window.sizes):
        assert size is not None
        step = (size - 1) - Index(axis) if flipped else Index(axis)
        number = number * size + step
    return number


def _least(dtype: DType) -> Any:
    return float("-inf") if dtype.is_floating else dtype.min


# --- MaxPool --------------------------------------------------------------------------


def _lower_max(b: Builder, site: Site) -> View:
    plan = _plan(site, site.inputs[0].shape)
    x = windows.permuted(site.inputs[0], plan.last)
    y = _fold(b, _slid(b, x, plan, _least(x.dtype)), plan, "max", x.dtype)
    return windows.permuted(y, plan.first)


_MAX_ATTRS = {**_ATTRS, "explicit_paddings": ()}
family.op("MaxPool", "input", attrs=_MAX_ATTRS, infer=_infer, lower=_lower_max)
family.op("MaxPool3D", "input", attrs=_ATTRS, infer=_infer, lower=_lower_max)


def _chosen(b: Builder, x: View, y: View, plan: _Plan) -> View:
    """For each position the number in its window of the first maximum."""
    slid = _slid(b, x, plan, _least(x.dtype))
    place = _place(plan)
    count = prod(plan.window.sizes)  # type: ignore[arg-type]

    def number(element: Expr, top: Expr) -> Expr:
        return scalar.select(scalar.equal(element, top), place, Lit(count, place.dtype))

    top = _beside(y, plan.rank)
    return b.reduce("min", slid, plan.window_axes, before=number, others=(top,))


def _scattered(b: Builder, x: View, y: View, dy: View, plan: _Plan) -> View | None:
    """The gradient where windows do not meet: each element asks its own window."""
    apart = all(
        k is not None and s >= k for k, s in zip(plan.window.sizes, plan.window.strides)
    )
    if not apart or any(before or after for before, after in plan.pads):
        return None
    seen = _opened(windows.slide(x, plan.window, plan.positions), plan)
    if seen is None:
        return None
    dx = b.new(dy.dtype, x.shape)
    into = _opened(windows.slide(dx, plan.window, plan.positions), plan)
    assert into is not None
    if dy.size * len(into) < dx.size:  # some elements are in no window
        b.store_value(dx, 0)
    zero = Lit(0, dy.dtype)

    def slopes(top: Expr, slope: Expr, *elements: Expr) -> list[Expr]:
        results: list[Expr] = []
        left: Expr | None = None
        for element in elements:
            here = scalar.equal(element, top)
            first = here if left is None else scalar.logical_and(here, left)
            results.append(scalar.select(first, slope, zero))
            other = scalar.logical_not(here)
            left = other if left is None else scalar.logical_and(left, other)
        return results

    b.store_each(into, slopes, y, dy, *seen)
    return dx


def _lower_max_grad(b: Builder, site: Site) -> View:
    plan = _plan(site, site.inputs[0].shape)
    x, y, dy = (windows.permuted(v, plan.last) for v in site.inputs)
    if dy.shape != y.shape:
        raise ValueError(f"The gradient has shape {dy.shape}, the pool {y.shape}.")
    sizes = x.shape[1:-1]
    dx = _scattered(b, x, y, dy, plan)
    if dx is not None:
        return windows.permuted(dx, plan.first)
    chosen = _chosen(b, x, y, plan)
    numbers = windows.unslide(b, chosen, plan.window, sizes, plan.pads, fill=-1)
    slopes = windows.unslide(b, dy, plan.window, sizes, plan.pads)
    place = _place(plan, flipped=True)
    wide = wide_dtype(dy.dtype)

    def share(number: Expr, slope: Expr) -> Expr:
        slope = scalar.cast(slope, wide)
        return scalar.select(scalar.equal(number, place), slope, Lit(0, wide))

    dx = b.reduce(
        "sum",
        numbers,
        plan.window_axes,
        before=share,
        after=lambda s: scalar.cast(s, dy.dtype),
        others=(slopes,),
    )
    return windows.permuted(dx, plan.first)


def _lower_max_grad_grad(b: Builder, site: Site) -> View:
    plan = _plan(site, site.inputs[0].shape)
    x, y, dx = (windows.permuted(v, plan.last) for v in site.inputs)
    chosen = _beside(_chosen(b, x, y, plan), plan.rank)
    place = _place(plan)

    def pick(element: Expr, number: Expr) -> Expr:
        return scalar.select(
            scalar.equal(number, place), element, Lit(0, element.dtype)
        )

    slid = _slid(b, dx, plan, 0)
    dy = b.reduce("sum", slid, plan.window_axes, before=pick, others=(chosen,))
    return windows.permuted(dy, plan.first)


def _like(index: int) -> Any:
    """Inference: the shape of one of the inputs, whose rank is known in any case."""

    def infer(op: Any) -> Any:
        _window(op.attrs)
        shape = op.inputs[index]._shape
        if shape is None:
            shape = (None,) * len(op.attrs["ksize"])
        return ((op.inputs[0].dtype, shape),)

    return infer


def _max_gradients(
    forward: str, grad: str, grad_grad: str, attrs: dict[str, Any]
) -> None:
    inputs = "orig_input orig_output grad"
    family.op(grad, inputs, attrs=attrs, infer=_like(0), lower=_lower_max_grad)
    family.op(
        grad_grad, inputs, attrs=attrs, infer=_like(1), lower=_lower_max_grad_grad
    )

    def attrs_of(node: Any) -> dict[str, Any]:
        return {name: node.attrs[name] for name in attrs}

    @family.gradient(forward)
    def forward_rule(node: Any, dy: Any) -> Any:
        (x,), (y,) = node.inputs, node.outputs
        return node.graph.apply(grad, x, y, dy, **attrs_of(node))

    def constant_inputs(node: Any) -> list[Any]:
        return [rules.zeros_like(node.graph, t) for t in node.inputs[:2]]

    @family.gradient(grad)
    def grad_rule(node: Any, dy: Any) -> Any:
        x, y, _ = node.inputs
        result = node.graph.apply(grad_grad, x, y, dy, **attrs_of(node))
        return [*constant_inputs(node), result]

    @family.gradient(grad_grad)
    def grad_grad_rule(node: Any, dy: Any) -> Any:
        x, y, _ = node.inputs
        result = node.graph.apply(grad, x, y, dy, **attrs_of(node))
        return [*constant_inputs(node), result]


_max_gradients("MaxPool", "MaxPoolGrad", "MaxPoolGradGrad", _MAX_ATTRS)
_max_gradients("MaxPool3D", "MaxPool3DGrad", "MaxPool3DGradGrad", _ATTRS)


# --- AvgPool --------------------------------------------------------------------------


def _counts(b: Builder, plan: _Plan, sizes: Shape, dtype: DType) -> View:
    """How many cells of each position's window are inside: [1, positions..., 1]."""
    total = np.ones((1,) * plan.rank)
    for axis, (n, count, k, s, (before, _)) in enumerate(
        zip(sizes, plan.positions, plan.window.sizes, plan.window.strides, plan.pads)
    ):
        start = np.arange(count) * s - before
        assert k is not None
        inside = np.minimum(start + k, n) - np.maximum(start, 0)
        shape = [1] * plan.rank
        shape[axis] = count
        total = total * inside.reshape(shape)
    view = b.literal(total.astype(dtype.np_dtype), dtype)
    return view.insert_axis(0).insert_axis(plan.rank + 1)


def _lower_avg(b: Builder, site: Site) -> View:
    plan = _plan(site, site.inputs[0].shape)
    x = windows.permuted(site.inputs[0], plan.last)
    wide = wide_dtype(x.dtype)
    slid = _slid(b, x, plan, 0)
    total = _fold(b, slid, plan, "sum", wide)
    counts = _counts(b, plan, x.shape[1:-1], wide)
    y = b.map(lambda s, n: s / n, total, counts, dtype=x.dtype)
    return windows.permuted(y, plan.first)


def _infer_avg_grad(op: Any) -> Any:
    _window(op.attrs)
    rank = len(op.attrs["ksize"])
    shape = constant.sizes(op.inputs[0]) or (None,) * rank
    rules.require_rank(shape, rank)
    return ((op.inputs[1].dtype, shape),)


def _lower_avg_grad(b: Builder, site: Site) -> View:
    shape = b.integers(site.inputs[0])
    plan = _plan(site, shape)
    sizes = windows.permuted(shape, plan.last)[1:-1]
    dy = windows.permuted(site.inputs[1], plan.last)
    if dy.shape[1:-1] != plan.positions:
        raise ValueError(f"The gradient is of {dy.shape[1:-1]}, not {plan.positions}.")
    wide = wide_dtype(dy.dtype)
    counts = _counts(b, plan, sizes, wide)
    share = b.map(lambda g, n: scalar.cast(g, wide) / n, dy, counts)
    spread = windows.unslide(b, share, plan.window, sizes, plan.pads)
    dx = b.reduce(
        "sum", spread, plan.window_axes, after=lambda s: scalar.cast(s, dy.dtype)
    )
    return windows.permuted(dx, plan.first)


def _declare_avg(forward: str, grad: str) -> None:
    sizes = Input("orig_input_shape", attr=None, dtype=dtypes.int32, static=True)
    family.op(forward, "value", attrs=_ATTRS, infer=_infer, lower=_lower_avg)
    family.op(
        grad,
        (sizes, Input("grad")),
        attrs=_ATTRS,
        infer=_infer_avg_grad,
        lower=_lower_avg_grad,
    )

    def attrs_of(node: Any) -> dict[str, Any]:
        return {name: node.attrs[name] for name in _ATTRS}

    @family.gradient(forward)
    def forward_rule(node: Any, dy: Any) -> Any:
        shape = static.shape_of(node.inputs[0])
        return node.graph.apply(grad, shape, dy, **attrs_of(node))

    @family.gradient(grad)
    def grad_rule(node: Any, dy: Any) -> Any:
        return [None, node.graph.apply(forward, dy, **attrs_of(node))]


_declare_avg("AvgPool", "AvgPoolGrad")
_declare_avg("AvgPool3D", "AvgPool3DGrad")
