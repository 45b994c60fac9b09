"""The public way to give op types gradient rules, or to say that they have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.graph.spec import NO_GRADIENT, REGISTRY, caller


class RegisterGradient:
    """A decorator that registers the gradient rule of an op type, or of any name.

    ``rule(op, *dys)`` gets the operation and one gradient an output, and returns one
    gradient an input: a tensor of the input's shape, IndexedSlices, or None (a
    single one need not be in a list). Names that are no op type are for
    ``Graph.gradient_override_map``. KeyError if the name has a rule already.
    """

    def __init__(self, op_type: str) -> None:
        self._op_type = _checked(op_type)

    def __call__(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        """Register ``rule`` and return it."""
        REGISTRY.add_gradient(self._op_type, rule, caller())
        return rule


def no_gradient(op_type: str) -> None:
    """Say that ops of a type pass no gradient, on purpose: the result is None.

    KeyError if the type has a rule already.
    """
    REGISTRY.add_gradient(_checked(op_type), NO_GRADIENT, caller())


def _checked(op_type: Any) -> str:
    if not isinstance(op_type, str):
        raise TypeError(f"op_type must be a string, not {type(op_type).__name__}.")
    return op_type
