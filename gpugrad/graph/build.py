"""The default graph, and the one door through which op functions build."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import constant
from gpugrad.graph.defaults import graph_context as graph_context
from gpugrad.graph.defaults import stack
from gpugrad.graph.graph import Graph, NameScope
from gpugrad.graph.tensor import Tensor

_lock = threading.Lock()
_global_graph: Graph | None = None

# Set by the runtime: how values that are there already (EagerTensor) are worked on.
# ``None`` while nothing has installed it.
run_eagerly: Callable[..., Any] | None = None
run_function_eagerly: Callable[..., Any] | None = None
_eager_mode = False


def executing_eagerly() -> bool:
    """True after enable_eager_execution(), outside explicit graphs and functions."""
    return _eager_mode and not stack.graphs


def enable_eager_execution() -> None:
    """Run ops at once from here on, in the whole process; gradients() then raises."""
    global _eager_mode
    _eager_mode = True


def disable_eager_execution() -> None:
    """Build graphs, which is the default."""
    global _eager_mode
    _eager_mode = False


def get_default_graph() -> Graph:
    """The innermost ``as_default()`` graph of this thread, else the process's own."""
    global _global_graph
    if stack.graphs:
        return stack.graphs[-1]
    if _global_graph is None:
        with _lock:
            if _global_graph is None:
                _global_graph = Graph()
    return _global_graph


def has_explicit_graph() -> bool:
    """True inside ``Graph.as_default()`` or a function body."""
    return bool(stack.graphs)


def reset_default_graph() -> None:
    """Replace the process's default graph by an empty one."""
    global _global_graph
    if stack.graphs:
        raise AssertionError(
            "Do not use reset_default_graph() to clear nested graphs. Leave the "
            "as_default() blocks first."
        )
    with _lock:
        _global_graph = Graph()


def graph_of(*values: Any) -> Graph:
    """The graph that an op over ``values`` belongs to: theirs, else the default.

    A function body keeps its own graph and captures tensors of others.
    """
    current = stack.graphs[-1] if stack.graphs else None
    if current is not None and current.building_function:
        return current
    for value in values:
        if type(value) is Tensor:
            return value.op.graph
        if isinstance(value, (list, tuple)):
            for item in value:
                if type(item) is Tensor:
                    return item.op.graph
        graph = getattr(value, "graph", None)
        if isinstance(graph, Graph):
            return graph
    return current or get_default_graph()


def apply_op(op_type: str, *args: Any, name: str | None = None, **attrs: Any) -> Any:
    """Add an op to the graph of its inputs, or run it if they are values."""
    if runs_at_once(args):
        return run_eagerly(op_type, args, attrs, name)  # type: ignore[misc]
    return graph_of(*args).apply(op_type, *args, name=name, **attrs)


def at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, which builds nodes, made to run at once where it gets values.

    The whole function is built in a graph of its own, so it need not know of values.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not stack.graphs and runs_at_once((*args, *kwargs.values())):
            return run_function_eagerly(function, args, kwargs)  # type: ignore[misc]
        return function(*args, **kwargs)

    return call


def runs_at_once(args: Any) -> bool:
    """True where an op over ``args`` gives values rather than symbolic tensors."""
    if run_eagerly is None or stack.graphs:
        return False
    return _eager_mode or _all_values(args)


def _all_values(args: Any) -> bool:
    """True when a value on a device is among ``args`` and no symbolic tensor is."""
    found = False
    for arg in args:
        if type(arg) is Tensor:
            return False
        items = arg if isinstance(arg, (list, tuple)) else (arg,)
        for item in items:
            if isinstance(item, Tensor) or isinstance(
                getattr(item, "graph", None), Graph
            ):
                return False
            found = found or hasattr(item, "__gpugrad_value__")
    return found


def convert_to_tensor(
    value: Any,
    dtype: Any = None,
    name: str | None = None,
    preferred_dtype: Any = None,
    dtype_hint: Any = None,
) -> Tensor:
    """``value`` as a tensor.

    Accepts tensors, variables, IndexedSlices with a dense shape, NumPy values,
    Python numbers, strings and nested lists of all these. Python ints become int32
    and floats float32 unless ``dtype`` (or, where possible, ``dtype_hint``) says
    otherwise. Raises TypeError where a value would have to change kind, ValueError
    for None.
    """
    hint = dtype_hint if dtype_hint is not None else preferred_dtype
    if run_eagerly is not None and executing_eagerly():
        if not is_tensor(value):
            value = constant.to_array(value, _dtype(dtype))
        return run_eagerly("Identity", (value,), {}, name)
    graph = graph_of(value)
    if dtype is None and hint is not None and not isinstance(value, Tensor):
        try:
            return graph.convert(value, as_dtype(hint), name)
        except (TypeError, ValueError):
            pass
    return graph.convert(value, _dtype(dtype), name)


def _dtype(dtype: Any) -> DType | None:
    return None if dtype is None else as_dtype(dtype).base_dtype


def name_scope(
    name: str | None, default_name: str | None = None, values: Any = None
) -> NameScope:
    """Prefix the names of ops made inside; gives the prefix.

    ``default_name`` is used when ``name`` is None. ``values`` are the tensors that
    decide the graph. With one argument None, the root scope.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name for name_scope must be a string, not {name!r}.")
    graph = graph_of(*(values or ()))
    scope = default_name if name is None else name
    return NameScope(graph, scope, graph is not _current())


def _current() -> Graph:
    return stack.graphs[-1] if stack.graphs else get_default_graph()


def control_dependencies(control_inputs: Any) -> Any:
    """A context in which new ops run after ``control_inputs``; None clears."""
    return get_default_graph().control_dependencies(control_inputs)


def device(name: Any) -> Any:
    """A context that asks for a device ("/cpu:0", "/gpu:1"); None for any."""
    return get_default_graph().device(name)


def colocate_with(op: Any, ignore_existing: bool = False) -> Any:
    """A context in which new ops share the device and group of ``op``."""
    return graph_of(op).colocate_with(op, ignore_existing)


def is_tensor(value: Any) -> bool:
    """True for tensors, variables, IndexedSlices and values on a device."""
    return isinstance(value, Tensor) or hasattr(value, "__tensor__")
