"""Scalar functions, and interned expressions over them.

An expression says what one point of a kernel's iteration space computes. Equal
expressions are one object, so comparing, hashing and sharing cost nothing.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType

Rule = Callable[[tuple[DType, ...]], DType]


class ScalarOp:
    """A function of scalars that every backend has a row for.

    ``rule`` gives the result's dtype from the arguments' dtypes. Calling the op
    builds an expression; Python numbers become literals of the first expression
    argument's dtype.
    """

    __slots__ = ("arity", "name", "rule")

    def __init__(self, name: str, arity: int, rule: Rule) -> None:
        self.name, self.arity, self.rule = name, arity, rule

    def __call__(self, *args: Expr | complex) -> Apply:
        if len(args) != self.arity:
            raise TypeError(
                f"{self.name} takes {self.arity} arguments, not {len(args)}"
            )
        return Apply(self, _exprs(args))

    def __repr__(self) -> str:
        return self.name


class Expr:
    """An immutable expression. Equal structure is the same object."""

    __slots__ = ("__weakref__", "dtype")
    dtype: DType
    _live: Final[weakref.WeakValueDictionary[Any, Expr]] = weakref.WeakValueDictionary()

    # Sugar, so that a lowering reads as its formula.
    def __add__(self, other: Any) -> Apply:
        return add(self, other)

    def __radd__(self, other: Any) -> Apply:
        return add(other, self)

    def __sub__(self, other: Any) -> Apply:
        return sub(self, other)

    def __rsub__(self, other: Any) -> Apply:
        return sub(other, self)

    def __mul__(self, other: Any) -> Apply:
        return mul(self, other)

    def __rmul__(self, other: Any) -> Apply:
        return mul(other, self)

    def __truediv__(self, other: Any) -> Apply:
        return div(self, other)

    def __rtruediv__(self, other: Any) -> Apply:
        return div(other, self)

    def __neg__(self) -> Apply:
        return neg(self)


class Load(Expr):
    """The element that a Group's load number ``slot`` has at this point."""

    __slots__ = ("slot",)
    slot: int

    def __new__(cls, slot: int, dtype: DType) -> Load:
        key = (slot, dtype)
        self = Expr._live.get(key)
        if self is None:
            self = object.__new__(cls)
            self.slot, self.dtype = slot, dtype
            Expr._live[key] = self
        return self  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"in{self.slot}"


class Lit(Expr):
    """A literal, keyed by dtype and bytes: 0.0 is not -0.0, and NaN is itself."""

    __slots__ = ("value",)
    value: Any

    def __new__(cls, value: Any, dtype: DType) -> Lit:
        scalar = np.asarray(value).astype(dtype.np_dtype)[()]
        # A string's scalar is the Python object itself.
        content = scalar if dtype is dtypes.string else scalar.tobytes()
        key = (dtype, content, "lit")
        self = Expr._live.get(key)
        if self is None:
            self = object.__new__(cls)
            self.value, self.dtype = scalar, dtype
            Expr._live[key] = self
        return self  # type: ignore[return-value]

    def __repr__(self) -> str:
        return repr(getattr(self.value, "item", lambda: self.value)())


class Index(Expr):
    """The coordinate along an axis of the iteration space, as int64."""

    __slots__ = ("axis",)
    axis: int

    def __new__(cls, axis: int) -> Index:
        key = (axis, "index")
        self = Expr._live.get(key)
        if self is None:
            self = object.__new__(cls)
            self.axis, self.dtype = axis, dtypes.int64
            Expr._live[key] = self
        return self  # type: ignore[return-value]

    def __repr__(self) -> str:
        return f"i{self.axis}"


class Apply(Expr):
    """A scalar function of expressions. ``cast`` carries its target in ``dtype``."""

    __slots__ = ("args", "op")
    op: ScalarOp
    args: tuple[Expr, ...]

    def __new__(
        cls, op: ScalarOp, args: tuple[Expr, ...], dtype: DType | None = None
    ) -> Apply:
        key = (op, args, dtype)
        self = Expr._live.get(key)
        if self is None:
            self = object.__new__(cls)
            self.op, self.args = op, args
            self.dtype = dtype or op.rule(tuple(a.dtype for a in args))
            Expr._live[key] = self
        return self  # type: ignore[return-value]

    def __repr__(self) -> str:
        return _text(self)


class Reduce(Expr):
    """``arg`` folded over the reduced axes of the space; constant along them.

    ``kind`` is one of REDUCTIONS. float16 and bfloat16 accumulate in float32.
    """

    __slots__ = ("arg", "kind")
    kind: str
    arg: Expr

    def __new__(cls, kind: str, arg: Expr) -> Reduce:
        key = (kind, arg, "reduce")
        self = Expr._live.get(key)
        if self is None:
            self = object.__new__(cls)
            self.kind, self.arg, self.dtype = kind, arg, arg.dtype
            Expr._live[key] = self
        return self  # type: ignore[return-value]

    def __repr__(self) -> str:
        return _text(self)


# Nodes that are written out one by one.
_LONG: Final = 100
REDUCTIONS: Final = ("sum", "prod", "max", "min", "all", "any")


def _exprs(args: tuple[Expr | complex, ...]) -> tuple[Expr, ...]:
    for arg in args:
        if isinstance(arg, Expr):
            dtype = arg.dtype
            break
    else:
        raise TypeError("at least one argument must be an expression")
    return tuple(a if isinstance(a, Expr) else Lit(a, dtype) for a in args)


def cast(arg: Expr, dtype: DType) -> Expr:
    """``arg`` as ``dtype``: floats truncate to integers, complex drops imaginary."""
    return arg if arg.dtype is dtype else Apply(cast_op, (arg,), dtype)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions."""
    if type(expr) is Apply:
        return expr.args
    if type(expr) is Reduce:
        return (expr.arg,)
    return ()


@lru_cache(maxsize=64)
def postorder(*roots: Expr) -> tuple[Expr, ...]:
    """Every distinct sub-expression once, arguments before their users.

    What writes a kernel asks for the same expressions again and again.
    """
    order: list[Expr] = []
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        expr, ready = stack.pop()
        if id(expr) in seen:
            continue
        if ready:
            seen.add(id(expr))
            order.append(expr)
            continue
        stack.append((expr, True))
        for child in reversed(children(expr)):
            stack.append((child, False))
    return tuple(order)


def written(*roots: Expr) -> tuple[list[str], list[str]]:
    """Lines that name what ``roots`` have in common, and the text of each of them."""
    order = list(postorder(*roots))
    uses = Counter([c for node in order for c in children(node)] + list(roots))
    lines: list[str] = []
    texts: dict[Expr, str] = {}
    for node in order:
        text = _one(node, texts)
        if uses[node] > 1 and type(node) in (Apply, Reduce):
            lines.append(f"v{len(lines)} = {text}")
            text = f"v{len(lines) - 1}"
        texts[node] = text
    return lines, [texts[r] for r in roots]


def _one(node: Expr, texts: dict[Expr, str]) -> str:
    if type(node) is Apply:
        args = ", ".join([texts[a] for a in node.args])
        target = f", {node.dtype.name}" if node.op is cast_op else ""
        return f"{node.op.name}({args}{target})"
    if type(node) is Reduce:
        return f"{node.kind}[{texts[node.arg]}]"
    return repr(node)


def _text(expr: Expr) -> str:
    """All on one line; what occurs again is named if it would be long otherwise."""
    sizes: dict[Expr, int] = {}
    texts: dict[Expr, str] = {}
    for node in postorder(expr):
        sizes[node] = 1 + sum([sizes[c] for c in children(node)])
        if sizes[node] > _LONG:
            lines, (last,) = written(expr)
            return "; ".join([*lines, last])
        texts[node] = _one(node, texts)
    return texts[expr]


def substitute(expr: Expr, mapping: dict[Expr, Expr]) -> Expr:
    """``expr`` with the keys of ``mapping`` replaced by their values."""
    done: dict[Expr, Expr] = {}
    for node in postorder(expr):
        new: Expr = node
        if node in mapping:
            new = mapping[node]
        elif type(node) is Apply:
            args = tuple(done[a] for a in node.args)
            if args != node.args:
                new = Apply(node.op, args, node.dtype if node.op is cast_op else None)
        elif type(node) is Reduce:
            new = Reduce(node.kind, done[node.arg])
        done[node] = new
    return done[expr]


# --- dtype rules ----------------------------------------------------------------------


def _same(dts: tuple[DType, ...]) -> DType:
    if any(d is not dts[0] for d in dts):
        raise TypeError(f"mixed dtypes {dts}; cast first")
    return dts[0]


def _bool(dts: tuple[DType, ...]) -> DType:
    return dtypes.bool_


def _real(dts: tuple[DType, ...]) -> DType:
    return dts[0].real_dtype


def _complex(dts: tuple[DType, ...]) -> DType:
    return dtypes.complex64 if dts[0] is dtypes.float32 else dtypes.complex128


def _branch(dts: tuple[DType, ...]) -> DType:
    return _same(dts[1:])


# --- the functions --------------------------------------------------------------------

OPS: Final[dict[str, ScalarOp]] = {}


def _op(name: str, arity: int, rule: Rule = _same) -> ScalarOp:
    OPS[name] = op = ScalarOp(name, arity, rule)
    return op


cast_op = _op("cast", 1)
select = _op("select", 3, _branch)  # select(condition, if_true, if_false)

# Arithmetic. div is true division (float, complex); floordiv and floormod round
# towards minus infinity, truncdiv and truncmod towards zero (integers and floats).
add, sub, mul, div = (_op(n, 2) for n in ("add", "sub", "mul", "div"))
floordiv, floormod = _op("floordiv", 2), _op("floormod", 2)
truncdiv, truncmod = _op("truncdiv", 2), _op("truncmod", 2)
pow_, atan2, nextafter = _op("pow", 2), _op("atan2", 2), _op("nextafter", 2)
# NaN in either argument gives NaN; on a tie either argument.
maximum, minimum = _op("maximum", 2), _op("minimum", 2)
neg, sign = _op("neg", 1), _op("sign", 1)  # sign of complex z is z/|z|, 0 at 0
abs_ = _op("abs", 1, _real)
floor, ceil, rint, trunc = (_op(n, 1) for n in ("floor", "ceil", "rint", "trunc"))

# Elementary functions of float and complex.
sqrt, rsqrt, reciprocal = _op("sqrt", 1), _op("rsqrt", 1), _op("reciprocal", 1)
exp, expm1, log, log1p = (_op(n, 1) for n in ("exp", "expm1", "log", "log1p"))
sin, cos, tan = _op("sin", 1), _op("cos", 1), _op("tan", 1)
asin, acos, atan = _op("asin", 1), _op("acos", 1), _op("atan", 1)
sinh, cosh, tanh = _op("sinh", 1), _op("cosh", 1), _op("tanh", 1)
asinh, acosh, atanh = _op("asinh", 1), _op("acosh", 1), _op("atanh", 1)

# Special functions of floats.
erf, erfc, erfinv = _op("erf", 1), _op("erfc", 1), _op("erfinv", 1)
lgamma, digamma = _op("lgamma", 1), _op("digamma", 1)
zeta, polygamma = _op("zeta", 2), _op("polygamma", 2)  # zeta(x, q), polygamma(n, x)
igamma, igammac = _op("igamma", 2), _op("igammac", 2)  # regularised P(a, x), Q(a, x)
betainc = _op("betainc", 3)  # regularised I_x(a, b), arguments a, b, x

# Comparisons give bool; logic takes and gives bool.
equal, not_equal = _op("equal", 2, _bool), _op("not_equal", 2, _bool)
less, less_equal = _op("less", 2, _bool), _op("less_equal", 2, _bool)
greater, greater_equal = _op("greater", 2, _bool), _op("greater_equal", 2, _bool)
isnan, isinf, isfinite = (_op(n, 1, _bool) for n in ("isnan", "isinf", "isfinite"))
logical_and, logical_or = _op("logical_and", 2), _op("logical_or", 2)
logical_xor, logical_not = _op("logical_xor", 2), _op("logical_not", 1)

# Bits of integers; shifts by the width or more give 0 (or the sign).
bit_and, bit_or, bit_xor = _op("bit_and", 2), _op("bit_or", 2), _op("bit_xor", 2)
bit_not = _op("bit_not", 1)
shift_left, shift_right = _op("shift_left", 2), _op("shift_right", 2)

# Complex numbers.
real, imag, angle = _op("real", 1, _real), _op("imag", 1, _real), _op("angle", 1, _real)
conj, complex_ = _op("conj", 1), _op("complex", 2, _complex)  # complex(re, im)
