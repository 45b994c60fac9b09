"""map_fn, foldl, foldr and scan: loops over the rows of tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.control.loop import while_loop
from gpugrad.control.tensor_array import TensorArray
from gpugrad.dtypes import as_dtype
from gpugrad.errors import GraphError
from gpugrad.graph import build, nest
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.static import shape_of


class _Rows:
    """The tensors of ``elems``, and a row of them in their structure."""

    def __init__(self, graph: Graph, elems: Any) -> None:
        leaves, self.pack = nest.flatten(elems)
        if not leaves:
            raise ValueError("elems must contain at least one tensor.")
        self.graph = graph
        self.tensors = [graph.convert(leaf) for leaf in leaves]
        self.size: Any = self._length()
        self._arrays = [
            TensorArray(t.dtype, size=self.size).unstack(t) for t in self.tensors
        ]

    def _length(self) -> Any:
        """The number of rows, as an int where it is known."""
        size: int | None = None
        for tensor in self.tensors:
            if tensor._shape is None:
                continue
            if not tensor._shape:
                raise GraphError(
                    "Elements in elems must be 1+ dimensional Tensors, not scalars: "
                    f"{tensor.name}."
                )
            here = tensor._shape[0]
            if size is not None and here is not None and here != size:
                raise GraphError(
                    f"Dimensions {size} and {here} are not compatible: all tensors of "
                    "elems need one number of rows."
                )
            size = here if size is None else size
        if size is not None:
            return size
        return shape_of(self.tensors[0], graph=self.graph)[0]

    def at(self, index: Any) -> Any:
        """Row number ``index``."""
        return self.pack([array.read(index) for array in self._arrays])


def _called(name: str, function: Any) -> Any:
    if not callable(function):
        raise TypeError(f"The provided fn of {name}() is not callable: {function!r}.")
    return function


def _checked(result: Any, like: Any, what: str) -> list[Any]:
    """The leaves of what a function gave, which has the structure of ``like``."""
    if nest.shape_of(result) != nest.shape_of(like):
        kinds = type(result) is type(like) or {type(result), type(like)} & {Tensor}
        error: type[Exception] = ValueError if kinds else TypeError
        raise error(
            "The two structures don't have the same nested structure.\n\nFirst "
            f"structure: {like}\n\nSecond structure: {result}, which fn gave. {what}"
        )
    return nest.flatten(result)[0]


def _arrays(
    kinds: Sequence[Any], shape: Sequence[Any], size: Any, infers: bool
) -> list[TensorArray]:
    return [
        TensorArray(kind, size=size, element_shape=dims, infer_shape=infers)
        for kind, dims in zip(kinds, shape)
    ]


def map_fn(
    fn: Callable[..., Any],
    elems: Any,
    dtype: Any = None,
    parallel_iterations: int | None = None,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    name: str | None = None,
    fn_output_signature: Any = None,
) -> Any:
    """``fn`` of each row of ``elems``, the results stacked.

    ``elems``: a tensor [n, ...] or a structure of such; ``fn`` gets a row in the same
    structure. ``dtype`` or ``fn_output_signature``: a structure of the dtypes (or
    TensorSpecs) that ``fn`` gives; needed when its structure or dtypes are not those
    of ``elems``. ``back_prop=False`` lets no gradient through; ``infer_shape=False``
    says nothing of the static shape of a row of the result. ``parallel_iterations``
    and ``swap_memory`` change nothing.

    Raises ValueError or TypeError for results of another structure or dtype.
    """
    _called("map_fn", fn)
    wanted = dtype if fn_output_signature is None else fn_output_signature
    with build.name_scope(name, "map", nest.flatten(elems)[0]):
        rows = _Rows(build.graph_of(*nest.flatten(elems)[0]), elems)
        if wanted is None:
            like, pack = elems, rows.pack
            kinds: list[Any] = [t.dtype for t in rows.tensors]
            dims: list[Any] = [None] * len(kinds)
        else:
            like = wanted
            signature, pack = nest.flatten(wanted)
            kinds = [as_dtype(getattr(s, "dtype", s)) for s in signature]
            dims = [getattr(s, "shape", None) for s in signature]

        def body(i: Tensor, arrays: list[TensorArray]) -> Any:
            what = "dtype says what fn gives, where that is not like elems."
            values = _checked(fn(rows.at(i)), like, what)
            graph = build.graph_of(i)
            values = [_of_dtype(graph, v, a.dtype) for v, a in zip(values, arrays)]
            return i + 1, [a.write(i, v) for a, v in zip(arrays, values)]

        _, arrays = while_loop(
            lambda i, _: i < rows.size,
            body,
            (0, _arrays(kinds, dims, rows.size, infer_shape)),
            back_prop=back_prop,
        )
        return pack([array.stack() for array in arrays])


def _of_dtype(graph: Graph, value: Any, dtype: dtypes.DType) -> Tensor:
    if isinstance(value, Tensor) and value.dtype is not dtype:
        raise TypeError(
            f"fn gave {value.name!r} of dtype {value.dtype.name}, not {dtype.name}. "
            "dtype says what fn gives, where that is not like elems."
        )
    return graph.convert(value, dtype)


def foldl(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """``a = fn(a, row)`` for each row of ``elems``, from the first; the last a.

    The first a is ``initializer``, or without one the first row. ``elems`` may be a
    structure of tensors. ``parallel_iterations`` and ``swap_memory`` change nothing.
    """
    _called("foldl", fn)
    return _scanned(fn, elems, initializer, back_prop, name, "foldl", False)[0]


def foldr(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    name: str | None = None,
) -> Any:
    """``a = fn(a, row)`` for each row of ``elems``, from the last; the last a.

    The first a is ``initializer``, or without one the last row. See foldl.
    """
    _called("foldr", fn)
    return _scanned(fn, elems, initializer, back_prop, name, "foldr", True)[0]


def scan(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any = None,
    parallel_iterations: int = 10,
    back_prop: bool = True,
    swap_memory: bool = False,
    infer_shape: bool = True,
    reverse: bool = False,
    name: str | None = None,
) -> Any:
    """``a = fn(a, row)`` for each row of ``elems``; all values of a, stacked.

    The first a is ``initializer``, or without one the first row, which then stands in
    the result unchanged. With ``reverse`` rows go from the last to the first; each
    result stands where its row does. Results have the structure of ``initializer``,
    or of ``elems``. The remaining arguments are those of map_fn.
    """
    _called("scan", fn)
    return _scanned(
        fn, elems, initializer, back_prop, name, "scan", reverse, infer_shape
    )[1]


def _scanned(
    fn: Callable[..., Any],
    elems: Any,
    initializer: Any,
    back_prop: bool,
    name: str | None,
    default_name: str,
    reverse: bool,
    infer_shape: bool = True,
) -> tuple[Any, Any]:
    """(the last value, all values of a scan; None for these in a fold)."""
    inputs = [*nest.flatten(elems)[0], *nest.flatten(initializer)[0]]
    with build.name_scope(name, default_name, inputs):
        graph = build.graph_of(*inputs)
        rows = _Rows(graph, elems)
        size = rows.size
        first: Any = size - 1 if reverse else 0
        like, pack = elems, rows.pack
        values = nest.flatten(rows.at(first))[0] if initializer is None else None
        if values is None:
            leaves, pack = nest.flatten(initializer)
            like, values = initializer, [graph.convert(leaf) for leaf in leaves]
        arrays: list[TensorArray] = []
        if default_name == "scan":
            kinds = [v.dtype for v in values]
            arrays = _arrays(kinds, [None] * len(kinds), size, infer_shape)
            for array, value in zip(arrays, values):
                array._known.see(value._shape)
        done = 0
        if initializer is None:
            arrays = [a.write(first, v) for a, v in zip(arrays, values)]
            done = 1

        def body(i: Tensor, a: list[Tensor], arrays: list[TensorArray]) -> Any:
            at = (size - 1) - i if reverse else i
            found = _checked(fn(pack(a), rows.at(at)), like, "It is what fn gets.")
            inside = build.graph_of(i)
            found = [_like_before(inside, v, x) for v, x in zip(found, a)]
            return i + 1, found, [r.write(at, v) for r, v in zip(arrays, found)]

        _, last, arrays = while_loop(
            lambda i, *_: i < size, body, (done, values, arrays), back_prop=back_prop
        )
        stacked = pack([array.stack() for array in arrays]) if arrays else None
        return pack(last), stacked


def _like_before(graph: Graph, value: Any, before: Tensor) -> Tensor:
    """What fn gave; a Python value takes the dtype of the value before it."""
    if isinstance(value, Tensor):
        if value.dtype is not before.dtype:
            raise TypeError(
                f"fn gave {value.name!r} of dtype {value.dtype.name}, where it got "
                f"{before.dtype.name}: the dtype should remain constant."
            )
        if not shapes.compatible(value._shape, before._shape):
            raise GraphError(
                f"Inconsistent shapes: fn gave {value.name!r} of shape "
                f"{shapes.text(value._shape)}, where it got "
                f"{shapes.text(before._shape)}."
            )
        return value
    return graph.convert(value, before.dtype)
