"""get_variable and variable_scope: variables found again by name."""

from __future__ import annotations

import enum
import inspect
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import describe
from gpugrad.graph import build, constant
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.graph import Graph
from gpugrad.graph.variable import GraphKeys, Variable
from gpugrad.ops.initializers import Initializer, Zeros, glorot_uniform


class _ReuseMode(enum.Enum):
    AUTO_REUSE = 1


AUTO_REUSE = _ReuseMode.AUTO_REUSE

_STORE_KEY = ("gpugrad variable store",)


class _Store:
    """The variables of a graph by name, and each thread's current scope."""

    def __init__(self) -> None:
        self.variables: dict[str, Variable] = {}
        self.lock = threading.RLock()
        self.local = threading.local()

    @property
    def scope(self) -> VariableScope:
        found = getattr(self.local, "scope", None)
        if found is None:
            found = self.local.scope = VariableScope(None)
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How often each scope was opened, for unique default names."""
        found = getattr(self.local, "counts", None)
        if found is None:
            found = self.local.counts = {}
        return found


def _store_of(graph: Graph) -> _Store:
    held = graph.get_collection_ref(_STORE_KEY)
    if not held:
        held.append(_Store())
    store: _Store = held[0]
    return store


def _store() -> _Store:
    return _store_of(outermost(build.get_default_graph()))


class VariableScope:
    """What get_variable takes from its surroundings: a prefix, and defaults.

    ``reuse``: True to only find variables, AUTO_REUSE to find or create them, False
    to only create them.
    """

    def __init__(
        self,
        reuse: Any,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = dtypes.float32,
        use_resource: Any = None,
        constraint: Any = None,
    ) -> None:
        self._reuse = reuse or False
        self._name = name
        self.initializer = initializer
        self.regularizer = regularizer
        self.caching_device = caching_device
        self.partitioner = partitioner
        self.custom_getter = custom_getter
        self._name_scope = name_scope
        self.dtype = dtype
        self.use_resource = use_resource
        self.constraint = constraint

    def copy(self, **changes: Any) -> VariableScope:
        """A scope like this one, with what ``changes`` has that is not None."""
        fields = {
            "reuse": self._reuse,
            "name": self._name,
            "initializer": self.initializer,
            "regularizer": self.regularizer,
            "caching_device": self.caching_device,
            "partitioner": self.partitioner,
            "custom_getter": self.custom_getter,
            "name_scope": self._name_scope,
            "dtype": self.dtype,
            "use_resource": self.use_resource,
            "constraint": self.constraint,
        }
        fields.update({k: v for k, v in changes.items() if v is not None})
        return VariableScope(**fields)

    @property
    def name(self) -> str:
        """The prefix of variable names, without a slash at its end."""
        return self._name

    @property
    def original_name_scope(self) -> str:
        """The name scope that was opened with this scope, with its slash."""
        return self._name_scope

    @property
    def reuse(self) -> Any:
        """Whether variables are found, created, or either."""
        return self._reuse

    def reuse_variables(self) -> None:
        """Only find variables from here on."""
        self._reuse = True

    def set_initializer(self, initializer: Any) -> None:
        """The initializer of variables that give none."""
        self.initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        """The regularizer of variables that give none."""
        self.regularizer = regularizer

    def set_dtype(self, dtype: Any) -> None:
        """The dtype of variables that give none."""
        self.dtype = dtype

    def set_custom_getter(self, custom_getter: Any) -> None:
        """The function around get_variable."""
        self.custom_getter = custom_getter

    def set_use_resource(self, use_resource: Any) -> None:
        """Kept, without effect: every variable is a resource variable."""
        self.use_resource = use_resource

    def get_variable(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """get_variable in this scope."""
        with _entered(self):
            return get_variable(name, *args, **kwargs)

    def get_collection(self, name: Any) -> list[Any]:
        """The items of a collection whose names begin with this scope."""
        scope = self._name + "/" if self._name else ""
        return outermost(build.get_default_graph()).get_collection(name, scope)

    def trainable_variables(self) -> list[Any]:
        """The trainable variables of this scope."""
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Any]:
        """The global variables of this scope."""
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        """The local variables of this scope."""
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)


class _entered:
    """Make a scope the current one; nothing else changes."""

    def __init__(self, scope: VariableScope) -> None:
        self._scope = scope

    def __enter__(self) -> VariableScope:
        self._local = _store().local
        self._before = _store().scope
        self._local.scope = self._scope
        return self._scope

    def __exit__(self, *error: Any) -> None:
        self._local.scope = self._before


class variable_scope:
    """A context that prefixes the names of get_variable, and opens a name scope.

    ``name_or_scope``: a name, or a VariableScope to enter again. With None,
    ``default_name`` is made unique. ``reuse``, ``initializer`` and the others become
    the defaults of get_variable inside. ``auxiliary_name_scope=False`` opens no name
    scope.
    """

    def __init__(
        self,
        name_or_scope: Any,
        default_name: str | None = None,
        values: Any = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Any = None,
        dtype: Any = None,
        use_resource: Any = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if name_or_scope is None and default_name is None:
            raise TypeError("If default_name is None then name_or_scope is required")
        if name_or_scope is not None and not isinstance(
            name_or_scope, (str, VariableScope)
        ):
            raise TypeError(
                "VariableScope: name_or_scope must be a string or VariableScope."
            )
        if reuse not in (True, False, None, AUTO_REUSE):
            raise ValueError("The reuse parameter must be True or False or None.")
        if name_or_scope is None and reuse:
            raise ValueError("reuse=True cannot be used without a name_or_scope")
        self._name_or_scope = name_or_scope
        self._default_name = default_name
        self._values = values
        self._auxiliary = auxiliary_name_scope
        self._reuse = reuse
        self._changes = {
            "initializer": initializer,
            "regularizer": regularizer,
            "caching_device": caching_device,
            "custom_getter": custom_getter,
            "dtype": dtype,
            "use_resource": use_resource,
            "constraint": constraint,
        }
        self._exits: list[Callable[[], None]] = []

    def __enter__(self) -> VariableScope:
        try:
            return self._open_all()
        except BaseException:
            self.__exit__()
            raise

    def _open_all(self) -> VariableScope:
        graph = build.graph_of(*(self._values or ()))
        if graph is not build.get_default_graph():
            self._enter(build.graph_context(graph))
        store = _store()
        old = store.scope
        given = self._name_or_scope
        counts = store.counts
        if isinstance(given, VariableScope):
            opened = self._open(given.name.rpartition("/")[2])
            before = dict(counts)
            self._exits.append(lambda: _restore(counts, before))
            name, base = given.name, given
            reuse = self._reuse or given.reuse
            original = given.original_name_scope
        else:
            if given is None:
                opened = self._open(self._default_name)
                given = self._unique(store, old)
            else:
                opened = self._open(given)
            name = f"{old.name}/{given}" if old.name else given
            base, reuse, original = old, self._reuse or old.reuse, opened
            counts[name] = counts.get(name, 0) + 1
            self._exits.append(lambda: _forget_below(counts, name))
        changes = dict(self._changes)
        if base.custom_getter is not None and changes["custom_getter"] is not None:
            changes["custom_getter"] = _chained(
                base.custom_getter, changes["custom_getter"]
            )
        scope = base.copy(name=name, name_scope=original, **changes)
        scope._reuse = reuse
        return self._enter(_entered(scope))

    def _enter(self, context: Any) -> Any:
        result = context.__enter__()
        self._exits.append(lambda: context.__exit__(None, None, None))
        return result

    def _open(self, name: str | None) -> str:
        """Open the name scope, if one is wanted; the scope in force."""
        graph = build.get_default_graph()
        if self._auxiliary and name:
            opened: str = self._enter(graph.name_scope(name))
            return opened
        return graph.get_name_scope()

    def _unique(self, store: _Store, old: VariableScope) -> str:
        prefix = old.name + "/" if old.name else ""
        name = self._default_name
        number = 0
        while store.counts.get(f"{prefix}{name}"):
            number += 1
            name = f"{self._default_name}_{number}"
        return str(name)

    def __exit__(self, *error: Any) -> None:
        while self._exits:
            self._exits.pop()()


def _restore(counts: dict[str, int], before: dict[str, int]) -> None:
    counts.clear()
    counts.update(before)


def _forget_below(counts: dict[str, int], name: str) -> None:
    for key in counts:
        if key.startswith(name + "/"):
            counts[key] = 0


def _chained(
    outer: Callable[..., Any], inner: Callable[..., Any]
) -> Callable[..., Any]:
    def both(getter: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def through(*a: Any, **k: Any) -> Any:
            return outer(getter, *a, **k)

        return inner(through, *args, **kwargs)

    return both


def get_variable_scope() -> VariableScope:
    """The current variable scope."""
    return _store().scope


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: bool | None = None,
    custom_getter: Callable[..., Any] | None = None,
    constraint: Callable[..., Any] | None = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Any:
    """The variable of this name in the current variable scope, made if need be.

    ``initializer``: an initializer object or function of (shape, dtype), a function
    without arguments, or a value (then leave ``shape`` out). By default Glorot's
    uniform distribution, zeros for integers. ``regularizer``: a function of the
    variable whose result goes into the collection REGULARIZATION_LOSSES.
    ``partitioner``, ``caching_device`` and ``use_resource`` change nothing: a variable
    is never split.

    Raises ValueError if the scope does not reuse and the variable exists, or reuses
    and it does not, or its shape or dtype is another.
    """
    scope = _store().scope
    getter: Callable[..., Any] = _get
    for custom in (scope.custom_getter, custom_getter):
        if custom is not None:
            getter = _wrapped(custom, getter)
    return getter(
        name=f"{scope.name}/{name}" if scope.name else name,
        shape=shape,
        dtype=dtype,
        initializer=scope.initializer if initializer is None else initializer,
        regularizer=scope.regularizer if regularizer is None else regularizer,
        trainable=trainable,
        collections=collections,
        validate_shape=validate_shape,
        constraint=scope.constraint if constraint is None else constraint,
        reuse=scope.reuse,
    )


def _wrapped(
    custom: Callable[..., Any], getter: Callable[..., Any]
) -> Callable[..., Any]:
    def call(**kwargs: Any) -> Any:
        return custom(getter, **kwargs)

    return call


def _get(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    validate_shape: bool = True,
    constraint: Any = None,
    reuse: Any = None,
    **unused: Any,
) -> Variable:
    store = _store()
    with store.lock:
        found = store.variables.get(name)
        if found is not None:
            if not reuse:
                raise ValueError(
                    f"Variable {name} already exists, disallowed. Did you mean to set "
                    "reuse=True or reuse=tf.AUTO_REUSE in VarScope? It is "
                    f"{describe(found.op)}."
                )
            return _shared(found, name, shape, dtype)
        if reuse is True:
            raise ValueError(
                f"Variable {name} does not exist, or was not created with "
                "tf.get_variable(). Did you mean to set reuse=tf.AUTO_REUSE in "
                "VarScope?"
            )
        value, kind = _initial(name, shape, dtype, initializer, store.scope.dtype)
        graph = outermost(build.get_default_graph())
        with build.graph_context(graph), graph.name_scope(None):
            variable = Variable(
                value,
                trainable=trainable,
                collections=collections,
                validate_shape=validate_shape,
                name=name,
                dtype=kind,
                constraint=constraint,
            )
        store.variables[name] = variable
    if regularizer is not None:
        _regularize(variable, regularizer, name)
    return variable


def _shared(found: Variable, name: str, shape: Any, dtype: Any) -> Variable:
    """A variable that is asked for again; ValueError if it is not as asked."""
    if shape is not None and not found.shape.is_compatible_with(shape):
        raise ValueError(
            f"Trying to share variable {name}, but specified shape "
            f"{shapes.as_shape(shape)} and found shape {found.shape}."
        )
    if dtype is not None and as_dtype(dtype).base_dtype is not found.dtype:
        raise ValueError(
            f"Trying to share variable {name}, but specified dtype "
            f"{as_dtype(dtype).name} and found dtype {found.dtype.name}."
        )
    return found


def _initial(
    name: str, shape: Any, dtype: Any, initializer: Any, default: Any
) -> tuple[Any, DType]:
    """What Variable takes as its initial value, and the dtype."""
    kind = None if dtype is None else as_dtype(dtype).base_dtype
    if initializer is not None and not callable(initializer):
        if shape is not None:
            raise ValueError("If initializer is a constant, do not specify shape.")
        return initializer, _dtype_of_value(initializer, kind)
    kind = kind or as_dtype(default)
    partial = shapes.as_partial(shape)
    if initializer is None:
        if not shapes.is_known(partial):
            raise ValueError(
                f"Variable {name} did not get an initializer, so its `shape` argument "
                f"must be specified{' in full' if shape is not None else ''}."
            )
        initializer = glorot_uniform() if kind.is_floating else Zeros()
    if inspect.isclass(initializer):
        initializer = initializer()
    if shapes.is_known(partial):
        dims = list(shapes.known(partial))
        return (lambda: initializer(dims, dtype=kind)), kind
    if isinstance(initializer, Initializer) or not _takes_nothing(initializer):
        raise ValueError(
            f"The initializer passed for variable {name} is not valid. It should be a "
            "callable with no arguments and the shape should not be provided, or an "
            "initializer, and `shape` should be fully defined."
        )
    return initializer, kind


def _dtype_of_value(value: Any, wanted: DType | None) -> DType:
    found = getattr(value, "dtype", None)
    if not isinstance(found, DType):
        found = dtypes.of_numpy(constant.to_array(value).dtype)
        if wanted is not None and not isinstance(value, (np.ndarray, np.generic)):
            # A Python number takes the dtype asked for; an array has its own.
            array = constant.to_array(value, wanted)
            found = dtypes.of_numpy(array.dtype)
    if wanted is not None and found is not wanted:
        raise ValueError(
            f"Initializer type '{found.name}' and explicit dtype '{wanted.name}' don't "
            "match."
        )
    return found


def _takes_nothing(function: Callable[..., Any]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(
        p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        for p in parameters
    )


def _regularize(variable: Variable, regularizer: Callable[..., Any], name: str) -> None:
    graph = variable.graph
    with build.graph_context(graph), graph.colocate_with(variable):
        with graph.name_scope(f"{name}/Regularizer/"):
            loss = regularizer(variable)
    if loss is not None:
        graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)


def get_local_variable(name: str, *args: Any, **kwargs: Any) -> Any:
    """get_variable for a variable that is neither trained nor saved."""
    kwargs["trainable"] = False
    kwargs["collections"] = [
        *(kwargs.get("collections") or ()),
        GraphKeys.LOCAL_VARIABLES,
    ]
    return get_variable(name, *args, **kwargs)
