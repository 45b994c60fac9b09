"""Tensor and Operation: the nodes of a graph, and what Python does with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from gpugrad import shapes
from gpugrad.dtypes import DType
from gpugrad.errors import GraphError, OperatorNotAllowedInGraphError, describe
from gpugrad.graph import sessions
from gpugrad.graph.defaults import stack
from gpugrad.graph.graphdef import export
from gpugrad.graph.spec import REGISTRY, OpSpec
from gpugrad.shapes import DimensionedShape, Partial, TensorShape

if TYPE_CHECKING:
    from gpugrad.graph.graph import Graph
    from gpugrad.graph.scopes import Origin


class Operation:
    """A node: an op type, its inputs, attributes and outputs. Frozen once made."""

    __slots__ = (
        "__weakref__",
        "attrs",
        "control_inputs",
        "device",
        "graph",
        "id",
        "inputs",
        "name",
        "origin",
        "outputs",
        "spec",
    )

    graph: Graph
    spec: OpSpec
    name: str
    inputs: tuple[Tensor, ...]
    control_inputs: tuple[Operation, ...]
    attrs: dict[str, Any]
    outputs: list[Tensor]
    device: str
    id: int
    origin: Origin | None

    @property
    def type(self) -> str:
        """The op type, such as "MatMul"."""
        return self.spec.type

    def get_attr(self, name: str) -> Any:
        """An attribute: dtypes as DType, strings as bytes; ValueError if absent."""
        if name not in self.attrs:
            raise ValueError(f"Operation '{self.name}' has no attr named '{name}'.")
        value = self.attrs[name]
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, (tuple, list)):
            return [v.encode() if isinstance(v, str) else v for v in value]
        return value

    def created_at(self) -> str:
        """``file.py:12`` of the user's line that made this node; "" if unknown."""
        return "" if self.origin is None else str(self.origin)

    def colocation_groups(self) -> list[bytes]:
        """The groups of ops that this op shares a device with."""
        groups = self.attrs.get("_class")
        return list(groups) if groups else [b"loc:@" + self.name.encode()]

    def values(self) -> tuple[Tensor, ...]:
        """The outputs, as a tuple."""
        return tuple(self.outputs)

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Run this op in ``session`` or the default session."""
        sessions.require(session, "run()").run(self, feed_dict)

    @property
    def node_def(self) -> Any:
        """The NodeDef message; needs the extra `tensorboard`."""
        return export.node_def(self)

    def __repr__(self) -> str:
        return f"<tf.Operation '{self.name}' type={self.type}>"

    def __str__(self) -> str:
        """The NodeDef in text form, near enough for people."""
        lines = [f'name: "{self.name}"', f'op: "{self.type}"']
        lines += [
            f'input: "{t.op.name}{f":{t.value_index}" if t.value_index else ""}"'
            for t in self.inputs
        ]
        lines += [f'input: "^{op.name}"' for op in self.control_inputs]
        if self.device:
            lines.append(f'device: "{self.device}"')
        for key in sorted(self.attrs):
            if key[0] == "_" and key not in export.SHARED:
                continue  # ours, such as the tensors of a body
            lines.append(f'attr {{\n  key: "{key}"\n  value {{')
            lines.append(f"    {_attr_text(self.attrs[key])}\n  }}\n}}")
        return "\n".join(lines) + "\n"


def _attr_text(value: Any) -> str:
    if isinstance(value, DType):
        return f"type: DT_{value.name.upper().replace('FLOAT32', 'FLOAT')}"
    if isinstance(value, bool):
        return f"b: {str(value).lower()}"
    if isinstance(value, int):
        return f"i: {value}"
    if isinstance(value, float):
        return f"f: {value}"
    if isinstance(value, (str, bytes)):
        text = value.decode() if isinstance(value, bytes) else value
        return f's: "{text}"'
    if hasattr(value, "building_function"):
        return f'func {{ name: "{value.name}" }}'
    if isinstance(value, np.ndarray):
        return f"tensor {{ {value.dtype} {list(value.shape)} }}"
    return f"value: {value}"


def _no_value(what: str, tensor: Tensor) -> NoReturn:
    raise OperatorNotAllowedInGraphError(
        f"{what} is not allowed: {tensor} has no value before a Session runs it. Use "
        "cond(), where() or while_loop() for choices that depend on values, or "
        "Session.run()."
    )


class Tensor:
    """A symbolic value: output number ``value_index`` of an operation.

    ``==`` is identity in a graph, so tensors can be dictionary keys. Arithmetic
    adds nodes to the tensor's graph and raises GraphError or GraphTypeError where
    shapes or dtypes do not fit.
    """

    __slots__ = ("__weakref__", "_consumers", "_shape", "dtype", "op", "value_index")

    # NumPy arrays on the left of an operator hand over to the methods below.
    __array_priority__ = 100

    op: Operation
    value_index: int
    dtype: DType
    _shape: Partial
    _consumers: list[Operation] | None

    def __init__(self, op: Operation, index: int, dtype: DType, shape: Partial) -> None:
        self.op = op
        self.value_index = index
        self.dtype = dtype
        self._shape = shape
        self._consumers = None

    # --- what it is -------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The graph that the tensor is a part of."""
        return self.op.graph

    @property
    def name(self) -> str:
        """``op_name:index``."""
        return f"{self.op.name}:{self.value_index}"

    @property
    def device(self) -> str:
        """The device asked for; "" for any."""
        return self.op.device

    @property
    def shape(self) -> TensorShape:
        """The static shape."""
        return TensorShape(self._shape)

    def get_shape(self) -> TensorShape:
        """The static shape, with ``get_shape()[i].value`` as TF1 code reads it."""
        return DimensionedShape(self._shape)

    def set_shape(self, shape: Any) -> None:
        """Merge what the caller knows into the static shape; ValueError on conflict."""
        try:
            self._shape = shapes.merge(self._shape, shapes.as_partial(shape))
        except GraphError:
            raise GraphError(
                f"Tensor {self.name!r} of {describe(self.op)} has shape "
                f"{shapes.text(self._shape)}, which is not compatible with "
                f"{shapes.text(shapes.as_partial(shape))}."
            ) from None

    @property
    def ndim(self) -> int | None:
        """Number of dimensions, None when unknown."""
        return None if self._shape is None else len(self._shape)

    def consumers(self) -> list[Operation]:
        """The operations that take this tensor as an input."""
        return list(dict.fromkeys(self._consumers or ()))

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """The value, computed in ``session`` or the default session."""
        return sessions.require(session, "eval()").run(self, feed_dict)

    def ref(self) -> Any:
        """A hashable reference, for modes in which ``==`` builds a node."""
        return _Reference(self)

    def __repr__(self) -> str:
        shape = _shape_text(self._shape)
        return f"<tf.Tensor '{self.name}' shape={shape} dtype={self.dtype.name}>"

    def __str__(self) -> str:
        shape = "" if self._shape is None else f", shape={_shape_text(self._shape)}"
        device = f", device={self.device}" if self.device else ""
        return f'Tensor("{self.name}"{shape}, dtype={self.dtype.name}{device})'

    __hash__ = object.__hash__

    def __eq__(self, other: Any) -> Any:
        if self.op.graph.building_function and other is not None:
            return self._home().apply("Equal", self, other, name="Equal")
        return self is other

    def __ne__(self, other: Any) -> Any:
        if self.op.graph.building_function and other is not None:
            return self._home().apply("NotEqual", self, other, name="NotEqual")
        return self is not other

    # --- what it is not: a value ------------------------------------------------------

    def __bool__(self) -> bool:
        _no_value("Using a symbolic `tf.Tensor` as a Python `bool`", self)

    def __iter__(self) -> Iterator[Any]:
        _no_value("Iterating over a symbolic `tf.Tensor`", self)

    def __len__(self) -> int:
        raise TypeError(
            f"len is not well defined for a symbolic Tensor ({self.name}). Please call "
            "`x.shape` rather than `len(x)` for shape information."
        )

    def __array__(self, dtype: Any = None, copy: Any = None) -> NoReturn:
        raise NotImplementedError(
            f"Cannot convert a symbolic tf.Tensor ({self.name}) to a numpy array. "
            "Session.run() gives its value."
        )

    def _python_number(self) -> NoReturn:
        raise TypeError(
            f"A symbolic Tensor ({self.name}) has no Python number as its value. "
            "Session.run() gives it."
        )

    __int__ = __float__ = __complex__ = __index__ = _python_number

    def _home(self) -> Graph:
        """Where operators build: the function body being traced, which captures
        tensors of the graphs around it, else the tensor's own graph."""
        graphs = stack.graphs
        if graphs and graphs[-1].building_function:
            body: Graph = graphs[-1]
            return body
        return self.op.graph

    # --- arithmetic: each names an op type --------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return self._home().binary("AddV2", self, other, "add")

    def __radd__(self, other: Any) -> Tensor:
        return self._home().binary("AddV2", other, self, "add")

    def __sub__(self, other: Any) -> Tensor:
        return self._home().binary("Sub", self, other, "sub")

    def __rsub__(self, other: Any) -> Tensor:
        return self._home().binary("Sub", other, self, "sub")

    def __mul__(self, other: Any) -> Tensor:
        return self._home().binary("Mul", self, other, "mul")

    def __rmul__(self, other: Any) -> Tensor:
        return self._home().binary("Mul", other, self, "mul")

    def __truediv__(self, other: Any) -> Tensor:
        return self._home().true_divide(self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return self._home().true_divide(other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return self._home().binary("FloorDiv", self, other, "floordiv")

    def __rfloordiv__(self, other: Any) -> Tensor:
        return self._home().binary("FloorDiv", other, self, "floordiv")

    def __mod__(self, other: Any) -> Tensor:
        return self._home().binary("FloorMod", self, other, "mod")

    def __rmod__(self, other: Any) -> Tensor:
        return self._home().binary("FloorMod", other, self, "mod")

    def __pow__(self, other: Any) -> Tensor:
        return self._home().binary("Pow", self, other, "pow")

    def __rpow__(self, other: Any) -> Tensor:
        return self._home().binary("Pow", other, self, "pow")

    def __matmul__(self, other: Any) -> Tensor:
        return self._home().matrix_multiply(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return self._home().matrix_multiply(other, self)

    def __neg__(self) -> Tensor:
        return self._home().apply("Neg", self)

    def __abs__(self) -> Tensor:
        kind = "ComplexAbs" if self.dtype.is_complex else "Abs"
        return self._home().apply(kind, self, name="Abs")

    def __invert__(self) -> Tensor:
        kind = "LogicalNot" if self.dtype.is_bool else "Invert"
        return self._home().apply(kind, self)

    def _logical(self, kind: str, x: Any, y: Any) -> Tensor:
        op_type = f"Logical{kind}" if self.dtype.is_bool else f"Bitwise{kind}"
        return self._home().apply(op_type, x, y, name=kind.lower())

    def _logical_xor(self, x: Any, y: Any) -> Tensor:
        if not self.dtype.is_bool:
            return self._logical("Xor", x, y)
        graph = self.op.graph
        with graph.name_scope("xor") as scope:
            either = graph.apply("LogicalOr", x, y)
            both = graph.apply("LogicalAnd", x, y)
            not_both = graph.apply("LogicalNot", both)
            return graph.apply("LogicalAnd", either, not_both, name=scope)

    def __and__(self, other: Any) -> Tensor:
        return self._logical("And", self, other)

    def __rand__(self, other: Any) -> Tensor:
        return self._logical("And", other, self)

    def __or__(self, other: Any) -> Tensor:
        return self._logical("Or", self, other)

    def __ror__(self, other: Any) -> Tensor:
        return self._logical("Or", other, self)

    def __xor__(self, other: Any) -> Tensor:
        return self._logical_xor(self, other)

    def __rxor__(self, other: Any) -> Tensor:
        return self._logical_xor(other, self)

    def __lt__(self, other: Any) -> Tensor:
        return self._home().apply("Less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return self._home().apply("LessEqual", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return self._home().apply("Greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return self._home().apply("GreaterEqual", self, other)

    def __getitem__(self, key: Any) -> Tensor:
        return self._home().index(self, key)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order."""
        return REGISTRY.numpy[np.transpose](self)

    # --- NumPy's functions ------------------------------------------------------------

    def __array_ufunc__(
        self, ufunc: Any, method: str, *args: Any, **kwargs: Any
    ) -> Any:
        function = REGISTRY.numpy.get(ufunc) if method == "__call__" else None
        if function is None or kwargs:
            return NotImplemented
        if not isinstance(args[0], Tensor) and ufunc in _REFLECTED:
            return getattr(args[1], _REFLECTED[ufunc])(args[0])
        return function(*args)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        function = REGISTRY.numpy.get(func)
        return NotImplemented if function is None else function(*args, **kwargs)


# What ``array * tensor`` calls, though it arrives as ``np.multiply(array, tensor)``.
_REFLECTED = {
    np.add: "__radd__",
    np.subtract: "__rsub__",
    np.multiply: "__rmul__",
    np.divide: "__rtruediv__",
    np.floor_divide: "__rfloordiv__",
    np.remainder: "__rmod__",
    np.power: "__rpow__",
    np.matmul: "__rmatmul__",
    np.bitwise_and: "__rand__",
    np.bitwise_or: "__ror__",
    np.bitwise_xor: "__rxor__",
    np.less: "__gt__",
    np.less_equal: "__ge__",
    np.greater: "__lt__",
    np.greater_equal: "__le__",
}


class _Reference:
    """A tensor by identity."""

    __slots__ = ("_tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor

    def deref(self) -> Tensor:
        """The tensor."""
        return self._tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Reference) and self._tensor is other._tensor

    def __hash__(self) -> int:
        return id(self._tensor)


def _shape_text(shape: Partial) -> str:
    return str(TensorShape(shape))
