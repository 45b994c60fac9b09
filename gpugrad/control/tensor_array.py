"""TensorArray: tensors of one shape, written and read one at a time."""

from __future__ import annotations

from typing import Any

from gpugrad import dtypes, shapes
from gpugrad.control.lists import element_vector
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import GraphError
from gpugrad.graph import build
from gpugrad.graph.constant import constant_value
from gpugrad.graph.tensor import Operation, Tensor
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
                "shape, unless it is made with infer_shape=False."
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
    ``infer_shape``:    False lets elements differ in shape, to be joined by concat(),
                        and says nothing of the shape of what is read while the graph
                        is built.
    ``flow``:           the flow of another TensorArray, to start from what that has.

    Elements that are not written are zeros. An index outside of the array is an
    InvalidArgumentError, and so are elements of several shapes where they are stacked.
    Writing costs nothing but the element, however long the array. The remaining
    arguments change nothing.
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
            number = None
            if flow is None:
                number = static_size(size)
                flow = graph.apply(
                    "TensorListReserve",
                    element_vector(graph, element),
                    graph.convert(size, dtypes.int32),
                    element_dtype=kind,
                )
            self._flow: Tensor = graph.convert(flow, dtypes.variant)
        self._known = _Elements(
            kind, element, number, bool(dynamic_size), bool(infer_shape)
        )

    @property
    def flow(self) -> Tensor:
        """The tensor of dtype variant that holds the elements."""
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
                count = graph.apply("TensorListLength", self._flow)
        return count

    def read(self, index: Any, name: str | None = None) -> Tensor:
        """Element number ``index``."""
        with self._scope(name, "TensorArrayRead", index):
            return self._given("TensorListGetItem", index)

    def gather(self, indices: Any, name: str | None = None) -> Tensor:
        """The elements at the vector ``indices``, [n, ...element]."""
        with self._scope(name, "TensorArrayGather", indices):
            return self._given("TensorListGather", indices)

    def stack(self, name: str | None = None) -> Tensor:
        """All elements as one tensor [size, ...element]."""
        with self._scope(name, "TensorArrayStack"):
            size = self._known.size
            return self._given(
                "TensorListStack", num_elements=-1 if size is None else size
            )

    def _given(self, op_type: str, *index: Any, **attrs: Any) -> Tensor:
        """What a TensorList op of that type reads of the array."""
        graph = build.graph_of(self._flow, *index)
        indices = [graph.convert(i, dtypes.int32) for i in map(_as_int32, index)]
        element = element_vector(graph, self._known.shape)
        found: Tensor = graph.apply(
            op_type, self._flow, *indices, element, element_dtype=self.dtype, **attrs
        )
        return found

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
            if shape is not None and not self._known.infers:
                shape = (None, *shape[1:])
            element = element_vector(graph, shape)
            joined: Tensor = graph.apply(
                "TensorListConcatV2",
                self._flow,
                element,
                graph.convert([], dtypes.int64),
                element_dtype=self.dtype,
            )[0]
            size = self._known.size
            if shape is not None and shape[0] is not None and size is not None:
                joined.set_shape((shape[0] * size, *shape[1:]))
        return joined

    def write(self, index: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with ``value`` as element number ``index``."""
        with self._scope(name, "TensorArrayWrite", index, value):
            graph = build.graph_of(self._flow, index, value)
            element = graph.convert(value, self.dtype)
            self._known.see(element._shape)
            return self._with(
                graph.apply(
                    "TensorListSetItem",
                    self._flow,
                    graph.convert(_as_int32(index), dtypes.int32),
                    element,
                    resize_if_index_out_of_bounds=self.dynamic_size,
                )
            )

    def scatter(self, indices: Any, value: Any, name: str | None = None) -> TensorArray:
        """The array with row i of ``value`` as element number ``indices[i]``."""
        with self._scope(name, "TensorArrayScatter", indices, value):
            graph = build.graph_of(self._flow, indices, value)
            elements = graph.convert(value, self.dtype)
            if elements._shape is not None:
                self._known.see(elements._shape[1:])
            return self._with(
                graph.apply(
                    "TensorListScatterIntoExistingList",
                    self._flow,
                    elements,
                    graph.convert(_as_int32(indices), dtypes.int32),
                    resize_if_index_out_of_bounds=self.dynamic_size,
                )
            )

    def unstack(self, value: Any, name: str | None = None) -> TensorArray:
        """The array whose elements are the rows of ``value`` [size, ...element]."""
        with self._scope(name, "TensorArrayUnstack", value):
            graph = build.graph_of(self._flow, value)
            rows = graph.convert(value, self.dtype)
            known, shape = self._known, rows._shape
            if shape is not None:
                if not shape:
                    raise GraphError("The elements of a TensorArray come from rows.")
                known.see(shape[1:])
                self._check_size(shape[0], rows)
            element = element_vector(graph, known.shape)
            return self._with(graph.apply("TensorListFromTensor", rows, element))

    def _check_size(self, count: int | None, rows: Tensor) -> None:
        known = self._known
        if known.dynamic or count is None:
            return
        if known.size is not None and known.size != count:
            raise GraphError(
                f"A TensorArray of size {known.size} cannot hold the {count} rows of "
                f"{rows.name!r}."
            )
        known.size = count

    def split(self, value: Any, lengths: Any, name: str | None = None) -> TensorArray:
        """The array whose element i is the next ``lengths[i]`` rows of ``value``.

        Lengths that differ need ``infer_shape=False``.
        """
        with self._scope(name, "TensorArraySplit", value, lengths):
            graph = build.graph_of(self._flow, value, lengths)
            rows = graph.convert(value, self.dtype)
            parts = graph.convert(lengths)
            if parts.dtype is not dtypes.int64:
                parts = graph.apply("Cast", parts, DstT=dtypes.int64)
            sizes = constant_value(parts)
            known = self._known
            first = None
            if sizes is not None and sizes.size:
                if (sizes != sizes[0]).any():
                    if known.infers:
                        raise GraphError(
                            f"The lengths {sizes.tolist()} of the elements differ: "
                            "make the TensorArray with infer_shape=False."
                        )
                else:
                    first = int(sizes[0])
                self._check_size(len(sizes), rows)
            if rows._shape is not None:
                known.see((first, *rows._shape[1:]))
            element = element_vector(graph, known.shape)
            return self._with(graph.apply("TensorListSplit", rows, element, parts))

    def close(self, name: str | None = None) -> Operation:
        """An operation that does nothing: there is nothing to let go of."""
        nothing: Operation = build.graph_of(self._flow).apply("NoOp", name=name)
        return nothing


def static_size(size: Any) -> int | None:
    """The number that a size is, None if it is not known before the graph runs."""
    value = constant_value(size) if isinstance(size, Tensor) else size
    return None if value is None else int(value)


def _as_int32(index: Any) -> Any:
    """An index, which may be an int64 tensor."""
    if isinstance(index, Tensor) and index.dtype is not dtypes.int32:
        return index.graph.apply("Cast", index, DstT=dtypes.int32)
    return index
