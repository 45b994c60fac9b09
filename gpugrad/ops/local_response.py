"""Local response normalization: each channel divided by what its neighbours hold."""

from __future__ import annotations

from typing import Any

from gpugrad.dtypes import DType
from gpugrad.graph.build import apply_op
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.softmax import wide_dtype

family = OpFamily()

_ATTRS = {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5}


def _infer(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.FLOATS)
    shape = None
    for tensor in op.inputs:
        rules.require_rank(tensor._shape, 4)
        shape = rules.merge_shapes(shape, tensor._shape)
    return ((op.inputs[0].dtype, (None,) * 4 if shape is None else shape),)


def _neighbours(b: Builder, x: View, radius: int, wide: DType) -> View:
    """A view [..., channels, 2 * radius + 1] of ``x``, 0 beyond its channels."""
    outer, channels = x.shape[:-1], x.shape[-1]
    around = b.fill(0, wide, (*outer, channels + 2 * radius))
    starts = (*[0] * len(outer), radius)
    b.store(around.slice(starts, x.shape), lambda e: e, x)
    return View(
        around.buffer,
        (*x.shape, 2 * radius + 1),
        (*around.strides, around.strides[-1]),
        0,
    )


def _sizes(b: Builder, x: View, attrs: dict[str, Any], wide: DType) -> View:
    """bias + alpha * the sum of the squares of a channel's neighbourhood."""
    near = _neighbours(b, x, attrs["depth_radius"], wide)
    return b.reduce(
        "sum",
        near,
        (near.rank - 1,),
        before=lambda e: e * e,
        after=lambda s: s * attrs["alpha"] + attrs["bias"],
    )


def _lower(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    wide, beta = wide_dtype(x.dtype), site.attrs["beta"]

    def scaled(e: Expr, size: Expr) -> Expr:
        return scalar.cast(e, wide) * scalar.pow_(size, -beta)

    return b.map(scaled, x, _sizes(b, x, site.attrs, wide), dtype=x.dtype)


family.op("LRN", "input", attrs=_ATTRS, infer=_infer, lower=_lower)


def _lower_grad(b: Builder, site: Site) -> View:
    """dy size**-beta - 2 alpha beta x * (the neighbourhood's sum of dy y / size)."""
    dy, x, y = site.inputs
    attrs, wide = site.attrs, wide_dtype(x.dtype)
    beta, factor = attrs["beta"], 2 * attrs["alpha"] * attrs["beta"]
    size = _sizes(b, x, attrs, wide)
    share = b.map(
        lambda g, e, s: scalar.cast(g, wide) * scalar.cast(e, wide) / s, dy, y, size
    )
    near = _neighbours(b, share, attrs["depth_radius"], wide)
    total = b.reduce("sum", near, (near.rank - 1,))

    def slope(g: Expr, e: Expr, s: Expr, t: Expr) -> Expr:
        straight = scalar.cast(g, wide) * scalar.pow_(s, -beta)
        return straight - scalar.cast(e, wide) * t * factor

    return b.map(slope, dy, x, size, total, dtype=x.dtype)


family.op(
    "LRNGrad",
    "input_grads input_image output_image",
    attrs=_ATTRS,
    infer=_infer,
    lower=_lower_grad,
)


@family.gradient("LRN")
def _lrn_grad(op: Any, dy: Tensor) -> Any:
    attrs = {name: op.attrs[name] for name in _ATTRS}
    return op.graph.apply("LRNGrad", dy, op.inputs[0], op.outputs[0], **attrs)


def local_response_normalization(
    input: Any,
    depth_radius: int = 5,
    bias: float = 1.0,
    alpha: float = 1.0,
    beta: float = 0.5,
    name: str | None = None,
) -> Tensor:
    """x / (bias + alpha * s) ** beta, s the sum of squares of the channels around.

    Shapes:  [batch, height, width, channels]; s takes ``depth_radius`` channels on
             each side.
    It has no second derivative, as in TensorFlow.
    """
    return apply_op(
        "LRN",
        input,
        depth_radius=int(depth_radius),
        bias=float(bias),
        alpha=float(alpha),
        beta=float(beta),
        name=name,
    )


lrn = local_response_normalization
