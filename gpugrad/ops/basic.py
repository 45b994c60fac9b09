"""Placeholders, identities, and ops that exist for the sake of order."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from gpugrad import shapes
from gpugrad.dtypes import as_dtype
from gpugrad.errors import (
    GradientLookupError,
    GraphTypeError,
    InvalidArgumentError,
)
from gpugrad.graph.build import (
    apply_op,
    convert_to_tensor,
    executing_eagerly,
    get_default_graph,
)
from gpugrad.graph.gate import gate, group_ops
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily, same_as_input
from gpugrad.ops.static import outputs

family = OpFamily()

# --- Placeholder --------------------------------------------------------------------


def _attr_shape(op: Operation) -> Any:
    return ((op.attrs["dtype"], shapes.as_partial(op.attrs["shape"])),)


# No lowering: feeds are bound before anything is lowered.
family.op("Placeholder", attrs={"dtype": ..., "shape": None}, infer=_attr_shape)


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor whose value is given to ``Session.run`` in ``feed_dict``.

    ``shape`` may have unknown (None) dimensions, or be None altogether. Running
    anything that needs it without a feed raises InvalidArgumentError.
    """
    if executing_eagerly():
        raise RuntimeError("tf.placeholder() is not compatible with eager execution.")
    if dtype is None:
        raise TypeError("Expected DataType for argument 'dtype' not None.")
    return get_default_graph().apply(
        "Placeholder",
        name=name or "Placeholder",
        dtype=as_dtype(dtype).base_dtype,
        shape=shapes.as_partial(shape),
    )


# --- PlaceholderWithDefault ---------------------------------------------------------


def _default_infer(op: Operation) -> Any:
    shape = shapes.as_partial(op.attrs["shape"])
    value = op.inputs[0]
    shapes.merge(shape, value._shape)
    return ((value.dtype, shape),)


def _same(b: Builder, site: Site) -> View:
    view: View = site.inputs[0]
    return view


family.op(
    "PlaceholderWithDefault",
    (Input("input", attr="dtype"),),
    attrs={"shape": None},
    infer=_default_infer,
    lower=_same,
)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A placeholder that has the value ``input`` when it is not fed.

    ``shape``, None dimensions allowed, is what feeds must fit; so must ``input``.
    """
    return apply_op(
        "PlaceholderWithDefault", input, name=name, shape=shapes.as_partial(shape)
    )


# --- Identity, IdentityN ------------------------------------------------------------


def _same_value(op: Operation, inputs: list[Any]) -> Any:
    return inputs


def _identity_n_infer(op: Operation) -> Any:
    op.attrs["T"] = [t.dtype for t in op.inputs]
    return [(t.dtype, t._shape) for t in op.inputs]


def _identity_n_lower(b: Builder, site: Site) -> Any:
    return site.inputs


family.op(
    "Identity",
    "input",
    infer=same_as_input,
    lower=_same,
    value=_same_value,
    alias=True,
)
family.op(
    "IdentityN",
    (Input("input", attr=None, number="N"),),
    infer=_identity_n_infer,
    lower=_identity_n_lower,
    value=_same_value,
)


@family.gradient("Identity", "PlaceholderWithDefault", slices=True)
def _identity_grad(op: Operation, dy: Any) -> Any:
    return dy


@family.gradient("IdentityN", slices=True)
def _identity_n_grad(op: Operation, *dys: Any) -> Any:
    return list(dys)


def identity(input: Any, name: str | None = None) -> Any:
    """The same value as a new tensor. IndexedSlices stay slices."""
    return _each(input, lambda t: apply_op("Identity", t, name=name))


def identity_n(input: Sequence[Any], name: str | None = None) -> list[Tensor]:
    """The same values, all of them made by one op."""
    return outputs(apply_op("IdentityN", list(input), name=name))


def _each(value: Any, function: Callable[[Any], Tensor]) -> Any:
    if isinstance(value, IndexedSlices):
        parts, rebuild = value.__parts__()
        return rebuild(*[None if p is None else function(p) for p in parts])
    return function(value)


def convert_to_tensor_or_indexed_slices(
    value: Any, dtype: Any = None, name: str | None = None
) -> Any:
    """``value`` as a tensor; IndexedSlices stay what they are."""
    if not isinstance(value, IndexedSlices):
        return convert_to_tensor(value, dtype, name)
    if dtype is not None and as_dtype(dtype) is not value.dtype:
        raise GraphTypeError(
            f"Tensor conversion requested dtype {as_dtype(dtype).name} for "
            f"IndexedSlices with dtype {value.dtype.name}."
        )
    return value


# --- StopGradient, PreventGradient --------------------------------------------------

family.op(
    "StopGradient",
    "input",
    infer=same_as_input,
    lower=_same,
    value=_same_value,
    alias=True,
)
family.no_gradient("StopGradient")
family.op(
    "PreventGradient",
    "input",
    attrs={"message": ""},
    infer=same_as_input,
    lower=_same,
    value=_same_value,
    alias=True,
)


@family.gradient("PreventGradient", slices=True)
def _prevent_gradient_grad(op: Operation, dy: Any) -> NoReturn:
    raise GradientLookupError(
        f"Gradient explicitly disabled. Reason: {op.get_attr('message')!r}"
    )


def stop_gradient(input: Any, name: str | None = None) -> Any:
    """The same value, through which no gradient passes."""
    return _each(input, lambda t: apply_op("StopGradient", t, name=name))


# --- CheckNumerics ------------------------------------------------------------------


def _check_numerics(xp: Any, outs: Any, x: Any, message: str) -> None:
    outs[0][...] = x
    if bool(xp.isfinite(x).all()):
        return
    found = [
        kind
        for kind, test in (("Inf", xp.isinf), ("NaN", xp.isnan))
        if bool(test(x).any())
    ]
    raise InvalidArgumentError(
        None, None, f"{message} : Tensor had {' and '.join(found)} values"
    )


def _check_numerics_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    message = site.attrs["message"]
    (out,) = b.call(
        "check_numerics",
        _check_numerics,
        [x],
        [(x.dtype, x.shape)],
        pure=False,
        message=message,
    )
    return out


family.op(
    "CheckNumerics",
    "tensor",
    attrs={"message": ""},
    infer=same_as_input,
    lower=_check_numerics_lower,
)


@family.gradient("CheckNumerics")
def _check_numerics_grad(op: Operation, dy: Tensor) -> Any:
    message = op.attrs["message"]
    return op.graph.apply(
        "CheckNumerics",
        dy,
        message="Not a number (NaN) or infinity (Inf) values detected in gradient. "
        + message,
    )


def check_numerics(tensor: Any, message: str, name: str | None = None) -> Tensor:
    """The same value; InvalidArgumentError when run if it holds NaN or infinity.

    The gradient is checked as well. On a GPU the host waits for the check.
    """
    return apply_op("CheckNumerics", tensor, name=name, message=message)


# --- EnsureShape --------------------------------------------------------------------


def _ensure_shape_infer(op: Operation) -> Any:
    x = op.inputs[0]
    return ((x.dtype, shapes.merge(x._shape, shapes.as_partial(op.attrs["shape"]))),)


def _ensure_shape_lower(b: Builder, site: Site) -> View:
    view: View = site.inputs[0]
    wanted = shapes.as_partial(site.attrs["shape"])
    if not shapes.compatible(view.shape, wanted):
        raise ValueError(
            f"Shape of tensor {list(view.shape)} is not compatible with expected shape "
            f"{shapes.text(wanted)}."
        )
    return view


family.op(
    "EnsureShape",
    "input",
    attrs={"shape": None},
    infer=_ensure_shape_infer,
    lower=_ensure_shape_lower,
)


@family.gradient("EnsureShape")
def _ensure_shape_grad(op: Operation, dy: Tensor) -> Any:
    return dy


def ensure_shape(x: Any, shape: Any, name: str | None = None) -> Tensor:
    """The same value, known to be of ``shape``; another shape is an error when run."""
    return apply_op("EnsureShape", x, name=name, shape=shapes.as_partial(shape))


# --- NoOp ---------------------------------------------------------------------------


def _no_op_lower(b: Builder, site: Site) -> Sequence[View]:
    b.barrier(site.control)
    return ()


family.op("NoOp", lower=_no_op_lower)


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing, to hang control edges on."""
    return get_default_graph().apply("NoOp", name=name)


def group(*inputs: Any, **options: Any) -> Operation:
    """One operation that runs after all of ``inputs``: tensors, operations, lists.

    ``name`` is the only option. TypeError for anything else among the inputs.
    """
    name = options.pop("name", None)
    if options:
        raise ValueError(f"Received unknown keyword arguments: {sorted(options)}")
    ops = list(_ops_of(inputs))
    graph = ops[0].graph if ops else get_default_graph()
    return group_ops(graph, dict.fromkeys(ops), name or "group_deps")


def _ops_of(items: Any) -> Iterator[Operation]:
    for item in items:
        if isinstance(item, Operation):
            yield item
        elif isinstance(item, dict):
            yield from _ops_of(item.values())
        elif isinstance(item, (list, builtins.tuple)):
            yield from _ops_of(item)
        elif isinstance(getattr(item, "op", None), Operation):
            yield item.op
        else:
            raise TypeError(
                "'inputs' of group() should be zero or more (nested) tensors and "
                f"operations, not {type(item).__name__}: {item!r}."
            )


def tuple(
    tensors: Sequence[Any],
    name: str | None = None,
    control_inputs: Sequence[Any] | None = None,
) -> list[Any]:
    """The tensors, none of which can be used before all of them are computed.

    None entries stay None. ValueError if all are None.
    """
    return gate(tensors, name or "tuple", control_inputs)
