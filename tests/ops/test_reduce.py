"""Reductions, scans and what is made of them: values, edges, graphs, errors."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.ops.running import built, gradient_ops, value, value_and_gradients

inf, nan = np.inf, np.nan
RNG = np.random.default_rng(3)
X = RNG.normal(size=(2, 3, 4))
TRUTH = RNG.integers(0, 2, (2, 3, 4)).astype(bool)
AXES = (None, 0, -1, (0, 2), [1], (), (0, 1, 2))


def log_sum_exp(x, axis, keepdims):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


REDUCTIONS = [
    ("sum", tf.reduce_sum, np.sum, X),
    ("mean", tf.reduce_mean, np.mean, X),
    ("prod", tf.reduce_prod, np.prod, X),
    ("max", tf.reduce_max, np.max, X),
    ("min", tf.reduce_min, np.min, X),
    ("all", tf.reduce_all, np.all, TRUTH),
    ("any", tf.reduce_any, np.any, TRUTH),
    ("logsumexp", tf.reduce_logsumexp, log_sum_exp, X),
    ("variance", tf.math.reduce_variance, np.var, X),
    ("std", tf.math.reduce_std, np.std, X),
    (
        "euclidean_norm",
        tf.math.reduce_euclidean_norm,
        lambda x, axis, keepdims: np.sqrt(np.sum(x * x, axis=axis, keepdims=keepdims)),
        X,
    ),
    (
        "count_nonzero",
        tf.count_nonzero,
        lambda x, axis, keepdims: np.sum(x != 0, axis=axis, keepdims=keepdims),
        TRUTH.astype(np.float32),
    ),
]
IDS = [row[0] for row in REDUCTIONS]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize(("_", "ours", "numpy", "x"), REDUCTIONS, ids=IDS)
def test_values_agree_with_numpy(_, ours, numpy, x, axis, keepdims):
    spread = tuple(axis) if isinstance(axis, list) else axis
    wanted = numpy(x, axis=spread, keepdims=keepdims)
    given = list(axis) if isinstance(axis, tuple) else axis
    for shapes in ([x.shape], [(None,) * 3], [None]):
        got = value(lambda t: ours(t, given, keepdims), x, shapes=shapes)
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    ("function", "x", "wanted"),
    [
        (lambda x: tf.reduce_mean(x, 1), [[-7, 2, 3], [100, 100, 27]], [0, 75]),
        (lambda x: tf.reduce_sum(x, 1), [[-7, 2, 3], [100, 100, 27]], [-2, -29]),
        (lambda x: tf.reduce_prod(x, 0), [[-7, 2, 3], [2, 3, 4]], [-14, 6, 12]),
        (lambda x: tf.reduce_max(x), [[-7, 2, 3]], 3),
        (lambda x: tf.reduce_min(x), [[-7, 2, 3]], -7),
        (lambda x: tf.math.reduce_euclidean_norm(x, 1), [[3, 4], [5, 12]], [5, 13]),
    ],
)
def test_small_integers(function, x, wanted):
    got = value(function, np.array(x, np.int8))
    assert got.dtype == np.int8
    np.testing.assert_array_equal(got, wanted)


def test_half_types_accumulate_in_float32():
    twos = np.full((300, 300), 2.0, np.float16)
    assert value(tf.reduce_mean, twos) == 2.0
    assert value(lambda x: tf.reduce_sum(x * 0.25), twos) == 45000
    mean, (gradient,) = value_and_gradients(tf.reduce_mean, twos)
    assert mean == 2.0
    np.testing.assert_allclose(gradient, np.float16(1 / 90000), rtol=1e-2)


EMPTY = np.zeros((0, 3))
EDGES = [
    ("max shares ties", lambda x: tf.reduce_max(x, 1), [[1, 3, 3], [2, 2, 2]],
     [3, 2], [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]),
    ("min shares ties", lambda x: tf.reduce_min(x, 1), [[1, 3, 1]], [1],
     [[0.5, 0, 0.5]]),
    ("max with nan", lambda x: tf.reduce_max(x, 1), [[1, nan, 3]], [nan],
     [[nan, nan, nan]]),
    ("max of nothing", lambda x: tf.reduce_max(x, 0), EMPTY, [-inf] * 3, EMPTY),
    ("sum of nothing", lambda x: tf.reduce_sum(x, 0), EMPTY, [0] * 3, EMPTY),
    ("prod of nothing", lambda x: tf.reduce_prod(x, 0), EMPTY, [1] * 3, EMPTY),
    ("mean of nothing", lambda x: tf.reduce_mean(x, 0), EMPTY, [nan] * 3, EMPTY),
    ("sum over no axis", lambda x: tf.reduce_sum(x, []), [2, 3], [2, 3], [1, 1]),
    ("prod with a zero", tf.reduce_prod, [2, 0, 3], 0, [0, 6, 0]),
    ("prod with two zeros", tf.reduce_prod, [0, 0, 3], 0, [0, 0, 0]),
    ("cumprod with a zero", tf.cumprod, [2, 0, 3], [2, 0, 0], [1, 8, 0]),
    ("cumprod with two zeros", tf.cumprod, [0, 0, 3], [0, 0, 0], [1, 0, 0]),
    ("exclusive cumprod", lambda x: tf.cumprod(x, exclusive=True), [2, 0, 3],
     [1, 2, 0], [1, 2, 0]),
    ("logsumexp", lambda x: tf.reduce_logsumexp(x, 1),
     [[1000, 1000], [0, -inf], [-inf, -inf]], [1000 + np.log(2), 0, -inf],
     [[0.5, 0.5], [1, 0], [nan, nan]]),
    ("std of a constant", lambda x: tf.math.reduce_std(x, 1), [[2, 2]], [0],
     [[nan, nan]]),
    ("norm of zeros", tf.norm, [0, 0], 0, [nan, nan]),
    ("euclidean norm of zeros", tf.math.reduce_euclidean_norm, [0, 0], 0, [nan, nan]),
    ("norm inf shares ties", lambda x: tf.norm(x, inf), [3, -4, 4], 4, [0, -0.5, 0.5]),
    ("l2_normalize of zeros", lambda x: tf.nn.l2_normalize(x, 0), [0, 0], [0, 0],
     [1e6, 1e6]),
    ("scalar", tf.reduce_prod, 3, 3, 1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "x", "wanted", "gradient"), EDGES, ids=[e[0] for e in EDGES]
)
def test_edges(_, function, x, wanted, gradient):
    y, (dx,) = value_and_gradients(function, np.array(x, np.float64))
    np.testing.assert_allclose(y, wanted)
    np.testing.assert_allclose(dx, np.reshape(gradient, np.shape(x)))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    ("ours", "numpy", "start"),
    [
        (tf.cumsum, np.cumsum, 0),
        (tf.cumprod, np.cumprod, 1),
        (tf.math.cumulative_logsumexp, np.logaddexp.accumulate, -inf),
    ],
    ids=["cumsum", "cumprod", "cumulative_logsumexp"],
)
def test_scans_agree_with_numpy(ours, numpy, start, axis, exclusive, reverse):
    x = np.flip(X, axis) if reverse else X
    wanted = numpy(x, axis=axis)
    if exclusive:
        first = np.full_like(np.take(wanted, [0], axis), start)
        rest = np.delete(wanted, -1, axis)
        wanted = np.concatenate([first, rest], axis)
    wanted = np.flip(wanted, axis) if reverse else wanted
    got = value(lambda t: ours(t, axis, exclusive, reverse), X)
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_scans_of_nothing_and_of_integers():
    assert value(tf.cumsum, EMPTY).shape == (0, 3)
    got = value(lambda x: tf.cumprod(x, 1), np.array([[2, 3, 4]], np.int32))
    assert got.dtype == np.int32
    assert got.tolist() == [[2, 6, 24]]


def test_arg_extrema():
    x = np.array([[1, 5, 5], [4, 0, 0]], np.float32)
    assert value(lambda t: tf.argmax(t, 1), x).tolist() == [1, 0]
    assert value(tf.argmin, x).tolist() == [0, 1, 1]
    got = value(lambda t: tf.argmax(t, axis=-1, output_type=tf.int32), x)
    assert got.dtype == np.int32
    # A NaN is never the extremum, as in TensorFlow.
    assert value(tf.argmax, np.array([1, nan, 3], np.float32)) == 2
    _, (dx,) = value_and_gradients(lambda t: tf.cast(tf.argmax(t, 0), t.dtype), x)
    assert dx is None


def test_norms_agree_with_numpy():
    matrix = X[0]
    for order in (1, 2, 3.5, inf):
        got = value(lambda x, o=order: tf.norm(x, o, axis=1, keepdims=True), matrix)
        wanted = np.linalg.norm(matrix, order, axis=1, keepdims=True)
        np.testing.assert_allclose(got, wanted)
    for order in (1, "fro", inf):
        got = value(lambda x, o=order: tf.norm(x, o, axis=[-2, -1]), X)
        np.testing.assert_allclose(got, np.linalg.norm(X, order, axis=(1, 2)))


def test_moments():
    weights = RNG.uniform(0.5, 1, (2, 3, 1))
    mean, variance = value(lambda x: tf.nn.moments(x, [0, 1]), X)
    np.testing.assert_allclose(mean, X.mean((0, 1)))
    np.testing.assert_allclose(variance, X.var((0, 1)))
    mean, variance = value(
        lambda x, w: tf.nn.weighted_moments(x, [0, 1], w, keepdims=True), X, weights
    )
    wide = np.broadcast_to(weights, X.shape)
    wanted = np.average(X, (0, 1), wide)
    np.testing.assert_allclose(mean[0, 0], wanted)
    np.testing.assert_allclose(
        variance[0, 0], np.average((X - wanted) ** 2, (0, 1), wide)
    )

    def again(x):
        count, total, squares, _ = tf.nn.sufficient_statistics(x, [0, 1])
        return tf.nn.normalize_moments(count, total, squares, None)

    for shapes in ([X.shape], [(None, 3, 4)]):
        mean, variance = value(again, X, shapes=shapes)
        np.testing.assert_allclose(mean, X.mean((0, 1)))
        np.testing.assert_allclose(variance, X.var((0, 1)))
    half = value(lambda x: tf.nn.moments(x, [0])[0], X.astype(np.float16))
    assert half.dtype == np.float16


NUMPY = [
    lambda x: np.sum(x, axis=0),
    lambda x: np.sum(x, axis=(0, 1), keepdims=True),
    lambda x: np.prod(x, axis=-1),
    np.mean,
    np.max,
    lambda x: np.min(x, axis=1),
    lambda x: np.argmax(x, axis=1),
    np.argmin,
    lambda x: np.argmax(x, axis=1, keepdims=True),
    lambda x: np.var(x, axis=0),
    lambda x: np.std(x, axis=(1, 2), ddof=1),
    np.cumsum,
    lambda x: np.cumprod(x, axis=1),
    lambda x: np.all(x, axis=1),
    np.any,
    np.count_nonzero,
    np.linalg.norm,
    lambda x: np.linalg.norm(x, axis=1),
]


@pytest.mark.parametrize("function", NUMPY)
def test_numpy_functions(function):
    np.testing.assert_allclose(value(function, X), function(X), rtol=1e-12)


def test_numpy_mean_of_integers_is_not_an_integer():
    assert value(np.mean, np.array([1, 2])) == 1.5


# --- graphs ---------------------------------------------------------------------------

S, D, U = (2, 3), (None, 3), None
GRAPHS = [
    ("sum", tf.reduce_sum, S, "Reshape Tile", "Tile"),
    ("sum dynamic", tf.reduce_sum, D, "Reshape Shape Tile", "Tile"),
    ("sum axis", lambda x: tf.reduce_sum(x, 1), S,
     "Maximum floordiv:FloorDiv Reshape Tile", "Tile"),
    ("sum dynamic axis", lambda x: tf.reduce_sum(x, 1), D,
     "Shape add:AddV2 mod:FloorMod range:Range ones:Fill DynamicStitch Reshape "
     "BroadcastTo", "BroadcastTo"),
    ("mean", tf.reduce_mean, S, "Reshape Tile truediv:RealDiv", "truediv"),
    ("mean dynamic", tf.reduce_mean, D,
     "Reshape Shape Tile Shape_1 add:AddV2 mod:FloorMod GatherV2 Prod Cast "
     "truediv:RealDiv", "truediv"),
    ("max axis", lambda x: tf.reduce_max(x, 1), S,
     "Reshape Reshape_1 Equal Cast Sum Reshape_2 truediv:RealDiv mul:Mul", "mul"),
    ("cumsum", tf.cumsum, S, "Cumsum", "Cumsum"),
    ("l2_loss", tf.nn.l2_loss, S, "mul:Mul", "mul"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "shape", "ops", "result"), GRAPHS, ids=[g[0] for g in GRAPHS]
)
def test_gradient_graphs(_, function, shape, ops, result):
    assert gradient_ops(function, shape) == (ops.split(), [result])


def test_names_of_operands():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, S)
        everything, rows = tf.reduce_sum(x), tf.reduce_sum(x, 1)
        assert [t.name for t in everything.op.inputs] == ["Placeholder:0", "Const:0"]
        assert rows.op.inputs[1].name == "Sum_1/reduction_indices:0"
        vague = tf.placeholder(tf.float32, U)
        assert [t.op.type for t in tf.reduce_sum(vague).op.inputs][1] == "Range"
        norm = tf.reduce_logsumexp(x, 1)
        assert (norm.op.name, norm.op.type) == ("ReduceLogSumExp", "AddV2")
        mean, variance = tf.nn.moments(x, [0], keep_dims=True)
        assert (mean.name, variance.name) == ("moments/mean:0", "moments/variance:0")


SHAPES = [
    (lambda x: tf.reduce_sum(x, 1), D, (None,)),
    (lambda x: tf.reduce_sum(x, 1, True), D, (None, 1)),
    (lambda x: tf.reduce_sum(x, [0, 0]), S, (3,)),
    (lambda x: tf.reduce_sum(x, 0), U, None),
    (tf.reduce_sum, U, ()),
    (lambda x: tf.reduce_sum(x, tf.placeholder(tf.int32, [None])), S, None),
    (lambda x: tf.reduce_sum(x, tf.placeholder(tf.int32, []), True), S, (None, None)),
    (lambda x: tf.argmax(x, 1), D, (None,)),
    (lambda x: tf.argmax(x, tf.placeholder(tf.int32, [])), S, (None,)),
    (lambda x: tf.cumsum(x, 1), D, D),
]


@pytest.mark.parametrize(("function", "shape", "wanted"), SHAPES)
def test_static_shapes(function, shape, wanted):
    assert built(function, shape).shape == tf.TensorShape(wanted)
    assert built(function, shape).shape.rank == tf.TensorShape(wanted).rank


ERRORS = [
    (lambda x: tf.reduce_sum(x, 2), ValueError, "Invalid reduction dimension 2"),
    (lambda x: tf.reduce_sum(x, 1.5), TypeError, "int32"),
    (lambda x: tf.reduce_sum(x, np.float32(1)), TypeError, "reduction_indices"),
    (lambda x: tf.reduce_sum(x, [[0]]), ValueError, "at most rank 1"),
    (lambda x: tf.reduce_sum(x, 1, reduction_indices=1), ValueError, "both"),
    (lambda x: tf.reduce_sum(x, 1, True, keep_dims=True), ValueError, "both"),
    (lambda x: tf.reduce_sum(x > 0), TypeError, "DataType bool"),
    (tf.reduce_all, TypeError, "expected type of bool"),
    (lambda x: tf.argmax(x, 2), ValueError, r"must be in the range \[-2, 2\)"),
    (lambda x: tf.argmax(x, axis=0, dimension=1), ValueError, "both"),
    (lambda x: tf.norm(x, 0), ValueError, "supported vector norm"),
    (lambda x: tf.norm(x, 3, axis=[0, 1]), ValueError, "supported matrix norm"),
    (lambda x: tf.norm(x, 1, axis=[0, 1, 2]), ValueError, "2 unique integers"),
    (lambda x: tf.math.reduce_variance(tf.cast(x, tf.int32)), TypeError, "integer"),
    (lambda x: np.sum(x, out=np.zeros(3)), TypeError, "out="),
]


@pytest.mark.parametrize(("function", "error", "text"), ERRORS)
def test_errors_while_building(function, error, text):
    with pytest.raises(error, match=text):
        built(function, S)


def test_errors_while_running():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Cumsum node"):
        value(lambda x: tf.cumsum(x, 5), X)
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty"):
        value(tf.argmax, EMPTY)
    with pytest.raises(tf.errors.InvalidArgumentError, match="dimension 3"):
        value(lambda x: tf.reduce_sum(x, 3), X, shapes=[None])
