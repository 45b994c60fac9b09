"""Undoing broadcasting: elementwise gradients summed down to their inputs' shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gpugrad.autodiff import fill
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import densify
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.shapes import Partial


class _Reduction(NamedTuple):
    """How a gradient becomes one of an input: sum over ``axes``, then ``shape``.

    ``axes`` is a list, or a tensor when only a run tells; None for no reduction.
    """

    shape: Tensor
    axes: Any


def unbroadcast(op: Operation, dxs: Sequence[Any]) -> Sequence[Any]:
    """Sum the gradients of an elementwise op's inputs down to the inputs' shapes.

    Nodes are added only where broadcasting may have taken place: nothing for equal
    static shapes; Sum and Reshape for the side that was broadcast as far as the
    static shapes tell; BroadcastGradientArgs with Sum and Reshape on both sides if
    a run has to tell.
    """
    inputs = op.inputs
    if len(inputs) == 2:
        x, y = inputs
        if dxs[0] is None and dxs[1] is None:
            return dxs
        if x._shape == y._shape and x._shape is not None and None not in x._shape:
            return dxs
        pair = _reductions(op.graph, x, y)
        return [_reduce(op.graph, dx, how) for dx, how in zip(dxs, pair)]
    result = []
    for dx, x in zip(dxs, inputs):
        y = op.outputs[0]
        known = x._shape is not None and None not in x._shape
        if dx is not None and not (known and x._shape == y._shape):
            dx = _reduce(op.graph, dx, _reductions(op.graph, x, y)[0])
        result.append(dx)
    return result


def _reductions(graph: Graph, x: Tensor, y: Tensor) -> tuple[_Reduction, _Reduction]:
    """How gradients of two tensors that were broadcast against each other shrink."""
    x_sizes = fill.shape_vector(graph, x)
    y_sizes = fill.shape_vector(graph, y)
    axes = static_axes(x._shape, y._shape)
    if axes is None:
        x_axes, y_axes = graph.apply("BroadcastGradientArgs", x_sizes, y_sizes)
    else:
        x_axes, y_axes = axes
    return _Reduction(x_sizes, x_axes), _Reduction(y_sizes, y_axes)


def static_axes(
    x: Partial, y: Partial
) -> tuple[list[int] | None, list[int] | None] | None:
    """The axes along which each of two shapes is broadcast; None if it depends.

    An entry is None when that side needs nothing, and [] when it only lacks leading
    dimensions of size 1.
    """
    if x is None or y is None:
        return None
    rank = max(len(x), len(y))
    x_full = (1,) * (rank - len(x)) + x
    y_full = (1,) * (rank - len(y)) + y
    x_axes: list[int] = []
    y_axes: list[int] = []
    for axis, (m, n) in enumerate(zip(x_full, y_full)):
        if m == 1 and n != 1:
            x_axes.append(axis)
        elif n == 1 and m != 1:
            y_axes.append(axis)
        elif m is None or n is None:
            return None
    return (
        x_axes if x_axes or len(x) < rank else None,
        y_axes if y_axes or len(y) < rank else None,
    )


def _reduce(graph: Graph, dx: Any, how: _Reduction) -> Any:
    if dx is None or how.axes is None:
        return dx
    # keep_dims: the gradient of this Sum then needs no axes of its own.
    total = graph.apply("Sum", densify(dx), how.axes, keep_dims=True)
    return graph.apply("Reshape", total, how.shape)
