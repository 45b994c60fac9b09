"""Activations, softmax, cross entropies, normalization, layers and losses."""

import math

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from tests.ops.running import built, gradient_ops, value, value_and_gradients

inf, nan = np.inf, np.nan
RNG = np.random.default_rng(7)
SCALE, ALPHA = 1.0507009873554805, 1.6732632423543772


def check(function, arrays, wanted, gradients):
    y, got = value_and_gradients(function, *[np.array(a, np.float64) for a in arrays])
    if wanted is not None:
        np.testing.assert_allclose(y, wanted, rtol=1e-6, atol=1e-12)
    for dx, want in zip(got, gradients, strict=True):
        if want is None:
            assert dx is None
        else:
            np.testing.assert_allclose(dx, want, rtol=1e-6, atol=1e-12)


SIGMOID = 1 / (1 + math.exp(-1))
ACTIVATIONS = [
    ("relu", tf.nn.relu, [-1, 0, 2, nan, inf], [0, 0, 2, nan, inf], [0, 0, 1, 0, 1]),
    ("relu6", tf.nn.relu6, [-1, 0, 3, 6, 7], [0, 0, 3, 6, 6], [0, 0, 1, 0, 0]),
    ("leaky_relu", tf.nn.leaky_relu, [-1, 0, 2], [-0.2, 0, 2], [0.2, 0.2, 1]),
    ("elu", tf.nn.elu, [-1, 0, 2], [math.expm1(-1), 0, 2], [math.exp(-1), 1, 1]),
    ("selu", tf.nn.selu, [-1, 0, 2],
     [SCALE * ALPHA * math.expm1(-1), 0, 2 * SCALE],
     [SCALE * ALPHA * math.exp(-1), SCALE, SCALE]),
    ("softplus", tf.nn.softplus, [-800, 0, 1, 800],
     [0, math.log(2), math.log1p(math.e), 800], [0, 0.5, SIGMOID, 1]),
    ("softsign", tf.nn.softsign, [-1, 0, 3], [-0.5, 0, 0.75], [0.25, 1, 1 / 16]),
    ("log_sigmoid", tf.log_sigmoid, [-100, 0, 100], [-100, -math.log(2), 0],
     [1, 0.5, 0]),
    ("crelu", tf.nn.crelu, [-1, 0, 2], [0, 0, 2, 1, 0, 0], [-1, 0, 1]),
    ("swish", tf.nn.swish, [0, 1], [0, SIGMOID],
     [0.5, SIGMOID * (2 - SIGMOID)]),
    ("gelu", tf.nn.gelu, [0, 1], [0, 0.8413447], [0.5, 1.0833155]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "x", "wanted", "gradient"),
    ACTIVATIONS,
    ids=[a[0] for a in ACTIVATIONS],
)
def test_activations(_, function, x, wanted, gradient):
    check(function, [x], wanted, [gradient])
    half = value(function, np.array(x, np.float16)[:2])
    assert half.dtype == np.float16


def test_second_derivative_of_relus_is_zero():
    for function in (tf.nn.relu, tf.nn.relu6, tf.nn.leaky_relu):

        def slope(x, function=function):
            return tf.gradients(function(x), x)[0]

        check(slope, [[-1, 0, 2]], None, [[0, 0, 0]])


def test_softsign_has_no_second_derivative():
    def slope(x):
        return tf.gradients(tf.nn.softsign(x), x)[0]

    with pytest.raises(LookupError, match="SoftsignGrad"):
        check(slope, [[1.0]], None, [None])


# --- softmax --------------------------------------------------------------------------


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("shapes", [None, [(None,) * 3]])
@pytest.mark.parametrize("axis", [-1, 0, 1, 2, -2])
def test_softmax_over_every_axis(axis, shapes):
    x = RNG.normal(size=(2, 3, 4))
    got = value(lambda t: tf.nn.softmax(t, axis=axis), x, shapes=shapes)
    np.testing.assert_allclose(got, softmax(x, axis))
    got = value(lambda t: tf.nn.log_softmax(t, axis=axis), x, shapes=shapes)
    np.testing.assert_allclose(got, np.log(softmax(x, axis)))


def test_softmax_of_extremes():
    rows = np.array([[1000.0, 1001, 999], [0, -inf, 0], [5, 5, 5]])
    np.testing.assert_allclose(value(tf.nn.softmax, rows), softmax(rows))
    got = value(tf.nn.log_softmax, rows)
    np.testing.assert_allclose(got[1], [-math.log(2), -inf, -math.log(2)])
    half = value(tf.nn.softmax, np.full((1, 5000), 3.0, np.float16))
    np.testing.assert_allclose(half, 1 / 5000, rtol=1e-2)
    assert value(tf.nn.softmax, np.zeros((0, 3))).shape == (0, 3)
    assert value(lambda x: tf.nn.softmax(x), np.zeros((2, 3)), shapes=[None]).shape == (
        2,
        3,
    )


# --- cross entropies ------------------------------------------------------------------


def dense(labels, logits):
    return tf.nn.softmax_cross_entropy_with_logits_v2(labels, logits)


def test_softmax_cross_entropy():
    labels, logits = np.array([[0, 1.0, 0]]), np.array([[1.0, 2, 3]])
    p = softmax(logits)
    check(dense, [labels, logits], [-np.log(p[0, 1])], [-np.log(p), p - labels])
    stopped = tf.nn.softmax_cross_entropy_with_logits
    check(
        lambda z, x: stopped(labels=z, logits=x),
        [labels, logits],
        [-np.log(p[0, 1])],
        [None, p - labels],
    )
    current = gg.nn.softmax_cross_entropy_with_logits
    check(current, [labels, logits], None, [-np.log(p), p - labels])
    # TensorFlow does not scale by the sum of the labels.
    check(dense, [labels * 3, logits], None, [-np.log(p), p - labels * 3])


def test_softmax_cross_entropy_of_extremes():
    logits = [[1000.0, -1000, 0], [0, -inf, 0]]
    labels = [[0, 1.0, 0], [1, 0, 0]]
    y, (_, dx) = value_and_gradients(dense, np.array(labels), np.array(logits))
    np.testing.assert_allclose(y, [2000, math.log(2)])
    np.testing.assert_allclose(dx, [[1, -1, 0], [-0.5, 0, 0.5]])


def test_softmax_cross_entropy_shapes():
    labels, logits = RNG.uniform(size=(2, 3, 2, 4)), RNG.normal(size=(2, 3, 2, 4))
    for shapes in (None, [(None,) * 4] * 2, [None, None]):
        got = value(dense, labels, logits, shapes=shapes)
        np.testing.assert_allclose(got, -np.sum(labels * np.log(softmax(logits)), -1))
    got = value(
        lambda z, x: tf.nn.softmax_cross_entropy_with_logits_v2(z, x, axis=1),
        labels,
        logits,
    )
    np.testing.assert_allclose(got, -np.sum(labels * np.log(softmax(logits, 1)), 1))
    half = value(dense, labels.astype(np.float16), logits.astype(np.float16))
    assert half.dtype == np.float16
    assert value(dense, np.zeros((0, 3)), np.zeros((0, 3))).shape == (0,)
    assert built(dense, (None, 3), (None, 3)).shape.as_list() == [None]


def sparse(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_sparse_softmax_cross_entropy(dtype):
    labels, logits = np.array([[2, 0], [1, 1]], dtype), RNG.normal(size=(2, 2, 3))
    p = softmax(logits)
    hot = np.eye(3)[labels]
    wanted = -np.log(np.sum(p * hot, -1))
    for shapes in (None, [(None, None), (None, None, 3)], [None, None]):
        got = value(sparse, labels, logits, shapes=shapes)
        np.testing.assert_allclose(got, wanted)
    check(lambda x: sparse(labels, x), [logits], wanted, [p - hot])
    assert value(sparse, np.zeros(0, dtype), np.zeros((0, 3))).shape == (0,)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class(label):
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=rf"label value of {label} "
    ):
        value(sparse, np.array([0, label]), np.zeros((2, 3)))


def test_sigmoid_cross_entropies():
    x = np.array([-800.0, -1, 0, 2, 800])
    z = np.array([0.0, 0, 0.5, 0.2, 1])
    with np.errstate(over="ignore"):
        p = 1 / (1 + np.exp(-x))
    wanted = np.maximum(x, 0) - x * z + np.log1p(np.exp(-np.abs(x)))
    check(
        lambda z, x: tf.nn.sigmoid_cross_entropy_with_logits(labels=z, logits=x),
        [z, x],
        wanted,
        [-x, p - z],
    )
    y, _ = value_and_gradients(
        lambda z, x: tf.nn.weighted_cross_entropy_with_logits(z, x, 3.0), z, x
    )
    np.testing.assert_allclose(
        y,
        (1 - z) * x + (1 + 2 * z) * (np.log1p(np.exp(-np.abs(x))) + np.maximum(-x, 0)),
    )
    y, _ = value_and_gradients(tf.nn.log_poisson_loss, z + 2, x[1:4].sum() * np.ones(5))
    np.testing.assert_allclose(y, math.e - (z + 2))


# --- bias, dropout, layers ------------------------------------------------------------


def test_bias_add():
    x, bias = RNG.normal(size=(2, 3, 4, 5)), RNG.normal(size=5)
    np.testing.assert_allclose(value(tf.nn.bias_add, x, bias), x + bias)
    first = RNG.normal(size=3)
    got = value(lambda a, b: tf.nn.bias_add(a, b, "NCHW"), x, first)
    np.testing.assert_allclose(got, x + first[:, None, None])
    check(
        lambda a, b: tf.nn.bias_add(a, b, "NCHW"), [x, first], None,
        [np.ones(x.shape), np.full(3, 40.0)],
    )  # fmt: skip
    got = value(tf.nn.bias_add, np.ones((2, 3), np.int32), np.arange(3, dtype=np.int32))
    assert got.tolist() == [[1, 2, 3], [1, 2, 3]]


def test_bias_add_keeps_slices():
    with tf.Graph().as_default():
        table = tf.ones([5, 3])
        rows = tf.gather(tf.nn.bias_add(table, tf.ones([3])), [1, 1])
        (gradient,) = tf.gradients(rows, table)
        assert isinstance(gradient, tf.IndexedSlices)


def test_dropout():
    x = np.ones((200, 300))
    for build in (
        lambda t: tf.nn.dropout(t, 0.75, seed=3),
        lambda t: tf.nn.dropout(t, rate=0.25, seed=3),
        lambda t: gg.nn.dropout(t, 0.25, seed=3),
        lambda t: tf.nn.dropout(t, rate=tf.constant(0.25, tf.float64), seed=3),
    ):
        y, (dx,) = value_and_gradients(build, x)
        assert set(np.round(np.unique(y), 12)) == {0, round(4 / 3, 12)}
        assert abs(np.mean(y == 0) - 0.25) < 0.01
        # The mask is that of the run: gradient and value drop the same elements.
        np.testing.assert_allclose(dx, y)
    shared = value(lambda t: tf.nn.dropout(t, 0.5, noise_shape=[None, 1]), x)
    assert np.all(shared == shared[:, :1])
    with tf.Graph().as_default():
        t = tf.constant(x)
        assert tf.nn.dropout(t, 1.0) is t
        assert tf.nn.dropout(t, rate=0.0) is t
        vague = tf.placeholder(tf.float32, [None, 3])
        assert tf.nn.dropout(vague, 0.5).shape.as_list() == [None, 3]


def test_dense_layers():
    x, w, b = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=4)
    np.testing.assert_allclose(value(tf.nn.xw_plus_b, x, w, b), x @ w + b)
    np.testing.assert_allclose(
        value(tf.nn.relu_layer, x, w, b), np.maximum(x @ w + b, 0)
    )


def test_embedding_lookup():
    table = RNG.normal(size=(5, 3))
    ids = np.array([[1, 4], [1, 0]])
    got, (slices,) = value_and_gradients(
        lambda t: tf.nn.embedding_lookup(t, ids), table
    )
    np.testing.assert_allclose(got, table[ids])
    np.testing.assert_allclose(slices, np.array([1, 2, 0, 0, 1])[:, None] * np.ones(3))
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    clipped = value(lambda t: tf.nn.embedding_lookup(t, ids, max_norm=0.5), table)
    np.testing.assert_allclose(clipped, (table * np.minimum(1, 0.5 / norms))[ids])


@pytest.mark.parametrize(
    ("strategy", "rows"), [("mod", [0, 2, 4, 1, 3]), ("div", [0, 1, 2, 3, 4])]
)
def test_embedding_lookup_in_parts(strategy, rows):
    table, ids = RNG.normal(size=(5, 3)), np.array([[1, 4], [3, 0]])
    parts = np.split(table[rows], [3])

    def lookup(a, b):
        return tf.nn.embedding_lookup([a, b], ids, strategy)

    got, gradients = value_and_gradients(lookup, *parts)
    np.testing.assert_allclose(got, table[ids])
    assert np.concatenate(gradients)[np.argsort(rows), 0].tolist() == [1, 1, 0, 1, 1]


# --- batch normalization --------------------------------------------------------------


def test_batch_normalization():
    x = RNG.normal(size=(4, 3))
    m, v, b, g = (RNG.uniform(0.5, 2, 3) for _ in range(4))
    got = value(lambda *a: tf.nn.batch_normalization(*a, 0.01), x, m, v, b, g)
    np.testing.assert_allclose(got, (x - m) / np.sqrt(v + 0.01) * g + b)
    plain = value(
        lambda x, m, v: tf.nn.batch_normalization(x, m, v, None, None, 0.01), x, m, v
    )
    np.testing.assert_allclose(plain, (x - m) / np.sqrt(v + 0.01))


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_fused_batch_norm(layout):
    x = RNG.normal(size=(3, 2, 2, 2)).astype(np.float32)
    scale, offset = RNG.uniform(0.5, 2, (2, 2)).astype(np.float32)
    axes, back = ((0, 1, 2), (slice(None),)) if layout == "NHWC" else (
        (0, 2, 3), (slice(None), None, None))  # fmt: skip

    def run(*extra, **options):
        return value(
            lambda *a: tf.nn.fused_batch_norm(
                *a, epsilon=0.1, data_format=layout, **options
            ),
            x, scale, offset, *extra,
        )  # fmt: skip

    y, mean, variance = run()
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, x.var(axes, ddof=1), rtol=1e-5)
    wanted = (x - x.mean(axes, keepdims=True)) / np.sqrt(
        x.var(axes, keepdims=True) + 0.1
    )
    wanted = wanted * scale[back] + offset[back]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    m, v = RNG.uniform(0.5, 2, (2, 2)).astype(np.float32)
    y, mean, variance = run(m, v, is_training=False)
    np.testing.assert_allclose(mean, m)
    wanted = (x - m[back]) / np.sqrt(v[back] + 0.1) * scale[back] + offset[back]
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    _, mean, _ = run(m, v, exponential_avg_factor=0.25)
    np.testing.assert_allclose(mean, 0.75 * m + 0.25 * x.mean(axes), rtol=1e-5)


# --- losses ---------------------------------------------------------------------------

T, P = RNG.uniform(0.1, 0.9, (2, 3, 2))
W = np.array([[1.0], [0.0], [2.0]])
LOSSES = [
    ("absolute_difference", np.abs(P - T), {}),
    ("mean_squared_error", (P - T) ** 2, {}),
    ("huber_loss", np.where(np.abs(P - T) < 0.2, (P - T) ** 2 / 2,
                            0.2 * np.abs(P - T) - 0.02), {"delta": 0.2}),
    ("log_loss", -T * np.log(P + 1e-7) - (1 - T) * np.log(1 - P + 1e-7), {}),
    ("hinge_loss", np.maximum(0, 1 - (2 * T - 1) * P), {}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "each", "options"), LOSSES, ids=[row[0] for row in LOSSES]
)
def test_losses(name, each, options):
    loss = getattr(tf.losses, name)

    def run(**more):
        return value(lambda t, p: loss(t, p, **options, **more), T, P)

    np.testing.assert_allclose(run(), each.mean(), rtol=1e-5)
    weighted = each * W
    by = {
        "none": weighted,
        "weighted_sum": weighted.sum(),
        "weighted_mean": weighted.sum() / (2 * W.sum()),
        "weighted_sum_over_batch_size": weighted.mean(),
        "weighted_sum_by_nonzero_weights": weighted.sum() / 4,
    }
    for reduction, wanted in by.items():
        got = run(weights=W, reduction=reduction)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-7)
    assert run(weights=0.0) == 0


def test_losses_of_logits_and_of_rows():
    logits = RNG.normal(size=(3, 2))
    got = value(tf.losses.softmax_cross_entropy, np.eye(2)[[0, 1, 1]], logits)
    wanted = -np.log(softmax(logits))[[0, 1, 2], [0, 1, 1]].mean()
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    got = value(
        tf.losses.sparse_softmax_cross_entropy, np.array([[0], [1], [1]]), logits
    )
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    smooth = value(
        lambda z, x: tf.losses.softmax_cross_entropy(z, x, label_smoothing=0.2),
        np.eye(2)[[0, 1, 1]], logits,
    )  # fmt: skip
    z = np.eye(2)[[0, 1, 1]] * 0.8 + 0.1
    np.testing.assert_allclose(
        smooth, -np.sum(z * np.log(softmax(logits)), -1).mean(), rtol=1e-6
    )
    got = value(
        lambda z, x: tf.losses.sigmoid_cross_entropy(z, x, label_smoothing=0.2),
        T,
        logits,
    )
    z = T * 0.8 + 0.1
    each = np.maximum(logits, 0) - logits * z + np.log1p(np.exp(-np.abs(logits)))
    np.testing.assert_allclose(got, each.mean(), rtol=1e-6)
    got = value(lambda t, p: tf.losses.cosine_distance(t, p, axis=1), T, P)
    np.testing.assert_allclose(got, (1 - (T * P).sum(1)).mean(), rtol=1e-6)
    error = P - T
    pairs = (error[:, 0] - error[:, 1]) ** 2
    got = value(tf.losses.mean_pairwise_squared_error, T, P)
    np.testing.assert_allclose(got, pairs.sum(), rtol=1e-5)


def test_losses_are_collected():
    with tf.Graph().as_default(), tf.Session() as session:
        first = tf.losses.mean_squared_error([1.0], [2.0])
        tf.losses.absolute_difference([1.0], [2.0], loss_collection=None)
        tf.losses.add_loss(tf.constant(3.0))
        assert tf.losses.get_losses()[0] is first
        assert session.run(tf.losses.get_total_loss()) == 4
        assert session.run(tf.losses.get_regularization_loss()) == 0
    with tf.Graph().as_default(), pytest.raises(ValueError, match="no loss"):
        tf.losses.get_total_loss()


# --- graphs and errors ----------------------------------------------------------------

GRAPHS = [
    ("relu", tf.nn.relu, [(2, 3)], "ReluGrad", ["ReluGrad"]),
    ("softmax", tf.nn.softmax, [(2, 3)], "mul:Mul Sum sub:Sub mul_1:Mul", ["mul_1"]),
    ("log_softmax", tf.nn.log_softmax, [(2, 3)], "Exp Sum mul:Mul sub:Sub", ["sub"]),
    ("softplus", tf.nn.softplus, [(2, 3)], "Sigmoid mul:Mul", ["mul"]),
    ("bias_add", tf.nn.bias_add, [(2, 3), (3,)], "BiasAddGrad",
     ["seed", "BiasAddGrad"]),
    ("sparse", lambda x: sparse([0, 1], x), [(2, 3)], "ExpandDims mul:Mul", ["mul"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "shapes", "ops", "results"), GRAPHS, ids=[g[0] for g in GRAPHS]
)
def test_gradient_graphs(_, function, shapes, ops, results):
    assert gradient_ops(function, *shapes) == (ops.split(), results)


def test_names():
    stopped = tf.nn.softmax_cross_entropy_with_logits
    loss = built(lambda z, x: stopped(labels=z, logits=x), (2, 3), (2, 3))
    assert loss.name == "softmax_cross_entropy_with_logits_sg/Reshape_2:0"
    logistic = built(
        lambda z, x: tf.nn.sigmoid_cross_entropy_with_logits(labels=z, logits=x),
        (2,), (2,),
    )  # fmt: skip
    assert (logistic.op.name, logistic.op.type) == ("logistic_loss", "AddV2")
    looked_up = built(lambda t: tf.nn.embedding_lookup(t, [0]), (2, 3))
    assert looked_up.name == "embedding_lookup/Identity:0"
    assert (
        built(lambda x: tf.losses.hinge_loss(x, x), (2,)).name == "hinge_loss/value:0"
    )


ERRORS = [
    (lambda x: tf.nn.softmax(x, 2), ValueError, "range"),
    (lambda x: tf.nn.softmax(tf.cast(x, tf.int32)), TypeError, "DataType int32"),
    (lambda x: tf.nn.softmax(x[0, 0]), ValueError, "at least rank 1"),
    (lambda x: tf.nn.softmax(tf.placeholder(tf.float32), 0), ValueError, "known rank"),
    (lambda x: sparse(tf.zeros([2, 3], tf.int32), x), ValueError, "rank 2"),
    (lambda x: sparse(tf.zeros([4], tf.int32), x), ValueError, "last dimension"),
    (lambda x: sparse(0, x[0, 0]), ValueError, "scalar"),
    (lambda x: dense(None, x), ValueError, "must be provided"),
    (lambda x: tf.nn.sigmoid_cross_entropy_with_logits(labels=x[:1], logits=x),
     ValueError, "same shape"),
    (lambda x: tf.nn.bias_add(x, tf.zeros([4])), ValueError, "are 3 and 4"),
    (lambda x: tf.nn.bias_add(x, tf.zeros([1, 3])), ValueError, "rank 1 but"),
    (lambda x: tf.nn.bias_add(x[0], tf.zeros([3])), ValueError, "at least rank 2"),
    (lambda x: tf.nn.bias_add(x, tf.zeros([3]), "foo"), ValueError, "N...C"),
    (lambda x: tf.nn.dropout(x, 1.5), ValueError, "range"),
    (lambda x: tf.nn.dropout(x), ValueError, "must be provided"),
    (lambda x: tf.nn.dropout(tf.cast(x, tf.int32), 0.5), ValueError, "floating"),
    (lambda x: tf.nn.dropout(x, 0.5, rate=0.5), ValueError, "both"),
    (lambda x: tf.nn.gelu(tf.cast(x, tf.int32)), ValueError, "floating"),
    (lambda x: tf.nn.fused_batch_norm(x, x, x, is_training=False), ValueError, "1D"),
    (lambda x: tf.nn.embedding_lookup([], [0]), ValueError, "at least one"),
    (lambda x: tf.nn.embedding_lookup([x, x], [0], "foo"), ValueError, "strategies"),
    (lambda x: tf.losses.mean_squared_error(x, x, weights=[1.0, 2.0]), ValueError,
     "can not be broadcast"),
    (lambda x: tf.losses.mean_squared_error(x, x[:1]), ValueError, "incompatible"),
    (lambda x: tf.losses.hinge_loss(x, x, reduction="foo"), ValueError, "Reduction"),
    (lambda x: tf.losses.cosine_distance(x, x), ValueError, "axis"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "error", "text"), ERRORS)
def test_errors_while_building(function, error, text):
    with pytest.raises(error, match=text):
        built(function, (2, 3))


def test_second_order_of_inference_sees_mean_and_variance():
    """The first order gives them None; its own slope in them is there all the same."""
    images = np.random.default_rng(2).standard_normal((2, 3, 3, 2)).astype(np.float32)
    at = {"mean": [0.1, -0.2], "variance": [1.0, 2.0]}
    with tf.Graph().as_default(), tf.Session() as session:
        scale = tf.constant([0.5, 1.5])
        given = {k: tf.placeholder(tf.float32, [2]) for k in at}
        y, _, _ = tf.nn.fused_batch_norm(
            images, scale, scale, **given, is_training=False
        )
        first = tf.gradients(y * images, [scale])[0]
        second = tf.gradients(first, list(given.values()))
        for slope, name in zip(second, at):
            ends = []
            for step in (0.5e-2, -0.5e-2):
                moved = {given[k]: np.add(v, step * (k == name)) for k, v in at.items()}
                ends.append(session.run(first, moved))
            numeric = (ends[0] - ends[1]) / 1e-2
            got = session.run(slope, {given[k]: v for k, v in at.items()})
            np.testing.assert_allclose(got, numeric, rtol=2e-3)
