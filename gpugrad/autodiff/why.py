"""why_none: what stands between ys and an x whose gradient is None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from gpugrad.autodiff import arguments
from gpugrad.autodiff.backward import Backward
from gpugrad.autodiff.gradients import run_through
from gpugrad.dtypes import resource
from gpugrad.errors import GradientLookupError, describe
from gpugrad.graph.defaults import graph_context
from gpugrad.graph.function_graph import FunctionGraph
from gpugrad.graph.tensor import Operation, Tensor

_SHOWN: Final = 5


def why_none(ys: Any, x: Any, stop_gradients: Any = None) -> str:
    """Why ``gradients(ys, x, stop_gradients=stop_gradients)`` gives None, in words.

    Names the nodes at which the gradient ends and the lines that made them. The
    gradient is built again to find out, in a graph that is thrown away.
    """
    args = arguments.unpack(ys, x, None, stop_gradients)
    if len(args.xs) != 1 or not isinstance(args.xs[0], Tensor):
        raise TypeError(f"why_none() takes one x, a tensor or a variable, not {x!r}.")
    graph = arguments.choose_graph(args)
    scratch = FunctionGraph(graph, "why_none")
    target = args.xs[0]
    if isinstance(graph, FunctionGraph):
        target = graph.captures.get(target, target)
    with graph_context(scratch):
        values = arguments.read_variables(scratch, args.ys)
        inner = arguments.convert_ys(scratch, values)
        starts = [y if isinstance(y, Tensor) else t for y, t in zip(args.ys, inner)]
        trace = _Trace(scratch)
        for y in inner:
            trace.send(y, y)  # what arrives does not matter, only where
        try:
            run_through(scratch, trace, inner, [target], args.stops)
        except GradientLookupError as error:
            return str(error)
    if trace.arrived(target) is not None:
        return f"The gradient with respect to {target.name!r} is not None."
    return _explain(trace, starts, target)


class _Trace(Backward):
    """A reverse pass that writes down where gradients end."""

    def __init__(self, graph: FunctionGraph) -> None:
        super().__init__(graph, "gradients/", False, False, None)
        self.ends: dict[Operation, str] = {}

    def _ended(self, op: Operation, stopped: bool) -> None:
        self.ends[op] = (
            "is named by stop_gradients"
            if stopped
            else f"passes no gradient: {op.type} is registered as not differentiable"
        )

    def _deliver(self, op: Operation, dxs: Sequence[Any]) -> None:
        missing = [
            op.inputs[i].name
            for i, dx in enumerate(dxs)
            if dx is None and op.inputs[i].dtype.is_trainable
        ]
        if missing:
            self.ends[op] = f"has a gradient rule that gives None for {missing}"
        super()._deliver(op, dxs)


def _explain(trace: _Trace, ys: Sequence[Tensor], x: Tensor) -> str:
    if all(y.graph is not x.graph for y in ys):
        ends = [f"{describe(op)} {reason}." for op, reason in trace.ends.items()]
        return "\n".join([f"No gradient leaves the function for {x.name!r}.", *ends])
    between = _between(ys, x)
    if not between:
        return _disconnected(ys, x)
    if not x.dtype.is_trainable:
        return (
            f"{x.name!r} is of dtype {x.dtype.name}: only floating-point and complex "
            "tensors have gradients. Cast it before ys are computed from it."
        )
    reasons = [
        f"{describe(op)} {reason}."
        for op, reason in trace.ends.items()
        if op in between and op is not x.op
    ]
    for op in between:
        for tensor in op.outputs:
            if tensor.dtype.is_trainable or op in trace.ends:
                continue
            if tensor in ys or any(c in between for c in tensor._consumers or ()):
                reasons.append(
                    f"{describe(op)} makes {tensor.dtype.name} values, and only "
                    "floating-point and complex tensors pass gradients on."
                )
    more = len(reasons) - _SHOWN
    if more > 0:
        reasons[_SHOWN:] = [f"There are {more} more such nodes."]
    return "\n".join(
        [f"Every path from {x.name!r} to ys is cut where gradients end:", *reasons]
    )


def _behind(ys: Sequence[Tensor], oldest: int) -> set[Operation]:
    """The ops that ys are computed from, as far back as the id ``oldest``."""
    behind = {y.op for y in ys}
    stack = list(behind)
    while stack:
        for tensor in stack.pop().inputs:
            op = tensor.op
            if op.id >= oldest and op not in behind:
                behind.add(op)
                stack.append(op)
    return behind


def _between(ys: Sequence[Tensor], x: Tensor) -> dict[Operation, None]:
    """The ops on paths from x to ys by any edges, dtypes aside, in order."""
    behind = _behind([y for y in ys if y.graph is x.graph], x.op.id)
    found: dict[Operation, None] = {}
    for op in sorted(behind, key=lambda op: op.id):
        if any(t is x or t.op in found for t in op.inputs):
            found[op] = None
    return found


def _disconnected(ys: Sequence[Tensor], x: Tensor) -> str:
    names = ", ".join(repr(y.name) for y in ys)
    text = f"No path leads from {x.name!r} to {names}: ys are not computed from it."
    if any(_between([x], y) for y in ys):
        return f"{text} It is the other way round; exchange ys and xs."
    if _reads_a_variable_of(ys, x):
        return (
            f"{text} They read the variable behind it by other nodes: take the "
            "gradient with respect to the variable itself."
        )
    if any(x.op in op.control_inputs for op in _behind(ys, x.op.id)):
        return f"{text} Control dependencies carry no gradient."
    return text


def _reads_a_variable_of(ys: Sequence[Tensor], x: Tensor) -> bool:
    """True if x is a read of a variable that ys depend on."""
    while len(x.op.inputs) == 1:
        x = x.op.inputs[0]
        if x.dtype is resource:
            return bool(_between(ys, x))
    return False
