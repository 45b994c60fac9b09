"""JAX: one jitted function a workload, parameters donated where they are updated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench.peers import Step, on_gpu
from bench.workloads import RATE, Workload


class Ops:
    """The functions of a workload."""

    tanh, exp, sum, concat = jnp.tanh, jnp.exp, jnp.sum, jnp.concatenate
    matmul, reshape, transpose, split = (
        jnp.matmul,
        jnp.reshape,
        jnp.transpose,
        jnp.split,
    )
    sigmoid, relu, softmax = jax.nn.sigmoid, jax.nn.relu, jax.nn.softmax
    gelu = jax.nn.gelu  # the tanh form is its default

    @staticmethod
    def layer_norm(x: Any, scale: Any, shift: Any) -> Any:
        """Over the last axis."""
        centred = x - jnp.mean(x, -1, keepdims=True)
        variance = jnp.mean(centred * centred, -1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    @staticmethod
    def cross_entropy(logits: Any, labels: Any) -> Any:
        """Mean softmax cross entropy."""
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=-1))

    @staticmethod
    def conv2d(x: Any, kernel: Any) -> Any:
        """SAME, NHWC."""
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=names
        )

    @staticmethod
    def max_pool(x: Any) -> Any:
        """2 x 2."""
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "SAME")

    @staticmethod
    def scan(step: Callable[..., Any], state: Any, xs: Any) -> Any:
        """The last state of a loop over the rows of ``xs``."""
        return jax.lax.scan(lambda s, x: (step(s, x), None), state, xs)[0]


def make(workload: Workload) -> Step:
    """One call of the jitted function."""
    if on_gpu() and jax.default_backend() != "gpu":
        raise LookupError(f"JAX {jax.__version__} sees no GPU")
    params = {k: jnp.asarray(a) for k, a in workload.params().items()}
    data = {k: jnp.asarray(a) for k, a in workload.data().items()}

    def loss_of(params: Any, data: Any) -> Any:
        return workload.loss(Ops, params, data)

    if workload.update == "none":
        gradients = jax.jit(jax.value_and_grad(loss_of))

        def run() -> list[Any]:
            loss, grads = jax.block_until_ready(gradients(params, data))
            return [loss, *[grads[k] for k in params]]

        return run

    def step(state: Any, data: Any) -> Any:
        params, moments, count = state
        seen = dict(params)
        if workload.sparse:
            table, ids = workload.sparse
            seen["rows"] = seen.pop(table)[data[ids]]
        loss, grads = jax.value_and_grad(loss_of)(seen, data)
        params, moments = dict(params), dict(moments)
        if workload.sparse:
            rows = grads.pop("rows")
            params[table] = params[table].at[data[ids]].add(-RATE * rows)
        count = count + 1
        for k, grad in grads.items():
            if workload.update == "adam":
                m, v = moments[k]
                m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad * grad
                moments[k] = m, v
                unbiased = jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
                grad = unbiased * m / (jnp.sqrt(v) + 1e-8)
            params[k] = params[k] - RATE * grad
        return loss, (params, moments, count)

    moments = {}
    if workload.update == "adam":
        moments = {k: (a * 0, a * 0) for k, a in params.items()}
    state = (params, moments, jnp.zeros(()))
    compiled = jax.jit(step, donate_argnums=0)

    def train() -> list[Any]:
        nonlocal state
        loss, state = jax.block_until_ready(compiled(state, data))
        return [loss]

    return train
