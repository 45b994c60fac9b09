"""Values computed again by the kernels that read them, where that moves fewer bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gpugrad.compiler.algebra import pruned, rebuilt
from gpugrad.compiler.cluster import (
    FEW_VIEWS,
    MOST_NODES,
    Facts,
    Key,
    facts_of,
    key_of,
    merged_origin,
)
from gpugrad.compiler.relate import bytes_of
from gpugrad.kir.program import Barrier, Group, Program, Step, Store
from gpugrad.kir.scalar import Expr, Load, postorder
from gpugrad.kir.space import View

# Flops a point that may be done once more.
_MOST_WEIGHT: Final = 6


def recompute_cheap_values(program: Program) -> Program:
    """Let kernels compute what they read, if that is cheap and they read its inputs.

    A product that two kernels need, each of which reads both factors anyway.

    Requires: each step's inputs are written before it.
    Ensures:  the same outputs and commits, and no more bytes moved.
    """
    return _Recomputing(program).run()


class _Recomputing:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._steps: list[Step] = list(program.steps)
        self._origins = list(program.origins) or [None] * len(program.steps)
        self._kept = {c.view.buffer.id for c in program.commits}
        self._facts: dict[Expr, Facts] = {}
        self._readers: dict[int, list[int]] = {}
        self._writers: dict[int, int] = {}
        for number, step in enumerate(program.steps):
            for buffer in {v.buffer.id for v in step.reads}:
                self._readers.setdefault(buffer, []).append(number)
            for view in step.writes:
                self._writers[view.buffer.id] = self._writers.get(view.buffer.id, 0) + 1

    def run(self) -> Program:
        """The program in which fewer values are in memory."""
        for number, step in enumerate(self._program.steps):
            if type(step) is Group:
                for store in step.stores:
                    self._consider(number, store.view)
        origins = tuple(self._origins) if self._program.origins else ()
        return replace(self._program, steps=tuple(self._steps), origins=origins)

    def _consider(self, number: int, stored: View) -> None:
        """Compute what ``stored`` takes where it is read, in as far as that pays."""
        buffer = stored.buffer
        readers = self._readers.get(buffer.id, [])
        group = self._steps[number]
        assert type(group) is Group
        if (
            buffer.kind != "temp"
            or self._writers[buffer.id] > 1
            or stored.shape != group.extents
            or not readers
            or any(type(self._steps[r]) is Barrier for r in readers)
        ):
            return
        (expr,) = [s.expr for s in group.stores if s.view == stored]
        facts = self._facts_of(expr)
        if facts.folds or facts.risky or facts.weight > _MOST_WEIGHT:
            return
        used = {e.slot for e in postorder(expr) if type(e) is Load}
        sources = [group.loads[slot] for slot in sorted(used)]
        if any(self._writers.get(v.buffer.id, 0) > 1 for v in sources):
            return
        able = {}
        for reader in readers:
            more = self._more(reader, stored, sources, facts)
            if more is not None:
                able[reader] = more
        size = bytes_of(stored)
        everywhere = len(able) == len(readers) and buffer.id not in self._kept
        if not everywhere or sum(able.values()) >= size * (len(readers) + 1):
            everywhere = False
            able = {r: more for r, more in able.items() if more < size}
        for reader in able:
            self._inline(reader, stored, group.loads, expr, number)
        if everywhere:
            left = tuple(s for s in group.stores if s.view != stored)
            if left:
                self._steps[number] = pruned(group._replace(stores=left))

    def _more(
        self, reader: int, stored: View, sources: Sequence[View], facts: Facts
    ) -> int | None:
        """Bytes that ``reader`` would load in its place; None if it cannot."""
        group = self._steps[reader]
        if type(group) is not Group or group.extents != stored.shape:
            return None
        if [key_of(stored)] != [
            key_of(v) for v in group.loads if v.buffer.id == stored.buffer.id
        ]:
            return None
        known = {key_of(v) for v in group.loads}
        new = [v for v in sources if key_of(v) not in known]
        nodes = facts.nodes + sum(self._facts_of(s.expr).nodes for s in group.stores)
        views = len(group.loads) + len(group.stores) + len(new) - 1
        if nodes > MOST_NODES or views > FEW_VIEWS:
            return None
        return sum(map(bytes_of, new))

    def _facts_of(self, expr: Expr) -> Facts:
        facts = self._facts.get(expr)
        if facts is None:
            facts = self._facts[expr] = facts_of(expr)
        return facts

    def _inline(
        self,
        reader: int,
        stored: View,
        sources: Sequence[View],
        expr: Expr,
        number: int,
    ) -> None:
        group = self._steps[reader]
        assert type(group) is Group
        loads = list(group.loads)
        slots: dict[Key, Load] = {
            key_of(v): Load(slot, v.dtype) for slot, v in enumerate(loads)
        }
        given: list[Expr] = []
        for view in sources:
            load = slots.get(key_of(view))
            if load is None:
                load = slots[key_of(view)] = Load(len(loads), view.dtype)
                loads.append(view)
                readers = self._readers.setdefault(view.buffer.id, [])
                if reader not in readers:
                    readers.append(reader)
            given.append(load)
        values: list[Expr] = [Load(slot, v.dtype) for slot, v in enumerate(loads)]
        for slot, view in enumerate(group.loads):
            if key_of(view) == key_of(stored):
                values[slot] = rebuilt(expr, given)
        stores = tuple(Store(s.view, rebuilt(s.expr, values)) for s in group.stores)
        made = Group(group.extents, group.reduced, tuple(loads), stores, group.stream)
        self._steps[reader] = pruned(made)
        self._readers[stored.buffer.id].remove(reader)
        self._origins[reader] = merged_origin(
            self._origins[number], self._origins[reader], False
        )
