"""Calls of function bodies: PartitionedCall, opened up by the planner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.control.derivative import (
    Derivative,
    from_outside,
    is_filled_in,
    node_of,
    taken_apart,
)
from gpugrad.graph import build
from gpugrad.graph.function_graph import FunctionGraph, captured_inputs
from gpugrad.graph.graph import Graph
from gpugrad.graph.spec import REGISTRY, Inlined, Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

# --- PartitionedCall, StatefulPartitionedCall -----------------------------------------
#
# ``f`` is the body. ``_inputs`` and ``_outputs`` are those of its tensors that the
# call's inputs stand for and that the call gives. The first ``_count`` outputs are the
# function's; gradients add others, which hand out what the body has computed.


def _infer(op: Operation) -> Any:
    op.attrs["_node"] = op
    return tuple((t.dtype, t._shape) for t in op.attrs["_outputs"])


def _inline(op: Operation) -> Inlined:
    attrs = op.attrs
    return Inlined(attrs["_inputs"], attrs["_outputs"], attrs["f"].effects)


for _type in ("PartitionedCall", "StatefulPartitionedCall"):
    family.op(
        _type,
        [Input("args", attr=None, number="N")],
        attrs={"f": ..., "_inputs": ..., "_outputs": ..., "_count": ...},
        infer=_infer,
        inline=_inline,
        stateful=_type == "StatefulPartitionedCall",
    )


def _add_call(
    graph: Graph,
    body: FunctionGraph,
    placeholders: Sequence[Tensor],
    args: Sequence[Tensor],
    results: Sequence[Tensor],
) -> list[Tensor]:
    op_type = "StatefulPartitionedCall" if body.is_stateful else "PartitionedCall"
    found = graph.apply(
        op_type,
        list(args),
        f=body,
        _inputs=tuple(placeholders),
        _outputs=list(results),
        _count=len(results),
    )
    return outputs(found)


def _handed_out(node: Operation, tensor: Tensor) -> Tensor:
    """A tensor of the body as an output of the call."""
    listed: list[Tensor] = node.attrs["_outputs"]
    for index, other in enumerate(listed):
        if other is tensor:
            return node.outputs[index]
    listed.append(tensor)
    return node.graph.add_output(node, tensor.dtype, tensor._shape)


@family.gradient("PartitionedCall", "StatefulPartitionedCall")
def _call_grad(op: Operation, *dys: Any) -> Any:
    """A call of the body's gradient, with what it needs of the forward call."""
    attrs = op.attrs
    placeholders = attrs["_inputs"]
    arrived = [
        (y, dy)
        for k, (y, dy) in enumerate(zip(attrs["_outputs"], dys))
        if dy is not None and not (k >= attrs["_count"] and is_filled_in(dy))
    ]
    xs = [x for x in placeholders if x.dtype.is_trainable]
    derivative = Derivative(attrs["f"], [y for y, _ in arrived], xs)
    dxs = [derivative.gradients.get(x) for x in placeholders]
    results, rebuild = taken_apart(dxs)
    inner = list(derivative.weights)
    args = [dy for _, dy in arrived]
    places = {placeholder: i for i, placeholder in enumerate(placeholders)}
    for tensor, placeholder in derivative.used(results):
        inner.append(placeholder)
        if tensor in places:
            args.append(op.inputs[places[tensor]])
        else:
            outside = from_outside(tensor, places)
            if outside is None:
                outside = _handed_out(node_of(op), tensor)
            args.append(op.graph.adopt(outside))
    derivative.graph.outputs = results
    return rebuild(_add_call(op.graph, derivative.graph, inner, args, results))


def call_function(body: FunctionGraph, args: Sequence[Tensor]) -> list[Tensor]:
    """Add a call of ``body`` to the current graph; the results, one an output.

    ``args`` are the arguments; what the body captures is added.
    """
    graph = build.get_default_graph()
    inputs = [*args, *(graph.adopt(t) for t in captured_inputs(body))]
    return _add_call(graph, body, body.inputs, inputs, body.outputs)


def install() -> None:
    """Let the runtime add calls without importing this layer."""
    REGISTRY.call_function = call_function
