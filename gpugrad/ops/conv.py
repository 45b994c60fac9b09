"""Convolutions over 2 and 3 axes and their gradients: windows and matrix products."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.graph import constant
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops import matmul, rules, static, windows
from gpugrad.ops.family import OpFamily
from gpugrad.ops.windows import Window

family = OpFamily()


class _Kind(NamedTuple):
    """A convolution's op types, and how it reads its filter.

    ``depthwise``: the filter is [window..., channels, multiplier], one filter a
    channel; else [window..., channels a group, outputs].
    """

    forward: str
    to_input: str
    to_filter: str
    rank: int
    formats: tuple[str, ...]
    depthwise: bool = False

    def attrs(self) -> dict[str, Any]:
        ones = (1,) * (self.rank + 2)
        attrs = {
            "strides": ones,
            "padding": "VALID",
            "data_format": self.formats[0],
            "dilations": ones,
        }
        if self.rank == 2:
            attrs["explicit_paddings"] = ()
        return attrs


_CONV2D = _Kind(
    "Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter", 2, ("NHWC", "NCHW")
)
_CONV3D = _Kind(
    "Conv3D", "Conv3DBackpropInputV2", "Conv3DBackpropFilterV2", 3, ("NDHWC", "NCDHW")
)
_DEPTHWISE = _Kind(
    "DepthwiseConv2dNative",
    "DepthwiseConv2dNativeBackpropInput",
    "DepthwiseConv2dNativeBackpropFilter",
    2,
    ("NHWC", "NCHW"),
    depthwise=True,
)


# --- inference ------------------------------------------------------------------------


def _infer_forward(kind: _Kind, op: Any) -> Any:
    x, w = op.inputs
    rank, data_format = kind.rank, op.attrs["data_format"]
    rules.require_dtype(op, 0, (*rules.FLOATS, dtypes.int32))
    windows.check_format(data_format, kind.formats, kind.forward)
    rules.require_rank(x._shape, rank + 2)
    rules.require_rank(w._shape, rank + 2)
    unknown = (None,) * (rank + 2)
    order = windows.channels_last(data_format, rank + 2)
    shape = windows.permuted(x._shape or unknown, order)
    sizes = w._shape or unknown
    _, outputs = _depths(kind, shape[-1], sizes)
    window = windows.window_of(op.attrs, sizes[:rank])
    out = (shape[0], *windows.output_sizes(window, shape[1:-1]), outputs)
    back = windows.channels_first(data_format, rank + 2)
    return ((x.dtype, windows.permuted(out, back)),)


def _depths(kind: _Kind, depth: Any, sizes: Any) -> tuple[Any, Any]:
    """(channels in, channels out); ValueError if the filter does not fit the input."""
    inner, outer = sizes[-2:]
    if kind.depthwise:
        depth = rules.merge_dimensions(depth, inner)
        return depth, None if depth is None or outer is None else depth * outer
    if depth is not None and inner is not None:
        if inner == 0 or depth % inner:
            raise ValueError(
                f"Depth of input ({depth}) is not a multiple of input depth of filter "
                f"({inner})"
            )
        if outer is not None and outer % max(depth // inner, 1):
            raise ValueError(
                f"Depth of output ({outer}) is not a multiple of the number of groups "
                f"({depth // inner})"
            )
    return depth, outer


def _infer_to_input(kind: _Kind, op: Any) -> Any:
    sizes, w, dy = op.inputs
    rules.require_rank(w._shape, kind.rank + 2)
    rules.require_rank(dy._shape, kind.rank + 2)
    windows.check_format(op.attrs["data_format"], kind.formats, kind.to_input)
    shape = constant.sizes(sizes) or (None,) * (kind.rank + 2)
    rules.require_rank(shape, kind.rank + 2)
    return ((dy.dtype, shape),)


def _infer_to_filter(kind: _Kind, op: Any) -> Any:
    x, sizes, dy = op.inputs
    rules.require_rank(x._shape, kind.rank + 2)
    rules.require_rank(dy._shape, kind.rank + 2)
    windows.check_format(op.attrs["data_format"], kind.formats, kind.to_filter)
    shape = constant.sizes(sizes) or (None,) * (kind.rank + 2)
    rules.require_rank(shape, kind.rank + 2)
    return ((x.dtype, shape),)


# --- lowering -------------------------------------------------------------------------


class _Plan(NamedTuple):
    """Concrete sizes of one convolution, channels last.

    The channels fall into ``groups`` of ``inner`` inputs and ``outer`` outputs, each
    convolved by itself.
    """

    window: Window
    pads: tuple[tuple[int, int], ...]
    batch: int
    sizes: Shape
    positions: Shape
    groups: int
    inner: int
    outer: int

    @property
    def taps(self) -> int:
        """Elements of the window on one channel."""
        return prod(self.window.sizes)  # type: ignore[arg-type]


def _plan(kind: _Kind, site: Site, x: Shape, w: Shape) -> _Plan:
    """The plan for an input shape with its channels last, and a filter shape."""
    rank = kind.rank
    window = windows.window_of(site.attrs, w[:rank])
    sizes = x[1:-1]
    _depths(kind, x[-1], w)
    inner, outer = (1, w[-1]) if kind.depthwise else (w[-2], 0)
    groups = x[-1] // inner if inner else 1
    if not kind.depthwise:
        outer = w[-1] // max(groups, 1)
    positions: Any = windows.output_sizes(window, sizes)
    pads = windows.known(window, sizes)
    return _Plan(window, pads, x[0], sizes, positions, groups, inner, outer)


def _grouped(b: Builder, x: View, groups: int, taps: int) -> View:
    """[batch, places..., window..., channels] as a matrix for each group."""
    inner = x.shape[-1] // max(groups, 1)
    places = _places(x, taps)
    if groups == 1:
        return b.reshape(x, (places, taps * inner))
    split = b.reshape(x, (*x.shape[:-1], groups, inner))
    last = split.rank - 2
    split = split.transpose((last, *range(last), last + 1))
    return b.reshape(split, (groups, places, taps * inner))


def _places(x: View, taps: int) -> int:
    outer = prod(x.shape[:-1])
    return outer // taps if taps else 0


def _filter_matrix(b: Builder, w: View, plan: _Plan, flipped: bool) -> View:
    """The filter as [groups, window * inputs, outputs].

    ``flipped``: as [groups, window reversed * outputs, inputs], for the way back.
    """
    rank = len(plan.window.sizes)
    w = b.reshape(w, (*w.shape[:rank], plan.inner, plan.groups, plan.outer))
    axes = tuple(range(rank))
    if flipped:
        starts = (*[n - 1 for n in w.shape[:rank]], 0, 0, 0)
        w = w.slice(starts, w.shape, (-1,) * rank + (1, 1, 1))
        w = w.transpose((rank + 1, *axes, rank + 2, rank))
        rows, columns = plan.taps * plan.outer, plan.inner
    else:
        w = w.transpose((rank + 1, *axes, rank, rank + 2))
        rows, columns = plan.taps * plan.inner, plan.outer
    shape = (plan.groups, rows, columns) if plan.groups != 1 else (rows, columns)
    return b.reshape(w, shape)


def _ungrouped(b: Builder, y: View, outer: Shape, groups: int) -> View:
    """[groups, places, channels] as [outer..., groups * channels]."""
    if groups == 1:
        return b.reshape(y, (*outer, y.shape[-1]))
    y = b.reshape(y, (groups, *outer, y.shape[-1]))
    y = y.transpose((*range(1, len(outer) + 1), 0, len(outer) + 1))
    return b.reshape(y, (*outer, groups * y.shape[-1]))


def _patches(b: Builder, x: View, plan: _Plan) -> View:
    """What each position of the window sees: [groups, positions, window * inputs]."""
    x = windows.padded(b, x, plan.pads, 0)
    slid = windows.slide(x, plan.window, plan.positions)
    return _grouped(b, slid, plan.groups, plan.taps)


def _lower_forward(kind: _Kind, b: Builder, site: Site) -> View:
    data_format, rank = site.attrs["data_format"], kind.rank + 2
    x = windows.permuted(site.inputs[0], windows.channels_last(data_format, rank))
    w = site.inputs[1]
    plan = _plan(kind, site, x.shape, w.shape)
    y = matmul.product(
        b, _patches(b, x, plan), _filter_matrix(b, w, plan, False), x.dtype
    )
    y = _ungrouped(b, y, (plan.batch, *plan.positions), plan.groups)
    return windows.permuted(y, windows.channels_first(data_format, rank))


def _check_gradient(plan: _Plan, dy: View) -> None:
    wanted = (plan.batch, *plan.positions, plan.groups * plan.outer)
    if dy.shape != wanted:
        raise ValueError(
            f"The gradient has shape {list(dy.shape)}, where the convolution gives "
            f"{list(wanted)} (channels last)."
        )


def _lower_to_input(kind: _Kind, b: Builder, site: Site) -> View:
    data_format, rank = site.attrs["data_format"], kind.rank + 2
    order = windows.channels_last(data_format, rank)
    shape = windows.permuted(b.integers(site.inputs[0]), order)
    w, dy = site.inputs[1], windows.permuted(site.inputs[2], order)
    plan = _plan(kind, site, shape, w.shape)
    _check_gradient(plan, dy)
    seen = windows.unslide(b, dy, plan.window, plan.sizes, plan.pads)
    rows = _grouped(b, seen, plan.groups, plan.taps)
    dx = matmul.product(b, rows, _filter_matrix(b, w, plan, True), dy.dtype)
    dx = _ungrouped(b, dx, (plan.batch, *plan.sizes), plan.groups)
    return windows.permuted(dx, windows.channels_first(data_format, rank))


def _lower_to_filter(kind: _Kind, b: Builder, site: Site) -> View:
    data_format, rank = site.attrs["data_format"], kind.rank + 2
    order = windows.channels_last(data_format, rank)
    x, dy = (windows.permuted(site.inputs[i], order) for i in (0, 2))
    shape = b.integers(site.inputs[1])
    plan = _plan(kind, site, x.shape, shape)
    _check_gradient(plan, dy)
    rows = matmul.swapped(_patches(b, x, plan))
    dw = matmul.product(b, rows, _grouped(b, dy, plan.groups, 1), x.dtype)
    taps: Any = plan.window.sizes
    dw = b.reshape(dw, (plan.groups, *taps, plan.inner, plan.outer))
    dw = dw.transpose((*range(1, kind.rank + 2), 0, kind.rank + 2))
    return b.reshape(dw, shape)


# --- the ops --------------------------------------------------------------------------


def _declare(kind: _Kind) -> None:
    def shape(name: str) -> Input:
        return Input(name, attr=None, dtype=dtypes.int32, static=True)

    def op(op_type: str, inputs: Any, infer: Any, lower: Any) -> None:
        family.op(
            op_type,
            inputs,
            attrs=kind.attrs(),
            infer=lambda node: infer(kind, node),
            lower=lambda b, site: lower(kind, b, site),
        )

    op(kind.forward, "input filter", _infer_forward, _lower_forward)
    op(
        kind.to_input,
        (shape("input_sizes"), Input("filter"), Input("out_backprop")),
        _infer_to_input,
        _lower_to_input,
    )
    op(
        kind.to_filter,
        (Input("input"), shape("filter_sizes"), Input("out_backprop")),
        _infer_to_filter,
        _lower_to_filter,
    )

    def attrs_of(node: Any) -> dict[str, Any]:
        return {name: node.attrs[name] for name in kind.attrs()}

    @family.gradient(kind.forward)
    def forward_grad(node: Any, dy: Any) -> Any:
        apply, attrs, (x, w) = node.graph.apply, attrs_of(node), node.inputs
        if kind.depthwise:
            x_sizes, w_sizes = static.shape_of(x), static.shape_of(w)
        else:
            x_sizes, w_sizes = apply("ShapeN", [x, w], out_type=dtypes.int32)
        dx = apply(kind.to_input, x_sizes, w, dy, **attrs)
        return [dx, apply(kind.to_filter, x, w_sizes, dy, **attrs)]

    @family.gradient(kind.to_input)
    def to_input_grad(node: Any, dx: Any) -> Any:
        apply, attrs, (_, w, dy) = node.graph.apply, attrs_of(node), node.inputs
        dw = apply(kind.to_filter, dx, static.shape_of(w), dy, **attrs)
        return [None, dw, apply(kind.forward, dx, w, **attrs)]

    @family.gradient(kind.to_filter)
    def to_filter_grad(node: Any, dw: Any) -> Any:
        apply, attrs, (x, _, dy) = node.graph.apply, attrs_of(node), node.inputs
        dx = apply(kind.to_input, static.shape_of(x), dw, dy, **attrs)
        return [dx, None, apply(kind.forward, x, dw, **attrs)]


for _kind in (_CONV2D, _CONV3D, _DEPTHWISE):
    _declare(_kind)
