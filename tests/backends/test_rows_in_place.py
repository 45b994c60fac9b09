"""Rows of variables change where they are, and not at all if a run fails."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.ops.variable_rows import sum_equal_rows


def arrays(session: tf.Session) -> list[np.ndarray]:
    """The memory of every variable."""
    return [a for a in session._store.arrays if a is not None]


def step_of(*indices: list[int]):
    """An SGD step over tables that are read at fed places, and a dense weight.

    The graph, the step, the placeholders of the places, the tables.
    """
    graph = tf.Graph()
    with graph.as_default():
        places = [tf.placeholder(tf.int32, [len(i)]) for i in indices]
        tables = [tf.Variable(np.ones((1000, 4), np.float32)) for _ in places]
        weight = tf.Variable(np.ones((4, 2), np.float32))
        rows = [tf.gather(t, p) for t, p in zip(tables, places)]
        loss = tf.reduce_sum(tf.concat(rows, 0)) + tf.reduce_sum(weight)
        step = tf.train.GradientDescentOptimizer(0.5).minimize(loss)
    return graph, step, places, tables


def started(graph: tf.Graph) -> tf.Session:
    session = tf.Session(graph=graph)
    with graph.as_default():
        session.run(tf.global_variables_initializer())
    return session


def test_tables_change_in_place() -> None:
    indices = [[3, 5, 3], [7]]
    graph, step, places, tables = step_of(*indices)
    with started(graph) as session:
        feed = dict(zip(places, indices))
        session.run(step, feed)
        before = arrays(session)
        session.run(step, feed)
        after = arrays(session)
        assert all(one is other for one, other in zip(before, after))
        first, second = session.run(tables)
        assert (first[3] < first[5]).all()
        assert (first[5] == second[7]).all()
        untouched = np.delete(first, [3, 5], axis=0)
        assert (untouched == 1).all()


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_failed_step_changes_nothing(wrong: int) -> None:
    """Also where one table's places are right and the other's are not."""
    graph = tf.Graph()
    with graph.as_default():
        places = [tf.placeholder(tf.int32, [1]) for _ in range(2)]
        tables = [tf.Variable(np.ones((10, 4), np.float32)) for _ in places]
        weight = tf.Variable(np.ones(4, np.float32))
        step = tf.group(
            *[tf.scatter_add(t, p, [[1.0] * 4]) for t, p in zip(tables, places)],
            tf.assign_add(weight, [1.0] * 4),
        )
    with started(graph) as session:
        right = {place: [2] for place in places}
        session.run(step, right)
        before = [a.copy() for a in arrays(session)]
        with pytest.raises(tf.errors.InvalidArgumentError, match="not in"):
            session.run(step, {**right, places[wrong]: [99]})
        for now, then in zip(arrays(session), before):
            np.testing.assert_array_equal(now, then)
        session.run(step, right)
        assert session.run(tables[0])[2].tolist() == [3.0] * 4


def test_a_value_that_is_read_afterwards_is_kept() -> None:
    """The old rows that are fetched are not those that the step writes."""
    graph = tf.Graph()
    with graph.as_default():
        table = tf.Variable(np.ones((10, 2), np.float32))
        old = tf.identity(table)
        with tf.control_dependencies([old]):
            step = tf.scatter_add(table, [1], [[5.0, 5.0]])
        with tf.control_dependencies([step]):
            both = old + table.read_value()
    with started(graph) as session:
        assert session.run(both)[1].tolist() == [7.0, 7.0]
        assert session.run(table)[1].tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: tf.train.AdagradOptimizer(0.5),
        lambda: tf.train.MomentumOptimizer(0.5, 0.9),
        lambda: tf.train.RMSPropOptimizer(0.5),
    ],
)
def test_sparse_optimizers_touch_only_their_rows(make) -> None:
    """Rows named twice count once, with their sum."""
    graph = tf.Graph()
    with graph.as_default():
        twice = tf.Variable(np.ones((8, 3), np.float32))
        once = tf.Variable(np.ones((8, 3), np.float32))
        loss = tf.reduce_sum(tf.gather(twice, [2, 2, 5]))
        loss += tf.reduce_sum(tf.gather(once, [2, 5]) * [[2.0], [1.0]])
        step = make().minimize(loss)
    with started(graph) as session:
        for _ in range(3):
            session.run(step)
        a, b = session.run([twice, once])
    np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (np.delete(a, [2, 5], axis=0) == 1).all()
    assert (a[[2, 5]] < 1).all()


def test_halves_of_one_row_are_summed_in_float32() -> None:
    """In float16 the sum would stop at 2,048, where 1 is below the last bit."""
    rows = np.ones((5000, 2), np.float16)
    out = np.empty_like(rows)
    sum_equal_rows(np, (out,), rows, np.zeros(5000, np.int32), size=3)
    assert (out == 5000).all()
