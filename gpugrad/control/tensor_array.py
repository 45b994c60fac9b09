"""TensorArray: tensors of one shape, written and read one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.control.rows import UNWRITTEN, static_size
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import GraphError
from gpugrad.graph import build
from gpugrad.graph.constant import constant_value
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.check import assert_equal
from gpugrad.ops.static import shape_of
from gpugrad.shapes import TensorShape


class _Elements:
    """What is known of the elements; all successors of an array share it.

    An array written in the body of a loop thus tells the array that enters the loop,
    and the one that comes out of it.
    """

    def __init__(
        self,
        dtype: DType,
        shape: shapes.Partial,
        size: int | None,
        dynamic: bool,
        infers: bool,
    ) -> None:
        self.dtype = dtype
        self.shape = shape
        self.size = None if dynamic else size
        self.dynamic = dynamic
        self.infers = infers

    def see(self, shape: shapes.Partial) -> None:
        """An element of that shape is written. ValueError if the others differ."""
        if not shapes.compatible(shape, self.shape):
            raise GraphError(
                f"Inconsistent shapes: saw {shapes.text(shape)} but expected "
                f"{shapes.text(self.shape)}: the elements of a TensorArray have one "
                "shape."
            )
        if self.infers:
            self.shape = shapes.merge(self.shape, shape)


class TensorArray:
    """A list of tensors of one dtype and shape, for loops to read and to write.

    Every method that writes gives a new TensorArray; use that one from then on, and
    make it a loop variable in a while_loop. Gradients flow from what is read to what
    was written.

    ``size``:           how many elements, an int or an int tensor.
    ``dynamic_size``:   writing beyond the end makes the array longer.
    ``element_shape``:  the shape of an element, otherwise that of the first written.
    ``infer_shape``:    False says nothing of the shape of what is read while the
                        graph is built.
    ``flow``:           a tensor [size, ...element] to start from instead of ``size``.

    Elements that are not written are zeros. An index outside of the array is an
    InvalidArgumentError, and so is an element of another shape than the others: all
    elements stand in one tensor. The remaining arguments change nothing.
    """

    def __init__(
        self,
        dtype: Any,
        size: Any = None,
        dynamic_size: bool | None = None,
        clear_after_read: bool | None = None,
        tensor_array_name: str | None = None,
        handle: Any = None,
        flow: Any = None,
        infer_shape: bool = True,
        element_shape: Any = None,
        colocate_with_first_write_call: bool = True,
        name: str | None = None,
    ) -> None:
        if size is None and flow is None:
            raise ValueError(
                "Argument `size` must be provided if argument `flow` is not provided."
            )
        if size is not None and flow is not None:
            raise ValueError(
                "Cannot provide both `size` and `flow` arguments at the same time."
            )
        if handle is not None:
            raise ValueError("A TensorArray has no handle; give its `flow` instead.")
        kind, element = as_dtype(dtype).base_dtype, shapes.as_partial(element_shape)
        graph = build.graph_of(size, flow)
        with graph.name_scope(name or "TensorArray"):
            if flow is None:
                number = static_size(size)
                rows = _empty(graph, kind, size, element)
            else:
                rows = graph.convert(flow, kind)
                number = None if rows._shape is None else rows._shape[0]
                if element is None and rows._shape is not None:
                    element = rows._shape[1:]
            self._flow: Tensor = graph.apply("TensorArrayFlow", rows)
        self._known = _Elements(
            kind, element, number, bool(dynamic_size), bool(infer_shape)
        )

    @property
    def flow(self) -> Tensor:
        """The tensor [size, ...element] that holds the elements."""
        return self._flow

    @property
    def handle(self) -> None:
        """None: the flow is all there is."""
        return None

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self._known.dtype

    @property
    def dynamic_size(self) -> bool:
        """True when writing beyond the end makes the array longer."""
        return self._known.dynamic

    @property
    def element_shape(self) -> TensorShape:
        """What is known of the shape of an element."""
        return TensorShape(self._known.shape)

    def __parts__(self) -> tuple[list[Any], Any]:
        """The tensor it is made of, and how to make another of such."""
        return [self._flow], self._with

    def __repr__(self) -> str:
        return (
            f"<TensorArray dtype={self.dtype.name} element_shape={self.element_shape} "
            f"flow={self._flow.name!r}>"
        )

    def _with(self, flow: Tensor) -> TensorArray:
        """The array after an operation, or in another graph."""
        successor = object.__new__(TensorArray)
        successor._flow = flow
        successor._known = self._known
        return successor

    def _rows(self, graph: Any) -> Tensor:
        """All elements, with what is known of their shape."""
        known = self._known
        rows: Tensor = graph.apply(
            "TensorArrayRows", self._flow, element_shape=known.shape, size=known.size
        )
        return rows

    def _scope(self, name: str | None, default: str, *values: Any) -> Any:
        return build.name_scope(name, default, [self._flow, *values])

    def identity(self) -> TensorArray:
        """An array of the same elements."""
        return self._with(build.apply_op("Identity", self._flow))

    def size(self, name: str | None = None) -> Tensor:
        """The number of elements, an int32 scalar."""
        with self._scope(name, "TensorArraySize"):
            graph = build.graph_of(self._flow)
            if self._known.size is not None:
                count: Tensor = graph.convert(self._known.size, dtypes.int32)
            else:
                count = shape_of(graph.adopt(self._flow), graph=graph)[0]
        return count

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """Element number ``index``."""
        with self._scope(name, "TensorArrayRead", index):
            return self._taken(index)

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements at the vector ``indices``, [n, ...element]."""
        with self._scope(name, "TensorArrayGather", indices):
            return self._taken(indices)

    def _taken(self, index: Any) -> Tensor:
        graph = build.graph_of(self._flow, index)
        taken: Tensor = graph.apply("GatherV2", self._rows(graph), index, 0)
        return taken

    def stack(self, name: str | None = None) -> Tensor:
        """All elements as one tensor [size, ...element]."""
        with self._scope(name, "TensorArrayStack"):
            return self._rows(build.graph_of(self._flow))

    def concat(self, name: str | None = None) -> Tensor:
        """All elements one after another along their first axis."""
        shape = self._known.shape
        if shape == ():
            raise GraphError(
                "concat() of a TensorArray needs elements of at least one axis; "
                "use stack() for scalars."
            )
        with self._scope(name, "TensorArrayConcat"):
            graph = build.graph_of(self._flow)
            rows = self._rows(graph)
            sizes = shape_of(rows, graph=graph)
            whole = graph.apply("ConcatV2", [sizes[:1] * sizes[1:2], sizes[2:]], 0)
            joined: Tensor = graph.apply("Reshape", rows, whole)
            if shape is not None:
                joined.set_shape((None, *shape[1:]))
        return joined

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with ``value`` as element number ``index``."""
        with self._scope(name, "TensorArrayWrite", index, value):
            graph = build.graph_of(self._flow, index, value)
            element = graph.convert(value, self.dtype)
            self._known.see(element._shape)
            return self._put(graph, index, element)

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with row i of ``value`` as element number ``indices[i]``."""
        with self._scope(name, "TensorArrayScatter", indices, value):
            graph = build.graph_of(self._flow, indices, value)
            elements = graph.convert(value, self.dtype)
            if elements._shape is not None:
                self._known.see(elements._shape[1:])
            return self._put(graph, indices, elements)

    def _put(self, graph: Any, index: Any, value: Tensor) -> TensorArray:
        index = graph.convert(index)
        flow = self._flow
        if self._known.dynamic:
            flow = graph.apply("TensorArrayGrow", flow, index)
        return self._with(graph.apply("TensorArrayPut", flow, index, value))

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """The array whose elements are the rows of ``value`` [size, ...element]."""
        with self._scope(name, "TensorArrayUnstack", value):
            graph = build.graph_of(self._flow, value)
            return self._filled(graph, graph.convert(value, self.dtype))

    def _filled(self, graph: Any, rows: Tensor) -> TensorArray:
        known, shape = self._known, rows._shape
        if shape is not None:
            if not shape:
                raise GraphError("The elements of a TensorArray come from rows.")
            known.see(shape[1:])
            if not known.dynamic:
                if None not in (shape[0], known.size) and shape[0] != known.size:
                    raise GraphError(
                        f"A TensorArray of size {known.size} cannot hold the "
                        f"{shape[0]} rows of {rows.name!r}."
                    )
                known.size = known.size if known.size is not None else shape[0]
        return self._with(graph.apply("TensorArrayFlow", rows))

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """The array whose element i is the next ``lengths[i]`` rows of ``value``.

        All lengths are the same, as the elements have one shape.
        """
        with self._scope(name, "TensorArraySplit", value, lengths):
            graph = build.graph_of(self._flow, value, lengths)
            whole = graph.convert(value, self.dtype)
            parts = graph.convert(lengths, dtypes.int32)
            known = constant_value(parts)
            if known is not None and (known != known[:1]).any():
                raise GraphError(
                    f"The lengths {known.tolist()} of the elements differ: the "
                    "elements of a TensorArray have one shape."
                )
            checks = [] if known is not None else [assert_equal(parts, parts[:1])]
            with graph.control_dependencies(checks):
                rest = shape_of(whole, graph=graph)[1:]
                count = shape_of(parts, graph=graph)
                sizes = graph.apply("ConcatV2", [count, parts[:1], rest], 0)
                rows = graph.apply("Reshape", whole, sizes)
            return self._filled(graph, rows)

    def close(self, name: str | None = None) -> Operation:
        """An operation that does nothing: there is nothing to let go of."""
        nothing: Operation = build.graph_of(self._flow).apply("NoOp", name=name)
        return nothing


def _empty(graph: Any, dtype: DType, size: Any, element: shapes.Partial) -> Tensor:
    """The elements before any is written."""
    tail = shapes.known(element) if shapes.is_known(element) else UNWRITTEN
    dims: Any = [size, *tail]
    if not isinstance(size, Tensor):
        dims = np.array(dims, np.int32)
    zero = np.zeros((), dtype.np_dtype)
    rows: Tensor = graph.apply("Fill", graph.convert(dims), graph.convert(zero))
    return rows
