"""Calls of function bodies: PartitionedCall, opened up by the planner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.graph import build
from gpugrad.graph.function_graph import FunctionGraph, captured_inputs, is_captured
from gpugrad.graph.spec import REGISTRY, Inlined, Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

# --- PartitionedCall, StatefulPartitionedCall -------------------------------------------
#
# ``f`` is the body. ``_inputs`` and ``_outputs`` are those of its tensors that the
# call's inputs stand for and that the call gives. ``_instance`` is shared by all calls
# that are one execution of the body: a call and its gradients, which read what the
# call has computed.


def _infer(op: Operation) -> Any:
    return tuple((t.dtype, t._shape) for t in op.attrs["_outputs"])


def _inline(op: Operation) -> Inlined:
    attrs = op.attrs
    effects = attrs["f"].effects if attrs["_effects"] else ()
    return Inlined(attrs["_inputs"], attrs["_outputs"], effects, attrs["_instance"])


for _type in ("PartitionedCall", "StatefulPartitionedCall"):
    family.op(
        _type,
        [Input("args", attr=None, number="N")],
        attrs={"f": ..., "_inputs": ..., "_outputs": ..., "_instance": ...}
        | {"_effects": False},
        infer=_infer,
        inline=_inline,
        stateful=_type == "StatefulPartitionedCall",
    )


@family.gradient("PartitionedCall", "StatefulPartitionedCall")
def _call_grad(op: Operation, *dys: Any) -> Any:
    """A call of the same execution, whose results are gradients within the body."""
    attrs = op.attrs
    body: FunctionGraph = attrs["f"]
    inner = attrs["_inputs"]
    known = len(body.inputs)
    with build.graph_context(body), body.control_dependencies(None):
        with body.name_scope(None):
            weights = [
                None if dy is None
                else body.apply("Placeholder", dtype=dy.dtype, shape=dy._shape)
                for dy in dys
            ]  # fmt: skip
            pairs = [(y, w) for y, w in zip(attrs["_outputs"], weights) if w is not None]
            xs = [x for x in inner if x.dtype.is_trainable]
            dxs = gradients_v1([y for y, _ in pairs], xs, [w for _, w in pairs])
    # Rules may capture more of the graphs around the body.
    fresh = [t for t in body.inputs[known:] if is_captured(t)]
    parts, rebuild = _taken_apart(dxs)
    with op.graph.control_dependencies([op]):
        results = outputs(
            op.graph.apply(
                "PartitionedCall",
                [*op.inputs, *(t.op.attrs["_captured"] for t in fresh)]
                + [dy for dy in dys if dy is not None],
                f=body,
                _inputs=(*inner, *fresh, *(w for _, w in pairs)),
                _outputs=tuple(parts),
                _instance=attrs["_instance"],
            )
        )
    found = dict(zip(xs, rebuild(results)))
    return [found.get(x) for x in inner]


def _taken_apart(values: Sequence[Any]) -> tuple[list[Tensor], Any]:
    """The tensors of gradients, and how to make gradients of others like them."""
    parts: list[Tensor] = []
    makers: list[Any] = []
    for value in values:
        if value is None:
            makers.append((0, None))
        elif isinstance(value, Tensor):
            parts.append(value)
            makers.append((1, None))
        else:
            pieces, again = value.__parts__()
            present = [p for p in pieces if p is not None]
            parts.extend(present)
            makers.append((len(present), again))

    def rebuild(tensors: Sequence[Tensor]) -> list[Any]:
        left = list(tensors)
        out: list[Any] = []
        for count, again in makers:
            taken, left = left[:count], left[count:]
            if again is not None:
                out.append(again(*taken))
            else:
                out.append(taken[0] if taken else None)
        return out

    return parts, rebuild


def call_function(body: FunctionGraph, args: Sequence[Tensor]) -> list[Tensor]:
    """Add a call of ``body`` to the current graph; the results, one an output.

    ``args`` are the arguments; what the body captures is added.
    """
    graph = build.get_default_graph()
    op_type = "StatefulPartitionedCall" if body.is_stateful else "PartitionedCall"
    inputs = [*args, *(graph.adopt(t) for t in captured_inputs(body))]
    result = graph.apply(
        op_type,
        inputs,
        f=body,
        _inputs=tuple(body.inputs),
        _outputs=tuple(body.outputs),
        _instance=object(),
        _effects=True,
    )
    return outputs(result)


def install() -> None:
    """Let the runtime add calls without importing this layer."""
    REGISTRY.call_function = call_function
