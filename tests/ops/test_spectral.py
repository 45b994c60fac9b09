"""Convolutions by spectra, against plain sums."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.ops import convolve, spectral
from gpugrad.ops.convolve import Geometry
from tests.ops.running import value_and_gradients

RNG = np.random.default_rng(9)


def geometry_of(sizes, window, pads, inner=3, outer=2, groups=1):
    positions = tuple(n + sum(p) - k + 1 for n, k, p in zip(sizes, window, pads))
    ones = (1,) * len(sizes)
    return Geometry(window, ones, ones, pads, sizes, positions, groups, inner, outer)


GEOMETRIES = {
    "same": geometry_of((9, 7), (5, 5), ((2, 2), (2, 2))),
    "valid": geometry_of((9, 12), (3, 8), ((0, 0), (0, 0))),
    "one position": geometry_of((5, 3), (5, 3), ((0, 0), (0, 0))),
    "window larger than the image": geometry_of((2, 1), (7, 9), ((3, 3), (4, 4))),
    "padding on one side": geometry_of((6, 5), (4, 3), ((3, 0), (0, 2))),
    "padding wider than the window": geometry_of((3, 3), (3, 3), ((7, 0), (0, 6))),
    "one channel": geometry_of((6, 6), (3, 3), ((1, 1), (1, 1)), inner=1, outer=1),
    "groups": geometry_of((6, 6), (3, 3), ((1, 1), (1, 1)), groups=3),
    "volumes": geometry_of((4, 5, 3), (2, 3, 3), ((0, 1), (1, 1), (0, 2))),
}
PRECISION = {np.float16: 2e-3, np.float32: 1e-6, np.float64: 1e-14}


def relative_error(found, wanted):
    wanted = wanted.astype(np.float64)
    return np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2))


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("budget", [1, 1 << 20])
@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize("prefix", ["", "depthwise_"])
def test_every_direction(monkeypatch, name, budget, dtype, prefix):
    monkeypatch.setattr(spectral, "_BLOCK_BYTES", budget)
    g = GEOMETRIES[name]
    if prefix and name == "volumes":
        pytest.skip("there are no depthwise convolutions of volumes")
    if prefix:
        g = g._replace(groups=3, inner=1)
    shape = (g.groups, g.outer) if prefix else (g.inner, g.groups * g.outer)
    x = RNG.normal(size=(3, *g.sizes, g.groups * g.inner)).astype(dtype)
    w = RNG.normal(size=(*g.window, *shape)).astype(dtype)
    dy = RNG.normal(size=(3, *g.positions, g.groups * g.outer)).astype(dtype)

    def check(part, given, like):
        found = np.full(like.shape, np.nan, dtype)
        getattr(spectral, prefix + part)(np, (found,), *given, g)
        wanted = np.empty(like.shape)
        wide = [a.astype(np.float64) for a in given]
        getattr(convolve, prefix + part)(np, (wanted,), *wide, g)
        assert relative_error(found, wanted) < PRECISION[dtype]

    check("forward", (x, w), dy)
    check("to_input", (w, dy), x)
    check("to_filter", (x, dy), w)


@pytest.mark.parametrize("prefix", ["", "depthwise_"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_stays_where_it_is_seen(prefix, bad):
    g = geometry_of((9, 9), (3, 3), ((1, 1), (1, 1)), inner=1, outer=2)
    x = RNG.normal(size=(1, 9, 9, 1))
    w = RNG.normal(size=(3, 3, 1, 2))
    dy = RNG.normal(size=(1, 9, 9, 2))
    x[0, 5, 6] = dy[0, 1, 1] = bad

    def both(part, given, like):
        found, wanted = np.empty((2, *like.shape))
        with np.errstate(all="ignore"):
            getattr(spectral, prefix + part)(np, (found,), *given, g)
            getattr(convolve, prefix + part)(np, (wanted,), *given, g)
        np.testing.assert_array_equal(found, wanted)
        return found

    assert np.isfinite(both("forward", (x, w), dy)).sum() >= 2 * (81 - 9)
    assert np.isfinite(both("to_input", (w, dy), x)).sum() >= 81 - 9
    both("to_filter", (x, dy), w)


def large(window, inner=8, outer=8, groups=1):
    pads = ((window // 2,) * 2,) * 2
    return geometry_of((64, 64), (window, window), pads, inner, outer, groups)


@pytest.mark.parametrize(
    ("geometry", "batch", "depthwise", "wanted"),
    [
        (large(31), 4, False, True),
        (large(31, groups=4), 4, False, True),
        (large(3), 4, False, False),
        (large(5, 64, 64), 4, False, False),
        (large(31), 0, False, False),
        (large(31, outer=0), 4, False, False),
        (large(31)._replace(strides=(2, 1)), 4, False, False),
        (large(31)._replace(dilations=(1, 2)), 4, False, False),
        (large(9, 1, 1, 32), 4, True, True),
        (large(3, 1, 1, 32), 4, True, False),
    ],
)
def test_where_it_pays(geometry, batch, depthwise, wanted):
    assert spectral.suits(geometry, batch, depthwise) == wanted


@pytest.mark.parametrize("n", [0, 1, 7, 11, 13, 97, 121, 143])
def test_lengths_have_small_factors(n):
    number = spectral._smooth(n)
    assert number >= n
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    assert number == 1


@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_graph_that_uses_it(monkeypatch, data_format, depthwise):
    x = RNG.normal(size=(2, 40, 42, 4))
    w = RNG.normal(size=(17, 15, 4, 4))
    if data_format == "NCHW":
        x = x.transpose(0, 3, 1, 2)

    def conv(x, w):
        if depthwise:
            strides = [1, 1, 1, 1]
            return tf.nn.depthwise_conv2d(
                x, w, strides, "SAME", data_format=data_format
            )
        return tf.nn.conv2d(x, w, 1, "SAME", data_format=data_format)

    used = []
    kept = spectral.suits

    def suits(*args):
        used.append(kept(*args))
        return used[-1]

    monkeypatch.setattr(spectral, "suits", suits)
    y, grads = value_and_gradients(conv, x, w)
    assert used
    assert all(used)
    monkeypatch.setattr(spectral, "suits", lambda *_: False)
    plain, wanted = value_and_gradients(conv, x, w)
    for found, sure in zip([y, *grads], [plain, *wanted]):
        assert relative_error(found, sure) < 1e-13
