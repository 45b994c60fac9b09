"""The workloads of the benchmarks, in each library that is installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

Runner = Callable[[], Any]
BATCH, SIZES = 8, (4, 16, 3)


def available(name: str) -> bool:
    """True when the peer can be imported."""
    return importlib.util.find_spec(name) is not None


def graph_library(name: str) -> Any:
    """gpugrad or TensorFlow, under TensorFlow 1's names."""
    if name == "gpugrad":
        import gpugrad.compat.v1 as tf
    else:
        import tensorflow.compat.v1 as tf

        tf.disable_eager_execution()
    return tf


def chain(tf: Any, length: int) -> tuple[Any, Any]:
    """x, and ``length`` multiplications of it."""
    x = tf.placeholder(tf.float32, [3], name="x")
    y = x
    for _ in range(length):
        y = y * x
    return x, y


def jax_chain(length: int) -> Callable[[Any], Any]:
    """The same chain as a function."""

    def function(x: Any) -> Any:
        y = x
        for _ in range(length):
            y = y * x
        return y

    return function


def mlp_data() -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Inputs, one-hot targets, and the initial weights of the small MLP."""
    rng = np.random.default_rng(0)
    n, hidden, classes = SIZES
    x = rng.standard_normal((BATCH, n)).astype(np.float32)
    t = np.eye(classes, dtype=np.float32)[rng.integers(0, classes, BATCH)]
    weights = [
        rng.standard_normal((n, hidden)).astype(np.float32) * 0.5,
        np.zeros(hidden, np.float32),
        rng.standard_normal((hidden, classes)).astype(np.float32) * 0.5,
        np.zeros(classes, np.float32),
    ]
    return x, t, weights


def mlp_step_graph(name: str) -> Runner:
    """One SGD step of the small MLP in a Session."""
    tf = graph_library(name)
    x_value, t_value, initial = mlp_data()
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, x_value.shape)
        t = tf.placeholder(tf.float32, t_value.shape)
        variables = [tf.Variable(w) for w in initial]
        w1, b1, w2, b2 = variables
        hidden = tf.tanh(tf.matmul(x, w1) + b1)
        logits = tf.matmul(hidden, w2) + b2
        losses = tf.nn.softmax_cross_entropy_with_logits_v2(labels=t, logits=logits)
        loss = tf.reduce_mean(losses)
        grads = tf.gradients(loss, variables)
        step = tf.group(*[tf.assign_sub(v, 0.1 * g) for v, g in zip(variables, grads)])
        init = tf.global_variables_initializer()
    session = tf.Session(graph=graph)
    session.run(init)
    feed = {x: x_value, t: t_value}
    return lambda: session.run([loss, step], feed)


def mlp_step_jax() -> Runner:
    """One SGD step of the small MLP, jitted."""
    import jax
    import jax.numpy as jnp

    x, t, weights = mlp_data()

    def loss(weights: Any, x: Any, t: Any) -> Any:
        w1, b1, w2, b2 = weights
        logits = jnp.tanh(x @ w1 + b1) @ w2 + b2
        return -jnp.mean(jnp.sum(t * jax.nn.log_softmax(logits), axis=1))

    @jax.jit
    def step(weights: Any, x: Any, t: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(weights, x, t)
        return value, [w - 0.1 * g for w, g in zip(weights, grads)]

    state = [jnp.asarray(w) for w in weights]

    def run() -> float:
        nonlocal state
        value, state = step(state, x, t)
        return float(value)

    return run


def mlp_step_numpy() -> Runner:
    """One SGD step of the small MLP by hand, into buffers that are reused."""
    x, t, (w1, b1, w2, b2) = mlp_data()
    hidden = np.empty((BATCH, SIZES[1]), np.float32)
    logits = np.empty((BATCH, SIZES[2]), np.float32)
    back = np.empty_like(hidden)
    slope = np.empty_like(hidden)
    gw1, gb1, gw2, gb2 = (np.empty_like(w) for w in (w1, b1, w2, b2))
    total = np.empty((BATCH, 1), np.float32)
    scratch = np.empty_like(logits)

    def run() -> float:
        np.matmul(x, w1, out=hidden)
        np.add(hidden, b1, out=hidden)
        np.tanh(hidden, out=hidden)
        np.matmul(hidden, w2, out=logits)
        np.add(logits, b2, out=logits)
        np.maximum.reduce(logits, axis=1, keepdims=True, out=total)
        np.subtract(logits, total, out=logits)
        np.exp(logits, out=scratch)
        np.add.reduce(scratch, axis=1, keepdims=True, out=total)
        np.divide(scratch, total, out=scratch)
        np.log(total, out=total)
        np.subtract(logits, total, out=logits)
        np.multiply(logits, t, out=logits)
        loss = -float(np.add.reduce(logits, axis=None)) / BATCH
        np.subtract(scratch, t, out=scratch)
        np.multiply(scratch, 1.0 / BATCH, out=scratch)
        np.matmul(hidden.T, scratch, out=gw2)
        np.add.reduce(scratch, axis=0, out=gb2)
        np.matmul(scratch, w2.T, out=back)
        np.multiply(hidden, hidden, out=slope)
        np.subtract(1.0, slope, out=slope)
        np.multiply(back, slope, out=back)
        np.matmul(x.T, back, out=gw1)
        np.add.reduce(back, axis=0, out=gb1)
        for weight, grad in ((w1, gw1), (b1, gb1), (w2, gw2), (b2, gb2)):
            np.multiply(grad, 0.1, out=grad)
            np.subtract(weight, grad, out=weight)
        return loss

    return run


def elementwise_values(size: int) -> list[np.ndarray]:
    """x, w, b of the elementwise workload."""
    rng = np.random.default_rng(1)
    return [rng.standard_normal(size).astype(np.float32) for _ in range(3)]


def elementwise_graph(name: str, size: int) -> Runner:
    """sum(tanh(x w + b) exp(-x x)) and its three gradients, in a Session."""
    tf = graph_library(name)
    values = elementwise_values(size)
    graph = tf.Graph()
    with graph.as_default():
        x, w, b = inputs = [tf.placeholder(tf.float32, [size]) for _ in range(3)]
        y = tf.reduce_sum(tf.tanh(x * w + b) * tf.exp(-x * x))
        fetches = [y, *tf.gradients(y, inputs)]
    session = tf.Session(graph=graph)
    feed = dict(zip(inputs, values))
    return lambda: session.run(fetches, feed)


def elementwise_jax(size: int) -> Runner:
    """The same, jitted."""
    import jax
    import jax.numpy as jnp

    values = [jnp.asarray(v) for v in elementwise_values(size)]

    def function(x: Any, w: Any, b: Any) -> Any:
        return jnp.sum(jnp.tanh(x * w + b) * jnp.exp(-x * x))

    step = jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2)))
    return lambda: jax.block_until_ready(step(*values))


def elementwise_numpy(size: int) -> Runner:
    """The same as a user would write it in NumPy."""
    x, w, b = elementwise_values(size)

    def run() -> Any:
        t = np.tanh(x * w + b)
        e = np.exp(-x * x)
        y = np.sum(t * e)
        gb = e * (1 - t * t)
        gw = gb * x
        gx = gb * w - 2 * x * t * e
        return y, gx, gw, gb

    return run
