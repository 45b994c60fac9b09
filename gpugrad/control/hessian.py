"""hessians: matrices of second derivatives, a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.control.functional import map_fn
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor


def hessians(
    ys: Any,
    xs: Any,
    name: str = "hessians",
    colocate_gradients_with_ops: bool = False,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
) -> list[Tensor]:
    """The second derivatives of sum(ys) with respect to each x.

    A list of tensors of shape ``shape(x) + shape(x)``, one an x: there are no cross
    terms between xs. The arguments are those of gradients(); ``name`` is accepted
    and not used, as in TensorFlow. ValueError if ys are linear in an x or do not
    depend on it.
    """
    xs = list(xs) if isinstance(xs, (list, tuple)) else [xs]
    first = gradients_v1(
        ys,
        xs,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
        gate_gradients=gate_gradients,
        aggregation_method=aggregation_method,
    )
    return [_matrix(gradient, x) for gradient, x in zip(first, xs)]


def hessians_v2(
    ys: Any,
    xs: Any,
    gate_gradients: bool = False,
    aggregation_method: int | None = None,
    name: str = "hessians",
) -> list[Tensor]:
    """The second derivatives of sum(ys) with respect to each x.

    A list of tensors of shape ``shape(x) + shape(x)``, one an x: there are no cross
    terms between xs. The arguments are those of gradients(); ``name`` is accepted
    and not used, as in TensorFlow. ValueError if ys are linear in an x or do not
    depend on it.
    """
    return hessians(ys, xs, name, True, gate_gradients, aggregation_method)


def _matrix(gradient: Any, x: Any) -> Tensor:
    """The derivatives of ``gradient`` with respect to x, as one tensor."""
    if gradient is None:
        raise _none(x)
    partial = shapes.as_partial(x.shape)
    if not shapes.is_known(partial):
        return _matrix_by_loop(gradient, x)
    shape = shapes.known(partial)
    graph: Graph = gradient.graph
    flat = graph.apply("Reshape", graph.convert(gradient), [-1])
    rows = []
    with graph.name_scope("while"):
        for index in range(int(np.prod(shape, dtype=np.int64))):
            row = gradients_v1(flat[index], x)[0]
            if row is None:
                raise _none(x)
            rows.append(graph.convert(row))
        if rows:
            stacked = graph.apply("Pack", rows, axis=0)
        else:
            stacked = graph.convert(np.zeros((0,), gradient.dtype.np_dtype))
    sizes = graph.convert(np.array(shape * 2, np.int32), dtypes.int32, "concat")
    matrix: Tensor = graph.apply("Reshape", stacked, sizes)
    return matrix


def _matrix_by_loop(gradient: Any, x: Any) -> Tensor:
    """The same where the number of rows is known only when the graph runs."""
    graph: Graph = gradient.graph
    flat = graph.apply("Reshape", graph.convert(gradient), [-1])

    def row(index: Tensor) -> Tensor:
        inside = build.graph_of(index)
        weight = inside.apply("OneHot", index, count, one, zero)
        found = gradients_v1(flat, x, weight)[0]
        if found is None:
            raise _none(x)
        return inside.convert(found)

    with graph.name_scope("while"):
        count = graph.apply("Size", flat)
        one, zero = (graph.convert(value, flat.dtype) for value in (1, 0))
        rows = map_fn(row, graph.apply("Range", 0, count, 1), dtype=flat.dtype)
        shape = graph.apply("Shape", graph.convert(x))
        sizes = graph.apply("ConcatV2", [shape, shape], 0)
    matrix: Tensor = graph.apply("Reshape", rows, sizes)
    dims = shapes.as_partial(x.shape)
    matrix.set_shape(None if dims is None else dims * 2)
    return matrix


def _none(x: Any) -> ValueError:
    return ValueError(
        f"None values not supported. A gradient with respect to {x!r} is None: ys "
        "do not depend on it, or depend on it linearly, so that its second derivative "
        "has no graph."
    )
