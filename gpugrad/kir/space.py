"""Buffers, and strided views of them."""

from __future__ import annotations

from itertools import pairwise
from math import prod
from typing import NamedTuple

from gpugrad.dtypes import DType

Shape = tuple[int, ...]


class Buffer(NamedTuple):
    """``size`` elements of one dtype, numbered within its Program.

    ``kind``: "temp" (written by steps), "input" (a feed, C-contiguous),
    "const" (Program.consts holds the array), "variable" (its value before the
    run), "output" (written by steps, handed to the caller), "step" (one int64:
    the number of this run, the counter of random ops).
    """

    id: int
    dtype: DType
    size: int
    kind: str


def contiguous_strides(shape: Shape) -> Shape:
    """Strides in elements of a C-ordered array."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= extent
    return tuple(reversed(strides))


class View(NamedTuple):
    """Elements ``offset + sum(index * strides)`` of a buffer; strides in elements.

    A stride of 0 repeats an element (broadcasting); strides may be negative.
    """

    buffer: Buffer
    shape: Shape
    strides: Shape
    offset: int

    @property
    def dtype(self) -> DType:
        """The buffer's dtype."""
        return self.buffer.dtype

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of points, repeated elements counted."""
        return prod(self.shape)

    @property
    def is_contiguous(self) -> bool:
        """True when the points are consecutive elements in C order."""
        step = 1
        for extent, stride in zip(reversed(self.shape), reversed(self.strides)):
            if extent != 1:
                if stride != step and self.size > 1:
                    return False
                step *= extent
        return True

    @property
    def is_whole(self) -> bool:
        """True when the view is exactly its buffer, in order."""
        return self.offset == 0 and self.size == self.buffer.size and self.is_contiguous

    def transpose(self, perm: Shape) -> View:
        """Axis ``i`` of the result is axis ``perm[i]``."""
        return View(
            self.buffer,
            tuple(self.shape[p] for p in perm),
            tuple(self.strides[p] for p in perm),
            self.offset,
        )

    def broadcast(self, shape: Shape) -> View:
        """Repeat to ``shape`` by NumPy's rules; the shapes must be compatible."""
        pad = len(shape) - len(self.shape)
        if pad == 0 and shape == self.shape:
            return self
        strides = [0] * pad
        for have, want, stride in zip(self.shape, shape[pad:], self.strides):
            if have != want and have != 1:
                raise ValueError(f"cannot broadcast {self.shape} to {shape}")
            strides.append(stride if have == want and have != 1 else 0)
        return View(self.buffer, shape, tuple(strides), self.offset)

    def unbroadcast(self) -> View:
        """The view with extent 1 on each axis of stride 0, where it is constant."""
        if 0 not in self.strides or self.buffer.size == 0:
            return self
        shape = tuple([n if s else 1 for n, s in zip(self.shape, self.strides)])
        view = View(self.buffer, shape, self.strides, self.offset)
        if 0 in self.shape and 0 not in shape:
            # Of a view without elements nobody promised where it begins.
            first, last = view.bounds
            if first < 0 or last >= self.buffer.size:
                return self
        return view

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the greatest element that a view with elements reaches."""
        reach = [(n - 1) * s for n, s in zip(self.shape, self.strides)]
        first = self.offset + sum([r for r in reach if r < 0])
        return first, self.offset + sum([r for r in reach if r > 0])

    def slice(self, starts: Shape, sizes: Shape, steps: Shape | None = None) -> View:
        """``sizes[i]`` points from ``starts[i]`` by ``steps[i]`` along each axis."""
        steps = steps or (1,) * len(sizes)
        offset = self.offset
        if 0 not in sizes:
            offset += sum(b * s for b, s in zip(starts, self.strides))
        strides = tuple(k * s for k, s in zip(steps, self.strides))
        return View(self.buffer, tuple(sizes), strides, offset)

    def insert_axis(self, axis: int) -> View:
        """A new axis of extent 1 before ``axis``."""
        return View(
            self.buffer,
            (*self.shape[:axis], 1, *self.shape[axis:]),
            (*self.strides[:axis], 0, *self.strides[axis:]),
            self.offset,
        )

    def drop_axes(self, axes: Shape) -> View:
        """Without ``axes``, each at its index 0."""
        keep = [i for i in range(len(self.shape)) if i not in axes]
        return View(
            self.buffer,
            tuple(self.shape[i] for i in keep),
            tuple(self.strides[i] for i in keep),
            self.offset,
        )

    def reshape(self, shape: Shape) -> View | None:
        """The same points in C order under another shape; None if that needs a copy."""
        if shape == self.shape:
            return self
        if self.is_contiguous:
            return View(self.buffer, shape, contiguous_strides(shape), self.offset)
        # Match runs of old axes with runs of new ones of equal product.
        old = [(n, s) for n, s in zip(self.shape, self.strides) if n != 1]
        strides: list[int] = []
        i, j = 0, 0
        while j < len(shape):
            if shape[j] == 1:
                strides.append(0)
                j += 1
                continue
            if i >= len(old):
                return None
            have, want, i0, j0 = old[i][0], shape[j], i, j
            i, j = i + 1, j + 1
            while have != want:
                if have < want:
                    if i >= len(old):
                        return None
                    have, i = have * old[i][0], i + 1
                else:
                    if j >= len(shape):
                        return None
                    want, j = want * shape[j], j + 1
            run = old[i0:i]
            for (_, outer), (n, inner) in pairwise(run):
                if outer != n * inner:
                    return None
            step = run[-1][1]
            tail: list[int] = []
            for extent in reversed(shape[j0:j]):
                tail.append(step)
                step *= extent
            strides.extend(reversed(tail))
        return View(self.buffer, shape, tuple(strides), self.offset)


def whole(buffer: Buffer, shape: Shape) -> View:
    """All of a buffer, in C order, as ``shape``."""
    return View(buffer, shape, contiguous_strides(shape), 0)
