"""What optimizers do to a variable and its slots: the ResourceApply... ops.

Each rule gives the new values from the old ones and the gradient. The Sparse ops take
rows of a gradient; rows that they do not name stay as they are, slots included, and
rows named twice count once, with their sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation
from gpugrad.graph.variable import handle_shape
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import (
    Expr,
    abs_,
    cast,
    less_equal,
    maximum,
    pow_,
    select,
    sign,
    sqrt,
)
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.variable_rows import (
    add_gather_rows,
    add_scatter,
    add_sum_equal_rows,
)

family = OpFamily()

Views = tuple[View, ...]
# rule(builder, attributes, old values, other inputs by name) -> new values
Rule = Callable[[Builder, dict[str, Any], Views, dict[str, View]], Views]


def _gradient_descent(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    (var,) = old
    return (b.map(lambda v, a, d: v - a * d, var, given["alpha"], given["delta"]),)


def _momentum(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, accum = old
    lr, grad, momentum = given["lr"], given["grad"], given["momentum"]
    new = b.map(lambda a, g, m: a * m + g, accum, grad, momentum)
    if attrs["use_nesterov"]:
        step = b.map(lambda a, g, m: g + a * m, new, grad, momentum)
    else:
        step = new
    return b.map(lambda v, s, rate: v - rate * s, var, step, lr), new


def _adam(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, m, v = old
    grad, beta1, beta2 = given["grad"], given["beta1"], given["beta2"]

    def rate(lr: Expr, power1: Expr, power2: Expr) -> Expr:
        return lr * sqrt(1.0 - power2) / (1.0 - power1)

    lr = b.map(rate, given["lr"], given["beta1_power"], given["beta2_power"])
    new_m = b.map(lambda x, g, beta: x + (g - x) * (1.0 - beta), m, grad, beta1)
    new_v = b.map(lambda x, g, beta: x + (g * g - x) * (1.0 - beta), v, grad, beta2)
    step = new_m
    if attrs["use_nesterov"]:
        step = b.map(lambda x, g, beta: x * beta + (1.0 - beta) * g, new_m, grad, beta1)
    new_var = b.map(
        lambda x, s, second, r, eps: x - s * r / (sqrt(second) + eps),
        var, step, new_v, lr, given["epsilon"],
    )  # fmt: skip
    return new_var, new_m, new_v


def _adagrad(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, accum = old
    grad = given["grad"]
    new = accum
    if attrs["update_slots"]:
        new = b.map(lambda a, g: a + g * g, accum, grad)
    return (
        b.map(lambda v, r, g, a: v - r * g / sqrt(a), var, given["lr"], grad, new),
        new,
    )


def _adadelta(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, accum, accum_update = old
    grad, rho, epsilon = given["grad"], given["rho"], given["epsilon"]

    def decayed(a: Expr, x: Expr, r: Expr) -> Expr:
        return a * r + x * x * (1.0 - r)

    new = b.map(decayed, accum, grad, rho)
    update = b.map(
        lambda d, a, g, e: sqrt(d + e) / sqrt(a + e) * g,
        accum_update, new, grad, epsilon,
    )  # fmt: skip
    new_update = b.map(decayed, accum_update, update, rho)
    new_var = b.map(lambda v, r, u: v - r * u, var, given["lr"], update)
    return new_var, new, new_update


def _rms_moment(ms: Expr, g: Expr, rho: Expr) -> Expr:
    return ms + (g * g - ms) * (1.0 - rho)


def _rms_prop(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, ms, mom = old
    grad = given["grad"]
    new_ms = b.map(_rms_moment, ms, grad, given["rho"])
    new_mom = b.map(
        lambda m, p, r, g, s, e: m * p + r * g / sqrt(s + e),
        mom, given["momentum"], given["lr"], grad, new_ms, given["epsilon"],
    )  # fmt: skip
    return b.map(lambda v, m: v - m, var, new_mom), new_ms, new_mom


def _centered_rms_prop(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, mg, ms, mom = old
    grad = given["grad"]
    new_ms = b.map(_rms_moment, ms, grad, given["rho"])
    new_mg = b.map(lambda m, g, rho: m + (g - m) * (1.0 - rho), mg, grad, given["rho"])
    new_mom = b.map(
        lambda m, p, r, g, s, c, e: m * p + r * g / sqrt(s - c * c + e),
        mom, given["momentum"], given["lr"], grad, new_ms, new_mg, given["epsilon"],
    )  # fmt: skip
    return b.map(lambda v, m: v - m, var, new_mom), new_mg, new_ms, new_mom


def _ftrl(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, accum, linear = old
    grad, lr, power = given["grad"], given["lr"], given["lr_power"]
    moved = grad
    if "l2_shrinkage" in given:
        # The shrinkage is part of what moves z, not of the squares.
        shrinkage = given["l2_shrinkage"]
        moved = b.map(lambda g, v, s: g + 2.0 * s * v, grad, var, shrinkage)
    new_accum = b.map(lambda a, g: a + g * g, accum, grad)

    def new_z(z: Expr, g: Expr, a: Expr, n: Expr, v: Expr, r: Expr, p: Expr) -> Expr:
        return z + g - (pow_(n, -p) - pow_(a, -p)) / r * v

    new_linear = b.map(new_z, linear, moved, accum, new_accum, var, lr, power)

    def new_v(z: Expr, n: Expr, r: Expr, p: Expr, l1: Expr, l2: Expr) -> Expr:
        scale = pow_(n, -p) / r + 2.0 * l2
        shrunk = (sign(z) * l1 - z) / scale
        return select(less_equal(abs_(z), l1), z * 0.0, shrunk)

    new_var = b.map(new_v, new_linear, new_accum, lr, power, given["l1"], given["l2"])
    return new_var, new_accum, new_linear


def _shrunk(v: Expr, r: Expr, g: Expr, l1: Expr, l2: Expr) -> Expr:
    moved = v - r * g
    kept = maximum(abs_(moved) - r * l1, 0.0)
    return sign(moved) * kept / (1.0 + r * l2)


def _proximal_gradient_descent(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    (var,) = old
    grad = given["grad"] if "grad" in given else given["delta"]
    return (b.map(_shrunk, var, given["alpha"], grad, given["l1"], given["l2"]),)


def _proximal_adagrad(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, accum = old
    grad = given["grad"]
    new = b.map(lambda a, g: a + g * g, accum, grad)
    rate = b.map(lambda r, a: r / sqrt(a), given["lr"], new)
    return b.map(_shrunk, var, rate, grad, given["l1"], given["l2"]), new


def _adagrad_da(b: Builder, attrs: Any, old: Views, given: Any) -> Views:
    var, total, squares = old
    grad, lr, step = given["grad"], given["lr"], given["global_step"]
    step = b.map(lambda t: cast(t, var.dtype), step)
    new_total = b.map(lambda a, g: a + g, total, grad)
    new_squares = b.map(lambda a, g: a + g * g, squares, grad)

    def new_v(a: Expr, n: Expr, r: Expr, t: Expr, l1: Expr, l2: Expr) -> Expr:
        kept = sign(a) * maximum(abs_(a) - l1 * t, 0.0)
        return -r * kept / (l2 * t * r + sqrt(n))

    args = new_total, new_squares, lr, step, given["l1"], given["l2"]
    return b.map(new_v, *args), new_total, new_squares


# --- declarations ---------------------------------------------------------------------


def _infer(op: Operation) -> Any:
    """No outputs; the gradient must have the variable's shape."""
    var = handle_shape(op.inputs[0])
    names = [formal.name for formal in op.spec.inputs]
    if "indices" not in names:
        index = names.index("grad" if "grad" in names else "delta")
        shapes.merge(var, op.inputs[index]._shape)
    return ()


def _lowering(
    rule: Rule, names: Sequence[str], handles: int, sparse: bool
) -> Callable[..., Views]:
    def lower(b: Builder, site: Site) -> Views:
        slots = site.inputs[:handles]
        whole = old = tuple(b.read(handle) for handle in slots)
        given = dict(zip(names[handles:], site.inputs[handles:]))
        indices = None
        if sparse:
            # Rows that are named twice are updated twice, to the same values.
            indices = given.pop("indices")
            size = whole[0].shape[0]
            given["grad"] = add_sum_equal_rows(b, given["grad"], indices, size)
            old = tuple(add_gather_rows(b, table, indices)[0] for table in whole)
        new = rule(b, site.attrs, old, given)
        for handle, table, before, after in zip(slots, whole, old, new):
            if after.shape != before.shape:
                raise InvalidArgumentError(
                    None,
                    None,
                    f"The gradient of {handle.name!r} does not have its shape "
                    f"{before.shape}: the update has {after.shape}.",
                )
            if indices is not None:
                after = add_scatter(b, table, indices, after, "set")
            b.assign(handle, after)
        return ()

    return lower


def _declare(
    kind: str, signature: str, handles: int, rule: Rule, sparse: bool, **attrs: Any
) -> None:
    names = signature.split()
    formals = []
    for index, name in enumerate(names):
        if index < handles:
            formals.append(Input(name, attr=None, dtype=dtypes.resource))
        elif name == "global_step":
            formals.append(Input(name, attr=None, dtype=dtypes.int64))
        else:
            formals.append(Input(name, attr="Tindices" if name == "indices" else "T"))
    family.op(
        f"Resource{'Sparse' if sparse else ''}Apply{kind}",
        formals,
        attrs={"use_locking": False, **attrs},
        infer=_infer,
        lower=_lowering(rule, names, handles, sparse),
        stateful=True,
    )


_declare("GradientDescent", "var alpha delta", 1, _gradient_descent, False)
_declare(
    "ProximalGradientDescent", "var alpha l1 l2 delta", 1, _proximal_gradient_descent,
    False,
)  # fmt: skip
_declare(
    "ProximalGradientDescent", "var alpha l1 l2 grad indices", 1,
    _proximal_gradient_descent, True,
)  # fmt: skip
_declare(
    "Adam", "var m v beta1_power beta2_power lr beta1 beta2 epsilon grad", 3, _adam,
    False, use_nesterov=False,
)  # fmt: skip

# The others have a sparse form: the same inputs, with the indices after the gradient.
for _kind, _signature, _handles, _rule, _attrs in (
    ("Momentum", "var accum lr grad momentum", 2, _momentum, {"use_nesterov": False}),
    ("Adagrad", "var accum lr grad", 2, _adagrad, {"update_slots": True}),
    ("Adadelta", "var accum accum_update lr rho epsilon grad", 3, _adadelta, {}),
    ("RMSProp", "var ms mom lr rho momentum epsilon grad", 3, _rms_prop, {}),
    (
        "CenteredRMSProp", "var mg ms mom lr rho momentum epsilon grad", 4,
        _centered_rms_prop, {},
    ),
    ("Ftrl", "var accum linear grad lr l1 l2 lr_power", 3, _ftrl, {}),
    (
        "FtrlV2", "var accum linear grad lr l1 l2 l2_shrinkage lr_power", 3, _ftrl,
        {"multiply_linear_by_lr": False},
    ),
    ("ProximalAdagrad", "var accum lr l1 l2 grad", 2, _proximal_adagrad, {}),
    (
        "AdagradDA", "var gradient_accumulator gradient_squared_accumulator grad lr l1 "
        "l2 global_step", 3, _adagrad_da, {},
    ),
):  # fmt: skip
    _declare(_kind, _signature, _handles, _rule, False, **_attrs)
    _words = [n if n != "grad" else "grad indices" for n in _signature.split()]
    _sparse = " ".join(_words)
    _declare(_kind, _sparse, _handles, _rule, True, **_attrs)
