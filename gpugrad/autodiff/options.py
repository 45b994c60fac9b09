"""What callers of gradients() choose by name: None or zeros, and how to add up."""

from __future__ import annotations

import enum
from typing import Any


class UnconnectedGradients(enum.Enum):
    """What stands for the gradient of an x that ys do not depend on."""

    NONE = "none"
    ZERO = "zero"


class AggregationMethod:
    """How the gradients that reach one tensor are added up.

    ``ADD_N``, ``DEFAULT``: one AddN over all of them. ``EXPERIMENTAL_TREE`` and
    ``EXPERIMENTAL_ACCUMULATE_N``: a chain of AddN of two, whose terms can be
    released one by one.
    """

    ADD_N = 0
    DEFAULT = ADD_N
    EXPERIMENTAL_TREE = 1
    EXPERIMENTAL_ACCUMULATE_N = 2


def unconnected(value: Any) -> UnconnectedGradients:
    """The enum member for itself or its string; ValueError otherwise."""
    try:
        return UnconnectedGradients(value)
    except ValueError:
        raise ValueError(
            f"Unknown value for unconnected_gradients: '{value}'. Use 'none' or 'zero'."
        ) from None


def chained(method: Any) -> bool:
    """True for the methods that add in pairs; ValueError for an unknown one."""
    accepted = [
        AggregationMethod.ADD_N,
        AggregationMethod.EXPERIMENTAL_TREE,
        AggregationMethod.EXPERIMENTAL_ACCUMULATE_N,
    ]
    if method is None:
        return False
    if method not in accepted:
        raise ValueError(
            f"Invalid `aggregation_method` specified {method}. Accepted values are "
            f"{accepted}."
        )
    return method != AggregationMethod.ADD_N
