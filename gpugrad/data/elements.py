"""What the elements of a dataset are: structures of arrays, by dtype and shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import constant, nest
from gpugrad.graph.tensor import Tensor
from gpugrad.shapes import Partial, TensorShape, as_partial


class Spec(NamedTuple):
    """A component: its dtype, and what is known of its shape."""

    dtype: DType
    shape: Partial


class Elements(NamedTuple):
    """Components, flat, and how they are put together."""

    specs: list[Spec]
    rebuild: Callable[[Sequence[Any]], Any]

    @property
    def types(self) -> Any:
        """The dtypes, in the structure of an element."""
        return self.rebuild([spec.dtype for spec in self.specs])

    @property
    def shapes(self) -> Any:
        """The static shapes, in the structure of an element."""
        return self.rebuild([TensorShape(spec.shape) for spec in self.specs])


def one(spec: Spec) -> Elements:
    """Elements of one component."""
    return Elements([spec], lambda leaves: leaves[0])


def flat(value: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The components of an element. Tuples and dicts are structure, a list is data."""
    return nest.flatten(_with_arrays(value))


def _with_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return type(value)((k, _with_arrays(v)) for k, v in value.items())  # type: ignore[call-arg]
    if isinstance(value, tuple):
        items = [_with_arrays(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return constant.to_array(value)
    return value


def spec_of(leaf: Any) -> Spec:
    """The spec of a tensor or an array."""
    if isinstance(leaf, Tensor):
        return Spec(leaf.dtype, leaf._shape)
    return Spec(dtypes.of_numpy(leaf.dtype), tuple(leaf.shape))


def checked(value: Any, spec: Spec, what: str) -> np.ndarray:
    """``value`` as an array that fits ``spec``; InvalidArgumentError if it does not."""
    try:
        array = constant.to_array(value, spec.dtype)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            None, None, f"{what} gave {value!r}, not {spec.dtype.name}: {error}"
        ) from None
    if not shapes.compatible(tuple(array.shape), spec.shape):
        raise InvalidArgumentError(
            None,
            None,
            f"{what} gave an element of shape {array.shape} where "
            f"{TensorShape(spec.shape)} was expected.",
        )
    return array


def stacked(rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Elements as one batch; InvalidArgumentError if their shapes differ."""
    batch = []
    for number, column in enumerate(zip(*rows)):
        wrong = next((c for c in column if c.shape != column[0].shape), None)
        if wrong is not None:
            raise InvalidArgumentError(
                None,
                None,
                "Cannot batch tensors with different shapes in component "
                f"{number}: {list(column[0].shape)} and {list(wrong.shape)}.",
            )
        batch.append(np.stack(column))
    return batch


def flat_shapes(structure: Any) -> list[Any]:
    """The shapes in a structure, in which a list or a TensorShape is one shape."""
    if isinstance(structure, dict):
        return [s for key in sorted(structure) for s in flat_shapes(structure[key])]
    nested = isinstance(structure, tuple) and any(
        isinstance(item, (tuple, list, dict, TensorShape)) for item in structure
    )
    if nested:
        return [s for item in structure for s in flat_shapes(item)]
    return [as_partial(structure)]


class Pass:
    """One use of a dataset, from an iterator's start to its end.

    ``values`` are those of the graph tensors that the dataset is made from.
    """

    def __init__(self, values: dict[Tensor, np.ndarray]) -> None:
        self.values = values
        self._counts: dict[Any, int] = {}

    def count(self, dataset: Any) -> int:
        """How many times ``dataset`` was begun before."""
        number = self._counts.get(dataset, 0)
        self._counts[dataset] = number + 1
        return number
