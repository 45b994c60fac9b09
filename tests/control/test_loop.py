"""while_loop: values, shapes, errors, and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad.compiler.lower import lower_stage
from gpugrad.runtime import plan


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def three_times(body: Callable[..., Any], start: Any) -> Any:
    return tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, body(y)), [tf.constant(0), start]
    )[1]


def test_names_and_types() -> None:
    x = tf.constant(2.0)
    i, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * x), [0, x])
    assert (i.name, y.name) == ("while/Identity_2:0", "while/Identity_3:0")
    assert y.op.inputs[0].op.type == "StatelessWhile"
    assert isinstance(i.dtype, tf.DType) and i.dtype is tf.int32


def test_invariants_initial_values_and_unrelated_outputs() -> None:
    x, w = tf.constant(2.0), tf.constant(3.0)
    _, y, c = tf.while_loop(
        lambda i, y, c: i < 3,
        lambda i, y, c: (i + 1, y * w, c + 1.0),
        [0, x, tf.constant(5.0)],
    )
    assert run([y, tf.gradients(y, [x, w])]) == [54.0, [27.0, 54.0]]
    assert run(tf.gradients(c, w)) == [0.0]


def test_no_iteration_and_many() -> None:
    x, w, n = tf.constant(2.0), tf.constant(3.0), tf.placeholder(tf.int32, [])
    _, y = tf.while_loop(lambda i, y: i < n, lambda i, y: (i + 1, y * w), [0, x])
    g = tf.gradients(y, [x, w])
    for count, expected in ((0, [1.0, 0.0]), (1, [3.0, 2.0]), (3, [27.0, 54.0])):
        assert run(g, {n: count}) == expected
    y = tf.while_loop(lambda y: y < 100.0, lambda y: y * x, [x])
    assert run([y, tf.gradients(y, x)[0]]) == [128.0, 448.0]


def test_derivatives_of_derivatives() -> None:
    w = tf.constant(3.0)
    y = three_times(lambda y: y * w, tf.constant(2.0))
    (g,) = tf.gradients(y, w)
    (gg_,) = tf.gradients(g, w)
    (ggg,) = tf.gradients(gg_, w)
    assert run([y, g, gg_, ggg]) == [54.0, 54.0, 36.0, 12.0]


def test_gradients_inside_a_body() -> None:
    x = tf.constant(2.0)
    _, y = tf.while_loop(
        lambda i, y: i < 2,
        lambda i, y: (i + 1, tf.gradients(y * y * x, y)[0]),
        [0, x],
    )
    assert run([y, tf.gradients(y, x)[0]]) == [32.0, 48.0]


def test_what_is_random_is_drawn_once() -> None:
    x = tf.ones([4])
    y = three_times(lambda y: y * tf.random_uniform([4]), x)
    value, slope = run([y, tf.gradients(y, x)[0]])
    np.testing.assert_allclose(value, slope, rtol=1e-6)
    assert len(set(value.tolist())) == 4


def test_variables_are_read_and_written_each_time() -> None:
    v = tf.Variable(1.0)
    _, y = tf.while_loop(
        lambda i, y: i < 3, lambda i, y: (i + 1, y + v.assign_add(1.0)), [0, 0.0]
    )
    assert y.op.inputs[0].op.type == "While"
    with tf.Session() as session:
        session.run(v.initializer)
        assert session.run(y) == 9.0
        assert session.run(v) == 4.0


def test_gathered_invariants_get_a_dense_gradient() -> None:
    table = tf.Variable(np.ones((4, 2), "f"))
    y = three_times(lambda y: y + tf.gather(table, [1]), tf.zeros([1, 2]))
    (g,) = tf.gradients(y, table)
    np.testing.assert_array_equal(run(g), [[0, 0], [3, 3], [0, 0], [0, 0]])


def test_maximum_iterations() -> None:
    x = tf.constant(2.0)
    limit = tf.placeholder_with_default(3, [])
    i, y = tf.while_loop(
        lambda i, y: True, lambda i, y: (i + 1, y * x), [0, tf.constant(1.0)],
        maximum_iterations=limit,
    )  # fmt: skip
    assert run([i, y, tf.gradients(y, x)[0]]) == [3, 8.0, 12.0]
    assert run([i, y], {limit: 0}) == [0, 1.0]


def test_no_gradient_without_back_prop() -> None:
    x = tf.constant(2.0)
    y = tf.while_loop(lambda y: y < 9.0, lambda y: y * x, [x], back_prop=False)
    assert run(y) == 16.0 and tf.gradients(y, x) == [None]


def test_shape_invariants() -> None:
    x = tf.constant([1.0, 2.0])
    _, y = tf.while_loop(
        lambda i, y: i < 2,
        lambda i, y: (i + 1, tf.concat([y, y], 0)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )
    assert y.shape.as_list() == [None]
    value, slope = run([y, tf.gradients(y, x)[0]])
    np.testing.assert_array_equal(value, [1, 2] * 4)
    np.testing.assert_array_equal(slope, [4, 4])


def test_structures() -> None:
    x = tf.constant(2.0)
    one = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])
    assert isinstance(one, tf.Tensor)
    same = tf.while_loop(
        lambda i: i < 3, lambda i: (i + 1,), [0], return_same_structure=True
    )
    assert isinstance(same, list) and isinstance(
        gg.while_loop(lambda i: i < 3, lambda i: [i + 1], [0]), list
    )
    _, found = tf.while_loop(
        lambda i, d: i < 3,
        lambda i, d: (i + 1, {"a": (d["a"][0] * x,)}),
        [0, {"a": (x,)}],
    )
    assert run([one, found["a"][0]]) == [3, 16.0]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: tf.while_loop(lambda i: i < 3, lambda i: i, []), TypeError, "provide"),
        (lambda: tf.while_loop(3, lambda i: i, [0]), TypeError, "'cond' must be call"),
        (lambda: tf.while_loop(lambda i: i < 3, 4, [0]), TypeError, "must be callable"),
        (
            lambda: tf.while_loop(lambda i, j: i < 3, lambda i, j: i + 1, [0, 1]),
            ValueError,
            "nested structure",
        ),
        (
            lambda: tf.while_loop(
                lambda i: i < 3, lambda i: tf.cast(i, tf.float32), [0]
            ),
            TypeError,
            "enters the loop with type int32 but has type float32",
        ),
        (
            lambda: tf.while_loop(
                lambda y: True, lambda y: tf.concat([y, y], 0), [tf.ones([2])]
            ),
            ValueError,
            r"enters the loop with shape \(2,\), but has shape \(4,\)",
        ),
        (
            lambda: tf.while_loop(
                lambda y: True, lambda y: y, [tf.ones([2])],
                shape_invariants=[tf.TensorShape([3])],
            ),
            ValueError,
            "not compatible",
        ),
        (
            lambda: tf.while_loop(
                lambda i: i < 3, lambda i: i + 1, [0], parallel_iterations=0
            ),
            TypeError,
            "positive integer",
        ),
    ],
)  # fmt: skip
def test_misuse(make: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


@pytest.mark.parametrize("value", [1, [True, False]])
def test_the_condition_must_be_one_boolean(value: Any) -> None:
    y = tf.while_loop(lambda i: tf.constant(value), lambda i: i + 1, [0])
    with pytest.raises(gg.errors.InvalidArgumentError, match="condition of a loop"):
        run(y)


def growing(x: tf.Tensor, count: Any) -> tf.Tensor:
    return tf.while_loop(
        lambda i, y: i < count,
        lambda i, y: (i + 1, tf.concat([tf.sin(y) * x[0], y[:1]], 0)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )[1]


def test_second_order_where_shapes_change() -> None:
    """TensorFlow 2.21 refuses this: it pads by less than nothing."""
    report = gg.check_gradients(lambda x: growing(x, 3), np.array([0.6, -0.8]))
    assert report.ok, report


def test_a_hundred_shapes_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[int] = []
    monkeypatch.setattr(
        plan, "lower_stage", lambda *a: lowered.append(1) or lower_stage(*a)
    )
    x = tf.constant([0.6, -0.8])
    (g,) = tf.gradients(growing(x, 100), x)
    with tf.Session() as session:
        first = session.run(g)
        assert len(lowered) > 200
        lowered.clear()
        np.testing.assert_array_equal(session.run(g), first)
    assert not lowered


def test_a_run_that_fails_inside_a_loop_writes_nothing() -> None:
    v = tf.Variable(np.zeros(4, np.float32))

    def body(i: Any) -> Any:
        bumped = v.assign_add(tf.ones([4]))
        return i + 1 + 0 * tf.cast(tf.gather(bumped, i), tf.int32)

    count = tf.placeholder(tf.int32, [])
    last = tf.while_loop(lambda i: i < count, body, [0])
    with tf.Session() as session:
        session.run(v.initializer)
        with pytest.raises(tf.errors.InvalidArgumentError, match="not in"):
            session.run(last, {count: 6})
        assert session.run(v).tolist() == [0.0] * 4
        assert session.run(last, {count: 3}) == 3
        assert session.run(v).tolist() == [3.0] * 4
