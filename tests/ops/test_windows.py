"""Convolutions and pools against loops over windows."""

import itertools

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.ops.running import built, gradient_ops, value, value_and_gradients

RNG = np.random.default_rng(11)


def placement(size, reach, step, padding):
    """(positions, cells before) along one axis."""
    if padding == "VALID":
        return (size - reach) // step + 1, 0
    count = -(-size // step)
    return count, max((count - 1) * step + reach - size, 0) // 2


def windows(x, sizes, steps, gaps, padding):
    """(position, {place in the window: index of the cell}) for every window."""
    axes = []
    for n, k, s, d in zip(x.shape[1:-1], sizes, steps, gaps):
        count, before = placement(n, (k - 1) * d + 1, s, padding)
        axes.append((count, k, s, d, before, n))
    for position in itertools.product(*[range(a[0]) for a in axes]):
        cells = {}
        for place in itertools.product(*[range(a[1]) for a in axes]):
            at = tuple(
                p * s + q * d - before
                for p, q, (_, _, s, d, before, _) in zip(position, place, axes)
            )
            if all(0 <= i < a[5] for i, a in zip(at, axes)):
                cells[place] = at
        yield position, cells


def convolved(x, w, steps, gaps, padding):
    """A convolution with groups, by loops."""
    rank = x.ndim - 2
    found = {}
    groups = x.shape[-1] // w.shape[-2]
    outer = w.shape[-1] // groups
    for position, cells in windows(x, w.shape[:rank], steps, gaps, padding):
        total = np.zeros((x.shape[0], w.shape[-1]))
        for place, at in cells.items():
            pixel = x[(slice(None), *at)].reshape(x.shape[0], groups, -1)
            for g in range(groups):
                part = slice(g * outer, (g + 1) * outer)
                total[:, part] += pixel[:, g] @ w[place][:, part]
        found[position] = total
    counts = [1 + max(p[i] for p in found) for i in range(rank)]
    y = np.zeros((x.shape[0], *counts, w.shape[-1]))
    for position, total in found.items():
        y[(slice(None), *position)] = total
    return y


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("gaps", [(1, 1), (2, 1)])
@pytest.mark.parametrize("steps", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("channels", [4, 2])
def test_conv2d(channels, steps, gaps, padding):
    x, w = RNG.normal(size=(2, 6, 5, 4)), RNG.normal(size=(3, 2, channels, 6))
    wanted = convolved(x, w, steps, gaps, padding)

    def conv(x, w, layout="NHWC"):
        return tf.nn.conv2d(
            x, w, list(steps), padding, data_format=layout, dilations=list(gaps)
        )

    for shapes in (None, [(None,) * 4] * 2, [None, None]):
        np.testing.assert_allclose(value(conv, x, w, shapes=shapes), wanted, rtol=1e-9)
    first = value(lambda x, w: conv(x, w, "NCHW"), x.transpose(0, 3, 1, 2), w)
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), wanted, rtol=1e-9)
    y, (dx, dw) = value_and_gradients(conv, x, w)
    assert (y.shape, dx.shape, dw.shape) == (wanted.shape, x.shape, w.shape)
    flat, (dx1, dw1) = value_and_gradients(
        lambda x, w: conv(x, w, "NCHW"), x.transpose(0, 3, 1, 2), w
    )
    np.testing.assert_allclose(dx1.transpose(0, 2, 3, 1), dx, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dw1, dw, rtol=1e-9)
    assert flat.shape == (wanted.shape[0], 6, *wanted.shape[1:3])


def test_explicit_padding():
    x, w = RNG.normal(size=(2, 5, 6, 4)), RNG.normal(size=(3, 2, 4, 3))
    pads = [[0, 0], [1, 0], [0, 2], [0, 0]]
    got = value(lambda x, w: tf.nn.conv2d(x, w, 2, pads), x, w)
    wide = np.pad(x, pads)
    np.testing.assert_allclose(got, convolved(wide, w, (2, 2), (1, 1), "VALID"))


def test_filters_larger_than_the_image_and_empty_batches():
    x, w = RNG.normal(size=(1, 2, 2, 1)), RNG.normal(size=(5, 5, 1, 2))
    got = value(lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), x, w)
    np.testing.assert_allclose(got, convolved(x, w, (1, 1), (1, 1), "SAME"))
    y, (dx, dw) = value_and_gradients(
        lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), np.zeros((0, 2, 2, 1)), w
    )
    assert (y.shape, dx.shape) == ((0, 2, 2, 2), (0, 2, 2, 1))
    assert not dw.any()


def test_half_is_convolved_in_float32():
    x = np.full((1, 1, 3000, 1), 0.1, np.float16)
    got = value(
        lambda x: tf.nn.conv2d(x, tf.reshape(x, [1, 3000, 1, 1]), 1, "VALID"), x
    )
    np.testing.assert_allclose(got.ravel(), 3000 * float(x[0, 0, 0, 0]) ** 2, rtol=1e-3)


def test_other_ranks():
    x, w = RNG.normal(size=(2, 7, 3)), RNG.normal(size=(3, 3, 2))
    wanted = convolved(x, w, (2,), (1,), "SAME")
    got = value(lambda x, w: tf.nn.conv1d(x, w, 2, "SAME"), x, w)
    np.testing.assert_allclose(got, wanted)
    got = value(
        lambda x, w: tf.nn.conv1d(x, w, 2, "SAME", data_format="NCW"),
        x.transpose(0, 2, 1), w,
    )  # fmt: skip
    np.testing.assert_allclose(got.transpose(0, 2, 1), wanted)
    got = value(lambda x, w: tf.nn.convolution(x, w, "SAME", [2]), x, w)
    np.testing.assert_allclose(got, wanted)
    x, w = RNG.normal(size=(1, 4, 5, 3, 2)), RNG.normal(size=(2, 3, 2, 2, 3))
    got = value(lambda x, w: tf.nn.convolution(x, w, "SAME", [1, 2, 1]), x, w)
    np.testing.assert_allclose(got, convolved(x, w, (1, 2, 1), (1, 1, 1), "SAME"))


def test_atrous_and_dilated():
    x, w = RNG.normal(size=(2, 6, 6, 2)), RNG.normal(size=(2, 3, 2, 3))
    wanted = convolved(x, w, (1, 1), (2, 2), "VALID")
    np.testing.assert_allclose(
        value(lambda x, w: tf.nn.atrous_conv2d(x, w, 2, "VALID"), x, w), wanted
    )
    got = value(
        lambda x, w: tf.nn.convolution(x, w, "VALID", dilation_rate=[2, 2]), x, w
    )
    np.testing.assert_allclose(got, wanted)


def test_depthwise_and_separable():
    x, w = RNG.normal(size=(2, 5, 4, 3)), RNG.normal(size=(2, 3, 3, 2))
    flat = w.reshape(2, 3, 1, 6)
    for steps, padding in itertools.product((1, 2), ("SAME", "VALID")):
        wanted = convolved(x, flat, (steps, steps), (1, 1), padding)
        got = value(
            lambda x, w, s=steps, p=padding: tf.nn.depthwise_conv2d(
                x, w, [1, s, s, 1], p
            ),
            x, w,
        )  # fmt: skip
        np.testing.assert_allclose(got, wanted)
    mix = RNG.normal(size=(1, 1, 6, 4))
    got = value(
        lambda x, w, m: tf.nn.separable_conv2d(x, w, m, [1, 1, 1, 1], "SAME"), x, w, mix
    )
    spread = convolved(x, flat, (1, 1), (1, 1), "SAME")
    np.testing.assert_allclose(got, spread @ mix[0, 0])


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv2d_transpose_is_the_gradient_of_conv2d(padding):
    x, w = RNG.normal(size=(2, 7, 8, 3)), RNG.normal(size=(3, 2, 3, 4))

    def conv(x, w):
        return tf.nn.conv2d(x, w, 2, padding)

    y, (dx, _) = value_and_gradients(conv, x, w)
    got = value(
        lambda dy, w: tf.nn.conv2d_transpose(dy, w, list(x.shape), 2, padding),
        np.ones(y.shape), w,
    )  # fmt: skip
    np.testing.assert_allclose(got, dx)
    dynamic = value(
        lambda dy, w, s: tf.nn.conv2d_transpose(dy, w, s, 2, padding),
        np.ones(y.shape), w, np.array(x.shape, np.int32),
    )  # fmt: skip
    np.testing.assert_allclose(dynamic, dx)


# --- pools ----------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_pools_and_their_gradients(layout, step, padding):
    x = RNG.normal(size=(2, 5, 6, 3))
    top, mean = {}, {}
    d_top, d_mean = np.zeros(x.shape), np.zeros(x.shape)
    for position, cells in windows(x, (3, 2), (step, step), (1, 1), padding):
        values = np.stack([x[(slice(None), *at)] for at in cells.values()])
        top[position], mean[position] = values.max(0), values.mean(0)
        for at in cells.values():
            d_mean[(slice(None), *at)] += 1 / len(cells)
        first = values.argmax(0)
        for n, at in enumerate(cells.values()):
            d_top[(slice(None), *at)] += first == n
    order = (0, 1, 2, 3) if layout == "NHWC" else (0, 3, 1, 2)
    size = [1, 3, 2, 1] if layout == "NHWC" else [1, 1, 3, 2]
    steps = [1, step, step, 1] if layout == "NHWC" else [1, 1, step, step]
    for function, wanted, gradient in (
        (tf.nn.max_pool, top, d_top),
        (tf.nn.avg_pool, mean, d_mean),
    ):
        y, (dx,) = value_and_gradients(
            lambda t, f=function: f(t, size, steps, padding, data_format=layout),
            x.transpose(order),
        )
        y = y.transpose(np.argsort(order))
        for position, values in wanted.items():
            np.testing.assert_allclose(y[(slice(None), *position)], values)
        assert y[0, :, :, 0].size == len(wanted)
        np.testing.assert_allclose(
            dx.transpose(np.argsort(order)), gradient, atol=1e-12
        )


def test_the_first_of_equal_maxima_gets_the_gradient():
    ones = np.ones((1, 3, 3, 1))
    _, (dx,) = value_and_gradients(lambda x: tf.nn.max_pool(x, 2, 2, "SAME"), ones)
    assert dx[0, :, :, 0].tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]
    _, (dx,) = value_and_gradients(lambda x: tf.nn.max_pool2d(x, 2, 1, "VALID"), ones)
    assert dx[0, :, :, 0].tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


def test_padding_is_never_the_maximum():
    x = -np.ones((1, 2, 2, 1))
    y, (dx,) = value_and_gradients(lambda t: tf.nn.max_pool(t, 3, 1, "SAME"), x)
    assert (y == -1).all()
    assert dx[0, :, :, 0].tolist() == [[4, 0], [0, 0]]
    ints = value(lambda t: tf.nn.max_pool(t, 3, 1, "SAME"), x.astype(np.int32))
    assert (ints == -1).all()


def test_pools_of_other_ranks():
    x = RNG.normal(size=(2, 6, 3))
    got = value(lambda t: tf.nn.max_pool1d(t, 2, 2, "VALID"), x)
    np.testing.assert_allclose(got, x.reshape(2, 3, 2, 3).max(2))
    got = value(lambda t: tf.nn.avg_pool1d(t, 2, 2, "VALID", data_format="NCW"),
                x.transpose(0, 2, 1))  # fmt: skip
    np.testing.assert_allclose(got, x.reshape(2, 3, 2, 3).mean(2).transpose(0, 2, 1))
    x = RNG.normal(size=(1, 4, 2, 6, 3))
    blocks = x.reshape(1, 2, 2, 1, 2, 3, 2, 3)
    got = value(lambda t: tf.nn.max_pool3d(t, 2, 2, "VALID"), x)
    np.testing.assert_allclose(got, blocks.max((2, 4, 6)))
    got = value(
        lambda t: tf.nn.pool(t, [2, 2, 2], "AVG", "VALID", strides=[2, 2, 2]), x
    )
    np.testing.assert_allclose(got, blocks.mean((2, 4, 6)))


# --- graphs and errors ----------------------------------------------------------------

IMAGE, FILTER = (2, 5, 6, 2), (3, 2, 2, 3)
GRAPHS = [
    ("conv2d", lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), [IMAGE, FILTER],
     "ShapeN Conv2DBackpropInput Conv2DBackpropFilter",
     ["Conv2DBackpropInput", "Conv2DBackpropFilter"]),
    ("max_pool", lambda x: tf.nn.max_pool(x, 2, 2, "SAME"), [IMAGE], "MaxPoolGrad",
     ["MaxPoolGrad"]),
    ("avg_pool", lambda x: tf.nn.avg_pool(x, 2, 2, "SAME"), [IMAGE], "AvgPoolGrad",
     ["AvgPoolGrad"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "shapes", "ops", "results"), GRAPHS, ids=[g[0] for g in GRAPHS]
)
def test_gradient_graphs(_, function, shapes, ops, results):
    assert gradient_ops(function, *shapes) == (ops.split(), results)


SHAPES = [
    (lambda x, w: tf.nn.conv2d(x, w, 2, "SAME"), [(None, None, 6, 2), FILTER],
     (None, None, 3, 3)),
    (lambda x, w: tf.nn.conv2d(x, w, 1, "VALID"), [None, FILTER],
     (None, None, None, 3)),
    (lambda x, w: tf.nn.conv2d(x, w, 1, "SAME"), [IMAGE, None], (2, 5, 6, None)),
    (lambda x: tf.nn.max_pool(x, 2, 2, "SAME"), [(None, 5, None, 2)],
     (None, 3, None, 2)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "shapes", "wanted"), SHAPES)
def test_static_shapes(function, shapes, wanted):
    assert built(function, *shapes).shape.as_list() == list(wanted)


def conv(**options):
    arguments = {"strides": 1, "padding": "SAME", **options}
    return lambda x, w: tf.nn.conv2d(x, w, **arguments)


ERRORS = [
    (conv(), [(1, 4, 4, 2), (2, 2, 3, 1)], "Depth of input .2. is not a multiple"),
    (conv(), [(4, 4, 2), (2, 2, 2, 1)], "rank 4 but is rank 3"),
    (conv(padding="FOO"), [IMAGE, FILTER], "padding"),
    (conv(padding=[[0, 0], [1, 1]]), [IMAGE, FILTER], "size 4"),
    (
        conv(padding=[[1, 0], [0, 0], [0, 0], [0, 0]]),
        [IMAGE, FILTER],
        "batch and depth",
    ),
    (conv(strides=[1, 2, 3, 4, 5]), [IMAGE, FILTER], "length 1, 2 or 4"),
    (conv(strides=0), [IMAGE, FILTER], "at least 1"),
    (conv(padding="VALID"), [(1, 1, 1, 2), FILTER], "subtracting 3 from 1"),
    (conv(data_format="NWC"), [IMAGE, FILTER], "data_format"),
    (lambda x: tf.nn.max_pool(x, 7, 1, "VALID"), [IMAGE], "subtracting 7 from 5"),
    (lambda x: tf.nn.max_pool(x, [1, 2, 2, 2], 1, "VALID"), [IMAGE], "channels"),
    (lambda x: tf.nn.pool(x, [2, 2], "SUM", "SAME"), [IMAGE], "MAX"),
    (lambda x: tf.nn.pool(x, [2, 2], "MAX", "SAME", [2, 2]), [IMAGE], "gaps"),
    (lambda x, w: tf.nn.conv2d_transpose(x, w), [IMAGE, FILTER], "output_shape"),
]


@pytest.mark.parametrize(("function", "shapes", "text"), ERRORS)
def test_errors_while_building(function, shapes, text):
    with pytest.raises(ValueError, match=text):
        built(function, *shapes)


def test_errors_while_running():
    x, w = np.zeros((1, 4, 4, 2)), np.zeros((2, 2, 3, 1))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Depth of input.*Conv2D"):
        value(conv(), x, w, shapes=[None, None])
    with pytest.raises(tf.errors.InvalidArgumentError, match="the convolution gives"):
        value(
            lambda dy, w: tf.nn.conv2d_transpose(dy, w, [1, 9, 9, 3], 2, "SAME"),
            np.zeros((1, 4, 4, 1)), np.zeros((2, 2, 3, 1)),
        )  # fmt: skip
