"""The variables of a graph, by collection, and their initialisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import build
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.graph.variable import GraphKeys, Variable


def is_variable_initialized(variable: Variable) -> Tensor:
    """A boolean tensor: whether ``variable`` has a value."""
    return variable.is_initialized()


def variables_initializer(var_list: Any, name: str = "init") -> Operation:
    """An op that gives each variable of ``var_list`` its initial value."""
    graph = build.get_default_graph()
    initializers = [v.initializer for v in var_list]
    with graph.control_dependencies(initializers):
        op: Operation = graph.apply("NoOp", name=name)
    return op


def global_variables_initializer() -> Operation:
    """An op that gives every global variable its initial value."""
    return variables_initializer(global_variables())


def local_variables_initializer() -> Operation:
    """An op that gives every local variable its initial value."""
    return variables_initializer(local_variables(), "init")


def initialize_all_variables() -> Operation:
    """The older name of global_variables_initializer."""
    return global_variables_initializer()


def initialize_variables(var_list: Any, name: str = "init") -> Operation:
    """The older name of variables_initializer."""
    return variables_initializer(var_list, name)


def initialize_local_variables() -> Operation:
    """The older name of local_variables_initializer."""
    return local_variables_initializer()


def report_uninitialized_variables(
    var_list: Any = None, name: str = "report_uninitialized_variables"
) -> Tensor:
    """The names of the variables that have no value, as a vector of strings."""
    if var_list is None:
        var_list = global_variables() + local_variables()
    graph = build.get_default_graph()
    with graph.name_scope(name):
        names = np.array([v.op.name.encode() for v in var_list], object)
        all_names = graph.convert(names.reshape(-1), dtypes.string)
        if not var_list:
            return all_names
        known = graph.apply("Pack", [v.is_initialized() for v in var_list], axis=0)
        missing = graph.apply("LogicalNot", known)
        rows = graph.apply("Where", missing)
        rows = graph.apply("Squeeze", rows, squeeze_dims=[1])
        result: Tensor = graph.apply("GatherV2", all_names, rows, 0)
        return result


def _collections() -> Graph:
    """The graph whose collections count here: function bodies have none."""
    return outermost(build.get_default_graph())


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """A copy of a collection of the default graph."""
    return _collections().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """A collection of the default graph itself, to be changed in place."""
    return _collections().get_collection_ref(key)


def add_to_collection(name: Any, value: Any) -> None:
    """Append to a collection of the default graph."""
    _collections().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    """Append to several collections of the default graph."""
    _collections().add_to_collections(names, value)


def global_variables(scope: str | None = None) -> list[Any]:
    """The variables that live in sessions, by default all."""
    return get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def all_variables() -> list[Any]:
    """The older name of global_variables."""
    return global_variables()


def local_variables(scope: str | None = None) -> list[Any]:
    """Variables that are not meant to be saved."""
    return get_collection(GraphKeys.LOCAL_VARIABLES, scope)


def model_variables(scope: str | None = None) -> list[Any]:
    """Variables put into the collection of model variables."""
    return get_collection(GraphKeys.MODEL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Any]:
    """The variables that optimizers update by default."""
    return get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Any]:
    """Variables that an ExponentialMovingAverage follows."""
    return get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)
