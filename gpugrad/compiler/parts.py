"""Readers of what one kernel writes in parts: split into those parts, they join it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import prod
from typing import Any, Final, NamedTuple

from gpugrad.compiler.algebra import made, pruned, rebuilt
from gpugrad.compiler.cluster import (
    FEW_VIEWS,
    MOST_NODES,
    Facts,
    facts_of,
    key_of,
    merged_origin,
    without_unit_axes,
)
from gpugrad.compiler.rewrite import Uses
from gpugrad.kir import scalar
from gpugrad.kir.program import Group, Program, Step, Store
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Load,
    Reduce,
    ScalarOp,
    cast_op,
    postorder,
)
from gpugrad.kir.space import Shape, View

# What joins the folds over two parts of a space.
_JOINS: Final[dict[str, ScalarOp]] = {
    "sum": scalar.add,
    "prod": scalar.mul,
    "max": scalar.maximum,
    "min": scalar.minimum,
}


class _Parts(NamedTuple):
    """A space cut into parts: every ``steps``-th point of each axis, from ``starts``.

    One of ``starts`` for each part, in the order of the stores that write it.
    """

    steps: Shape
    starts: tuple[Shape, ...]

    def view(self, view: View, part: Shape) -> View:
        """The part of a view of the whole space, or of one that folds left."""
        shape, strides = view.shape, view.strides
        return View(
            view.buffer,
            tuple([n if n == 1 else n // k for n, k in zip(shape, self.steps)]),
            tuple([s * k for s, k in zip(strides, self.steps)]),
            view.offset + sum([s * r for s, r in zip(strides, part)]),
        )

    def coordinates(self, part: Shape) -> tuple[Expr, ...]:
        """The coordinates of the whole space in terms of the part's."""
        return tuple(
            [
                Index(a) if k == 1 else Index(a) * k + r
                for a, (k, r) in enumerate(zip(self.steps, part))
            ]
        )


def split_readers(program: Program) -> Program:
    """Join a kernel that writes a buffer in parts with the only one that reads it.

    The reader computes each part where it is made: of the gradient of a maximum over
    windows, which has a part for each element of the window, a reader needs no more
    than its own functions and folds. The buffer is gone.

    Requires: each step's inputs are written before it.
    Ensures:  the same outputs and commits, but for the order of sums.
    """
    splits = [
        (number, step)
        for number, step in enumerate(program.steps)
        if type(step) is Group and len({s.view.buffer.id for s in step.stores}) == 1
        if len(step.stores) > 1
    ]
    if not splits:
        return program
    steps: list[Step | None] = list(program.steps)
    origins = list(program.origins)
    uses = Uses(program)
    for number, group in splits:
        place = _reader(program, uses, number, group)
        if place is None:
            continue
        reader = steps[place]
        joined = _joined(group, reader) if type(reader) is Group else None
        if joined is None:
            continue
        steps[number], steps[place] = None, joined
        if origins:
            risky = _facts(group).risky
            origins[place] = merged_origin(origins[number], origins[place], risky)
    kept = [n for n, step in enumerate(steps) if step is not None]
    return replace(
        program,
        steps=tuple([s for s in steps if s is not None]),
        origins=tuple([origins[n] for n in kept]) if origins else (),
    )


def _reader(program: Program, uses: Uses, number: int, group: Group) -> int | None:
    """The only step that reads what ``group`` alone writes, if that can wait for it."""
    buffer = group.stores[0].view.buffer
    readers = {n for n, _ in uses.readers.get(buffer.id, ())}
    if len(readers) != 1 or {*uses.writers[buffer.id]} != {number}:
        return None
    if buffer.id in uses.held or not uses.movable(buffer):
        return None
    (place,) = readers
    for view in group.loads:
        if any(number < n < place for n in uses.writers.get(view.buffer.id, ())):
            return None
    return place


def _facts(group: Group) -> Facts:
    return functools.reduce(Facts.plus, [facts_of(s.expr) for s in group.stores])


def _joined(group: Group, reader: Group) -> Group | None:
    """Both as one kernel over the space of ``group``; None if that cannot be."""
    group, reader = without_unit_axes(group), without_unit_axes(reader)
    buffer = group.stores[0].view.buffer
    (read, *others) = {v for v in reader.loads if v.buffer.id == buffer.id}
    parts = None if others else _parts(group, read)
    if parts is None or True in group.reduced:
        return None
    one, two, count = _facts(group), _facts(reader), len(parts.starts)
    if one.nodes + count * two.nodes > MOST_NODES or (one.risky and two.risky):
        return None
    if two.folds != (True in reader.reduced) or not _can_fold(reader, parts):
        return None
    made_parts = {s.view.offset: s.expr for s in group.stores}
    loads = list(group.loads)
    slots = {key_of(v): Load(i, v.dtype) for i, v in enumerate(loads)}
    given: list[list[Expr]] = []
    for start in parts.starts:
        values: list[Expr] = []
        for view in reader.loads:
            part = parts.view(view, start)
            if view.buffer.id == buffer.id:
                values.append(made_parts[part.offset])
                continue
            slot = slots.get(key_of(part))
            if slot is None:
                slot = slots[key_of(part)] = Load(len(loads), part.dtype)
                loads.append(part)
            values.append(slot)
        given.append(values)
    stores: list[Store] = []
    for view, expr in reader.stores:
        stores += _split_store(view, expr, parts, given)
    if len(loads) + len(stores) > FEW_VIEWS:
        return None
    return pruned(Group(group.extents, reader.reduced, tuple(loads), tuple(stores)))


def _parts(group: Group, whole: View) -> _Parts | None:
    """How the stores of ``group`` cut ``whole``; None if they are not its parts."""
    extents = group.extents
    if len(whole.shape) != len(extents) or not whole.is_whole or 0 in extents:
        return None
    if any(n % m for n, m in zip(whole.shape, extents)):
        return None
    steps = tuple([n // m for n, m in zip(whole.shape, extents)])
    places = {
        whole.offset + sum([r * s for r, s in zip(start, whole.strides)]): start
        for start in product(*map(range, steps))
    }
    strides = tuple([k * s for k, s in zip(steps, whole.strides)])
    views = [s.view for s in group.stores]
    if any(v.shape != extents or v.strides != strides for v in views):
        return None
    if len(views) != prod(steps) or {v.offset for v in views} != {*places}:
        return None
    return _Parts(steps, tuple([places[v.offset] for v in views]))


def _can_fold(reader: Group, parts: _Parts) -> bool:
    """True if each fold goes over all parts, and is what a store ends with."""
    for view, expr in reader.stores:
        folds = [node for node in postorder(expr) if type(node) is Reduce]
        if not folds:
            continue
        if any(k > 1 and not r for k, r in zip(parts.steps, reader.reduced)):
            return False
        if any(n > 1 and r for n, r in zip(view.shape, reader.reduced)):
            return False
        for fold in folds:
            half = fold.dtype.is_floating and fold.dtype.itemsize < 4
            if fold.kind not in _JOINS or (half and fold.kind in ("sum", "prod")):
                return False
            if any(type(n) is Reduce for n in postorder(fold.arg)):
                return False
    return True


def _split_store(
    view: View, expr: Expr, parts: _Parts, given: Sequence[list[Expr]]
) -> list[Store]:
    """A store for each part, or one of what is folded over all of them."""
    pairs = list(zip(parts.starts, given))
    if not any(type(node) is Reduce for node in postorder(expr)):
        return [
            Store(
                parts.view(view, start), rebuilt(expr, loads, parts.coordinates(start))
            )
            for start, loads in pairs
        ]
    done: dict[Expr, Expr] = {}
    for node in postorder(expr):
        if type(node) is Reduce:
            args = [
                rebuilt(node.arg, loads, parts.coordinates(start))
                for start, loads in pairs
            ]
            done[node] = Reduce(node.kind, _balanced(_JOINS[node.kind], args))
        elif type(node) is Apply:
            dtype: Any = node.dtype if node.op is cast_op else None
            done[node] = made(node.op, tuple([done[a] for a in node.args]), dtype)
        else:
            done[node] = rebuilt(node, given[0], parts.coordinates(parts.starts[0]))
    return [Store(parts.view(view, (0,) * len(view.shape)), done[expr])]


def _balanced(op: ScalarOp, args: list[Expr]) -> Expr:
    """All joined by ``op``, in pairs."""
    while len(args) > 1:
        pairs = [made(op, (a, b)) for a, b in zip(args[::2], args[1::2])]
        args = [*pairs, args[-1]] if len(args) % 2 else pairs
    return args[0]
