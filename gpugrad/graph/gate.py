"""Gating: a tuple of tensors none of which is there before all of them are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from gpugrad.dtypes import variant
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Operation, Tensor


def gate(
    tensors: Sequence[Any],
    name: str | None = "tuple",
    control_inputs: Sequence[Any] | None = None,
) -> list[Any]:
    """Identities of ``tensors`` that wait until every one of them is computed.

    ``tensors``: tensors, IndexedSlices (whose values are gated), operations (a NoOp
    behind the gate stands for each) and None, which stays None. ``control_inputs``
    are waited for as well. ValueError when there is nothing to wait for.

    The graph: ``<name>/group_deps``, a NoOp with a control edge from each producer,
    and ``<name>/control_dependency[_k]``, an Identity behind it for each tensor.
    """
    waited = [t if isinstance(t, Operation) else t.op for t in tensors if t is not None]
    for item in control_inputs or ():
        if not isinstance(item, (Tensor, Operation)):
            raise TypeError(
                "`control_inputs` of tuple() are tensors and operations, not "
                f"{type(item).__name__}: {item!r}."
            )
        waited.append(item.op if isinstance(item, Tensor) else item)
    if not waited:
        raise ValueError(
            "`tensors` of tuple() must hold at least one that is not None."
        )
    graph = waited[0].graph
    gated: list[Any] = []
    with graph.name_scope(name or "tuple"):
        done = group_ops(graph, sorted(set(waited), key=lambda op: op.id))
        for item in tensors:
            if item is None or (isinstance(item, Tensor) and item.dtype is variant):
                gated.append(item)  # what a loop has saved never leaves the host
            elif isinstance(item, IndexedSlices):
                values = _behind(graph, done, item.values)
                gated.append(IndexedSlices(values, item.indices, item.dense_shape))
            elif isinstance(item, Operation):
                with graph.control_dependencies([done]):
                    gated.append(graph.apply("NoOp", name="group_deps"))
            else:
                gated.append(_behind(graph, done, item))
    return gated


def _behind(graph: Graph, done: Operation, tensor: Tensor) -> Tensor:
    with graph.colocate_with(tensor), graph.control_dependencies([done]):
        result: Tensor = graph.apply("Identity", tensor, name="control_dependency")
    return result


def group_ops(
    graph: Graph, ops: Iterable[Operation], name: str = "group_deps"
) -> Operation:
    """A NoOp that runs after ``ops``; one more for each device if they have several."""
    by_device: dict[str, list[Operation]] = {}
    for op in ops:
        by_device.setdefault(op.device, []).append(op)
    if len(by_device) <= 1:
        for device, members in by_device.items():
            return _no_op(graph, members, device, name)
        return _no_op(graph, [], "", name)
    with graph.name_scope(name) as scope:
        parts = [_no_op(graph, by_device[d], d, "NoOp") for d in sorted(by_device)]
        return _no_op(graph, parts, "", scope)


def _no_op(
    graph: Graph, after: Sequence[Operation], device: str, name: str
) -> Operation:
    with graph.control_dependencies(after):
        if device:
            with graph.device(device):
                op: Operation = graph.apply("NoOp", name=name)
        else:
            op = graph.apply("NoOp", name=name)
    return op
