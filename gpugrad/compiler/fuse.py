"""Groups merged into larger Groups, so that fewer bytes move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

from gpugrad.compiler.cluster import (
    FEW_VIEWS,
    MOST_NODES,
    MOST_VIEWS,
    Cluster,
    Facts,
    Member,
    facts_of,
    without_unit_axes,
)
from gpugrad.compiler.fit import CHEAP, Fit, fits
from gpugrad.compiler.relate import bytes_of, reach, repeated_axes
from gpugrad.kir.program import Barrier, Group, Program, Step, Store
from gpugrad.kir.scalar import Expr, Index
from gpugrad.kir.space import Shape, View

# Flops a point that a kernel may do although another one does them too.
_MOST_REPEATED: Final = 12
# Points, up to which a launch costs more than the work.
_TINY: Final = 1 << 12

_Plan = tuple[Cluster, list[Fit]]


def fuse(program: Program) -> Program:
    """Merge groups with those that read them, and with others that read the same.

    Walks from the last step to the first. A step goes into the kernel of the first
    step that reads it, if every point of it is needed there once and in an order that
    the kernel can follow; it is stored there for those that read it later. What is
    cheap is rather computed by every reader, if that moves fewer bytes. So a value
    is computed as late as it can be, and never before what it needs.

    Requires: each step's inputs are written before it.
    Ensures:  the same outputs and commits. Calls, barriers and what they read and
              write keep their order: steps behind a barrier stay behind it, and its
              members are stored before it. An origin of a merged group is the tuple
              of its nodes, first the one that can fail.
    """
    if not any(type(s) is Group for s in program.steps):
        return program
    return _Fusion(program).run()


class _Fusion:
    def __init__(self, program: Program) -> None:
        self._program = program
        # The last first: what has a higher number comes earlier.
        self._clusters: list[Cluster] = []
        # By buffer: the clusters that read it from memory.
        self._readers: dict[int, set[int]] = {}
        # By buffer that several steps write: the earliest cluster so far that does.
        self._writes: dict[int, int] = {}
        self._facts: dict[Expr, Facts] = {}
        # The earliest small kernel of each space.
        self._tiny: dict[Shape, Cluster] = {}
        self._kept = {c.view.buffer.id for c in program.commits}
        written = Counter([v.buffer.id for s in program.steps for v in s.writes])
        self._shared = {k for k, n in written.items() if n > 1}

    def run(self) -> Program:
        """The fused program."""
        program = self._program
        steps = program.steps
        for number in range(len(steps) - 1, -1, -1):
            step = steps[number]
            if type(step) is not Group:
                self._open(number, step)
            elif 1 in step.extents:
                self._place(number, without_unit_axes(step))
            else:
                self._place(number, step)
        merged: list[Step] = []
        origins = []
        for cluster in reversed(self._clusters):
            single = len(cluster.members) == 1
            merged.append(cluster.step if single else cluster.made())
            origins.append(self._origin(cluster))
        return replace(program, steps=tuple(merged), origins=tuple(origins))

    # --- where a group goes -----------------------------------------------------------

    def _place(self, number: int, group: Group) -> None:
        store = group.stores[0]
        view, buffer = store.view, store.view.buffer
        facts = self._facts_of(store.expr)
        if (
            len(group.stores) > 1
            or view.size != buffer.size
            or buffer.id in self._shared
            or not buffer.dtype.is_scalar
            or (True in group.reduced) != facts.folds
        ):
            self._open(number, group)
            return
        needed = buffer.kind != "temp" or buffer.id in self._kept
        floor = self._floor(group)
        readers = self._readers.get(buffer.id)
        if readers:
            if self._inline_as_it_is(number, group, facts, floor, needed):
                return
            if self._inline(number, group, facts, floor, needed):
                return
        elif not needed:
            return
        after = floor
        if readers:
            first = self._clusters[max(readers)]
            may_join = first.open and first.number > floor
            if may_join and self._join(number, group, facts, first, needed):
                return
            after = max(floor, first.number)
        if not self._join_sibling(number, group, facts, after):
            self._open(number, group)

    def _facts_of(self, expr: Expr) -> Facts:
        facts = self._facts.get(expr)
        if facts is None:
            facts = self._facts[expr] = facts_of(expr)
        return facts

    def _floor(self, group: Group) -> int:
        """The cluster that must come after ``group``: it overwrites what that reads."""
        if not self._shared:
            return -1
        return max([self._writes.get(v.buffer.id, -1) for v in group.loads], default=-1)

    def _open(self, number: int, step: Step) -> None:
        """A cluster of its own, before all others."""
        cluster = Cluster(len(self._clusters), self._program.steps[number])
        self._clusters.append(cluster)
        for view in step.reads:
            self._read(cluster, view)
        for view in step.writes:
            if view.buffer.id in self._shared:
                self._writes[view.buffer.id] = cluster.number
        facts = Facts(0, 0, False, False, False)
        if type(step) is not Group or 0 in step.extents:
            cluster.members.append(Member(number, Index(0), facts, ()))
            return
        for store in step.stores:
            facts = facts.plus(self._facts_of(store.expr))
        cluster.start(number, step, facts)
        if cluster.open and prod(step.extents) <= _TINY:
            self._tiny[step.extents] = cluster

    def _read(self, cluster: Cluster, view: View) -> None:
        cluster.read(view)
        readers = self._readers.get(view.buffer.id)
        if readers is None:
            self._readers[view.buffer.id] = {cluster.number}
        else:
            readers.add(cluster.number)

    # --- into readers -----------------------------------------------------------------

    def _inline_as_it_is(
        self, number: int, group: Group, facts: Facts, floor: int, needed: bool
    ) -> bool:
        """Nearly all: one reader, which reads every point as it was stored."""
        stored = group.stores[0].view
        readers = self._readers[stored.buffer.id]
        if needed or facts.folds or len(readers) > 1:
            return False
        (place,) = readers
        cluster = self._clusters[place]
        views = cluster.reads[stored.buffer.id]
        if len(views) > 1 or views[0][1:] != stored[1:]:
            return False
        if not cluster.open or place <= floor:
            return False
        plan = [Fit(views[0], group.loads, None)]
        if not self._has_room(cluster, plan, facts):
            return False
        self._absorb(cluster, number, group, facts, plan)
        return True

    def _inline(
        self, number: int, group: Group, facts: Facts, floor: int, needed: bool
    ) -> bool:
        """Compute the value where it is read, if that moves no more bytes.

        True if nobody is left who reads it from memory.
        """
        stored = group.stores[0].view
        readers = self._readers[stored.buffer.id]
        if any(type(self._clusters[p].step) is Barrier for p in readers):
            return False  # what waits for a gate does not go round it
        cheap = facts.weight <= CHEAP and not facts.folds
        plans: list[_Plan] = []
        everywhere = not needed
        for place in sorted(readers):
            cluster = self._clusters[place]
            plan = None
            if cluster.open and place > floor:
                plan = fits(cluster, group, facts, stored)
            if plan is not None and self._has_room(cluster, plan, facts):
                plans.append((cluster, plan))
            else:
                everywhere = False
            if not everywhere and not cheap:
                return False
        views = [f.view for _, plan in plans for f in plan]
        again = sum(map(reach, views)) > stored.size
        if again and not cheap:
            return False
        if again or not everywhere:
            plans = [p for p in plans if _may_repeat(p[0], facts)]
            everywhere &= len(plans) == len(readers)
            if everywhere:
                more = sum([_more(*p) for p in plans])
                everywhere = more <= sum(map(bytes_of, views)) + bytes_of(stored)
            if not everywhere:
                if not cheap:
                    return False
                # Others read it from memory: again only where that saves bytes.
                plans = [p for p in plans if _more(*p) < _read_bytes(p[1])]
            for cluster, _ in plans:
                cluster.repeated += facts.weight
        for cluster, plan in plans:
            self._absorb(cluster, number, group, facts, plan)
        return not needed and not readers

    def _join(
        self, number: int, group: Group, facts: Facts, cluster: Cluster, needed: bool
    ) -> bool:
        """Compute the value in the kernel that reads it first, and store it there."""
        stored = group.stores[0].view
        if len(cluster.reads[stored.buffer.id]) > 1:
            return False
        plan = fits(cluster, group, facts, stored)
        alone = not needed and len(self._readers[stored.buffer.id]) == 1
        if plan is None or not self._has_room(cluster, plan, facts, int(not alone)):
            return False
        (fit,) = plan
        if alone and (fit.once or facts.weight <= CHEAP):
            self._absorb(cluster, number, group, facts, plan)
            return True
        if not fit.once:
            return False
        if not facts.folds:
            # What is constant along some axes is stored once a fold, or not at all.
            constant = repeated_axes(fit.view)
            if constant and constant != cluster.folded:
                return False
        self._absorb(cluster, number, group, facts, plan, keep=True)
        return True

    def _has_room(
        self, cluster: Cluster, plan: Sequence[Fit], facts: Facts, stores: int = 0
    ) -> bool:
        """True if ``cluster`` may compute ``plan`` and store ``stores`` more views."""
        if facts.risky and cluster.risky:
            return False
        if cluster.nodes + len(plan) * facts.nodes > MOST_NODES:
            return False
        loads = [v for f in plan for v in f.loads]
        views = cluster.views + stores
        if views + len(loads) <= FEW_VIEWS:
            return True
        views -= sum(f.view in cluster.reads.get(f.view.buffer.id, ()) for f in plan)
        new = cluster.new(loads)
        if stores:
            return views + len(new) <= FEW_VIEWS
        most = MOST_VIEWS if all(v.buffer.kind == "temp" for v in new) else FEW_VIEWS
        return views + len(new) <= max(most, cluster.views)

    def _absorb(
        self,
        cluster: Cluster,
        number: int,
        group: Group,
        facts: Facts,
        plan: Sequence[Fit],
        keep: bool = False,
    ) -> None:
        """Let ``cluster`` compute what it reads of ``group``; store it if ``keep``."""
        store = group.stores[0]
        buffer = store.view.buffer.id
        if facts.folds:
            (fit,) = plan
            if fit.new_axes:
                cluster.extend(fit.new_axes, first=fit.folded[0] == 0)
                plan = [fit._replace(view=cluster.reads[buffer][0])]
            else:
                rank = len(cluster.extents)
                cluster.reduced = tuple([a in fit.folded for a in range(rank)])
        cluster.views -= len(cluster.reads.pop(buffer))
        self._readers[buffer].discard(cluster.number)
        for fit in plan:
            member = Member(number, store.expr, facts, fit.loads, fit.view)
            member.index = fit.coordinates
            if keep:
                view = fit.view
                shape = tuple([n if s else 1 for n, s in zip(view.shape, view.strides)])
                member.stores = (Store(view._replace(shape=shape), store.expr),)
            self._add(cluster, member)

    def _add(self, cluster: Cluster, member: Member) -> None:
        facts = member.facts
        cluster.members.append(member)
        cluster.views += len(member.stores)
        cluster.nodes += facts.nodes
        cluster.folds |= facts.folds
        cluster.risky |= facts.risky
        for view in member.loads:
            self._read(cluster, view)

    # --- beside others ----------------------------------------------------------------

    def _join_sibling(
        self, number: int, group: Group, facts: Facts, after: int
    ) -> bool:
        """Into a kernel over the same space that reads the same, or is tiny too."""
        candidates = []
        for view in group.loads:
            if 0 not in view.strides:
                for place in self._readers.get(view.buffer.id, ()):
                    cluster = self._clusters[place]
                    if place > after and view in cluster.reads[view.buffer.id]:
                        candidates.append(cluster)
        tiny = self._tiny.get(group.extents)
        if tiny is not None and tiny.number > after:
            candidates.append(tiny)
        for cluster in candidates:
            if self._suits(cluster, group, facts):
                if facts.folds:
                    cluster.reduced = group.reduced
                expr, stores = group.stores[0].expr, group.stores
                self._add(
                    cluster, Member(number, expr, facts, group.loads, None, stores)
                )
                return True
        return False

    def _suits(self, cluster: Cluster, group: Group, facts: Facts) -> bool:
        if not cluster.open or cluster.extents != group.extents:
            return False
        reduced = group.reduced if facts.folds else cluster.reduced
        if cluster.folds and cluster.reduced != reduced:
            return False
        plan = [Fit(group.stores[0].view, group.loads, None)]
        return self._has_room(cluster, plan, facts, 1)

    # --- origins ----------------------------------------------------------------------

    def _origin(self, cluster: Cluster) -> Any:
        origins = self._program.origins
        if not origins:
            return None
        members = sorted(cluster.members, key=lambda m: not m.facts.risky)
        nodes = dict.fromkeys([origins[m.number] for m in members])
        nodes.pop(None, None)
        return tuple(nodes) if len(nodes) > 1 else next(iter(nodes), None)


def _more(cluster: Cluster, plan: list[Fit]) -> int:
    """Bytes that ``cluster`` would load on top of what it does."""
    return sum(map(bytes_of, cluster.new(v for f in plan for v in f.loads)))


def _read_bytes(plan: list[Fit]) -> int:
    return sum([bytes_of(f.view) for f in plan])


def _may_repeat(cluster: Cluster, facts: Facts) -> bool:
    return cluster.repeated + facts.weight <= _MOST_REPEATED
