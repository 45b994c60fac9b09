"""Operands for a Group: ordinary values, awkward ones, and none that are undefined."""

from __future__ import annotations

import numpy as np

from gpugrad.dtypes import DType
from gpugrad.kir.program import Group
from gpugrad.kir.space import Buffer

# Functions whose arguments must lie somewhere: (low, high) for each load.
RANGES: dict[str, tuple[tuple[float, float], ...]] = {
    "acosh": ((1, 20),),
    "atanh": ((-0.99, 0.99),),
    "asin": ((-1, 1),),
    "acos": ((-1, 1),),
    "erfinv": ((-0.999, 0.999),),
    "lgamma": ((-6, 30),),
    "digamma": ((-6, 30),),
    "log": ((0.01, 50),),
    "log1p": ((-0.9, 50),),
    "sqrt": ((0, 50),),
    "rsqrt": ((0.01, 50),),
    "pow": ((0.1, 4), (-3, 3)),
    "zeta": ((1.1, 9), (0.1, 9)),
    "polygamma": ((0, 5), (0.2, 9)),
    "igamma": ((0.1, 30), (0.1, 30)),
    "igammac": ((0.1, 30), (0.1, 30)),
    "betainc": ((0.1, 20), (0.1, 20), (0, 1)),
}
_SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0)


def operand(
    rng: np.random.Generator, buffer: Buffer, function: str, slot: int
) -> np.ndarray:
    """Values of one buffer, for load ``slot`` of a kernel of ``function``."""
    dtype, size = buffer.dtype, buffer.size
    if dtype.is_bool:
        return rng.random(size) < 0.5
    if dtype.is_integer:
        return _integers(rng, dtype, size, function, slot)
    low, high = (-3.0, 3.0)
    if function == "prod":
        # Where parts of a product leave the range, its order decides between 0 and NaN.
        low, high = 0.95, 1.05
    if function in RANGES and not dtype.is_complex:
        low, high = RANGES[function][slot]
    values = rng.uniform(low, high, size)
    if function == "polygamma" and slot == 0:
        values = np.rint(values)
    if function in ("zeta", "polygamma") and size >= 64:
        place = 0 if slot == 0 and function == "zeta" else 2
        values[place : place + 2] = np.inf, (-np.inf if slot else np.inf)
        values[4] = np.inf
    if dtype.is_complex:
        part = 0.05 if function == "prod" else high
        values = values + 1j * rng.uniform(-part, part, size)
    elif function not in (*RANGES, "cast") and size >= 64:
        values[rng.integers(0, size, len(_SPECIAL))] = _SPECIAL
    return values.astype(dtype.np_dtype)


def _integers(
    rng: np.random.Generator, dtype: DType, size: int, function: str, slot: int
) -> np.ndarray:
    info = np.iinfo(dtype.np_dtype)
    low, high = int(info.min), int(info.max)
    if slot == 1 and function.startswith("shift"):
        low, high = 0, 9 * dtype.itemsize
    if slot == 1 and function == "pow":
        low, high = 0, 12
    if function in ("fold", "prod"):
        low, high = max(low, -50), min(high, 50)
    values = rng.integers(low, high, size, dtype=dtype.np_dtype, endpoint=True)
    if slot == 1 and ("div" in function or "mod" in function):
        values[values == 0] = 3
    if function == "reciprocal":
        values[values == 0] = 1
    return values


def operands(group: Group, function: str, seed: int = 0) -> dict[int, np.ndarray]:
    """The flat array of every buffer that ``group`` loads."""
    rng = np.random.default_rng(seed)
    found: dict[int, np.ndarray] = {}
    for slot, view in enumerate(group.loads):
        if view.buffer.id not in found:
            found[view.buffer.id] = operand(rng, view.buffer, function, slot)
    return found
