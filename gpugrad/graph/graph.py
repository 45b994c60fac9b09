"""Graph: an append-only set of operations, and how one is added."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.errors import GraphError, GraphTypeError, InvalidArgumentError, describe
from gpugrad.graph import constant, defaults, device, lookup
from gpugrad.graph.graphdef import export
from gpugrad.graph.scopes import (
    Controller,
    Names,
    Surroundings,
    check_op_name,
    check_scope_name,
    user_line,
)
from gpugrad.graph.spec import REGISTRY, Input, OpSpec
from gpugrad.graph.tensor import Operation, Tensor

_serial = itertools.count()


class NameScope:
    """The context of ``name_scope``. A class, since op functions open one a call:
    it takes a third of the time of a generator.
    """

    __slots__ = ("_before", "_graph", "_name", "_pushed")

    def __init__(self, graph: Graph, name: str | None, pushed: bool) -> None:
        self._graph = graph
        self._name = name
        # Whether the graph becomes the default one inside.
        self._pushed = pushed

    def __enter__(self) -> str:
        graph, name = self._graph, self._name
        here = graph._here
        self._before = before = here.scope
        if not name:
            scope = ""
        elif name[-1] == "/":
            scope = name
        else:
            check_scope_name(name, bool(before))
            with graph._lock:
                scope = graph._names.unique(before + name) + "/"
        here.scope = scope
        if self._pushed:
            defaults.stack.graphs.append(graph)
        return scope

    def __exit__(self, *error: Any) -> None:
        self._graph._here.scope = self._before
        if self._pushed:
            defaults.stack.graphs.pop()


class Graph:
    """Operations and tensors. Append-only, and safe to build from several threads.

    Scopes (names, devices, control dependencies) belong to the thread that opened
    them.
    """

    # Inside gg.function ``==`` on tensors builds a node, as in TensorFlow.
    building_function = False

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ops: list[Operation] = []
        self._by_name: dict[str, Operation] = {}
        self._names = Names()
        self._here = Surroundings()
        self._finalized = False
        self._collections: dict[Any, list[Any]] = {}
        self._unfeedable: set[Any] = set()
        self._unfetchable: set[Any] = set()
        # The read that stands for a variable's handle where a value is asked for.
        self.snapshots: dict[Tensor, Tensor] = {}
        self.seed: int | None = None
        self.key = next(_serial)

    # --- adding an operation ----------------------------------------------------------

    def apply(
        self, op_type: str, *args: Any, name: str | None = None, **attrs: Any
    ) -> Any:
        """Add an op of ``op_type``; its tensor, a list of them, or the Operation.

        ``args`` are the inputs in the order of the signature: tensors, or values,
        which become constants of the dtype that the tensors among them decide. A
        list input takes a list. ``name`` defaults to the op type.
        """
        spec = REGISTRY.specs.get(op_type) or REGISTRY.find(op_type)
        merged = {**spec.attrs, **attrs} if attrs else spec.attrs.copy()
        if name is None:
            name = op_type
        formals = spec.inputs
        if len(args) != len(formals):
            raise TypeError(
                f"{op_type} takes {len(formals)} inputs "
                f"({', '.join(f.name for f in formals)}), not {len(args)}."
            )
        for formal, arg in zip(formals, args):
            if type(arg) is not Tensor or arg.op.graph is not self:
                name, inputs = self._operands(spec, args, merged, name)
                break
            if formal.attr is not None:
                have = merged.get(formal.attr)
                if have is None:
                    merged[formal.attr] = arg.dtype
                elif have is not arg.dtype:
                    raise self._mismatch(spec, formal, arg.dtype, merged)
            elif formal.dtype is not None and arg.dtype is not formal.dtype:
                raise self._mismatch(spec, formal, arg.dtype, merged)
        else:
            inputs = args
        return self._append(spec, name, inputs, merged)

    def _append(
        self, spec: OpSpec, name: str, inputs: tuple[Tensor, ...], attrs: dict[str, Any]
    ) -> Any:
        here = self._here
        op = Operation()
        op.graph = self
        op.spec = spec
        op.inputs = inputs
        op.attrs = attrs
        op.device = here.device
        op.origin = here.origin or user_line()
        op.name = name
        if here.overrides and spec.type in here.overrides:
            attrs["_gradient_op_type"] = here.overrides[spec.type].encode()
        if here.colocation:
            attrs["_class"] = here.colocation
        op.control_inputs = self._control_inputs(op) if here.controllers else ()
        try:
            results = spec.infer(op) if spec.infer is not None else ()
        except (ValueError, TypeError) as error:
            raise self._located(error, op, here.scope) from error
        outputs = op.outputs = []
        for index, (dtype, shape) in enumerate(results):
            outputs.append(Tensor(op, index, dtype, shape))
        with self._lock:
            if self._finalized:
                raise RuntimeError("Graph is finalized and cannot be modified.")
            if name[-1:] == "/":
                op.name = name[:-1]
                if op.name in self._by_name:
                    op.name = self._names.unique(op.name)
            else:
                check_op_name(name, bool(here.scope))
                op.name = self._names.unique(here.scope + name)
            op.id = len(self._ops)
            self._ops.append(op)
            self._by_name[op.name] = op
            for tensor in inputs:
                if tensor._consumers is None:
                    tensor._consumers = [op]
                else:
                    tensor._consumers.append(op)
        if here.controllers:
            for controller in here.controllers:
                controller.made.add(op)
        count = len(outputs)
        return outputs[0] if count == 1 else outputs if count else op

    @staticmethod
    def _located(error: Exception, op: Operation, scope: str) -> Exception:
        # A name that ends in "/" is that of a scope, in full.
        op.name = op.name[:-1] if op.name[-1:] == "/" else scope + op.name
        shown = ", ".join(f"{t.name} {shapes.text(t._shape)}" for t in op.inputs)
        inputs = f" with inputs {shown}" if shown else ""
        text = f"{error} [{describe(op)}{inputs}]"
        if isinstance(error, InvalidArgumentError):
            return InvalidArgumentError(None, op, text)
        kind = GraphTypeError if isinstance(error, TypeError) else GraphError
        return kind(text)

    def _control_inputs(self, op: Operation) -> tuple[Operation, ...]:
        found: dict[Operation, None] = {}
        before = {t.op for t in op.inputs}
        for controller in self._here.controllers:
            if not before.isdisjoint(controller.made):
                continue  # ordered already, through an input made in the block
            found.update((c, None) for c in controller.ops if c not in before)
        return tuple(found)

    @staticmethod
    def _mismatch(
        spec: OpSpec, formal: Input, dtype: DType, attrs: dict[str, Any]
    ) -> GraphTypeError:
        if formal.attr is None:
            assert formal.dtype is not None
            return GraphTypeError(
                f"Input '{formal.name}' of '{spec.type}' Op has type {dtype.name} that "
                f"does not match expected type of {formal.dtype.name}."
            )
        other = next(f.name for f in spec.inputs if f.attr == formal.attr)
        return GraphTypeError(
            f"Input '{formal.name}' of '{spec.type}' Op has type {dtype.name} that "
            f"does not match type {attrs[formal.attr].name} of argument '{other}'. "
            "Cast one of them: nothing is converted implicitly."
        )

    def _operands(
        self, spec: OpSpec, args: Sequence[Any], attrs: dict[str, Any], name: str
    ) -> tuple[str, tuple[Tensor, ...]]:
        """Turn arguments into tensors; constants are named after the op.

        Tensors decide the type attributes before values are converted, whatever
        their order, so that ``2 * x`` is of x's dtype.
        """
        for formal, arg in zip(spec.inputs, args):
            items = arg if formal.number is not None else (arg,)
            if formal.number is not None and not isinstance(arg, (list, tuple)):
                raise TypeError(
                    f"Expected list for '{formal.name}' argument to '{spec.type}' Op, "
                    f"not {arg!r}."
                )
            for item in items:
                dtype = getattr(item, "dtype", None)
                if not isinstance(dtype, DType) or formal.attr is None:
                    continue
                have = attrs.get(formal.attr)
                if have is None:
                    attrs[formal.attr] = dtype.base_dtype
                elif have is not dtype.base_dtype and not isinstance(have, list):
                    raise self._mismatch(spec, formal, dtype, attrs)
        full: str | None = None
        inputs: list[Tensor] = []
        for formal, arg in zip(spec.inputs, args):
            single = formal.number is None
            for index, item in enumerate((arg,) if single else arg):
                if isinstance(item, Tensor):
                    tensor = self.adopt(item)
                else:
                    if full is None:
                        full = self._reserve(name)
                    label = formal.name if single else f"{formal.name}_{index}"
                    tensor = self._operand(spec, formal, item, attrs, f"{full}{label}")
                inputs.append(tensor)
            if formal.number is not None:
                attrs[formal.number] = len(arg)
        return full or name, tuple(inputs)

    def _reserve(self, name: str) -> str:
        """The op's own name with a slash, taken before its operands are named."""
        if name[-1:] == "/":
            return name
        check_op_name(name, bool(self._here.scope))
        return self._names.unique(self._here.scope + name) + "/"

    def _operand(
        self, spec: OpSpec, formal: Input, value: Any, attrs: dict[str, Any], name: str
    ) -> Tensor:
        dtype = formal.dtype
        if formal.attr is not None:
            dtype = attrs.get(formal.attr)
            if dtype is None and formal.default is not None:
                dtype = formal.default
                if isinstance(value, (np.ndarray, np.generic)) or (
                    isinstance(value, (list, tuple)) and _holds_tensors(value)
                ):
                    dtype = None  # NumPy values and tensors have a type of their own
        with self._lock:
            name = self._names.unique(name)
        tensor = self.convert(value, dtype, name + "/")
        if formal.attr is None:
            if formal.dtype is not None and tensor.dtype is not formal.dtype:
                raise self._mismatch(spec, formal, tensor.dtype, attrs)
        elif attrs.get(formal.attr) is None:
            attrs[formal.attr] = tensor.dtype
        elif attrs[formal.attr] is not tensor.dtype:
            raise self._mismatch(spec, formal, tensor.dtype, attrs)
        return tensor

    def convert(
        self, value: Any, dtype: DType | None = None, name: str | None = None
    ) -> Tensor:
        """``value`` as a tensor of this graph.

        A tensor is itself. Objects with ``__tensor__(graph, dtype, name)`` (variables,
        IndexedSlices, values on a device) convert themselves. A list that holds
        tensors is packed. Everything else becomes a Const node.
        """
        if isinstance(value, Tensor):
            if dtype is not None and value.dtype is not dtype:
                raise GraphError(
                    f"Tensor conversion requested dtype {dtype.name} for Tensor with "
                    f"dtype {value.dtype.name}: {value!r}. Cast it."
                )
            return self.adopt(value)
        method = getattr(value, "__tensor__", None)
        if method is not None:
            return method(self, dtype, name)
        if isinstance(value, (list, tuple)) and _holds_tensors(value):
            return self._pack(value, dtype, name)
        if isinstance(value, shapes.TensorShape):
            value = list(shapes.known(value._dims))
            dtype = dtype or dtypes.int32
        array = constant.to_array(value, dtype)
        if array is value or array.base is not None:
            array = array.copy()  # later changes of the caller's array do not show
        dtype = dtype or dtypes.of_numpy(array.dtype)
        return self.apply("Const", name=name or "Const", value=array, dtype=dtype)

    def _pack(
        self, value: Sequence[Any], dtype: DType | None, name: str | None
    ) -> Tensor:
        if dtype is None:
            dtype = _tensor_dtype(value)
        for item in value:
            if isinstance(item, Tensor) and item.dtype is not dtype:
                raise GraphTypeError(
                    f"A list of {dtype} cannot hold {item!r}. Cast one of them."
                )
        with self.name_scope(name or "packed") as scope:
            items = [self.convert(v, dtype, str(i)) for i, v in enumerate(value)]
            return self.apply("Pack", items, name=scope, axis=0)

    def adopt(self, tensor: Tensor) -> Tensor:
        """``tensor`` as one of this graph's; GraphError if it is another graph's."""
        if tensor.op.graph is self:
            return tensor
        raise GraphError(
            f"{tensor} must be from the same graph as the others (graphs are "
            f"{tensor.op.graph} and {self})."
        )

    def copy_of(self, op: Operation, inputs: Sequence[Tensor]) -> Operation:
        """An operation like ``op``, of another graph, on ``inputs`` of this one."""
        name = op.name.rpartition("/")[2]
        made = self._append(op.spec, name, tuple(inputs), dict(op.attrs))
        if isinstance(made, Operation):
            return made
        tensor: Tensor = made[0] if isinstance(made, list) else made
        return tensor.op

    def add_output(self, op: Operation, dtype: DType, shape: shapes.Partial) -> Tensor:
        """One more output of a call, a branch or a loop of this graph.

        How a gradient gets at what such an op has computed inside. The only change
        that an operation knows after its making.
        """
        with self._lock:
            tensor = Tensor(op, len(op.outputs), dtype, shape)
            op.outputs.append(tensor)
        return tensor

    # --- operators --------------------------------------------------------------------

    def binary(self, op_type: str, x: Any, y: Any, name: str) -> Any:
        """``x op y`` for operators: the tensor decides the value's dtype."""
        return self.apply(op_type, x, y, name=name)

    def true_divide(self, x: Any, y: Any, name: str = "truediv") -> Tensor:
        """``x / y``; integers become float64 (8 and 16 bit ones float32) first."""
        dtype = (x if isinstance(x, Tensor) else y).dtype
        alike = not isinstance(y, Tensor) or y.dtype is dtype
        if not (dtype.is_integer and alike):
            return self.binary("RealDiv", x, y, name)
        wide = dtypes.float32 if dtype.size <= 2 else dtypes.float64
        with self.name_scope(name) as scope:
            operands = self.convert(x, dtype, "x"), self.convert(y, dtype, "y")
            parts = [self.apply("Cast", tensor, DstT=wide) for tensor in operands]
            return self.apply("RealDiv", *parts, name=scope)

    def matrix_multiply(self, x: Any, y: Any) -> Tensor:
        """``x @ y``."""
        return REGISTRY.numpy[np.matmul](x, y, name="matmul")

    def index(self, tensor: Tensor, key: Any) -> Tensor:
        """``tensor[key]``."""
        return REGISTRY.numpy["getitem"](tensor, key)

    # --- names and scopes -------------------------------------------------------------

    def unique_name(self, name: str, mark_as_used: bool = True) -> str:
        """``name`` in the current scope, with a suffix if it is taken."""
        with self._lock:
            return self._names.unique(self._here.scope + name, mark_as_used)

    def get_name_scope(self) -> str:
        """The current scope without the slash."""
        return self._here.scope.rstrip("/")

    def name_scope(self, name: str | None) -> NameScope:
        """Prefix the names made inside; gives the prefix, with its slash.

        A name with a trailing slash re-enters that scope; None or "" is the root.
        """
        return NameScope(self, name, False)

    @contextmanager
    def control_dependencies(self, inputs: Sequence[Any] | None) -> Iterator[None]:
        """Ops made inside run after ``inputs``; None clears what is in force."""
        here = self._here
        before, scope_before = here.controllers, here.colocation
        if inputs is None:
            here.controllers = ()
        else:
            ops = tuple(dict.fromkeys(self._as_op(item) for item in inputs))
            here.controllers = (*before, Controller(ops)) if ops else before
        try:
            yield
        finally:
            here.controllers, here.colocation = before, scope_before

    def _as_op(self, item: Any) -> Operation:
        if isinstance(item, Operation):
            return item
        if isinstance(item, Tensor):
            return self.adopt(item).op
        if isinstance(item, str):
            return self._as_op(self.as_graph_element(item))
        op = getattr(item, "op", None)
        if isinstance(op, Operation):
            return op
        if callable(item):
            return self._as_op(item())
        raise TypeError(
            f"Control input must be Operation or Tensor, not {type(item).__name__}: "
            f"{item!r}."
        )

    @contextmanager
    def device(self, name: Any) -> Iterator[None]:
        """Ask for a device for the ops made inside, such as "/gpu:1"; None for any.

        Inside another one, what ``name`` leaves open is as outside.
        """
        here = self._here
        before = here.device
        if callable(name):
            name = name(None)
        if not (name is None or isinstance(name, str)):
            raise TypeError(
                f"A device is a string or None, not {type(name).__name__}: {name!r}."
            )
        here.device = "" if name is None else device.within(name, before)
        try:
            yield
        finally:
            here.device = before

    @contextmanager
    def colocate_with(self, op: Any, ignore_existing: bool = False) -> Iterator[None]:
        """Ops made inside share the device and the colocation group of ``op``."""
        here = self._here
        before = here.colocation, here.device
        if op is None:
            here.colocation = ()
        else:
            target = self._as_op(op)
            groups = tuple(target.colocation_groups())
            kept = () if ignore_existing else here.colocation
            here.colocation = tuple(sorted({*kept, *groups}))
            here.device = target.device or here.device
        try:
            yield
        finally:
            here.colocation, here.device = before

    @contextmanager
    def gradient_override_map(self, op_type_map: dict[str, str]) -> Iterator[None]:
        """Ops made inside whose type is a key use the gradient rule named by it."""
        if not isinstance(op_type_map, dict) or not all(
            isinstance(k, str) and isinstance(v, str) for k, v in op_type_map.items()
        ):
            raise TypeError(
                "op_type_map must be a dictionary mapping strings to strings"
            )
        here = self._here
        before = here.overrides
        here.overrides = {**before, **op_type_map}
        try:
            yield
        finally:
            here.overrides = before

    def as_default(self) -> Any:
        """A context in which new ops go into this graph."""
        return defaults.graph_context(self)

    # --- looking things up ------------------------------------------------------------

    def get_operations(self) -> list[Operation]:
        """Every operation, in the order of creation."""
        with self._lock:
            return list(self._ops)

    @property
    def version(self) -> int:
        """The number of operations made so far."""
        return len(self._ops)

    def get_operation_by_name(self, name: str) -> Operation:
        """The operation of that name; KeyError if there is none."""
        if not isinstance(name, str):
            raise TypeError(f"Operation names are strings, not {type(name).__name__}.")
        return self.as_graph_element(name, allow_tensor=False)

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor of that name ("op:0"); KeyError if there is none."""
        if not isinstance(name, str):
            raise TypeError(f"Tensor names are strings, not {type(name).__name__}.")
        return self.as_graph_element(name, allow_operation=False)

    def as_graph_element(
        self, obj: Any, allow_tensor: bool = True, allow_operation: bool = True
    ) -> Any:
        """The tensor or operation that ``obj`` (itself, or its name) says.

        Raises KeyError for an unknown name, ValueError for a name of the wrong kind
        or an element of another graph, TypeError for anything else.
        """
        return lookup.element(self, obj, allow_tensor, allow_operation)

    def as_graph_def(
        self, from_version: int | None = None, add_shapes: bool = False
    ) -> Any:
        """The graph as a GraphDef message; needs the extra `tensorboard`.

        ``from_version`` leaves out that many operations at the start; ``add_shapes``
        adds the static shapes. Raises UnimplementedError if an operation holds what
        no message can: sub-graphs, Python functions.
        """
        return export.graph_def(self, from_version, add_shapes)

    # --- collections and the rest -----------------------------------------------------

    def add_to_collection(self, name: Any, value: Any) -> None:
        """Append ``value`` to the collection ``name``."""
        with self._lock:
            self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Any, value: Any) -> None:
        """Append ``value`` to each collection of ``names`` once."""
        names = (names,) if isinstance(names, str) else dict.fromkeys(names)
        for name in names:
            self.add_to_collection(name, value)

    def get_collection(self, name: Any, scope: str | None = None) -> list[Any]:
        """A copy of the collection; with ``scope``, items whose name matches it."""
        import re

        items = list(self._collections.get(name, ()))
        if scope is None:
            return items
        pattern = re.compile(scope)
        return [i for i in items if hasattr(i, "name") and pattern.match(i.name)]

    def get_collection_ref(self, name: Any) -> list[Any]:
        """The collection itself, to be changed in place."""
        return self._collections.setdefault(name, [])

    def clear_collection(self, name: Any) -> None:
        """Empty the collection."""
        self._collections.pop(name, None)

    def get_all_collection_keys(self) -> list[Any]:
        """The names of all collections that hold something."""
        return [k for k, v in self._collections.items() if v and isinstance(k, str)]

    collections = property(get_all_collection_keys)

    def finalize(self) -> None:
        """Refuse all further operations with RuntimeError."""
        self._finalized = True

    @property
    def finalized(self) -> bool:
        """True after finalize()."""
        return self._finalized

    def prevent_feeding(self, tensor: Tensor) -> None:
        """Refuse feeds of ``tensor``."""
        self._unfeedable.add(tensor)

    def is_feedable(self, tensor: Any) -> bool:
        """False after prevent_feeding."""
        return tensor not in self._unfeedable

    def prevent_fetching(self, op: Operation) -> None:
        """Refuse fetches of ``op`` and its tensors."""
        self._unfetchable.add(op)

    def is_fetchable(self, tensor_or_op: Any) -> bool:
        """False after prevent_fetching."""
        op = tensor_or_op.op if isinstance(tensor_or_op, Tensor) else tensor_or_op
        return op not in self._unfetchable


def _holds_tensors(value: Sequence[Any]) -> bool:
    return any(
        isinstance(v, Tensor)
        or hasattr(v, "__tensor__")
        or (isinstance(v, (list, tuple)) and _holds_tensors(v))
        for v in value
    )


def _tensor_dtype(value: Sequence[Any]) -> DType | None:
    for item in value:
        if isinstance(item, (list, tuple)):
            found = _tensor_dtype(item)
        else:
            found = getattr(item, "dtype", None)
        if isinstance(found, DType):
            return found.base_dtype
    return None
