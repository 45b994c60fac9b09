"""When two answers are the same: the tolerances, in one place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tests.oracle.answer import Answer
from tests.oracle.program import Input, Program

# Half the distance between 1 and the next number.
EPS = {
    "float64": 2.0**-53, "complex128": 2.0**-53, "float32": 2.0**-24,
    "complex64": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8,
}  # fmt: skip
# Roundings that one line may leave, in units of the largest number about: a sum over
# a few dozen elements, a special function's last bits.
ROOM = 32
# Functions that are a series or an iteration in both libraries err by more.
SERIES = 128
_SERIES = re.compile(
    "igamma|betainc|zeta|polygamma|digamma|lgamma|ndtri|erf|expm|svd|eig"
    r"|bessel|special\."
)
# How far inputs are moved to see how well conditioned a program is, in roundings, and
# how many times that movement explains a difference.
SHAKE, MOVES = 8, 64

Answers = dict[str, Answer]


class Difference(NamedTuple):
    """Where two answers part, and how; ``distance`` when only by numbers."""

    key: str
    what: str
    distance: float = np.inf


def differences(
    program: Program, expected: Answers, got: Answers, room: float = ROOM
) -> list[Difference]:
    """Where ``got`` is not what was expected.

    Numbers may differ by ``room`` roundings a line (SERIES times that with functions
    of that kind) of the coarsest dtype in the program, at the size of the largest
    number of the same order or a lower one: values, first, second derivatives. A
    static shape may say more than the expected one.
    """
    coarsest = max(
        (EPS[a.dtype] for a in expected.values() if a.dtype in EPS), default=0.0
    )
    depth = 1 + len(program.lines)
    if _SERIES.search(program.forward):
        depth *= SERIES
    found = []
    for key in expected | got:
        order = _order(key)
        size = max(_size(a) for k, a in expected.items() if _order(k) <= order)
        most = room * depth * (1 + order) * coarsest * size
        found += _difference(key, expected.get(key), got.get(key), most)
    return found


def explained(
    found: list[Difference], program: Program, answer: Callable[[Program], Answers]
) -> bool:
    """True when the differences are no larger than what ``answer``, itself, moves by
    when the inputs move by some roundings: the program is ill-conditioned.
    """
    moved, still = answer(shaken(program)), answer(program)
    for key, _, gap in found:
        one, other = still.get(key), moved.get(key)
        if one is None or other is None or one.kind != other.kind:
            return False
        distance = max(
            (_distance(a, b) for a, b in zip(one.arrays, other.arrays)), default=0.0
        )
        if gap > MOVES * distance:
            return False
    return True


def shaken(program: Program) -> Program:
    """The program with its inputs moved by SHAKE roundings; what was equal stays so."""
    return replace(program, inputs=tuple(map(_shaken, program.inputs)))


def _shaken(item: Input) -> Input:
    if item.dtype not in EPS or 0 in item.extents:
        return item
    value = np.array(item.value)
    size = np.where(np.isfinite(value), np.abs(value), 0.0)
    factor = 1 + SHAKE * EPS[item.dtype] * np.cos(1000 * size)
    return replace(item, value=(value * factor).tolist())


def _order(key: str) -> int:
    return ("first", "second").index(key.split()[0]) + 1 if " " in key else 0


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _size(answer: Answer) -> float:
    if answer.kind not in ("tensor", "slices") or answer.dtype not in EPS:
        return 0.0
    sizes = np.abs(_wide(answer.arrays[0]))
    return float(np.max(sizes, where=np.isfinite(sizes), initial=0.0))


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance between elements; inf where only one is finite."""
    if one.shape != other.shape:
        return np.inf
    a, b = _wide(one), _wide(other)
    with np.errstate(invalid="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        gaps = np.where(same, 0.0, np.abs(a - b))
    return float(np.max(np.where(np.isnan(gaps), np.inf, gaps), initial=0.0))


def _difference(
    key: str, expected: Answer | None, got: Answer | None, room: float
) -> Iterator[Difference]:
    """What is different, or nothing."""
    if expected is None or got is None:
        there, side = (expected, "not given") if got is None else (got, "extra")
        assert there is not None
        yield Difference(key, f"{side}: {_described(there)}")
    elif (expected.kind, expected.dtype) != (got.kind, got.dtype):
        words = f"{_described(expected)} expected, {_described(got)} found"
        yield Difference(key, words)
    elif not _says_as_much(expected.shape, got.shape):
        words = f"static shape {expected.shape} expected, {got.shape} found"
        yield Difference(key, words)
    else:
        parts = ("", " in indices", " in dense_shape")
        for part, one, other in zip(parts, expected.arrays, got.arrays):
            exact = part or expected.dtype not in EPS
            gap = _distance(one, other)
            if gap > (0.0 if exact else room):
                words = f"off by {gap:.3g}{part}, {room:.3g} allowed: "
                words += f"{one.tolist()} expected, {other.tolist()} found"
                yield Difference(key, words, gap)


def _described(answer: Answer) -> str:
    return f"{answer.kind} {answer.dtype} {answer.message}".strip()


def _says_as_much(
    expected: tuple[int | None, ...] | None, got: tuple[int | None, ...] | None
) -> bool:
    if expected is None:
        return True
    if got is None or len(got) != len(expected):
        return False
    return all(e is None or e == g for e, g in zip(expected, got))
