"""What an op type is: its signature, its rules, and the registry of them all."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gpugrad.dtypes import DType
from gpugrad.nearest import nearest

# infer(op) -> [(dtype, shape), ...]; shape is a tuple of int | None, or None.
Inferred = Sequence[tuple[DType, tuple[int | None, ...] | None]]


@dataclass(frozen=True, slots=True)
class Input:
    """A formal input.

    ``attr``:   the type attribute that it shares with its like, such as "T".
    ``dtype``:  the fixed dtype instead; None with attr.
    ``number``: the int attribute that counts a list of tensors, such as "N".
    ``static``: shapes depend on the value: inference and lowering read it.
    ``default``: dtype of a Python operand when no tensor decides (None: by value).
    ``allowed``: dtypes accepted under ``attr``; None for any.
    """

    name: str
    attr: str | None = "T"
    dtype: DType | None = None
    number: str | None = None
    static: bool = False
    default: DType | None = None
    allowed: tuple[DType, ...] | None = None


class NoGradient:
    """The rule of an op that passes no gradient, on purpose: the result is None."""

    def __repr__(self) -> str:
        return "NoGradient"


NO_GRADIENT: Final = NoGradient()


class Inlined(NamedTuple):
    """What the planner puts in the place of a call.

    ``inputs`` are the body's placeholders, one an input of the call; ``results`` the
    body's tensors, one an output; ``effects`` the body's operations that run although
    no result needs them.
    """

    inputs: Sequence[Any]
    results: Sequence[Any]
    effects: Sequence[Any]


@dataclass(frozen=True, slots=True, eq=False)
class OpSpec:
    """Everything that gpugrad knows of one op type.

    ``infer``:  output dtypes and static shapes from a node's inputs and attrs.
    ``lower``:  ``lower(builder, site)`` appends kernels and returns output views.
    ``value``:  ``value(op, inputs) -> [ndarray, ...] | None``: the outputs' values
                while building, for shape arithmetic; inputs are partial values.
    ``host``:   ``host(run, site, arrays) -> [array, ...]``: instead of lower, for
                ops whose output shapes depend on data, or that call Python.
    ``attrs``:  defaults of the attributes; ... marks one that must be given.
    ``on_device``: host takes and gives the device's arrays as they are, and lists
                (dtype variant): it runs bodies, or sorts values, but does no
                arithmetic.
    ``inline``: ``inline(op) -> Inlined``: the body that stands in for a call.
    ``alias``:  the output is the input: nothing runs where the host made that.
    ``elementwise``: outputs broadcast the inputs; the gradient engine sums each
                input gradient down to its input's shape.
    ``stateful``: reads or writes state: never merged, kept in program order.
    """

    type: str
    inputs: tuple[Input, ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    infer: Callable[[Any], Inferred] | None = None
    lower: Callable[..., Any] | None = None
    value: Callable[..., Any] | None = None
    host: Callable[..., Any] | None = None
    on_device: bool = False
    inline: Callable[..., Any] | None = None
    alias: bool = False
    elementwise: bool = False
    stateful: bool = False
    defined_at: str = ""


class Registry:
    """Op specs by type, and gradient rules by name. Safe to use from any thread."""

    def __init__(self) -> None:
        self.specs: dict[str, OpSpec] = {}
        self._gradients: dict[str, tuple[Any, str]] = {}
        self._lock = threading.Lock()
        # NumPy's functions to ours, for np.exp(tensor) and the like.
        self.numpy: dict[Any, Callable[..., Any]] = {}
        # Adds a call of a FunctionGraph to the current graph. The op that it makes
        # needs gradients(), so it lives above; whoever defines it sets this.
        self.call_function: Callable[..., list[Any]]

    def add(self, spec: OpSpec) -> None:
        """Register an op type; KeyError if the name is taken."""
        with self._lock:
            other = self.specs.get(spec.type)
            if other is not None:
                raise KeyError(
                    f"Op type {spec.type!r} is defined twice: at {other.defined_at} "
                    f"and at {spec.defined_at}."
                )
            self.specs[spec.type] = spec

    def find(self, op_type: str) -> OpSpec:
        """The spec of a type; KeyError naming the nearest types otherwise."""
        spec = self.specs.get(op_type)
        if spec is None:
            hint = nearest(op_type, self.specs)
            raise KeyError(f"Unknown op type {op_type!r}.{hint}")
        return spec

    def add_gradient(self, name: str, rule: Any, where: str = "") -> None:
        """Register a gradient rule, or NO_GRADIENT, under an op type or any name."""
        with self._lock:
            if name in self._gradients:
                raise KeyError(
                    f"Registering two gradient with name '{name}'! "
                    f"(Previous registration was at {self._gradients[name][1]})"
                )
            self._gradients[name] = (rule, where)

    def gradient(self, name: str) -> Any:
        """The rule under a name, NO_GRADIENT, or None when nothing is registered."""
        found = self._gradients.get(name)
        return None if found is None else found[0]

    def __contains__(self, op_type: str) -> bool:
        return op_type in self.specs

    def __iter__(self) -> Iterator[OpSpec]:
        return iter(list(self.specs.values()))


REGISTRY: Final = Registry()


def caller(depth: int = 2) -> str:
    """``file.py:12`` of the frame ``depth`` levels up, for registration errors."""
    frame = sys._getframe(depth)
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
