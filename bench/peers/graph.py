"""gpugrad and TensorFlow, under the same names, each in a Session."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bench.peers import Step, on_gpu
from bench.workloads import RATE, Workload

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def library(name: str) -> Any:
    """The module that a script of TensorFlow 1 imports as ``tf``."""
    if name == "gpugrad":
        import gpugrad.compat.v1 as tf
    else:
        import tensorflow.compat.v1 as tf
    return tf


class Ops:
    """The functions of a workload in graph ops."""

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.tanh, self.exp, self.sigmoid = tf.tanh, tf.exp, tf.sigmoid
        self.relu, self.softmax = tf.nn.relu, tf.nn.softmax
        self.matmul, self.reshape, self.transpose = tf.matmul, tf.reshape, tf.transpose
        self.sum, self.concat = tf.reduce_sum, tf.concat

    def split(self, x: Any, parts: int, axis: int) -> Any:
        """Equal parts."""
        return self.tf.split(x, parts, axis)

    def gelu(self, x: Any) -> Any:
        """The tanh form."""
        return 0.5 * x * (1.0 + self.tf.tanh(0.7978845608 * (x + 0.044715 * x * x * x)))

    def layer_norm(self, x: Any, scale: Any, shift: Any) -> Any:
        """Over the last axis."""
        tf = self.tf
        mean = tf.reduce_mean(x, -1, keepdims=True)
        centred = x - mean
        variance = tf.reduce_mean(centred * centred, -1, keepdims=True)
        return centred * tf.rsqrt(variance + 1e-5) * scale + shift

    def cross_entropy(self, logits: Any, labels: Any) -> Any:
        """Mean softmax cross entropy."""
        tf = self.tf
        return tf.reduce_mean(
            tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )

    def conv2d(self, x: Any, kernel: Any) -> Any:
        """SAME, NHWC."""
        return self.tf.nn.conv2d(x, kernel, strides=[1, 1, 1, 1], padding="SAME")

    def max_pool(self, x: Any) -> Any:
        """2 x 2."""
        return self.tf.nn.max_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "SAME")

    def scan(self, step: Callable[..., Any], state: Any, xs: Any) -> Any:
        """The last state of a loop over the rows of ``xs``."""
        tf, n = self.tf, int(xs.shape[0])

        def body(i: Any, *state: Any) -> Any:
            return (i + 1, *step(state, xs[i]))

        loop = tf.while_loop(
            lambda i, *_: i < n, body, (tf.constant(0), *state), maximum_iterations=n
        )
        return loop[1:]


def build(name: str, workload: Workload) -> tuple[Any, list[Any], dict[Any, Any]]:
    """A session, what a step fetches, and what it is fed: NumPy arrays, as in a script.

    On a GPU they lie there, as the other peers' data does.
    """
    tf = library(name)
    graph = tf.Graph()
    with graph.as_default():
        data = {k: tf.placeholder(a.dtype, a.shape) for k, a in workload.data().items()}
        feed = {data[k]: a for k, a in workload.data().items()}
        initial = workload.params()
        if workload.update == "none":
            params = {k: tf.placeholder(a.dtype, a.shape) for k, a in initial.items()}
            feed |= {params[k]: a for k, a in initial.items()}
        else:
            params = {k: tf.Variable(a) for k, a in initial.items()}
        seen = dict(params)
        if workload.sparse:
            table, ids = workload.sparse
            seen["rows"] = tf.gather(params[table], data[ids])
        loss = workload.loss(Ops(tf), seen, data)
        fetches: list[Any] = [loss]
        method = _aggregation(tf, workload)
        if workload.update == "none":
            xs = list(params.values())
            fetches += tf.gradients(loss, xs, aggregation_method=method)
        else:
            kind = {"sgd": "GradientDescentOptimizer", "adam": "AdamOptimizer"}
            optimizer = getattr(tf.train, kind[workload.update])(RATE)
            fetches.append(optimizer.minimize(loss))
        init = tf.global_variables_initializer()
    session = tf.Session(graph=graph)
    session.run(init)
    if on_gpu():
        import cupy

        feed = {k: cupy.asarray(a) for k, a in feed.items()}
    return session, fetches, feed


def make(name: str, workload: Workload) -> Step:
    """One Session.run a call."""
    session, fetches, feed = build(name, workload)
    if workload.update == "none":
        return lambda: session.run(fetches, feed)
    return lambda: session.run(fetches, feed)[:1]


def traffic(workload: Workload) -> int | None:
    """Bytes that gpugrad's program reads and writes in a step, with none in a cache.

    None where a step is more than one program, as with a loop.
    """
    import gpugrad as gg
    from gpugrad.compiler.cost import bytes_moved

    if workload.name == "lstm_loop":
        return None
    session, fetches, feed = build("gpugrad", workload)
    return bytes_moved(gg.explain(fetches, feed, session).program)


def _aggregation(tf: Any, workload: Workload) -> Any:
    for method in ("EXPERIMENTAL_TREE", "EXPERIMENTAL_ACCUMULATE_N"):
        if method.lower() in workload.name:
            return getattr(tf.AggregationMethod, method)
    return None
