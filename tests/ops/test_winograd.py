"""Convolutions by tiles that share products, against plain sums in float64."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.ops import convolve, winograd
from gpugrad.ops.convolve import Geometry
from tests.ops.running import value_and_gradients

RNG = np.random.default_rng(8)

# Root mean square of the error over that of the result: what winograd.py states, with
# room for cotangents that are all one, of which the sums over positions cancel.
BOUND = 2e-5


def relative_error(found, wanted):
    wanted = wanted.astype(np.float64)
    return np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))


@pytest.mark.parametrize("window", range(1, 6))
@pytest.mark.parametrize("tile", range(1, 5))
def test_matrices_are_a_correlation(tile, window):
    outputs, filters, inputs = map(np.array, winograd.matrices(tile, window))
    x, w = RNG.normal(size=tile + window - 1), RNG.normal(size=window)
    found = outputs @ ((filters @ w) * (inputs @ x))
    np.testing.assert_allclose(found, np.correlate(x, w), rtol=1e-11, atol=1e-12)


def geometry_of(sizes, window, pads, inner=3, outer=2, groups=1):
    positions = tuple(n + sum(p) - k + 1 for n, k, p in zip(sizes, window, pads))
    ones = (1,) * len(sizes)
    return Geometry(
        window, ones, ones, pads, sizes, positions, groups, inner, outer
    )  # fmt: skip


SAME = ((2, 2), (2, 2))
VALID = ((0, 0), (0, 0))
GEOMETRIES = {
    "same": geometry_of((9, 7), (5, 5), SAME),
    "valid": geometry_of((9, 12), (3, 4), VALID),
    "whole tiles": geometry_of((8, 8), (5, 5), SAME),
    "one position": geometry_of((5, 3), (5, 3), VALID),
    "window larger than the image": geometry_of((2, 1), (5, 5), SAME),
    "wide padding on one side": geometry_of((6, 5), (3, 3), ((2, 0), (0, 2))),
    "padding wider than a tile": geometry_of((3, 3), (3, 3), ((30, 0), (0, 41))),
    "padding wider than the window": geometry_of((3, 3), (3, 3), ((7, 0), (0, 6))),
    "one row of the window": geometry_of((6, 9), (1, 5), ((0, 0), (2, 2))),
    "one column of the window": geometry_of((9, 6), (4, 1), ((1, 2), (0, 0))),
    "groups": geometry_of((6, 6), (3, 3), ((1, 1), (1, 1)), groups=3),
    "one channel": geometry_of((6, 6), (3, 3), VALID, inner=1, outer=1),
}


def tile_of(geometry):
    return tuple(1 if k == 1 else 4 for k in geometry.window)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("budget", [1, 3_000, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_every_direction(monkeypatch, name, budget, dtype):
    monkeypatch.setattr(winograd, "_BLOCK_BYTES", budget)
    g = GEOMETRIES[name]
    x = RNG.normal(size=(3, *g.sizes, g.groups * g.inner)).astype(dtype)
    w = RNG.normal(size=(*g.window, g.inner, g.groups * g.outer)).astype(dtype)
    dy = RNG.normal(size=(3, *g.positions, g.groups * g.outer)).astype(dtype)
    bound = BOUND if dtype is np.float32 else 1e-3

    def check(name, given, like):
        found = np.full(like.shape, np.nan, dtype)
        way = convolve.backwards(g) if name == "to_input" else g
        if way is None:
            return
        getattr(winograd, name)(np, (found,), *given, g, tile_of(way))
        wanted = np.empty(like.shape)
        wide = [a.astype(np.float64) for a in given]
        getattr(convolve, name)(np, (wanted,), *wide, g)
        assert relative_error(found, wanted) < bound

    check("forward", (x, w), dy)
    check("to_input", (w, dy), x)
    check("to_filter", (x, dy), w)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e38])
def test_what_is_not_finite_stays_where_it_is_seen(bad):
    """As by plain sums, position by position, though tiles mix 8 x 8 inputs."""
    g = geometry_of((12, 12), (3, 3), ((1, 1), (1, 1)))
    x = RNG.normal(size=(1, 12, 12, 3)).astype(np.float32)
    w = RNG.normal(size=(3, 3, 3, 2)).astype(np.float32)
    x[0, 5, 6] = bad
    found, wanted = np.empty((2, 1, 12, 12, 2), np.float32)
    with np.errstate(all="ignore"):
        winograd.forward(np, (found,), x, w, g, (4, 4))
        convolve.forward(np, (wanted,), x, w, g)
        np.testing.assert_array_equal(found, wanted)
        assert np.isfinite(wanted).sum() >= 2 * (144 - 9)
        dw, plain = np.empty((2, *w.shape), np.float32)
        winograd.to_filter(np, (dw,), x, found, g, (4, 4))
        convolve.to_filter(np, (plain,), x, found, g)
        np.testing.assert_array_equal(dw, plain)


LARGE = geometry_of((14, 14), (5, 5), SAME, 32, 64)


@pytest.mark.parametrize(
    ("geometry", "batch", "itemsize", "tile"),
    [
        (LARGE, 32, 4, (4, 4)),
        (LARGE, 32, 2, (4, 4)),
        (LARGE, 32, 8, None),
        (LARGE, 0, 4, None),
        (LARGE, 1, 4, None),
        (LARGE._replace(strides=(1, 2)), 32, 4, None),
        (LARGE._replace(dilations=(2, 1)), 32, 4, None),
        (LARGE._replace(inner=1), 32, 4, None),
        (LARGE._replace(inner=31), 32, 4, None),
        (LARGE._replace(window=(7, 7)), 32, 4, None),
        (LARGE._replace(window=(1, 1)), 32, 4, None),
        (LARGE._replace(window=(1, 5)), 99, 4, (1, 4)),
        (LARGE._replace(positions=(1, 1)), 1 << 20, 4, None),
        (LARGE._replace(inner=2048), 32, 4, None),
    ],
)
def test_where_it_pays(geometry, batch, itemsize, tile):
    assert winograd.tile_for(geometry, batch, itemsize) == tile


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [3, 5])
def test_a_graph_that_uses_it(monkeypatch, data_format, padding, size):
    used = []
    for name in ("forward", "to_input", "to_filter"):
        monkeypatch.setattr(winograd, name, recorded(used, getattr(winograd, name)))
    x, w = RNG.normal(size=(12, 17, 19, 32)), RNG.normal(size=(size, size, 32, 40))
    if data_format == "NCHW":
        x = x.transpose(0, 3, 1, 2)

    def conv(x, w):
        return tf.nn.conv2d(x, w, 1, padding, data_format=data_format)

    def run(dtype):
        y, grads = value_and_gradients(conv, x.astype(dtype), w.astype(dtype))
        return [y, *grads]

    wanted = run(np.float64)
    assert not used
    for found, exact in zip(run(np.float32), wanted):
        assert found.dtype == np.float32
        assert relative_error(found, exact) < BOUND
    assert set(used) == {"forward", "to_input", "to_filter"}


def recorded(used, function):
    def run(*args, **attrs):
        used.append(function.__name__)
        return function(*args, **attrs)

    return run
