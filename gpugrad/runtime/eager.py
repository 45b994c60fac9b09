"""EagerTensor: a value on the device, and ops that run on values at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.backends.base import Array, Backend, StepError
from gpugrad.compiler.schedule import schedule
from gpugrad.dtypes import DType
from gpugrad.errors import OpError
from gpugrad.graph import build, constant
from gpugrad.graph.defaults import graph_context
from gpugrad.graph.graph import Graph
from gpugrad.graph.spec import REGISTRY
from gpugrad.graph.tensor import Tensor
from gpugrad.runtime import devices
from gpugrad.runtime.context import RUNS_WITHIN, Context
from gpugrad.runtime.plan import Plan, step_error
from gpugrad.runtime.variables import VariableStore


class EagerTensor:
    """A value on the device: a thin shell around the backend's own array.

    ``array`` is the ``numpy.ndarray`` or ``cupy.ndarray`` itself, not a copy.
    Arithmetic between values runs at once; a value that meets a symbolic Tensor
    becomes a constant of its graph.
    """

    __slots__ = ("_backend", "array", "dtype")

    __array_priority__ = 100

    array: Array
    dtype: DType

    def __init__(self, array: Array, dtype: DType, backend: Backend) -> None:
        self.array = array
        self.dtype = dtype
        self._backend = backend

    @property
    def shape(self) -> shapes.TensorShape:
        """The shape."""
        return shapes.TensorShape(self.array.shape)

    def get_shape(self) -> shapes.TensorShape:
        """The shape."""
        return self.shape

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return self.array.ndim

    @property
    def device(self) -> str:
        """Where the value is."""
        return f"/device:{self._backend.device_type}:0"

    def numpy(self) -> Any:
        """The value as a NumPy array (a NumPy scalar if it has no dimensions)."""
        host = self._backend.to_host(self.array)
        return host[()] if host.ndim == 0 else host

    def __gpugrad_value__(self) -> Array:
        """The array, for feeds and arguments."""
        return self.array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        host = self._backend.to_host(self.array)
        return np.array(host, dtype=dtype) if copy else np.asarray(host, dtype=dtype)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> Any:
        return self.array.__cuda_array_interface__

    def __tensor__(self, graph: Graph, dtype: DType | None, name: str | None) -> Tensor:
        """A constant of ``graph``."""
        if dtype is not None and dtype is not self.dtype:
            raise TypeError(
                f"A value of dtype {self.dtype.name} cannot stand where "
                f"{dtype.name} is needed. Cast it."
            )
        host = self._backend.to_host(self.array).copy()
        return graph.apply("Const", name=name or "Const", value=host, dtype=self.dtype)

    def __repr__(self) -> str:
        value = repr(self.numpy()) if self.ndim else _scalar_text(self.numpy())
        return (
            f"<tf.Tensor: shape={self.shape}, dtype={self.dtype.name}, numpy={value}>"
        )

    def __str__(self) -> str:
        return f"tf.Tensor({self.numpy()}, shape={self.shape}, dtype={self.dtype.name})"

    def __bool__(self) -> bool:
        return bool(self.numpy())

    def __int__(self) -> int:
        return int(self.numpy())

    def __float__(self) -> float:
        return float(self.numpy())

    def __complex__(self) -> complex:
        return complex(self.numpy())

    def __index__(self) -> int:
        return int(self.numpy().__index__())

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("Scalar tensor has no `len()`")
        return int(self.array.shape[0])

    def __iter__(self) -> Iterator[EagerTensor]:
        take = type(self).__dict__["__getitem__"]  # an operator, made below
        return (take(self, i) for i in range(len(self)))

    def __format__(self, spec: str) -> str:
        return format(self.numpy(), spec) if not self.ndim else str(self)

    __hash__ = object.__hash__


def _scalar_text(value: Any) -> str:
    return repr(value.item()) if isinstance(value, np.generic) else repr(value)


def _operator(name: str) -> Callable[..., Any]:
    """An EagerTensor method that runs Tensor's method of that name at once."""

    def method(self: EagerTensor, *others: Any) -> Any:
        for other in others:
            if isinstance(other, Tensor):
                return NotImplemented
        return run_now(operate, (self, *others))

    def operate(*args: Any) -> Any:
        return getattr(args[0], name)(*args[1:])

    method.__name__ = name
    return method


_BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
]
for _name in (
    *[f"__{n}__" for n in _BINARY],
    *[f"__r{n}__" for n in _BINARY],
    *[f"__{n}__" for n in ["neg", "abs", "invert", "lt", "le", "gt", "ge", "getitem"]],
):
    setattr(EagerTensor, _name, _operator(_name))


def _equality(op_type: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        if other is None or isinstance(other, Tensor):
            return NotImplemented
        return apply_now(op_type, (self, other), {}, None)

    return method


EagerTensor.__eq__ = _equality("Equal")  # type: ignore[method-assign]
EagerTensor.__ne__ = _equality("NotEqual")  # type: ignore[method-assign]


def _ufunc(
    self: EagerTensor, ufunc: Any, method: str, *args: Any, **kwargs: Any
) -> Any:
    function = REGISTRY.numpy.get(ufunc) if method == "__call__" else None
    if function is None or kwargs or any(isinstance(a, Tensor) for a in args):
        return NotImplemented
    return run_now(function, args)


def _function(self: EagerTensor, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
    function = REGISTRY.numpy.get(func)
    if function is None:
        return NotImplemented
    return run_now(function, args, kwargs)


EagerTensor.__array_ufunc__ = _ufunc  # type: ignore[attr-defined]
EagerTensor.__array_function__ = _function  # type: ignore[attr-defined]


# --- running a piece of graph at once -------------------------------------------------

# Distinct calls whose plans are kept, the oldest goes first, and the bytes that each
# may hold between runs; few hold any.
_KEPT: Final = 512
_KEPT_BYTES: Final = 1 << 18

_lock = threading.Lock()
_store = VariableStore()
_runs = 0
_kept: dict[Any, _Kept] = {}


class _Kept(NamedTuple):
    """A call that has been built and compiled: its plan, and how results come back."""

    plan: Plan
    rebuild: Callable[[Sequence[Any]], Any]
    dtypes: list[DType]


def is_value(value: Any) -> bool:
    """True for what becomes an input when it is worked on at once."""
    return isinstance(value, (EagerTensor, np.ndarray, np.generic))


def run_now(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Any = None,
    same: Any = None,
) -> Any:
    """Build ``function(*args, **kwargs)`` in a graph of its own and give the values.

    Values among the arguments (also inside lists) enter as placeholders of their shape.
    What was built is kept for arguments of these kinds, if they are values and Python's
    own constants. ``same`` stands for a function that is not the same object each time.
    """
    backend = devices.backend()
    named = kwargs or {}
    values: list[Any] = []
    key = None
    try:
        parts = [_kind(value, values) for value in (*named.values(), *args)]
        key = (same or function, backend, *named, None, *parts)
    except _NoKey:
        pass
    kept = None if key is None else _kept.get(key)
    if kept is not None:
        results = _run_kept(kept, values, backend)
        if results is not None:
            return kept.rebuild(results)
    return _build_and_run(function, args, named, backend, key)


def _run_kept(kept: _Kept, values: Sequence[Any], backend: Backend) -> Any:
    """The results again; None if it fails.

    What fails is built anew, for its message to name the line of this call.
    """
    global _runs
    array_type, plan = backend.xp.ndarray, kept.plan
    arrays = [
        value.array
        if type(value) is EagerTensor and type(value.array) is array_type
        else _array(value, backend)[0]
        for value in values
    ]
    _lock.acquire()  # `with` takes twice as long
    try:
        _runs += 1
        compiled = plan.straight
        if compiled is not None and compiled.generation == _store.generation:
            results = compiled.run(arrays, _store.arrays, _runs * RUNS_WITHIN + 1)
        else:
            context = Context(_store, backend, _runs)
            results = plan.run(arrays, tuple([a.shape for a in arrays]), context)
    except (StepError, OpError):
        return None
    finally:
        _lock.release()
    return [EagerTensor(r, d, backend) for r, d in zip(results, kept.dtypes)]


def _build_and_run(
    function: Callable[..., Any],
    args: Sequence[Any],
    named: dict[str, Any],
    backend: Backend,
    key: Any,
) -> Any:
    global _runs
    graph = Graph()
    fed: list[Tensor] = []
    arrays: list[Array] = []

    def enter(value: Any) -> Any:
        if _holds_values(value):
            return type(value)(enter(v) for v in value)
        if not is_value(value):
            return value
        array, dtype = _array(value, backend)
        tensor = graph.apply("Placeholder", dtype=dtype, shape=tuple(array.shape))
        fed.append(tensor)
        arrays.append(array)
        return tensor

    with graph_context(graph):
        entered = {name: enter(value) for name, value in named.items()}
        result = function(*[enter(a) for a in args], **entered)
    flat, rebuild = flatten(result)
    tensors = [graph.convert(t) for t in flat]
    plan = Plan(schedule(tensors, [], fed))
    kept = _Kept(plan, rebuild, [t.dtype for t in tensors])
    with _lock:
        _runs += 1
        context = Context(_store, backend, _runs)
        try:
            values = plan.run(arrays, tuple(tuple(a.shape) for a in arrays), context)
        except StepError as error:
            raise step_error(error) from error.cause
        if key is not None and plan.single and plan.held_bytes() <= _KEPT_BYTES:
            _kept[key] = kept
            while len(_kept) > _KEPT:
                del _kept[next(iter(_kept))]
    return rebuild([EagerTensor(v, d, backend) for v, d in zip(values, kept.dtypes)])


def _holds_values(value: Any) -> bool:
    """True for a list or tuple whose items become inputs."""
    return isinstance(value, (list, tuple)) and any(
        isinstance(v, EagerTensor) for v in value
    )


def _array(value: Any, backend: Backend) -> tuple[Array, DType]:
    """A value as an array of the device, and its dtype."""
    if isinstance(value, EagerTensor):
        array = value.array
        if type(array) is not backend.xp.ndarray:
            array = backend.to_device(array, value.dtype)
        return array, value.dtype
    host = constant.to_array(value)
    dtype = dtypes.of_numpy(host.dtype)
    return backend.to_device(host, dtype), dtype


class _NoKey(Exception):
    """An argument of which it is not known when it is the same as another."""


_CONSTANTS: Final = {int, bool, str, bytes, type(None), type(...), type, DType}


def _kind(value: Any, values: list[Any]) -> Any:
    """What makes calls with ``value`` the same; values are put into ``values``."""
    kind = type(value)
    if kind is EagerTensor:
        values.append(value)
        return value.dtype, value.array.shape
    if kind in _CONSTANTS:
        return kind, value
    if kind is float and value and value == value:
        return kind, value
    if kind is float or kind is complex:
        return kind, repr(value)  # NaN is not itself, and 0.0 is -0.0
    if kind is np.ndarray or isinstance(value, np.generic):
        if value.dtype.hasobject:
            raise _NoKey  # the dtype is that of the objects
        values.append(value)
        return value.dtype, value.shape
    if kind is slice:
        return kind, _kind((value.start, value.stop, value.step), values)
    if kind is list or kind is tuple:
        if _holds_values(value):
            return (kind, *[_kind(v, values) for v in value])
        inside: list[Any] = []
        parts = (kind, *[_kind(v, inside) for v in value])
        if not inside:
            return parts
    raise _NoKey


def apply_now(
    op_type: str, args: Sequence[Any], attrs: dict[str, Any], name: str | None
) -> Any:
    """One op on values."""

    def function(*inputs: Any) -> Any:
        return build.get_default_graph().apply(op_type, *inputs, name=name, **attrs)

    inside: list[Any] = []
    same: Any = None
    try:
        same = (op_type, *attrs, *[_kind(a, inside) for a in attrs.values()])
    except _NoKey:
        inside.append(None)
    if inside:  # an attribute that is an array: each call is another function
        same = function
    return run_now(function, args, None, same)


def flatten(result: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The leaves of a nested list, tuple or dict, and how to put others in their place.

    None stays None and is no leaf.
    """
    leaves: list[Any] = []

    def walk(value: Any) -> Callable[[Sequence[Any]], Any]:
        if value is None:
            return lambda v: None
        if isinstance(value, dict):
            kind, keys = type(value), list(value)
            parts = [walk(value[k]) for k in keys]
            return lambda v: kind(zip(keys, [part(v) for part in parts]))
        if isinstance(value, (list, tuple)):
            parts = [walk(item) for item in value]
            if hasattr(value, "_fields"):
                make = type(value)
                return lambda v: make(*[part(v) for part in parts])
            container = type(value)
            return lambda v: container([part(v) for part in parts])
        parts_of = getattr(value, "__parts__", None)
        if parts_of is not None:
            pieces, again = parts_of()
            inner = [walk(piece) for piece in pieces]
            return lambda v: again(*[part(v) for part in inner])
        index = len(leaves)
        leaves.append(value)
        return lambda v: v[index]

    rebuild = walk(result)
    return leaves, rebuild


def install() -> None:
    """Let op functions run on values."""
    build.run_eagerly = apply_now
    build.run_function_eagerly = run_now
