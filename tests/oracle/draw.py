"""Draws random programs. TensorFlow, run eagerly, says what each line gives.

So a row needs to know no shapes and no domains: a line that TensorFlow refuses, or
whose values leave the ordinary, is drawn again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.oracle.program import Input, Line, Program

# Limits on what a line may give: elements, magnitude, and its inverse.
SIZE = 160
LARGE = {"float16": 30.0, "bfloat16": 30.0}
LARGEST = 300.0

FLOATS = ("float64", "float32", "float16", "bfloat16")
COMPLEX = ("complex128", "complex64")
INTEGERS = ("int32", "int64", "int16", "int8", "uint8")
KINDS = {"f": FLOATS, "c": COMPLEX, "i": INTEGERS, "b": ("bool",)}

Row = Callable[["Drawing"], Any]


class Skip(Exception):
    """This row does not suit what has been drawn so far."""


@dataclass(frozen=True)
class Value:
    """Something a line may read; in a template it is its name."""

    name: str
    dtype: str
    array: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def rank(self) -> int:
        return self.array.ndim

    def __str__(self) -> str:
        return self.name


class Drawing:
    """A program being drawn."""

    def __init__(self, tf: Any, seed: int) -> None:
        self.tf = tf
        self.rng = random.Random(seed)
        self.dtype = self.choose(
            ["float64"] * 12 + ["float32"] * 3 + ["complex128"] * 3
            + ["float16", "bfloat16", "complex64"]
        )  # fmt: skip
        # "grid" values tie, and most of their arithmetic is exact.
        # Infinities, in no complex arithmetic: which parts become NaN is not agreed on.
        wild = [] if kind(self.dtype) == "c" else ["wild"]
        self.style = self.choose(["plain"] * 6 + ["grid"] * 3 + wild)
        self.space: dict[str, Any] = {"tf": tf, "np": np, "inf": np.inf, "nan": np.nan}
        self.values: dict[str, Value] = {}
        self.inputs: list[Input] = []
        self.lines: list[Line] = []
        self.refused: list[str] = []

    # --- chance -----------------------------------------------------------------------

    def choose(self, options: Sequence[Any]) -> Any:
        """One of them."""
        return self.rng.choice(list(options))

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.rng.random() < probability

    def below(self, limit: int, low: int = 0) -> int:
        """A whole number from ``low``, less than ``limit``."""
        return self.rng.randrange(low, limit)

    def extent(self) -> int:
        """A dimension: mostly 2 or 3, now and then 1, seldom 0."""
        return self.choose([0] + [1] * 4 + [2] * 10 + [3] * 8 + [4] * 3)

    def shape(self, least: int = 0, most: int = 4) -> tuple[int, ...]:
        """A shape of such a rank."""
        rank = self.rng.choice(
            [r for r in (0, 1, 1, 2, 2, 2, 3, 4) if least <= r <= most]
        )
        return tuple(self.extent() for _ in range(rank))

    # --- values -----------------------------------------------------------------------

    def tensor(
        self,
        kinds: str = "f",
        least: int = 0,
        most: int = 4,
        suits: Callable[[Value], bool] = lambda v: True,
    ) -> Value:
        """Something of such a kind of dtype and rank: there already, or a new input."""
        found = self._pick(
            lambda v: kind(v.dtype) in kinds and least <= v.rank <= most and suits(v)
        )
        if found is not None:
            return found
        for _ in range(20):
            made = self.numbers(self.some_dtype(kinds), self.shape(least, most))
            value = Value("", *made)
            if suits(value):
                return self.input(*made)
        raise Skip

    def _pick(self, suits: Callable[[Value], bool]) -> Value | None:
        """One that suits, the newest most likely; sometimes none on purpose."""
        found = [v for v in self.values.values() if suits(v)]
        if not found or self.chance(0.15):
            return None
        return self.choose(found[-4:] if self.chance(0.7) else found)

    def some_dtype(self, kinds: str = "f") -> str:
        """The program's dtype, or what comes nearest to it."""
        if kinds == "c" and self.style == "wild":
            raise Skip
        if kind(self.dtype) in kinds:
            return self.dtype
        if "f" in kinds:
            return {"complex128": "float64", "complex64": "float32"}[self.dtype]
        if "c" in kinds:
            return "complex128" if self.dtype == "float64" else "complex64"
        return self.choose(KINDS[self.choose(kinds)][: 2 + 3 * self.chance(0.2)])

    def like(self, other: Value, shape: tuple[int, ...] | None = None) -> Value:
        """The same dtype, and the same or the given shape."""
        shape = other.shape if shape is None else shape
        found = self._pick(lambda v: v.dtype == other.dtype and v.shape == shape)
        return found or self.input(*self.numbers(other.dtype, shape))

    def along(self, other: Value) -> Value:
        """The same dtype, and a shape that broadcasts with the other's."""
        if self.chance(0.3):
            return self.like(other)
        found = self._pick(
            lambda v: v.dtype == other.dtype and _broadcasts(v.shape, other.shape)
        )
        if found is not None:
            return found
        cut = self.below(other.rank + 1)
        shape = tuple(1 if self.chance(0.3) else n for n in other.shape[cut:])
        return self.input(*self.numbers(other.dtype, shape))

    def numbers(
        self, dtype: str, shape: tuple[int, ...], low: float = -2.0, high: float = 2.0
    ) -> tuple[str, np.ndarray]:
        """The dtype, and random values for it, as wide numbers."""
        count = int(np.prod(shape))
        if kind(dtype) == "b":
            flat: list[Any] = [self.chance(0.5) for _ in range(count)]
        elif kind(dtype) == "i":
            least = 0 if dtype == "uint8" else -3
            flat = [self.below(5, least) for _ in range(count)]
        else:
            flat = [self._number(low, high) for _ in range(count)]
            if kind(dtype) == "c":
                flat = [complex(x, self._number(low, high)) for x in flat]
        empty = {"b": bool, "i": np.int64, "c": complex}.get(kind(dtype), float)
        return dtype, np.array(flat, empty).reshape(shape)

    def _number(self, low: float, high: float) -> float:
        if self.style == "wild" and self.chance(0.1):
            return self.choose([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-30, 50.0])
        if self.style != "plain":
            steps = [v for v in (-2, -1, -0.5, 0, 0.5, 1, 2, 3) if low <= v <= high]
            if steps:
                return float(self.choose(steps))
        return round(self.rng.uniform(low, high), 2) or 0.25

    def input(
        self, dtype: str, array: np.ndarray, kinds: Sequence[str] | None = None
    ) -> Value:
        """A new input with these values."""
        name = f"x{len(self.inputs)}"
        options = ["placeholder"] * 3 + ["constant", "variable"]
        made = self.choose(kinds or options)
        shape: Any = array.shape
        if made == "placeholder" and self.chance(0.35):
            vague = tuple(None if self.chance(0.5) else n for n in shape)
            shape = None if self.chance(0.4) else vague
        item = Input(name, made, dtype, shape, array.tolist(), array.shape)
        if made == "variable" and dtype not in (*FLOATS, *COMPLEX, "int32", "int64"):
            item = Input(name, "constant", dtype, shape, array.tolist(), array.shape)
        self.inputs.append(item)
        tensor = self.tf.constant(array, self.tf.as_dtype(dtype))
        self.space[name] = tensor
        return self._bind(name, tensor)

    def _bind(self, name: str, tensor: Any) -> Value:
        value = Value(name, tensor.dtype.name, tensor.numpy())
        self.values[name] = value
        return value

    # --- lines ------------------------------------------------------------------------

    def add(self, text: str, targets: int = 1) -> bool:
        """Append ``targets = text`` if TensorFlow can do it and the values are tame."""
        try:
            got = eval(text, self.space)  # noqa: S307
            tensors = list(got) if targets > 1 else [got]
            tensors = [self.tf.convert_to_tensor(t) for t in tensors]
            if len(tensors) != targets or not all(map(self._tame, tensors)):
                return False
        except Exception as error:  # noqa: BLE001
            self.refused.append(f"{text}: {type(error).__name__}: {error}")
            return False
        first = sum(len(line.targets) for line in self.lines)
        names = tuple(f"v{first + i}" for i in range(targets))
        for name, tensor in zip(names, tensors):
            self.space[name] = tensor
            self._bind(name, tensor)
        self.lines.append(Line(names, text))
        return True

    def _tame(self, tensor: Any) -> bool:
        array = tensor.numpy()
        if array.size > SIZE or array.dtype.kind == "O":
            return False
        if kind(tensor.dtype.name) in "ib":
            return True
        sizes = np.abs(array.astype(complex if array.dtype.kind == "c" else float))
        if self.style == "wild":
            return True
        return bool(np.all(sizes <= LARGE.get(tensor.dtype.name, LARGEST)))


def kind(dtype: str) -> str:
    """ "f", "c", "i" or "b"; "" for the rest."""
    return next((k for k, names in KINDS.items() if dtype in names), "")


def _broadcasts(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    pairs = zip(reversed(left), reversed(right))
    return all(a == b or 1 in (a, b) for a, b in pairs)


def draw(tf: Any, seed: int, rows: Sequence[tuple[float, Row]]) -> Program:
    """The program of this seed. ``tf``: TensorFlow's v1 module, executing eagerly."""
    drawing = Drawing(tf, seed)
    weights = [weight for weight, _ in rows]
    coarse = drawing.dtype in ("float16", "bfloat16")
    length = drawing.below(5 if coarse else 11, 2)
    for _ in range(40 * length):
        if len(drawing.lines) >= length:
            break
        (row,) = drawing.rng.choices([r for _, r in rows], weights)
        try:
            result = row(drawing)
        except Skip:
            continue
        text, targets = result if isinstance(result, tuple) else (result, 1)
        drawing.add(text, targets)
    return _differentiate(drawing)


def _differentiate(drawing: Drawing) -> Program:
    """What is asked of the lines drawn."""
    d = drawing
    made = [t for line in d.lines for t in line.targets]
    smooth = [n for n in made if kind(d.values[n].dtype) in "fc"] or made
    if not smooth:
        smooth = list(d.values)
    ys = tuple(d.choose(smooth[-4:]) for _ in range(d.choose([1, 1, 1, 2, 3])))
    given = [i.name for i in d.inputs]
    inner = [n for n in made if n not in ys or d.chance(0.2)]
    many = [n for n in inner if d.chance(0.6)] if d.chance(0.6) else []
    xs = tuple(dict.fromkeys([n for n in given if d.chance(0.9)] + many)) or ys
    options = []
    if d.chance(0.4) or any(kind(d.values[y].dtype) == "c" for y in ys):
        options.append(f"grad_ys=[{', '.join(_cotangent(d, y) for y in ys)}]")
    if inner and d.chance(0.2):
        cut = ", ".join(dict.fromkeys(d.choose(inner) for _ in range(d.below(3, 1))))
        options.append(f"stop_gradients=[{cut}]")
    if d.chance(0.2):
        options.append("unconnected_gradients='zero'")
    if d.chance(0.15):
        options.append("gate_gradients=True")
    if d.chance(0.15):
        options.append(f"aggregation_method={d.below(3)}")
    program = Program(tuple(d.inputs), tuple(d.lines), ys, xs, tuple(options))
    return program.pruned()


def _cotangent(d: Drawing, y: str) -> str:
    group = kind(d.values[y].dtype)
    if group == "c":
        return f"tf.ones_like({y}) * (0.75 - 0.5j)"
    if group != "f" or d.chance(0.3):
        return "None"
    return f"tf.cos({y})"


def simple(pattern: str, *texts: str) -> list[str]:
    """Words of a template put in the place of its ``@``."""
    return [
        pattern.replace("@", w)
        for text in texts
        for w in re.split(r"\s+", text.strip())
    ]
