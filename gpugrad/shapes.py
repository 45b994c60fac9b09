"""Static shapes: any dimension, or the rank itself, may be unknown.

Inside gpugrad a static shape is a tuple of ``int | None``, or None when the rank is
unknown. ``TensorShape`` is the same for users, with TensorFlow's methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

from gpugrad.errors import GraphError

Partial = tuple[int | None, ...] | None


def text(shape: Partial) -> str:
    """``(None, 3)`` or ``<unknown>``."""
    return "<unknown>" if shape is None else str(tuple(shape))


def is_known(shape: Partial) -> bool:
    """True when the rank and every dimension are known."""
    return shape is not None and None not in shape


def merge(a: Partial, b: Partial) -> Partial:
    """What both shapes say together; GraphError if they contradict each other."""
    if a is None or a == b:
        return b
    if b is None:
        return a
    if len(a) != len(b):
        raise GraphError(f"Shapes {text(a)} and {text(b)} are not compatible")
    merged = []
    for m, n in zip(a, b):
        if m is not None and n is not None and m != n:
            raise GraphError(f"Shapes {text(a)} and {text(b)} are not compatible")
        merged.append(n if m is None else m)
    return tuple(merged)


def compatible(a: Partial, b: Partial) -> bool:
    """True unless the shapes contradict each other."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(
        m is None or n is None or m == n for m, n in zip(a, b)
    )


def broadcast(a: Partial, b: Partial) -> Partial:
    """NumPy's broadcasting; GraphError if the shapes cannot be broadcast."""
    if a == b and (a is None or None not in a):
        return a
    if a is None or b is None:
        return None
    if len(a) < len(b):
        a = (1,) * (len(b) - len(a)) + a
    elif len(b) < len(a):
        b = (1,) * (len(a) - len(b)) + b
    out: list[int | None] = []
    for m, n in zip(a, b):
        if m == 1:
            out.append(n)
        elif n == 1 or m == n:
            out.append(m)
        elif m is None:
            out.append(n)
        elif n is None:
            out.append(m)
        else:
            raise GraphError(
                f"Dimensions must be equal, but are {m} and {n}, with input shapes: "
                f"{list(a)}, {list(b)}."
            )
    return tuple(out)


def axis(value: int, rank: int, what: str = "axis") -> int:
    """``value`` as an index from 0; GraphError if it is out of range."""
    if not -rank <= value < rank:
        raise GraphError(
            f"Invalid reduction dimension {value} for input with {rank} dimensions: "
            f"{what} must be in [{-rank}, {rank})."
        )
    return value % rank


def as_partial(value: Any) -> Partial:
    """A tuple of ``int | None``, or None, from anything that says a shape."""
    if value is None:
        return None
    if isinstance(value, TensorShape):
        return value._dims
    if isinstance(value, int):
        return (value,)
    dims: list[int | None] = []
    for dim in value:
        if dim is None:
            dims.append(None)
            continue
        if isinstance(dim, Dimension):
            dims.append(dim.value)
            continue
        try:
            size = dim.__index__()
        except AttributeError:
            raise TypeError(
                f"Dimension value must be integer or None, got {dim!r} in {value!r}."
            ) from None
        if size < 0:
            raise GraphError(f"Dimension {size} must be >= 0, in shape {value!r}.")
        dims.append(size)
    return tuple(dims)


class Dimension:
    """One dimension as TF1 code reads it: ``.value`` is an int or None."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        if isinstance(value, Dimension):
            value = value.value
        self.value: int | None = None if value is None else int(value)

    def __int__(self) -> int:
        if self.value is None:
            raise TypeError("This dimension is unknown while the graph is built.")
        return self.value

    __index__ = __int__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Dimension):
            return self.value == other.value
        return self.value == other

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Dimension({self.value})"

    def __str__(self) -> str:
        return "?" if self.value is None else str(self.value)


class Size(int):
    """A known dimension: an int that also has TF1's ``.value``."""

    __slots__ = ()

    @property
    def value(self) -> int:
        """The int itself."""
        return int(self)


class TensorShape:
    """A static shape, possibly partly unknown. Immutable.

    ``shape[i]`` is an int, or None when that dimension is unknown; a slice is a
    TensorShape. ``TensorShape(None)`` has unknown rank.
    """

    __slots__ = ("_dims",)

    def __init__(self, dims: Any) -> None:
        self._dims: Partial = as_partial(dims)

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None when unknown."""
        return None if self._dims is None else len(self._dims)

    ndims = rank

    @property
    def dims(self) -> list[Dimension] | None:
        """A list of Dimension objects, None when the rank is unknown."""
        return None if self._dims is None else [Dimension(d) for d in self._dims]

    def as_list(self) -> list[int | None]:
        """The dimensions as ``int | None``; ValueError when the rank is unknown."""
        return list(self._known("as_list()"))

    def _known(self, what: str) -> tuple[int | None, ...]:
        if self._dims is None:
            raise ValueError(f"{what} is not defined on an unknown TensorShape.")
        return self._dims

    def is_fully_defined(self) -> bool:
        """True when every dimension is known."""
        return is_known(self._dims)

    def assert_is_fully_defined(self) -> None:
        """ValueError unless every dimension is known."""
        if not is_known(self._dims):
            raise ValueError(f"Shape {self} is not fully defined")

    def num_elements(self) -> int | None:
        """The product of the dimensions, None when any is unknown."""
        return prod(self._dims) if is_known(self._dims) else None  # type: ignore[arg-type]

    def merge_with(self, other: Any) -> TensorShape:
        """What both shapes say; ValueError if they contradict each other."""
        return TensorShape(merge(self._dims, as_partial(other)))

    def concatenate(self, other: Any) -> TensorShape:
        """The dimensions of both, one after the other."""
        more = as_partial(other)
        if self._dims is None or more is None:
            return TensorShape(None)
        return TensorShape(self._dims + more)

    def with_rank(self, rank: int) -> TensorShape:
        """This shape, known to have ``rank`` dimensions; ValueError if it has not."""
        try:
            return self.merge_with([None] * rank)
        except ValueError:
            raise ValueError(f"Shape {self} must have rank {rank}") from None

    def with_rank_at_least(self, rank: int) -> TensorShape:
        """This shape; ValueError if it is known to have fewer dimensions."""
        if self._dims is not None and len(self._dims) < rank:
            raise ValueError(f"Shape {self} must have rank at least {rank}")
        return self

    def with_rank_at_most(self, rank: int) -> TensorShape:
        """This shape; ValueError if it is known to have more dimensions."""
        if self._dims is not None and len(self._dims) > rank:
            raise ValueError(f"Shape {self} must have rank at most {rank}")
        return self

    def assert_has_rank(self, rank: int) -> None:
        """ValueError if the rank is known and different."""
        if self._dims is not None and len(self._dims) != rank:
            raise ValueError(f"Shape {self} must have rank {rank}")

    def is_compatible_with(self, other: Any) -> bool:
        """True unless the shapes contradict each other."""
        return compatible(self._dims, as_partial(other))

    def assert_is_compatible_with(self, other: Any) -> None:
        """ValueError if the shapes contradict each other."""
        if not self.is_compatible_with(other):
            raise ValueError(f"Shapes {self} and {other} are incompatible")

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            if self._dims is None:
                return TensorShape(None)
            return TensorShape(self._dims[key])
        size = None if self._dims is None else self._dims[key]
        return self._unknown if size is None else Size(size)

    # What stands for an unknown dimension in ``shape[i]``.
    _unknown: Any = None

    def __len__(self) -> int:
        return len(self._known("len()"))

    def __bool__(self) -> bool:
        return self._dims is not None

    def __iter__(self) -> Iterator[int | None]:
        return iter(self._known("Iteration"))

    def __add__(self, other: Any) -> TensorShape:
        return self.concatenate(other)

    def __radd__(self, other: Any) -> TensorShape:
        return TensorShape(other).concatenate(self)

    def __eq__(self, other: object) -> bool:
        try:
            return self._dims == as_partial(other)
        except (TypeError, ValueError):
            return NotImplemented

    def __hash__(self) -> int:
        return hash(self._dims)

    def __repr__(self) -> str:
        dims = None if self._dims is None else list(self._dims)
        return f"TensorShape({dims})"

    def __str__(self) -> str:
        if self._dims is not None and len(self._dims) == 1:
            return f"({self._dims[0]},)"
        return text(self._dims)

    def __reduce__(self) -> tuple[Any, ...]:
        return TensorShape, (self._dims,)


class DimensionedShape(TensorShape):
    """What ``get_shape()`` gives: ``shape[i].value`` works for unknown sizes too."""

    __slots__ = ()

    _unknown = Dimension(None)


def as_shape(value: Any) -> TensorShape:
    """A TensorShape from a TensorShape, a sequence, an int, or None."""
    return value if isinstance(value, TensorShape) else TensorShape(value)


def known(shape: Sequence[int | None] | None) -> tuple[int, ...]:
    """A fully known shape as a tuple of int; GraphError otherwise."""
    if shape is None or None in shape:
        raise GraphError(
            f"Shape {text(None if shape is None else tuple(shape))} "
            "must be fully known here."
        )
    return tuple(shape)  # type: ignore[arg-type]
