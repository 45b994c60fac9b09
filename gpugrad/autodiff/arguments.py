"""What callers hand to gradients(), made into tensors of one graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.autodiff import fill
from gpugrad.errors import GraphError, GraphTypeError
from gpugrad.graph import build
from gpugrad.graph.graph import Graph
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.tensor import Operation, Tensor


class Arguments(NamedTuple):
    """Lists of what was given, before anything is converted.

    Variables among xs stand as their handles.
    """

    ys: list[Any]
    xs: list[Any]
    grad_ys: list[Any] | None
    stops: list[Operation]


def unpack(ys: Any, xs: Any, grad_ys: Any, stop_gradients: Any) -> Arguments:
    """Lists of single values, lists or tuples; TypeError for what cannot be used."""
    if build.executing_eagerly():
        raise eager_error()
    stops = [] if stop_gradients is None else _as_list(stop_gradients)
    args = Arguments(
        _as_list(ys),
        [_handle(x) for x in _as_list(xs)],
        None if grad_ys is None else _as_list(grad_ys),
        [_producer(t) for t in stops],
    )
    _check_elements(args.ys, "ys")
    _check_elements(args.xs, "xs")
    for x in args.xs:
        if isinstance(x, (list, tuple)) and _holds_tensor(x):
            raise TypeError(
                f"xs holds a list of tensors, {x!r}: each x must be one tensor. Pass "
                "them side by side, or stack() them and compute ys from the result."
            )
    return args


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _handle(x: Any) -> Any:
    """A variable's handle: the gradient is taken with respect to all its reads."""
    handle = getattr(x, "handle", None)
    return handle if isinstance(handle, Tensor) else x


def _producer(tensor: Any) -> Operation:
    op = getattr(tensor, "op", None)
    if not isinstance(op, Operation):
        raise TypeError(
            f"stop_gradients must be tensors, not {type(tensor).__name__}: {tensor!r}."
        )
    return op


def _check_elements(values: Iterable[Any], what: str) -> None:
    for value in values:
        if value is None:
            raise TypeError(f"None stands among {what}: gradients need tensors there.")
        if not isinstance(value, Tensor):
            if hasattr(value, "__gpugrad_value__") and not build.has_explicit_graph():
                raise eager_error()
            if hasattr(value, "__parts__"):
                raise ValueError(
                    f"Type {type(value).__name__} is not supported as a gradient "
                    f"source or gradient target: {value!r}. Pass its `values` among "
                    f"{what}."
                )


def eager_error() -> RuntimeError:
    """For values that are computed already, and so have no graph behind them."""
    return RuntimeError(
        "tf.gradients is not supported when eager execution is enabled: there is no "
        "graph to differentiate. Call it inside a gpugrad.function or a Graph."
    )


def _holds_tensor(values: Sequence[Any]) -> bool:
    return any(
        isinstance(v, Tensor) or (isinstance(v, (list, tuple)) and _holds_tensor(v))
        for v in values
    )


# --- the graph ----------------------------------------------------------------------


def choose_graph(args: Arguments) -> Graph:
    """Where the gradients are built: the graph of the tensors, else the current one.

    If ys (with grad_ys) are of several graphs, that is the function body being
    traced, which captures the others. GraphError if nothing connects the graphs.
    """
    current = build.get_default_graph()
    deciding = _tensors([*args.ys, *(args.grad_ys or ())])
    others = _tensors(args.xs) + [op.outputs[0] for op in args.stops if op.outputs]
    graphs = {t.graph: t for t in deciding or others}
    if not graphs:
        return current
    graph = next(iter(graphs))
    if len(graphs) > 1 and current.building_function:
        graph = current
    elif len(graphs) > 1:
        raise _of_two_graphs(*list(graphs.values())[:2])
    for tensor in deciding + others:
        if not (_encloses(tensor.graph, graph) or _encloses(graph, tensor.graph)):
            raise _of_two_graphs(tensor, graphs.get(graph, tensor))
    return graph


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        value = _handle(value)
        if isinstance(value, IndexedSlices):
            value = value.values
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _encloses(outer: Graph, inner: Any) -> bool:
    """True if ``inner`` is ``outer``, or a function body built inside it."""
    while inner is not None:
        if inner is outer:
            return True
        inner = getattr(inner, "outer_graph", None)
    return False


def _of_two_graphs(one: Tensor, other: Tensor) -> GraphError:
    return GraphError(
        f"{one} must be from the same graph as {other} (graphs are {one.graph} and "
        f"{other.graph})."
    )


# --- conversion ---------------------------------------------------------------------


def read_variables(graph: Graph, ys: Sequence[Any]) -> list[Any]:
    """ys with a fresh read in place of each variable."""
    return [graph.convert(y) if hasattr(y, "__tensor__") else y for y in ys]


def convert_ys(graph: Graph, ys: Sequence[Any]) -> list[Tensor]:
    """ys as tensors of ``graph``; values become constants named y_0, y_1, ..."""
    return [graph.convert(y, name=f"y_{i}") for i, y in enumerate(ys)]


def convert_xs(graph: Graph, xs: Sequence[Any]) -> list[Tensor]:
    """xs as tensors, of whatever graph; values become constants named x_0, ..."""
    return [
        x if isinstance(x, Tensor) else graph.convert(x, name=f"x_{i}")
        for i, x in enumerate(xs)
    ]


def convert_grad_ys(
    graph: Graph, grad_ys: Sequence[Any] | None, count: int
) -> list[Any]:
    """One tensor, IndexedSlices or None a y; ValueError if the lengths differ."""
    if grad_ys is None:
        return [None] * count
    if len(grad_ys) != count:
        raise ValueError(
            f"Length mismatch. Passed {len(grad_ys)} grad_ys for {count} ys. Give one "
            "weight a y, or None for ones."
        )
    return [
        g
        if g is None or isinstance(g, IndexedSlices)
        else graph.convert(g, name=f"grad_y_{i}")
        for i, g in enumerate(grad_ys)
    ]


def seed(graph: Graph, y: Tensor, dy: Any, name: str) -> Any:
    """The gradient that y starts with: ones, or what the caller gave."""
    if dy is None:
        if y.dtype.is_complex:
            raise GraphTypeError(
                f"Gradients of complex tensors ({y}) must set grad_ys (y.dtype = "
                f"{y.dtype.name})"
            )
        return fill.ones(graph, y, name)
    if y.dtype is dtypes.variant:
        return dy  # what a loop has saved: no op but loops and branches takes it
    _check_class(y, dy)
    if isinstance(dy, IndexedSlices):
        return IndexedSlices(
            indices=_identity(graph, dy.indices, name + "_indices"),
            values=_identity(graph, dy.values, name + "_values"),
            dense_shape=_identity(graph, dy.dense_shape, name + "_shape"),
        )
    return _identity(graph, dy, name)


def _identity(graph: Graph, tensor: Any, name: str) -> Any:
    return None if tensor is None else graph.apply("Identity", tensor, name=name)


def _check_class(y: Tensor, dy: Any) -> None:
    """GraphTypeError unless dy is of y's class: real or integer, complex, handle."""
    have, want = dy.dtype, y.dtype
    if want.is_floating or want.is_integer:
        if not (have.is_floating or have.is_integer):
            raise GraphTypeError(
                f"Gradient type {have.name} generated for real or integer-valued "
                f"tensor {y} with type {want.name} must be real or integer"
            )
    elif want.is_complex:
        if not have.is_complex:
            raise GraphTypeError(
                f"Gradient type {have.name} generated for complex-valued tensor {y} "
                f"with type {want.name} must be complex"
            )
    elif want is dtypes.resource or want is dtypes.variant:
        if (have is dtypes.variant) != (want is dtypes.variant):
            raise GraphTypeError(
                f"Gradient type {have.name} cannot be one of {y} with type {want.name}."
            )
    else:
        raise GraphTypeError(
            f"Tensor {y} with type {want.name} must be numeric to obtain a default "
            "gradient"
        )
