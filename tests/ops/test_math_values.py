"""Values and gradients where conventions decide: zeros, ties, infinities, NaN."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf

inf, nan = np.inf, np.nan


def value_and_gradients(function, *arrays, dtype="float64"):
    """The value of ``function``, and the gradients of its sum."""
    with tf.Graph().as_default(), tf.Session() as session:
        xs = [tf.constant(np.array(a, dtype)) for a in arrays]
        y = function(*xs)
        gradients = tf.gradients(y, xs)
        known = [g for g in gradients if g is not None]
        got = session.run([y, *known])
        rest = iter(got[1:])
        return got[0], [None if g is None else next(rest) for g in gradients]


# function, inputs, value (None: not looked at), one gradient an input
EDGES = [
    ("abs", tf.abs, [[0.0, -0.0, -2.0]], [0, 0, 2], [[0, 0, -1]]),
    ("sign", tf.sign, [[0.0, -3.0, nan]], [0, -1, nan], [[0, 0, 0]]),
    ("sqrt", tf.sqrt, [[0.0, 4.0, -1.0]], [0, 2, nan], [[inf, 0.25, nan]]),
    ("rsqrt", tf.rsqrt, [[0.0, 4.0]], [inf, 0.5], [[-inf, -0.0625]]),
    ("reciprocal", tf.reciprocal, [[0.0, 2.0]], [inf, 0.5], [[-inf, -0.25]]),
    ("log", tf.log, [[0.0, -1.0, 1.0]], [-inf, nan, 0], [[inf, -1, 1]]),
    ("asin", tf.asin, [[1.0, 0.0, 2.0]], None, [[inf, 1, nan]]),
    ("acosh", tf.acosh, [[1.0]], [0], [[inf]]),
    ("sigmoid", tf.sigmoid, [[100.0, -800.0, 0.0]], [1, 0, 0.5], [[0, 0, 0.25]]),
    ("div", lambda x, y: x / y, [[1.0, 0.0], [0.0, 0.0]], [inf, nan],
     [[inf, inf], [-inf, nan]]),
    ("div_no_nan", tf.div_no_nan, [[1.0, 6.0], [0.0, 2.0]], [0, 3],
     [[0, 0.5], [0, -1.5]]),
    ("multiply_no_nan", tf.math.multiply_no_nan, [[inf, 2.0], [0.0, 3.0]], [0, 6],
     [[0, 3], [inf, 2]]),
    ("floormod", tf.floormod, [[5.0, -5.0], [3.0, 3.0]], [2, 1], [[1, 1], [-1, 2]]),
    ("pow", tf.pow, [[0, 0, 0, 0, -2.0, -2.0], [0, 1, 2, 0.5, 2, 0.5]],
     [1, 0, 0, 0, 4, nan], [[nan, 1, 0, inf, -4, nan], [0, 0, 0, 0, 0, nan]]),
    ("maximum", tf.maximum, [[1.0, 2.0, nan], [1.0, 3.0, 1.0]], [1, 3, nan],
     [[1, 0, 0], [0, 1, 1]]),
    ("minimum", tf.minimum, [[1.0, 2.0], [1.0, 3.0]], [1, 2], [[1, 1], [0, 0]]),
    ("atan2", tf.atan2, [[0.0], [0.0]], [0], [[nan], [nan]]),
    ("xlogy", tf.math.xlogy, [[0.0, 2.0], [0.0, 1.0]], [0, 0], [[0, 0], [0, 2]]),
    ("xlog1py", tf.math.xlog1py, [[0.0], [-1.0]], [0], [[0], [0]]),
    ("xdivy", tf.math.xdivy, [[0.0], [0.0]], [0], [[0], [0]]),
    ("select", lambda x, y: tf.where(x > y, x, y), [[1.0, 5.0], [2.0, 4.0]], [2, 5],
     [[0, 1], [1, 0]]),
    ("clip_by_value", lambda x: tf.clip_by_value(x, -1.0, 1.0),
     [[-2.0, -1, 0, 1, 2]], [-1, -1, 0, 1, 1], [[0, 1, 1, 1, 0]]),
    ("clip_by_norm", lambda x: tf.clip_by_norm(x, 1.0), [[3.0, 4.0]], [0.6, 0.8],
     [[0.032, -0.024]]),
    ("clip_by_norm of zeros", lambda x: tf.clip_by_norm(x, 1.0), [[0.0, 0.0]], [0, 0],
     [[1, 1]]),
    ("global_norm of zeros", lambda x: tf.global_norm([x]), [[0.0, 0.0]], 0,
     [[nan, nan]]),
    ("nextafter", tf.math.nextafter, [[1.0], [2.0]], None, [[1], [0]]),
    ("floor", tf.floor, [[-1.5, 2.0]], [-2, 2], [None]),
    ("round", tf.round, [[0.5, 1.5, -2.5]], [0, 2, -2], [None]),
    ("floordiv", tf.floordiv, [[7.0, -7.0], [2.0, 2.0]], [3, -4], [None, None]),
]  # fmt: skip


@pytest.mark.parametrize("row", EDGES, ids=lambda row: row[0])
def test_edges(row):
    _, function, inputs, value, gradients = row
    got, got_gradients = value_and_gradients(function, *inputs)
    if value is not None:
        np.testing.assert_allclose(got, value, atol=1e-15)
    for wanted, gradient in zip(gradients, got_gradients, strict=True):
        if wanted is None:
            assert gradient is None
        else:
            np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("function", [tf.sqrt, tf.rsqrt, tf.reciprocal])
def test_a_zero_upstream_gradient_stays_zero_where_the_slope_is_infinite(function):
    masked = lambda x: tf.where(x > 0.0, function(x), tf.zeros_like(x))  # noqa: E731
    _, (gradient,) = value_and_gradients(masked, [0.0, 1.0])
    assert gradient[0] == 0
    assert np.isfinite(gradient[1])


# type, inputs, value
INTEGERS = [
    ("FloorDiv", [7, -7, 7, -7], [2, 2, -2, -2], [3, -4, -4, 3]),
    ("FloorMod", [7, -7, 7, -7], [2, 2, -2, -2], [1, 1, -1, -1]),
    ("TruncateDiv", [7, -7, 7, -7], [2, 2, -2, -2], [3, -3, -3, 3]),
    ("TruncateMod", [7, -7, 7, -7], [2, 2, -2, -2], [1, -1, 1, -1]),
    ("Div", [7, -7], [2, 2], [3, -3]),
    ("Pow", [2, -3], [5, 3], [32, -27]),
    ("BitwiseAnd", [12], [10], [8]),
    ("BitwiseOr", [12], [10], [14]),
    ("BitwiseXor", [12], [10], [6]),
    ("LeftShift", [3], [4], [48]),
    ("RightShift", [-48], [4], [-3]),
]


@pytest.mark.parametrize("row", INTEGERS, ids=lambda row: row[0])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(row, dtype):
    op_type, x, y, value = row
    with tf.Graph().as_default() as graph, tf.Session() as session:
        z = graph.apply(op_type, np.array(x, dtype), np.array(y, dtype))
        got = session.run(z)
    assert got.dtype == dtype
    assert got.tolist() == value


def test_division_by_the_integer_zero_fails_in_the_run():
    with tf.Graph().as_default(), tf.Session() as session:
        y = tf.constant([1, 2]) // tf.placeholder(tf.int32, [2], name="divisor")
        with pytest.raises(tf.errors.InvalidArgumentError, match="division by zero"):
            session.run(y, {"divisor:0": [1, 0]})


@pytest.mark.parametrize(
    ("types", "quotient"),
    [("int32", "float64"), ("int64", "float64"), ("int16", "float32")],
)
def test_true_division_of_integers(types, quotient):
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(np.array([7, 1], types))
        got = session.run(tf.truediv(x, 2))
    assert got.dtype == quotient
    assert got.tolist() == [3.5, 0.5]


def test_python_operands_of_every_division():
    with tf.Graph().as_default(), tf.Session() as session:
        got = session.run([
            tf.truediv(3, 2), tf.divide(3.0, 2), tf.div(7, 2), tf.div(7.0, 2.0),
            tf.floordiv(7, 2), tf.div_no_nan(1.0, 0.0),
        ])  # fmt: skip
    assert got == [1.5, 1.5, 3, 3.5, 3, 0]


@pytest.mark.parametrize("function", [tf.divide, tf.div, tf.floordiv, tf.div_no_nan])
def test_variables_and_values_of_a_run_are_divided(function):
    of_a_run = gg.function(lambda x: x)(np.array([4.0, 6.0], np.float32))
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([4.0, 6.0])
        session.run(v.initializer)
        for x in (v, of_a_run):
            for y, wanted in ((2.0, [2, 3]), ([2.0, 2.0], [2, 3]), (v, [1, 1])):
                assert session.run(function(x, y)).tolist() == wanted
        assert session.run(function(12.0, v)).tolist() == [3, 2]


def test_small_probabilities_have_exact_quantiles():
    got, _ = value_and_gradients(tf.math.ndtri, [1e-20, 1e-5, 0.5, 0, 1])
    wanted = [-9.262340089798409, -4.264890793922825, 0, -inf, inf]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_half_precision_sigmoid_of_small_numbers():
    got, _ = value_and_gradients(tf.sigmoid, [-12.0, 0.0], dtype="float16")
    np.testing.assert_allclose(got, [6.1e-6, 0.5], rtol=1e-2)


def test_complex_numbers():
    z = np.array([1 + 2j, 0j])
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(z)
        ones = tf.ones_like(x)
        size, sign, square = tf.abs(x), tf.sign(x), tf.square(x)
        got = session.run([
            size, sign, tf.gradients(size, x)[0],
            tf.gradients(square, x, grad_ys=ones)[0],
            tf.squared_difference(x, ones), tf.conj(x),
        ])  # fmt: skip
    assert got[0].dtype == np.float64
    np.testing.assert_allclose(got[0], [np.sqrt(5), 0])
    np.testing.assert_allclose(got[1], [z[0] / np.sqrt(5), 0])
    np.testing.assert_allclose(got[2], [z[0] / np.sqrt(5), 0])
    np.testing.assert_allclose(got[3], 2 * z.conj())
    np.testing.assert_allclose(got[4], [4, 1])
    np.testing.assert_allclose(got[5], z.conj())


def test_real_tensors_pass_through_functions_of_complex_ones():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant([-1.0, 2.0])
        assert tf.real(x) is x
        assert tf.conj(x) is x
        imag, angle = session.run([tf.imag(x), tf.angle(x)])
    assert imag.tolist() == [0, 0]
    np.testing.assert_allclose(angle, [np.pi, 0])


# NumPy's function, arguments besides the tensor
NUMPY = [
    (np.add, (2.0,)), (np.subtract, (2.0,)), (np.multiply, (2.0,)),
    (np.divide, (2.0,)), (np.power, (2.0,)), (np.maximum, (0.5,)), (np.negative, ()),
    (np.abs, ()), (np.square, ()), (np.sqrt, ()), (np.exp, ()), (np.log, ()),
    (np.sin, ()), (np.arctan2, (2.0,)), (np.floor, ()), (np.remainder, (0.4,)),
    (np.isnan, ()), (np.less, (0.5,)), (np.equal, (1.0,)), (np.real, ()),
    (np.clip, (0.3, 0.7)), (np.reciprocal, ()), (np.conjugate, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "more"), NUMPY, ids=lambda v: getattr(v, "__name__", "")
)
def test_numpy_functions_build_nodes(function, more):
    array = np.array([0.25, 0.5, 1.0])
    with tf.Graph().as_default(), tf.Session() as session:
        got = session.run(function(tf.constant(array), *more))
    np.testing.assert_allclose(got, function(array, *more))


def test_numpy_choice_and_logic():
    array = np.array([1.0, 2.0])
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.constant(array)
        y = np.where(np.logical_and(x > 0.0, np.less(x, 2.0)), x, -x)
        z = array + x  # NumPy's array on the left
        got = session.run([y, z])
    assert got[0].tolist() == [1, -2]
    assert got[1].tolist() == [2, 4]
