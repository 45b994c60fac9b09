"""How long do a node, a gradient node and a first run take?  Chains of ops."""

from __future__ import annotations

from typing import Any

import pytest

from bench import libraries

GRAPHS = ["gpugrad", "tensorflow"]
LENGTH = 1000


def need(name: str) -> None:
    if name != "gpugrad" and not libraries.available(name):
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("library", GRAPHS)
@pytest.mark.parametrize("length", [LENGTH, 100_000])
def test_build(benchmark: Any, library: str, length: int) -> None:
    need(library)
    if library != "gpugrad" and length > LENGTH:
        pytest.skip(f"{library} takes minutes for {length:,} nodes")
    benchmark.group = f"build a node, chain of {length}"
    benchmark.extra_info.update(library=library, per=length)
    tf = libraries.graph_library(library)

    def build() -> None:
        with tf.Graph().as_default():
            libraries.chain(tf, length)

    benchmark.pedantic(build, rounds=5 if length == LENGTH else 3, warmup_rounds=1)


@pytest.mark.parametrize("library", GRAPHS)
@pytest.mark.parametrize("length", [LENGTH, 100_000])
def test_gradients(benchmark: Any, library: str, length: int) -> None:
    """Time a node that gradients() makes."""
    need(library)
    if library != "gpugrad" and length > LENGTH:
        pytest.skip(f"{library} takes minutes for {length:,} nodes")
    benchmark.group = f"a node made by gradients(), chain of {length}"
    tf = libraries.graph_library(library)
    made = []

    def setup() -> Any:
        graph = tf.Graph()
        with graph.as_default():
            return (graph, *libraries.chain(tf, length)), {}

    def differentiate(graph: Any, x: Any, y: Any) -> None:
        before = len(graph.get_operations())
        with graph.as_default():
            tf.gradients(y, x)
        made.append(len(graph.get_operations()) - before)

    rounds = 5 if length == LENGTH else 3
    benchmark.pedantic(differentiate, setup=setup, rounds=rounds)
    benchmark.extra_info.update(library=library, per=made[0])


@pytest.mark.parametrize("library", [*GRAPHS, "jax"])
@pytest.mark.parametrize("length", [LENGTH, 100_000])
def test_first_run(benchmark: Any, library: str, length: int) -> None:
    """Time an op from graph to first result."""
    need(library)
    if library != "gpugrad" and length > LENGTH:
        pytest.skip(f"{library} takes minutes for {length:,} ops")
    benchmark.group = f"first run, an op of a chain of {length}"
    benchmark.extra_info.update(library=library, per=length)
    rounds = 3
    if library == "jax":
        import jax
        import numpy as np

        def fresh() -> Any:
            return (jax.jit(libraries.jax_chain(length)),), {}

        benchmark.pedantic(
            lambda f: jax.block_until_ready(f(np.ones(3, np.float32))),
            setup=fresh,
            rounds=rounds,
        )
        return
    tf = libraries.graph_library(library)

    def setup() -> Any:
        graph = tf.Graph()
        with graph.as_default():
            x, y = libraries.chain(tf, length)
        return (tf.Session(graph=graph), y, {x: [1.0, 1.0, 1.0]}), {}

    benchmark.pedantic(lambda s, y, f: s.run(y, f), setup=setup, rounds=rounds)
