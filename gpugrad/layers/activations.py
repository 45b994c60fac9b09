"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad.ops import elementary, nn, softmax
from gpugrad.ops.elementary import exp

_BY_NAME: dict[str, Callable[..., Any] | None] = {
    "elu": nn.elu,
    "exponential": exp,
    "gelu": nn.gelu,
    "linear": None,
    "relu": nn.relu,
    "relu6": nn.relu6,
    "selu": nn.selu,
    "sigmoid": elementary.sigmoid,
    "softmax": softmax.softmax,
    "softplus": nn.softplus,
    "softsign": nn.softsign,
    "swish": nn.swish,
    "tanh": elementary.tanh,
}


def activation_of(value: Any) -> Callable[..., Any] | None:
    """The function that an ``activation`` argument means; None for the identity."""
    if value is None or callable(value):
        return value
    if value not in _BY_NAME:
        raise ValueError(
            f"Unknown activation {value!r}. Give a function of a tensor, or one of "
            f"{', '.join(sorted(_BY_NAME))}."
        )
    return _BY_NAME[value]
