"""The gradient of a body: a graph inside it, and what that graph takes from it."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any

from gpugrad import shapes
from gpugrad.autodiff import fill
from gpugrad.autodiff.gradients import gradients_v1
from gpugrad.dtypes import resource, variant
from gpugrad.graph.build import graph_context
from gpugrad.graph.function_graph import FunctionGraph, is_captured, source
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices, densify
from gpugrad.graph.tensor import Operation, Tensor


class _GradientGraph(FunctionGraph):
    """A graph that computes again, rather than captures, what costs no memory so.

    ``fixed`` are tensors of the outer graph that are at hand throughout. What follows
    from them and from constants alone is computed again, where it would have to be
    kept for every iteration of a loop.
    """

    def __init__(
        self, outer_graph: FunctionGraph, name: str, fixed: Iterable[Tensor]
    ) -> None:
        super().__init__(outer_graph, name)
        self._fixed = dict.fromkeys([t.op for t in outer_graph.inputs], False)
        self._fixed.update((t.op, True) for t in fixed)
        self._given = set(self._fixed)
        self._again: dict[Operation, Operation] = {}

    def _copied(self, outer: Tensor) -> Tensor | None:
        copy = super()._copied(outer)
        if copy is None and outer.op not in self._given and self._follows(outer.op):
            copy = self._computed(outer)
        return copy

    def _follows(self, op: Operation) -> bool:
        """True if ``op`` follows from what is fixed."""
        known = self._fixed
        stack = [op]
        while stack:
            top = stack[-1]
            if top in known:
                stack.pop()
                continue
            spec = top.spec
            again = spec.lower is not None and not spec.stateful
            # Ops with a seed draw other numbers the next time.
            if not again or "seed" in spec.attrs or top.control_inputs:
                known[top] = False
                continue
            open_ones = [t.op for t in top.inputs if t.op not in known]
            if open_ones:
                stack += open_ones
            else:
                known[top] = all(known[t.op] for t in top.inputs)
        return known[op]

    def _computed(self, outer: Tensor) -> Tensor:
        copy = self._again.get(outer.op)
        if copy is None:
            inputs = [self.adopt(t) for t in outer.op.inputs]
            copy = self._again[outer.op] = self.copy_of(outer.op, inputs)
        return copy.outputs[outer.value_index]


class Derivative:
    """Gradients of tensors of ``body``, built in a graph of their own inside it.

    ``weights`` are placeholders for what arrives at each of ``ys``; ``gradients`` maps
    each of ``xs`` to its gradient, or None. ``fixed``: tensors of the body that are at
    hand for its gradient anyway.
    """

    def __init__(
        self,
        body: FunctionGraph,
        ys: Sequence[Tensor],
        xs: Sequence[Tensor],
        fixed: Iterable[Tensor] = (),
    ) -> None:
        self.body = body
        self.graph = _GradientGraph(body, f"{body.name}_grad", fixed)
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
            if x.dtype is variant or shapes.is_known(x._shape):
                return zeros(self.graph, x)
            return zeros(self.graph, self.graph.adopt(x))

    def zeros_for(self, x: Tensor) -> Tensor:
        """Zeros for an input of the op that the body does not use."""
        with graph_context(self.graph):
            if x.dtype is resource or x.dtype is variant:
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
    """Zeros like a tensor, a list, or the value of a variable."""
    if x.dtype is resource:
        attrs = source(x).op.attrs
        return fill.variable_zeros(graph, attrs["shape"], attrs["dtype"])
    if x.dtype is variant:
        blank: Tensor = graph.apply("TensorListZeros")
        return blank
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
    lists = dense[0].dtype is variant
    return dense[0].graph.apply("SumLists" if lists else "AddN", dense)


def all_slices(gradients: Sequence[Any]) -> bool:
    """True when the gradients that there are, are all IndexedSlices with a shape."""
    present = [g for g in gradients if g is not None]
    return bool(present) and all(
        isinstance(g, IndexedSlices) and g.dense_shape is not None for g in present
    )
