"""Convolutions that move by one, by tiles of outputs that share their products.

Along one axis m outputs under a window of r elements take n = m + r - 1 products of
sums instead of m * r products: y = A ((G w) * (B x)). Over two axes 4 x 4 outputs
under 5 x 5 take 64 instead of 400. S. Winograd, "Arithmetic Complexity of
Computations" (1980); A. Lavin and S. Gray, arXiv:1509.09308. Here the tiles' products
over all channels are n * n products of matrices, and A, B and G are small matrices
over long rows: arrays are [axes of the image..., images, channels] on the way.

Sums of sums round more often. On random numbers the root mean square of the error over
that of the results is 3e-6 for windows of 5 x 5, and 8e-7 for 3 x 3; for the cotangent
of the filter it is up to 1e-5 and 5e-6. Plain sums have 3e-7. That does for float32 and
half types, and not for double precision. One NaN or infinity makes a whole tile NaN, so
where one arises, plain sums are taken instead: they show it at the positions that see
it, and nowhere else.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from math import prod
from typing import Any, NamedTuple

import numpy as np

from gpugrad.ops import convolve
from gpugrad.ops.convolve import Array, Block, Geometry, Shape

Range = tuple[int, int]
Rows = tuple[tuple[float, ...], ...]

# Where the polynomials are evaluated, besides infinity; of all sets of small fractions
# those with the least rounding errors, for each n the first n - 1.
_POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-1/2", "-2", "1/2"))

# Bytes of a block's transformed inputs and products: what stays in the cache.
_BLOCK_BYTES = 3 << 20


class Matrices(NamedTuple):
    """y = outputs @ ((filters @ w) * (inputs @ x)) along one axis."""

    outputs: Rows
    filters: Rows
    inputs: Rows


@functools.cache
def matrices(tile: int, window: int) -> Matrices:
    """The transforms for ``tile`` outputs of ``window`` elements.

    A product of polynomials, by their values at points and at infinity, transposed.
    """
    points = _POINTS[: tile + window - 2]
    infinity = [Fraction(0)] * (window - 1) + [Fraction(1)]
    scales = [prod(p - q for q in points if q != p) for p in points]
    filters = [
        [p**i / scale for i in range(window)] for p, scale in zip(points, scales)
    ]
    others = [_monic([q for q in points if q != p]) for p in points]
    inputs = [[*coefficients, Fraction(0)] for coefficients in others]
    outputs = [[*(p**i for p in points), Fraction(i == tile - 1)] for i in range(tile)]
    return Matrices(
        _floats(outputs),
        _floats([*filters, infinity]),
        _floats([*inputs, _monic(points)]),
    )


def _monic(roots: Any) -> list[Fraction]:
    """The coefficients of the product of all (x - root), the constant one first."""
    found = [Fraction(1)]
    for root in roots:
        zero = Fraction(0)
        found = [a - root * b for a, b in zip([zero, *found], [*found, zero])]
    return found


def _floats(rows: list[list[Fraction]]) -> Rows:
    return tuple(tuple(map(float, row)) for row in rows)


@functools.cache
def _constants(
    tile: Shape, window: Shape
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """For outputs and inputs a matrix an axis; for filters one over both axes."""
    each = [matrices(m, r) for m, r in zip(tile, window)]
    filters = np.kron(*[np.array(m.filters) for m in each])
    return (
        [np.array(m.outputs, np.float32) for m in each],
        filters.astype(np.float32),
        [np.array(m.inputs, np.float32) for m in each],
    )


# --- where it pays --------------------------------------------------------------------

# Outputs of a tile along an axis: for windows of 3 to 5, the best of 2 to 6.
_TILE = 4
_WINDOWS = (3, 4, 5)

# Fewest channels on either side: below, the transforms cost more than they save.
_LEAST_CHANNELS = 32

# Fewest numbers that the positions of a batch see: below, there are too many calls.
_LEAST_SEEN = 400_000


def tile_for(geometry: Geometry, batch: int, itemsize: int) -> Shape | None:
    """The outputs of a tile along both axes; None where plain sums are better."""
    g = geometry
    if len(g.window) != 2 or {*g.strides, *g.dilations} != {1} or itemsize > 4:
        return None
    if min(g.inner, g.outer) < _LEAST_CHANNELS or not {*g.window} <= {1, *_WINDOWS}:
        return None
    if batch * prod(g.positions) * g.taps * g.inner < _LEAST_SEEN:
        return None
    tile = tuple(1 if r == 1 else _TILE for r in g.window)
    tiles = [-(-n // m) for n, m in zip(g.positions, tile)]
    products = prod(t * (m + r - 1) for t, m, r in zip(tiles, tile, g.window))
    if 2 * products > g.taps * prod(g.positions):
        return None
    # The filters have to be transformed as well: a row of inputs or outputs for each
    # pair of channels is too few.
    rows = batch * prod(tiles)
    return tile if rows >= 4 * max(g.inner, g.outer) else None


# --- transforms of arrays -------------------------------------------------------------


class _Tiling:
    """The matrices of both axes as arrays, and what goes through them."""

    def __init__(self, xp: Any, geometry: Geometry, tile: Shape) -> None:
        self.xp = xp
        self.geometry = geometry
        self.tile = tile
        self.products = tuple(m + r - 1 for m, r in zip(tile, geometry.window))
        self.dtype = xp.dtype(xp.float32)
        outputs, filters, inputs = _constants(tile, geometry.window)
        self.a = [xp.asarray(m) for m in outputs]
        self.b = [xp.asarray(m) for m in inputs]
        self.filter_matrix = xp.asarray(filters)

    def blocks(self, batch: int) -> Any:
        """Blocks of whole tiles along the first axis."""
        g, tiles = self.geometry, self.tiles(0, self.geometry.positions[0])
        row = tiles[1] * prod(self.products) * (g.inner + g.outer) * 4
        for block in convolve.blocks(batch, tiles[0], row, _BLOCK_BYTES):
            top, bottom = block.top * self.tile[0], block.bottom * self.tile[0]
            yield block._replace(top=top, bottom=min(bottom, g.positions[0]))

    def tiles(self, top: int, bottom: int) -> Shape:
        """The number of tiles along both axes of a block."""
        m, n = self.tile
        return -(-(bottom - top) // m), -(-self.geometry.positions[1] // n)

    def filters(self, w: Array) -> Array:
        """[products, inner, outer] of [window..., inner, outer]."""
        g = self.geometry
        matrix = w.reshape(g.taps, g.inner * g.outer).astype(self.dtype, copy=False)
        found = self.product(self.filter_matrix, matrix)
        return found.reshape(prod(self.products), g.inner, g.outer)

    def inputs(self, x: Array, block: Block) -> Array:
        """[products, tiles * images, channels] of what the block's tiles see."""
        (m, n), (t, u), (p, q) = self.tile, self.tiles(*block[2:]), self.products
        seen = self._seen(x, block)
        columns, cells = seen.shape[1], seen[0, 0].size
        windows = self._windows(
            seen, (t, p, columns * cells), (m * columns * cells, columns * cells, 1)
        )
        half = self.xp.empty((p, t, columns * cells), self.dtype)
        self.xp.matmul(self.b[0], windows, out=half.transpose(1, 0, 2))
        windows = self._windows(
            half,
            (p, t, u, q, cells),
            (t * columns * cells, columns * cells, n * cells, cells, 1),
        )
        whole = self.xp.empty((p, q, t, u, cells), self.dtype)
        self.xp.matmul(self.b[1], windows, out=whole.transpose(0, 2, 3, 1, 4))
        return whole.reshape(p * q, -1, x.shape[-1])

    def product(self, a: Array, b: Array) -> Array:
        shape = (*b.shape[:-2], a.shape[-2], b.shape[-1])
        return self.xp.matmul(a, b, out=self.xp.empty(shape, self.dtype))

    def _windows(self, x: Array, shape: Shape, strides: Shape) -> Array:
        steps = tuple(s * self.dtype.itemsize for s in strides)
        return self.xp.lib.stride_tricks.as_strided(x, shape, steps)

    def _seen(self, x: Array, block: Block) -> Array:
        """[rows, columns, images, channels]: the block's part of padded images."""
        g, images = self.geometry, x[block.first : block.last]
        extents = [
            t * m + r - 1
            for t, m, r in zip(self.tiles(*block[2:]), self.tile, g.window)
        ]
        here, there = [], []
        for size, extent, (before, _), first in zip(
            g.sizes, extents, g.pads, (block.top, 0)
        ):
            low = max(first - before, 0)
            place = min(low - (first - before), extent)
            count = max(min(size - low, extent - place), 0)
            here.append((place, place + count))
            there.append(slice(low, low + count))
        return self._with_zeros(images[:, there[0], there[1]], extents, *here)

    def _with_zeros(
        self, x: Array, extents: Sequence[int], rows: Range, columns: Range
    ) -> Array:
        """``x``, [images, rows, columns, channels], with rows and columns first."""
        out = self.xp.empty((*extents, len(x), x.shape[-1]), self.dtype)
        (top, bottom), (left, right) = rows, columns
        out[:top] = out[bottom:] = 0
        out[top:bottom, :left] = out[top:bottom, right:] = 0
        out[top:bottom, left:right] = x.transpose(1, 2, 0, 3)
        return out

    def outputs(self, products: Array, block: Block, into: Array) -> bool:
        """Sum [products, tiles * images, channels] up into the block's positions.

        False if some value is not finite.
        """
        (m, n), (t, u), (p, q) = self.tile, self.tiles(*block[2:]), self.products
        part = block.of(into)
        cells = len(part) * part.shape[-1]
        products = products.reshape(p, q, t, u, cells).transpose(0, 2, 3, 1, 4)
        half = self.product(self.a[1], products).reshape(p, t, u * n * cells)
        whole = self.product(self.a[0], half.transpose(1, 0, 2))
        finite = self.are_finite(whole)
        whole = whole.reshape(t * m, u * n, len(part), part.shape[-1])
        rows, columns = part.shape[1:3]
        part[...] = whole[:rows, :columns].transpose(2, 0, 1, 3)
        return finite

    def are_finite(self, x: Array) -> bool:
        """False if some number is not finite, or all are very large."""
        flat = x.reshape(-1)
        return bool(self.xp.isfinite(self.xp.dot(flat, flat)))

    def slopes(self, dy: Array, block: Block) -> Array:
        """The transpose of ``outputs``: [products, tiles * images, channels]."""
        (m, n), (t, u), (p, q) = self.tile, self.tiles(*block[2:]), self.products
        part = block.of(dy)
        images, rows, columns, channels = part.shape
        cells = images * channels
        extents = (t * m, u * n)
        given = self._with_zeros(part, extents, (0, rows), (0, columns))
        half = self.xp.empty((p, t, u * n * cells), self.dtype)
        given = given.reshape(t, m, u * n * cells)
        self.xp.matmul(self.a[0].T, given, out=half.transpose(1, 0, 2))
        whole = self.xp.empty((p, q, t, u, cells), self.dtype)
        half = half.reshape(p, t, u, n, cells)
        self.xp.matmul(self.a[1].T, half, out=whole.transpose(0, 2, 3, 1, 4))
        return whole.reshape(p * q, t * u * images, channels)


# --- convolutions ---------------------------------------------------------------------


def forward(
    xp: Any, outs: tuple[Array], x: Array, w: Array, geometry: Geometry, tile: Shape
) -> None:
    """As convolve.forward."""
    (y,) = outs
    tiling = _Tiling(xp, geometry, tile)
    for group in range(geometry.groups):
        filters = tiling.filters(convolve.group_of(w, group, geometry.outer))
        part = convolve.group_of(x, group, geometry.inner)
        into = convolve.group_of(y, group, geometry.outer)
        for block in tiling.blocks(len(x)):
            products = tiling.product(tiling.inputs(part, block), filters)
            if not tiling.outputs(products, block, into):
                convolve.forward(xp, outs, x, w, geometry)
                return


def to_input(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry, tile: Shape
) -> None:
    """As convolve.to_input; ``tile`` is for the convolution that goes back."""
    back = convolve.backwards(geometry)
    assert back is not None
    forward(xp, outs, dy, convolve.turned(w, geometry), back, tile)


def to_filter(
    xp: Any, outs: tuple[Array], x: Array, dy: Array, geometry: Geometry, tile: Shape
) -> None:
    """As convolve.to_filter."""
    (dw,) = outs
    g, tiling = geometry, _Tiling(xp, geometry, tile)
    shape = (prod(tiling.products), g.inner, g.outer)
    for group in range(g.groups):
        total = xp.zeros(shape, tiling.dtype)
        more = xp.empty(shape, tiling.dtype)
        part = convolve.group_of(x, group, g.inner)
        back = convolve.group_of(dy, group, g.outer)
        for block in tiling.blocks(len(x)):
            seen = tiling.inputs(part, block).transpose(0, 2, 1)
            xp.matmul(seen, tiling.slopes(back, block), out=more)
            xp.add(total, more, out=total)
        total = tiling.product(tiling.filter_matrix.T, total.reshape(shape[0], -1))
        if not tiling.are_finite(total):
            convolve.to_filter(xp, outs, x, dy, geometry)
            return
        into = convolve.group_of(dw, group, g.outer)
        into[...] = total.reshape(into.shape)
