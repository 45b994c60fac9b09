"""Counts, places, bits and small functions; the values are TensorFlow 2.21's."""

import re

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from tests.ops.running import built, value

nan, inf = np.nan, np.inf
I32, I64, F32 = np.int32, np.int64, np.float32


def found(build):
    with tf.Graph().as_default(), tf.Session() as session:
        return session.run(build())


ROWS = [[1, 1, 3], [0, 0, 0]]
VALUES = [-1.0, 0.0, 1.5, 2.0, 5.0, 15.0]
LOGITS = [[1.0, 2, 2], [3, 2, 1], [nan, 1, 2], [1, 2, 3], [inf, 1, 2]]
COMPUTED = [
    ("bincount", lambda: tf.bincount([1, 1, 3]), [0, 2, 0, 1], I32),
    ("shortened", lambda: tf.bincount([1, 1, 3], maxlength=2), [0, 2], I32),
    ("weighted",
     lambda: tf.bincount([[1, 1, 3]], weights=[[0.5, 0.25, 1]], minlength=6),
     [0, 0.75, 0, 1, 0, 0], F32),
    ("rows", lambda: gg.math.bincount(ROWS, axis=-1), [[0, 2, 0, 1], [3, 0, 0, 0]],
     I32),
    ("axis 0", lambda: gg.math.bincount(ROWS, axis=0), [3, 2, 0, 1], I32),
    ("binary", lambda: gg.math.bincount(ROWS, axis=-1, binary_output=True),
     [[0, 1, 0, 1], [1, 0, 0, 0]], I32),
    ("int64", lambda: gg.math.bincount([2, 0], dtype=tf.int64), [1, 0, 1], I64),
    ("of nothing", lambda: tf.bincount(tf.zeros([0], tf.int32)), [], I32),
    ("histogram", lambda: tf.histogram_fixed_width(VALUES, [0.0, 5.0], 5),
     [2, 1, 1, 0, 2], I32),
    ("bins", lambda: tf.histogram_fixed_width_bins(VALUES, [0.0, 5.0], 5),
     [0, 0, 1, 2, 4, 4], I32),
    ("of integers", lambda: tf.histogram_fixed_width([-1, 0, 15], [0, 5], 5),
     [2, 0, 0, 0, 1], I32),
    ("confusion", lambda: tf.confusion_matrix([1, 2], [1, 0], weights=[2, 3]),
     [[0, 0, 0], [0, 2, 0], [3, 0, 0]], I32),
    ("confusion of columns",
     lambda: gg.math.confusion_matrix([[1], [1]], [1, 0], 3, dtype=tf.float32),
     [[0, 0, 0], [1, 1, 0], [0, 0, 0]], F32),
    ("in_top_k", lambda: tf.nn.in_top_k(LOGITS, [2, 1, 0, 5, 1], 1),
     [True, False, False, False, False], bool),
    ("in_top_k v2", lambda: gg.math.in_top_k([0, 1], LOGITS[:2], 2), [False, True],
     bool),
    ("unravel", lambda: tf.unravel_index([7, 2], [3, 4]), [[1, 0], [3, 2]], I32),
    ("unravel one", lambda: tf.unravel_index(7, [3, 4]), [1, 3], I32),
    ("searchsorted",
     lambda: tf.searchsorted([[1.0, 3, 5], [2, 2, 2]], [[1.0, 6], [2, 2.5]], "right"),
     [[1, 3], [3, 3]], I32),
    ("searchsorted left",
     lambda: tf.searchsorted([1, 3, 3], [3, 0, 9], out_type=tf.int64), [1, 0, 3], I64),
    ("searchsorted in nothing",
     lambda: tf.searchsorted(tf.zeros([2, 0]), tf.ones([2, 3])), np.zeros([2, 3]),
     I32),
    ("bitcast", lambda: tf.bitcast([1.0, 2.0], tf.int32), [1065353216, 1073741824],
     I32),
    ("bitcast to smaller", lambda: tf.bitcast(np.array([1 << 40, -1]), tf.int32),
     [[0, 256], [-1, -1]], I32),
    ("bitcast to larger",
     lambda: tf.bitcast(np.array([[0, 256]], I32), tf.int64), [1 << 40], I64),
    ("non decreasing", lambda: tf.math.is_non_decreasing([1, 1, 2]), True, bool),
    ("not", lambda: tf.is_non_decreasing([[1.0, 2], [1.5, 3]]), False, bool),
    ("strictly", lambda: tf.math.is_strictly_increasing([[1, 1], [2, 3]]), False, bool),
    ("empty", lambda: tf.is_strictly_increasing([]), True, bool),
    ("lbeta", lambda: tf.lbeta(np.array([[1, 2], [3, 0.5]], F32)),
     [-0.6931472, 0.06453848], F32),
    ("lbeta of none", lambda: tf.math.lbeta(tf.zeros([2, 0])), [-inf, -inf], F32),
    ("polyval", lambda: tf.math.polyval([1.0, 2.0, [3.0, 4.0]], [2.0, 3.0]),
     [11, 19], F32),
    ("polyval of none", lambda: tf.math.polyval([], tf.ones([2])), [0, 0], F32),
    ("lrn",
     lambda: tf.nn.lrn(np.arange(6, dtype=F32).reshape(1, 1, 2, 3), 1, 1, 0.5, 0.75),
     [[[[0, 0.39079496, 0.7815899], [0.42596206, 0.3474002, 0.5007733]]]], F32),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "wanted", "dtype"),
    [c[1:] for c in COMPUTED],
    ids=[c[0] for c in COMPUTED],
)
def test_value(build, wanted, dtype):
    result = found(build)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, wanted, rtol=1e-6)


def test_lrn_of_halves():
    x = np.linspace(-2, 2, 10).reshape(1, 1, 1, 10)
    half = value(tf.nn.lrn, x.astype(np.float16))
    np.testing.assert_allclose(half, value(tf.nn.lrn, x), rtol=2e-3, atol=1e-3)


def test_lrn_has_no_second_derivative():
    with tf.Graph().as_default():
        x = tf.ones([1, 1, 1, 3])
        (slope,) = tf.gradients(tf.nn.lrn(x), x)
        with pytest.raises(LookupError, match="LRNGrad"):
            tf.gradients(slope, x)


def test_bitcast_has_no_gradient():
    with tf.Graph().as_default():
        x = tf.constant([1.0])
        y = tf.bitcast(tf.bitcast(x, tf.int32), tf.float32)
        assert tf.gradients(y, x) == [None]
        with pytest.raises(LookupError, match="Bitcast"):
            tf.gradients(tf.bitcast(x, tf.float16), x)


def refusal(call):
    with tf.Graph().as_default(), tf.Session() as session:
        with pytest.raises((ValueError, TypeError, tf.errors.OpError)) as caught:
            result = call()
            session.run(result)
        return f"{type(caught.value).__name__} {caught.value}"


REFUSED = [
    (lambda: tf.bincount([-1, 2]), "InvalidArgumentError.*non-negative"),
    (lambda: gg.math.bincount([1], axis=2), "ValueError.*axis=2"),
    (lambda: gg.math.bincount([1], weights=[1.0], binary_output=True), "exclusive"),
    (lambda: tf.confusion_matrix([1, 2], [1, 0], 2), "InvalidArgumentError.*2"),
    (lambda: tf.unravel_index(12, [3, 4]), "InvalidArgumentError.*out of bound"),
    (lambda: tf.searchsorted([1], [1], "middle"), "ValueError.*'left' or 'right'"),
    (lambda: tf.math.polyval(np.ones(2), 1.0), "ValueError.*must be list type"),
    (lambda: tf.bitcast(np.ones([1, 3], I32), tf.float64), "Cannot bitcast from 3 to"),
    (lambda: tf.bitcast(1, tf.float64), "at least rank 1"),
    (lambda: tf.bitcast(1, tf.bool), "GraphTypeError.*DataType bool not in list"),
    (lambda: tf.nn.in_top_k([[1.0]], [0, 1], 1), "Dimensions must be equal"),
    (lambda: tf.nn.lrn(np.ones([2, 2, 2])), "rank 4 but is rank 3"),
]


@pytest.mark.parametrize(("call", "text"), REFUSED)
def test_refused(call, text):
    assert re.search(text, refusal(call), re.DOTALL)


# --- assertions made while building -----------------------------------------------


def x_and_u():
    return tf.placeholder(tf.float32, [2, 3], "x"), tf.placeholder(tf.float32, name="u")


KNOWN = [
    (lambda x: tf.assert_rank(x, 3, message="m"), ValueError,
     "m.  Tensor x:0 must have rank 3.  Received rank 2, shape (2, 3)"),
    (lambda x: tf.assert_rank_at_least(x, 3), ValueError,
     "Tensor x:0 must have rank at least 3.  Received rank 2, shape (2, 3)"),
    (lambda x: tf.assert_rank_in(x, [1, 3]), ValueError,
     "Tensor x:0 must have rank in (1, 3).  Received rank 2, shape (2, 3)"),
    (lambda x: tf.assert_scalar(x), ValueError,
     "Expected scalar shape for x:0, saw shape: (2, 3)."),
    (lambda x: tf.assert_type(x, tf.int32), TypeError,
     "x:0 must be of type tf.int32; got tf.float32"),
    (lambda x: tf.assert_integer(x), TypeError,
     'Expected "x" to be integer type.  Found: x:0 of dtype tf.float32'),
    (lambda x: tf.assert_proper_iterable(3), TypeError,
     "Expected argument \"values\" to be iterable.  Found: <class 'int'>"),
    (lambda x: tf.assert_proper_iterable(x), TypeError, '"proper" iterable'),
    (lambda x: tf.assert_same_float_dtype([x], tf.float64), ValueError,
     "x:0, type=tf.float32, must be of the same type (tf.float64)."),
    (lambda x: tf.assert_same_float_dtype([tf.constant(1)]), ValueError,
     "Expected floating point type, got tf.int32."),
    (lambda x: tf.debugging.assert_shapes([(x, ("N", "N"))]), ValueError,
     "Tensor x:0 dimension 1 must have size 2.  Received size 3, shape (2, 3)"),
    (lambda x: tf.debugging.assert_shapes([(x, (2, 4))]), ValueError,
     "Specified explicitly.  Tensor x:0 dimension 1 must have size 4."),
]  # fmt: skip


@pytest.mark.parametrize(("check", "kind", "text"), KNOWN)
def test_known_while_building(check, kind, text):
    with tf.Graph().as_default():
        with pytest.raises(kind) as caught:
            check(x_and_u()[0])
        assert text in str(caught.value)


def test_what_holds_is_a_no_op():
    with tf.Graph().as_default():
        x, _ = x_and_u()
        shapes = [(x, ("N", "M")), (x, "N3"), (x, ("...", 3)), (x, (".", None))]
        for op in (
            tf.assert_rank(x, 2),
            tf.assert_rank_at_least(x, 1),
            tf.assert_rank_in(x, [1, 2]),
            tf.assert_type(x, tf.float32),
            tf.assert_integer([1]),
            tf.debugging.assert_shapes(shapes),
        ):
            assert op.type == "NoOp"
        assert tf.assert_scalar(tf.constant(1)).shape == []
        assert tf.assert_same_float_dtype() is tf.float32
        assert tf.is_numeric_tensor(x)
        assert not tf.is_numeric_tensor(tf.constant(True))
        assert not tf.is_numeric_tensor(3)


RUN = [
    (lambda x, u: tf.assert_rank(u, 2, message="mm"), np.ones([1, 1]), np.ones(1)),
    (lambda x, u: tf.assert_rank_at_least(u, 1), np.ones([1, 1]), 1.0),
    (lambda x, u: tf.assert_rank_in(u, [0, 2]), 1.0, np.ones(1)),
    (lambda x, u: tf.assert_near(u, 2.0), 2 + 2e-6, 2.001),
    (lambda x, u: tf.debugging.assert_near(u, 2.0, rtol=0, atol=0.1), 2.05, 2.2),
    (lambda x, u: tf.verify_tensor_all_finite(u, "bad"), 1.0, inf),
    (lambda x, u: tf.debugging.assert_all_finite(u, "bad"), 1.0, nan),
    (lambda x, u: tf.debugging.assert_shapes([(x, "NM"), (u, "M")]), np.ones(3),
     np.ones(2)),
    (lambda x, u: tf.debugging.assert_shapes([(u, ("*", 2))]), np.ones([3, 2]),
     np.ones(3)),
]  # fmt: skip


@pytest.mark.parametrize(("check", "good", "bad"), RUN)
def test_known_in_the_run(check, good, bad):
    with tf.Graph().as_default(), tf.Session() as session:
        x, u = x_and_u()
        op = check(x, u)
        session.run(op, {u: good})
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(op, {u: bad})


def test_built_shapes():
    """Static shapes of what is partly known."""
    assert built(lambda x: tf.nn.lrn(x), None).shape.as_list() == [None] * 4
    found = built(lambda x: tf.searchsorted(x, x), [None, 3])
    assert found.shape.as_list() == [None, 3]
    assert built(lambda x: tf.bitcast(x, tf.int8), [None, 3]).shape[2] == 4
    assert built(lambda x: tf.bitcast(x, tf.float64), [None, 2]).shape.as_list() == [
        None
    ]
    assert built(lambda x: tf.nn.in_top_k(x, [1, 2], 1), [None, 3]).shape == [2]
