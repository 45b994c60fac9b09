"""What each scalar function means: one NumPy function for every row of scalar.OPS.

Every function takes its operands and ``out=``, an array that it fills and returns.
Without ``out`` it makes one. ``out`` may be one of the operands only for a ufunc.
Run them under ``numpy.errstate(all="ignore")``: overflow and NaN are data here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from gpugrad.dtypes import DType
from gpugrad.kir import incomplete, special
from gpugrad.kir.scalar import OPS, ScalarOp

Function = Callable[..., Any]


# --- functions that NumPy has under another meaning, or not at all --------------------


def _refuse_zero(divisor: Any, dividend: Any = 1) -> None:
    if not np.all(divisor) and np.size(dividend):
        raise ZeroDivisionError("Integer division by zero")


def _floordiv_float(x: Any, y: Any, out: Any = None) -> Any:
    # numpy.floor_divide rounds the exact quotient: 1 // 0.1 is 9 there, 10 here.
    return np.floor(np.divide(x, y, out=out), out=out)


def _floordiv_int(x: Any, y: Any, out: Any = None) -> Any:
    _refuse_zero(y, x)
    return np.floor_divide(x, y, out=out)


def _floormod_int(x: Any, y: Any, out: Any = None) -> Any:
    _refuse_zero(y, x)
    return np.remainder(x, y, out=out)


def _truncdiv_float(x: Any, y: Any, out: Any = None) -> Any:
    return np.trunc(np.divide(x, y, out=out), out=out)


def _truncdiv_int(x: Any, y: Any, out: Any = None) -> Any:
    _refuse_zero(y, x)
    rest = np.fmod(x, y)
    # Floor and truncation differ by one where a rest is left and the signs differ.
    differ = (rest != 0) & ((np.less(x, 0)) != (np.less(y, 0)))
    quotient = np.floor_divide(x, y, out=out)
    return np.add(quotient, differ, out=out, dtype=quotient.dtype)


def _truncmod_int(x: Any, y: Any, out: Any = None) -> Any:
    _refuse_zero(y, x)
    return np.fmod(x, y, out=out)


def _reciprocal_int(x: Any, out: Any = None) -> Any:
    _refuse_zero(x)
    return np.reciprocal(x, out=out)


def _rsqrt(x: Any, out: Any = None) -> Any:
    return np.reciprocal(np.sqrt(x, out=out), out=out)


def _same(x: Any, out: Any = None) -> Any:
    """Rounding of what is whole already, real part of what is real, and so on."""
    if out is None:
        return np.array(x)
    out[...] = x
    return out


def _real(x: Any, out: Any = None) -> Any:
    return _same(np.real(x), out=out)


def _imag(x: Any, out: Any = None) -> Any:
    return _same(np.imag(x), out=out)


def _angle(x: Any, out: Any = None) -> Any:
    return np.arctan2(np.imag(x), np.real(x), out=out)


def _complex(re: Any, im: Any, out: Any = None) -> Any:
    if out is None:
        dtype = np.complex64 if np.asarray(re).dtype == np.float32 else np.complex128
        out = np.empty(np.broadcast_shapes(np.shape(re), np.shape(im)), dtype)
    out.real = re
    out.imag = im
    return out


def _select(condition: Any, if_true: Any, if_false: Any, out: Any = None) -> Any:
    if out is None:
        return np.where(condition, if_true, if_false)
    # Half the time of out[...] = where(...) on small arrays, which are the common.
    np.copyto(out, if_false)
    np.copyto(out, if_true, where=condition)
    return out


def cast(x: Any, out: Any) -> Any:
    """``x`` in the type of ``out``, written into it.

    Floats truncate towards zero, complex numbers drop the imaginary part, and
    whatever is not 0 is True.
    """
    if x.dtype.kind == "c" and out.dtype.kind not in "cb":
        x = x.real
    out[...] = x
    return out


def _made(function: Callable[..., np.ndarray]) -> Function:
    """``function``, which makes its own result, with ``out``."""

    def into(*args: Any, out: Any = None) -> Any:
        return _same(function(*args), out=out) if out is not None else function(*args)

    into.__name__ = function.__name__
    return into


# --- the rows -------------------------------------------------------------------------

MEANING: Final[dict[str, Function]] = {
    "cast": cast,
    "select": _select,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": _floordiv_float,
    "floormod": np.remainder,
    "truncdiv": _truncdiv_float,
    "truncmod": np.fmod,
    # Integers to a negative power raise ValueError.
    "pow": np.power,
    "atan2": np.arctan2,
    "nextafter": np.nextafter,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "neg": np.negative,
    "sign": np.sign,
    "abs": np.absolute,
    "floor": np.floor,
    "ceil": np.ceil,
    "rint": np.rint,
    "trunc": np.trunc,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "reciprocal": np.reciprocal,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": _made(special.erf),
    "erfc": _made(special.erfc),
    "erfinv": _made(special.erfinv),
    "lgamma": _made(special.lgamma),
    "digamma": _made(special.digamma),
    "zeta": _made(special.zeta),
    "polygamma": _made(special.polygamma),
    "igamma": _made(incomplete.igamma),
    "igammac": _made(incomplete.igammac),
    "betainc": _made(incomplete.betainc),
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "logical_not": np.logical_not,
    "bit_and": np.bitwise_and,
    "bit_or": np.bitwise_or,
    "bit_xor": np.bitwise_xor,
    "bit_not": np.invert,
    "shift_left": np.left_shift,
    "shift_right": np.right_shift,
    "real": _real,
    "imag": _imag,
    "angle": _angle,
    "conj": np.conjugate,
    "complex": _complex,
}

# Where integers mean something else.
_OF_INTEGERS: Final[dict[str, Function]] = {
    "floordiv": _floordiv_int,
    "floormod": _floormod_int,
    "truncdiv": _truncdiv_int,
    "truncmod": _truncmod_int,
    "reciprocal": _reciprocal_int,
    "floor": _same,
    "ceil": _same,
    "rint": _same,
    "trunc": _same,
}

# Where float32 and the half types have a faster way than through float64.
_OF_SINGLES: Final[dict[str, Function]] = {
    "erf": _made(special.erf32),
    "erfc": _made(special.erfc32),
}

# The integers' for a divisor that is known not to be 0: no look at every element.
_OF_NONZERO: Final[dict[str, Function]] = {
    "floordiv": np.floor_divide,
    "floormod": np.remainder,
    "truncmod": np.fmod,
}

assert MEANING.keys() == OPS.keys()


def function(op: ScalarOp, dtype: DType, nonzero: bool = False) -> Function:
    """The function that is ``op`` when its first argument has ``dtype``.

    ``nonzero``: its last argument is known to have no 0.
    """
    if dtype.is_integer:
        if nonzero and op.name in _OF_NONZERO:
            return _OF_NONZERO[op.name]
        return _OF_INTEGERS.get(op.name) or MEANING[op.name]
    if dtype.is_floating and dtype.itemsize <= 4:
        return _OF_SINGLES.get(op.name) or MEANING[op.name]
    return MEANING[op.name]


# --- reductions -----------------------------------------------------------------------

REDUCTION: Final[dict[str, np.ufunc]] = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "all": np.logical_and,
    "any": np.logical_or,
}


def identity(kind: str, dtype: DType) -> Any:
    """What a reduction of no element gives."""
    if kind in ("sum", "prod"):
        return dtype.as_numpy_dtype(kind == "prod")
    if kind in ("all", "any"):
        return kind == "all"
    if dtype.is_floating:
        return dtype.as_numpy_dtype("-inf" if kind == "max" else "inf")
    return dtype.min if kind == "max" else dtype.max


def accumulator(kind: str, dtype: DType) -> np.dtype[Any]:
    """The type in which a reduction is carried: float32 for the half types."""
    if kind in ("sum", "prod") and dtype.is_floating and dtype.itemsize == 2:
        return np.dtype(np.float32)
    assert dtype.np_dtype is not None
    return dtype.np_dtype


def reduce(kind: str, x: np.ndarray, axes: tuple[int, ...], dtype: DType) -> np.ndarray:
    """``x`` folded over ``axes``, which stay with extent 1."""
    if any(x.shape[axis] == 0 for axis in axes):
        shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        return np.full(shape, identity(kind, dtype), dtype.np_dtype)
    folded = REDUCTION[kind].reduce(
        x, axis=axes, dtype=accumulator(kind, dtype), keepdims=True
    )
    return np.asarray(folded).astype(dtype.np_dtype, copy=False)
