"""Products of few rows with a turned matrix, computed the other way round."""

from __future__ import annotations

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.kir.builder import Builder
from gpugrad.ops.matmul import product, swapped
from tests.compiler.test_passes import close


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.int32])
@pytest.mark.parametrize(
    ("rows", "terms", "columns", "turned"),
    [
        (32, 256, 128, True),
        (4, 512, 513, True),
        (9, 333, 351, True),
        (3, 700, 700, False),  # as many as a vector has
        (33, 512, 128, False),
        (32, 255, 200, False),
        (8, 256, 64, False),
    ],
)
def test_the_product_is_the_same(
    dtype: dtypes.DType, rows: int, terms: int, columns: int, turned: bool
) -> None:
    b = Builder()
    x = b.new(dtype, (rows, terms), "input")
    # Part of a larger matrix, as the gradient of one part of what was put together.
    w = b.new(dtype, (columns + 5, terms), "input")
    y = product(b, x, swapped(w.slice((5, 0), (columns, terms))), dtype)
    program = close(b, [x, w], [y])
    executable = NumpyBackend().load(program)
    found_turned = ".T\n" in executable.source
    assert found_turned == (turned and dtype is not dtypes.int32)
    rng = np.random.default_rng(0)
    feeds = [rng.integers(-3, 4, v.shape).astype(dtype.np_dtype) for v in (x, w)]
    for _ in range(2):
        (found,) = executable.run(feeds, [], 0)
        np.testing.assert_array_equal(found, feeds[0] @ feeds[1][5:].T)
