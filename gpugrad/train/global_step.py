"""The global step: a variable that counts training steps."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.ops.initializers import Zeros
from gpugrad.ops.variable_scope import get_variable


def get_global_step(graph: Graph | None = None) -> Any:
    """The graph's global step, or None.

    Raises RuntimeError if several variables are in the collection, TypeError if the
    one that is found is not a single integer.
    """
    graph = graph or build.get_default_graph()
    steps = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(steps) > 1:
        raise RuntimeError(f"Multiple items found in collection global_step: {steps}")
    if not steps:
        return None
    assert_global_step(steps[0])
    return steps[0]


def create_global_step(graph: Graph | None = None) -> Variable:
    """Make the graph's global step; ValueError if it has one."""
    graph = graph or build.get_default_graph()
    if get_global_step(graph) is not None:
        raise ValueError('"global_step" already exists.')
    with build.graph_context(graph):
        step: Variable = get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=dtypes.int64,
            initializer=Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )
    return step


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The graph's global step, made if need be."""
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


def assert_global_step(global_step_tensor: Any) -> None:
    """TypeError unless this is one integer."""
    if not isinstance(global_step_tensor, (Variable, Tensor)):
        raise TypeError(
            f'Existing "global_step" must be a Variable: {global_step_tensor}'
        )
    if not global_step_tensor.dtype.is_integer:
        raise TypeError(
            'Existing "global_step" does not have integer type: '
            f"{global_step_tensor.dtype}"
        )
    if global_step_tensor._shape not in ((), None):
        raise TypeError(
            f'Existing "global_step" is not scalar: {global_step_tensor.shape}'
        )


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The count so far in a session."""
    return int(sess.run(global_step_tensor))
