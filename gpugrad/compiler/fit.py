"""How a kernel computes a value that it would else read from memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from gpugrad.compiler.cluster import Cluster, Facts, may_spread
from gpugrad.compiler.relate import Map, Split, locate, repeated_axes
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import Shape, View

# Flops that may be done more than once a point.
CHEAP: Final = 3


class Fit(NamedTuple):
    """``view``, as the kernel reads it, computed from ``loads`` of the kernel's space.

    ``coordinates``: of the step that made it, if its expression names them.
    ``once``: every point is computed, and once but for repeated axes, so that it could
    be stored. ``folded``: the kernel's axes that a fold goes over; ``new_axes``: the
    extents of those that the kernel does not have yet.
    """

    view: View
    loads: tuple[View, ...]
    coordinates: tuple[Expr, ...] | None
    once: bool = True
    folded: tuple[int, ...] = ()
    new_axes: Shape = ()


def fits(
    cluster: Cluster, group: Group, facts: Facts, stored: View
) -> list[Fit] | None:
    """What ``cluster`` reads of ``group``, view by view; None if one does not fit.

    Axes of the cluster are split where it reads the value under another shape.
    """
    if cluster.risky and facts.risky:
        return None
    maps = _maps(cluster, stored)
    if maps is None or (facts.folds and len(maps) > 1):
        return None
    found = []
    for view, place in maps:
        if facts.folds:
            fit = _folded(cluster, group, facts, view, place, stored)
        else:
            fit = _mapped(cluster, group, facts, view, place, stored)
        if fit is None:
            return None
        found.append(fit)
    return found


def _maps(cluster: Cluster, stored: View) -> list[tuple[View, Map]] | None:
    while True:
        found = []
        split = None
        for view in cluster.reads[stored.buffer.id]:
            place = locate(view, stored)
            if place is None:
                return None
            if type(place) is Map:
                found.append((view, place))
            else:
                assert type(place) is Split
                split = place
        if split is None:
            return found
        cluster.split(*split)


def _mapped(
    cluster: Cluster, group: Group, facts: Facts, view: View, place: Map, stored: View
) -> Fit | None:
    """A value without folds."""
    repeated = repeated_axes(view)
    if repeated and facts.weight > CHEAP:
        # It would be computed once a point of the larger space. What is one value a
        # fold is not: kernels compute it before they go along the fold.
        folded = cluster.folded
        if not all(axis in folded for axis in repeated):
            return None
    loads = tuple([place.view(v, cluster.extents) for v in group.loads])
    if _scattered(loads) > _scattered(group.loads) + _scattered((view,)):
        return None
    index = place.coordinates(len(group.extents)) if facts.indexed else None
    return Fit(view, loads, index, place.covers(view, stored))


def _folded(
    cluster: Cluster, group: Group, facts: Facts, view: View, place: Map, stored: View
) -> Fit | None:
    """A fold's result: the kernel's axes are those of the result and of the fold."""
    theirs = [a for a, r in enumerate(group.reduced) if r]
    if not place.covers(view, stored) or any(stored.shape[a] != 1 for a in theirs):
        return None
    sizes = tuple([group.extents[a] for a in theirs])
    extents, axes = cluster.extents, list(place.axes)
    new_axes: Shape = ()
    mine = repeated_axes(view)
    if not mine:
        if cluster.folds:
            return None
        # Folds along memory come last, those across memory first.
        count, new_axes = len(sizes), sizes
        if theirs[0] == 0 and extents:
            mine = list(range(count))
            axes, extents = [*[None] * count, *axes], sizes + extents
        else:
            mine = list(range(len(extents), len(extents) + count))
            axes, extents = [*axes, *[None] * count], extents + sizes
    elif tuple([extents[a] for a in mine]) != sizes or cluster.folded not in ([], mine):
        return None
    elif cluster.used_at_all_points(view):
        reduced = tuple([a in mine for a in range(len(extents))])
        if not may_spread(extents, reduced):
            return None
    for axis, other in zip(mine, theirs):
        axes[axis] = (other, 1)
    full = Map(tuple(axes), place.start)
    loads = tuple([full.view(v, extents) for v in group.loads])
    if _scattered(loads) > _scattered(group.loads):
        return None
    index = full.coordinates(len(group.extents)) if facts.indexed else None
    return Fit(view, loads, index, True, tuple(mine), new_axes)


def _scattered(views: Iterable[View]) -> int:
    """How many of the views jump from element to element of their last axis."""
    return sum(v.strides[-1] not in (-1, 0, 1) for v in views if v.strides)
