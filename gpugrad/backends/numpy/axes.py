"""The axes of a Group as loops want them: few, and a long one inside."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from gpugrad.dtypes import int64
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Lit,
    Load,
    Reduce,
    postorder,
    substitute,
)
from gpugrad.kir.space import Shape, View


def merged(group: Group) -> Group:
    """The same points in the same order with as few axes as there can be.

    Axes of extent 1 go away, and neighbours become one where every view steps through
    them evenly. One reduced axis stays if anything is reduced. No extent may be 0.
    """
    nodes = set(postorder(*[s.expr for s in group.stores]))
    indexed = {n.axis for n in nodes if type(n) is Index}
    axes = [i for i, n in enumerate(group.extents) if n != 1]
    folds = any(type(n) is Reduce for n in nodes)
    if folds and True in group.reduced and not any(group.reduced[i] for i in axes):
        axes = sorted([*axes, group.reduced.index(True)])
    views = [*group.loads, *[s.view for s in group.stores]]
    runs: list[list[int]] = []
    for axis in axes:
        if runs and _even(group, views, runs[-1][-1], axis, indexed):
            runs[-1].append(axis)
        else:
            runs.append([axis])

    def shaped(shape: Shape) -> Shape:
        return tuple([prod([shape[axis] for axis in run]) for run in runs])

    def view(old: View) -> View:
        strides = tuple([old.strides[run[-1]] for run in runs])
        return View(old.buffer, shaped(old.shape), strides, old.offset)

    places = {run[0]: place for place, run in enumerate(runs)}
    reduced = tuple([group.reduced[run[0]] for run in runs])
    return _rebuilt(group, shaped(group.extents), reduced, view, indexed, places)


def permuted(group: Group, order: Shape) -> Group:
    """The same points with axis ``order[i]`` in place i."""
    nodes = postorder(*[s.expr for s in group.stores])
    indexed = {n.axis for n in nodes if type(n) is Index}
    places = {axis: place for place, axis in enumerate(order)}
    reduced = tuple([group.reduced[axis] for axis in order])
    extents = tuple([group.extents[axis] for axis in order])
    return _rebuilt(
        group, extents, reduced, lambda v: v.transpose(order), indexed, places
    )


def _even(
    group: Group, views: list[View], outer: int, inner: int, indexed: set[int]
) -> bool:
    """True when two axes can be walked as one."""
    if group.reduced[outer] is not group.reduced[inner]:
        return False
    if outer in indexed or inner in indexed:
        return False
    extent = group.extents[inner]
    for view in views:
        if view.shape[inner] != extent:
            if view.shape[outer] != 1:
                return False
        elif (
            view.shape[outer] != group.extents[outer]
            or view.strides[outer] != extent * view.strides[inner]
        ):
            return False
    return True


def _rebuilt(
    group: Group,
    extents: Shape,
    reduced: tuple[bool, ...],
    view: Callable[[View], View],
    indexed: set[int],
    places: dict[int, int],
) -> Group:
    """The group over other axes; ``places`` says where each indexed axis went."""
    known: dict[Expr, Expr] = {
        Index(axis): Index(places[axis]) if axis in places else Lit(0, int64)
        for axis in indexed
    }
    stores = []
    for store in group.stores:
        expr = substitute(store.expr, known) if known else store.expr
        stores.append(Store(view(store.view), expr))
    loads = tuple([view(load) for load in group.loads])
    return Group(extents, reduced, loads, tuple(stores), group.stream)


def varying(group: Group) -> dict[Expr, frozenset[int]]:
    """The axes along which each sub-expression varies."""
    axes: dict[Expr, frozenset[int]] = {}
    folded = {axis for axis, r in enumerate(group.reduced) if r}
    of_load = [
        frozenset([i for i, n in enumerate(group.extents) if n != 1 and v.strides[i]])
        for v in group.loads
    ]
    for node in postorder(*[s.expr for s in group.stores]):
        if type(node) is Apply:
            first, *others = [axes[a] for a in node.args]
            axes[node] = first.union(*others) if others else first
        elif type(node) is Load:
            axes[node] = of_load[node.slot]
        elif type(node) is Reduce:
            axes[node] = axes[node.arg] - folded
        else:
            axes[node] = frozenset((node.axis,) if type(node) is Index else ())
    return axes
