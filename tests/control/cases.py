"""Loops, branches and arrays in each other, for any library with TensorFlow's names.

Each case gets the library and gives a list of tensors to run, None among them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

CASES: dict[str, Callable[[Any], list[Any]]] = {}


def case(function: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    CASES[function.__name__] = function
    return function


def _slopes(tf: Any, y: Any, xs: list[Any], order: int = 2) -> list[Any]:
    """Gradients, and those of their sum, to ``order``."""
    found: list[Any] = []
    for _ in range(order):
        slopes = tf.gradients(y, xs)
        found += slopes
        y = tf.add_n([tf.reduce_sum(g * g) for g in slopes if g is not None])
    return found


@case
def cond_in_while_in_function(tf: Any) -> list[Any]:
    x, w = tf.constant(0.7), tf.constant([1.1, -0.4])

    @tf.function
    def f(a: Any, b: Any) -> Any:
        def body(i: Any, y: Any) -> Any:
            low = lambda: y * b  # noqa: E731
            high = lambda: tf.cond(i > 3, lambda: y + a, lambda: tf.sin(y) * a)  # noqa: E731
            return i + 1, tf.cond(i < 2, low, high)

        return tf.while_loop(lambda i, y: i < 5, body, [0, b])[1]

    y = f(x, w)
    return [y, *_slopes(tf, y, [x, w])]


@case
def while_in_cond(tf: Any) -> list[Any]:
    x, p = tf.constant(1.3), tf.placeholder_with_default(True, [])
    loop = lambda: tf.while_loop(lambda y: y < 9.0, lambda y: y * x, [x])  # noqa: E731
    y = tf.cond(p, loop, lambda: x)
    return [y, *_slopes(tf, y, [x])]


@case
def while_in_while(tf: Any) -> list[Any]:
    x, w = tf.constant(0.5), tf.constant(1.2)

    def outer(i: Any, y: Any) -> Any:
        inner = tf.while_loop(
            lambda j, z: j < i, lambda j, z: (j + 1, tf.sin(z) * w + x), [0, y]
        )
        return i + 1, inner[1]

    y = tf.while_loop(lambda i, y: i < 4, outer, [0, x])[1]
    return [y, *_slopes(tf, y, [x, w])]


@case
def zero_iterations_and_none(tf: Any) -> list[Any]:
    x, w, q = tf.constant(2.0), tf.constant(3.0), tf.constant(4.0)
    n = tf.placeholder_with_default(0, [])
    _, y, c = tf.while_loop(
        lambda i, y, c: i < n, lambda i, y, c: (i + 1, y * w, c + 1.0), [0, x, q]
    )
    return [y, *tf.gradients(y, [x, w, q]), *tf.gradients(c, [x, w, q])]


@case
def shapes_that_grow(tf: Any) -> list[Any]:
    x = tf.constant([1.0, 2.0])
    _, y = tf.while_loop(
        lambda i, y: i < 3,
        lambda i, y: (i + 1, tf.concat([y * x[0], tf.sin(y[:1])], 0)),
        [0, x],
        shape_invariants=[tf.TensorShape([]), tf.TensorShape([None])],
    )
    return [y, *_slopes(tf, y, [x], order=1)]  # TensorFlow fails at the second


@case
def swapped_and_passed_on(tf: Any) -> list[Any]:
    a, b, c = tf.constant(1.5), tf.constant(-0.5), tf.constant(2.0)
    _, x, y, z = tf.while_loop(
        lambda i, *_: i < 3,
        lambda i, x, y, z: (i + 1, y, x * z, z),
        [0, a, b, c],
    )
    return [x, y, z, *_slopes(tf, x * y + z, [a, b, c])]


@case
def gathered_rows_of_a_variable(tf: Any) -> list[Any]:
    table = tf.get_variable("table", initializer=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    _, y = tf.while_loop(
        lambda i, y: i < 4,
        lambda i, y: (i + 1, tf.sin(y) * tf.gather(table, [i % 3, 0])),
        [0, tf.ones([2, 2])],
    )
    (g,) = tf.gradients(y, table)
    return [y, tf.convert_to_tensor(g)]


@case
def gradients_and_stops_inside(tf: Any) -> list[Any]:
    x = tf.constant(0.8)

    def body(i: Any, y: Any) -> Any:
        slope = tf.gradients(tf.sin(y * x) * y, y)[0]
        return i + 1, y - 0.1 * slope + tf.stop_gradient(y * y) * x

    y = tf.while_loop(lambda i, y: i < 3, body, [0, x])[1]
    return [y, *_slopes(tf, y, [x], order=1)]


@case
def map_scan_and_folds(tf: Any) -> list[Any]:
    x, w = tf.constant([[0.5, 1.0], [1.5, -1.0], [0.2, 0.3]]), tf.constant(0.9)
    ys = [
        tf.map_fn(lambda e: tf.sin(e) * w, x),
        tf.scan(lambda a, e: tf.tanh(a * w) + e, x),
        tf.scan(lambda a, e: a * e + w, x, reverse=True),
        tf.scan(lambda a, e: a * e, x, initializer=tf.ones([2]) * w),
        tf.foldl(lambda a, e: tf.sin(a) * e, x),
        tf.foldr(lambda a, e: a * e + w, x, initializer=tf.constant([w_, w_])),
    ]
    total = tf.add_n([tf.reduce_sum(y) for y in ys])
    return [*ys, *_slopes(tf, total, [x, w])]


w_ = 0.25


@case
def several_outputs_mapped(tf: Any) -> list[Any]:
    x = tf.constant([1.0, 2.0, 3.0])
    a, b = tf.map_fn(
        lambda t: (t[0] * t[1], t[0] + 1.0),
        (x, x * 2.0),
        dtype=(tf.float32, tf.float32),
    )
    return [a, b, *_slopes(tf, a * b, [x])]


@case
def map_in_map(tf: Any) -> list[Any]:
    x = tf.constant([[0.5, 1.0], [1.5, -1.0]])
    y = tf.map_fn(lambda row: tf.map_fn(lambda e: e * e * row[0], row), x)
    return [y, *_slopes(tf, y, [x], order=1)]


@case
def array_written_and_read(tf: Any) -> list[Any]:
    x = tf.constant([0.3, -0.4, 0.5])
    array = tf.TensorArray(tf.float32, size=5, clear_after_read=False)
    array = array.scatter([0, 1, 2], x)

    def body(i: Any, a: Any) -> Any:
        return i + 1, a.write(i, tf.sin(a.read(i - 1)) * a.read(i - 3) + 1.0)

    array = tf.while_loop(lambda i, a: i < 5, body, [3, array])[1]
    y = array.stack()
    return [y, array.gather([4, 1]), array.size(), *_slopes(tf, y, [x], order=1)]


@case
def array_in_a_branch(tf: Any) -> list[Any]:
    x = tf.constant([0.3, -0.4, 0.5])
    array = tf.TensorArray(tf.float32, size=3, element_shape=[])

    def body(i: Any, a: Any) -> Any:
        even = tf.equal(i % 2, 0)
        return i + 1, tf.cond(even, lambda: a.write(i, x[i] * x[i]), lambda: a)

    array = tf.while_loop(lambda i, a: i < 3, body, [0, array])[1]
    y = array.stack()
    return [y, *tf.gradients(y, x)]


@case
def array_of_pieces(tf: Any) -> list[Any]:
    x = tf.constant([[1.0], [2.0], [3.0], [4.0]])
    array = tf.TensorArray(tf.float32, size=3, infer_shape=False).split(x, [1, 2, 1])
    out = tf.TensorArray(tf.float32, size=3, infer_shape=False)
    for i in range(3):
        out = out.write(i, array.read(i) * float(i + 1))
    y = out.concat()
    return [y, *tf.gradients(y * y, x)]


@case
def chosen_cases(tf: Any) -> list[Any]:
    x = tf.constant(1.5)
    i = tf.placeholder_with_default(2, [])
    y = tf.switch_case(i, [lambda: x, lambda: x * x, lambda: tf.sin(x)])
    z = tf.case(
        [(tf.less(x, 1.0), lambda: x * 3.0), (tf.less(x, 2.0), lambda: x * x * x)],
        default=lambda: -x,
    )
    return [y, z, *_slopes(tf, y * z, [x])]
