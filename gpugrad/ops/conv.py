"""Convolutions over 2 and 3 axes and their gradients, as library calls."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.graph import constant
from gpugrad.graph.spec import Input
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops import (
    convolve,
    matmul,
    rules,
    spectral,
    static,
    windows,
    winograd,
)
from gpugrad.ops.convolve import Geometry
from gpugrad.ops.family import OpFamily

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
    if shape[0] is None and dy._shape is not None:
        shape = (dy._shape[0], *shape[1:])
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


def _geometry(kind: _Kind, site: Site, x: Shape, w: Shape) -> Geometry:
    """The sizes for an input shape with its channels last, and a filter shape."""
    window = windows.window_of(site.attrs, w[: kind.rank])
    sizes = x[1:-1]
    _depths(kind, x[-1], w)
    inner, outer = (1, w[-1]) if kind.depthwise else (w[-2], 0)
    groups = x[-1] // inner if inner else 1
    if not kind.depthwise:
        outer = w[-1] // max(groups, 1)
    known: Any = window.sizes
    positions: Any = windows.output_sizes(window, sizes)
    pads = windows.known(window, sizes)
    return Geometry(
        known, window.strides, window.dilations, pads, sizes, positions, groups, inner,
        outer,
    )  # fmt: skip


def _call(
    b: Builder, kind: _Kind, part: str, args: tuple[View, View], out: Shape, g: Geometry
) -> View:
    """A library call of convolve.py; a backend may have its own row under its name."""
    name = f"depthwise_{part}" if kind.depthwise else part
    dtype = args[0].dtype
    images = args[1].shape[0] if part == "to_input" else args[0].shape[0]
    way, more = _way(kind, part, g, images, dtype)
    impl = getattr(way, name)
    channels = g.groups * g.inner * g.outer
    flops = 2 * images * prod(g.positions) * g.taps * channels
    (y,) = b.call(
        f"conv_{name}", impl, args, ((dtype, out),), True, flops, geometry=g, **more
    )
    return y


def _way(
    kind: _Kind, part: str, g: Geometry, images: int, dtype: dtypes.DType
) -> tuple[Any, dict[str, Any]]:
    """The module whose functions take the least time, and what they need to know."""
    if not dtype.is_floating:
        return convolve, {}
    back = convolve.backwards(g) if part == "to_input" else g
    if not kind.depthwise and back is not None:
        tile = winograd.tile_for(back, images, dtype.itemsize)
        if tile is not None:
            return winograd, {"tile": tile}
    if spectral.suits(back or g, images, kind.depthwise):
        return spectral, {}
    return convolve, {}


def _is_product(kind: _Kind, g: Geometry) -> bool:
    """Nothing slides: each position sees itself alone."""
    ones = {*g.window, *g.strides, *g.dilations}
    return not kind.depthwise and g.groups == 1 and ones == {1} and not _padded(g)


def _padded(g: Geometry) -> bool:
    return any(before or after for before, after in g.pads)


def _lower_forward(kind: _Kind, b: Builder, site: Site) -> View:
    data_format, rank = site.attrs["data_format"], kind.rank + 2
    x = windows.permuted(site.inputs[0], windows.channels_last(data_format, rank))
    w = site.inputs[1]
    g = _geometry(kind, site, x.shape, w.shape)
    if _is_product(kind, g):
        y = matmul.product(b, x, b.reshape(w, (g.inner, g.outer)), x.dtype)
    else:
        out = (x.shape[0], *g.positions, g.groups * g.outer)
        y = _call(b, kind, "forward", (b.contiguous(x), b.contiguous(w)), out, g)
    return windows.permuted(y, windows.channels_first(data_format, rank))


def _check_gradient(batch: int, g: Geometry, dy: View) -> None:
    wanted = (batch, *g.positions, g.groups * g.outer)
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
    g = _geometry(kind, site, shape, w.shape)
    _check_gradient(shape[0], g, dy)
    if _is_product(kind, g):
        matrix = matmul.swapped(b.reshape(w, (g.inner, g.outer)))
        dx = matmul.product(b, dy, matrix, dy.dtype)
    else:
        args = (b.contiguous(w), b.contiguous(dy))
        dx = _call(b, kind, "to_input", args, shape, g)
    return windows.permuted(dx, windows.channels_first(data_format, rank))


def _lower_to_filter(kind: _Kind, b: Builder, site: Site) -> View:
    data_format, rank = site.attrs["data_format"], kind.rank + 2
    order = windows.channels_last(data_format, rank)
    x, dy = (windows.permuted(site.inputs[i], order) for i in (0, 2))
    shape = b.integers(site.inputs[1])
    g = _geometry(kind, site, x.shape, shape)
    _check_gradient(x.shape[0], g, dy)
    if _is_product(kind, g):
        rows = prod(x.shape[:-1])
        seen = matmul.swapped(b.reshape(x, (rows, g.inner)))
        dw = matmul.product(b, seen, b.reshape(dy, (rows, g.outer)), x.dtype)
        return b.reshape(dw, shape)
    return _call(b, kind, "to_filter", (b.contiguous(x), b.contiguous(dy)), shape, g)


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
