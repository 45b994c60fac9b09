"""What each scalar function is in vector instructions.

Arithmetic is rounded exactly as NumPy's. exp, log, tanh and their kind are polynomials
of our own (minimax on the reduced argument); tests hold them to 2.6 units in the last
place on singles (tanh; 1.1 for exp and log). NumPy's vector loops have up to 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from gpugrad.backends.numpy.x86.assembler import WIDEST, Const, const
from gpugrad.backends.numpy.x86.block import Block, Value
from gpugrad.kir import special
from gpugrad.kir.scalar import Apply

Function = Callable[..., Value]

# Predicates of vcmp: ordered and quiet, but != is true of NaN.
_PREDICATES: Final = {
    "equal": 0x00, "not_equal": 0x04, "less": 0x11, "less_equal": 0x12,
    "greater": 0x1E, "greater_equal": 0x1D,
}  # fmt: skip
_UNORDERED: Final = 3
_ROUNDING: Final = {"rint": 8, "floor": 9, "ceil": 10, "trunc": 11}


def number(b: Block, value: float) -> Value:
    """A vector of ``value``."""
    return b.const(const(value, b.kind))


def _whole(b: Block, value: int) -> Value:
    return b.const(const(value, "dw"))


def ones(b: Block) -> Value:
    """Every bit set."""
    return b.const(Const(b"\xff" * WIDEST, "all bits"))


def _sign(b: Block) -> Value:
    return number(b, -0.0)


def _magnitude(b: Block) -> Value:
    size = 4 if b.kind == "ps" else 8
    return b.const(
        Const((b"\xff" * (size - 1) + b"\x7f") * (WIDEST // size), "no sign")
    )


def absolute(b: Block, x: Value) -> Value:
    """Without its sign."""
    return b("vand", x, _magnitude(b))


def _fma(b: Block, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded once."""
    return b("fma", x, y, z)


def _polynomial(b: Block, x: Value, coefficients: Sequence[Any]) -> Value:
    """The highest power first; by Estrin's scheme, whose halves do not wait.

    A processor has several vectors under way, but only so many as hundreds of
    instructions make: what counts is how long each waits for the one before it.
    """
    terms: list[Any] = list(reversed(coefficients))
    while len(terms) > 1:
        pairs = [
            _fma(b, _as_value(b, high), x, _as_value(b, low))
            for low, high in zip(terms[::2], terms[1::2])
        ]
        terms = [*pairs, *([terms[-1]] if len(terms) % 2 else [])]
        x = b("vmul", x, x)
    return _as_value(b, terms[0])


def _as_value(b: Block, term: Any) -> Value:
    return term if isinstance(term, Value) else number(b, term)


# --- extremes -------------------------------------------------------------------------


def _extreme(name: str) -> Function:
    def function(b: Block, x: Value, y: Value) -> Value:
        # The instruction gives y where either is NaN.
        found = b(name, x, y)
        return b("vblendv", found, x, b("vcmp", x, x, imm=_UNORDERED))

    return function


maximum, minimum = _extreme("vmax"), _extreme("vmin")

# --- exponentials ---------------------------------------------------------------------

_LOG2E: Final = 1.4426950408889634
# ln 2 in two parts; the first has so few bits that n times it is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2, within 1.4e-8 of e^r - 1.
_EXP: Final = (
    1.394665683619678e-3, 8.366677910089493e-3, 4.166627675294876e-2,
    1.6666541993618011e-1, 0.5,
)  # fmt: skip


def _reduced(b: Block, x: Value) -> tuple[Value, Value]:
    """n and e^r - 1, where x = n ln 2 + r."""
    n = b("vround", b("vmul", x, number(b, _LOG2E)), imm=_ROUNDING["rint"])
    r = b("fnma", n, number(b, _LN2_HIGH), x)
    r = b("fnma", n, number(b, _LN2_LOW), r)
    return n, _fma(b, _polynomial(b, r, _EXP), b("vmul", r, r), r)


def _power(b: Block, n: Value) -> Value:
    """2^n for whole numbers n from -126 to 127."""
    return b.op("vpslld", b.op("vpaddd", n, _whole(b, 127)), imm=23)


def exp(b: Block, x: Value) -> Value:
    """e^x."""
    # Of an instruction min(a, b), b is what NaN leaves.
    x = b("vmin", number(b, 89.0), b("vmax", number(b, -104.0), x))
    n, tail = _reduced(b, x)
    near = b("vadd", tail, number(b, 1.0))
    # In two steps: 2^n alone may be too large, or too small to be normal.
    whole = b.op("vcvtps2dq", n)
    half = b.op("vpsrad", whole, imm=1)
    rest = b.op("vpsubd", whole, half)
    return b("vmul", b("vmul", near, _power(b, half)), _power(b, rest))


def expm1(b: Block, x: Value) -> Value:
    """e^x - 1."""
    x = b("vmin", number(b, 89.0), b("vmax", number(b, -30.0), x))
    n, tail = _reduced(b, x)
    # Half of it, for 2^128 is too large.
    less = b.op("vpsubd", b.op("vcvtps2dq", n), _whole(b, 1))
    half = _power(b, less)
    found = _fma(b, half, tail, b("vsub", half, number(b, 0.5)))
    found = b("vadd", found, found)
    return b("vblendv", found, x, b("vcmp", absolute(b, x), number(b, 1e-8), imm=0x11))


def tanh(b: Block, x: Value) -> Value:
    """The hyperbolic tangent: m / (m + 2), where m = e^2x - 1."""
    twice = b("vadd", x, x)
    twice = b("vmin", number(b, 20.0), b("vmax", number(b, -20.0), twice))
    n, tail = _reduced(b, twice)
    power = _power(b, b.op("vcvtps2dq", n))
    m = _fma(b, power, tail, b("vsub", power, number(b, 1.0)))
    found = b("vdiv", m, b("vadd", m, number(b, 2.0)))
    return b("vor", found, b("vand", x, _sign(b)))  # of -0.0 too


def erf(b: Block, x: Value) -> Value:
    """The error function: 1 - e^p(|x|), and a polynomial near 0."""
    size = b("vmin", number(b, special.ERF_LIMIT), absolute(b, x))
    far = exp(b, _polynomial(b, size, special.ERFC_LOGARITHM))
    far = b("vsub", number(b, 1.0), far)
    far = b("vor", far, b("vand", x, _sign(b)))
    square = b("vmul", x, x)
    near = _fma(b, _polynomial(b, square, special.ERF_RATIO), x, x)
    small = b("vcmp", size, number(b, 1.0), imm=_PREDICATES["less_equal"])
    return b("vblendv", far, near, small)


# --- logarithms -----------------------------------------------------------------------

# (log(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) - 1 <= f <= sqrt(2) - 1, within 3e-9
# of log(1 + f).
_LOG: Final = (
    6.748569011688232e-2, -1.1678947508335114e-1, 1.1889106780290604e-1,
    -1.2405148893594742e-1, 1.421937644481659e-1, -1.6668012738227844e-1,
    2.0002126693725586e-1, -2.5000008940696716e-1, 3.333331346511841e-1,
)  # fmt: skip


def log(b: Block, x: Value) -> Value:
    """The natural logarithm."""
    tiny = b("vcmp", x, number(b, 1.17549435e-38), imm=_PREDICATES["less"])
    scaled = b("vblendv", x, b("vmul", x, number(b, 2.0**23)), tiny)
    # m between sqrt(1/2) and sqrt(2): the bits of sqrt(1/2) are subtracted.
    bits = b.op("vpsubd", scaled, _whole(b, 0x3F3504F3))
    power = b.op("vpsrad", bits, imm=23)
    m = b.op("vpsubd", scaled, b.op("vpslld", power, imm=23))
    e = b.op("vcvtdq2ps", power)
    e = b("vsub", e, b("vand", tiny, number(b, 23.0)))
    f = b("vsub", m, number(b, 1.0))
    square = b("vmul", f, f)
    found = b("vmul", b("vmul", _polynomial(b, f, _LOG), square), f)
    found = _fma(b, e, number(b, _LN2_LOW), found)
    found = b("fnma", square, number(b, 0.5), found)
    found = _fma(b, e, number(b, _LN2_HIGH), b("vadd", found, f))
    # Of what has no finite logarithm: infinity and NaN itself, -infinity of 0.
    finite = b("vcmp", x, number(b, float("inf")), imm=_PREDICATES["less"])
    found = b("vblendv", x, found, finite)
    zero = number(b, 0.0)
    none = b("vcmp", x, zero, imm=_PREDICATES["equal"])
    found = b("vblendv", found, number(b, float("-inf")), none)
    negative = b("vcmp", x, zero, imm=_PREDICATES["less"])
    return b("vor", found, negative)


def log1p(b: Block, x: Value) -> Value:
    """log(1 + x)."""
    one = number(b, 1.0)
    u = b("vadd", x, one)
    # What 1 + x has lost, seen through the derivative.
    lost = b("vdiv", b("vsub", b("vsub", u, one), x), u)
    inside = b(
        "vand",
        b("vcmp", u, number(b, 0.0), imm=_PREDICATES["greater"]),
        b("vcmp", u, number(b, float("inf")), imm=_PREDICATES["less"]),
    )
    found = b("vsub", log(b, u), b("vand", lost, inside))
    zero = b("vcmp", x, number(b, 0.0), imm=_PREDICATES["equal"])
    return b("vblendv", found, x, zero)


# --- the table ------------------------------------------------------------------------


def _plain(name: str) -> Function:
    return lambda b, *args: b(name, *args)


def _compared(name: str) -> Function:
    predicate = _PREDICATES[name]
    return lambda b, x, y: b("vcmp", x, y, imm=predicate)


def _rounded(name: str) -> Function:
    return lambda b, x: b("vround", x, imm=_ROUNDING[name])


def sign(b: Block, x: Value) -> Value:
    """-1, 0 or 1; NaN of NaN."""
    zero, one = number(b, 0.0), number(b, 1.0)
    above = b("vand", b("vcmp", x, zero, imm=_PREDICATES["greater"]), one)
    below = b("vand", b("vcmp", x, zero, imm=_PREDICATES["less"]), one)
    nan = b("vcmp", x, x, imm=_UNORDERED)
    return b("vblendv", b("vsub", above, below), x, nan)


def _below_infinity(b: Block, x: Value) -> Value:
    inf = number(b, float("inf"))
    return b("vcmp", absolute(b, x), inf, imm=_PREDICATES["less"])


def _is_infinite(b: Block, x: Value) -> Value:
    inf = number(b, float("inf"))
    return b("vcmp", absolute(b, x), inf, imm=_PREDICATES["equal"])


ARITHMETIC: Final[dict[str, Function]] = {
    "add": _plain("vadd"),
    "sub": _plain("vsub"),
    "mul": _plain("vmul"),
    "div": _plain("vdiv"),
    "sqrt": _plain("vsqrt"),
    "rsqrt": lambda b, x: b("vdiv", number(b, 1.0), b("vsqrt", x)),
    "reciprocal": lambda b, x: b("vdiv", number(b, 1.0), x),
    "neg": lambda b, x: b("vxor", x, _sign(b)),
    "abs": absolute,
    "sign": sign,
    "maximum": maximum,
    "minimum": minimum,
    "select": lambda b, c, x, y: b("vblendv", y, x, c),
    "isnan": lambda b, x: b("vcmp", x, x, imm=_UNORDERED),
    "isfinite": _below_infinity,
    "isinf": _is_infinite,
    "logical_and": _plain("vand"),
    "logical_or": _plain("vor"),
    "logical_xor": _plain("vxor"),
    "logical_not": lambda b, x: b("vxor", x, ones(b)),
    **{name: _compared(name) for name in _PREDICATES},
    **{name: _rounded(name) for name in _ROUNDING},
}

# What only singles have.
OF_SINGLES: Final[dict[str, Function]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "tanh": tanh,
    "erf": erf,
}


def function(node: Apply, kind: str) -> Function | None:
    """The function that computes a node; None if there is none."""
    name = node.op.name
    if name == "cast":
        if node.args[0].dtype.is_bool:
            return lambda b, x: b("vand", x, number(b, 1.0))
        if node.dtype.is_bool:
            return lambda b, x: b(
                "vcmp", x, number(b, 0.0), imm=_PREDICATES["not_equal"]
            )
        return None
    found = ARITHMETIC.get(name)
    if found is None and kind == "ps":
        found = OF_SINGLES.get(name)
    return found
