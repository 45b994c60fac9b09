"""Rows for the ops that contain graphs."""

from __future__ import annotations

from typing import Any

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

VECTOR = ((3,), -1.5, 1.5)
SCALAR = ((), 0.5, 1.5)


def _noise() -> Any:
    """Zero, by way of an op with state: what holds it is stateful."""
    zero = tf.py_func(lambda: np.float64(0.0), [], tf.float64)
    zero.set_shape([])
    return zero


def _called(x: Any, w: Any) -> Any:
    return tf.function(lambda a, b: (tf.sin(a) * b, a * a))(x, w)


def _called_twice(x: Any, w: Any) -> Any:
    f = tf.function(lambda a: tf.tanh(a * w))
    return f(f(x)) * x


def _stateful_call(x: Any) -> Any:
    return tf.function(lambda a: tf.exp(a) + _noise())(x)


def _chosen(taken: bool) -> Any:
    def build(x: Any, w: Any) -> Any:
        pred = tf.placeholder_with_default(taken, [])
        return tf.cond(pred, lambda: (tf.sin(x) * w, w), lambda: (x * x * x, x + w))

    return build


def _chosen_with_state(x: Any) -> Any:
    pred = tf.placeholder_with_default(True, [])
    return tf.cond(pred, lambda: tf.sin(x) + _noise(), lambda: x)


def _one_of(x: Any, w: Any) -> Any:
    index = tf.placeholder_with_default(1, [])
    return tf.switch_case(index, [lambda: x, lambda: tf.sin(x * w), lambda: w])


def _one_of_with_state(x: Any) -> Any:
    index = tf.placeholder_with_default(1, [])
    return tf.switch_case(index, [lambda: x, lambda: tf.sin(x) + _noise()])


def _loop(x: Any, w: Any) -> Any:
    def body(i: Any, a: Any, b: Any) -> Any:
        return i + 1, tf.sin(a * w) + b, b * w

    return tf.while_loop(lambda i, a, b: i < 3, body, [0, x, w])[1:]


def _loop_in_loop(x: Any, w: Any) -> Any:
    def inner(i: Any, a: Any) -> Any:
        b = tf.while_loop(
            lambda j, b: j < 2, lambda j, b: (j + 1, tf.sin(b) * x), [0, a]
        )
        return i + 1, b[1] + w

    return tf.while_loop(lambda i, a: i < 2, inner, [0, x])[1]


def _choice_in_loop(x: Any, w: Any) -> Any:
    def body(i: Any, a: Any) -> Any:
        even = tf.equal(i % 2, 0)
        return i + 1, tf.cond(even, lambda: tf.sin(a) * w, lambda: a + x)

    return tf.while_loop(lambda i, a: i < 3, body, [0, x])[1]


def _call_in_loop(x: Any, w: Any) -> Any:
    f = tf.function(lambda a, b: tf.sin(a) * b)
    body = lambda i, a: (i + 1, f(a, w))  # noqa: E731
    return tf.while_loop(lambda i, a: i < 3, body, [0, x])[1]


def _loop_with_state(x: Any) -> Any:
    body = lambda i, a: (i + 1, tf.sin(a) + _noise())  # noqa: E731
    return tf.while_loop(lambda i, a: i < 3, body, [0, x])[1]


def _custom(x: Any, w: Any) -> Any:
    @tf.custom_gradient
    def f(a: Any, b: Any) -> Any:
        return tf.sin(a) * b, lambda dy: (dy * tf.cos(a) * b, dy * tf.sin(a))

    return f(x, w) * x


def _identities(x: Any, w: Any) -> Any:
    return [t * t for t in tf.identity_n([x, w])]


def _recomputed(x: Any, w: Any) -> Any:
    return tf.recompute_grad(lambda a, b: tf.sin(tf.exp(a) * b) * a)(x, w)


def _array_in_loop(x: Any, w: Any) -> Any:
    inputs = tf.TensorArray(tf.float64, size=3).unstack(x)
    outputs = tf.TensorArray(tf.float64, size=3)

    def body(i: Any, h: Any, array: Any) -> Any:
        h = tf.sin(h * w) + inputs.read(2 - i)
        return i + 1, h, array.write(i, h * inputs.read(i))

    start = [0, tf.constant(0.5, tf.float64), outputs]
    _, h, outputs = tf.while_loop(lambda i, *_: i < 3, body, start)
    return outputs.stack(), h


def _scattered_array(x: Any, w: Any) -> Any:
    array = tf.TensorArray(tf.float64, size=4).scatter([2, 0, 3], x * w)
    return array.write(3, tf.sin(w) * array.read(2)).stack()


def _array_that_grows(x: Any, w: Any) -> Any:
    array = tf.TensorArray(tf.float64, size=1, dynamic_size=True).write(0, x * w)
    array = array.write(1, tf.cos(x))

    def body(i: Any, a: Any) -> Any:
        return i + 1, a.write(i, tf.sin(a.read(i - 1)) * a.read(i - 2))

    _, array = tf.while_loop(lambda i, _: i < 4, body, [2, array])
    return array.gather([0, 3, 3, 1])


def _split_and_joined(x: Any, w: Any) -> Any:
    parts = tf.TensorArray(tf.float64, size=2, infer_shape=False)
    parts = parts.split(tf.sin(x * w), [1, 2])
    joined = tf.TensorArray(tf.float64, size=3, infer_shape=False)
    joined = joined.write(0, parts.read(1) * w).write(1, parts.read(0) * x[2])
    return tf.reshape(joined.write(2, parts.read(1)).concat(), [5])


def _gathered_in_loop(x: Any, w: Any) -> Any:
    table = tf.sin(x * w)
    body = lambda i, a: (i + 1, tf.sin(a) * tf.gather(table, i % 3) * w)  # noqa: E731
    return tf.while_loop(lambda i, _: i < 5, body, [1, w])[1]


def _slope_of_gathered(x: Any, w: Any) -> Any:
    return tf.gradients(_gathered_in_loop(x, w), x)[0]


def _mapped_and_scanned(x: Any, w: Any) -> Any:
    mapped = tf.map_fn(lambda v: tf.sin(v * w), x)
    scanned = tf.scan(lambda a, v: tf.sin(a * w) + v, x, reverse=True)
    return mapped, scanned, tf.foldl(lambda a, v: tf.sin(a) * v, x, w)


CASES = [
    Case("PartitionedCall", _called, [VECTOR, VECTOR]),
    Case("PartitionedCall", _called_twice, [VECTOR, VECTOR], label="twice"),
    Case("StatefulPartitionedCall", _stateful_call, [VECTOR]),
    Case("StatelessIf", _chosen(True), [VECTOR, VECTOR], label="then"),
    Case("StatelessIf", _chosen(False), [VECTOR, VECTOR], label="else"),
    Case("If", _chosen_with_state, [VECTOR]),
    Case("StatelessCase", _one_of, [VECTOR, VECTOR]),
    Case("Case", _one_of_with_state, [VECTOR]),
    Case("StatelessWhile", _loop, [VECTOR, VECTOR]),
    Case("StatelessWhile", _loop_in_loop, [VECTOR, VECTOR], label="nested"),
    Case("StatelessWhile", _choice_in_loop, [VECTOR, VECTOR], label="with_a_choice"),
    Case("StatelessWhile", _call_in_loop, [VECTOR, VECTOR], label="with_a_call"),
    Case("While", _loop_with_state, [VECTOR]),
    Case("StatelessWhile", _mapped_and_scanned, [VECTOR, SCALAR], label="over_rows"),
    Case("TensorListFromTensor", _array_in_loop, [VECTOR, SCALAR]),
    Case("TensorListStack", _array_in_loop, [VECTOR, SCALAR]),
    Case("TensorListGetItem", _array_that_grows, [VECTOR, SCALAR]),
    Case("TensorListSetItem", _array_that_grows, [VECTOR, SCALAR]),
    Case("TensorListWithout", _array_that_grows, [VECTOR, SCALAR]),
    Case("SumLists", _scattered_array, [VECTOR, SCALAR]),
    Case("TensorListGather", _array_that_grows, [VECTOR, SCALAR]),
    Case("TensorListScatterIntoExistingList", _scattered_array, [VECTOR, SCALAR]),
    Case("TensorListResize", _array_in_loop, [VECTOR, SCALAR]),
    Case("TensorListConcatV2", _split_and_joined, [VECTOR, SCALAR]),
    Case("TensorListSplit", _split_and_joined, [VECTOR, SCALAR]),
    Case("ConcatSaved", _slope_of_gathered, [VECTOR, SCALAR]),
    Case("SplitSaved", _slope_of_gathered, [VECTOR, SCALAR]),
    Case("IdentityN", _identities, [VECTOR, VECTOR]),
    Case("IdentityN", _custom, [VECTOR, VECTOR], label="custom_gradient"),
    Case("RecomputeBarrier", _recomputed, [VECTOR, VECTOR]),
]
