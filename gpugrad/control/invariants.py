"""Gradients of what is the same in all iterations of a loop.

Tensors are summed up in the loop. Where an iteration would add to the whole of a large
tensor though it touches little, the loop keeps what it touches, and the sum is made of
that at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from gpugrad import dtypes, shapes
from gpugrad.control.derivative import Derivative, total
from gpugrad.control.feeds import Feed
from gpugrad.dtypes import resource
from gpugrad.graph import build
from gpugrad.graph.function_graph import FunctionGraph, is_captured
from gpugrad.graph.indexed_slices import IndexedSlices, densify
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import handle_shape
from gpugrad.ops.matmul import product_factors
from gpugrad.ops.static import shape_of
from gpugrad.ops.strided_slice import index_gradient


def invariant_gradients(
    op: Any, derivative: Derivative, fed: dict[Tensor, Feed], carried: int
) -> tuple[dict[int, Tensor], dict[int, Rows | Factors]]:
    """What an iteration adds to the gradient of each input that stays the same.

    By input: tensors to be summed up, and what the loop is to keep instead.
    """
    found: dict[int, Tensor] = {}
    records: dict[int, Rows | Factors] = {}
    for index, x in enumerate(op.inputs):
        if index < carried or not x.dtype.is_trainable:
            continue
        terms = [
            derivative.gradients.get(p)
            for p, feed in fed.items()
            if feed == (index, None)
        ]
        present = [t for t in terms if t is not None]
        if len(present) == 1 and isinstance(present[0], IndexedSlices):
            records[index] = Rows(present[0].values, present[0].indices)
            continue
        with build.graph_context(derivative.graph):
            parts = _parts(present)
            record = _rows(derivative.graph, parts) or _factors(derivative.graph, parts)
            if record is not None:
                records[index] = record
                continue
            gradient = densify(total(terms))
        if gradient is not None:
            gradient._shape = shapes.merge(gradient._shape, _shape_of(x))
            found[index] = gradient
    return found, records


def unchanging(body: FunctionGraph, cond: FunctionGraph | None) -> list[Tensor]:
    """Values of variables that every iteration reads and none writes."""
    written = {
        t.op.attrs["_captured"]
        for graph in (body, cond)
        if graph is not None
        for t in graph.inputs
        if is_captured(t) and not all(_reads(op) for op in t.consumers())
    }
    return [
        op.outputs[0]
        for t in body.inputs
        if is_captured(t) and t.dtype is resource
        if t.op.attrs["_captured"] not in written
        for op in t.consumers()
        if not op.control_inputs
    ]


def _reads(op: Operation) -> bool:
    return op.type == "ReadVariableOp"


def _shape_of(x: Tensor) -> shapes.Partial:
    return handle_shape(x) if x.dtype is resource else x._shape


def _parts(terms: Sequence[Any]) -> list[Any]:
    """The terms of a gradient, those of sums among them."""
    parts: list[Any] = []
    for term in terms:
        is_sum = isinstance(term, Tensor) and term.op.type == "AddN"
        parts += term.op.inputs if is_sum else [term]
    return parts


def _joined(graph: Any, tensors: list[Tensor]) -> Tensor:
    """The tensors along their first axis."""
    if len(tensors) == 1:
        return tensors[0]
    both: Tensor = graph.apply("ConcatV2", tensors, 0)
    return both


def _of_all(record: Tensor, tensors: Sequence[Tensor]) -> Any:
    """What the iterations kept, along the first axis."""
    return record.graph.apply(
        "ConcatSaved",
        record,
        _dtypes=[t.dtype for t in tensors],
        _shapes=[t._shape for t in tensors],
    )


# --- rows -----------------------------------------------------------------------------


class Rows(NamedTuple):
    """What an iteration adds to a gradient along ``axis``: ``rows`` at ``indices``.

    ``wraps``: negative indices count from the end.
    """

    rows: Tensor
    indices: Tensor
    axis: int = 0
    wraps: bool = False

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """What the loop keeps of each iteration."""
        return self.rows, self.indices

    def total(self, x: Tensor, record: Tensor) -> Tensor:
        """The gradient of ``x``, dense, from what all iterations kept."""
        graph, axis = record.graph, self.axis
        dims = _shape_of(x)
        with build.graph_context(graph):
            values, indices = _of_all(record, self.tensors)
            if shapes.is_known(dims):
                count = graph.convert(shapes.known(dims)[axis], dtypes.int32)
            else:
                count = shape_of(x, graph=graph)[axis]
            if self.wraps:
                extent = count
                if indices.dtype is not count.dtype:
                    extent = graph.apply("Cast", count, DstT=indices.dtype)
                indices = graph.apply("FloorMod", indices, extent)
            dense: Tensor = graph.apply("UnsortedSegmentSum", values, indices, count)
            if axis:
                rank = len(dims if dims is not None else values._shape)
                order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
                dense = graph.apply("Transpose", dense, order)
            dense._shape = shapes.merge(dense._shape, dims)
        return dense


def _rows(graph: Any, parts: Sequence[Any]) -> Rows | None:
    """Gradients of ``x[i]`` and ``x[i - 1]``, say, as rows; None if others are there.

    Not where i is the same in all iterations: one sum is less than rows that are kept.
    """
    found = []
    for part in parts:
        indexed = isinstance(part, Tensor) and part.op.graph is graph
        row = index_gradient(part) if indexed else None
        if row is None or not is_captured(part.op.inputs[1]):
            return None
        found.append(row)
    if not found or len({(r.axis, r.indices.dtype) for r in found}) > 1:
        return None
    rows, indices = [r.row for r in found], [r.indices for r in found]
    axis = found[0].axis
    return Rows(_joined(graph, rows), _joined(graph, indices), axis, wraps=True)


# --- factors --------------------------------------------------------------------------


class Factors(NamedTuple):
    """What an iteration adds to the gradient of a matrix is ``left.T @ right``.

    The sum of all is one product of what all iterations kept, row under row.
    """

    left: Tensor
    right: Tensor

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """What the loop keeps of each iteration."""
        return self

    def total(self, x: Tensor, record: Tensor) -> Tensor:
        """The gradient of ``x`` from what all iterations kept."""
        graph = record.graph
        with build.graph_context(graph):
            left, right = _of_all(record, self.tensors)
            product: Tensor = graph.apply(
                "MatMul", left, right, transpose_a=True, transpose_b=False
            )
            product._shape = shapes.merge(product._shape, _shape_of(x))
        return product


def _factors(graph: Any, parts: Sequence[Any]) -> Factors | None:
    """The factors, if all parts are products, of few rows beside what they make."""
    found = []
    rows = 0
    for part in parts:
        known = isinstance(part, Tensor) and part.op.graph is graph
        factors = product_factors(part) if known else None
        if factors is None or not shapes.is_known(factors[0]._shape):
            return None
        rows += shapes.known(factors[0]._shape)[0]
        found.append(factors)
    if not found or not shapes.is_known(parts[0]._shape):
        return None
    made = shapes.known(parts[0]._shape)
    if rows * sum(made) >= prod(made):
        return None
    return Factors(
        _joined(graph, [left for left, _ in found]),
        _joined(graph, [right for _, right in found]),
    )
