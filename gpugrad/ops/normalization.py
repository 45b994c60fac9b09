"""Batch normalization: composed, and as the one op FusedBatchNormV3."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules, windows
from gpugrad.ops.family import OpFamily

family = OpFamily()


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    offset: Any,
    scale: Any,
    variance_epsilon: Any,
    name: str | None = None,
) -> Any:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, all broadcast.

    ``offset`` and ``scale`` may be None.
    """
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]):
        x = convert_to_tensor(x, name="x")
        factor = apply_op("Rsqrt", _plus(variance, variance_epsilon))
        if scale is not None:
            factor = apply_op("Mul", factor, scale, name="mul")
        product = apply_op("Mul", x, factor, name="mul")
        if offset is not None:
            shifted = apply_op("Mul", mean, factor, name="mul")
            rest = apply_op("Sub", offset, shifted, name="sub")
        else:
            rest = apply_op("Mul", apply_op("Neg", mean), factor, name="mul")
        return apply_op("AddV2", product, rest, name="add")


def _plus(x: Any, y: Any) -> Any:
    return apply_op("AddV2", x, y, name="add")


# --- FusedBatchNormV3 -----------------------------------------------------------------

_FORMATS = ("NHWC", "NCHW", "NDHWC", "NCDHW")
_STATISTICS = Input("mean", attr="U"), Input("variance", attr="U")


def _channels(op: Any) -> Any:
    data_format = op.attrs["data_format"]
    windows.check_format(data_format, _FORMATS, op.spec.type)
    shape = op.inputs[0]._shape
    rules.require_rank(shape, len(data_format))
    channels = None
    if shape is not None:
        channels = shape[1] if data_format.startswith("NC") else shape[-1]
    return channels


def _infer(op: Any) -> Any:
    x, scale, offset = op.inputs[:3]
    channels = _channels(op)
    vectors = [scale, offset]
    if not op.attrs["is_training"]:
        vectors += op.inputs[3:]
    for vector in vectors:
        rules.require_rank(vector._shape, 1)
        if vector._shape is not None:
            channels = rules.merge_dimensions(channels, vector._shape[0])
    dtype = scale.dtype
    return (
        (x.dtype, _images(op, x, channels)),
        *(((dtype, (channels,)),) * 4),
        (dtype, None),
    )


def _images(op: Any, x: Any, channels: int | None) -> Any:
    """The static shape of ``x``, where it is known to have so many channels."""
    data_format = op.attrs["data_format"]
    shape = list(x._shape or (None,) * len(data_format))
    shape[1 if data_format.startswith("NC") else -1] = channels
    return tuple(shape)


def _columns(b: Builder, x: View, data_format: str) -> tuple[View, tuple[int, ...]]:
    """The view with its channels last, and the axes that are normalised over."""
    x = windows.permuted(x, windows.channels_last(data_format, x.rank))
    return x, tuple(range(x.rank - 1))


def _mean(
    b: Builder, x: View, wide: dtypes.DType, axes: tuple[int, ...], *others: View,
    of: Any = None,
) -> View:  # fmt: skip
    """The mean of ``of`` (by default the element itself) for each channel."""
    count = prod(x.shape[a] for a in axes)

    def before(element: Any, *rest: Any) -> Any:
        element = scalar.cast(element, wide)
        return element if of is None else of(element, *rest)

    return b.reduce(
        "sum", x, axes, before=before, after=lambda s: s / count, others=others
    )


def _lower(b: Builder, site: Site) -> Sequence[View]:
    attrs, (x, scale, offset, mean, variance) = site.attrs, site.inputs
    epsilon, wide = attrs["epsilon"], site.dtypes[1]
    x, axes = _columns(b, x, attrs["data_format"])
    batch_mean, batch_variance = mean, variance
    if attrs["is_training"]:
        batch_mean = _mean(b, x, wide, axes)
        batch_variance = _mean(
            b, x, wide, axes, batch_mean, of=lambda e, m: (e - m) * (e - m)
        )

    def normal(e: Any, m: Any, v: Any, s: Any, o: Any) -> Any:
        e = scalar.cast(e, wide)
        return (e - m) * scalar.rsqrt(v + epsilon) * s + o

    y = b.map(normal, x, batch_mean, batch_variance, scale, offset, dtype=x.dtype)
    y = windows.permuted(y, windows.channels_first(attrs["data_format"], x.rank))
    # The variance that goes out is that of a sample: divided by n - 1.
    count = prod(x.shape[a] for a in axes)
    sample = batch_variance
    if attrs["is_training"]:
        unbiased = count / max(count - 1, 1)
        sample = b.map(lambda v: v * unbiased, batch_variance)
    out_mean = batch_mean
    factor = attrs["exponential_avg_factor"]
    if attrs["is_training"] and factor != 1:
        out_mean, sample = (
            b.map(lambda old, new: old * (1 - factor) + new * factor, old, new)
            for old, new in ((mean, batch_mean), (variance, sample))
        )
    empty = b.fill(0, wide, (0,))
    return y, out_mean, sample, batch_mean, batch_variance, empty


family.op(
    "FusedBatchNormV3",
    (Input("x"), Input("scale", attr="U"), Input("offset", attr="U"), *_STATISTICS),
    attrs={
        "epsilon": 0.0001,
        "exponential_avg_factor": 1.0,
        "data_format": "NHWC",
        "is_training": True,
    },
    infer=_infer,
    lower=_lower,
)


# --- FusedBatchNormGradV3 -------------------------------------------------------------


def _infer_grad(op: Any) -> Any:
    x, scale = op.inputs[1:3]
    channels = _channels(op)
    dtype = scale.dtype
    vectors = ((dtype, (channels,)), (dtype, (channels,)))
    images = (x.dtype, _images(op, x, channels))
    return (images, *vectors, (dtype, (0,)), (dtype, (0,)))


def _lower_grad(b: Builder, site: Site) -> Sequence[View]:
    attrs = site.attrs
    dy, x, scale, mean, variance, _ = site.inputs
    epsilon, wide = attrs["epsilon"], site.dtypes[1]
    dy, axes = _columns(b, dy, attrs["data_format"])
    x, _ = _columns(b, x, attrs["data_format"])
    inverse = b.map(lambda v: scalar.rsqrt(v + epsilon), variance)

    def by_normal(g: Any, e: Any, m: Any, r: Any) -> Any:
        return g * ((scalar.cast(e, wide) - m) * r)

    mean_g = _mean(b, dy, wide, axes)
    mean_gx = _mean(b, dy, wide, axes, x, mean, inverse, of=by_normal)

    def training(g: Any, e: Any, s: Any, m: Any, r: Any, mg: Any, mgx: Any) -> Any:
        normal = (scalar.cast(e, wide) - m) * r
        return s * r * (scalar.cast(g, wide) - mg - normal * mgx)

    if attrs["is_training"]:
        dx = b.map(
            training, dy, x, scale, mean, inverse, mean_g, mean_gx, dtype=x.dtype
        )
    else:
        dx = b.map(
            lambda g, s, r: scalar.cast(g, wide) * s * r,
            dy, scale, inverse, dtype=x.dtype,
        )  # fmt: skip
    count = prod(x.shape[a] for a in axes)
    d_scale, d_offset = (b.map(lambda m: m * count, v) for v in (mean_gx, mean_g))
    dx = windows.permuted(dx, windows.channels_first(attrs["data_format"], x.rank))
    empty = b.fill(0, wide, (0,))
    return dx, d_scale, d_offset, empty, empty


family.op(
    "FusedBatchNormGradV3",
    (
        Input("y_backprop"),
        Input("x"),
        Input("scale", attr="U"),
        Input("reserve_space_1", attr="U"),
        Input("reserve_space_2", attr="U"),
        Input("reserve_space_3", attr="U"),
    ),
    attrs={"epsilon": 0.0001, "data_format": "NHWC", "is_training": True},
    infer=_infer_grad,
    lower=_lower_grad,
)


@family.gradient("FusedBatchNormV3")
def _fused_grad(op: Any, dy: Any, *others: Any) -> Any:
    x, scale, _, mean, variance = op.inputs
    if op.attrs["is_training"]:
        mean, variance = op.outputs[3:5]
    attrs = {k: op.attrs[k] for k in ("epsilon", "data_format", "is_training")}
    dx, d_scale, d_offset, _, _ = op.graph.apply(
        "FusedBatchNormGradV3", dy, x, scale, mean, variance, op.outputs[5], **attrs
    )
    return [dx, d_scale, d_offset, None, None]


@family.gradient("FusedBatchNormGradV3")
def _fused_grad_grad(op: Any, v: Any, u: Any, w: Any, *others: Any) -> Any:
    """Second order. v, u, w are the gradients of dx, d_scale and d_offset.

    With r = 1/sqrt(variance + epsilon) and n = (x - mean) * r, the first order is
    dx = scale * r * G, G = g - mean(g) - n * mean(g * n) (G = g when not training),
    d_scale = sum(g * n), d_offset = sum(g). This is its transpose, r and n varying
    with x when training, with mean and variance when not.
    """
    graph = op.graph
    g, x, scale, mean, variance, _ = op.inputs
    order = windows.channels_last(op.attrs["data_format"], len(op.attrs["data_format"]))
    if order is not None:
        g, x, v = (graph.apply("Transpose", t, list(order)) for t in (g, x, v))
    dtype, wide = x.dtype, scale.dtype
    g, x, v = (_cast(graph, t, wide) for t in (g, x, v))
    axes = list(range(len(op.attrs["data_format"]) - 1))

    def total(t: Any) -> Any:
        return graph.apply("Sum", t, axes, keep_dims=False)

    def average(t: Any) -> Any:
        return graph.apply("Mean", t, axes, keep_dims=False)

    r = graph.apply("Rsqrt", variance + op.attrs["epsilon"])
    n = (x - mean) * r
    d_mean = d_variance = None
    if op.attrs["is_training"]:
        m = average(g * n)
        rest = g - average(g) - n * m
        dg = scale * r * (v - average(v) - n * average(v * n)) + u * n + w
        dn = u * g - scale * r * (v * m + g * average(v * n))
        dr = scale * total(v * rest)
        count = total(graph.apply("OnesLike", x))
        dx = r * (dn - average(dn) - n * average(dn * n)) - r * r * n * dr / count
    else:
        rest = g
        dg = scale * r * v + u * n + w
        dx = u * g * r
        d_mean = -total(dx)
        slope = total(u * g * n) + scale * r * total(v * g)
        d_variance = -0.5 * r * r * slope
    d_scale = r * total(v * rest)
    dg, dx = (_cast(graph, t, dtype) for t in (dg, dx))
    if order is not None:
        back = list(windows.channels_first(op.attrs["data_format"], len(order)) or ())
        dg, dx = (graph.apply("Transpose", t, back) for t in (dg, dx))
    return [dg, dx, d_scale, d_mean, d_variance, None]


def _cast(graph: Any, tensor: Any, dtype: dtypes.DType) -> Any:
    return tensor if tensor.dtype is dtype else graph.apply("Cast", tensor, DstT=dtype)


def fused_batch_norm(
    x: Any,
    scale: Any,
    offset: Any,
    mean: Any = None,
    variance: Any = None,
    epsilon: float = 0.001,
    data_format: str = "NHWC",
    is_training: bool = True,
    name: str | None = None,
    exponential_avg_factor: float = 1.0,
) -> tuple[Any, Any, Any]:
    """(normalised x, mean, variance) of a batch of images.

    When training, mean and variance are those of the batch (a running average with
    the given ones, if exponential_avg_factor is not 1); else the given ones are used.
    The variance that is returned is divided by n - 1.
    """
    if (not is_training or exponential_avg_factor != 1) and (
        mean is None or variance is None
    ):
        raise ValueError(
            "Both `mean` and `variance` must be a 1D tensor when `is_training` is "
            f"False or `exponential_avg_factor` != 1.0. Received: `mean` {mean!r} and "
            f"`variance` {variance!r}"
        )
    x = convert_to_tensor(x, name="input")
    scale = convert_to_tensor(scale, name="scale")
    offset = convert_to_tensor(offset, name="offset")
    none = convert_to_tensor([], scale.dtype, name="Const")
    result = apply_op(
        "FusedBatchNormV3",
        x,
        scale,
        offset,
        none if mean is None else mean,
        none if variance is None else variance,
        # TensorFlow's kernels do not go below this.
        epsilon=max(float(epsilon), 1.001e-5),
        data_format=data_format,
        is_training=is_training,
        exponential_avg_factor=float(exponential_avg_factor),
        name=name,
    )
    return result[0], result[1], result[2]
