"""Convolutions in blocks: where they are cut changes no result."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.ops import convolve
from tests.ops.running import value_and_gradients

RNG = np.random.default_rng(5)
GEOMETRY = convolve.Geometry(
    window=(2, 2),
    strides=(1, 1),
    dilations=(1, 1),
    pads=((0, 0), (0, 0)),
    sizes=(5, 5),
    positions=(4, 4),
    groups=1,
    inner=3,
    outer=2,
)
# Float64 patches of one row of positions.
ROW_BYTES = 4 * 4 * 3 * 8


@pytest.mark.parametrize(
    ("budget", "blocks"),
    [
        (
            1,
            [(0, 1, r, r + 1) for r in range(4)] + [(1, 2, r, r + 1) for r in range(4)],
        ),
        (3 * ROW_BYTES, [(0, 1, 0, 3), (0, 1, 3, 4), (1, 2, 0, 3), (1, 2, 3, 4)]),
        (4 * ROW_BYTES, [(0, 1, 0, 4), (1, 2, 0, 4)]),
        (8 * ROW_BYTES, [(0, 2, 0, 4)]),
    ],
)
def test_blocks_fit_the_budget(monkeypatch, budget, blocks):
    monkeypatch.setattr(convolve, "_BLOCK_BYTES", budget)
    assert [tuple(b) for b in convolve._blocks(2, GEOMETRY, 8)] == blocks


KINDS = {
    "conv2d": (
        lambda x, w, s, p: tf.nn.conv2d(x, w, [s, s], p),
        (3, 7, 6, 4),
        (3, 2, 4, 5),
    ),
    "few inputs": (
        lambda x, w, s, p: tf.nn.conv2d(x, w, [s, s], p),
        (3, 7, 6, 1),
        (3, 2, 1, 5),
    ),
    "groups": (
        lambda x, w, s, p: tf.nn.conv2d(x, w, [s, s], p),
        (3, 7, 6, 4),
        (3, 2, 2, 6),
    ),
    "depthwise": (
        lambda x, w, s, p: tf.nn.depthwise_conv2d(x, w, [1, s, s, 1], p),
        (3, 7, 6, 4),
        (3, 2, 4, 2),
    ),
    "conv3d": (
        lambda x, w, s, p: tf.nn.conv3d(x, w, [1, s, s, s, 1], p),
        (2, 5, 4, 4, 2),
        (2, 2, 3, 2, 3),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_where_blocks_are_cut_changes_nothing(monkeypatch, kind, step, padding):
    conv, x_shape, w_shape = KINDS[kind]
    x, w = RNG.normal(size=x_shape), RNG.normal(size=w_shape)

    def run():
        y, grads = value_and_gradients(lambda x, w: conv(x, w, step, padding), x, w)
        return [y, *grads]

    whole = run()
    for budget in (1, 700, 2_000):
        monkeypatch.setattr(convolve, "_BLOCK_BYTES", budget)
        for found, wanted in zip(run(), whole):
            np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_both_ways_to_the_input_agree(step, padding):
    """The filter turned round, and the sum over taps, are the same function."""
    x, w = RNG.normal(size=(2, 7, 7, 4)), RNG.normal(size=(3, 3, 4, 6))
    y, (wanted, _) = value_and_gradients(
        lambda x, w: tf.nn.conv2d(x, w, step, padding), x, w
    )
    count = y.shape[1]
    total = (count - 1) * step + 3 - 7 if padding == "SAME" else 0
    pads = ((total // 2, total - total // 2),) * 2
    geometry = convolve.Geometry(
        (3, 3), (step, step), (1, 1), pads, (7, 7), (count, count), 1, 4, 6
    )
    found = np.empty_like(x)
    convolve._to_input_by_taps(np, (found,), w, np.ones_like(y), geometry)
    np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("window", [(3, 2), (1, 4), (5, 5)])
@pytest.mark.parametrize("sizes", [(6, 5), (1, 9), (5, 1), (2, 2)])
def test_one_channel(monkeypatch, dtype, window, sizes):
    """Few inputs are laid out by positions: as many equal ones are not."""
    x = RNG.normal(size=(3, *sizes, 1)).astype(dtype)
    w = RNG.normal(size=(*window, 1, 4)).astype(dtype)

    def run(x, w):
        y, grads = value_and_gradients(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), x, w)
        return [y, *grads]

    y, dx, dw = run(x, w)
    near = {np.float16: 4e-3, np.float32: 1e-5, np.float64: 1e-12}[dtype]
    tolerance = {"rtol": near, "atol": 4 * near}
    half = w.astype(np.float64) / 2
    wanted = run(np.repeat(x.astype(np.float64), 2, -1), np.repeat(half, 2, -2))
    np.testing.assert_allclose(y, wanted[0], **tolerance)
    np.testing.assert_allclose(dx, 2 * wanted[1][..., :1], **tolerance)
    np.testing.assert_allclose(dw, wanted[2][..., :1, :], **tolerance)
    monkeypatch.setattr(convolve, "_BLOCK_BYTES", 200)
    for found, again in zip(run(x, w), [y, dx, dw]):
        np.testing.assert_allclose(found, again, **tolerance)


def geometry_of(sizes, window, pads, **rest):
    ones = (1,) * len(sizes)
    g = convolve.Geometry(window, ones, ones, pads, sizes, sizes, 1, 8, 5)
    g = g._replace(**rest)
    positions = tuple(
        (n + sum(p) - (k - 1) * d - 1) // s + 1
        for n, k, p, d, s in zip(sizes, window, pads, g.dilations, g.strides)
    )
    return g._replace(positions=positions)


BY_ROWS = {
    "same": geometry_of((6, 7), (3, 4), ((1, 1), (1, 2))),
    "valid": geometry_of((6, 7), (2, 3), ((0, 0), (0, 0))),
    "one position": geometry_of((4, 3), (4, 3), ((0, 0), (0, 0))),
    "window larger than the image": geometry_of((2, 1), (7, 3), ((3, 3), (1, 1))),
    "padding wider than the window": geometry_of((3, 4), (2, 2), ((5, 0), (0, 6))),
    "nothing but padding": geometry_of((0, 4), (2, 2), ((2, 2), (0, 0))),
    "dilated": geometry_of((9, 9), (3, 2), ((2, 2), (1, 0)), dilations=(2, 3)),
    "strides": geometry_of((5, 9), (3, 3), ((1, 1), (0, 1)), strides=(1, 3)),
    "groups": geometry_of((5, 5), (3, 3), ((1, 1), (1, 1)), groups=3),
    "one column": geometry_of((9, 4), (5, 1), ((2, 2), (0, 0))),
    "volumes": geometry_of((4, 5, 3), (2, 3, 3), ((0, 1), (1, 1), (0, 2))),
}


@pytest.mark.parametrize("name", BY_ROWS)
@pytest.mark.parametrize("budget", [1 << 10, 1 << 20])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_by_rows_and_by_patches_agree(monkeypatch, name, budget, dtype):
    g = BY_ROWS[name]
    assert convolve.goes_by_rows(g, 8)
    monkeypatch.setattr(convolve, "_ROWS_BYTES", budget)
    x = RNG.normal(size=(3, *g.sizes, g.groups * g.inner)).astype(dtype)
    w = RNG.normal(size=(*g.window, g.inner, g.groups * g.outer)).astype(dtype)
    dy = RNG.normal(size=(3, *g.positions, g.groups * g.outer)).astype(dtype)
    near = {np.float16: 8e-3, np.float32: 1e-5, np.float64: 1e-13}[dtype]
    both = []
    for by_rows in (True, False):
        monkeypatch.setattr(convolve, "goes_by_rows", lambda *_, by=by_rows: by)
        y, dw = np.full_like(dy, np.nan), np.full_like(w, np.nan)
        convolve.forward(np, (y,), x, w, g)
        convolve.to_filter(np, (dw,), x, dy, g)
        both.append((y, dw))
    for found, wanted in zip(*both):
        np.testing.assert_allclose(found, wanted, rtol=near, atol=20 * near)


def test_where_rows_pay():
    g = BY_ROWS["same"]
    assert not convolve.goes_by_rows(g._replace(strides=(2, 1)), 4)
    assert not convolve.goes_by_rows(g._replace(window=(1, 4)), 4)
    assert not convolve.goes_by_rows(g._replace(inner=1), 4)
    assert not convolve.goes_by_rows(g._replace(outer=0), 4)
    assert not convolve.goes_by_rows(g._replace(sizes=(10**5, 7)), 4)
