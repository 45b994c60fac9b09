"""Convolutions under large windows that move by one, as products of spectra.

The spectrum of an image takes n log n steps, whatever the window. As the plain sums,
rounding is of the order of the type's precision, but relative to the largest values of
an image and not to those that a window sees. One NaN or infinity spreads over a whole
image, so where one arises, plain sums are taken instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import log2, prod
from typing import Any

from gpugrad.ops import convolve
from gpugrad.ops.convolve import Array, Block, Geometry, Shape

# Bytes of the spectra of a block of images.
_BLOCK_BYTES = 1 << 24

# Nanoseconds, as measured: a number that a window sees, copied (half of it where rows
# of patches are shared), and multiplied for an output; the same where each channel has
# its own window; a point of a transform for each halving of its points; and a point's
# product of two channels. What matters is how they compare, and that is much the same
# on other processors.
_SEEN_NS, _PRODUCT_NS, _DEPTHWISE_NS = 0.37, 0.0105, 0.8
_POINT_NS, _COMPLEX_NS = 0.7, 0.07
# The spectra have to be faster by so much, since they take more memory.
_MARGIN = 1.3


def suits(geometry: Geometry, batch: int, depthwise: bool = False) -> bool:
    """True where spectra are faster than plain sums."""
    g = geometry
    if {*g.strides, *g.dilations} != {1} or not batch * g.groups * g.inner * g.outer:
        return False
    points = prod(_lengths(g))
    channels = g.inner + g.outer
    seen = batch * prod(g.positions) * g.taps * g.inner
    copied = _SEEN_NS / 2 if convolve.goes_by_rows(g, 4) else _SEEN_NS
    each = _DEPTHWISE_NS * g.outer if depthwise else copied + _PRODUCT_NS * g.outer
    planes = batch * channels + g.inner * g.outer
    transforms = _POINT_NS * planes * points * log2(points + 1)
    products = _COMPLEX_NS * points * batch * g.inner * g.outer
    return seen * each > _MARGIN * (transforms + products)


def _lengths(geometry: Geometry) -> Shape:
    """Of the transforms: the padded images, up to a product of small primes."""
    g = geometry
    return tuple([_smooth(p + k - 1) for p, k in zip(g.positions, g.window)])


def _smooth(least: int) -> int:
    """The first number from ``least`` on without a prime factor above 7."""
    number = max(least, 1)
    while True:
        rest = number
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return number
        number += 1


class _Spectra:
    """Transforms over the spatial axes, to and from [points, images, channels]."""

    def __init__(self, xp: Any, geometry: Geometry, dtype: Any) -> None:
        self._xp, self._geometry, self._dtype = xp, geometry, dtype
        self.lengths = _lengths(geometry)

    def blocks(self, batch: int, channels: int) -> Iterator[Block]:
        """Blocks of whole images, of all positions."""
        size = prod(self.lengths) * channels * self._dtype.itemsize
        for block in convolve.blocks(batch, 1, size, _BLOCK_BYTES):
            yield block._replace(bottom=self._geometry.positions[0])

    def images(self, x: Array) -> Array:
        """Of images, with zeros around them."""
        return self.slopes(convolve.padded(self._xp, x, self._geometry, self._dtype))

    def slopes(self, dy: Array) -> Array:
        """Of an array [batch, positions..., channels]."""
        axes = tuple(range(1, dy.ndim - 1))
        dy = dy.astype(self._dtype, copy=False)
        found = self._xp.fft.rfftn(dy, self.lengths, axes)
        return found.reshape(len(dy), -1, dy.shape[-1]).transpose(1, 0, 2)

    def filters(self, w: Array) -> Array:
        """[points, inputs, outputs] of [window..., inputs, outputs]."""
        axes = tuple(range(w.ndim - 2))
        w = w.astype(self._dtype, copy=False)
        return self._xp.fft.rfftn(w, self.lengths, axes).reshape(-1, *w.shape[-2:])

    def back(self, spectra: Array) -> Array:
        """[batch, lengths..., channels] of [points, batch, channels]."""
        half = (*self.lengths[:-1], self.lengths[-1] // 2 + 1)
        batch, channels = spectra.shape[1:]
        spectra = spectra.transpose(1, 0, 2).reshape(batch, *half, channels)
        axes = tuple(range(1, len(half) + 1))
        return self._xp.fft.irfftn(spectra, self.lengths, axes)


def _are_finite(xp: Any, x: Array) -> bool:
    return bool(xp.isfinite(x).all())


# Of the spectra of two arrays: that of a third one.
_Product = Callable[[Any, Array, Array], Array]


def _forward(
    xp: Any, y: Array, x: Array, w: Array, geometry: Geometry, product: _Product
) -> bool:
    """False if something is not finite, and y not complete."""
    spectra = _Spectra(xp, geometry, convolve.wide(xp, x.dtype))
    filters = spectra.filters(w).conj()
    inside = tuple(slice(n) for n in geometry.positions)
    for block in spectra.blocks(len(x), x.shape[-1] + y.shape[-1]):
        seen = spectra.images(x[block.first : block.last])
        found = spectra.back(product(xp, seen, filters))[(slice(None), *inside)]
        if not _are_finite(xp, found):
            return False
        block.of(y)[...] = found
    return True


def _to_input(
    xp: Any, dx: Array, w: Array, dy: Array, geometry: Geometry, product: _Product
) -> bool:
    """As _forward."""
    spectra = _Spectra(xp, geometry, convolve.wide(xp, dy.dtype))
    filters = spectra.filters(w)
    inside = tuple(slice(p, p + n) for n, (p, _) in zip(geometry.sizes, geometry.pads))
    for block in spectra.blocks(len(dy), dx.shape[-1] + dy.shape[-1]):
        slopes = spectra.slopes(block.of(dy))
        found = spectra.back(product(xp, slopes, filters))[(slice(None), *inside)]
        if not _are_finite(xp, found):
            return False
        dx[block.first : block.last] = found
    return True


def _to_filter(
    xp: Any, dw: Array, x: Array, dy: Array, geometry: Geometry, product: _Product
) -> bool:
    """As _forward."""
    spectra = _Spectra(xp, geometry, convolve.wide(xp, x.dtype))
    total = None
    for block in spectra.blocks(len(x), x.shape[-1] + dy.shape[-1]):
        slopes = spectra.slopes(block.of(dy)).conj()
        more = product(xp, spectra.images(x[block.first : block.last]), slopes)
        total = more if total is None else xp.add(total, more, out=total)
    assert total is not None
    points, inner, outer = total.shape
    found = spectra.back(total.reshape(points, 1, inner * outer))[0]
    found = found[tuple(slice(k) for k in geometry.window)]
    dw[...] = found.reshape(dw.shape)
    return _are_finite(xp, found)


# --- convolutions ---------------------------------------------------------------------


def forward(
    xp: Any, outs: tuple[Array], x: Array, w: Array, geometry: Geometry
) -> None:
    """As convolve.forward."""
    g = geometry
    for group in range(g.groups):
        args = (
            convolve.group_of(outs[0], group, g.outer),
            convolve.group_of(x, group, g.inner),
            convolve.group_of(w, group, g.outer),
        )
        if not _forward(xp, *args, g, lambda xp, x, w: xp.matmul(x, w)):
            convolve.forward(xp, outs, x, w, g)
            return


def to_input(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """As convolve.to_input."""
    g = geometry
    for group in range(g.groups):
        args = (
            convolve.group_of(outs[0], group, g.inner),
            convolve.group_of(w, group, g.outer),
            convolve.group_of(dy, group, g.outer),
        )

        def product(xp: Any, dy: Array, w: Array) -> Array:
            return xp.matmul(dy, w.transpose(0, 2, 1))

        if not _to_input(xp, *args, g, product):
            convolve.to_input(xp, outs, w, dy, g)
            return


def to_filter(
    xp: Any, outs: tuple[Array], x: Array, dy: Array, geometry: Geometry
) -> None:
    """As convolve.to_filter."""
    g = geometry
    for group in range(g.groups):
        args = (
            convolve.group_of(outs[0], group, g.outer),
            convolve.group_of(x, group, g.inner),
            convolve.group_of(dy, group, g.outer),
        )

        def product(xp: Any, x: Array, dy: Array) -> Array:
            return xp.matmul(x.transpose(0, 2, 1), dy)

        if not _to_filter(xp, *args, g, product):
            convolve.to_filter(xp, outs, x, dy, g)
            return


# --- depthwise ------------------------------------------------------------------------


def depthwise_forward(
    xp: Any, outs: tuple[Array], x: Array, w: Array, geometry: Geometry
) -> None:
    """As convolve.depthwise_forward."""

    def product(xp: Any, x: Array, w: Array) -> Array:
        return (x[..., None] * w[:, None]).reshape(*x.shape[:2], -1)

    if not _forward(xp, outs[0], x, w, geometry, product):
        convolve.depthwise_forward(xp, outs, x, w, geometry)


def depthwise_to_input(
    xp: Any, outs: tuple[Array], w: Array, dy: Array, geometry: Geometry
) -> None:
    """As convolve.depthwise_to_input."""

    def product(xp: Any, dy: Array, w: Array) -> Array:
        return (dy.reshape(*dy.shape[:2], *w.shape[1:]) * w[:, None]).sum(axis=-1)

    if not _to_input(xp, outs[0], w, dy, geometry, product):
        convolve.depthwise_to_input(xp, outs, w, dy, geometry)


def depthwise_to_filter(
    xp: Any, outs: tuple[Array], x: Array, dy: Array, geometry: Geometry
) -> None:
    """As convolve.depthwise_to_filter."""
    multiplier = outs[0].shape[-1]

    def product(xp: Any, x: Array, dy: Array) -> Array:
        dy = dy.reshape(*x.shape, multiplier)
        return (x[..., None] * dy).sum(axis=1)

    if not _to_filter(xp, outs[0], x, dy, geometry, product):
        convolve.depthwise_to_filter(xp, outs, x, dy, geometry)
