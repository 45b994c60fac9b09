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
