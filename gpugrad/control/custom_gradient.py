"""Gradients written by users: custom_gradient, recompute_grad, grad_pass_through."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.graph import build, nest
from gpugrad.graph.function_graph import outermost, source
from gpugrad.graph.indexed_slices import densify
from gpugrad.graph.spec import REGISTRY, Input, caller
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

_serial = itertools.count()


class CustomGradient:
    """A function with a gradient of its own; what custom_gradient gives."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._defined_at = caller(3)
        functools.update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any = None) -> CustomGradient:
        return (
            self
            if instance is None
            else CustomGradient(self._function.__get__(instance, owner))
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if build.runs_at_once(args):
            return self._function(*args, **kwargs)[0]
        if kwargs:
            raise ValueError(
                "The custom_gradient decorator currently supports keywords arguments "
                "only when eager execution is enabled. Pass them by position."
            )
        args = nest.map_leaves(build.convert_to_tensor, args)
        flat_args, _ = nest.flatten(args)
        result, grad_fn = self._function(*args)
        if not callable(grad_fn):
            raise TypeError(
                "A custom_gradient function must return its result and a function that "
                f"computes gradients, not {grad_fn!r}."
            )
        leaves, rebuild = nest.flatten(result)
        results = [build.convert_to_tensor(leaf) for leaf in leaves]
        variables = _variables_between(flat_args, results)
        takes_variables = _takes_variables(grad_fn)
        if variables and not takes_variables:
            raise TypeError(
                "@tf.custom_gradient grad_fn must accept keyword argument 'variables', "
                f"since function uses variables: {variables}"
            )
        count = len(results)

        def rule(op: Operation, *dys: Any) -> list[Any]:
            dys = tuple(densify(dy) for dy in dys[:count])
            grads = grad_fn(*dys, variables=variables) if variables else grad_fn(*dys)
            return [None] * count + _input_gradients(grads, variables)

        name = f"CustomGradient-{next(_serial)}"
        REGISTRY.add_gradient(name, rule, self._defined_at)
        graph = build.graph_of(*results, *flat_args)
        with graph.gradient_override_map({"IdentityN": name}):
            named = graph.apply("IdentityN", [*results, *flat_args, *variables])
        return rebuild(outputs(named)[:count])


def _input_gradients(grads: Any, variables: Sequence[Variable]) -> list[Any]:
    """What a grad_fn returned, as one list: of the arguments, then of variables."""
    if not variables:
        return _listed(grads)
    of_args, of_variables = grads
    listed = list(of_variables)
    if len(listed) != len(variables):
        raise ValueError(
            "Must return gradient for each variable from @custom_gradient grad_fn: "
            f"{len(listed)} for {len(variables)} variables."
        )
    return _listed(of_args) + listed


def _listed(grads: Any) -> list[Any]:
    """Gradients out of any structure; IndexedSlices are one gradient."""
    if isinstance(grads, dict):
        return [g for key in sorted(grads) for g in _listed(grads[key])]
    if isinstance(grads, (list, tuple)):
        return [g for item in grads for g in _listed(item)]
    return [grads]


def _takes_variables(grad_fn: Callable[..., Any]) -> bool:
    parameters = inspect.signature(grad_fn).parameters
    return "variables" in parameters or any(
        p.kind is p.VAR_KEYWORD for p in parameters.values()
    )


def _variables_between(
    inputs: Sequence[Tensor], results: Sequence[Tensor]
) -> list[Variable]:
    """The trainable variables that ``results`` read, not looking behind ``inputs``."""
    stop = set(inputs)
    handles: dict[Operation, None] = {}
    seen: set[Operation] = set()
    stack = [t for t in results if t not in stop]
    while stack:
        tensor = stack.pop()
        if not tensor.dtype.is_trainable:
            continue
        op = source(tensor).op
        if op in seen:
            continue
        seen.add(op)
        if op.spec.lower is None and not op.inputs and "shared_name" in op.attrs:
            handles[op] = None
        stack.extend(t for t in op.inputs if t not in stop)
    if not handles:
        return []
    graph = outermost(next(iter(handles)).graph)
    trainable = graph.get_collection(GraphKeys.TRAINABLE_VARIABLES)
    return [v for v in trainable if v.handle.op in handles]


def custom_gradient(f: Callable[..., Any] | None = None) -> Any:
    """Give a function a gradient of its own.

    ``f(*args)`` returns its result (a tensor or a structure of them) and
    ``grad_fn(*dys)``, which returns one gradient (or None) for each argument. If f
    reads trainable variables, ``grad_fn(*dys, variables=...)`` returns the arguments'
    gradients and a list of the variables'. The derivative of the gradient is that of
    what grad_fn builds.

    Raises ValueError for keyword arguments and for a wrong number of gradients,
    TypeError if grad_fn does not take variables that f reads.
    """
    return custom_gradient if f is None else CustomGradient(f)


# --- RecomputeBarrier ---------------------------------------------------------------
#
# Copies of ``inputs`` that exist only once ``after`` does. Without them the
# recomputation would be merged with what it computes again.


def _infer(op: Operation) -> Any:
    count = op.attrs["N"]
    return tuple((t.dtype, t._shape) for t in op.inputs[:count])


def _copy_after(xp: Any, outs: Any, *args: Any) -> None:
    for out, value in zip(outs, args):
        out[...] = value


def _lower(b: Builder, site: Site) -> Sequence[View]:
    originals = site.inputs[: site.attrs["N"]]
    outs = [(v.dtype, v.shape) for v in originals]
    return b.call("recompute_barrier", _copy_after, site.inputs, outs, pure=False)


family.op(
    "RecomputeBarrier",
    [Input("inputs", attr=None, number="N"), Input("after", attr=None, number="M")],
    infer=_infer,
    lower=_lower,
)


@family.gradient("RecomputeBarrier", slices=True)
def _barrier_grad(op: Operation, *dys: Any) -> Any:
    return [*dys, *[None] * op.attrs["M"]]


def recompute_grad(f: Callable[..., Any]) -> Any:
    """``f`` with a gradient that computes inner values again instead of keeping them.

    The same values and gradients, for less memory and more work.
    """

    def with_recomputation(*args: Any) -> Any:
        result = f(*args)

        def grad_fn(*dys: Any, variables: Sequence[Variable] = ()) -> Any:
            flat, rebuild = nest.flatten(args)
            graph = build.graph_of(*dys, *flat)
            copies = outputs(graph.apply("RecomputeBarrier", flat, list(dys)))
            again, _ = nest.flatten(f(*rebuild(copies)))
            xs = [*copies, *variables]
            pairs = [(y, dy) for y, dy in zip(again, dys) if dy is not None]
            dxs = gradients_v1([y for y, _ in pairs], xs, [dy for _, dy in pairs])
            if not variables:
                return dxs
            return dxs[: len(copies)], dxs[len(copies) :]

        return result, grad_fn

    return functools.wraps(f)(CustomGradient(with_recomputation))


def grad_pass_through(f: Callable[..., Any]) -> Any:
    """``f`` with the gradient of the identity: what arrives is passed on unchanged."""

    def straight(*args: Any) -> Any:
        def grad_fn(*dys: Any, variables: Sequence[Variable] = ()) -> Any:
            return (dys, [None] * len(variables)) if variables else dys

        return f(*args), grad_fn

    return functools.wraps(f)(CustomGradient(straight))
