"""Which axes a gradient is summed along, as far as static shapes tell."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gpugrad.autodiff.broadcast import static_axes

CASES = [
    ((2, 3), (2, 3), (None, None)),
    ((2, 3), (3,), (None, [0])),
    ((3,), (2, 3), ([0], None)),
    ((2, 3), (), (None, [0, 1])),
    ((2, 1), (1, 3), ([1], [0])),
    ((1,), (1, 1), ([], None)),
    ((1, 1), (), (None, [])),
    ((None, 3), (3,), (None, [0])),
    ((None, 1), (None, 4), None),
    ((None, 3), (None, 3), None),
    ((None,), (4,), None),
    ((None,), (1,), (None, [0])),
    (None, (3,), None),
    ((3,), None, None),
    ((), (), (None, None)),
]


@pytest.mark.parametrize(("x", "y", "axes"), CASES)
def test_static_axes(x, y, axes) -> None:
    assert static_axes(x, y) == axes


DIMENSIONS = [*list(itertools.product((1, 2), repeat=2)), (1,), (2,), ()]


@pytest.mark.parametrize("x", DIMENSIONS)
@pytest.mark.parametrize("y", DIMENSIONS)
def test_summing_along_them_gives_back_the_shape(x, y) -> None:
    full = np.zeros(np.broadcast_shapes(x, y))
    for shape, axes in zip((x, y), static_axes(x, y)):
        if axes is None:
            assert full.shape == shape
        else:
            total = full.sum(axis=tuple(axes), keepdims=True)
            assert total.size == np.prod(shape, dtype=int)
            # An axis of size 1 needs no sum; one of another size is not left out.
            assert all(full.shape[a] != 1 for a in axes)
