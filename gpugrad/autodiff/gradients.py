"""tf.gradients: symbolic derivatives of the sum of ys with respect to each of xs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from gpugrad.autodiff import arguments, fill, options
from gpugrad.autodiff.arguments import Arguments
from gpugrad.autodiff.backward import Backward
from gpugrad.autodiff.options import UnconnectedGradients
from gpugrad.autodiff.path import between
from gpugrad.collector import collecting_seldom
from gpugrad.dtypes import resource
from gpugrad.graph import build
from gpugrad.graph.defaults import graph_context
from gpugrad.graph.function_graph import FunctionGraph, source
from gpugrad.graph.graph import Graph
from gpugrad.graph.scopes import user_line
from gpugrad.graph.tensor import Operation, Tensor


class _Options(NamedTuple):
    """How to build, as the caller asked."""

    colocate: bool
    gate: bool
    method: Any
    unconnected: Any


def gradients(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str | None = "gradients",
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """Nodes that compute the derivatives of sum(ys) with respect to each x.

    ys, xs, grad_ys and stop_gradients are each one object or a list or tuple. The
    result is a list, as long as xs, of tensors, IndexedSlices or None.

    grad_ys: for each y what its elements weigh, of y's shape; None means ones.
    gate_gradients: nothing reads a gradient of an op before all of that op's exist.
    aggregation_method: how to add what reaches a tensor; see AggregationMethod.
    stop_gradients: tensors that nothing is passed through, as if constant.
    unconnected_gradients: 'none' or 'zero', for an x that ys do not depend on (by
        differentiable ops); why_none() says what is in the way.

    Integer, boolean and string tensors pass no gradient. Variables among xs stand
    for all their reads. New ops share the device and the colocation group of the op
    that they are the gradient of.

    Raises LookupError if a gradient arrives at an op without a rule, ValueError for
    arguments that do not fit together, TypeError for complex ys without grad_ys,
    RuntimeError where values are computed at once and so have no graph.
    """
    return _gradients(
        arguments.unpack(ys, xs, grad_ys, stop_gradients),
        name,
        _Options(True, gate_gradients, aggregation_method, unconnected_gradients),
    )


def gradients_v1(
    ys: Any,
    xs: Any,
    grad_ys: Any = None,
    name: str | None = "gradients",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    stop_gradients: Any = None,
    unconnected_gradients: Any = UnconnectedGradients.NONE,
) -> list[Any]:
    """Nodes that compute the derivatives of sum(ys) with respect to each x.

    As gradients(), in TensorFlow 1's order of arguments: new ops share the device
    and the colocation group of the op that they are the gradient of only with
    colocate_gradients_with_ops, the fifth argument.
    """
    return _gradients(
        arguments.unpack(ys, xs, grad_ys, stop_gradients),
        name,
        _Options(
            colocate_gradients_with_ops,
            gate_gradients,
            aggregation_method,
            unconnected_gradients,
        ),
    )


def _gradients(args: Arguments, name: str | None, how: _Options) -> list[Any]:
    """Build in the graph of the arguments, whatever graph is the current one."""
    graph = arguments.choose_graph(args)
    if graph is not build.get_default_graph():
        with graph_context(graph):
            return _build(graph, args, name, how)
    return _build(graph, args, name, how)


def _build(graph: Graph, args: Arguments, name: str | None, how: _Options) -> list[Any]:
    here = graph._here
    before = here.scope, here.colocation, here.device, here.origin
    here.origin = here.origin or user_line()
    try:
        ys = arguments.read_variables(graph, args.ys)
        unconnected = options.unconnected(how.unconnected)
        with graph.name_scope("gradients" if name is None else name) as scope:
            graph.unique_name("uid")  # TensorFlow takes this name, too
            ys = arguments.convert_ys(graph, ys)
            xs = arguments.convert_xs(graph, args.xs)
            dys = arguments.convert_grad_ys(graph, args.grad_ys, len(ys))
            backward = Backward(graph, scope, how.colocate, how.gate, how.method)
            for index, (y, dy) in enumerate(zip(ys, dys)):
                backward.enter(y.op)
                dy = arguments.seed(graph, y, dy, f"grad_ys_{index}")
                backward.send(y, dy)
            with collecting_seldom():
                run_through(graph, backward, ys, xs, args.stops)
        here.scope, here.colocation, here.device, _ = before
        if unconnected is UnconnectedGradients.NONE:
            return [backward.arrived(x) for x in xs]
        return [_or_zeros(graph, x, backward.arrived(x)) for x in xs]
    finally:
        here.scope, here.colocation, here.device, here.origin = before


def run_through(
    graph: Graph,
    backward: Backward,
    ys: Sequence[Tensor],
    xs: Sequence[Tensor],
    stops: Collection[Operation],
) -> None:
    """Run in ``graph`` and on in the graphs around it, if xs lie there.

    What arrives at the placeholder of a captured tensor is passed on to the tensor.
    """
    while ys:
        targets = _sources(graph, xs)
        backward.run(ys, targets, stops)
        if not isinstance(graph, FunctionGraph) or all(x.graph is graph for x in xs):
            return
        captured = {inner: outer for outer, inner in graph.captures.items()}
        graph = graph.outer_graph
        ys = []
        for inner in targets:
            gradient = backward.arrived(inner)
            if inner in captured and gradient is not None:
                backward.send(captured[inner], gradient)
                ys.append(captured[inner])


def _sources(graph: Graph, xs: Sequence[Tensor]) -> list[Tensor]:
    """Those of ``xs`` that are of ``graph``, and the captured tensors that depend
    on xs of the graphs around it."""
    own = [x for x in xs if x.graph is graph]
    others = [x for x in xs if x.graph is not graph]
    if others and isinstance(graph, FunctionGraph):
        outer = {x.op for x in _sources(graph.outer_graph, others)}
        path = between({t.op for t in graph.captures}, outer)
        own += [inner for t, inner in graph.captures.items() if t.op in path.ops]
    return list(dict.fromkeys(own))


def _or_zeros(graph: Graph, x: Tensor, gradient: Any) -> Any:
    """``gradient``, or zeros if there is none."""
    if gradient is not None:
        return gradient
    if x.dtype is not resource:
        return fill.zeros_like(graph, x)
    attrs = source(x).op.attrs
    return fill.variable_zeros(graph, attrs["shape"], attrs["dtype"])
