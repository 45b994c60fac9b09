"""A kernel in the making: steps that share one iteration space, last one first."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from gpugrad.compiler.algebra import pruned, rebuilt
from gpugrad.compiler.relate import extend_view, split_view
from gpugrad.dtypes import int64
from gpugrad.kir.program import Group, Step, Store
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

# Functions in a kernel's expressions. Longer chains are cut: a store and a load in a
# hundred flops are cheap, and registers are few.
MOST_NODES: Final = 128
# Loads and stores of a kernel, which take registers. Room is left for values that the
# kernel may compute itself when their turn comes.
FEW_VIEWS: Final = 24
MOST_VIEWS: Final = 40
# Where a fold's result goes back to the points that it folded, or is folded again with
# others, a GPU walks each fold with one block, and along memory. That pays for folds
# of at most this many points, which a block can hold in registers, or with many of them
# side by side.
_SHORT_FOLD: Final = 1 << 15
_MANY_ROWS: Final = 128
# The same across memory, where a thread walks each fold alone.
_FEW_POINTS: Final = 1 << 12
_MANY_COLUMNS: Final = 1 << 14

# What a function costs beside an addition; the others cost 1.
_WEIGHTS: Final[dict[str, int]] = {
    **dict.fromkeys(("div", "sqrt", "rsqrt", "reciprocal"), 4),
    **dict.fromkeys(("floordiv", "floormod", "truncdiv", "truncmod"), 6),
    **dict.fromkeys(("exp", "expm1", "log", "log1p", "tanh", "erf"), 8),
    **dict.fromkeys(("sin", "cos", "tan", "asin", "acos", "atan", "atan2"), 12),
    **dict.fromkeys(("sinh", "cosh", "asinh", "acosh", "atanh", "erfc"), 12),
    **dict.fromkeys(("erfinv", "angle", "pow", "nextafter"), 16),
    **dict.fromkeys(("lgamma", "digamma", "zeta", "polygamma"), 48),
    **dict.fromkeys(("igamma", "igammac", "betainc"), 64),
}
# Functions of integers that fail for some arguments, at run time.
_RISKY: Final = frozenset(
    ("floordiv", "floormod", "truncdiv", "truncmod", "reciprocal", "pow")
)

Key = tuple[int, Shape, int]


class Facts(NamedTuple):
    """What the passes ask of an expression.

    ``nodes``: functions and folds; ``weight``: flops a point, about; ``risky``: it may
    fail at run time.
    """

    nodes: int
    weight: int
    folds: bool
    indexed: bool
    risky: bool

    def plus(self, other: Facts) -> Facts:
        """Of two expressions together."""
        return Facts(
            self.nodes + other.nodes,
            self.weight + other.weight,
            self.folds or other.folds,
            self.indexed or other.indexed,
            self.risky or other.risky,
        )


def facts_of(expr: Expr) -> Facts:
    """One look at every node."""
    nodes = weight = 0
    folds = indexed = risky = False
    for node in postorder(expr):
        nodes += type(node) is Apply or type(node) is Reduce
        if type(node) is Apply:
            weight += _WEIGHTS.get(node.op.name, 1)
            risky |= node.op.name in _RISKY and node.args[0].dtype.is_integer
        elif type(node) is Reduce:
            folds = True
        elif type(node) is Index:
            indexed = True
    return Facts(nodes, weight, folds, indexed, risky)


class Member:
    """A step's value in a cluster, in the cluster's coordinates.

    ``key``: the view through which other members read it; ``stores``: where it goes.
    ``index``: the step's own coordinates, if its expressions name them.
    """

    __slots__ = ("expr", "facts", "index", "key", "loads", "number", "stores")

    def __init__(
        self,
        number: int,
        expr: Expr,
        facts: Facts,
        loads: tuple[View, ...],
        key: View | None = None,
        stores: tuple[Store, ...] = (),
        index: tuple[Expr, ...] | None = None,
    ) -> None:
        self.number, self.expr, self.facts = number, expr, facts
        self.loads, self.key, self.stores, self.index = loads, key, stores, index


def key_of(view: View) -> Key:
    """What tells apart the views that one cluster reads."""
    return view.buffer.id, view.strides, view.offset


class Cluster:
    """Members in reverse order, and the axes that they share.

    Only a cluster of Groups is ``open`` to more members. ``views``: loads and stores.
    ``repeated``: flops a point that another cluster does as well.
    """

    __slots__ = (
        "extents",
        "folds",
        "members",
        "nodes",
        "number",
        "open",
        "reads",
        "reduced",
        "repeated",
        "risky",
        "step",
        "views",
    )

    def __init__(self, number: int, step: Step) -> None:
        self.number = number
        self.step = step
        self.open = False
        self.members: list[Member] = []
        # By buffer: how the cluster reads it from memory.
        self.reads: dict[int, list[View]] = {}
        self.extents: Shape = ()
        self.reduced: tuple[bool, ...] = ()
        self.folds = self.risky = False
        self.nodes = self.views = self.repeated = 0

    def start(self, step: int, group: Group, facts: Facts) -> None:
        """Take the first member, whose space is the cluster's."""
        expr = group.stores[0].expr
        self.members.append(Member(step, expr, facts, group.loads, None, group.stores))
        self.extents, self.reduced = group.extents, group.reduced
        self.folds, self.risky, self.nodes = facts.folds, facts.risky, facts.nodes
        self.views += len(group.stores)
        # Folds over single points, and what is left of them, stay as they are.
        self.open = facts.folds == (True in group.reduced)

    def read(self, view: View) -> None:
        """Read ``view`` from memory."""
        views = self.reads.get(view.buffer.id)
        if views is None:
            self.reads[view.buffer.id] = [view]
        elif view in views:
            return
        else:
            views.append(view)
        self.views += 1

    def new(self, views: Iterable[View]) -> list[View]:
        """Those of ``views`` that it does not read yet."""
        found: list[View] = []
        for view in views:
            if view not in self.reads.get(view.buffer.id, ()) and view not in found:
                found.append(view)
        return found

    @property
    def folded(self) -> list[int]:
        """The axes that its folds go over."""
        if not self.folds:
            return []
        return [a for a, r in enumerate(self.reduced) if r]

    def _remap(
        self,
        view: Callable[[View], View],
        kept: Callable[[View], View],
        index: dict[Expr, Expr],
    ) -> None:
        """Take every view to other axes, and coordinates by ``index``."""
        for buffer, views in self.reads.items():
            self.reads[buffer] = [view(v) for v in views]
        for member in self.members:
            member.loads = tuple([view(v) for v in member.loads])
            if member.key is not None:
                member.key = view(member.key)
            member.stores = tuple([Store(kept(v), e) for v, e in member.stores])
            if index and member.facts.indexed:
                old = member.index or [Index(a) for a in range(len(self.extents))]
                member.index = tuple([substitute(e, index) for e in old])

    def split(self, axis: int, inner: int) -> None:
        """Make two axes of one, the second of ``inner`` points."""
        index: dict[Expr, Expr] = {
            Index(a): Index(a + 1) for a in range(axis + 1, len(self.extents))
        }
        index[Index(axis)] = Index(axis) * inner + Index(axis + 1)

        def view(v: View) -> View:
            return split_view(v, axis, inner)

        self._remap(view, view, index)
        before, extent, after = _around(self.extents, axis)
        self.extents = (*before, extent // inner, inner, *after)
        before, folded, after = _around(self.reduced, axis)
        self.reduced = (*before, folded, folded, *after)

    def extend(self, extents: Shape, first: bool) -> None:
        """Add folded axes, before the others or behind, on which nothing varies yet."""
        count, rank = len(extents), len(self.extents)
        index: dict[Expr, Expr] = {}
        if first:
            index = {Index(a): Index(a + count) for a in range(rank)}
        self._remap(
            lambda v: extend_view(v, extents, first),
            lambda v: extend_view(v, (1,) * count, first),
            index,
        )
        kept, new = (False,) * rank, (True,) * count
        self.extents = extents + self.extents if first else self.extents + extents
        self.reduced = new + kept if first else kept + new

    def used_at_all_points(self, view: View) -> bool:
        """True if what is read as ``view``, one value a fold, is not used once a fold.

        That is, if it takes part in what is stored at every point or folded again.
        """
        everywhere: set[Key] = set()
        for member in self.members:
            if (
                member.facts.folds
                or any(s.view.shape == self.extents for s in member.stores)
                or (member.key is not None and key_of(member.key) in everywhere)
            ):
                everywhere.update([key_of(v) for v in member.loads])
        return key_of(view) in everywhere

    def made(self) -> Group:
        """The kernel."""
        loads: list[View] = []
        slots: dict[Key, Load] = {}
        values: dict[Key, Expr] = {}
        stores: list[Store] = []
        for member in reversed(self.members):
            given: list[Expr] = []
            for view in member.loads:
                key = key_of(view)
                value: Expr | None = values.get(key) or slots.get(key)
                if value is None:
                    value = slots[key] = Load(len(loads), view.dtype)
                    loads.append(view)
                given.append(value)
            if member.key is not None:
                value = rebuilt(member.expr, given, member.index)
                values[key_of(member.key)] = value
                stores += [Store(s.view, value) for s in member.stores]
            else:
                stores += [
                    Store(s.view, rebuilt(s.expr, given, member.index))
                    for s in member.stores
                ]
        reduced = self.reduced if self.folds else (False,) * len(self.extents)
        return pruned(Group(self.extents, reduced, tuple(loads), tuple(stores)))


def _around(items: tuple[Any, ...], place: int) -> tuple[Any, Any, Any]:
    return items[:place], items[place], items[place + 1 :]


def may_spread(extents: Shape, reduced: tuple[bool, ...]) -> bool:
    """True where a fold's result may be used at each of the points that it folds."""
    length = rows = 1
    inner = False
    for extent, folded in zip(extents, reduced):
        if extent != 1:
            inner = folded
            if folded:
                length *= extent
            else:
                rows *= extent
    if inner:
        return length <= _SHORT_FOLD or rows >= _MANY_ROWS
    return length * rows <= _FEW_POINTS or rows >= _MANY_COLUMNS


def without_unit_axes(group: Group) -> Group:
    """``group`` over the axes that have more than one point, or none."""
    keep = [a for a, n in enumerate(group.extents) if n != 1]

    def view(v: View) -> View:
        shape, strides = v.shape, v.strides
        return View(
            v.buffer,
            tuple([shape[a] for a in keep]),
            tuple([strides[a] for a in keep]),
            v.offset,
        )

    index: dict[Expr, Expr] = {
        Index(a): Lit(0, int64) for a, n in enumerate(group.extents) if n == 1
    }
    index |= {Index(a): Index(i) for i, a in enumerate(keep) if i != a}
    stores = []
    for store in group.stores:
        expr = store.expr
        if any(type(e) is Index for e in postorder(expr)):
            expr = substitute(expr, index)
        stores.append(Store(view(store.view), expr))
    return Group(
        tuple([group.extents[a] for a in keep]),
        tuple([group.reduced[a] for a in keep]),
        tuple([view(v) for v in group.loads]),
        tuple(stores),
    )


def merged_origin(one: Any, two: Any, first: bool) -> Any:
    """Of a step made of two: the nodes of both, those of ``one`` first if so asked."""
    nodes: list[Any] = []
    for origin in (one, two) if first else (two, one):
        nodes += origin if type(origin) is tuple else [origin]
    distinct = [n for n in dict.fromkeys(nodes) if n is not None]
    return tuple(distinct) if len(distinct) > 1 else next(iter(distinct), None)
