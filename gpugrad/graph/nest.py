"""Nested lists, tuples and dicts of values: taken apart, compared, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rebuild = Callable[[Sequence[Any]], Any]


def flatten(structure: Any) -> tuple[list[Any], Rebuild]:
    """The leaves in order, and a function that puts others in their place.

    Dicts go by sorted keys. Objects with ``__parts__()`` (IndexedSlices) are
    structures of their parts. None is a leaf.
    """
    leaves: list[Any] = []
    make = _walk(structure, leaves)
    return leaves, make


def _walk(value: Any, leaves: list[Any]) -> Rebuild:
    if isinstance(value, Mapping):
        kind, keys = type(value), list(value)
        ordered = sorted(keys)
        parts = {key: _walk(value[key], leaves) for key in ordered}
        return lambda v: kind([(key, parts[key](v)) for key in keys])  # type: ignore[call-arg]
    if isinstance(value, (list, tuple)):
        items = [_walk(item, leaves) for item in value]
        if hasattr(value, "_fields"):
            fields = type(value)
            return lambda v: fields(*[item(v) for item in items])
        container = tuple if isinstance(value, tuple) else list
        return lambda v: container([item(v) for item in items])
    parts_of = getattr(value, "__parts__", None)
    if parts_of is not None:
        pieces, again = parts_of()
        inner = [_walk(piece, leaves) for piece in pieces]
        return lambda v: again(*[piece(v) for piece in inner])
    index = len(leaves)
    leaves.append(value)
    return lambda v: v[index]


def shape_of(structure: Any) -> Any:
    """What is left without the leaves, to compare structures and to show them."""
    if isinstance(structure, Mapping):
        return {key: shape_of(structure[key]) for key in sorted(structure)}
    if isinstance(structure, (list, tuple)):
        items = [shape_of(item) for item in structure]
        return tuple(items) if isinstance(structure, tuple) else items
    if hasattr(structure, "__parts__"):
        return type(structure).__name__
    return "."


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """The same structure with ``function`` of each leaf."""
    leaves, rebuild = flatten(structure)
    return rebuild([function(leaf) for leaf in leaves])
