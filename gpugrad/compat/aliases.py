"""Names of TensorFlow before 1.0, and switches for what gpugrad always does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpugrad.graph import build
from gpugrad.graph.build import disable_eager_execution
from gpugrad.graph.function_graph import outermost
from gpugrad.ops.matmul import matmul


def batch_matmul(
    x: Any, y: Any, adj_x: bool = False, adj_y: bool = False, name: str | None = None
) -> Any:
    """matmul; ``adj_...`` stands for the adjoint of a matrix."""
    return matmul(x, y, adjoint_a=adj_x, adjoint_b=adj_y, name=name)


def disable_v2_behavior() -> None:
    """Build graphs, which is the default."""
    disable_eager_execution()


def enable_resource_variables() -> None:
    """Nothing: every variable is a resource variable."""


def disable_resource_variables() -> None:
    """Nothing: every variable is a resource variable."""


@contextmanager
def init_scope() -> Iterator[None]:
    """A block whose ops go into the graph around all functions, without control inputs
    or a name scope.
    """
    graph = outermost(build.get_default_graph())
    with build.graph_context(graph), graph.control_dependencies(None):
        with graph.name_scope(None):
            yield
