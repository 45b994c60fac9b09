"""Finding tensors and operations of a graph by what a user says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpugrad.graph.tensor import Operation, Tensor

if TYPE_CHECKING:
    from gpugrad.graph.graph import Graph


def element(graph: Graph, obj: Any, allow_tensor: bool, allow_operation: bool) -> Any:
    """The element of ``graph`` that ``obj`` is or names; see Graph.as_graph_element."""
    if isinstance(obj, str):
        return _named(graph, obj, allow_tensor, allow_operation)
    method = getattr(obj, "__graph_element__", None)
    if method is not None:
        obj = method()
    kinds = ((Tensor, allow_tensor), (Operation, allow_operation))
    for kind, allowed in kinds:
        if isinstance(obj, kind) and allowed:
            if obj.graph is not graph:
                raise ValueError(f"{obj!r} is not an element of this graph.")
            return obj
    wanted = " or ".join(k.__name__ for k, allowed in kinds if allowed)
    raise TypeError(f"Can not convert a {type(obj).__name__} into a {wanted}.")


def _named(graph: Graph, name: str, allow_tensor: bool, allow_operation: bool) -> Any:
    op_name, colon, index = name.partition(":")
    if not colon:
        op = graph._by_name.get(name)
        if not allow_operation:
            kind = "refers to an Operation" if op else "looks like an (invalid)"
            raise ValueError(
                f"The name '{name}' {kind} name, not a Tensor. Tensor names must "
                'be of the form "<op_name>:<output_index>".'
            )
        if op is None:
            raise KeyError(
                f"The name '{name}' refers to an Operation not in the graph."
            )
        return op
    if not allow_tensor:
        raise ValueError(
            f"The name '{name}' appears to refer to a Tensor, not an Operation."
        )
    if not index.isdigit():
        raise ValueError(
            f"The name '{name}' looks a like a Tensor name, but is not a valid one."
            ' Tensor names must be of the form "<op_name>:<output_index>".'
        )
    op = graph._by_name.get(op_name)
    if op is None:
        raise KeyError(
            f"The name '{name}' refers to a Tensor which does not exist. The "
            f"operation, '{op_name}', does not exist in the graph."
        )
    if int(index) >= len(op.outputs):
        raise KeyError(
            f"The name '{name}' refers to a Tensor which does not exist. The "
            f"operation, '{op_name}', exists but only has {len(op.outputs)} "
            "outputs."
        )
    return op.outputs[int(index)]
