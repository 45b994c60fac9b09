"""FunctionGraph: the body of a call, a branch or a loop, with what it captures."""

from __future__ import annotations

from typing import Any, Final

from gpugrad.dtypes import DType
from gpugrad.graph.constant import constant_value
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.shapes import Partial

# Captured integers up to this size enter as constants: they are axes and sizes,
# which shapes inside depend on, and no gradient flows through them.
_COPIED_SIZE: Final = 64


def has_side_effect(op: Operation) -> bool:
    """True for ops that a body runs although nothing reads them."""
    spec = op.spec
    return spec.stateful and (not op.outputs or spec.lower is None)


class FunctionGraph(Graph):
    """A graph with inputs and outputs, built inside another one.

    Tensors of the surrounding graphs may be used freely: each becomes an input.
    ``inputs`` are the placeholders, arguments first, then what was captured;
    ``captures`` gives the placeholder for each outer tensor; ``outputs`` are set
    once, when the body is complete.
    """

    building_function = True

    def __init__(self, outer_graph: Graph, name: str = "body") -> None:
        super().__init__()
        self.name = name
        self.outer_graph = outer_graph
        self.seed = outer_graph.seed
        self.inputs: list[Tensor] = []
        self.captures: dict[Tensor, Tensor] = {}
        self._copies: dict[Tensor, Tensor] = {}
        self._outputs: list[Tensor] = []
        self._effects: list[Operation] | None = None

    @property
    def outputs(self) -> list[Tensor]:
        """The results, in order."""
        return self._outputs

    @outputs.setter
    def outputs(self, tensors: list[Tensor]) -> None:
        self._outputs = list(tensors)
        self._effects = self._side_effects()

    def add_input(self, dtype: DType, shape: Partial, name: str = "x") -> Tensor:
        """A placeholder for one more argument."""
        tensor = self.apply("Placeholder", name=name, dtype=dtype, shape=shape)
        self.inputs.append(tensor)
        return tensor

    def adopt(self, tensor: Tensor) -> Tensor:
        """``tensor`` itself, or the placeholder that stands for it in here.

        GraphError if it belongs to none of the graphs around this one.
        """
        if tensor.op.graph is self:
            return tensor
        inner = self.captures.get(tensor)
        if inner is None:
            outer = self.outer_graph.adopt(tensor)
            inner = self.captures.get(outer)
            if inner is None:
                inner = self._capture(outer)
        return inner

    def _capture(self, outer: Tensor) -> Tensor:
        here = self._here
        before = here.scope, here.controllers
        here.scope, here.controllers = "captured/", ()
        try:
            inner = self._copied(outer)
            if inner is None:
                name = outer.op.name.rpartition("/")[2]
                inner = self.apply(
                    "Placeholder",
                    name=name,
                    dtype=outer.dtype,
                    shape=outer._shape,
                    _captured=outer,
                )
                self.captures[outer] = inner
                self.inputs.append(inner)
        finally:
            here.scope, here.controllers = before
        return inner

    def _copied(self, outer: Tensor) -> Tensor | None:
        """A constant in here instead of a captured small constant of integers."""
        if outer.dtype.is_trainable:
            return None
        copy = self._copies.get(outer)
        if copy is None:
            value = constant_value(outer)
            if value is None or value.size > _COPIED_SIZE:
                return None
            name = outer.op.name.rpartition("/")[2]
            copy = self.apply("Const", name=name, value=value, dtype=outer.dtype)
            self._copies[outer] = copy
        return copy

    @property
    def effects(self) -> list[Operation]:
        """Ops that run although no output needs them: they change state.

        Gradients that are added to a finished body do not count.
        """
        return self._side_effects() if self._effects is None else self._effects

    def _side_effects(self) -> list[Operation]:
        return [op for op in self.get_operations() if has_side_effect(op)]

    @property
    def is_stateful(self) -> bool:
        """True if anything inside reads or writes state."""
        return any(op.spec.stateful for op in self.get_operations())


def is_captured(tensor: Tensor) -> bool:
    """True for a placeholder that stands for a tensor of an outer graph."""
    return "_captured" in tensor.op.attrs


def captured_inputs(body: FunctionGraph) -> list[Tensor]:
    """The outer tensors behind the inputs that are captures, in order."""
    return [t.op.attrs["_captured"] for t in body.inputs if is_captured(t)]


def source(tensor: Tensor) -> Tensor:
    """The tensor that a captured placeholder stands for, through all bodies."""
    while is_captured(tensor):
        tensor = tensor.op.attrs["_captured"]
    return tensor


def outermost(graph: Any) -> Graph:
    """The graph around all function bodies: where variables live."""
    while isinstance(graph, FunctionGraph):
        graph = graph.outer_graph
    return graph
