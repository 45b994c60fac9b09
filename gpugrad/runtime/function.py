"""gg.function: Python functions traced into graphs, one a signature."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.backends.base import StepError
from gpugrad.compiler.schedule import schedule_function
from gpugrad.dtypes import DType, as_dtype
from gpugrad.graph import build, constant, sessions
from gpugrad.graph.defaults import graph_context, stack
from gpugrad.graph.function_graph import FunctionGraph
from gpugrad.graph.graph import Graph
from gpugrad.graph.spec import REGISTRY
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.runtime import fetches
from gpugrad.runtime.accepts import Accepts, accepts
from gpugrad.runtime.context import RUNS_WITHIN, Context
from gpugrad.runtime.eager import EagerTensor, flatten
from gpugrad.runtime.plan import Plan, step_error
from gpugrad.runtime.session import BaseSession


class TensorSpec:
    """The dtype and static shape of an argument."""

    __slots__ = ("dtype", "name", "shape")

    def __init__(
        self, shape: Any, dtype: Any = dtypes.float32, name: str | None = None
    ) -> None:
        self.shape = shapes.TensorShape(shape)
        self.dtype = as_dtype(dtype)
        self.name = name

    def __repr__(self) -> str:
        return (
            f"TensorSpec(shape={self.shape}, dtype={self.dtype!r}, name={self.name!r})"
        )

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TensorSpec)
            and self.shape == other.shape
            and self.dtype is other.dtype
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.dtype))


class _Trace(NamedTuple):
    """One graph of a function, and how its arguments and results are wrapped."""

    body: FunctionGraph
    rebuild: Callable[[Sequence[Any]], Any]
    results: list[Tensor]
    single: bool


class _Ready(NamedTuple):
    """A trace that can run on values.

    ``accepts`` takes calls like the first, while ``default`` is the default session;
    None where they are more than arrays.
    """

    plan: Plan
    session: BaseSession
    dtypes: tuple[DType, ...]
    trace: _Trace
    default: Any
    accepts: Accepts | None


def _part(value: Any, found: list[Any]) -> Any:
    """The part of a trace's key that ``value`` makes; tensors are put into ``found``.

    Python values count by equality alone, whatever their type, as in TensorFlow.
    """
    kind = type(value)
    if kind is EagerTensor:
        found.append(value)
        return value.dtype, value.array.shape
    if kind is Tensor:
        found.append(value)
        return value.dtype, value._shape
    if kind is np.ndarray or isinstance(value, np.generic):
        found.append(value)
        return value.dtype, value.shape
    if isinstance(value, (list, tuple)):
        return (kind.__name__, *[_part(v, found) for v in value])
    if isinstance(value, dict):
        return ("dict", *[(k, _part(value[k], found)) for k in sorted(value)])
    if isinstance(value, TensorSpec):
        found.append(value)
        return value.dtype, value.shape._dims
    if hasattr(value, "__cuda_array_interface__"):
        found.append(value)
        return str(value.dtype), value.shape
    try:
        hash(value)
    except TypeError:
        return fetches.Identity(value)
    return value


class Function:
    """A Python function that builds a graph the first time it meets a signature.

    Called with values (or nothing) outside an explicit graph, it runs and gives
    values. Called with symbolic tensors, or inside a graph, it adds a call to that
    graph, which is differentiated as one op. Safe to call from several threads.
    """

    def __init__(
        self,
        python_function: Callable[..., Any],
        name: str | None = None,
        input_signature: Sequence[TensorSpec] | None = None,
    ) -> None:
        self.python_function = python_function
        self._name = name or str(getattr(python_function, "__name__", "function"))
        self.input_signature = (
            None if input_signature is None else tuple(input_signature)
        )
        self._signature = inspect.signature(python_function)
        self._traces: dict[Any, _Trace] = {}
        self._ready: dict[Any, _Ready] = {}
        self._last: _Ready | None = None
        self._lock = threading.RLock()
        functools.update_wrapper(self, python_function)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """A method: one traced function an instance."""
        if instance is None:
            return self
        bound = Function(
            self.python_function.__get__(instance, owner),
            self._name,
            self.input_signature,
        )
        with contextlib.suppress(AttributeError):  # no __dict__: traced every time
            instance.__dict__[self.__name__] = bound  # type: ignore[attr-defined]
        return bound

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        last = self._last
        if last is not None and not kwargs and last.default is sessions.default():
            arrays = None if stack.graphs else last.accepts(args)  # type: ignore[misc]
            if arrays is not None:
                return _run_arrays(last, arrays)
        if kwargs or self.input_signature is not None:
            args = self._bind(args, kwargs)
        found: list[Any] = []
        key = tuple([_part(a, found) for a in args])
        if build.has_explicit_graph() or any(type(f) is Tensor for f in found):
            return self._call_in_graph(key, args, found)
        ready = self._ready.get(key)
        if ready is None or ready.session is not _session_for(ready.trace.body):
            ready = self._prepare(key, args)
        self._last = ready if ready.accepts is not None else None
        return _run(ready, found)

    # --- arguments --------------------------------------------------------------------

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """All arguments by position, converted to the input signature if any."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"Binding inputs to tf.function failed due to `{error}`. Received args:"
                f" {args} and kwargs: {kwargs} for signature: {self._signature}."
            ) from None
        if bound.kwargs:
            bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"{self._name} has keyword-only arguments {list(bound.kwargs)}; "
                "gg.function passes arguments by position. Make them ordinary ones."
            )
        if self.input_signature is None:
            return bound.args
        if len(bound.args) != len(self.input_signature):
            raise TypeError(
                "Binding inputs to tf.function failed due to `wrong number of "
                f"arguments`: the signature has {len(self.input_signature)}, given "
                f"{len(bound.args)}."
            )
        return tuple(
            self._conform(a, s) for a, s in zip(bound.args, self.input_signature)
        )

    def _conform(self, value: Any, spec: TensorSpec) -> Any:
        if isinstance(value, TensorSpec):
            return spec
        if not isinstance(value, (Tensor, EagerTensor)):
            value = constant.to_array(value, spec.dtype)
        dtype = value.dtype if isinstance(value, (Tensor, EagerTensor)) else spec.dtype
        shape = value._shape if isinstance(value, Tensor) else value.shape
        if dtype is not spec.dtype or not spec.shape.is_compatible_with(shape):
            raise TypeError(
                "Binding inputs to tf.function failed due to `Can not cast "
                f"{value!r} to {spec!r}`."
            )
        return value

    # --- tracing ----------------------------------------------------------------------

    def _trace(self, key: Any, args: tuple[Any, ...]) -> _Trace:
        """The graph for this signature. Traced once; a failed trace leaves nothing."""
        with self._lock:
            if self.input_signature is not None:
                key = self.input_signature
            outer = build.get_default_graph()
            trace = self._traces.get((key, outer))
            if trace is None:
                trace = self._traces[key, outer] = self._trace_anew(args, outer)
            return trace

    def _trace_anew(self, args: tuple[Any, ...], outer: Graph) -> _Trace:
        body = FunctionGraph(outer, self._name)
        names = list(self._signature.parameters)
        specs = self.input_signature
        with graph_context(body):
            inputs = []
            for index, arg in enumerate(args):
                name = (
                    names[index] if index < len(names) else names[-1] if names else "x"
                )
                if specs is not None:
                    arg = specs[index]
                inputs.append(_placeholders(body, arg, name))
            result = self.python_function(*inputs)
            flat, rebuild = flatten(_checked(result))
            tensors = [body.convert(t) for t in flat]
        body.outputs = tensors
        return _Trace(body, rebuild, tensors, isinstance(result, Tensor))

    def _call_in_graph(self, key: Any, args: tuple[Any, ...], found: list[Any]) -> Any:
        graph = build.graph_of(*found) if found else build.get_default_graph()
        with graph_context(graph):
            trace = self._trace(key, args)
            tensors = [graph.convert(f) for f in found]
            results = REGISTRY.call_function(trace.body, tensors)
        return trace.rebuild(results)

    def _prepare(self, key: Any, args: tuple[Any, ...]) -> _Ready:
        trace = self._trace(key, args)
        body = trace.body
        outer = {inner: tensor for tensor, inner in body.captures.items()}
        plan = Plan(schedule_function(body, trace.results, outer))
        session = _session_for(body)
        for op in plan.schedule.handles.values():
            _initialize(op, session)
        inputs = tuple(p.dtype for p in body.inputs if p not in outer)
        default = sessions.default()
        again = None
        if default is None or default is session:
            again = _accepted(args, session._backend.xp.ndarray)
        ready = _Ready(plan, session, inputs, trace, default, again)
        self._ready[key] = ready
        return ready

    def get_concrete_function(self, *args: Any, **kwargs: Any) -> ConcreteFunction:
        """The traced graph for these arguments; TensorSpec stands for any tensor."""
        if self.input_signature is not None and not args:
            args = self.input_signature
        args = self._bind(args, kwargs)
        key = tuple([_part(a, []) for a in args])
        return ConcreteFunction(self, args, self._trace(key, args))

    def experimental_get_tracing_count(self) -> int:
        """How many graphs were traced."""
        return len(self._traces)


class ConcreteFunction:
    """One traced graph of a function: ``inputs``, ``outputs``, ``graph``; callable."""

    def __init__(self, owner: Function, args: tuple[Any, ...], trace: _Trace) -> None:
        self._owner = owner
        self._args = args
        self._trace = trace
        self.graph = trace.body

    @property
    def inputs(self) -> list[Tensor]:
        """The placeholders of the arguments, then of captured tensors."""
        return list(self._trace.body.inputs)

    @property
    def outputs(self) -> list[Tensor]:
        """The tensors returned."""
        return list(self._trace.results)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._owner(*args, **kwargs)


def _placeholders(body: FunctionGraph, arg: Any, name: str) -> Any:
    """``arg`` as the traced function sees it: placeholders for tensors."""
    if isinstance(arg, Tensor):
        return body.add_input(arg.dtype, arg._shape, name)
    if isinstance(arg, TensorSpec):
        return body.add_input(arg.dtype, arg.shape._dims, arg.name or name)
    if isinstance(arg, EagerTensor):
        return body.add_input(arg.dtype, tuple(arg.array.shape), name)
    if isinstance(arg, (list, tuple)):
        return type(arg)([_placeholders(body, a, name) for a in arg])
    if isinstance(arg, dict):
        return {k: _placeholders(body, arg[k], name) for k in sorted(arg)}
    if isinstance(arg, (np.ndarray, np.generic)) or hasattr(
        arg, "__cuda_array_interface__"
    ):
        dtype = dtypes.of_numpy(np.dtype(arg.dtype))
        return body.add_input(dtype, tuple(arg.shape), name)
    return arg


_LEAVES = (
    Tensor,
    EagerTensor,
    np.ndarray,
    np.generic,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
)


def _checked(result: Any) -> Any:
    """TypeError for what a traced function may not return."""
    if isinstance(result, dict):
        for value in result.values():
            _checked(value)
    elif isinstance(result, (list, tuple)):
        for value in result:
            _checked(value)
    elif not (
        result is None
        or isinstance(result, (*_LEAVES, Operation))
        or hasattr(result, "__tensor__")
    ):
        raise TypeError(
            "To be compatible with tf.function, Python functions must return zero or "
            f"more Tensors or ExtensionTypes or None values; got {result!r}."
        )
    return None if isinstance(result, Operation) else result


# --- running on values ----------------------------------------------------------------

_sessions_lock = threading.Lock()


def _session_for(body: FunctionGraph) -> BaseSession:
    """Where the function's variables live: the default session, or one of our own."""
    graph = body.outer_graph
    session = sessions.default()
    if session is not None and session.graph is graph:
        return session
    own = getattr(graph, "_function_session", None)
    if own is None:
        with _sessions_lock:
            own = getattr(graph, "_function_session", None)
            if own is None:
                own = graph._function_session = BaseSession(graph=graph)  # type: ignore[attr-defined]
    return own


def _initialize(op: Operation, session: BaseSession) -> None:
    """Give a variable that a function reads its initial value, once."""
    with session._lock:  # another thread may be about to do the same
        if session._store.is_initialized(op):
            return
        for name in op.graph.get_all_collection_keys():
            for variable in op.graph.get_collection(name):
                handle = getattr(variable, "handle", None)
                if handle is not None and handle.op is op:
                    session.run(variable.initializer)
                    return


def _accepted(args: tuple[Any, ...], array_type: type) -> Accepts | None:
    """What takes such arguments again, if all of them are arrays of the device."""
    wrapped = [type(arg) is EagerTensor for arg in args]
    arrays: list[Any] = [a.array if w else a for a, w in zip(args, wrapped)]
    if any(type(array) is not array_type for array in arrays):
        return None
    kinds = [(arg.dtype, array.shape) for arg, array in zip(args, arrays)]
    return accepts(kinds, array_type, EagerTensor, wrapped)


def _run(ready: _Ready, found: Sequence[Any]) -> Any:
    backend = ready.session._backend
    arrays = []
    for value, dtype in zip(found, ready.dtypes):
        if type(value) is EagerTensor:
            value = value.array
            if type(value) is not backend.xp.ndarray:
                value = backend.to_device(value, dtype)
        else:
            value = backend.to_device(value, dtype)
        arrays.append(value)
    return _run_arrays(ready, arrays)


def _run_arrays(ready: _Ready, arrays: Sequence[Any]) -> Any:
    """Run on arrays of the device, of the dtypes and shapes that the trace is for."""
    plan, session, _, trace, _, _ = ready
    backend, lock = session._backend, session._lock
    lock.acquire()  # `with` takes twice as long
    try:
        session._runs = number = session._runs + 1
        store, compiled = session._store, plan.straight
        if compiled is not None and compiled.generation == store.generation:
            try:
                step = number * RUNS_WITHIN + 1
                results = compiled.run(arrays, store.arrays, step)
            except StepError as error:
                context = Context(store, backend, number)
                results = plan.run_again(error, compiled, arrays, context)
        else:
            context = Context(store, backend, number)
            results = plan.run(arrays, tuple([a.shape for a in arrays]), context)
    except StepError as error:
        raise step_error(error) from error.cause
    finally:
        lock.release()
    if trace.single:
        return EagerTensor(results[0], trace.results[0].dtype, backend)
    return trace.rebuild(
        [EagerTensor(r, t.dtype, backend) for r, t in zip(results, trace.results)]
    )


def function(
    func: Callable[..., Any] | None = None,
    input_signature: Sequence[TensorSpec] | None = None,
    autograph: bool = True,
    jit_compile: bool | None = None,
    reduce_retracing: bool = False,
    **options: Any,
) -> Any:
    """Make a Python function into one that builds and runs graphs.

    ``input_signature``: TensorSpecs that all calls must fit. The other arguments
    are TensorFlow's and change nothing: every function is compiled, and Python's
    ``if`` and ``while`` are not rewritten (use cond() and while_loop()).
    """

    def decorate(target: Callable[..., Any]) -> Function:
        return Function(target, input_signature=input_signature)

    return decorate if func is None else decorate(func)
