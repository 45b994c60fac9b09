"""FunctionGraph: what a body takes from the graphs around it."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.graph.build import graph_context
from gpugrad.graph.constant import constant_value
from gpugrad.graph.function_graph import FunctionGraph, is_captured, outermost, source


def test_captures_become_inputs_once() -> None:
    with tf.Graph().as_default() as outer:
        x = tf.placeholder(tf.float32, [3])
        body = FunctionGraph(outer)
        with graph_context(body):
            a = body.add_input(tf.float32, (3,), "a")
            y = a * x + x
        assert y.graph is body
        assert body.inputs[0] is a and len(body.inputs) == 2
        inner = body.captures[x]
        assert is_captured(inner) and not is_captured(a)
        assert source(inner) is x and inner.shape.as_list() == [3]


def test_captures_pass_through_the_graphs_between() -> None:
    with tf.Graph().as_default() as outer:
        x = tf.placeholder(tf.float32, [])
        middle = FunctionGraph(outer)
        inside = FunctionGraph(middle)
        with graph_context(inside):
            y = x * x
        assert source(y.op.inputs[0]) is x
        assert y.op.inputs[0] is y.op.inputs[1]
        assert len(middle.inputs) == len(inside.inputs) == 1
        assert outermost(inside) is outer


def test_small_integers_are_copied_as_constants() -> None:
    with tf.Graph().as_default() as outer:
        axis, large = tf.constant(1), tf.constant(np.arange(100))
        body = FunctionGraph(outer)
        copy, captured = body.adopt(axis), body.adopt(large)
    assert copy.op.type == "Const" and body.adopt(axis) is copy
    assert captured.op.type == "Placeholder"
    np.testing.assert_array_equal(constant_value(captured), np.arange(100))


def test_strangers_are_refused() -> None:
    with tf.Graph().as_default():
        x = tf.constant(1.0)
    body = FunctionGraph(tf.Graph())
    with pytest.raises(ValueError, match="must be from the same graph"):
        body.adopt(x)


def test_effects_are_those_of_the_finished_body() -> None:
    with tf.Graph().as_default() as outer:
        v = tf.Variable(1.0)
        body = FunctionGraph(outer)
        with graph_context(body):
            op = v.assign_add(1.0, read_value=False)
            body.outputs = [v.value()]
            v.assign_add(1.0)
    assert body.effects == [op]
    assert body.is_stateful
