"""What lies between xs and ys, and what finding it costs."""

from __future__ import annotations

import random

import pytest

import gpugrad.compat.v1 as tf
from gpugrad.autodiff.path import between
from gpugrad.graph.tensor import Operation


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def chain(x: tf.Tensor, length: int) -> tf.Tensor:
    for _ in range(length):
        x = tf.exp(x)
    return x


def names(ops: set[Operation]) -> set[str]:
    return {op.name for op in ops}


def test_a_side_branch_is_not_on_the_path() -> None:
    x = tf.placeholder(tf.float32, [2], name="x")
    w = tf.placeholder(tf.float32, [2], name="w")
    y = tf.multiply(tf.exp(x, name="on"), tf.exp(w, name="beside"), name="y")
    tf.sin(x, name="unused")
    path = between([y.op], [x.op])
    assert names(path.ops) == {"x", "on", "y"}
    assert {op.name: n for op, n in path.pending.items()} == {"x": 1, "on": 1}


def test_an_input_that_is_used_twice_is_pending_twice() -> None:
    x = tf.placeholder(tf.float32, [2])
    y = x * x
    assert between([y.op], [x.op]).pending == {x.op: 2}


def test_integers_end_the_way_forward_but_not_the_way_back() -> None:
    x = tf.placeholder(tf.float32, [2])
    whole = tf.cast(x, tf.int32)
    y = tf.cast(whole, tf.float32) + x
    path = between([y.op], [x.op])
    assert path.ops == {x.op, y.op}
    # A target that is an integer is reached by the tensor that it is made of.
    assert between([whole.op], [x.op]).ops == {x.op, whole.op}


def test_a_detour_through_integers_does_not_count() -> None:
    """x -> a -> y, where y depends on b only through an integer made of b."""
    x = tf.placeholder(tf.float32, [2])
    a = tf.exp(x)
    b = tf.sin(x)
    y = a + tf.cast(tf.cast(b, tf.int32), tf.float32)
    assert between([y.op], [x.op]).ops == {x.op, a.op, y.op}


def test_disconnected_targets() -> None:
    x = tf.placeholder(tf.float32, [2])
    z = tf.placeholder(tf.float32, [2])
    assert between([tf.exp(z).op], [x.op]).ops == set()
    assert between([], [x.op]).ops == set()
    assert between([x.op], []).ops == set()


LARGE = 2000
SMALL = 10


def test_what_stands_before_xs_costs_nothing() -> None:
    x = chain(tf.placeholder(tf.float32, [2]), LARGE)
    y = chain(x, SMALL)
    assert between([y.op], [x.op]).visited < 5 * SMALL


def test_what_stands_behind_ys_costs_nothing() -> None:
    x = tf.placeholder(tf.float32, [2])
    y = chain(x, SMALL)
    chain(y, LARGE)
    for _ in range(LARGE):
        tf.sin(x)
    assert between([y.op], [x.op]).visited < 5 * SMALL


def test_a_large_branch_beside_ys_costs_nothing() -> None:
    """x feeds a long chain that y does not depend on, older than y."""
    x = tf.placeholder(tf.float32, [2])
    chain(x, LARGE)
    y = chain(x, SMALL)
    assert between([y.op], [x.op]).visited < 10 * SMALL


def test_a_large_branch_into_ys_costs_nothing() -> None:
    """y depends on a long chain that x does not feed, younger than x."""
    x = tf.placeholder(tf.float32, [2])
    beside = chain(tf.placeholder(tf.float32, [2]), LARGE)
    y = chain(x, SMALL) * beside
    assert between([y.op], [x.op]).visited < 10 * SMALL


def test_many_readers_of_x_cost_nothing() -> None:
    x = tf.placeholder(tf.float32, [2])
    for _ in range(LARGE):
        tf.sin(x)
    y = chain(x, SMALL)
    assert between([y.op], [x.op]).visited < 10 * SMALL


def test_cost_is_linear() -> None:
    counts = []
    for length in (200, 400):
        x = tf.placeholder(tf.float32, [2])
        counts.append(between([chain(x, length).op], [x.op]).visited)
    assert counts[1] <= 2.1 * counts[0]


def test_repeated_gradients_do_not_slow_each_other_down() -> None:
    """Each call adds readers to every tensor; later ones must not walk over them."""
    x = tf.placeholder(tf.float32, [2])
    y = chain(x, SMALL)
    first = between([y.op], [x.op]).visited
    for _ in range(50):
        tf.gradients(y, x)
    assert between([y.op], [x.op]).visited == first


@pytest.mark.parametrize("seed", range(20))
def test_random_graphs_against_the_definition(seed: int) -> None:
    rng = random.Random(seed)
    tensors = [tf.placeholder(tf.float32, [2]) for _ in range(4)]
    for _ in range(40):
        a, b = rng.choice(tensors), rng.choice(tensors)
        kind = rng.randrange(4)
        if kind == 0 and a.dtype == b.dtype:
            tensors.append(a + b)
        elif kind == 1 and a.dtype == tf.float32:
            tensors.append(tf.exp(a))
        elif kind == 2:
            tensors.append(
                tf.cast(a, tf.int32 if a.dtype == tf.float32 else tf.float32)
            )
    targets = [t.op for t in rng.sample(tensors, 3)]
    sources = [t.op for t in rng.sample(tensors[:20], 3)]

    reached = set(sources)
    for op in tensors[0].graph.get_operations():
        if any(t.dtype.is_trainable and t.op in reached for t in op.inputs):
            reached.add(op)
    ops: set[Operation] = set()
    stack = list(targets)
    while stack:
        op = stack.pop()
        if op in reached and op not in ops:
            ops.add(op)
            stack.extend(t.op for t in op.inputs)

    path = between(targets, sources)
    assert path.ops == ops
    assert sum(path.pending.values()) == sum(t.op in ops for o in ops for t in o.inputs)
