"""Parts of a tensor that stand where only the run knows: read, and put into zeros.

A lowering comes here when the size of the part is known but an axis' start is not: an
``x[i]`` of a loop then compiles once, not once for each i.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from gpugrad.errors import InvalidArgumentError
from gpugrad.kir.builder import Builder
from gpugrad.kir.space import Shape, View
from gpugrad.ops.static import on_host

# What a start means, by kind. INDEX: of one element; negative ones count from the end.
# RANGE: the first of several, likewise, and 0 for what is before that. PART: from 0 on.
INDEX, RANGE, PART = "index", "range", "part"


class Moving(NamedTuple):
    """An axis along which the part starts at ``start``, an integer scalar."""

    axis: int
    kind: str
    start: View


def read(b: Builder, x: View, sizes: Shape, moving: Sequence[Moving]) -> View:
    """A part of ``sizes`` of ``x``; the axes that are not moving are whole."""
    (out,) = b.call(
        "slice_at",
        _slice_at,
        [x, *_starts(x.shape, sizes, moving)],
        [(x.dtype, sizes)],
        axes=tuple([m.axis for m in moving]),
        kinds=tuple([m.kind for m in moving]),
    )
    return out


def put(b: Builder, part: View, shape: Shape, moving: Sequence[Moving]) -> View:
    """Zeros of ``shape`` with ``part`` in the place that ``read`` would read."""
    (out,) = b.call(
        "put_at",
        _put_at,
        [part, *_starts(shape, part.shape, moving)],
        [(part.dtype, shape)],
        axes=tuple([m.axis for m in moving]),
        kinds=tuple([m.kind for m in moving]),
    )
    return out


class Window(NamedTuple):
    """A part of a tensor: its start along each axis may be known to the run only.

    ``steps`` are 1 along axes of unknown start. ``kind``: what an unknown start means
    where the part is not just one element of the axis, as it is on the ``indices``.
    """

    starts: Sequence[int | View]
    sizes: tuple[int, ...]
    steps: tuple[int, ...]
    kind: str
    indices: tuple[int, ...] = ()

    @property
    def moving(self) -> list[Moving]:
        """The axes of unknown start."""
        return [
            Moving(axis, INDEX if axis in self.indices else self.kind, start)
            for axis, start in enumerate(self.starts)
            if isinstance(start, View)
        ]

    def around(self, view: View) -> View:
        """What of ``view`` is known to hold the part: all along the moving axes."""
        sizes = list(self.sizes)
        for axis, _, _ in self.moving:
            sizes[axis] = view.shape[axis]
        starts = [0 if isinstance(s, View) else s for s in self.starts]
        return view.slice(tuple(starts), tuple(sizes), self.steps)

    def read(self, b: Builder, x: View) -> View:
        """The part of ``x``: a view of it, unless something moves."""
        around, moving = self.around(x), self.moving
        return read(b, around, self.sizes, moving) if moving else around

    def put(self, b: Builder, part: View, shape: Shape) -> View:
        """Zeros of ``shape`` with ``part`` in them."""
        out = b.new(part.dtype, shape)
        around, moving = self.around(out), self.moving
        if moving:
            part = put(b, part, around.shape, moving)
            if around.shape == shape:
                return part
        if around.size != out.size:
            b.store_value(out, 0)
        if part.size:
            b.copy(part, into=around)
        return out


def integers(scalars: Sequence[int | View]) -> list[int | None]:
    """The entries that are known."""
    return [None if isinstance(s, View) else s for s in scalars]


def completed(
    sizes: Sequence[int | None], other: Sequence[int | None] | None
) -> list[int | None]:
    """Sizes that are not known from what the graph says, or what is there, of them."""
    if other is None or len(other) != len(sizes):
        return list(sizes)
    return [m if n is None else n for n, m in zip(sizes, other)]


def _starts(shape: Shape, sizes: Shape, moving: Sequence[Moving]) -> list[View]:
    for axis, _, _ in moving:
        if sizes[axis] > shape[axis]:
            raise ValueError(
                f"Expected a part of at most {shape[axis]} along axis {axis}, not "
                f"{sizes[axis]}"
            )
    return [m.start for m in moving]


def _slice_at(
    xp: Any, outs: Any, x: Any, *starts: Any, axes: Shape, kinds: tuple[str, ...]
) -> None:
    (out,) = outs
    out[...] = x[_window(xp, x.shape, out.shape, starts, axes, kinds)]


def _put_at(
    xp: Any, outs: Any, part: Any, *starts: Any, axes: Shape, kinds: tuple[str, ...]
) -> None:
    (out,) = outs
    where = _window(xp, out.shape, part.shape, starts, axes, kinds)
    out[...] = 0
    out[where] = part


def _window(
    xp: Any,
    shape: Shape,
    sizes: Shape,
    starts: Sequence[Any],
    axes: Shape,
    kinds: tuple[str, ...],
) -> tuple[Any, ...]:
    """What indexes the part. A device does not look: the nearest place there is."""
    if on_host(xp):
        found: list[Any] = [slice(None)] * len(shape)
        for axis, kind, start in zip(axes, kinds, starts):
            first = _first(int(start), shape[axis], sizes[axis], axis, kind)
            found[axis] = slice(first, first + sizes[axis])
        return tuple(found)
    grid = [xp.arange(n) for n in sizes]
    for axis, kind, start in zip(axes, kinds, starts):
        extent = shape[axis]
        if kind != PART:
            start = xp.where(start < 0, start + extent, start)
        grid[axis] = grid[axis] + xp.clip(start, 0, extent - sizes[axis])
    return tuple(xp.ix_(*grid))


def _first(start: int, extent: int, size: int, axis: int, kind: str) -> int:
    """A start counted from 0; InvalidArgumentError for one that is out of range."""
    if kind == PART:
        if not 0 <= start <= extent:
            text = f"Expected begin[{axis}] in [0, {extent}], but got {start}"
        elif start + size > extent:
            text = f"Expected size[{axis}] in [0, {extent - start}], but got {size}"
        else:
            return start
        raise InvalidArgumentError(None, None, text)
    first = start + extent if start < 0 else start
    if kind == RANGE:
        first = max(first, 0)
        if first + size <= extent:
            return first
        text = f"Expected {size} elements from {start} on in dimension {axis} of size "
        raise InvalidArgumentError(None, None, f"{text}{extent}")
    if not 0 <= first < extent:
        raise InvalidArgumentError(
            None, None, f"slice index {start} of dimension {axis} out of bounds."
        )
    return first
