"""What has no loss: building graphs, calls, loops, Hessians. One function a peer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.peers import Step
from bench.peers.graph import library


@dataclass(frozen=True)
class Single:
    """A measurement with its own code for each peer.

    ``per``: what a call's time is divided by, such as the number of ops built.
    ``timed``: the step returns (seconds, results), because a part of it is set-up.
    """

    name: str
    title: str
    makers: dict[str, Callable[[], Step]]
    per: int = 1
    timed: bool = False


# --- building -------------------------------------------------------------------------


def _chain(tf: Any, length: int) -> tuple[Any, Any]:
    x = tf.placeholder(tf.float32, [3], name="x")
    y = x
    for _ in range(length):
        y = y * x
    return x, y


def _building(name: str, length: int, part: str) -> Step:
    tf = library(name)

    def run() -> Any:
        with tf.Graph().as_default() as graph:
            start = time.perf_counter()
            x, y = _chain(tf, length)
            built = time.perf_counter()
            if part == "build":
                return built - start, []
            if part == "gradients":
                dy = tf.gradients(y, x)[0]
                return (time.perf_counter() - built) / 3, [float(dy is None)]
        session = tf.Session(graph=graph)
        start = time.perf_counter()
        result = session.run(y, {x: np.ones(3, np.float32)})
        return time.perf_counter() - start, [result]

    return run


def _first_run_jax(length: int) -> Step:
    import jax

    def run() -> Any:
        def function(x: Any) -> Any:
            y = x
            for _ in range(length):
                y = y * x
            return y

        start = time.perf_counter()
        result = jax.block_until_ready(jax.jit(function)(np.ones(3, np.float32)))
        return time.perf_counter() - start, [result]

    return run


def _build_workloads() -> list[Single]:
    found = []
    for length in (1_000, 10_000, 100_000):
        for part, title in (
            ("build", "build a node"),
            ("gradients", "a node that gradients() makes"),
            ("run", "first run, an op"),
        ):
            makers: dict[str, Callable[[], Step]] = {
                "gpugrad": lambda n=length, p=part: _building("gpugrad", n, p)
            }
            # TensorFlow's first run is quadratic: minutes at 6,000 ops.
            if length == 1_000 or (length == 10_000 and part != "run"):
                makers["tensorflow"] = lambda n=length, p=part: _building(
                    "tensorflow", n, p
                )
            if part == "run" and length == 1_000:
                makers["jax"] = lambda n=length: _first_run_jax(n)
            found.append(
                Single(f"{part}_{length}", f"{title}, chain of {length:,}", makers)
            )
    return [
        Single(s.name, s.title, s.makers, int(s.name.partition("_")[2]), timed=True)
        for s in found
    ]


# --- calls ----------------------------------------------------------------------------


def _session_call(name: str) -> Step:
    tf = library(name)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [3])
        y = x + 1.0
    session = tf.Session(graph=graph)
    feed = {x: np.ones(3, np.float32)}
    return lambda: [session.run(y, feed)]


def _call_gpugrad() -> Step:
    import gpugrad as gg

    function = gg.function(lambda x: x + 1.0)
    value = function(np.ones(3, np.float32)) - 1.0
    return lambda: [function(value)]


def _call_jax() -> Step:
    import jax

    function = jax.jit(lambda x: x + 1.0)
    value = jax.numpy.ones(3, np.float32)
    return lambda: [jax.block_until_ready(function(value))]


def _call_torch(compiled: bool) -> Step:
    import torch

    def function(x: Any) -> Any:
        return x + 1.0

    if compiled:
        function = torch.compile(function)
    value = torch.ones(3)
    return lambda: [function(value)]


def _call_tensorflow(xla: bool) -> Step:
    tf = library("tensorflow")
    function = tf.function(lambda x: x + 1.0, jit_compile=xla)
    value = tf.ones(3)
    return lambda: [function(value).numpy()]


_CALLS: dict[str, Callable[[], Step]] = {
    "gpugrad": _call_gpugrad,
    "jax": _call_jax,
    "tensorflow": lambda: _call_tensorflow(False),
    "xla": lambda: _call_tensorflow(True),
    "torch": lambda: _call_torch(False),
    "torch-compile": lambda: _call_torch(True),
}


# --- a loop ---------------------------------------------------------------------------

_ROUNDS = 1_000


def _loop_session(name: str) -> Step:
    tf = library(name)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [16])
        loop = tf.while_loop(
            lambda i, v: i < _ROUNDS, lambda i, v: (i + 1, v * 0.999 + x), (0, x)
        )
    session = tf.Session(graph=graph)
    feed = {x: np.ones(16, np.float32)}
    return lambda: [session.run(loop[1], feed)]


def _loop_jax() -> Step:
    import jax

    def function(x: Any) -> Any:
        return jax.lax.fori_loop(0, _ROUNDS, lambda i, v: v * 0.999 + x, x)

    compiled, x = jax.jit(function), jax.numpy.ones(16)
    return lambda: [jax.block_until_ready(compiled(x))]


def _loop_torch() -> Step:
    import torch

    x = torch.ones(16)

    def run() -> list[Any]:
        v = x
        for _ in range(_ROUNDS):
            v = v * 0.999 + x
        return [v]

    return run


def _loop_numpy() -> Step:
    x, factor = np.ones(16, np.float32), np.array(0.999, np.float32)
    v = np.empty_like(x)

    def run() -> list[Any]:
        v[...] = x
        for _ in range(_ROUNDS):
            np.multiply(v, factor, out=v)
            np.add(v, x, out=v)
        return [v]

    return run


# --- second order ---------------------------------------------------------------------

_SIZE = 200


def _second_values() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(21)
    matrix = rng.standard_normal((_SIZE, _SIZE)).astype(np.float32) / _SIZE**0.5
    x, v = rng.standard_normal((2, _SIZE)).astype(np.float32)
    return x, v, matrix


def _second_session(name: str, product: bool) -> Step:
    tf = library(name)
    x_value, v_value, matrix = _second_values()
    with tf.Graph().as_default() as graph:
        x, v = (tf.placeholder(tf.float32, [_SIZE]) for _ in range(2))
        y = tf.reduce_sum(tf.tanh(tf.matmul(x[None, :], tf.constant(matrix))) ** 2)
        if product:
            slope = tf.gradients(y, x)[0]
            result = tf.gradients(tf.reduce_sum(slope * v), x)[0]
        else:
            result = tf.hessians(y, x)[0]
    session = tf.Session(graph=graph)
    feed = {x: x_value, v: v_value} if product else {x: x_value}
    return lambda: [session.run(result, feed)]


def _second_jax(product: bool) -> Step:
    import jax
    import jax.numpy as jnp

    x, v, matrix = map(jnp.asarray, _second_values())

    def function(x: Any) -> Any:
        return jnp.sum(jnp.tanh(x[None, :] @ matrix) ** 2)

    if product:
        compiled = jax.jit(lambda x, v: jax.jvp(jax.grad(function), (x,), (v,))[1])
        return lambda: [jax.block_until_ready(compiled(x, v))]
    hessian = jax.jit(jax.hessian(function))
    return lambda: [jax.block_until_ready(hessian(x))]


def _second_torch(product: bool) -> Step:
    import torch

    x, v, matrix = map(torch.from_numpy, _second_values())

    def function(x: Any) -> Any:
        return (torch.tanh(x[None, :] @ matrix) ** 2).sum()

    if product:
        slope = torch.func.grad(function)
        return lambda: [torch.func.jvp(slope, (x,), (v,))[1]]
    hessian = torch.func.hessian(function)
    return lambda: [hessian(x)]


def _second(name: str, title: str, product: bool) -> Single:
    return Single(
        name,
        f"{title} of sum(tanh(x A)^2), {_SIZE} unknowns",
        {
            "gpugrad": lambda: _second_session("gpugrad", product),
            "tensorflow": lambda: _second_session("tensorflow", product),
            "jax": lambda: _second_jax(product),
            "torch": lambda: _second_torch(product),
        },
    )


SINGLES: tuple[Single, ...] = (
    *_build_workloads(),
    Single("call", "call of a cached function, one op", _CALLS),
    Single(
        "session",
        "Session.run, one op",
        {n: lambda n=n: _session_call(n) for n in ("gpugrad", "tensorflow")},
    ),
    Single(
        "loop_1000",
        f"a loop of {_ROUNDS:,} iterations of v * a + x, 16 elements",
        {
            "gpugrad": lambda: _loop_session("gpugrad"),
            "tensorflow": lambda: _loop_session("tensorflow"),
            "jax": _loop_jax,
            "torch": _loop_torch,
            "numpy": _loop_numpy,
        },
    ),
    _second("hessian", "Hessian", product=False),
    _second("hvp", "Hessian-vector product", product=True),
)
