"""Kernels joined with earlier ones that read or write the same."""

from __future__ import annotations

from collections import Counter
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
    may_spread,
    merged_origin,
    without_unit_axes,
)
from gpugrad.compiler.relate import bytes_of
from gpugrad.kir.program import Barrier, Group, Program, Step, Store
from gpugrad.kir.scalar import Expr, Load
from gpugrad.kir.space import View

# How many of the last readers of a buffer are looked at.
_NEAR: Final = 4


def join_groups(program: Program) -> Program:
    """Join each group with an earlier one over the same space, if that saves bytes.

    fuse() puts a value where it is needed first, and so each kernel as late as it can
    be. A kernel that could run as early as one that reads the same, or that makes what
    it reads, becomes one with that: the loss and the gradient of a softmax, a norm and
    what is scaled by it.

    Requires: each step's inputs are written before it.
    Ensures:  the same outputs and commits; what reads a barrier's member stays behind
              the barrier. No value is in memory that only its own kernel reads.
    """
    return _Joining(program).run()


class _Joining:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._steps: list[Step | None] = list(program.steps)
        self._origins = list(program.origins) or [None] * len(program.steps)
        # By buffer: the last step that wrote it, or a barrier that it is a member of.
        self._written: dict[int, int] = {}
        # By buffer: the groups that read it, the last ones.
        self._near: dict[int, list[int]] = {}
        self._facts: dict[Expr, Facts] = {}
        self._kept = {c.view.buffer.id for c in program.commits}
        steps = program.steps
        self._readers = Counter(
            [b for s in steps for b in {v.buffer.id for v in s.reads}]
        )
        written = Counter([v.buffer.id for s in steps for v in s.writes])
        self._shared = {k for k, n in written.items() if n > 1}

    def run(self) -> Program:
        """The program with fewer groups."""
        joined = False
        for number, step in enumerate(self._program.steps):
            place = number
            if type(step) is Group and 0 not in step.extents:
                if 1 in step.extents:
                    step = without_unit_axes(step)
                place = self._place(number, step)
                joined |= place != number
                for view in step.loads:
                    near = self._near.setdefault(view.buffer.id, [])
                    if place not in near:
                        near.append(place)
                        del near[:-_NEAR]
            written = step.members if type(step) is Barrier else step.writes
            for view in written:
                self._written[view.buffer.id] = place
        if not joined:
            return self._program
        kept = [i for i, s in enumerate(self._steps) if s is not None]
        return replace(
            self._program,
            steps=tuple(s for s in self._steps if s is not None),
            origins=tuple(self._origins[i] for i in kept),
        )

    def _place(self, number: int, group: Group) -> int:
        """The number of the step that does what ``group`` does, after joining."""
        if any(s.view.buffer.id in self._shared for s in group.stores):
            return number
        first = max(
            [self._written.get(v.buffer.id, -1) for v in group.loads], default=-1
        )
        candidates = {first} if first >= 0 else set()
        for view in group.loads:
            candidates.update(
                p for p in self._near.get(view.buffer.id, ()) if p >= first
            )
        saved, place = max(
            ((self._saved(p, group), p) for p in candidates), default=(0, number)
        )
        if saved <= 0:
            return number
        self._join(place, number, group)
        return place

    def _earlier(self, place: int) -> Group | None:
        step = self._steps[place]
        if type(step) is not Group or 0 in step.extents:
            return None
        return without_unit_axes(step) if 1 in step.extents else step

    def _saved(self, place: int, group: Group) -> int:
        """Bytes that joining saves; 0 if the two cannot be joined."""
        earlier = self._earlier(place)
        if earlier is None or earlier.extents != group.extents:
            return 0
        stores = {s.view.buffer.id: s.view for s in earlier.stores}
        loads = {key_of(v) for v in earlier.loads}
        saved = views = 0
        folded = False
        for view in group.loads:
            made = stores.get(view.buffer.id)
            if made is not None:
                if key_of(made) != key_of(view):
                    return 0
                saved += bytes_of(view)
                folded |= made.shape != group.extents
            elif key_of(view) in loads:
                saved += bytes_of(view)
            else:
                views += 1
        if not saved:
            return 0
        one, two = self._facts_of(earlier), self._facts_of(group)
        views += len(earlier.loads) + len(earlier.stores) + len(group.stores)
        if views > FEW_VIEWS or one.nodes + two.nodes > MOST_NODES:
            return 0
        if one.risky and two.risky:
            return 0
        if one.folds != (True in earlier.reduced):
            return 0
        if two.folds != (True in group.reduced):
            return 0
        if one.folds or two.folds:
            reduced = earlier.reduced if one.folds else group.reduced
            if one.folds and two.folds and group.reduced != reduced:
                return 0
            spreads = folded and (
                two.folds or any(s.view.shape == group.extents for s in group.stores)
            )
            if spreads and not may_spread(group.extents, reduced):
                return 0
        return saved

    def _facts_of(self, group: Group) -> Facts:
        total = Facts(0, 0, False, False, False)
        for store in group.stores:
            facts = self._facts.get(store.expr)
            if facts is None:
                facts = self._facts[store.expr] = facts_of(store.expr)
            total = total.plus(facts)
        return total

    def _join(self, place: int, number: int, group: Group) -> None:
        earlier = self._earlier(place)
        assert earlier is not None
        made: dict[Key, Expr] = {key_of(s.view): s.expr for s in earlier.stores}
        loads: list[View] = list(earlier.loads)
        for slot, view in enumerate(loads):
            made.setdefault(key_of(view), Load(slot, view.dtype))
        given = []
        for view in group.loads:
            value = made.get(key_of(view))
            if value is None:
                value = made[key_of(view)] = Load(len(loads), view.dtype)
                loads.append(view)
            given.append(value)
        before = {v.buffer.id for v in earlier.reads + earlier.writes}
        for buffer in {v.buffer.id for v in group.loads} & before:
            self._readers[buffer] -= 1
        stores = [s for s in earlier.stores if self._is_read(s.view)]
        stores += [Store(s.view, rebuilt(s.expr, given)) for s in group.stores]
        folds = self._facts_of(earlier).folds
        reduced = earlier.reduced if folds else group.reduced
        joined = Group(group.extents, reduced, tuple(loads), tuple(stores))
        self._steps[place], self._steps[number] = pruned(joined), None
        risky = self._facts_of(earlier).risky
        self._origins[place] = merged_origin(
            self._origins[place], self._origins[number], risky
        )

    def _is_read(self, view: View) -> bool:
        buffer = view.buffer
        return (
            buffer.kind != "temp"
            or buffer.id in self._kept
            or buffer.id in self._shared
            or self._readers[buffer.id] > 0
        )
