"""Variable: state that outlives a run, read and written by ops of the graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from gpugrad import shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import GraphError
from gpugrad.graph import build, sessions
from gpugrad.graph.function_graph import outermost, source
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.shapes import Partial, TensorShape


class GraphKeys:
    """Names of the collections that TensorFlow's library uses."""

    GLOBAL_VARIABLES = "variables"
    LOCAL_VARIABLES = "local_variables"
    METRIC_VARIABLES = "metric_variables"
    MODEL_VARIABLES = "model_variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    MOVING_AVERAGE_VARIABLES = "moving_average_variables"
    REGULARIZATION_LOSSES = "regularization_losses"
    LOSSES = "losses"
    SUMMARIES = "summaries"
    SUMMARY_OP = "summary_op"
    SAVERS = "savers"
    WEIGHTS = "weights"
    BIASES = "biases"
    ACTIVATIONS = "activations"
    UPDATE_OPS = "update_ops"
    INIT_OP = "init_op"
    LOCAL_INIT_OP = "local_init_op"
    READY_OP = "ready_op"
    TRAIN_OP = "train_op"
    GLOBAL_STEP = "global_step"
    QUEUE_RUNNERS = "queue_runners"
    TABLE_INITIALIZERS = "table_initializer"
    ASSET_FILEPATHS = "asset_filepaths"
    COND_CONTEXT = "cond_context"
    WHILE_CONTEXT = "while_context"
    VARIABLES = "variables"
    EVAL_STEP = "eval_step"
    LOCAL_RESOURCES = "local_resources"
    READY_FOR_LOCAL_INIT_OP = "ready_for_local_init_op"
    RESOURCES = "resources"
    SAVEABLE_OBJECTS = "saveable_objects"


def handle_shape(handle: Tensor) -> Partial:
    """The static shape of the variable behind a handle, also a captured one."""
    shape: Partial = source(handle).op.attrs.get("shape")
    return shape


class Variable:
    """A value that the graph can change, kept by each Session from run to run.

    ``initial_value``: what ``initializer`` assigns: a value, a tensor, or a function
    without arguments that gives one. ``trainable`` variables are what optimizers
    update by default. ``validate_shape=False`` leaves the static shape open.

    Wherever a tensor is expected a variable is read, at that place of the graph; two
    uses are two reads. The derivative with respect to a variable is taken through
    all of its reads. The arguments are TensorFlow's; ``use_resource`` and
    ``caching_device`` change nothing, for every variable is a resource variable.

    Raises ValueError without an initial value.
    """

    __array_priority__ = 100

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool | None = None,
        collections: Any = None,
        validate_shape: bool = True,
        caching_device: Any = None,
        name: str | None = None,
        variable_def: Any = None,
        dtype: Any = None,
        expected_shape: Any = None,
        import_scope: str | None = None,
        constraint: Callable[..., Any] | None = None,
        use_resource: bool | None = None,
        synchronization: Any = None,
        aggregation: Any = None,
        shape: Any = None,
    ) -> None:
        if initial_value is None:
            raise ValueError(
                "The `initial_value` arg to `tf.Variable` must be specified: a "
                "value, a "
                "tensor, or a function without arguments that gives one."
            )
        if collections is None:
            collections = [GraphKeys.GLOBAL_VARIABLES]
        if not isinstance(collections, (list, tuple, set)):
            raise ValueError(
                "collections argument to Variable constructor must be a list, tuple, "
                "or "
                f"set. Got {collections!r} of type {type(collections)}"
            )
        if constraint is not None and not callable(constraint):
            raise ValueError("The `constraint` argument must be a callable.")
        self._trainable = True if trainable is None else bool(trainable)
        self.constraint = constraint
        self.synchronization = synchronization
        self.aggregation = aggregation
        graph = outermost(build.graph_of(initial_value))
        with build.graph_context(graph), graph.control_dependencies(None):
            self._build(
                graph,
                initial_value,
                name or "Variable",
                None if dtype is None else as_dtype(dtype).base_dtype,
                shape if shape is not None else None if validate_shape else ...,
            )
        keys = list(collections)
        if self._trainable and GraphKeys.TRAINABLE_VARIABLES not in keys:
            keys.append(GraphKeys.TRAINABLE_VARIABLES)
        graph.add_to_collections(keys, self)

    def _build(
        self, graph: Graph, initial_value: Any, name: str, dtype: Any, shape: Any
    ) -> None:
        """Add the variable's own ops: initial value, handle, assignment, a read."""
        with graph.name_scope(name) as scope:
            full_name = scope[:-1]
            with graph.name_scope("Initializer"), _colocated(graph, full_name):
                if callable(initial_value):
                    initial_value = initial_value()
                value = graph.convert(initial_value, dtype, "initial_value")
            self._initial_value = value
            if shape is None:
                shape = value._shape
            elif shape is ...:
                shape = None
            with _colocated(graph, full_name):
                self._handle: Tensor = graph.apply(
                    "VarHandleOp",
                    name=scope,
                    dtype=value.dtype,
                    shape=shapes.as_partial(shape),
                    shared_name=full_name,
                )
            with graph.name_scope("IsInitialized"):
                self._is_initialized = graph.apply("VarIsInitializedOp", self._handle)
            self._initializer: Operation = graph.apply(
                "AssignVariableOp",
                self._handle,
                value,
                name="Assign",
                validate_shape=False,
            )
            with graph.name_scope("Read"):
                self._snapshot: Tensor = self._read(graph)
            graph.snapshots[self._handle] = self._snapshot

    @classmethod
    def of_parts(
        cls,
        initial_value: Tensor,
        initializer: Operation,
        snapshot: Tensor,
        **more: Any,
    ) -> Variable:
        """The variable that ops make up which are there already: after an import.

        ``initializer`` assigns ``initial_value``; ``snapshot`` reads. ``more``:
        trainable, synchronization, aggregation.
        """
        variable = cls.__new__(cls)
        variable._initial_value = initial_value
        variable._initializer = initializer
        variable._handle = initializer.inputs[0]
        variable._snapshot = snapshot
        variable.graph.snapshots[variable._handle] = snapshot
        variable._trainable = more.get("trainable", True)
        variable.constraint = None
        variable.synchronization = more.get("synchronization")
        variable.aggregation = more.get("aggregation")
        return variable

    # --- what it is -------------------------------------------------------------------

    @property
    def handle(self) -> Tensor:
        """The resource that stands for the variable, not for its value."""
        return self._handle

    @property
    def op(self) -> Operation:
        """The op that makes the handle."""
        return self._handle.op

    @property
    def graph(self) -> Graph:
        """The graph that the variable is a part of."""
        return self._handle.op.graph

    @property
    def name(self) -> str:
        """The name, such as "layer/w:0"."""
        return self._handle.name

    @property
    def dtype(self) -> DType:
        """The dtype of the value."""
        dtype: DType = source(self._handle).op.attrs["dtype"]
        return dtype

    @property
    def shape(self) -> TensorShape:
        """The static shape of the value."""
        return TensorShape(handle_shape(self._handle))

    def get_shape(self) -> TensorShape:
        """The static shape of the value."""
        return self.shape

    @property
    def _shape(self) -> Partial:
        return handle_shape(self._handle)

    @property
    def device(self) -> str:
        """The device asked for; "" for any."""
        return self._handle.device

    @property
    def trainable(self) -> bool:
        """True if optimizers update it by default."""
        return self._trainable

    @property
    def initializer(self) -> Any:
        """The op that assigns the initial value."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor:
        """The tensor that the initializer assigns."""
        return self._initial_value

    def is_initialized(self, name: str | None = None) -> Tensor:
        """A boolean tensor: whether the variable has a value."""
        return self._graph_here().apply("VarIsInitializedOp", self._handle, name=name)

    def ref(self) -> Any:
        """A hashable reference to the variable."""
        return self._handle.ref()

    def __repr__(self) -> str:
        return f"<tf.Variable '{self.name}' shape={self.shape} dtype={self.dtype.name}>"

    # --- reading ----------------------------------------------------------------------

    def _graph_here(self) -> Graph:
        """Where an op on the variable belongs: a function body being built, or its "
        "graph."""
        return build.graph_of(self)

    def _read(self, graph: Graph) -> Tensor:
        return graph.apply("ReadVariableOp", self._handle, dtype=self.dtype)

    def value(self) -> Tensor:
        """A fresh read."""
        return self._read(self._graph_here())

    def read_value(self) -> Tensor:
        """A fresh read, as a tensor with a name of its own."""
        graph = self._graph_here()
        with graph.name_scope("Read"):
            value = self._read(graph)
        return graph.apply("Identity", value)

    def sparse_read(self, indices: Any, name: str | None = None) -> Tensor:
        """The rows at ``indices``, without reading the rest."""
        return self._graph_here().apply(
            "ResourceGather", self._handle, indices, name=name or "Gather",
            dtype=self.dtype,
        )  # fmt: skip

    def gather_nd(self, indices: Any, name: str | None = None) -> Tensor:
        """The slices at the places that the rows of ``indices`` say."""
        graph = self._graph_here()
        return graph.apply("GatherNd", self.value(), indices, name=name)

    def initialized_value(self) -> Tensor:
        """The initial value; what other initial values are made from."""
        return self._initial_value

    def count_up_to(self, limit: int) -> Tensor:
        """The value, which is then increased by one; OutOfRangeError when run with
        the value at ``limit``.
        """
        graph = self._graph_here()
        with graph.name_scope("CountUpTo"):
            value = graph.apply("BelowLimit", self.value(), limit=int(limit))
            with graph.control_dependencies([value]):
                add = self.assign_add(graph.convert(1, self.dtype), read_value=False)
            with graph.control_dependencies([add]):
                return graph.apply("Identity", value)

    def eval(self, session: Any = None) -> Any:
        """The value in ``session`` or the default session."""
        return sessions.require(session, "eval()").run(self)

    def load(self, value: Any, session: Any = None) -> None:
        """Set the value in ``session`` or the default session."""
        feed = {self._initializer.inputs[1]: value}
        sessions.require(session, "load()").run(self._initializer, feed)

    def __tensor__(self, graph: Graph, dtype: DType | None, name: str | None) -> Tensor:
        """A read in ``graph``. An operand's read stands in the scope of its op."""
        if dtype is not None and dtype is not self.dtype:
            raise GraphError(
                f"Incompatible type conversion requested to type {dtype.name!r} for "
                f"variable of type {self.dtype.name!r}: {self!r}. Cast it."
            )
        if name is not None and name[-1:] == "/" and "/" in name[:-1]:
            with graph.name_scope(name[:-1].rpartition("/")[0] + "/"):
                return self._read(graph)
        return self._read(graph)

    def __graph_element__(self) -> Tensor:
        """What a Session fetches or feeds for the variable."""
        return self._snapshot

    # --- writing ----------------------------------------------------------------------

    def assign(
        self,
        value: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Set the value. Gives the variable as it is afterwards, or, with
        ``read_value=False``, the op.

        ValueError if the shapes cannot agree, TypeError if the dtypes differ.
        """
        return self._update("AssignVariableOp", value, name, read_value)

    def assign_add(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Add ``delta``, which has the variable's shape."""
        return self._update("AssignAddVariableOp", delta, name, read_value)

    def assign_sub(
        self,
        delta: Any,
        use_locking: bool = False,
        name: str | None = None,
        read_value: bool = True,
    ) -> Any:
        """Subtract ``delta``, which has the variable's shape."""
        return self._update("AssignSubVariableOp", delta, name, read_value)

    def _update(self, op_type: str, value: Any, name: Any, read_value: bool) -> Any:
        graph = self._graph_here()
        tensor = graph.convert(value, self.dtype)
        if not shapes.compatible(self._shape, tensor._shape):
            raise GraphError(
                f"Cannot assign value to variable '{self.name}': Shape mismatch. The "
                f"variable shape {self.shape}, and the assigned value shape "
                f"{tensor.shape} are incompatible."
            )
        attrs = {}
        if op_type == "AssignVariableOp":
            # As in TensorFlow: a variable of open shape takes values of any that fits.
            attrs["validate_shape"] = shapes.is_known(self._shape)
        op = graph.apply(op_type, self._handle, tensor, name=name, **attrs)
        return AssignedVariable(self, op) if read_value else op

    def _scatter(
        self, kind: str, indices: Any, updates: Any, name: str | None
    ) -> AssignedVariable:
        graph = self._graph_here()
        tensor = graph.convert(updates, self.dtype)
        op = graph.apply(
            f"ResourceScatter{kind}", self._handle, indices, tensor, name=name
        )
        return AssignedVariable(self, op)

    def _scatter_slices(self, kind: str, slices: Any, name: str | None) -> Any:
        if not hasattr(slices, "indices"):
            raise TypeError(f"sparse_delta is not IndexedSlices: {slices!r}")
        return self._scatter(kind, slices.indices, slices.values, name)

    def scatter_add(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Add the rows of an IndexedSlices."""
        return self._scatter_slices("Add", sparse_delta, name)

    def scatter_sub(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Subtract the rows of an IndexedSlices."""
        return self._scatter_slices("Sub", sparse_delta, name)

    def scatter_update(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Set the rows of an IndexedSlices; the last of equal indices wins."""
        return self._scatter_slices("Update", sparse_delta, name)

    def scatter_mul(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Multiply by the rows of an IndexedSlices."""
        return self._scatter_slices("Mul", sparse_delta, name)

    def scatter_div(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """Divide by the rows of an IndexedSlices."""
        return self._scatter_slices("Div", sparse_delta, name)

    def scatter_max(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """The greater of each row and that of an IndexedSlices."""
        return self._scatter_slices("Max", sparse_delta, name)

    def scatter_min(
        self, sparse_delta: Any, use_locking: bool = False, name: str | None = None
    ) -> Any:
        """The lesser of each row and that of an IndexedSlices."""
        return self._scatter_slices("Min", sparse_delta, name)

    def scatter_nd_add(
        self, indices: Any, updates: Any, name: str | None = None
    ) -> Any:
        """Add ``updates`` at the places that the rows of ``indices`` say."""
        return self._scatter("NdAdd", indices, updates, name)

    def scatter_nd_sub(
        self, indices: Any, updates: Any, name: str | None = None
    ) -> Any:
        """Subtract ``updates`` at the places that the rows of ``indices`` say."""
        return self._scatter("NdSub", indices, updates, name)

    def scatter_nd_update(
        self, indices: Any, updates: Any, name: str | None = None
    ) -> Any:
        """Set the places that the rows of ``indices`` say to ``updates``."""
        return self._scatter("NdUpdate", indices, updates, name)

    def scatter_nd_max(
        self, indices: Any, updates: Any, name: str | None = None
    ) -> Any:
        """The greater of what is there and ``updates`` at the places of ``indices``."""
        return self._scatter("NdMax", indices, updates, name)

    def scatter_nd_min(
        self, indices: Any, updates: Any, name: str | None = None
    ) -> Any:
        """The lesser of what is there and ``updates`` at the places of ``indices``."""
        return self._scatter("NdMin", indices, updates, name)

    # --- what Python does with it -----------------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._snapshot)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._snapshot)

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        self._snapshot.__array__()

    __array_ufunc__ = Tensor.__array_ufunc__
    __array_function__ = Tensor.__array_function__

    # A variable in an expression is a read; Tensor says what the operator builds.

    def __add__(self, other: Any) -> Tensor:
        return self.value() + other

    def __radd__(self, other: Any) -> Tensor:
        return other + self.value()

    def __sub__(self, other: Any) -> Tensor:
        return self.value() - other

    def __rsub__(self, other: Any) -> Tensor:
        return other - self.value()

    def __mul__(self, other: Any) -> Tensor:
        return self.value() * other

    def __rmul__(self, other: Any) -> Tensor:
        return other * self.value()

    def __truediv__(self, other: Any) -> Tensor:
        return self.value() / other

    def __rtruediv__(self, other: Any) -> Tensor:
        return other / self.value()

    def __floordiv__(self, other: Any) -> Tensor:
        return self.value() // other

    def __rfloordiv__(self, other: Any) -> Tensor:
        return other // self.value()

    def __mod__(self, other: Any) -> Tensor:
        return self.value() % other

    def __rmod__(self, other: Any) -> Tensor:
        return other % self.value()

    def __pow__(self, other: Any) -> Tensor:
        return self.value() ** other

    def __rpow__(self, other: Any) -> Tensor:
        return other ** self.value()

    def __matmul__(self, other: Any) -> Tensor:
        return self.value() @ other

    def __rmatmul__(self, other: Any) -> Tensor:
        return other @ self.value()

    def __and__(self, other: Any) -> Tensor:
        return self.value() & other

    def __rand__(self, other: Any) -> Tensor:
        return other & self.value()

    def __or__(self, other: Any) -> Tensor:
        return self.value() | other

    def __ror__(self, other: Any) -> Tensor:
        return other | self.value()

    def __xor__(self, other: Any) -> Tensor:
        return self.value() ^ other

    def __rxor__(self, other: Any) -> Tensor:
        return other ^ self.value()

    def __lt__(self, other: Any) -> Tensor:
        return self.value() < other

    def __le__(self, other: Any) -> Tensor:
        return self.value() <= other

    def __gt__(self, other: Any) -> Tensor:
        return self.value() > other

    def __ge__(self, other: Any) -> Tensor:
        return self.value() >= other

    def __neg__(self) -> Tensor:
        return -self.value()

    def __invert__(self) -> Tensor:
        return ~self.value()

    def __abs__(self) -> Tensor:
        return abs(self.value())

    def __getitem__(self, key: Any) -> Tensor:
        return self.value()[key]


class AssignedVariable(Variable):
    """A variable as it is after an assignment: what ``assign`` gives.

    Every read of it happens after the assignment.
    """

    def __init__(self, variable: Variable, parent: Operation) -> None:
        self._variable = variable
        self._handle = variable._handle
        self._trainable = variable._trainable
        self._parent = parent
        self._initializer = None  # type: ignore[assignment]
        self._initial_value = None  # type: ignore[assignment]
        self.constraint = variable.constraint
        self.synchronization = variable.synchronization
        self.aggregation = variable.aggregation
        self._snapshot = self._read(parent.graph)

    @property
    def name(self) -> str:
        """The name of the assignment."""
        return self._parent.name

    @property
    def op(self) -> Operation:
        """The op that assigns."""
        return self._parent

    def _read(self, graph: Graph) -> Tensor:
        if graph is not self._parent.graph:
            return graph.adopt(self._snapshot)
        with graph.control_dependencies([self._parent]):
            return super()._read(graph)

    def _update(self, op_type: str, value: Any, name: Any, read_value: bool) -> Any:
        with self._afterwards():
            return super()._update(op_type, value, name, read_value)

    def _scatter(
        self, kind: str, indices: Any, updates: Any, name: str | None
    ) -> AssignedVariable:
        with self._afterwards():
            return super()._scatter(kind, indices, updates, name)

    def _afterwards(self) -> Any:
        graph = self._graph_here()
        inside = graph is not self.graph
        return graph.control_dependencies(
            [graph.adopt(self._snapshot) if inside else self._parent]
        )


@contextmanager
def _colocated(graph: Graph, name: str) -> Iterator[None]:
    """Put new ops into the colocation group of a handle that is yet to be made."""
    here = graph._here
    before = here.colocation
    here.colocation = (b"loc:@" + name.encode(),)
    try:
        yield
    finally:
        here.colocation = before
