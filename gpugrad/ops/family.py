"""How op files declare ops: shorthands over OpSpec, collected without side effects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.graph.build import apply_op, name_scope
from gpugrad.graph.indexed_slices import densify
from gpugrad.graph.spec import NO_GRADIENT, REGISTRY, Input, OpSpec, caller
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.scalar import Expr, Load
from gpugrad.kir.space import View

# Shape arithmetic while building stops at arrays of this many elements.
FOLD_LIMIT = 1024


class OpFamily:
    """The ops of one file. ``install`` puts them into the registry, once."""

    def __init__(self) -> None:
        self.specs: list[OpSpec] = []
        self.gradients: list[tuple[str, Any, str]] = []
        self.numpy: dict[Any, Callable[..., Any]] = {}

    def op(
        self, op_type: str, inputs: str | Sequence[Input] = (), **rules: Any
    ) -> None:
        """Declare an op type. ``inputs`` is "x y" for inputs that share attr T."""
        rules.setdefault("defined_at", caller())
        self.specs.append(OpSpec(op_type, formal_inputs(inputs), **rules))

    def elementwise(
        self,
        op_type: str,
        inputs: str | Sequence[Input],
        lower: Callable[..., Expr],
        result: DType | Callable[[DType], DType] | None = None,
        attrs: dict[str, Any] | None = None,
        types: Collection[DType] | None = None,
        **rules: Any,
    ) -> None:
        """An op that works point by point over broadcast inputs.

        ``lower`` gives the expression of one point from one expression an input;
        ``result`` the output's dtype (or a function of T) where it is not T;
        ``types`` what T may be.
        """
        formals = formal_inputs(inputs)
        accepted = None if types is None else frozenset(types)
        writes_result_type = attrs is not None and "Tout" in attrs

        def infer(op: Any) -> Any:
            first = op.inputs[0]
            shape = first._shape
            for other in op.inputs[1:]:
                shape = shapes.broadcast(shape, other._shape)
            dtype = op.attrs.get("T") or first.dtype
            if accepted is not None and dtype not in accepted:
                names = ", ".join(d.name for d in types or ())
                raise TypeError(
                    f"Value passed to parameter '{formals[0].name}' has DataType "
                    f"{dtype.name} not in list of allowed values: {names}."
                )
            if result is not None:
                dtype = result if isinstance(result, DType) else result(dtype)
                if writes_result_type:
                    op.attrs["Tout"] = dtype
            return ((dtype, shape),)

        def lowering(b: Builder, site: Site) -> View:
            return b.map(lower, *site.inputs)

        def value(op: Any, inputs: list[Any]) -> Any:
            if any(not is_known(v) or v.size > FOLD_LIMIT for v in inputs):
                return None
            if inputs[0].dtype.kind not in "iub":
                return None
            loads = [Load(i, t.dtype) for i, t in enumerate(op.inputs)]
            try:
                return [np.asarray(evaluate(lower(*loads), inputs))]
            except (ZeroDivisionError, ValueError):
                return None  # an error of the run, if it ever runs

        rules.setdefault("defined_at", caller())
        rules.setdefault("elementwise", True)
        self.specs.append(
            OpSpec(
                op_type,
                formals,
                attrs or {},
                infer=infer,
                lower=lowering,
                value=value,
                **rules,
            )
        )

    def gradient(
        self, *op_types: str, slices: bool = False, after: bool = False
    ) -> Callable[..., Any]:
        """Register the decorated ``rule(op, *dys)`` for ``op_types``.

        The rule returns one gradient an input: a tensor, IndexedSlices or None; a
        single one need not be in a list. ``slices``: the rule handles IndexedSlices
        itself; others are given dense tensors. An elementwise op's rule does not
        broadcast: the engine sums its results down to the inputs' shapes.
        ``after``: what the rule computes from the op's inputs or outputs waits for
        dy, as in TensorFlow, so that it is not computed (and kept) ahead of its use.
        """

        def register(rule: Callable[..., Any]) -> Callable[..., Any]:
            wanted = rule
            if after:

                @functools.wraps(rule)
                def wanted(op: Any, dy: Any) -> Any:
                    dy = densify(dy)
                    with op.graph.control_dependencies([dy]):
                        return rule(op, dy)

            elif not slices:

                @functools.wraps(rule)
                def wanted(op: Any, *dys: Any) -> Any:
                    return rule(op, *[densify(dy) for dy in dys])

            # Users' rules, by RegisterGradient, reduce for themselves.
            wanted.unreduced = True  # type: ignore[attr-defined]
            for op_type in op_types:
                self.gradients.append((op_type, wanted, rule.__code__.co_filename))
            return rule

        return register

    def no_gradient(self, *op_types: str) -> None:
        """Ops that pass no gradient, on purpose: their inputs get None."""
        where = caller()
        self.gradients.extend((t, NO_GRADIENT, where) for t in op_types)

    def numpy_function(self, *functions: Any) -> Callable[..., Any]:
        """The decorated public function stands in for NumPy's on tensors."""

        def register(function: Callable[..., Any]) -> Callable[..., Any]:
            self.numpy.update(dict.fromkeys(functions, function))
            return function

        return register

    def install(self) -> None:
        """Add everything to the registry."""
        for spec in self.specs:
            REGISTRY.add(spec)
        for op_type, rule, where in self.gradients:
            REGISTRY.add_gradient(op_type, rule, where)
        REGISTRY.numpy.update(self.numpy)


def formal_inputs(inputs: str | Sequence[Input]) -> tuple[Input, ...]:
    """``"x y"`` as two inputs that share the type attribute T."""
    if isinstance(inputs, str):
        return tuple(Input(name) for name in inputs.split())
    return tuple(inputs)


def axes_input(name: str, **rules: Any) -> Input:
    """A static int32 or int64 input: axes, a shape, a permutation."""
    rules = {"attr": "Tidx", "default": dtypes.int32, "static": True, **rules}
    return Input(name, **rules)


def unary_function(public: str, op_type: str, text: str) -> Callable[..., Tensor]:
    """The public function of an op of one tensor, with ``text`` for a docstring."""

    def function(x: Any, name: str | None = None) -> Tensor:
        with name_scope(name, public, [x]):
            return apply_op(op_type, x)

    function.__name__ = function.__qualname__ = public
    function.__doc__ = text
    return function


def is_known(value: Any) -> bool:
    """True for a wholly known value (see constant.partial_value)."""
    return value is not None and value.dtype.kind != "O"


def same_as_input(op: Any) -> Any:
    """Inference: the first input's dtype and shape."""
    x = op.inputs[0]
    return ((x.dtype, x._shape),)
