"""Nested fetch structures: flattened for a run, rebuilt for the caller."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from gpugrad.dtypes import resource, variant
from gpugrad.errors import GraphError, GraphTypeError
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices, IndexedSlicesValue
from gpugrad.graph.tensor import Operation, Tensor

Rebuild = Callable[[Sequence[Any]], Any]


class Fetches(NamedTuple):
    """The distinct tensors and operations of a structure, and how to fill it again.

    ``rebuild`` takes the tensors' values in order.
    """

    tensors: list[Tensor]
    operations: list[Operation]
    rebuild: Rebuild


def key_of(fetches: Any) -> Any:
    """A hashable key of a structure; equal keys mean equal structures."""
    kind = type(fetches)
    if kind is Tensor or kind is Operation or kind is str:
        return fetches
    if kind is list or kind is tuple:
        return (kind, *[key_of(f) for f in fetches])
    if isinstance(fetches, Mapping):
        # 1, 1.0 and True are equal, and yet not the same keys.
        keys = tuple([(type(k), k) for k in fetches])
        return (kind, keys, *[key_of(f) for f in fetches.values()])
    if isinstance(fetches, tuple):
        return (kind, *[key_of(f) for f in fetches])
    if isinstance(fetches, list):
        return (kind, *[key_of(f) for f in fetches])
    if fetches is None:
        raise TypeError(
            "Argument `fetch` = None has invalid type NoneType. Cannot be None: fetch "
            "a tensor, an operation, or a structure of them."
        )
    return (id(fetches), fetches) if fetches.__hash__ else Identity(fetches)


class Identity:
    """An unhashable object, by identity."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.value is self.value


class Collector:
    """Walks a structure and collects its graph elements."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: dict[Tensor, int] = {}
        self.operations: dict[Operation, None] = {}

    def collect(self, fetches: Any) -> Rebuild:
        """Note what ``fetches`` holds; how to rebuild it from values."""
        if isinstance(fetches, Mapping):
            parts = [self.collect(f) for f in fetches.values()]
            keys = list(fetches)
            kind = _maker(fetches)
            return lambda v: kind((k, part(v)) for k, part in zip(keys, parts))
        if isinstance(fetches, (list, tuple)):
            parts = [self.collect(f) for f in fetches]
            if hasattr(fetches, "_fields"):
                make = type(fetches)
                return lambda v: make(*[part(v) for part in parts])
            container = tuple if isinstance(fetches, tuple) else list
            return lambda v: container([part(v) for part in parts])
        if isinstance(fetches, IndexedSlices):
            return self._slices(fetches)
        return self._element(fetches)

    def _slices(self, slices: IndexedSlices) -> Rebuild:
        values = self._element(slices.values)
        indices = self._element(slices.indices)
        shape = None
        if slices.dense_shape is not None:
            shape = self._element(slices.dense_shape)
        return lambda v: IndexedSlicesValue(
            values(v), indices(v), None if shape is None else shape(v)
        )

    def _element(self, fetch: Any) -> Rebuild:
        try:
            element = self.graph.as_graph_element(fetch)
        except TypeError as error:
            raise TypeError(
                f"Fetch argument {fetch!r} has invalid type {type(fetch).__name__}, "
                f"must be a string, a Tensor, an Operation or a Variable. ({error})"
            ) from None
        except (ValueError, KeyError) as error:
            message = error.args[0] if error.args else error
            raise GraphError(
                f"Fetch argument {fetch!r} cannot be interpreted as a Tensor. "
                f"({message})"
            ) from None
        if not self.graph.is_fetchable(element):
            raise GraphError(
                f"Operation {element.name!r} has been marked as not fetchable."
            )
        if isinstance(element, Operation):
            self.operations[element] = None
            return lambda v: None
        element = self.graph.snapshots.get(element, element)  # "v:0" is v's value
        if element.dtype is resource:
            raise GraphError(
                f"Fetch argument {fetch!r} is the handle of a variable, not its value. "
                "Fetch a read of it."
            )
        if element.dtype is variant:
            raise GraphTypeError(
                f"{element.name!r} holds the elements of a TensorArray, which is no "
                "array (dtype variant). Fetch its stack() or concat()."
            )
        index = self.tensors.get(element)
        if index is None:
            index = self.tensors[element] = len(self.tensors)
            return lambda v: v[index]
        # Every array is the caller's own, the second of one tensor too.
        return lambda v: copy(v[index])


def _maker(mapping: Mapping[Any, Any]) -> Callable[[Any], Any]:
    """What makes a mapping of this kind from pairs."""
    kind: Any = type(mapping)
    if isinstance(mapping, defaultdict):
        return partial(kind, mapping.default_factory)
    if kind is MappingProxyType:
        return lambda pairs: MappingProxyType(dict(pairs))
    return kind


def parse(graph: Graph, fetches: Any) -> Fetches:
    """What ``Session.run`` has to compute for ``fetches``.

    Raises TypeError for None and foreign types, ValueError for unknown names and
    elements of other graphs.
    """
    if fetches is None:
        key_of(fetches)
    collector = Collector(graph)
    rebuild = collector.collect(fetches)
    return Fetches(list(collector.tensors), list(collector.operations), rebuild)
