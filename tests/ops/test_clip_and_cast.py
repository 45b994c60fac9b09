"""clip.py and cast.py where tables do not reach: slices, None, limits, sizes."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture
def session():
    with tf.Graph().as_default(), tf.Session() as session:
        yield session


def slices():
    """Rows [3, 4] and [0, 5] of a tensor with four rows; the second index twice."""
    values = tf.constant([[3.0, 4.0], [0.0, 5.0]])
    return tf.IndexedSlices(values, tf.constant([1, 1]), tf.constant([4, 2]))


@pytest.mark.parametrize(
    ("function", "values"),
    [
        (lambda s: tf.clip_by_value(s, 1.0, 4.0), [[3, 4], [1, 4]]),
        (lambda s: tf.clip_by_norm(s, np.sqrt(0.5)), [[0.3, 0.4], [0, 0.5]]),
        (lambda s: tf.scalar_mul(2.0, s), [[6, 8], [0, 10]]),
        (lambda s: tf.clip_by_global_norm([s], 1.0)[0][0], None),
        (lambda s: tf.cast(s, tf.float64), [[3, 4], [0, 5]]),
    ],
)
def test_slices_stay_slices(session, function, values):
    result = function(slices())
    assert isinstance(result, tf.IndexedSlices)
    got = session.run(result)
    assert got.indices.tolist() == [1, 1]
    assert got.dense_shape.tolist() == [4, 2]
    wanted = np.array([[3, 4], [0, 5]]) / np.sqrt(50) if values is None else values
    np.testing.assert_allclose(got.values, wanted, rtol=1e-6)


def test_sums_of_slices_are_dense(session):
    total = tf.add_n([slices(), tf.ones([4, 2])])
    assert session.run(total).tolist() == [[1, 1], [4, 10], [1, 1], [1, 1]]


def test_global_norm_skips_none_and_keeps_its_place(session):
    x, y = tf.constant([3.0]), tf.constant([[4.0]])
    clipped, norm = tf.clip_by_global_norm([x, None, y], 1.0)
    assert clipped[1] is None
    got = session.run([norm, clipped[0], clipped[2]])
    np.testing.assert_allclose(got[0], 5)
    np.testing.assert_allclose(got[1], [0.6])
    np.testing.assert_allclose(got[2], [[0.8]])
    assert session.run(tf.global_norm([])) == 0


def test_an_infinite_norm_spoils_everything(session):
    clipped, _ = tf.clip_by_global_norm([tf.constant([np.inf]), tf.ones([2])], 1.0)
    got = session.run(clipped)
    assert np.isnan(got[0]).all()
    assert np.isnan(got[1]).all()


@pytest.mark.parametrize("clip", [1.0, 20.0])
def test_clipping_by_norm_and_average_norm(session, clip):
    x = np.array([3.0, 4.0], "float32")
    norm, average = session.run(
        [tf.clip_by_norm(tf.constant(x), clip), tf.clip_by_average_norm(x, clip)]
    )
    np.testing.assert_allclose(norm, x * min(1, clip / 5), rtol=1e-6)
    np.testing.assert_allclose(average, x * min(1, clip * 2 / 5), rtol=1e-6)


# source, target, value, what comes out
SATURATING = [
    ("float32", "int8", [-200.0, -1.5, 1.5, 200.0], [-128, -1, 1, 127]),
    ("float32", "uint8", [-1.0, 256.0, np.inf], [0, 255, 255]),
    ("float32", "int32", [3e9, -3e9], [2147483520, -(2**31)]),
    ("float64", "int32", [3e9, -np.inf], [2**31 - 1, -(2**31)]),
    ("int32", "uint8", [-5, 300, 7], [0, 255, 7]),
    ("int64", "float32", [5], [5]),
    ("float64", "float32", [1e300], [3.4028235e38]),
    ("float32", "float64", [np.inf], [3.4028235e38]),
    ("float32", "float32", [-np.inf, 1.0], [-3.4028235e38, 1.0]),
]


@pytest.mark.parametrize(("source", "target", "value", "wanted"), SATURATING)
def test_saturate_cast(session, source, target, value, wanted):
    got = session.run(tf.saturate_cast(np.array(value, source), target))
    assert got.dtype == target
    np.testing.assert_allclose(got, wanted)


def test_a_cast_to_the_same_type_is_the_same_object():
    """So the gradient with respect to it is there: a variable is not its read."""
    variable = tf.get_variable("same", initializer=[1.0, 2.0])
    tensor = tf.placeholder(tf.int32)
    assert tf.cast(variable, tf.float32) is variable
    assert tf.cast(tensor, "int32") is tensor
    assert tf.cast(variable, tf.float64) is not variable


# source, target, value, what comes out
CASTS = [
    ("float32", "int32", [1.9, -1.9], [1, -1]),
    ("float32", "bool", [0.0, 0.5], [False, True]),
    ("bool", "float32", [True, False], [1, 0]),
    ("int32", "complex64", [3], [3 + 0j]),
    ("complex64", "float32", [3 + 4j], [3]),
    ("float64", "float16", [0.1], [np.float16(0.1)]),
]


@pytest.mark.parametrize(("source", "target", "value", "wanted"), CASTS)
def test_cast(session, source, target, value, wanted):
    got = session.run(tf.cast(np.array(value, source), target))
    assert got.dtype == target
    assert got.tolist() == wanted


def test_cast_of_sizes_is_followed_while_building():
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None, 3])
        sizes = tf.cast(tf.shape(x), tf.int64)
        y = tf.reshape(x, sizes)
    assert y.shape.as_list() == [None, 3]


def test_cast_refuses_strings():
    with (
        tf.Graph().as_default(),
        pytest.raises(TypeError, match="Cast string to float32"),
    ):
        tf.cast(tf.constant("x"), tf.float32)


def test_values_are_clipped_at_once():
    value = gg.function(lambda: gg.constant([3.0, 4.0]))()
    clipped, norm = gg.clip_by_global_norm([value, None], 1.0)
    average = tf.clip_by_average_norm(value, 0.25)
    assert clipped[1] is None
    np.testing.assert_allclose(norm.numpy(), 5)
    np.testing.assert_allclose(clipped[0].numpy(), [0.6, 0.8])
    np.testing.assert_allclose(average.numpy(), [0.3, 0.4])
    np.testing.assert_allclose(gg.clip_by_norm(value, 1.0).numpy(), [0.6, 0.8])
    assert gg.truediv(gg.cast(value, gg.int32), 2).numpy().tolist() == [1.5, 2]
