"""How long does a cached run take: one op, a small training step, elementwise work?"""

from __future__ import annotations

from typing import Any

import pytest

from bench import libraries


def need(name: str) -> None:
    if name not in ("gpugrad", "numpy") and not libraries.available(name):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("library", ["gpugrad", "tensorflow"])
def test_session_overhead(benchmark: Any, library: str) -> None:
    """Session.run of one small op."""
    need(library)
    benchmark.group = "Session.run of x + 1, three elements"
    benchmark.extra_info.update(library=library)
    import numpy as np

    tf = libraries.graph_library(library)
    graph = tf.Graph()
    with graph.as_default():
        x = tf.placeholder(tf.float32, [3])
        y = x + 1.0
    session = tf.Session(graph=graph)
    feed = {x: np.ones(3, np.float32)}
    benchmark(lambda: session.run(y, feed))


@pytest.mark.parametrize("library", ["gpugrad", "jax", "numpy"])
def test_function_overhead(benchmark: Any, library: str) -> None:
    """A call of a cached one-op function."""
    need(library)
    benchmark.group = "call of a compiled x + 1, three elements"
    benchmark.extra_info.update(library=library)
    import numpy as np

    value: Any = np.ones(3, np.float32)
    if library == "gpugrad":
        import gpugrad as gg

        function = gg.function(lambda x: x + 1.0)
        value = function(value)
    elif library == "jax":
        import jax

        function = jax.jit(lambda x: x + 1.0)
        value = jax.numpy.asarray(value)
    else:
        out = np.empty(3, np.float32)
        function = lambda x: np.add(x, 1.0, out=out)  # noqa: E731
    function(value)
    benchmark(lambda: function(value))


@pytest.mark.parametrize("library", ["gpugrad", "tensorflow", "jax", "numpy"])
def test_small_mlp(benchmark: Any, library: str) -> None:
    """An SGD step of 8 x [4, 16, 3]."""
    need(library)
    benchmark.group = "SGD step of an MLP, 8 x [4, 16, 3]"
    benchmark.extra_info.update(library=library)
    if library == "jax":
        run = libraries.mlp_step_jax()
    elif library == "numpy":
        run = libraries.mlp_step_numpy()
    else:
        run = libraries.mlp_step_graph(library)
    run()
    benchmark(run)


@pytest.mark.parametrize("library", ["gpugrad", "tensorflow", "jax", "numpy"])
@pytest.mark.parametrize("size", [1_000, 100_000, 4_000_000])
def test_elementwise(benchmark: Any, library: str, size: int) -> None:
    """sum(tanh(x w + b) exp(-x x)) and three gradients."""
    need(library)
    benchmark.group = f"elementwise and its gradients, {size:,} elements"
    benchmark.extra_info.update(library=library)
    if library == "jax":
        run = libraries.elementwise_jax(size)
    elif library == "numpy":
        run = libraries.elementwise_numpy(size)
    else:
        run = libraries.elementwise_graph(library, size)
    run()
    benchmark(run)
