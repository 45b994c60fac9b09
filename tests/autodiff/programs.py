"""Programs whose gradient graphs TensorFlow built, too: record.py kept its nodes.

Each takes a TensorFlow 1 module and gives (ys, xs, further arguments of gradients).
``x`` and ``y`` are float32 [2, 3], ``b`` is [3], ``s`` a scalar, ``d`` and ``e`` have
an unknown shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

PROGRAMS: dict[str, Callable[..., Any]] = {}


def program(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add a program of the table; placeholders come by the names of arguments."""
    PROGRAMS[function.__name__] = function
    return function


SHAPES: dict[str, Any] = {
    "x": [2, 3],
    "y": [2, 3],
    "w": [3, 4],
    "b": [3],
    "s": [],
    "d": None,
    "e": None,
    "rows": [None, 3],
    "table": [5, 2],
    "image": [1, 4, 4, 2],
    "kernel": [3, 3, 2, 2],
}


def arguments(tf: Any, function: Callable[..., Any]) -> list[Any]:
    """A placeholder for each argument after the module."""
    count = function.__code__.co_argcount
    return [
        tf.placeholder(tf.float32, SHAPES[name], name=name)
        for name in function.__code__.co_varnames[1:count]
    ]


def _add_table() -> None:
    """The per-op table: one op, gradients with respect to every argument."""
    rows: dict[str, Callable[..., Any]] = {
        "add": lambda tf, x, y: x + y,
        "add_row": lambda tf, x, b: x + b,
        "subtract": lambda tf, x, y: x - y,
        "multiply": lambda tf, x, y: x * y,
        "multiply_scalar": lambda tf, x, s: x * s,
        "multiply_unknown": lambda tf, d, e: d * e,
        "divide_row": lambda tf, x, b: x / b,
        "negative": lambda tf, x: -x,
        "power": lambda tf, x, y: x**y,
        "sqrt": lambda tf, x: tf.sqrt(x),
        "exp": lambda tf, x: tf.exp(x),
        "log": lambda tf, x: tf.log(x),
        "sin": lambda tf, x: tf.sin(x),
        "tanh": lambda tf, x: tf.tanh(x),
        "sigmoid": lambda tf, x: tf.sigmoid(x),
        "absolute": lambda tf, x: tf.abs(x),
        "sign": lambda tf, x: tf.sign(x),
        "square": lambda tf, x: tf.square(x),
        "maximum": lambda tf, x, y: tf.maximum(x, y),
        "multiply_rows": lambda tf, rows, b: rows * b,
        "squared_difference": lambda tf, x, y: tf.squared_difference(x, y),
        "matmul": lambda tf, x, w: tf.matmul(x, w),
        "reduce_sum": lambda tf, x: tf.reduce_sum(x),
        "reduce_sum_unknown": lambda tf, d: tf.reduce_sum(d),
        "reduce_sum_axis": lambda tf, x: tf.reduce_sum(x, 1),
        "reduce_sum_axis_unknown": lambda tf, d: tf.reduce_sum(d, 1),
        "reduce_mean": lambda tf, x: tf.reduce_mean(x),
        "reduce_mean_unknown": lambda tf, d: tf.reduce_mean(d),
        "reduce_max": lambda tf, x: tf.reduce_max(x, 1),
        "reshape": lambda tf, x: tf.reshape(x, [6]),
        "transpose": lambda tf, x: tf.transpose(x),
        "expand_dims": lambda tf, x: tf.expand_dims(x, 0),
        "concat": lambda tf, x, y: tf.concat([x, y], 0),
        "stack": lambda tf, x, y: tf.stack([x, y]),
        "unstack": lambda tf, x: tf.unstack(x),
        "split": lambda tf, x: tf.split(x, 3, 1),
        "index": lambda tf, x: x[0],
        "slice": lambda tf, x: tf.slice(x, [0, 0], [1, 2]),
        "tile": lambda tf, x: tf.tile(x, [1, 2]),
        "pad": lambda tf, x: tf.pad(x, [[1, 1], [0, 0]]),
        "gather": lambda tf, x: tf.gather(x, [0]),
        "cast": lambda tf, x: tf.cast(x, tf.float64),
        "where_v1": lambda tf, x, y: tf.where(tf.constant([[True] * 3] * 2), x, y),
        "relu": lambda tf, x: tf.nn.relu(x),
        "softmax": lambda tf, x: tf.nn.softmax(x),
        "log_softmax": lambda tf, x: tf.nn.log_softmax(x),
        "softplus": lambda tf, x: tf.nn.softplus(x),
        "bias_add": lambda tf, x, b: tf.nn.bias_add(x, b),
        "l2_loss": lambda tf, x: tf.nn.l2_loss(x),
        "cumsum": lambda tf, x: tf.cumsum(x),
        "conv2d": lambda tf, image, kernel: tf.nn.conv2d(
            image, kernel, [1, 1, 1, 1], "SAME"
        ),
        "max_pool": lambda tf, image: tf.nn.max_pool(
            image, [1, 2, 2, 1], [1, 2, 2, 1], "SAME"
        ),
        "sparse_cross_entropy": lambda tf, x: (
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=[0, 1], logits=x)
        ),
    }

    def with_all_xs(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(tf: Any) -> Any:
            xs = arguments(tf, function)
            return function(tf, *xs), xs, {}

        return run

    for name, function in rows.items():
        PROGRAMS[name] = with_all_xs(function)


_add_table()


# --- whole graphs ---------------------------------------------------------------------


@program
def seed_example(tf: Any) -> Any:
    a = tf.ones([1, 2])
    b = 5 * a
    return [b + a], [a], {}


@program
def unknown_shape(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, name="x")
    return x * x + 3 * x, x, {}


def _layer(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [4, 3], name="x")
    w = tf.placeholder(tf.float32, [3, 2], name="w")
    b = tf.placeholder(tf.float32, [2], name="b")
    return x, w, b


@program
def layer(tf: Any) -> Any:
    x, w, b = _layer(tf)
    return tf.matmul(x, w) + b, [x, w, b], {}


@program
def layer_gated(tf: Any) -> Any:
    x, w, b = _layer(tf)
    return tf.matmul(x, w) + b, [x, w, b], {"gate_gradients": True}


@program
def layer_colocated(tf: Any) -> Any:
    x, w, b = _layer(tf)
    y = tf.nn.relu(tf.matmul(x, w) + b)
    return y, [x, w, b], {"colocate_gradients_with_ops": True}


@program
def layer_bias_add(tf: Any) -> Any:
    x, w, b = _layer(tf)
    return tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), b)), [x, w, b], {}


@program
def several_ys(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2, 3], name="x")
    return [x * 1.0, x * 2.0], x, {}


@program
def given_grad_ys(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [4], name="x")
    return x * 2.0, x, {"grad_ys": [[1.0, 2.0, 3.0, 4.0]]}


@program
def mixed_ys(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2, 3], name="x")
    ys = [x * 2.0, 3.0, [x, x], x * 3.0]
    return ys, x, {"grad_ys": [None, None, None, [[1.0, 2.0, 3.0]] * 2]}


@program
def embedding(tf: Any) -> Any:
    table = tf.placeholder(tf.float32, [5, 2], name="table")
    return tf.gather(table, [1, 1, 3]), table, {}


@program
def embedding_twice(tf: Any) -> Any:
    table = tf.placeholder(tf.float32, [5, 2], name="table")
    first = tf.gather(table, [0, 1])
    second = tf.gather(table, tf.constant([1], tf.int64))
    return [first, second], table, {"gate_gradients": True}


@program
def embedding_and_dense(tf: Any) -> Any:
    table = tf.placeholder(tf.float32, [5, 2], name="table")
    return [tf.gather(table, [0, 1]), table * 2.0], table, {}


@program
def slices_as_grad_ys(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [5, 3], name="x")
    rows = tf.gradients(tf.gather(x, [0]), x)[0]
    return tf.identity(x), x, {"grad_ys": [rows]}


@program
def completion_order(tf: Any) -> Any:
    x = tf.constant(2.0, name="x")
    a = tf.exp(x, "a")
    b = tf.sin(x, "b")
    c = tf.cos(x, "c")
    return tf.multiply(tf.multiply(c, a, "ca"), b, "cab"), x, {}


def _sum_of_four(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2], name="x")
    y = x * 2.0
    return y + y + y + y, [x, y]


@program
def sum_default(tf: Any) -> Any:
    return *_sum_of_four(tf), {}


@program
def sum_tree(tf: Any) -> Any:
    return *_sum_of_four(tf), {"aggregation_method": 1}


@program
def sum_accumulate(tf: Any) -> Any:
    return *_sum_of_four(tf), {"aggregation_method": 2}


def _on_devices(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2], name="x")
    with tf.device("/gpu:0"):
        y = x * x
    with tf.device("/gpu:1"):
        z = x * y
    with tf.device("/cpu:0"):
        u = x * z
    return [u, z], [x, y]


@program
def devices(tf: Any) -> Any:
    return *_on_devices(tf), {}


@program
def devices_colocated(tf: Any) -> Any:
    how = {"colocate_gradients_with_ops": True, "gate_gradients": True}
    return *_on_devices(tf), how


@program
def missing_output(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [4], name="x")
    first, second = tf.split(x, 2)
    return first * 2.0, [x, second], {}


@program
def scopes(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2], name="x")
    with tf.name_scope("net"):
        y = tf.square(tf.sin(x, name="inner"), name="sq")
    return y, x, {"name": "g"}


@program
def under_control_dependencies(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2], name="x")
    with tf.control_dependencies([x]):
        z = tf.exp(x * x)
    return z, x, {}


@program
def variable(tf: Any) -> Any:
    v = tf.get_variable("v", initializer=2.0)
    u = tf.get_variable("u", initializer=[1.0, 2.0])
    return v * v + v, [v, u], {"unconnected_gradients": "zero"}


@program
def unconnected_zeros(tf: Any) -> Any:
    x = tf.placeholder(tf.float32, [2], name="x")
    d = tf.placeholder(tf.float32, [None], name="d")
    xs = [x, d, tf.zeros([2000]), tf.constant([True])]
    return tf.constant(1.0), xs, {"unconnected_gradients": "zero"}


@program
def second_order(tf: Any) -> Any:
    # In float32 TensorFlow exchanges the factors of a product's gradient.
    x = tf.placeholder(tf.float64, [2], name="x")
    first = tf.gradients(tf.reduce_sum(x * x * x), x)[0]
    return first, x, {}
