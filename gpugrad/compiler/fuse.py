"""Groups merged into larger Groups, so that fewer bytes move."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import Any, Final, NamedTuple

from gpugrad.compiler.cluster import (
    Cluster,
    Facts,
    Member,
    facts_of,
    key_of,
    may_spread,
    without_unit_axes,
)
from gpugrad.compiler.relate import Map, Split, locate
from gpugrad.kir.program import Group, Program, Step, Store
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import Shape, View

# Nodes of a kernel's expressions. Longer chains are cut: a store and a load in a
# hundred flops are cheap, and registers are few.
_MOST_NODES: Final = 160
# Loads and stores of a kernel: each is a pointer parameter, of 4 KB in all.
_MOST_VIEWS: Final = 24
# Flops that may be done twice rather than stored, a value and in all of a kernel.
_CHEAP: Final = 3
_MOST_REPEATED: Final = 12
# Points, up to which a launch costs more than the work.
_TINY: Final = 1 << 12


class _Fit(NamedTuple):
    """How a value is computed where a cluster reads it as ``view``."""

    view: View
    loads: tuple[View, ...]
    index: tuple[Expr, ...] | None
    # Axes of the cluster that the value's fold goes over; to be added, if not there.
    folded: tuple[int, ...] = ()
    new_axes: Shape = ()
    # At every point of the cluster exactly one point, or one a fold.
    once: bool = True


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
    return _Fusion(program).run()


class _Fusion:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._clusters: list[Cluster] = []
        # By buffer: the clusters that read it, and the views through which they do.
        self._readers: dict[int, dict[int, list[View]]] = {}
        # By buffer that several steps write: the first cluster so far that does.
        self._writes: dict[int, int] = {}
        self._facts: dict[Expr, Facts] = {}
        # The earliest small kernel of each space.
        self._tiny: dict[Any, Cluster] = {}
        self._kept = {c.view.buffer.id for c in program.commits}
        written = Counter([v.buffer.id for s in program.steps for v in s.writes])
        self._shared = {k for k, n in written.items() if n > 1}

    def run(self) -> Program:
        """The fused program."""
        program = self._program
        steps = program.steps
        if not any(type(s) is Group for s in steps):
            return program
        for number in range(len(steps) - 1, -1, -1):
            step = steps[number]
            if type(step) is Group:
                self._place(number, step)
            else:
                self._open(number, step)
        merged, origins = [], []
        for cluster in reversed(self._clusters):
            members = cluster.members
            if len(members) > 1:
                merged.append(cluster.made())
                origins.append(self._origin(cluster))
            else:
                merged.append(cluster.step)
                origins.append(self._origin(cluster))
        return replace(program, steps=tuple(merged), origins=tuple(origins))

    # --- where a group goes -----------------------------------------------------------

    def _place(self, number: int, group: Group) -> None:
        if 1 in group.extents:
            group = without_unit_axes(group)
        stores = group.stores
        view = stores[0].view
        buffer = view.buffer
        needed = buffer.kind != "temp" or buffer.id in self._kept
        if (
            len(stores) > 1
            or view.size != buffer.size
            or buffer.id in self._shared
            or 0 in group.extents
            or not buffer.dtype.is_scalar
        ):
            self._open(number, group)
            return
        facts = self._facts.get(stores[0].expr)
        if facts is None:
            facts = self._facts[stores[0].expr] = facts_of(stores[0].expr)
        if not facts.folds and True in group.reduced:
            self._open(number, group)
            return
        floor = self._floor(group)
        readers = self._readers.get(buffer.id)
        if readers:
            if len(readers) == 1 and not needed:
                first = self._clusters[max(readers)]
                views = readers[first.number]
                if len(views) == 1 and views[0][1:] == view[1:] and not facts.folds:
                    # Nearly all: one reader, which reads every point as it is.
                    fit = _Fit(views[0], group.loads, None)
                    if first.open and first.number > floor:
                        if self._has_room(first, [fit], facts, 0):
                            self._absorb(first, number, group, facts, [fit], False)
                            return
            if self._inline(number, group, facts, floor, needed):
                return
            readers = self._readers[buffer.id]
        elif not needed:
            return
        after = floor
        if readers:
            first = self._clusters[max(readers)]
            if first.open and first.number > floor:
                if self._join(number, group, facts, first, needed):
                    return
            after = max(floor, first.number)
        if not self._join_sibling(number, group, facts, after):
            self._open(number, group)

    def _floor(self, group: Group) -> int:
        """The cluster before which ``group`` must be: it overwrites what that reads."""
        if not self._shared:
            return -1
        return max([self._writes.get(v.buffer.id, -1) for v in group.loads], default=-1)

    def _open(self, number: int, step: Step) -> None:
        """A cluster of its own, before all others."""
        cluster = Cluster(len(self._clusters), self._program.steps[number])
        self._clusters.append(cluster)
        for view in step.reads:
            self._reads(cluster, view)
        for view in step.writes:
            if view.buffer.id in self._shared:
                self._writes[view.buffer.id] = cluster.number
        if type(step) is not Group or 0 in step.extents:
            cluster.members.append(Member(number, None, None, ()))  # type: ignore[arg-type]
            return
        known = self._facts
        for store in step.stores:
            if store.expr not in known:
                known[store.expr] = facts_of(store.expr)
        facts = known[step.stores[0].expr]
        for store in step.stores[1:]:
            facts = _both(facts, known[store.expr])
        cluster.start(number, step, facts)
        cluster.views += len(step.stores)
        if _points(step.extents) <= _TINY:
            self._tiny[step.extents] = cluster

    def _reads(self, cluster: Cluster, view: View) -> None:
        views = self._readers.setdefault(view.buffer.id, {}).setdefault(
            cluster.number, []
        )
        if view not in views:
            views.append(view)
            cluster.views += 1

    # --- into readers -----------------------------------------------------------------

    def _inline(
        self, number: int, group: Group, facts: Facts, floor: int, needed: bool
    ) -> bool:
        """Compute the value wherever it is read, if that moves no more bytes.

        True if nobody is left who reads it from memory.
        """
        stored = group.stores[0].view
        readers = self._readers[stored.buffer.id]
        cheap = facts.weight <= _CHEAP and not facts.folds
        plans: list[tuple[Cluster, list[_Fit]]] = []
        everywhere = not needed
        for place in list(readers):
            cluster = self._clusters[place]
            fits = None
            if cluster.open and place > floor:
                fits = self._fits(cluster, group, facts, stored)
            if fits is not None and self._has_room(cluster, fits, facts, 0):
                plans.append((cluster, fits))
            else:
                everywhere = False
            if not everywhere and not cheap:
                return False
        views = [f.view for _, fits in plans for f in fits]
        again = not (len(views) == 1 or sum(map(_reach, views)) <= stored.size)
        if again and not cheap:
            return False
        if again or not everywhere:
            plans = [
                (c, fits)
                for c, fits in plans
                if c.repeated + facts.weight <= _MOST_REPEATED
            ]
            everywhere &= len(plans) == len(readers)
        if again and everywhere:
            more = sum([self._more(c, fits) for c, fits in plans])
            everywhere = more <= sum(map(_bytes, views)) + _bytes(stored)
        if not everywhere:
            # Others read it from memory: compute it again only where that saves bytes.
            if not cheap:
                return False
            plans = [
                (c, fits)
                for c, fits in plans
                if self._more(c, fits) < sum([_bytes(f.view) for f in fits])
            ]
        for cluster, fits in plans:
            self._absorb(cluster, number, group, facts, fits, False)
            if again or not everywhere:
                cluster.repeated += facts.weight
        return not needed and not readers

    def _more(self, cluster: Cluster, fits: list[_Fit]) -> int:
        """Bytes that ``cluster`` would load on top of what it does."""
        return sum(map(_bytes, self._new(cluster, fits)))

    def _join(
        self, number: int, group: Group, facts: Facts, cluster: Cluster, needed: bool
    ) -> bool:
        """Compute and store the value in the kernel that reads it first."""
        stored = group.stores[0].view
        readers = self._readers[stored.buffer.id]
        if len(readers.get(cluster.number, ())) != 1:
            return False
        fits = self._fits(cluster, group, facts, stored)
        if fits is None or not fits[0].once or not self._has_room(cluster, fits, facts, 1):
            return False
        view = fits[0].view
        if not needed and len(readers) == 1:
            self._absorb(cluster, number, group, facts, fits, False)
            return True
        # Along axes on which the value is constant only a fold is stored once.
        constant = [
            k for k, (n, s) in enumerate(zip(view.shape, view.strides)) if n > 1 and not s
        ]
        folds = cluster.folds or facts.folds
        if constant and not folds:
            return False
        if facts.folds:
            if constant != list(fits[0].folded) and not fits[0].new_axes:
                return False
        elif constant:
            if any([not cluster.reduced[k] for k in constant]):
                return False
            over = [k for k, n in enumerate(cluster.extents) if n > 1 and cluster.reduced[k]]
            if constant != over:
                return False
        elif cluster.folds and not may_spread(cluster.extents, cluster.reduced):
            return False
        self._absorb(cluster, number, group, facts, fits, True)
        return True

    def _fits(
        self, cluster: Cluster, group: Group, facts: Facts, stored: View
    ) -> list[_Fit] | None:
        """How ``cluster`` computes what it reads of ``group``; None if it cannot."""
        if cluster.risky and facts.risky:
            return None
        maps: list[Map | None] = []
        while True:
            views = self._readers[stored.buffer.id][cluster.number]
            maps = []
            for view in views:
                place = locate(view, stored)
                if type(place) is Split:
                    self._split(cluster, place)
                    break
                if place is None:
                    return None
                maps.append(place)  # type: ignore[arg-type]
            else:
                break
        if facts.folds and len(views) != 1:
            return None
        fits = []
        for view, place in zip(views, maps):
            assert place is not None
            fit = (
                self._fit_fold(cluster, group, view, place, stored)
                if facts.folds
                else self._fit_map(cluster, group, facts, view, place, stored)
            )
            if fit is None:
                return None
            fits.append(fit)
        return fits

    def _fit_map(
        self,
        cluster: Cluster,
        group: Group,
        facts: Facts,
        view: View,
        place: Map,
        stored: View,
    ) -> _Fit | None:
        repeats = [
            k for k, (n, s) in enumerate(zip(view.shape, view.strides)) if n > 1 and not s
        ]
        if repeats and facts.weight > _CHEAP:
            # Once a point of the larger space, but for what is one value a fold.
            if not cluster.folds or any([not cluster.reduced[k] for k in repeats]):
                return None
        loads = tuple([place.view(v, cluster.extents) for v in group.loads])
        if _scattered(loads) > _scattered(group.loads) + _scattered((view,)):
            return None
        index = place.index(len(group.extents)) if facts.indexed else None
        return _Fit(view, loads, index, once=_covers(view, place, stored))

    def _fit_fold(
        self, cluster: Cluster, group: Group, view: View, place: Map, stored: View
    ) -> _Fit | None:
        if not _covers(view, place, stored):
            return None
        theirs = [
            p for p, (n, r) in enumerate(zip(group.extents, group.reduced)) if r and n > 1
        ]
        if len([n for n in stored.shape if n > 1]) + len(theirs) != len(
            [n for n in group.extents if n > 1]
        ):
            return None
        mine = [
            k for k, (n, s) in enumerate(zip(view.shape, view.strides)) if n > 1 and not s
        ]
        extents = cluster.extents
        sizes = tuple([group.extents[p] for p in theirs])
        axes = list(place.axes)
        if not mine:
            if cluster.folds:
                return None
            new_axes = sizes
            extents += sizes
            axes += [(p, 1) for p in theirs]
            mine = list(range(len(cluster.extents), len(extents)))
        else:
            new_axes = ()
            if tuple([extents[k] for k in mine]) != sizes:
                return None
            for k, p in zip(mine, theirs):
                axes[k] = (p, 1)
            reduced = tuple([k in mine for k in range(len(extents))])
            if cluster.folds:
                over = [k for k, n in enumerate(extents) if n > 1 and cluster.reduced[k]]
                if over != mine:
                    return None
                spread = cluster.used_at_all_points(key_of(view))
            else:
                spread = True
            if spread and not may_spread(extents, reduced):
                return None
        # Along folded axes the step's own store has one point.
        full = Map(tuple(axes), place.start)
        loads = tuple([full.view(v, extents) for v in group.loads])
        if _scattered(loads) > _scattered(group.loads):
            return None
        index = full.index(len(group.extents))
        return _Fit(view, loads, index, tuple(mine), new_axes)

    def _split(self, cluster: Cluster, place: Split) -> None:
        self._forget(cluster)
        cluster.split(place.axis, place.inner)
        self._remember(cluster)

    def _forget(self, cluster: Cluster) -> None:
        for buffer in {v.buffer.id for m in cluster.members for v in m.loads}:
            self._readers.get(buffer, {}).pop(cluster.number, None)

    def _remember(self, cluster: Cluster) -> None:
        inside = {key_of(m.key) for m in cluster.members if m.key is not None}
        cluster.views = sum([len(m.stores) for m in cluster.members])
        for member in cluster.members:
            for view in member.loads:
                if key_of(view) not in inside:
                    self._reads(cluster, view)

    def _new(self, cluster: Cluster, fits: list[_Fit]) -> list[View]:
        """The views that the cluster does not load yet."""
        found: list[View] = []
        for fit in fits:
            for view in fit.loads:
                known = self._readers.get(view.buffer.id, {}).get(cluster.number, ())
                if view not in known and view not in found:
                    found.append(view)
        return found

    def _has_room(
        self, cluster: Cluster, fits: list[_Fit], facts: Facts, stores: int
    ) -> bool:
        nodes = cluster.nodes + len(fits) * facts.nodes
        if nodes > _MOST_NODES or (facts.risky and cluster.risky):
            return False
        views = cluster.views - len(fits) + stores
        for fit in fits:
            views += len(fit.loads)
        return views <= _MOST_VIEWS or (
            cluster.views - len(fits) + stores + len(self._new(cluster, fits))
            <= max(_MOST_VIEWS, cluster.views)
        )

    def _absorb(
        self,
        cluster: Cluster,
        number: int,
        group: Group,
        facts: Facts,
        fits: list[_Fit],
        keep: bool,
    ) -> None:
        """Let ``cluster`` compute what it reads, and store it if ``keep``."""
        store = group.stores[0]
        buffer = store.view.buffer.id
        fit = fits[0]
        if fit.new_axes:
            self._forget(cluster)
            cluster.extend(fit.new_axes)
            self._remember(cluster)
            (view,) = self._readers[buffer][cluster.number]
            fits = [fit._replace(view=view)]
        elif facts.folds and not cluster.folds:
            cluster.reduced = tuple(
                [k in fit.folded for k in range(len(cluster.extents))]
            )
        readers = self._readers[buffer]
        cluster.views -= len(readers.pop(cluster.number))
        for fit in fits:
            stores: tuple[Store, ...] = ()
            if keep:
                shape = tuple([n if s else 1 for n, s in zip(fit.view.shape, fit.view.strides)])
                stores = (Store(fit.view._replace(shape=shape), store.expr),)
                cluster.views += 1
                cluster.full |= shape == cluster.extents
            cluster.members.append(
                Member(number, store.expr, facts, fit.loads, fit.view, stores, fit.index)
            )
            cluster.nodes += facts.nodes
            for view in fit.loads:
                self._reads(cluster, view)
        cluster.folds |= facts.folds
        cluster.risky |= facts.risky

    # --- beside others ----------------------------------------------------------------

    def _join_sibling(
        self, number: int, group: Group, facts: Facts, after: int
    ) -> bool:
        """Into a kernel over the same space that reads the same, or that is tiny too."""
        for view in group.loads:
            for place, views in self._readers.get(view.buffer.id, {}).items():
                if place > after and view in views and 0 not in view.strides:
                    if self._beside(number, group, facts, self._clusters[place]):
                        return True
        tiny = self._tiny.get(group.extents)
        if tiny is not None and tiny.number > after:
            return self._beside(number, group, facts, tiny)
        return False

    def _beside(
        self, number: int, group: Group, facts: Facts, cluster: Cluster
    ) -> bool:
        if not cluster.open or cluster.extents != group.extents:
            return False
        if cluster.number <= self._floor(group):
            return False
        folds = cluster.folds or facts.folds
        if cluster.folds and facts.folds and cluster.reduced != group.reduced:
            return False
        reduced = group.reduced if facts.folds else cluster.reduced
        view = group.stores[0].view
        full = cluster.full or view.shape == group.extents
        if folds and full and not may_spread(group.extents, reduced):
            return False
        fit = _Fit(view, group.loads, None)
        if not self._has_room(cluster, [fit], facts, 2):
            return False
        cluster.members.append(
            Member(number, group.stores[0].expr, facts, group.loads, None, group.stores)
        )
        cluster.reduced = reduced
        cluster.full = full
        cluster.folds = folds
        cluster.risky |= facts.risky
        cluster.nodes += facts.nodes
        cluster.views += 1
        for load in group.loads:
            self._reads(cluster, load)
        return True

    # --- origins ----------------------------------------------------------------------

    def _origin(self, cluster: Cluster) -> Any:
        origins = self._program.origins
        if not origins:
            return None
        members = cluster.members
        if len(members) == 1:
            return origins[members[0].number]
        members = sorted(members, key=lambda m: not m.facts.risky)
        nodes = [origins[m.number] for m in members]
        nodes = [n for n in dict.fromkeys(nodes) if n is not None]
        return tuple(nodes) if len(nodes) > 1 else nodes[0] if nodes else None


def _both(a: Facts, b: Facts) -> Facts:
    return Facts(
        a.nodes + b.nodes,
        a.weight + b.weight,
        a.folds or b.folds,
        a.indexed or b.indexed,
        a.risky or b.risky,
    )


def _points(extents: Shape) -> int:
    return prod(extents)


def _reach(view: View) -> int:
    """Points of a view, those that repeat counted once."""
    return prod([n for n, s in zip(view.shape, view.strides) if s])


def _bytes(view: View) -> int:
    return _reach(view) * view.buffer.dtype.itemsize


def _scattered(views: tuple[View, ...]) -> int:
    """How many of the views jump from element to element of their last axis."""
    count = 0
    for view in views:
        for extent, stride in zip(reversed(view.shape), reversed(view.strides)):
            if extent != 1:
                count += stride not in (-1, 0, 1)
                break
    return count


def _covers(view: View, place: Map, stored: View) -> bool:
    """True if ``view`` reaches every stored point once, repeated axes aside."""
    along: dict[int, list[tuple[int, int]]] = {}
    for other, extent in zip(place.axes, view.shape):
        if other is not None:
            along.setdefault(other[0], []).append((abs(other[1]), extent))
    for axis, extent in enumerate(stored.shape):
        step = 1
        for multiple, count in sorted(along.get(axis, ())):
            if multiple != step:
                return False
            step *= count
        if step != extent:
            return False
    return True
