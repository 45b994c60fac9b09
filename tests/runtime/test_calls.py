"""Calls that repeat an earlier one take a short way; whatever is different does not."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad.runtime import devices, memory
from gpugrad.runtime.accepts import accepts

ONES = np.ones(3, np.float32)


def _three_times(session: Any, fetches: Any, feed: Any = None) -> Any:
    """The third run's values: the second one already goes the short way."""
    for _ in range(2):
        session.run(fetches, feed)
    return session.run(fetches, feed)


class Shell:
    """What has a dtype and an array."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.dtype = array, "a dtype"


def test_only_the_same_kinds_are_accepted() -> None:
    takes = accepts([(np.dtype("f4"), (2, 2)), (np.dtype("i4"), ())], np.ndarray)
    good, number = np.zeros((2, 2), np.float32), np.zeros((), np.int32)
    got = takes([good, number])
    assert got is not None
    assert got[0] is good
    assert got[1] is number
    assert takes({"a": good, "b": number}.values()) is not None
    for bad in (
        good[:1],
        np.asfortranarray(good),
        good.astype("f8"),
        good.astype(">f4"),
        good.view(np.matrix),
        good.tolist(),
        np.zeros((2, 4), np.float32)[:, ::2],
    ):
        assert takes([bad, number]) is None
    assert takes([good]) is None
    assert takes([good, number, number]) is None
    assert accepts([], np.ndarray)([]) == ()


def test_values_in_a_shell_are_taken_out() -> None:
    array = np.zeros(2, np.float32)
    takes = accepts([("a dtype", (2,))], np.ndarray, Shell, [True])
    assert takes([Shell(array)]) == (array,)
    assert takes([array]) is None
    assert takes([Shell(np.zeros(3, np.float32))]) is None
    assert takes([Shell([0.0, 0.0])]) is None  # type: ignore[arg-type]
    other = Shell(array)
    other.dtype = "another"
    assert takes([other]) is None


@pytest.fixture
def graph():
    with gg.Graph().as_default() as g:
        yield g


def test_structures_of_flat_fetches(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [3])
    double, total, nothing = 2.0 * x, tf.reduce_sum(x), tf.no_op()
    with tf.Session() as session:
        feed = {x: ONES}
        got = _three_times(session, [nothing, double, nothing, total], feed)
        assert type(got) is list
        assert got[0] is None
        assert got[2] is None
        assert got[1].tolist() == [2.0, 2.0, 2.0]
        assert type(got[3]) is np.float32
        pair = _three_times(session, (double, nothing), feed)
        assert type(pair) is tuple
        assert pair[1] is None
        assert type(_three_times(session, total, feed)) is np.float32
        assert _three_times(session, nothing) is None
        assert _three_times(session, [nothing]) == [None]
        same = _three_times(session, [double, double], feed)
        assert same[0] is not same[1]
        assert not np.shares_memory(*same)
        nested = _three_times(session, [[double], (total,)], feed)
        assert [type(part) for part in nested] == [list, tuple]
        # An earlier result is not written again.
        first = session.run(double, feed)
        session.run(double, {x: 5 * ONES})
        assert first.tolist() == [2.0, 2.0, 2.0]


def test_fetches_and_feeds_are_told_apart(graph: gg.Graph) -> None:
    a = tf.placeholder(tf.float32, [3])
    b = a + 1.0
    c = b + 1.0
    with tf.Session() as session:
        assert _three_times(session, [c], {b: ONES, a: ONES})[0][0] == 2.0
        with pytest.raises(tf.errors.InvalidArgumentError, match="feed a value"):
            session.run([c, b])
        assert _three_times(session, [c, b], {a: ONES})[1][0] == 2.0
        with pytest.raises(TypeError, match="dictionary"):
            session.run([c, b], [a])


def test_a_feed_of_another_kind(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [None, None])
    y = 2.0 * x
    with tf.Session() as session:
        wide = np.arange(6, dtype=np.float32).reshape(2, 3)
        for value in (wide, wide.T, wide[:, ::2], wide.astype("f8"), wide.tolist()):
            _three_times(session, y, {x: wide})
            expected = 2 * np.asarray(value, np.float32)
            np.testing.assert_array_equal(session.run(y, {x: value}), expected)
        _three_times(session, y, {x: wide})
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            session.run(y, {x: ONES})
        graph.prevent_feeding(x)
        with pytest.raises(ValueError, match="may not be fed"):
            session.run(y, {x: wide})


def test_variables_that_appear_and_change_shape(graph: gg.Graph) -> None:
    v = tf.Variable([1.0, 2.0], validate_shape=False)
    double = 2.0 * v
    longer = tf.assign(v, [1.0, 2.0, 3.0], validate_shape=False)
    shorter = tf.assign(v, [5.0], validate_shape=False)
    with tf.Session() as session:
        for _ in range(2):
            with pytest.raises(tf.errors.FailedPreconditionError):
                session.run(double)
        session.run(v.initializer)
        for step, size in ((longer, 3), (shorter, 1), (longer, 3)):
            assert _three_times(session, double).shape == session.run(v).shape
            _three_times(session, step)
            assert _three_times(session, double).shape == (size,)


def test_a_run_that_fails_again_and_again(graph: gg.Graph) -> None:
    ids = tf.placeholder(tf.int32, [1], name="ids")
    v = tf.Variable([1.0, 2.0])
    picked = tf.gather(v, ids)
    with tf.control_dependencies([picked]):
        step = tf.assign_add(v, [1.0, 1.0])
    good, bad = np.array([0], np.int32), np.array([7], np.int32)
    with tf.Session() as session:
        session.run(v.initializer)
        _three_times(session, [picked, step], {ids: good})
        for _ in range(3):
            with pytest.raises(tf.errors.InvalidArgumentError, match="Gather"):
                session.run([picked, step], {ids: bad})
        assert session.run(v).tolist() == [4.0, 5.0]
        assert session.run([picked, step], {ids: good})[1].tolist() == [5.0, 6.0]


def test_random_numbers_differ_from_run_to_run(graph: gg.Graph) -> None:
    x = tf.random_uniform([2], seed=3)
    with tf.Session() as session:
        drawn = [float(session.run(x)[0]) for _ in range(5)]
        assert len(set(drawn)) == 5


def test_after_close_and_after_memory_ran_out(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [3])
    y = x + 1.0
    session = tf.Session()
    _three_times(session, y, {x: ONES})
    memory.release(devices.backend("numpy"))
    (prepared,) = session._prepared.values()
    assert prepared.plan.straight is None
    assert _three_times(session, y, {x: ONES})[0] == 2.0
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.run(y, {x: ONES})


def test_a_session_in_threads(graph: gg.Graph) -> None:
    v = tf.Variable(np.zeros(3, np.float32))
    x = tf.placeholder(tf.float32, [3])
    step = tf.assign_add(v, x)
    with tf.Session() as session:
        session.run(v.initializer)

        def work() -> None:
            for _ in range(200):
                session.run(step, {x: ONES})

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.run(v).tolist() == [800.0] * 3


# --- functions ------------------------------------------------------------------------


def test_a_function_of_other_values() -> None:
    double = gg.function(lambda x: 2.0 * x)
    value = double(ONES)
    for _ in range(3):
        assert double(value).numpy().tolist() == [4.0] * 3
        assert double(ONES).numpy().tolist() == [2.0] * 3
        assert double(x=value).numpy().tolist() == [4.0] * 3
        assert double(np.ones((1, 3), np.float32)).shape == [1, 3]
        assert double(np.arange(6, dtype=np.float32)[::2]).numpy().tolist() == [0, 4, 8]
    for wrong in ((), (value, value)):
        with pytest.raises(TypeError):
            double(*wrong)
    with gg.Graph().as_default():
        assert isinstance(double(gg.constant(ONES)), gg.Tensor)
        assert isinstance(double(value), gg.Tensor)


def test_a_function_and_default_sessions() -> None:
    gg.reset_default_graph()
    v = tf.Variable(1.0)
    add = gg.function(lambda x: x + v)
    value = add(np.float32(1.0))
    assert [float(add(value)) for _ in range(3)] == [3.0] * 3
    with tf.Session(graph=v.graph) as session:
        session.run(v.assign(10.0))
    session = tf.Session(graph=v.graph)
    with session.as_default():
        session.run(v.assign(10.0))
        assert [float(add(value)) for _ in range(3)] == [12.0] * 3
    assert [float(add(value)) for _ in range(3)] == [3.0] * 3


def test_a_function_that_fails_again_and_again() -> None:
    pick = gg.function(lambda ids: gg.gather([1.0, 2.0], ids))
    good, bad = np.array([1], np.int32), np.array([7], np.int32)
    for _ in range(3):
        assert pick(good).numpy().tolist() == [2.0]
        with pytest.raises(tf.errors.InvalidArgumentError, match="Gather"):
            pick(bad)
