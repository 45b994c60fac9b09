"""How a large Group is walked: in which passes, and in tiles of which size.

A tile is a box of the iteration space whose arrays fit into the core's cache. Where
whole folds fit (rows of a softmax, say) one pass does. Else the folds run over several
tiles: a first pass adds up, a second reads the sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Final, NamedTuple

from gpugrad.backends.numpy.axes import merged, permuted, varying
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Apply, Expr, Load, Reduce, postorder, substitute
from gpugrad.kir.space import Buffer, Shape, View, contiguous_strides

# Below so many points an inner loop costs more than what it computes.
_SHORT: Final = 256
# Scratch arrays that are alive at a time, at most, in nearly every group.
_ALIVE: Final = 4
_WIDEST: Final = 16  # bytes of an element
# Nanoseconds: a ufunc's inner loop, folds of one row, and an element more in another
# order of axes, whose copy takes half of that. Measured on NumPy 2.4, AVX-512.
_LOOP_NS, _SUM_ROW_NS, _FOLD_ROW_NS, _TURN_NS = 5.5, 6.0, 68.0, 0.8
# Nanoseconds an element; what is not listed is cheap.
_CHEAP_NS: Final = 0.13
_COST_NS: Final = {
    **dict.fromkeys(("exp", "log", "tanh", "sin", "cos", "expm1", "log1p"), 0.45),
    **dict.fromkeys(("div", "sqrt", "rsqrt", "reciprocal", "pow", "select"), 0.4),
    **dict.fromkeys(("tan", "asin", "acos", "atan", "sinh", "cosh", "sign"), 1.0),
    **dict.fromkeys(("asinh", "acosh", "atanh", "atan2"), 1.5),
    **dict.fromkeys(("floordiv", "floormod", "truncdiv", "truncmod"), 4.0),
    **dict.fromkeys(("erf", "erfc", "erfinv", "lgamma", "digamma"), 20.0),
    **dict.fromkeys(("zeta", "polygamma", "igamma", "igammac", "betainc"), 200.0),
}
# Partial folds, at most, that a fold over tiles is made of. It does not depend on the
# number of threads, so neither do the results.
_PARTIALS: Final = 16


class Pass(NamedTuple):
    """A walk over all tiles of ``group``, of ``lengths`` each (the last are shorter).

    ``adds``: the group's folds run over several tiles; nothing else reads them. They
    are the last stores.
    """

    group: Group
    lengths: Shape
    adds: int

    @property
    def counts(self) -> Shape:
        """The number of tiles along each axis."""
        return tuple(-(-n // t) for n, t in zip(self.group.extents, self.lengths))

    def boxes(self) -> list[list[tuple[tuple[int, int], ...]]]:
        """The (start, stop) along each axis of each tile, in portions.

        Portions may run at the same time. Each has partial folds of its own, if the
        folds of the portions meet.
        """
        reduced = self.group.reduced
        ranges = [
            [(low, min(low + t, n)) for low in range(0, n, t)]
            for n, t in zip(self.group.extents, self.lengths)
        ]
        if not self.adds:
            return [[box] for box in product(*ranges)]
        kept = [r if not f else [(0, 0)] for r, f in zip(ranges, reduced)]
        folded = [r if f else [(0, 0)] for r, f in zip(ranges, reduced)]
        columns = list(product(*kept))
        rows = list(product(*folded))
        step = len(rows) if len(columns) >= _PARTIALS else -(-len(rows) // _PARTIALS)
        portions = []
        for column in columns if len(columns) >= _PARTIALS else [None]:
            for low in range(0, len(rows), step):
                portions.append(
                    [
                        tuple(f if r else k for r, k, f in zip(reduced, at, row))
                        for at in ([column] if column else columns)
                        for row in rows[low : low + step]
                    ]
                )
        return portions

    @property
    def partials(self) -> int:
        """How many partial results each fold has: one a portion, if they meet."""
        kept = [n for n, r in zip(self.counts, self.group.reduced) if not r]
        if prod(kept) >= _PARTIALS:
            return 1
        rows = prod([n for n, r in zip(self.counts, self.group.reduced) if r])
        return -(-rows // -(-rows // _PARTIALS))

    @property
    def portions(self) -> int:
        """How many portions there are, without a list of them."""
        if not self.adds:
            return prod(self.counts)
        kept = [n for n, r in zip(self.counts, self.group.reduced) if not r]
        return prod(kept) if prod(kept) >= _PARTIALS else self.partials

    @property
    def work_ns(self) -> float:
        """About how long one thread takes."""
        points = prod(self.group.extents)
        cost = 0.2 * (len(self.group.loads) + len(self.group.stores))
        for node in postorder(*[s.expr for s in self.group.stores]):
            if type(node) is Apply:
                cost += _COST_NS.get(node.op.name, _CHEAP_NS)
            elif type(node) is Reduce:
                cost += _CHEAP_NS
        return points * cost


def passes(group: Group, tile_bytes: int, numbers: Iterator[int]) -> list[Pass] | None:
    """How to walk ``group`` in tiles; None where it is too small for that to pay.

    ``tile_bytes``: what the arrays of a tile may take up together. ``numbers`` are for
    the buffers between passes.
    """
    points = prod(group.extents)
    if points == 0 or not group.stores:
        return None
    most = len(group.loads) + len(group.stores) + _ALIVE
    if 4 * points < tile_bytes // (most * _WIDEST):
        return None  # whatever is computed
    size = _tile_size(group, tile_bytes)
    if 4 * points < size:
        return None
    group = merged(group)
    lengths = _whole_folds(group, size)
    if lengths is not None:
        return [_long_inside(group, lengths, 0)]
    found = []
    for part, adds in split_folds(group, numbers):
        if adds:
            found.append(_long_inside(part, _shared_folds(part, size), adds))
            continue
        part = merged(part)
        lengths = _whole_folds(part, size)
        assert lengths is not None
        found.append(_long_inside(part, lengths, 0))
    return found


def _tile_size(group: Group, tile_bytes: int) -> int:
    """Elements a tile."""
    nodes = set(postorder(*[s.expr for s in group.stores]))
    applied = sum(type(n) is Apply for n in nodes)
    arrays = len(set(group.loads)) + len(group.stores) + min(applied, _ALIVE)
    width = max([1, *[n.dtype.itemsize for n in nodes]])
    return max(1, tile_bytes // (arrays * width))


# --- the size of a tile ---------------------------------------------------------------


def _whole_folds(group: Group, size: int) -> Shape | None:
    """Lengths of tiles with all of each fold in them; None if they do not fit."""
    extents, reduced = group.extents, group.reduced
    folds = any(type(n) is Reduce for s in group.stores for n in postorder(s.expr))
    if not folds:
        reduced = (False,) * len(extents)
    folded = prod([n for n, r in zip(extents, reduced) if r])
    kept = prod(extents) // folded
    if folded > (4 * size if kept >= _PARTIALS else size):
        return None
    lengths = list(extents)
    room = max(1, size // folded)
    order = list(reversed(range(len(extents))))
    turned = _turned_axis(group)
    if turned is not None and not reduced[turned] and not reduced[-1]:
        # Some views run along one axis, some along another: tiles long along both.
        lengths[-1] = _even_length(extents[-1], min(room, _SHORT))
        room = max(1, room // lengths[-1])
        order = [turned, *[a for a in order[1:] if a != turned]]
    for axis in order:
        if not reduced[axis]:
            lengths[axis] = _even_length(extents[axis], room)
            room = max(1, room // lengths[axis])
    if folds and not reduced[-1] and lengths[-1] < min(extents[-1], _SHORT, size):
        return None
    return tuple(lengths)


def _turned_axis(group: Group) -> int | None:
    """The axis along which some view's elements lie together, if not the last."""
    last = len(group.extents) - 1
    for view in (*group.loads, *[s.view for s in group.stores]):
        if last >= 0 and abs(view.strides[last]) > 1 and view.shape[last] > 1:
            for axis in range(last):
                if abs(view.strides[axis]) == 1 and view.shape[axis] > 1:
                    return axis
    return None


def _shared_folds(group: Group, size: int) -> Shape:
    """Lengths of tiles that hold parts of folds: short along what is kept."""
    extents, reduced = group.extents, group.reduced
    lengths = [1] * len(extents)
    last = len(extents) - 1
    if last >= 0 and not reduced[last]:
        lengths[last] = _even_length(extents[last], max(1, min(size, 16 * _SHORT)))
    room = max(1, size // lengths[last])
    for kind in (True, False):
        for axis in reversed(range(len(extents))):
            if reduced[axis] is kind and lengths[axis] == 1:
                lengths[axis] = _even_length(extents[axis], room)
                room = max(1, room // lengths[axis])
    return tuple(lengths)


def _even_length(extent: int, room: int) -> int:
    """At most about ``room``, so that all tiles are nearly equal and start aligned."""
    if extent <= room:
        return extent
    tiles = -(-extent // room)
    length = -(-extent // tiles)
    for unit in (64, 16):
        if length >= 4 * unit:
            return -(-length // unit) * unit
    return length


# --- the order of axes ----------------------------------------------------------------


def _long_inside(group: Group, lengths: Shape, adds: int) -> Pass:
    """With the longest axis of the tile innermost where that pays for the turning."""
    rank = len(lengths)
    if rank < 2:
        return Pass(group, lengths, adds)
    longest = max(range(rank), key=lambda axis: lengths[axis])
    if longest == rank - 1 or _loop_cost(group) <= _turn_cost(group) * lengths[-1]:
        return Pass(group, lengths, adds)
    order = (*[axis for axis in range(rank) if axis != longest], longest)
    turned = tuple([lengths[axis] for axis in order])
    return Pass(permuted(group, order), turned, adds)


def _loop_cost(group: Group) -> float:
    """Nanoseconds a row that short rows cost beyond their elements."""
    last = len(group.extents) - 1
    axes = varying(group)
    cost = 0.0
    for node, own in axes.items():
        if type(node) is Apply:
            if any(axes[a] and axes[a] != own for a in node.args) and last in own:
                cost += _LOOP_NS
        elif type(node) is Reduce and group.reduced[last]:
            cost += _SUM_ROW_NS if node.kind == "sum" else _FOLD_ROW_NS
        elif type(node) is Reduce and node.kind != "sum":
            cost += _SUM_ROW_NS
    return cost


def _turn_cost(group: Group) -> float:
    """Nanoseconds an element for reading and writing in another order."""
    rank = len(group.extents)
    cost = 0.0
    for view in {*group.loads, *[s.view for s in group.stores]}:
        turns = sum(1 for n, s in zip(view.shape, view.strides) if n != 1 and s)
        cost += _TURN_NS if turns == rank else 0.0
    return cost


# --- passes ---------------------------------------------------------------------------


def split_folds(group: Group, numbers: Iterator[int]) -> list[tuple[Group, int]]:
    """The group as groups whose folds nothing in the same group reads.

    With each the number of its folds, which are its last stores.
    """
    levels: dict[Expr, int] = {}
    for node in postorder(*[s.expr for s in group.stores]):
        children = node.args if type(node) is Apply else ()
        levels[node] = max([levels[c] for c in children], default=0)
        if type(node) is Reduce:
            levels[node] = levels[node.arg] + 1
    kept = tuple([1 if r else n for n, r in zip(group.extents, group.reduced)])
    finished = [s for s in group.stores if _is_kept(s, group)]
    results: dict[Expr, View] = {}
    for store in finished:
        if type(store.expr) is Reduce:
            results.setdefault(store.expr, store.view)
    later = [s for s in finished if results.get(s.expr) is not s.view]
    full = [s for s in group.stores if not _is_kept(s, group)]
    known: dict[Expr, Expr] = {}
    loads = list(group.loads)
    parts: list[tuple[Group, int]] = []
    for level in range(max(levels.values()) + 1):
        stores = [
            Store(s.view, substitute(s.expr, known))
            for s in full
            if levels[s.expr] == level
        ]
        folds = [n for n in levels if type(n) is Reduce and levels[n.arg] == level]
        before = tuple(loads)
        new: dict[Expr, Expr] = {}
        for node in folds:
            view = results.get(node)
            if view is None:
                view = results[node] = _between(
                    next(numbers), node, kept, group.reduced
                )
            stores.append(Store(view, substitute(node, known)))
            new[node] = Load(len(loads), node.dtype)
            strides = tuple(0 if r else s for r, s in zip(group.reduced, view.strides))
            loads.append(View(view.buffer, group.extents, strides, view.offset))
        if stores:
            reduced = group.reduced if folds else (False,) * len(kept)
            part = Group(group.extents, reduced, before, tuple(stores))
            parts.append((part, len(folds)))
        known |= new
    if later:
        views = tuple([_shrunk(v, kept) for v in loads])
        stores = [Store(s.view, substitute(s.expr, known)) for s in later]
        nothing = (False,) * len(kept)
        parts.append((Group(kept, nothing, views, tuple(stores)), 0))
    return parts


def _is_kept(store: Store, group: Group) -> bool:
    """True for a store that leaves out what is reduced."""
    return any(
        r and n != 1 and m == 1
        for r, n, m in zip(group.reduced, group.extents, store.view.shape)
    )


def _between(number: int, node: Reduce, kept: Shape, reduced: tuple[bool, ...]) -> View:
    """A place for a fold's results between two passes."""
    buffer = Buffer(number, node.dtype, prod(kept), "temp")
    strides = tuple(0 if r else s for r, s in zip(reduced, contiguous_strides(kept)))
    return View(buffer, kept, strides, 0)


def _shrunk(view: View, kept: Shape) -> View:
    """The view at the first place along each axis that is left out."""
    strides = tuple(s if m != 1 else 0 for s, m in zip(view.strides, kept))
    return View(view.buffer, kept, strides, view.offset)
