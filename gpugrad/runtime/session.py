"""Session: runs parts of a graph, and keeps the values of its variables."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from gpugrad.backends.base import StepError
from gpugrad.collector import collecting_seldom
from gpugrad.compiler.schedule import schedule
from gpugrad.graph import build, sessions
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.runtime import devices, feeds, fetches
from gpugrad.runtime.context import RUNS_WITHIN, Context
from gpugrad.runtime.plan import Plan, step_error
from gpugrad.runtime.variables import VariableStore

# Distinct (fetches, feed keys) whose plans a session keeps; the oldest goes first.
_PLANS_LIMIT = 512
# The bytes that they may hold between runs, the newest aside.
_PLANS_BYTES = 1 << 30


class ConfigProto:
    """Settings of a session. ``allow_soft_placement`` is heeded: it runs ops that ask
    for an absent GPU on the CPU. ``gpu_options``: see GPUOptions. ``backend`` is ours:
    "numpy" or "cupy". The other fields of TensorFlow's message are accepted, kept, and
    mean nothing here.
    """

    def __init__(
        self,
        allow_soft_placement: bool = False,
        backend: str | None = None,
        **fields: Any,
    ) -> None:
        self.allow_soft_placement = allow_soft_placement
        self.backend = backend
        self.gpu_options = GPUOptions()
        self.graph_options: Any = GPUOptions()
        for name, value in fields.items():
            setattr(self, name, value)


class GPUOptions:
    """Which GPU a session uses, and how much of it.

    ``per_process_gpu_memory_fraction``: at most this part of its memory (CuPy's pool,
    for the whole process); 0 and 1 mean all. ``visible_device_list``: "1" or "1,0":
    the session runs on the first. The other fields are kept and mean nothing here.
    """

    def __init__(self, **fields: Any) -> None:
        self.allow_growth = False
        self.per_process_gpu_memory_fraction = 0.0
        self.visible_device_list = ""
        for name, value in fields.items():
            setattr(self, name, value)

    def _device(self) -> int | None:
        """The number of the first visible GPU, if the list says which."""
        first = str(self.visible_device_list).split(",")[0].strip()
        if first and not first.isdecimal():
            raise ValueError(
                "visible_device_list is a list of numbers such as '1' or '1,0', not "
                f"{self.visible_device_list!r}."
            )
        return int(first) if first else None

    def _fraction(self) -> float | None:
        """The part of the memory that may be used, if it is not all."""
        fraction = float(self.per_process_gpu_memory_fraction)
        if not 0 <= fraction <= 1:
            raise ValueError(
                "per_process_gpu_memory_fraction is between 0 and 1, not "
                f"{self.per_process_gpu_memory_fraction!r}."
            )
        return fraction if 0 < fraction < 1 else None


class _Prepared(NamedTuple):
    """What is remembered of one (fetches, feed keys): the plan and its wrapping.

    ``operations``: the places of those among flat fetches, see _flat().
    """

    plan: Plan
    rebuild: fetches.Rebuild
    single: bool
    operations: list[int] | None


class BaseSession:
    """What Session and InteractiveSession share."""

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        if not isinstance(target, (str, bytes)):
            raise TypeError(f"target must be a string, but got {target!r}.")
        if graph is not None and not isinstance(graph, Graph):
            raise TypeError(
                f"graph must be a tf.Graph, but got {type(graph).__name__}."
            )
        if config is not None and not isinstance(config, ConfigProto):
            raise TypeError(
                f"config must be a tf.ConfigProto, but got {type(config).__name__}."
            )
        self._graph = graph if graph is not None else build.get_default_graph()
        self._config = config or ConfigProto()
        options = self._config.gpu_options
        if not isinstance(options, GPUOptions):
            raise TypeError(
                "gpu_options must be a tf.GPUOptions, but got "
                f"{type(options).__name__}."
            )
        self._backend = devices.backend(self._config.backend, options._device())
        fraction = options._fraction()
        if fraction is not None:
            self._backend.limit_memory(fraction)
        self._array_type = self._backend.xp.ndarray
        self._on_host = self._array_type is np.ndarray
        self._store = VariableStore()
        self._prepared: dict[Any, _Prepared] = {}
        self._flat: dict[Any, _Prepared] = {}  # those of flat fetches, by _flat_key()
        self._lock = threading.RLock()
        self._runs = 0
        self._closed = False

    @property
    def graph(self) -> Graph:
        """The graph that this session runs."""
        return self._graph

    @property
    def sess_str(self) -> bytes:
        """The target, for TensorFlow's sake."""
        return b""

    def list_devices(self) -> list[str]:
        """The device that this session runs on."""
        kind, name = self._backend.device_type, self._backend.device_name
        return [f"/device:{kind}:0 ({name})"]

    # --- running ----------------------------------------------------------------------

    def run(
        self,
        fetches: Any,
        feed_dict: Any = None,
        options: Any = None,
        run_metadata: Any = None,
    ) -> Any:
        """Compute ``fetches`` and return their values in the same structure.

        ``fetches``: tensors, operations (None comes back), variables, IndexedSlices,
        names, or nested lists, tuples and dicts of them. ``feed_dict`` sets tensors,
        by themselves or by name, to values: any tensor, not only placeholders.
        Values are NumPy arrays and scalars that belong to the caller.

        Raises TypeError or ValueError for wrong fetches and feeds,
        InvalidArgumentError for an unfed placeholder or values that an op refuses,
        FailedPreconditionError for variables without a value, RuntimeError after
        close(). A run that fails leaves all variables as they were. Runs of one
        session in several threads wait for each other.
        """
        # Most runs repeat an earlier one: nothing is looked up twice, and only what can
        # have changed is checked.
        kind = type(fetches)
        feed_dict = {} if feed_dict is None else feed_dict
        if type(feed_dict) is dict:
            try:
                # _flat_key(), without the call.
                if kind is list or kind is tuple:
                    prepared = self._flat.get((kind, *fetches, None, *feed_dict))
                else:
                    prepared = self._flat.get((fetches, None, *feed_dict))
            except TypeError:  # not hashable
                prepared = None
            if prepared is not None:
                results = self._run_again(prepared, feed_dict.values())
                if results is not None:
                    if kind is list:
                        return results
                    return tuple(results) if kind is tuple else results[0]
        if feed_dict:
            key, values, tensors = self._feeds(feed_dict)
        else:
            if feed_dict is not None and not isinstance(feed_dict, dict):
                feeds.expand(self._graph, feed_dict)
            key, values, tensors = (), [], ()
        with self._lock:
            if self._closed:
                raise RuntimeError("Attempted to use a closed Session.")
            prepared = self._prepared.get((fetches_key(fetches), key))
            if prepared is None:
                prepared = self._prepare(fetches, key, tensors)
            results = self._execute(prepared.plan, values)
        to_host = self._backend.to_host
        if prepared.single:
            result = to_host(results[0])
            return result[()] if result.ndim == 0 else result
        arrays = []
        for result in results:
            result = to_host(result)
            arrays.append(result[()] if result.ndim == 0 else result)
        return prepared.rebuild(arrays)

    def _run_again(self, prepared: _Prepared, values: Collection[Any]) -> Any:
        """The values of flat fetches in a list; None if it is not as last time."""
        plan = prepared.plan
        compiled = plan.straight
        if compiled is None or self._graph._unfeedable:
            return None
        arrays = compiled.accepts(values)  # type: ignore[misc]
        if arrays is None:
            return None
        lock = self._lock
        lock.acquire()  # `with` takes twice as long
        try:
            store = self._store
            if compiled.generation != store.generation or self._closed:
                return None
            self._runs = number = self._runs + 1
            try:
                step = number * RUNS_WITHIN + 1
                results = compiled.run(arrays, store.arrays, step)
            except StepError as error:
                context = Context(store, self._backend, number)
                results = plan.run_again(error, compiled, arrays, context)
        except StepError as error:
            raise step_error(error) from error.cause
        finally:
            lock.release()
        if not self._on_host:
            results = [self._backend.to_host(result) for result in results]
        for place in compiled.scalars:
            results[place] = results[place][()]
        for place in prepared.operations or ():
            results.insert(place, None)
        return results

    def _feeds(self, feed_dict: Any) -> tuple[Any, list[Any], Sequence[Tensor]]:
        """The tensors fed and their arrays, in the order of the dictionary."""
        arrays = []
        ndarray = self._array_type
        simple = isinstance(feed_dict, dict)
        if simple:
            for key in feed_dict:
                if type(key) is not Tensor or key.op.graph is not self._graph:
                    simple = False
                    break
        if not simple or self._graph._unfeedable:
            feed_dict = feeds.expand(self._graph, feed_dict)
        for tensor, value in feed_dict.items():
            if (
                type(value) is ndarray
                and value.dtype is tensor.dtype.np_dtype
                and value.shape == tensor._shape
                and value.flags.c_contiguous
            ):
                arrays.append(value)
            else:
                arrays.append(feeds.array_for(tensor, value, self._backend))
        tensors = tuple(feed_dict)
        return tensors, arrays, tensors

    def _prepare(self, structure: Any, key: Any, fed: Sequence[Tensor]) -> _Prepared:
        if self._graph.version == 0:
            raise RuntimeError(
                "The Session graph is empty. Add operations to the graph before "
                "calling run()."
            )
        parsed = fetches.parse(self._graph, structure)
        with collecting_seldom():
            plan = Plan(schedule(parsed.tensors, parsed.operations, fed))
        for item in plan.schedule.items:
            if item.op.device:
                devices.check_placement(
                    item.op, self._backend, self._config.allow_soft_placement
                )
        single = type(structure) is Tensor
        operations = _flat(structure, len(parsed.tensors))
        prepared = _Prepared(plan, parsed.rebuild, single, operations)
        held = sum(p.plan.held_bytes() for p in self._prepared.values())
        while self._prepared and (
            len(self._prepared) >= _PLANS_LIMIT or held > _PLANS_BYTES
        ):
            oldest = self._prepared.pop(next(iter(self._prepared)))
            held -= oldest.plan.held_bytes()
            self._flat = {k: p for k, p in self._flat.items() if p is not oldest}
        self._prepared[fetches_key(structure), key] = prepared
        if operations is not None:
            self._flat[_flat_key(structure, key)] = prepared
        return prepared

    def _execute(self, plan: Plan, values: Sequence[Any]) -> list[Any]:
        self._runs += 1
        context = Context(self._store, self._backend, self._runs)
        try:
            return plan.run(values, tuple([v.shape for v in values]), context)
        except StepError as error:
            raise step_error(error) from error.cause

    def assign_values(self, values: Mapping[Any, Any]) -> None:
        """Set variables to arrays, all of them or, if one does not fit, none.

        No op is run and nothing is compiled: this is how checkpoints are restored.
        Raises TypeError or ValueError for a value that is not of the variable's dtype
        or excluded by its static shape.
        """
        arrays = {}
        for variable, value in values.items():
            if variable.graph is not self._graph:
                raise ValueError(f"{variable!r} is not a variable of this graph.")
            snapshot = variable.__graph_element__()
            array = feeds.array_for(snapshot, value, self._backend)
            arrays[variable.handle.op] = array
        with self._lock:
            if self._closed:
                raise RuntimeError("Attempted to use a closed Session.")
            self._backend.synchronize()
            self._store.assign(arrays)
            self._backend.synchronize()

    def make_callable(
        self,
        fetches: Any,
        feed_list: Sequence[Any] | None = None,
        accept_options: bool = False,
    ) -> Any:
        """A function of the values of ``feed_list`` that runs ``fetches``."""
        keys = list(feed_list or ())

        def call(*values: Any) -> Any:
            if len(values) != len(keys):
                raise TypeError(
                    f"This callable takes {len(keys)} values, one for each tensor of "
                    f"feed_list, not {len(values)}."
                )
            return self.run(fetches, dict(zip(keys, values)))

        return call

    def close(self) -> None:
        """Free the values of the variables; later runs raise RuntimeError."""
        with self._lock:
            self._closed = True
            self._prepared.clear()
            self._flat.clear()
            self._store = VariableStore()

    @contextmanager
    def as_default(self) -> Iterator[Any]:
        """Make this session what ``eval()`` and ``run()`` use in this thread."""
        sessions.push(self)
        try:
            yield self
        finally:
            sessions.pop(self)


def fetches_key(structure: Any) -> Any:
    """The cache key of a fetch structure."""
    if type(structure) is Tensor or type(structure) is Operation:
        return structure
    return fetches.key_of(structure)


def _flat(structure: Any, tensors: int) -> list[int] | None:
    """The places of the operations, if the values of the rest are all that comes back.

    So it is with one tensor or operation, and with a list or tuple of different
    tensors, of which there are ``tensors``, and operations. None for all else.
    """
    items = structure if type(structure) in (list, tuple) else [structure]
    kinds = [type(item) for item in items]
    if not items or kinds.count(Tensor) != tensors:
        return None
    if tensors + kinds.count(Operation) != len(items):
        return None
    return [place for place, kind in enumerate(kinds) if kind is Operation]


def _flat_key(structure: Any, fed: Iterable[Tensor]) -> Any:
    """What tells flat fetches and feeds from others. TypeError for some of the others.

    No flat fetch is None.
    """
    kind = type(structure)
    if kind is list or kind is tuple:
        return (kind, *structure, None, *fed)
    return (structure, None, *fed)


class Session(BaseSession):
    """Runs parts of a graph and keeps its variables' values, until closed.

    ``graph`` defaults to the default graph. As a context manager it is the default
    session, its graph the default graph, and it is closed at the end.
    """

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        super().__init__(target, graph, config)
        self._contexts: list[Any] = []

    def __enter__(self) -> Session:
        graph = self._graph.as_default()
        graph.__enter__()
        session = self.as_default()
        session.__enter__()
        self._contexts.append((graph, session))
        return self

    def __exit__(self, *error: Any) -> None:
        graph, session = self._contexts.pop()
        session.__exit__(None, None, None)
        graph.__exit__(None, None, None)
        if not self._contexts:
            self.close()


class InteractiveSession(BaseSession):
    """A session that is the default one from its creation until close()."""

    def __init__(
        self, target: str = "", graph: Graph | None = None, config: Any = None
    ) -> None:
        super().__init__(target, graph, config)
        sessions.push(self)

    def close(self) -> None:
        """Stop being the default, and free everything."""
        if not self._closed:
            sessions.pop(self)
        super().close()
