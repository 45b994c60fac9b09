"""TensorArray: every method, in and out of loops, and gradients."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        return session.run(fetches, feed)


def listed(values: Any) -> Any:
    return [np.asarray(v).tolist() for v in values]


def array(size: Any = 3, **options: Any) -> Any:
    return tf.TensorArray(tf.float32, size=size, **options)


X = [1.0, 2.0, 3.0]


def test_read_what_was_unstacked() -> None:
    x = tf.constant(X)
    held = array().unstack(x)
    first, last = held.read(0), held.read(2)
    stacked = array(2).write(0, first).write(1, last * last * last / 5.4).stack()
    assert stacked.shape.as_list() == [2]
    assert np.allclose(run(tf.gradients(stacked, x))[0], [1, 0, 5])
    assert run(held.gather([2, 0])).tolist() == [3.0, 1.0]
    assert run(held.identity().read(1)) == 2.0


def test_written_twice_and_not_at_all() -> None:
    x = tf.constant(2.0)
    stacked = array().write(0, x * 5).write(0, x).stack()
    assert listed(run([stacked, *tf.gradients(stacked, x)])) == [[2, 0, 0], 1]
    scattered = array(5).scatter([2, 0], [1.0, 2.0]).stack()
    assert run(scattered).tolist() == [2.0, 0.0, 1.0, 0.0, 0.0]
    assert run(array(element_shape=[2]).stack()).shape == (3, 2)
    with pytest.raises(tf.errors.InvalidArgumentError, match="element_shape"):
        run(array().stack())


def test_properties() -> None:
    held = gg.TensorArray("float32", 3, dynamic_size=True)
    assert held.dtype is tf.float32 and held.dynamic_size is True
    assert held.handle is None and held.flow.dtype is tf.variant
    assert held.element_shape.ndims is None
    held.write(0, [1.0, 2.0])
    assert held.element_shape.as_list() == [2]
    assert run(held.close()) is None
    assert "float32" in repr(held)
    assert run(array(tf.constant(4)).size()) == 4
    full = array().unstack(X)
    assert run(tf.TensorArray(tf.float32, flow=full.flow).read(1)) == 2.0


def test_concat_and_split() -> None:
    x = tf.constant([[1.0], [2.0], [3.0], [4.0]])
    held = array(2).split(x, [2, 2])
    joined = held.concat()
    assert run(held.read(1)).tolist() == [[3.0], [4.0]]
    assert joined.shape.as_list() == [4, 1]
    assert run(tf.gradients(joined * joined, x))[0].tolist() == [[2], [4], [6], [8]]
    lengths = tf.placeholder(tf.int32, [2])
    split = array(2).split(x, lengths).stack()
    assert run(split, {lengths: [2, 2]}).shape == (2, 2, 1)
    for wrong, text in (([1, 3], "one shape"), ([1, 1], "add up to the 4 rows")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            run(split, {lengths: wrong})
    with pytest.raises(ValueError, match="differ"):
        array(2).split(x, [1, 3])
    with pytest.raises(ValueError, match="at least one axis"):
        array().write(0, 1.0).concat()


def test_loop_variable() -> None:
    x = tf.constant(X)

    def body(i: Any, a: Any) -> Any:
        return i + 1, {"a": a["a"].write(i, x[i] * x[i])}

    _, out = tf.while_loop(lambda i, _: i < 3, body, [0, {"a": array()}])
    stacked = out["a"].stack()
    assert stacked.shape.as_list() == [3]
    (first,) = tf.gradients(stacked, x)
    assert listed(run([stacked, first, *tf.gradients(first * first, x)])) == [
        [1, 4, 9], [2, 4, 6], [8, 16, 24],
    ]  # fmt: skip


def test_loop_variable_with_shape_invariants() -> None:
    scalar = tf.TensorShape([])
    for shape in (scalar, tf.TensorShape(None)):
        _, out = tf.while_loop(
            lambda i, a: i < 3,
            lambda i, a: (i + 1, a.write(i, tf.cast(i, tf.float32))),
            [0, array()],
            shape_invariants=[scalar, shape],
        )
        assert run(out.stack()).tolist() == [0.0, 1.0, 2.0]


def test_dynamic_size() -> None:
    x, n = tf.constant(X), tf.placeholder(tf.int32, [])
    _, out = tf.while_loop(
        lambda i, a: i < n,
        lambda i, a: (i + 1, a.write(i, x * tf.cast(i, tf.float32))),
        [0, array(0, dynamic_size=True)],
    )
    stacked = out.stack()
    assert stacked.shape.as_list() == [None, 3]
    fetches = [out.size(), stacked, *tf.gradients(stacked, x)]
    for count in (0, 1, 4):
        size, value, slope = run(fetches, {n: count})
        assert size == count and value.shape == (count, 3)
        assert slope.tolist() == [sum(range(count))] * 3
    assert run(array(0, dynamic_size=True).write(5, 1.0).size()) == 6


def test_written_in_some_iterations() -> None:
    x = tf.constant(2.0)

    def body(i: Any, a: Any) -> Any:
        return i + 1, tf.cond(i > 1, lambda: a.write(i, x * x), lambda: a)

    _, out = tf.while_loop(lambda i, a: i < 4, body, [0, array(4)])
    stacked = out.stack()
    assert listed(run([stacked, *tf.gradients(stacked, x)])) == [[0, 0, 4, 4], 8]


def test_other_dtypes() -> None:
    flags = tf.TensorArray(tf.bool, size=2).write(1, True).stack()
    ints = tf.TensorArray(tf.int64, size=2).write(1, 3).stack()
    assert listed(run([flags, ints])) == [[False, True], [0, 3]]


def test_errors() -> None:
    with pytest.raises(ValueError, match="`size` must be provided"):
        tf.TensorArray(tf.float32)
    with pytest.raises(ValueError, match="Inconsistent shapes"):
        array().write(0, 1.0).write(1, [1.0])
    with pytest.raises(ValueError, match="size 2"):
        array(2).unstack(X)
    with pytest.raises((TypeError, ValueError)):
        array().write(0, tf.constant(1))
    for build in (
        lambda: array().write(5, 1.0).stack(),
        lambda: array().unstack(X).read(3),
        lambda: array().unstack(X).read(-1),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not in"):
            run(build())
    p = tf.placeholder(tf.float32)
    loose = array(infer_shape=False).write(0, p).write(1, [1.0]).stack()
    with pytest.raises(tf.errors.InvalidArgumentError, match="one shape"):
        run(loose, {p: 2.0})
    rows = tf.placeholder(tf.float32, [None])
    with pytest.raises(tf.errors.InvalidArgumentError, match="size 3"):
        run(array().unstack(rows).stack(), {rows: [1.0]})


def test_elements_of_different_sizes() -> None:
    x, w = tf.constant([1.0, 2.0, 3.0, 4.0]), tf.constant(2.0)
    held = array(3, infer_shape=False).split(x, [1, 3, 0])
    scaled = array(3, infer_shape=False)
    for i in range(3):
        scaled = scaled.write(i, held.read(2 - i) * w * float(i + 1))
    joined = scaled.concat()
    (g,) = tf.gradients(joined * joined, x)
    fetches = [joined, g, *tf.gradients(g, [x, w]), held.read(1)]
    assert listed(run(fetches)) == [
        [8, 12, 16, 6],
        [72, 64, 96, 128],
        [72, 32, 32, 32],
        360,
        [2, 3, 4],
    ]
    with pytest.raises(tf.errors.InvalidArgumentError, match="one shape"):
        run(scaled.stack())
    beyond = array(2, infer_shape=False).write(0, [[1.0]]).write(1, [[1.0, 2.0]])
    with pytest.raises(tf.errors.InvalidArgumentError, match="first axis"):
        run(beyond.concat())


def test_elements_read_and_scattered_more_than_once() -> None:
    x = tf.constant(X)
    held = array().unstack(x)
    taken = held.gather([0, 0, 2])
    (g,) = tf.gradients(taken * taken * taken, x)
    assert listed(run([g, *tf.gradients(g * g, x)])) == [[6, 0, 27], [144, 0, 972]]
    last = array().scatter([1, 1, 0], x).stack()
    (g,) = tf.gradients(last * last, x)
    assert listed(run([last, g, *tf.gradients(g, x)])) == [
        [3, 2, 0], [0, 4, 6], [0, 2, 2],
    ]  # fmt: skip


def test_an_old_version_keeps_its_elements() -> None:
    x = tf.constant(X)
    first = array().unstack(x)
    newer = first
    for i in range(12):
        newer = newer.write(i % 3, tf.constant(float(i)))
    late = newer.write(0, first.read(0) * 7.0)
    assert listed(run([late.stack(), newer.stack(), first.stack()])) == [
        [7, 10, 11], [9, 10, 11], X,
    ]  # fmt: skip


def test_writing_in_a_loop_moves_the_elements_once() -> None:
    """The bytes that 4,000 writes touch: no array of all elements but the result."""
    n = 4000
    x = tf.placeholder(tf.float32, [n, 64])
    y = tf.map_fn(lambda row: row * row, x)
    (g,) = tf.gradients(y, x)
    rows = np.ones((n, 64), np.float32)
    with tf.Session() as session:
        session.run([y, g], {x: rows})
        tracemalloc.start()
        session.run([y, g], {x: rows})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # Results, their copies, the rows of either, and a few hundred bytes an iteration.
    assert peak < 8 * rows.nbytes + n * 3000


def test_a_flow_is_no_value() -> None:
    with pytest.raises(TypeError, match=r"Fetch its stack\(\)"):
        run(array().write(0, 1.0).flow)
