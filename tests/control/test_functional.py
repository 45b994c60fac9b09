"""map_fn, foldl, foldr, scan: values, shapes, errors, gradients."""

from __future__ import annotations

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


X = [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("build", "value", "gradient"),
    [
        (lambda x: tf.map_fn(lambda e: e * e, x), [1, 4, 9], [2, 4, 6]),
        (lambda x: tf.foldl(lambda a, e: a * e, x), 6, [6, 3, 2]),
        (lambda x: tf.foldr(lambda a, e: a * e, x), 6, [6, 3, 2]),
        (lambda x: tf.foldl(lambda a, e: a - e, x, 10.0), 4, [-1, -1, -1]),
        (lambda x: tf.foldr(lambda a, e: a * 2 + e, x, 1.0), 25, [1, 2, 4]),
        (lambda x: tf.scan(lambda a, e: a * e, x), [1, 2, 6], [9, 4, 2]),
        (lambda x: tf.scan(lambda a, e: a + e, x, 10.0), [11, 13, 16], [3, 2, 1]),
        (lambda x: tf.scan(lambda a, e: a + e, x, reverse=True), [6, 5, 3], [1, 2, 3]),
        (
            lambda x: tf.scan(lambda a, e: a + e, x, 1.0, reverse=True),
            [7, 6, 4],
            [1, 2, 3],
        ),
    ],
)
def test_values_and_gradients(build: Any, value: Any, gradient: Any) -> None:
    x = tf.constant(X)
    y = build(x)
    assert y.shape.as_list() == list(np.shape(value))
    assert listed(run([y, *tf.gradients(y, x)])) == [value, gradient]


def test_gradients_of_gradients() -> None:
    x = tf.constant(X)
    mapped = tf.map_fn(lambda e: e**3, x)
    scanned = tf.scan(lambda a, e: a + e**3, x, 1.0)[2]
    for y in (mapped, scanned):
        (second,) = tf.gradients(tf.gradients(y, x), x)
        assert np.allclose(run(second), [6, 12, 18])


def test_structures() -> None:
    x, n = tf.constant(X), tf.constant([[1], [2], [3]])
    got = tf.map_fn(lambda d: {"b": d["n"], "a": d["x"] * 2}, {"x": x, "n": n},
                    dtype={"a": tf.float32, "b": tf.int32})  # fmt: skip
    assert run(got)["a"].tolist() == [2.0, 4.0, 6.0]
    assert run(got)["b"].tolist() == [[1], [2], [3]]
    a, b = tf.scan(lambda a, e: (a[0] + e, a[1] * e), x, (0.0, 1.0), reverse=True)
    assert listed(run([a, b])) == [[6, 5, 3], [6, 6, 3]]
    total = tf.foldl(lambda a, e: a + e[0] * e[1], (x, x), 0.0)
    assert run(total) == 14.0
    (single,) = tf.map_fn(lambda e: [e[0]], (x,), dtype=[tf.float32])
    assert run(single).tolist() == X


def test_dtypes() -> None:
    x = tf.constant(X)
    floats = gg.map_fn(lambda i: tf.cast(i, tf.float32) / 2, tf.constant([1, 3]),
                       fn_output_signature=tf.float32)  # fmt: skip
    assert run(floats).tolist() == [0.5, 1.5]
    ints = tf.map_fn(lambda e: 7, x, dtype=tf.int64)
    assert ints.dtype is tf.int64 and run(ints).tolist() == [7, 7, 7]
    flags = tf.map_fn(lambda e: e > 1.5, x, dtype=tf.bool)
    assert run(flags).tolist() == [False, True, True]
    with pytest.raises(TypeError, match="not float32"):
        tf.map_fn(lambda e: tf.cast(e, tf.int32), x)
    with pytest.raises(TypeError, match="should remain constant"):
        tf.scan(lambda a, e: tf.cast(a + e, tf.int32), x)


def test_unknown_sizes() -> None:
    p = tf.placeholder(tf.float32, [None, 2])
    ys = [
        tf.map_fn(lambda e: e * 2, p),
        tf.scan(lambda a, e: a + e, p),
        tf.foldr(lambda a, e: a * 2 + e, p),
    ]
    assert [y.shape.as_list() for y in ys] == [[None, 2], [None, 2], [2]]
    value = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    got = run([*ys, *tf.gradients(ys, p)], {p: value})
    assert np.allclose(got[0], value * 2) and np.allclose(got[1], value.cumsum(0))
    assert got[2].tolist() == [27.0, 34.0]
    assert got[3].tolist() == [[6.0, 6.0], [6.0, 6.0], [7.0, 7.0]]
    anything = tf.placeholder(tf.float32)
    assert run(tf.map_fn(tf.reduce_sum, anything), {anything: value}).tolist() == [
        3.0, 7.0, 11.0,
    ]  # fmt: skip


def test_no_rows() -> None:
    none = tf.zeros([0, 2])
    ys = [
        tf.map_fn(lambda e: e * 2, none),
        tf.scan(lambda a, e: a + e, none, tf.ones([2])),
        tf.foldl(lambda a, e: a + e, none, tf.constant([1.0, 2.0])),
    ]
    got = run([*ys, *tf.gradients(ys, none)])
    assert [v.shape for v in got] == [(0, 2), (0, 2), (2,), (0, 2)]
    assert got[2].tolist() == [1.0, 2.0]
    with pytest.raises(tf.errors.InvalidArgumentError):
        run(tf.foldl(lambda a, e: a + e, none))


def test_inner_loops_and_invariants() -> None:
    x, w = tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant(2.0)
    y = tf.map_fn(lambda r: tf.scan(lambda a, e: a * w + e, r), x)
    assert listed(run([y, *tf.gradients(y, [x, w])])) == [
        [[1, 4], [3, 10]], [[3, 1], [3, 1]], 4,
    ]  # fmt: skip


def test_back_prop_and_names() -> None:
    x = tf.constant(X)
    y = tf.map_fn(lambda e: e * e, x, back_prop=False)
    assert tf.gradients(y, x) == [None]
    assert y.name.startswith("map/")
    assert tf.scan(lambda a, e: a, x, name="mine").name.startswith("mine/")
    loose = tf.map_fn(lambda e: e, tf.zeros([3, 2]), infer_shape=False)
    assert loose.shape.ndims is None and run(loose).shape == (3, 2)


@pytest.mark.parametrize(
    ("build", "error", "text"),
    [
        (lambda x: tf.map_fn(3, x), TypeError, "not callable"),
        (lambda x: tf.foldl(None, x), TypeError, "not callable"),
        (lambda x: tf.map_fn(lambda e: e, 3.0), ValueError, "not scalars"),
        (lambda x: tf.map_fn(lambda e: (e, e), x), ValueError, "same nested"),
        (lambda x: tf.map_fn(lambda e: [e[0]], (x,)), TypeError, "same nested"),
        (lambda x: tf.scan(lambda a, e: (a, e), x), ValueError, "same nested"),
        (lambda x: tf.scan(lambda a, e: e, tf.zeros([2, 3]), 0.0), ValueError,
         "Inconsistent shapes"),
        (lambda x: tf.map_fn(lambda e: e[0], (x, tf.zeros([4]))), ValueError,
         "Dimensions 3 and 4"),
    ],
)  # fmt: skip
def test_errors(build: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        build(tf.constant(X))
