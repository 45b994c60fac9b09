"""The gradient of a body: a graph inside it, and what that graph takes from it."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from gpugrad.autodiff import fill
from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.dtypes import resource, variant
from gpugrad.graph.build import graph_context
from gpugrad.graph.function_graph import FunctionGraph, is_captured, source
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices, densify
from gpugrad.graph.tensor import Operation, Tensor


class Derivative:
    """Gradients of tensors of ``body``, built in a graph of their own inside it.

    ``weights`` are placeholders for what arrives at each of ``ys``; ``gradients`` maps
    each of ``xs`` to its gradient, or None.
    """

    def __init__(
        self, body: FunctionGraph, ys: Sequence[Tensor], xs: Sequence[Tensor]
    ) -> None:
        self.body = body
        self.graph = FunctionGraph(body, f"{body.name}_grad")
        with graph_context(self.graph):
            self.weights = [self._placeholder("dy", y) for y in ys]
            found = gradients_v1(list(ys), list(xs), self.weights)
        self.gradients = dict(zip(xs, found))
        # (placeholder, tensor beside the op) for what the body itself has no input for.
        self.added: list[tuple[Tensor, Tensor]] = []

    def _placeholder(self, name: str, like: Tensor) -> Tensor:
        dtype, shape = like.dtype, like._shape
        found: Tensor = self.graph.apply(
            "Placeholder", name=name, dtype=dtype, shape=shape
        )
        return found

    def zeros(self, x: Tensor) -> Tensor:
        """Zeros in the place of a gradient; ``x`` is a tensor of the body."""
        with graph_context(self.graph):
            return zeros(self.graph, self.graph.adopt(x))

    def zeros_for(self, x: Tensor) -> Tensor:
        """Zeros for an input of the op that the body does not use."""
        with graph_context(self.graph):
            if x.dtype is resource:
                return zeros(self.graph, x)
            like = self._placeholder("like", x)
            self.added.append((like, x))
            return zeros(self.graph, like)

    def used(self, results: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """(tensor of the body, placeholder) for what ``results`` are computed from."""
        seen = {t.op for t in results}
        stack = list(seen)
        while stack:
            for tensor in stack.pop().inputs:
                if tensor.op not in seen:
                    seen.add(tensor.op)
                    stack.append(tensor.op)
        captures = self.graph.captures.items()
        return [(outer, inner) for outer, inner in captures if inner.op in seen]


def zeros(graph: Graph, x: Tensor) -> Tensor:
    """Zeros like a tensor, like the value of a variable, or like what a loop saved."""
    if x.dtype is resource:
        attrs = source(x).op.attrs
        return fill.variable_zeros(graph, attrs["shape"], attrs["dtype"])
    if x.dtype is variant:
        saved: Tensor = graph.apply("ZerosLikeSaved", x)
        return saved
    return fill.zeros_like(graph, x)


def is_filled_in(gradient: Any) -> bool:
    """True for zeros that the engine put where no gradient arrived."""
    return isinstance(gradient, Tensor) and gradient.op.type == "ZerosLike"


def from_outside(tensor: Tensor, known: Container[Tensor]) -> Tensor | None:
    """The outer tensor behind a capture that the op's inputs do not have, or None.

    A gradient rule may use more of the graphs around a body than the body did.
    """
    if is_captured(tensor) and tensor not in known:
        outer: Tensor = tensor.op.attrs["_captured"]
        return outer
    return None


def node_of(op: Operation) -> Operation:
    """The operation itself, where a rule is shown a twin of it in another graph."""
    node: Operation = op.attrs["_node"]
    return node


def taken_apart(
    values: Sequence[Any],
) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], list[Any]]]:
    """The tensors of gradients, and how to make gradients of others like them."""
    parts: list[Tensor] = []
    makers: list[tuple[int, Any]] = []
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


def total(gradients: Sequence[Any]) -> Any:
    """The sum of gradients, None if there is none of them."""
    terms = [g for g in gradients if g is not None]
    if len(terms) <= 1:
        return terms[0] if terms else None
    dense = [densify(t) for t in terms]
    return dense[0].graph.apply("AddN", dense)


def all_slices(gradients: Sequence[Any]) -> bool:
    """True when the gradients that there are, are all IndexedSlices with a shape."""
    present = [g for g in gradients if g is not None]
    return bool(present) and all(
        isinstance(g, IndexedSlices) and g.dense_shape is not None for g in present
    )
