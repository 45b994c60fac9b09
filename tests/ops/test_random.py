"""Random ops: distributions, seeds, gradients."""

import math

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

COUNT = 20001  # odd: the last normal number has no partner


def draw(build, runs=1, graph_seed=None):
    """``runs`` results of the tensor that ``build`` makes."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(graph_seed)
        tensor = build()
        return [session.run(tensor) for _ in range(runs)]


def phi(x):
    """The normal distribution function."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


WITHIN_TWO = phi(2) - phi(-2)

# function, its distribution function, interval, tolerated dtypes
DISTRIBUTIONS = {
    "uniform": (tf.random_uniform, lambda x: x, (0, 1)),
    "normal": (tf.random_normal, phi, (-9, 9)),
    "truncated": (
        tf.truncated_normal,
        lambda x: (phi(x) - phi(-2)) / WITHIN_TWO,
        (-2, 2),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distribution(name, dtype):
    """Kolmogorov and Smirnov's distance is below its 1e-6 quantile, 2.7 / sqrt(n)."""
    function, cdf, (low, high) = DISTRIBUTIONS[name]
    (got,) = draw(lambda: function([COUNT], dtype=dtype, seed=5))
    assert got.dtype == dtype
    assert got.min() >= low
    assert got.max() <= high
    ordered = np.sort(got.astype(np.float64))
    wanted = np.array([cdf(x) for x in ordered])
    distance = np.abs(wanted - np.arange(COUNT) / COUNT).max()
    coarse = 1e-3 if dtype == "float16" else 0  # the step of the numbers themselves
    assert distance < 2.7 / math.sqrt(COUNT) + coarse


def test_normal_numbers_are_not_correlated():
    """Neighbours, and the two numbers that one radius makes."""
    (got,) = draw(lambda: tf.random_normal([COUNT - 1], dtype=tf.float64, seed=1))
    half = got.size // 2
    for first, second in ((got[:-1], got[1:]), (got[:half], got[half:])):
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / math.sqrt(half)
        assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 5 / math.sqrt(half)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("low", "high"), [(-3, 4), (0, 1), (-(2**31), 2**31 - 1)])
def test_integers(dtype, low, high):
    (got,) = draw(lambda: tf.random_uniform([COUNT], low, high, dtype, seed=3))
    assert got.dtype == dtype
    assert got.min() >= low
    assert got.max() < high
    middle = (low + high - 1) / 2
    spread = (high - low) / math.sqrt(12 * COUNT)
    assert abs(got.mean() - middle) <= 6 * spread
    if high - low < 100:
        assert set(got.tolist()) == set(range(low, high))


def test_no_integer_to_choose_from():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Need minval < maxval"):
        draw(lambda: tf.random_uniform([2], 5, 5, tf.int32))


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_no_integer_to_choose_from_in_the_run(dtype):
    with tf.Graph().as_default(), tf.Session() as session:
        low, high = tf.placeholder(dtype, []), tf.placeholder(dtype, [])
        drawn = tf.random_uniform([50], low, high, dtype, seed=1)
        assert set(session.run(drawn, {low: 3, high: 5})) == {3, 4}
        with pytest.raises(tf.errors.InvalidArgumentError, match="got 5 >= 5"):
            session.run(drawn, {low: 5, high: 5})


def test_bounds_and_moments_are_applied():
    (uniform,) = draw(lambda: tf.random_uniform([COUNT], -3.0, 5.0, seed=2))
    (normal,) = draw(lambda: tf.random_normal([COUNT], [10.0], 2.0, seed=2))
    assert -3 <= uniform.min() < -2.9
    assert 4.9 < uniform.max() < 5
    assert abs(normal.mean() - 10) < 0.1
    assert abs(normal.std() - 2) < 0.1


def test_runs_differ_and_sessions_repeat():
    build = lambda: tf.random_normal([4], seed=7)  # noqa: E731
    first, second = draw(build, 2)
    assert (first != second).any()
    assert (np.array(draw(build, 2)) == [first, second]).all()


def test_without_seeds_programs_differ():
    build = lambda: tf.random_uniform([4])  # noqa: E731
    assert (draw(build)[0] != draw(build)[0]).any()


def test_a_graph_seed_seeds_every_op_by_its_place():
    def build():
        return tf.stack([tf.random_uniform([4]), tf.random_uniform([4])])

    (first,), (again,) = draw(build, 1, 11), draw(build, 1, 11)
    (other,) = draw(build, 1, 12)
    assert (first[0] != first[1]).any()
    assert (first == again).all()
    assert (first != other).any()


def test_get_seed_as_in_tensorflow():
    from gpugrad.ops.random import get_seed

    with tf.Graph().as_default():
        assert get_seed(None) == (None, None)
        assert get_seed(5) == (87654321, 5)
        tf.set_random_seed(0)
        assert get_seed(0) == (0, 2**31 - 1)
        tf.set_random_seed(9)
        assert get_seed(4) == (9, 4)
        tf.constant(1.0)
        assert get_seed(None) == (9, 1)


def test_shapes_that_only_the_run_knows():
    with tf.Graph().as_default(), tf.Session() as session:
        shape = tf.placeholder(tf.int32, [2])
        x = tf.random_normal(shape)
        assert x.shape.as_list() == [None, None]
        rows = tf.placeholder(tf.float32, [None, 3])
        y = tf.random_uniform([tf.shape(rows)[0], 2])
        assert y.shape.as_list() == [None, 2]
        assert session.run(x, {shape: [3, 0]}).shape == (3, 0)
        assert session.run(y, {rows: np.zeros((5, 3))}).shape == (5, 2)
        with pytest.raises(tf.errors.InvalidArgumentError, match=">= 0"):
            session.run(x, {shape: [3, -1]})


def test_gradients_reach_the_parameters():
    with tf.Graph().as_default(), tf.Session() as session:
        mean, stddev = tf.constant([1.0, 2.0]), tf.constant(3.0)
        x = tf.random_normal([4, 2], mean, stddev, seed=1)
        to_mean, to_stddev = tf.gradients(x, [mean, stddev])
        value, dmean, dstddev = session.run([x, to_mean, to_stddev])
        low = tf.constant(-1.0)
        (dlow,) = tf.gradients(tf.random_uniform([5], low, 2.0, seed=1), low)
        got = session.run(dlow)
    np.testing.assert_allclose(dmean, [4, 4])
    np.testing.assert_allclose(dstddev, ((value - [1, 2]) / 3).sum(), rtol=1e-5)
    assert 0 < got < 5


def test_shuffle():
    value = np.arange(100).reshape(50, 2)
    first, second = draw(lambda: tf.random_shuffle(value, seed=3), 2)
    assert (first != value).any()
    assert (first != second).any()
    assert sorted(first.tolist()) == value.tolist()
    (one,) = draw(lambda: tf.random_shuffle(value[:1], seed=3))
    assert one.tolist() == [[0, 1]]


def test_every_order_is_equally_likely():
    orders = draw(lambda: tf.random_shuffle([0, 1, 2], seed=3), 3000)
    counts = np.unique([tuple(o) for o in orders], axis=0, return_counts=True)[1]
    assert counts.size == 6
    assert np.abs(counts - 500).max() < 6 * math.sqrt(500)


def test_multinomial():
    weights = np.array([[0.1, 1e-300, 0.6, 0.3], [0.25, 0.25, 0.25, 0.25]])
    logits = np.log(weights)
    (got,) = draw(lambda: tf.multinomial(logits, COUNT, seed=1))
    assert got.shape == (2, COUNT)
    assert got.dtype == np.int64
    shares = [np.bincount(row, minlength=4) / COUNT for row in got]
    np.testing.assert_allclose(shares[0], [0.1, 0, 0.6, 0.3], atol=0.03)
    np.testing.assert_allclose(shares[1], [0.25] * 4, atol=0.03)
    assert shares[0][1] == 0


STATELESS = {
    "uniform": (tf.random.stateless_uniform, DISTRIBUTIONS["uniform"]),
    "normal": (tf.random.stateless_normal, DISTRIBUTIONS["normal"]),
    "truncated": (tf.random.stateless_truncated_normal, DISTRIBUTIONS["truncated"]),
}


@pytest.mark.parametrize("name", STATELESS)
def test_stateless_numbers(name):
    """The same in every run, other ones by either number of the seed."""
    function, (_, cdf, _) = STATELESS[name]
    first, again = draw(lambda: function([COUNT], [0, 0], dtype=tf.float64), runs=2)
    np.testing.assert_array_equal(first, again)
    for seed in ([0, 1], [1, 0], [-1, 2**31 - 1], np.array([2**40, 0])):
        (other,) = draw(lambda s=seed: function([COUNT], s, dtype=tf.float64))
        assert (first != other).mean() > 0.99
    ordered = np.sort(first)
    wanted = np.array([cdf(x) for x in ordered])
    distance = np.abs(wanted - np.arange(COUNT) / COUNT).max()
    assert distance < 2.7 / math.sqrt(COUNT)


def test_stateless_seeds_of_the_run_and_bounds():
    with tf.Graph().as_default(), tf.Session() as session:
        seed = tf.placeholder(tf.int32, [2])
        drawn = tf.random.stateless_uniform([9], seed, 3, 9, tf.int32)
        scaled = tf.random.stateless_normal([9], seed, 10.0, 2.0)
        classes = tf.random.stateless_categorical([[0.0, -50.0, 0.0]], 9, seed)
        one, two, same = (
            session.run([drawn, scaled, classes], {seed: s})
            for s in ([1, 2], [3, 4], [1, 2])
        )
        assert all((a == b).all() for a, b in zip(one, same))
        assert all((a != b).any() for a, b in zip(one, two))
        assert one[0].min() >= 3 and one[0].max() < 9
        assert set(one[2].reshape(-1)) == {0, 2}
        mean = tf.constant(1.0)
        moved = tf.random.stateless_normal([4], [1, 2], mean, 1.0)
        assert session.run(tf.gradients(moved, mean)) == [4.0]
