"""Adding up the gradients that reach one tensor from its several readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad import dtypes
from gpugrad.autodiff.options import chained
from gpugrad.errors import GraphTypeError
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Operation, Tensor


def aggregate(graph: Graph, op: Operation, terms: Sequence[Any], method: Any) -> Any:
    """The sum of two or more ``terms``, gradients of one output of ``op``.

    Dense terms give an AddN (or a chain of them), IndexedSlices give IndexedSlices
    with all rows, and a mixture is dense. Nodes go into the current scope.
    """
    if all(isinstance(term, Tensor) for term in terms):
        if chained(method):
            return _chain(graph, op, terms)
        return _sum_by_device(graph, terms)
    if any(isinstance(term, Tensor) for term in terms):
        return _mixed(graph, op, terms)
    return _rows(graph, terms)


def _chain(graph: Graph, op: Operation, terms: Sequence[Tensor]) -> Tensor:
    with graph.name_scope(op.name + "_gradient_sum"):
        total = terms[0]
        for term in terms[1:]:
            total = _sum(graph, [total, term])
    return total


def _sum_by_device(graph: Graph, terms: Sequence[Tensor]) -> Tensor:
    """One AddN a device, then one over the partial sums.

    An AddN belongs to the colocation group and the device of its first term.
    """
    first = terms[0].op.device
    if all(term.op.device == first for term in terms):
        return _sum_on_device(graph, terms)
    by_device: dict[str, list[Tensor]] = {}
    for term in terms:
        by_device.setdefault(term.op.device, []).append(term)
    parts = [_sum_on_device(graph, by_device[name]) for name in sorted(by_device)]
    return _sum(graph, parts)


def _sum_on_device(graph: Graph, terms: Sequence[Tensor]) -> Tensor:
    if len(terms) == 1:
        return terms[0]
    here = graph._here
    before = here.colocation, here.device
    op = terms[0].op
    here.colocation, here.device = tuple(op.colocation_groups()), op.device
    try:
        return _sum(graph, terms)
    finally:
        here.colocation, here.device = before


def _sum(graph: Graph, terms: Sequence[Tensor]) -> Tensor:
    lists = terms[0].dtype is dtypes.variant
    found: Tensor = graph.apply("SumLists" if lists else "AddN", list(terms))
    return found


def _mixed(graph: Graph, op: Operation, terms: Sequence[Any]) -> Tensor:
    for term in terms:
        if isinstance(term, IndexedSlices) and term.dense_shape is None:
            raise GraphTypeError(
                f"The gradients of {op.name!r} are dense tensors and IndexedSlices "
                f"without dense_shape ({term.name!r}), which have no sum. Give the "
                "IndexedSlices a dense_shape."
            )
    return graph.apply("AddN", terms)


def _rows(graph: Graph, terms: Sequence[IndexedSlices]) -> IndexedSlices:
    indices = [term.indices for term in terms]
    if len({i.dtype for i in indices}) > 1:
        indices = [
            i if i.dtype is dtypes.int64 else graph.apply("Cast", i, DstT=dtypes.int64)
            for i in indices
        ]
    values = [term.values for term in terms]
    return IndexedSlices(
        graph.apply("ConcatV2", values, 0, name="concat"),
        graph.apply("ConcatV2", indices, 0, name="concat"),
        terms[0].dense_shape,
    )
