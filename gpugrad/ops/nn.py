"""Activations and bias: the elementwise ops of tf.nn."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.indexed_slices import densify
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr, Lit
from gpugrad.kir.space import View
from gpugrad.ops import rules, static
from gpugrad.ops.family import OpFamily, same_as_input

family = OpFamily()

# Selu's constants, for which activations keep mean 0 and variance 1.
_SCALE = 1.0507009873554804934193349852946
_SCALED_ALPHA = 1.7580993408473768599402175208123


# --- Relu -----------------------------------------------------------------------------

family.elementwise("Relu", "features", lambda x: scalar.maximum(x, 0), types=rules.REAL)
family.elementwise(
    "ReluGrad",
    "gradients features",
    lambda g, y: scalar.select(scalar.greater(y, 0), g, Lit(0, g.dtype)),
    types=rules.REAL,
)


@family.gradient("Relu")
def _relu_grad(op: Any, dy: Any) -> Any:
    return op.graph.apply("ReluGrad", dy, op.outputs[0])


@family.gradient("ReluGrad")
def _relu_grad_grad(op: Any, dy: Any) -> Any:
    y = op.inputs[1]
    return [op.graph.apply("ReluGrad", dy, y), rules.zeros_like(op.graph, y)]


def relu(features: Any, name: str | None = None) -> Any:
    """max(x, 0); the gradient at 0 is 0."""
    return apply_op("Relu", features, name=name)


# --- Relu6 ----------------------------------------------------------------------------


def _relu6_grad(g: Expr, y: Expr) -> Expr:
    inside = scalar.logical_and(scalar.greater(y, 0), scalar.less(y, 6))
    return scalar.select(inside, g, Lit(0, g.dtype))


family.elementwise(
    "Relu6",
    "features",
    lambda x: scalar.minimum(scalar.maximum(x, 0), 6),
    types=rules.REAL,
)
family.elementwise("Relu6Grad", "gradients features", _relu6_grad, types=rules.REAL)


@family.gradient("Relu6")
def _relu6_rule(op: Any, dy: Any) -> Any:
    return op.graph.apply("Relu6Grad", dy, op.outputs[0])


@family.gradient("Relu6Grad")
def _relu6_grad_grad(op: Any, dy: Any) -> Any:
    y = op.inputs[1]
    return [op.graph.apply("Relu6Grad", dy, y), rules.zeros_like(op.graph, y)]


def relu6(features: Any, name: str | None = None) -> Any:
    """min(max(x, 0), 6); the gradient at 0 and at 6 is 0."""
    return apply_op("Relu6", features, name=name)


# --- LeakyRelu ------------------------------------------------------------------------


def _with_alpha(fn: Callable[..., Expr]) -> dict[str, Any]:
    """The rules of an elementwise op whose expression needs the attribute alpha."""

    def infer(op: Any) -> Any:
        rules.require_dtype(op, 0, rules.FLOATS)
        return same_as_input(op)

    def lower(b: Builder, site: Site) -> View:
        alpha = site.attrs["alpha"]
        return b.map(lambda *args: fn(*args, alpha), *site.inputs)

    attrs = {"alpha": 0.2}
    return {"attrs": attrs, "infer": infer, "lower": lower, "elementwise": True}


def _slope(g: Expr, x: Expr, alpha: float) -> Expr:
    return scalar.select(scalar.greater(x, 0), g, g * alpha)


family.op("LeakyRelu", "features", **_with_alpha(lambda x, alpha: _slope(x, x, alpha)))
family.op("LeakyReluGrad", "gradients features", **_with_alpha(_slope))


@family.gradient("LeakyRelu")
def _leaky_relu_grad(op: Any, dy: Any) -> Any:
    alpha = op.attrs["alpha"]
    return op.graph.apply("LeakyReluGrad", dy, op.inputs[0], alpha=alpha)


@family.gradient("LeakyReluGrad")
def _leaky_relu_grad_grad(op: Any, dy: Any) -> Any:
    x, alpha = op.inputs[1], op.attrs["alpha"]
    dg = op.graph.apply("LeakyReluGrad", dy, x, alpha=alpha)
    return [dg, rules.zeros_like(op.graph, x)]


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Any:
    """x where it is positive, else alpha * x; the gradient at 0 is alpha.

    Integers become float32.
    """
    x = convert_to_tensor(features, name="features")
    if x.dtype.is_integer:
        x = apply_op("Cast", x, DstT=dtypes.float32)
    return apply_op("LeakyRelu", x, alpha=float(alpha), name=name)


# --- Elu ------------------------------------------------------------------------------

family.elementwise(
    "Elu",
    "features",
    lambda x: scalar.select(scalar.less(x, 0), scalar.expm1(x), x),
    types=rules.FLOATS,
)
family.elementwise(
    "EluGrad",
    "gradients outputs",
    lambda g, y: scalar.select(scalar.less(y, 0), g * (y + 1), g),
    types=rules.FLOATS,
)


@family.gradient("Elu")
def _elu_grad(op: Any, dy: Any) -> Any:
    return op.graph.apply("EluGrad", dy, op.outputs[0])


@family.gradient("EluGrad")
def _elu_grad_grad(op: Any, dy: Any) -> Any:
    return _below_zero(op, dy, "EluGrad")


def _below_zero(op: Any, dy: Any, op_type: str) -> Any:
    """Of g * slope(y), where the slope is y + constant below 0 and constant above."""
    g, y = op.inputs
    apply = op.graph.apply
    dg = apply(op_type, dy, y)
    below = apply("Less", y, 0)
    return [dg, apply("Select", below, dy * g, rules.zeros_like(op.graph, g))]


def elu(features: Any, name: str | None = None) -> Any:
    """x where it is not negative, else exp(x) - 1; the gradient at 0 is 1."""
    return apply_op("Elu", features, name=name)


# --- Selu -----------------------------------------------------------------------------

family.elementwise(
    "Selu",
    "features",
    lambda x: scalar.select(
        scalar.less(x, 0), scalar.expm1(x) * _SCALED_ALPHA, x * _SCALE
    ),
    types=rules.FLOATS,
)
family.elementwise(
    "SeluGrad",
    "gradients outputs",
    lambda g, y: scalar.select(scalar.less(y, 0), g * (y + _SCALED_ALPHA), g * _SCALE),
    types=rules.FLOATS,
)


@family.gradient("Selu")
def _selu_grad(op: Any, dy: Any) -> Any:
    return op.graph.apply("SeluGrad", dy, op.outputs[0])


@family.gradient("SeluGrad")
def _selu_grad_grad(op: Any, dy: Any) -> Any:
    return _below_zero(op, dy, "SeluGrad")


def selu(features: Any, name: str | None = None) -> Any:
    """scale * x where it is not negative, else scale * alpha * (exp(x) - 1)."""
    return apply_op("Selu", features, name=name)


# --- Softplus -------------------------------------------------------------------------

family.elementwise(
    "Softplus",
    "features",
    lambda x: scalar.maximum(x, 0) + scalar.log1p(scalar.exp(-scalar.abs_(x))),
    types=rules.FLOATS,
)
family.elementwise(
    "SoftplusGrad",
    "gradients features",
    lambda g, x: g / (scalar.exp(-x) + 1),
    types=rules.FLOATS,
)


@family.gradient("Softplus")
def _softplus_grad(op: Any, dy: Any) -> Any:
    return dy * op.graph.apply("Sigmoid", op.inputs[0])


@family.gradient("SoftplusGrad")
def _softplus_grad_grad(op: Any, dy: Any) -> Any:
    g, x = op.inputs
    y = op.graph.apply("Sigmoid", x)
    return [dy * y, dy * g * y * (1 - y)]


def softplus(features: Any, name: str | None = None) -> Any:
    """log(1 + exp(x)), without overflow."""
    return apply_op("Softplus", features, name=name)


# --- Softsign -------------------------------------------------------------------------


def _softsign_grad(g: Expr, x: Expr) -> Expr:
    base = scalar.abs_(x) + 1
    return g / (base * base)


family.elementwise(
    "Softsign", "features", lambda x: x / (scalar.abs_(x) + 1), types=rules.FLOATS
)
family.elementwise(
    "SoftsignGrad", "gradients features", _softsign_grad, types=rules.FLOATS
)


@family.gradient("Softsign")
def _softsign_rule(op: Any, dy: Any) -> Any:
    return op.graph.apply("SoftsignGrad", dy, op.inputs[0])


def softsign(features: Any, name: str | None = None) -> Any:
    """x / (1 + |x|). It has no second derivative, as in TensorFlow."""
    return apply_op("Softsign", features, name=name)


# --- activations made of others -------------------------------------------------------


def log_sigmoid(x: Any, name: str | None = None) -> Any:
    """log(1 / (1 + exp(-x))), without overflow."""
    with name_scope(name, "LogSigmoid", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        return apply_op("Neg", apply_op("Softplus", apply_op("Neg", x)), name=scope)


def crelu(features: Any, name: str | None = None, axis: int = -1) -> Any:
    """relu of x and of -x, one after the other along ``axis``."""
    with name_scope(name, "CRelu", [features]) as scope:
        x = convert_to_tensor(features, name="features")
        both = apply_op("ConcatV2", [x, apply_op("Neg", x)], axis, name=scope)
        return apply_op("Relu", both)


def swish(features: Any, beta: Any = 1.0, name: str | None = None) -> Any:
    """x * sigmoid(beta * x), also called silu."""
    x = convert_to_tensor(features, name="features")
    gate = apply_op("Sigmoid", apply_op("Mul", beta, x, name="mul"))
    return apply_op("Mul", x, gate, name=name or "mul")


silu = swish


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Any:
    """x times the probability that a standard normal variable is below x.

    ``approximate`` takes a tanh for it.
    """
    with name_scope(name, "Gelu", [features]):
        x = convert_to_tensor(features, name="features")
        if not x.dtype.is_floating:
            raise ValueError(
                "`features.dtype` must be a floating point tensor. Received: "
                f"features.dtype={x.dtype.name}. Cast it."
            )
        if approximate:
            cubic = 0.044715 * apply_op("Pow", x, 3)
            return 0.5 * x * (1.0 + apply_op("Tanh", sqrt(2 / pi) * (x + cubic)))
        return 0.5 * x * apply_op("Erfc", -x * sqrt(0.5))


# --- BiasAdd --------------------------------------------------------------------------


def channel_axis(rank: int, data_format: str) -> int:
    """Where the channels are: last, or after the batch for NCHW."""
    return 1 if data_format.startswith("NC") else rank - 1


def _infer_bias_add(op: Any) -> Any:
    value, bias = op.inputs
    shape = value._shape
    rules.require_dtype(op, 0, rules.NUMBERS)
    rules.require_rank(shape, 2, least=True)
    rules.require_rank(bias._shape, 1)
    if shape is None:
        return ((value.dtype, None),)
    axis = channel_axis(len(shape), op.attrs["data_format"])
    channels = None if bias._shape is None else bias._shape[0]
    merged = rules.merge_dimensions(shape[axis], channels)
    return ((value.dtype, (*shape[:axis], merged, *shape[axis + 1 :])),)


def _lower_bias_add(b: Builder, site: Site) -> View:
    value, bias = site.inputs
    axis = channel_axis(value.rank, site.attrs["data_format"])
    if bias.shape != (value.shape[axis],):
        raise ValueError(
            f"Must provide as many biases as channels: {bias.shape} vs. {value.shape}."
        )
    for _ in range(value.rank - axis - 1):
        bias = bias.insert_axis(bias.rank)
    return b.map(scalar.add, value, bias)


family.op(
    "BiasAdd",
    "value bias",
    attrs={"data_format": "NHWC"},
    infer=_infer_bias_add,
    lower=_lower_bias_add,
)


def _infer_bias_grad(op: Any) -> Any:
    dy = op.inputs[0]
    rules.require_rank(dy._shape, 2, least=True)
    if dy._shape is None:
        return ((dy.dtype, (None,)),)
    axis = channel_axis(len(dy._shape), op.attrs["data_format"])
    return ((dy.dtype, (dy._shape[axis],)),)


def _lower_bias_grad(b: Builder, site: Site) -> View:
    dy = site.inputs[0]
    axis = channel_axis(dy.rank, site.attrs["data_format"])
    return b.reduce("sum", dy, [i for i in range(dy.rank) if i != axis])


family.op(
    "BiasAddGrad",
    "out_backprop",
    attrs={"data_format": "NHWC"},
    infer=_infer_bias_grad,
    lower=_lower_bias_grad,
)


@family.gradient("BiasAdd", slices=True)
def _bias_add_grad(op: Any, dy: Any) -> Any:
    data_format = op.attrs["data_format"]
    return [dy, op.graph.apply("BiasAddGrad", densify(dy), data_format=data_format)]


@family.gradient("BiasAddGrad")
def _bias_add_grad_grad(op: Any, dy: Any) -> Any:
    """The channels' gradient repeated over all other axes."""
    graph, out = op.graph, op.inputs[0]
    sizes = static.shape_of(out)
    if op.attrs["data_format"].startswith("NC"):
        rank = static.rank_of(out)
        ones = graph.apply("Fill", graph.apply("Pack", [rank - 2], axis=0), 1)
        column = graph.apply("ConcatV2", [[-1], ones], 0, name="concat")
        dy = graph.apply("Reshape", dy, column)
    return graph.apply("BroadcastTo", dy, sizes)


def bias_add(
    value: Any, bias: Any, data_format: str | None = None, name: str | None = None
) -> Any:
    """``value`` plus a vector along its channels.

    ``data_format`` is "N...C" (channels last, the default) or "NC...".
    """
    layout = "NHWC"
    if data_format is not None:
        if data_format.startswith("NC"):
            layout = "NCHW"
        elif not (data_format.startswith("N") and data_format.endswith("C")):
            raise ValueError(
                "`data_format` must be of the form `N...C` or `NC...`. Received: "
                f"data_format={data_format}"
            )
    with name_scope(name, "BiasAdd", [value, bias]) as scope:
        value = convert_to_tensor(value, name="input")
        if not hasattr(bias, "dtype"):
            bias = convert_to_tensor(bias, value.dtype, name="bias")
        return apply_op("BiasAdd", value, bias, data_format=layout, name=scope)
