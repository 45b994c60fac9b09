"""Where the points of one space lie in another: views of a buffer as affine maps."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

from gpugrad.kir.scalar import Expr, Index, Lit
from gpugrad.kir.space import Shape, View


class Map(NamedTuple):
    """Takes points of a reader's space to points of the space that was stored.

    ``axes``: for each axis of the reader, which axis of the other it moves along and
    how many points at a time; None where it does not move. ``start``: where the
    reader's first point lies.
    """

    axes: tuple[tuple[int, int] | None, ...]
    start: Shape

    def view(self, view: View, extents: Shape) -> View:
        """``view`` of the other space, seen from the reader's of these ``extents``."""
        theirs = view.strides
        strides = tuple([theirs[a[0]] * a[1] if a else 0 for a in self.axes])
        offset = view.offset + sum([c * s for c, s in zip(self.start, theirs)])
        return View(view.buffer, extents, strides, offset)

    def coordinates(self, rank: int) -> tuple[Expr, ...]:
        """The other space's ``rank`` coordinates in terms of the reader's."""
        found: list[Expr] = []
        for axis in range(rank):
            total: Expr | None = None
            for mine, other in enumerate(self.axes):
                if other is not None and other[0] == axis:
                    term: Expr = Index(mine)
                    if other[1] != 1:
                        term = term * other[1]
                    total = term if total is None else total + term
            first = self.start[axis]
            if total is None:
                total = Lit(first, Index(0).dtype)
            elif first:
                total = total + first
            found.append(total)
        return tuple(found)

    def covers(self, view: View, stored: View) -> bool:
        """True if ``view`` reaches each point of ``stored`` once, or on stride 0."""
        along: dict[int, list[tuple[int, int]]] = {}
        for other, extent in zip(self.axes, view.shape):
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


class Split(NamedTuple):
    """The reader's ``axis`` moves along two axes: split off ``inner`` points."""

    axis: int
    inner: int


def locate(view: View, stored: View) -> Map | Split | None:
    """The map from ``view``, as it is read, to ``stored``, which wrote the buffer.

    ``stored`` reaches each element of the buffer once. None if the map is not affine;
    a Split if it would be after splitting that axis.
    """
    places = [
        (s, n, axis)
        for axis, (n, s) in enumerate(zip(stored.shape, stored.strides))
        if n > 1
    ]
    places.sort(reverse=True)
    start = [0] * len(stored.shape)
    rest = view.offset - stored.offset
    if rest < 0 or (places and places[-1][0] < 1):
        return None
    for stride, extent, axis in places:
        start[axis], rest = divmod(rest, stride)
        if start[axis] >= extent:
            return None
    if rest:
        return None
    low, high = start.copy(), start.copy()
    axes: list[tuple[int, int] | None] = []
    for number, (extent, stride) in enumerate(zip(view.shape, view.strides)):
        if extent == 1 or stride == 0:
            axes.append(None)
            continue
        size = abs(stride)
        place = next((p for p in places if p[0] <= size), None)
        if place is None or size % place[0]:
            return None
        step, count, axis = place
        multiple = stride // step
        reach = multiple * (extent - 1)
        if reach > 0:
            high[axis] += reach
        else:
            low[axis] += reach
        if low[axis] < 0 or high[axis] >= count:
            inner, rest = divmod(step * count, size)
            if stride > 0 and not rest and 1 < inner < extent and extent % inner == 0:
                return Split(number, inner)
            return None
        axes.append((axis, multiple))
    return Map(tuple(axes), tuple(start))


def split_view(view: View, axis: int, inner: int) -> View:
    """``view`` with an axis split in two, the second of ``inner`` points."""
    shape, strides = view.shape, view.strides
    extent, stride = shape[axis], strides[axis]
    parts = (extent // inner, inner) if extent != 1 else (1, 1)
    steps = (stride * inner, stride) if extent != 1 else (0, 0)
    return View(
        view.buffer,
        (*shape[:axis], *parts, *shape[axis + 1 :]),
        (*strides[:axis], *steps, *strides[axis + 1 :]),
        view.offset,
    )


def extend_view(view: View, extents: Shape, first: bool) -> View:
    """``view`` repeated over new axes, before the others or behind them."""
    still = (0,) * len(extents)
    if first:
        shape, strides = (*extents, *view.shape), (*still, *view.strides)
    else:
        shape, strides = (*view.shape, *extents), (*view.strides, *still)
    return View(view.buffer, shape, strides, view.offset)


def repeated_axes(view: View) -> list[int]:
    """The axes along which ``view`` has one element again and again."""
    pairs = enumerate(zip(view.shape, view.strides))
    return [axis for axis, (extent, stride) in pairs if extent > 1 and not stride]


def reach(view: View) -> int:
    """The points of a view, repeated ones counted once."""
    return prod([n for n, s in zip(view.shape, view.strides) if s])


def bytes_of(view: View) -> int:
    """The bytes that a view takes from memory, or brings there."""
    return reach(view) * view.buffer.dtype.itemsize
