"""Convolutions and their gradients on arrays: what the Calls of conv.py do.

Written against the array namespace ``xp``. The input is taken in blocks of a few
images, or of a few rows of one, so that the patches of a block (what each position
sees, as a matrix) stay in the cache: the matrix product is then most of the time.
Half types are convolved in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any, NamedTuple

Shape = tuple[int, ...]
Array = Any

# Bytes of patches in a block: half of a common second-level cache.
_BLOCK_BYTES = 1 << 20


class Geometry(NamedTuple):
    """Concrete sizes of a convolution; one entry a spatial axis.

    The channels fall into ``groups`` of ``inner`` inputs and ``outer`` outputs, each
    convolved by itself.
    """

    window: Shape
    strides: Shape
    dilations: Shape
    pads: tuple[tuple[int, int], ...]
    sizes: Shape
    positions: Shape
    groups: int
    inner: int
    outer: int

    @property
    def taps(self) -> int:
        """Elements of the window on one channel."""
        return prod(self.window)


class Block(NamedTuple):
    """Some images, and of each some positions along the first spatial axis."""

    first: int
    last: int
    top: int
    bottom: int

    def of(self, y: Array) -> Array:
        """The part of an array [batch, positions..., channels]."""
        return y[self.first : self.last, self.top : self.bottom]


def blocks(batch: int, rows: int, row_bytes: int, budget: int) -> Iterator[Block]:
    """All ``rows`` of all images, in blocks of so many bytes or of one row."""
    fit = max(budget // max(row_bytes, 1), 1)
    if fit < rows:
        for image, top in product(range(batch), range(0, rows, fit)):
            yield Block(image, image + 1, top, min(top + fit, rows))
        return
    images = max(fit // max(rows, 1), 1)
    for image in range(0, batch, images):
        yield Block(image, min(image + images, batch), 0, rows)


def _blocks(batch: int, geometry: Geometry, itemsize: int) -> Iterator[Block]:
    row = prod(geometry.positions[1:]) * geometry.taps * geometry.inner * itemsize
    return blocks(batch, geometry.positions[0], row, _BLOCK_BYTES)


def wide(xp: Any, dtype: Any) -> Any:
    return xp.dtype(xp.float32) if dtype.itemsize == 2 else dtype


def padded(xp: Any, x: Array, geometry: Geometry, dtype: Any) -> Array:
    """Images with zeros around them, in the type of the sums."""
    if not any(before or after for before, after in geometry.pads):
        return x.astype(dtype, copy=False)
    shape = [n + p + q for n, (p, q) in zip(geometry.sizes, geometry.pads)]
    out = xp.empty((x.shape[0], *shape, x.shape[-1]), dtype)
    out[...] = 0
    inside = [slice(p, p + n) for n, (p, _) in zip(geometry.sizes, geometry.pads)]
    out[(slice(None), *inside)] = x
    return out


def _tap(x: Array, geometry: Geometry, tap: Shape, block: Block) -> Array:
    """What one element of the window sees, of padded images of the block."""
    places = [slice(None)]
    for axis, (place, step, gap) in enumerate(
        zip(tap, geometry.strides, geometry.dilations)
    ):
        low, high = 0, geometry.positions[axis]
        if axis == 0:
            low, high = block.top, block.bottom
        start = place * gap + low * step
        places.append(slice(start, start + (high - low - 1) * step + 1, step))
    return x[tuple(places)]


def _patches(xp: Any, x: Array, geometry: Geometry, block: Block) -> Array:
    """[positions of the block, taps * channels] of padded images, or one an image."""
    g, images, channels = geometry, x.shape[0], x.shape[-1]
    counts = (block.bottom - block.top, *g.positions[1:])
    steps = x.strides[1:-1]
    places = tuple([s * step for s, step in zip(g.strides, steps)])
    taps = (*[d * step for d, step in zip(g.dilations, steps)], x.strides[-1])
    seen = (*g.window, channels)
    # Copies are by runs along the last axes. Where a row of the window is short, the
    # runs are along a row of positions instead, and the matrices lie transposed.
    across = g.strides[-1] * channels == 1 and g.window[-1] < counts[-1]
    shape = (*seen, *counts) if across else (*counts, *seen)
    slid = xp.lib.stride_tricks.as_strided(
        x[:, block.top * g.strides[0] :],
        (images, *shape),
        (x.strides[0], *(taps + places if across else places + taps)),
    )
    out = xp.empty(slid.shape, x.dtype)
    out[...] = slid
    if across:
        return out.reshape(images, prod(seen), prod(counts)).transpose(0, 2, 1)
    return out.reshape(images * prod(counts), prod(seen))


def _over_blocks(
    xp: Any, x: Array, geometry: Geometry, dtype: Any
) -> Iterator[tuple[Block, Array]]:
    """Every block that has positions, with its padded images."""
    images, pad = -1, None
    for block in _blocks(x.shape[0], geometry, dtype.itemsize):
        if block.first != images:
            images = block.first
            pad = padded(xp, x[block.first : block.last], geometry, dtype)
        yield block, pad


def group_of(x: Array, group: int, size: int) -> Array:
    """The channels of one group."""
    return x if x.shape[-1] == size else x[..., group * size : (group + 1) * size]


def _matrix(w: Array, geometry: Geometry, group: int, dtype: Any) -> Array:
    """The filter of a group as [taps * inputs, outputs]."""
    rows = geometry.taps * geometry.inner
    part = group_of(w, group, geometry.outer)
    return part.reshape(rows, geometry.outer).astype(dtype, copy=False)


def _write(xp: Any, a: Array, b: Array, into: Array) -> None:
    """The products of matrices with one, in the shape and type of ``into``."""
    if into.flags.c_contiguous and into.dtype == a.dtype:
        xp.matmul(a, b, out=into.reshape(*a.shape[:-1], b.shape[1]))
    else:
        into[...] = xp.matmul(a, b).reshape(into.shape)


def forward(
    xp: Any, outs: tuple[Array], x: Array, w: Array, geometry: Geometry
) -> None:
    """[batch, positions..., groups * outer] of [batch, sizes..., groups * inner]."""
    (y,) = outs
    dtype = wide(xp, x.dtype)
    for group in range(geometry.groups):
        matrix = _matrix(w, geometry, group, dtype)
        part = group_of(x, group, geometry.inner)
        into = group_of(y, group, geometry.outer)
        if goes_by_rows(geometry, dtype.itemsize):
            _forward_by_rows(xp, into, part, matrix, geometry, dtype)
            continue
        for block, images in _over_blocks(xp, part, geometry, dtype):
            patches = _patches(xp, images, geometry, block)
            _write(xp, patches, matrix, block.of(into))
            del patches  # the next takes the same memory, which is in the cache


def to_filter(
    xp: Any, outs: tuple[Array], x: Array, dy: Array, geometry: Geometry
) -> None:
    """The cotangent of the filter, [window..., inner, groups * outer]."""
    (dw,) = outs
    dtype = wide(xp, x.dtype)
    shape = (geometry.taps * geometry.inner, geometry.outer)
    for group in range(geometry.groups):
        total, more = xp.zeros(shape, dtype), xp.empty(shape, dtype)
        part = group_of(x, group, geometry.inner)
        back = group_of(dy, group, geometry.outer)
        into = group_of(dw, group, geometry.outer)
        if goes_by_rows(geometry, dtype.itemsize):
            _to_filter_by_rows(xp, into, part, back, geometry, dtype)
            continue
        for block, images in _over_blocks(xp, part, geometry, dtype):
            patches = _patches(xp, images, geometry, block)
            slope = block.of(back).astype(dtype, copy=False)
            slope = slope.reshape(*patches.shape[:-1], geometry.outer)
            if patches.ndim == 2:
                xp.matmul(patches.T, slope, out=more)
            else:
                xp.matmul(patches.transpose(0, 2, 1), slope).sum(axis=0, out=more)
            del patches  # as above
            xp.add(total, more, out=total)
        into[...] = total.reshape(into.shape)


def to_input(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """The cotangent of the input, [batch, sizes..., groups * inner]."""
    # Where windows move by one, the way back is a convolution too: twice as fast as
    # adding up the taps where there are as many inputs as outputs, slower where few.
    if 2 * geometry.inner >= geometry.outer and set(geometry.strides) == {1}:
        _to_input_by_windows(xp, outs, w, dy, geometry)
    else:
        _to_input_by_taps(xp, outs, w, dy, geometry)


def _to_input_by_windows(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """A convolution of ``dy`` with the filter turned round."""
    back = backwards(geometry)
    if back is None:
        _to_input_by_taps(xp, outs, w, dy, geometry)
    else:
        forward(xp, outs, dy, turned(w, geometry), back)


def backwards(geometry: Geometry) -> Geometry | None:
    """Of windows that move by one, the convolution from the outputs to the inputs.

    None if some padding is wider than a window.
    """
    g = geometry
    pads = []
    for n, p, k, d, (before, _) in zip(
        g.sizes, g.positions, g.window, g.dilations, g.pads
    ):
        low = (k - 1) * d - before
        pads.append((low, n + (k - 1) * d - p - low))
    if any(low < 0 or high < 0 for low, high in pads):
        return None
    return g._replace(
        pads=tuple(pads),
        sizes=g.positions,
        positions=g.sizes,
        inner=g.outer,
        outer=g.inner,
    )


def turned(w: Array, geometry: Geometry) -> Array:
    """The filter of the convolution that goes backwards."""
    g, rank = geometry, len(geometry.window)
    w = w[(slice(None, None, -1),) * rank]
    w = w.reshape(*g.window, g.inner, g.groups, g.outer)
    w = w.transpose(*range(rank), rank + 2, rank + 1, rank)
    return w.reshape(*g.window, g.outer, g.groups * g.inner)


def _to_input_by_taps(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """Each position's cotangent is added where each tap has read."""
    (dx,) = outs
    dtype = wide(xp, dy.dtype)
    for group in range(geometry.groups):
        matrix = _matrix(w, geometry, group, dtype)
        into = group_of(dx, group, geometry.inner)
        back = group_of(dy, group, geometry.outer)
        taps = list(product(*map(range, geometry.window)))

        def seen(block: Block) -> list[Array]:
            slope = block.of(back).astype(dtype, copy=False)  # noqa: B023
            shape = slope.shape[:-1]
            slope = slope.reshape(prod(shape), geometry.outer)
            columns = xp.matmul(slope, matrix.T)  # noqa: B023
            columns = columns.reshape(*shape, geometry.taps, geometry.inner)
            return [columns[..., number, :] for number in range(geometry.taps)]

        _add_taps(xp, into, geometry, dtype, taps, seen)


def _add_taps(
    xp: Any, dx: Array, geometry: Geometry, dtype: Any, taps: list[Shape], seen: Any
) -> None:
    """``seen(block)`` gives what to add for each tap; the sums go into ``dx``."""
    shape = [n + p + q for n, (p, q) in zip(geometry.sizes, geometry.pads)]
    inside = tuple(slice(p, p + n) for n, (p, _) in zip(geometry.sizes, geometry.pads))
    blocks = list(_blocks(dx.shape[0], geometry, dtype.itemsize))
    total = None
    for number, block in enumerate(blocks):
        if total is None:
            count = block.last - block.first
            total = xp.zeros((count, *shape, dx.shape[-1]), dtype)
        for tap, part in zip(taps, seen(block)):
            place = _tap(total, geometry, tap, block)
            xp.add(place, part, out=place)
        following = blocks[number + 1] if number + 1 < len(blocks) else None
        if following is None or following.first != block.first:
            dx[block.first : block.last] = total[(slice(None), *inside)]
            total = None


# --- by rows --------------------------------------------------------------------------

# Where windows move by one along the first axis, positions that lie one below the other
# see the same rows of the input. The patches of single rows, first axis first, are a
# matrix for each row of the window, and what lies outside of the image is left out.

# Bytes of such patches in a block of images.
_ROWS_BYTES = 2 << 20
# Fewest channels: below, the patches are copied in short runs either way.
_ROWS_CHANNELS = 8


def goes_by_rows(geometry: Geometry, itemsize: int) -> bool:
    """True where forward and to_filter take rows of patches."""
    g = geometry
    if len(g.window) < 2 or g.window[0] < 2 or g.strides[0] != 1 or not g.outer:
        return False
    return g.inner >= _ROWS_CHANNELS and _row_bytes(g, itemsize) <= 4 * _ROWS_BYTES


def _row_bytes(geometry: Geometry, itemsize: int) -> int:
    """Of the patches of single rows of an image."""
    g = geometry
    seen = prod(g.window[1:]) * g.inner
    return g.sizes[0] * prod(g.positions[1:]) * seen * itemsize


def _over_images(
    xp: Any, x: Array, geometry: Geometry, dtype: Any
) -> Iterator[tuple[Block, Array]]:
    """Blocks of images, and [rows, images, positions..., patches] of single rows."""
    g = geometry._replace(
        window=(1, *geometry.window[1:]),
        dilations=(1, *geometry.dilations[1:]),
        pads=((0, 0), *geometry.pads[1:]),
        positions=(geometry.sizes[0], *geometry.positions[1:]),
    )
    size, seen = _row_bytes(geometry, dtype.itemsize), g.taps * g.inner
    for block in blocks(len(x), 1, size, _ROWS_BYTES):
        images = x[block.first : block.last].swapaxes(0, 1)
        shape = [n + p + q for n, (p, q) in zip(g.sizes, g.pads)]
        pad = xp.empty((shape[0], images.shape[1], *shape[1:], g.inner), dtype)
        inside = [slice(p, p + n) for n, (p, _) in zip(g.sizes[1:], g.pads[1:])]
        pad[...] = 0
        pad[(slice(None), slice(None), *inside)] = images
        steps = pad.strides[2:-1]
        slid = xp.lib.stride_tricks.as_strided(
            pad,
            (*pad.shape[:2], *g.positions[1:], *g.window[1:], g.inner),
            (
                *pad.strides[:2],
                *[s * step for s, step in zip(g.strides[1:], steps)],
                *[d * step for d, step in zip(g.dilations[1:], steps)],
                pad.strides[-1],
            ),
        )
        patches = xp.empty(slid.shape, dtype)
        patches[...] = slid
        yield block, patches.reshape(*slid.shape[: len(g.positions) + 1], seen)


def _shifts(geometry: Geometry) -> list[tuple[int, slice, slice]]:
    """Rows of the window, which rows of positions read something, and where."""
    g = geometry
    (before, _), gap, found = g.pads[0], g.dilations[0], []
    for tap in range(g.window[0]):
        shift = tap * gap - before
        low, high = max(0, -shift), min(g.positions[0], g.sizes[0] - shift)
        if low < high:
            found.append((tap, slice(low, high), slice(low + shift, high + shift)))
    # First the one that most positions read.
    return sorted(found, key=lambda f: f[1].start - f[1].stop)


def _flat(x: Array) -> Array:
    return x.reshape(-1, x.shape[-1])


def _forward_by_rows(
    xp: Any, y: Array, x: Array, matrix: Array, geometry: Geometry, dtype: Any
) -> None:
    g = geometry
    matrix = matrix.reshape(g.window[0], -1, g.outer)
    shifts = _shifts(g)
    for block, patches in _over_images(xp, x, g, dtype):
        shape = (g.positions[0], *patches.shape[1:-1], g.outer)
        total, more = xp.empty(shape, dtype), xp.empty(shape, dtype)
        if not shifts or shifts[0][1] != slice(0, g.positions[0]):
            total[...] = 0
        for number, (tap, rows, read) in enumerate(shifts):
            part = total[rows]
            if number == 0:
                xp.matmul(_flat(patches[read]), matrix[tap], out=_flat(part))
                continue
            product = more[: len(part)]
            xp.matmul(_flat(patches[read]), matrix[tap], out=_flat(product))
            xp.add(part, product, out=part)
        y[block.first : block.last] = total.swapaxes(0, 1)


def _to_filter_by_rows(
    xp: Any, dw: Array, x: Array, dy: Array, geometry: Geometry, dtype: Any
) -> None:
    g = geometry
    seen = prod(g.window[1:]) * g.inner
    total = xp.zeros((g.window[0], seen, g.outer), dtype)
    more = xp.empty(total.shape[1:], dtype)
    for block, patches in _over_images(xp, x, g, dtype):
        back = dy[block.first : block.last].swapaxes(0, 1)
        slopes = xp.empty(back.shape, dtype)
        slopes[...] = back
        for tap, rows, read in _shifts(g):
            xp.matmul(_flat(patches[read]).T, _flat(slopes[rows]), out=more)
            xp.add(total[tap], more, out=total[tap])
    dw[...] = total.reshape(dw.shape)


# --- depthwise ------------------------------------------------------------------------


def depthwise_forward(
    xp: Any, outs: tuple[Array], x: Array, w: Array, geometry: Geometry
) -> None:
    """One filter of [window..., channels, multiplier] a channel."""
    (y,) = outs
    dtype = wide(xp, x.dtype)
    y = y.reshape(*y.shape[:-1], *w.shape[-2:])
    for block, images in _over_blocks(xp, x, geometry, dtype):
        total = xp.zeros(block.of(y).shape, dtype)
        for tap in product(*map(range, geometry.window)):
            part = _tap(images, geometry, tap, block)[..., None] * w[tap].astype(dtype)
            xp.add(total, part, out=total)
        block.of(y)[...] = total


def depthwise_to_filter(
    xp: Any, outs: tuple[Array], x: Array, dy: Array, geometry: Geometry
) -> None:
    """The cotangent of the filters."""
    (dw,) = outs
    dtype = wide(xp, x.dtype)
    dy = dy.reshape(*dy.shape[:-1], *dw.shape[-2:])
    total = xp.zeros(dw.shape, dtype)
    axes = tuple(range(x.ndim - 1))
    for block, images in _over_blocks(xp, x, geometry, dtype):
        slope = block.of(dy).astype(dtype, copy=False)
        for tap in product(*map(range, geometry.window)):
            seen = _tap(images, geometry, tap, block)[..., None]
            total[tap] += (seen * slope).sum(axis=axes)
    dw[...] = total


def depthwise_to_input(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """The cotangent of the input."""
    (dx,) = outs
    dtype = wide(xp, dy.dtype)
    dy = dy.reshape(*dy.shape[:-1], *w.shape[-2:])
    taps = list(product(*map(range, geometry.window)))

    def seen(block: Block) -> list[Array]:
        slope = block.of(dy).astype(dtype, copy=False)
        return [(slope * w[tap].astype(dtype)).sum(axis=-1) for tap in taps]

    _add_taps(xp, dx, geometry, dtype, taps, seen)
