"""Each scalar function as C text: a row for every entry of kir.scalar.OPS.

A row says for which types of the argument that decides (the first; of select the
second) the function exists on CUDA, and how it is written there. The letters are
f: float16, bfloat16 and float32, all computed in f32; d: float64; i and u: signed and
unsigned integers; b: bool; c: complex. A name stands for that one dtype.

In the text, {0} {1} {2} are the arguments, which are names or literals, {t} is their C
type, {f} is "f" after C's functions of f32, and {name} is the function's name. A row of
one dtype goes before that of its letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gpugrad.backends.cupy.literals import computed
from gpugrad.dtypes import ALL, DType
from gpugrad.kir.scalar import Apply, cast_op, select

_LETTERS: Final[dict[str, tuple[str, ...]]] = {
    "f": ("float16", "bfloat16", "float32"),
    "d": ("float64",),
    "i": ("int8", "int16", "int32", "int64"),
    "u": ("uint8", "uint16", "uint32", "uint64"),
    "b": ("bool",),
    "c": ("complex64", "complex128"),
}

# A function of C with the same name, of real and of complex numbers.
_MATH: Final = {"fd": "{name}{f}({0})", "c": "{name}_of({0})"}
_REAL: Final = {"fd": "{name}{f}({0})"}
_SPECIAL: Final = {
    1: {"fd": "({t}){name}((f64){0})"},
    2: {"fd": "({t}){name}((f64){0}, (f64){1})"},
    3: {"fd": "({t}){name}((f64){0}, (f64){1}, (f64){2})"},
}
_COMPARE: Final = {
    "equal": {"fdiubc": "{0} == {1}"},
    "not_equal": {"fdiubc": "{0} != {1}"},
    "less": {"fdiub": "{0} < {1}"},
    "less_equal": {"fdiub": "{0} <= {1}"},
    "greater": {"fdiub": "{0} > {1}"},
    "greater_equal": {"fdiub": "{0} >= {1}"},
}
_WHOLE: Final = {"fd": "{name}{f}({0})", "iu": "{0}"}

ROWS: Final[dict[str, dict[str, str]]] = {
    "cast": {"fdiubc": "see cast()"},
    "select": {"fdiubc": "{0} ? {1} : {2}"},
    # --- arithmetic
    "add": {"fdc": "{0} + {1}", "iu": "wrap_add({0}, {1})"},
    "sub": {"fdc": "{0} - {1}", "iu": "wrap_sub({0}, {1})"},
    "mul": {"fdc": "{0} * {1}", "iu": "wrap_mul({0}, {1})"},
    "div": {"fdc": "{0} / {1}"},
    "floordiv": {
        "fd": "floor{f}({0} / {1})",
        # The quotient rounds to the half type first, as it does where it is stored.
        "float16": "floorf(widen(round_f16({0} / {1})))",
        "bfloat16": "floorf(widen(round_bf16({0} / {1})))",
        "iu": "floor_div({0}, {1})",
    },
    "floormod": {"fd": "floor_mod_real({0}, {1})", "iu": "floor_mod({0}, {1})"},
    "truncdiv": {
        "fd": "trunc{f}({0} / {1})",
        "float16": "truncf(widen(round_f16({0} / {1})))",
        "bfloat16": "truncf(widen(round_bf16({0} / {1})))",
        "iu": "trunc_div({0}, {1})",
    },
    "truncmod": {"fd": "fmod{f}({0}, {1})", "iu": "trunc_mod({0}, {1})"},
    "pow": {
        "fd": "pow{f}({0}, {1})",
        "iu": "integer_pow({0}, {1})",
        "c": "pow_of({0}, {1})",
    },
    "atan2": {"fd": "atan2{f}({0}, {1})"},
    "nextafter": {
        "float16": "next_half<f16>({0}, {1})",
        "bfloat16": "next_half<bf16>({0}, {1})",
        "float32": "nextafterf({0}, {1})",
        "float64": "nextafter({0}, {1})",
    },
    "maximum": {"fdiub": "maximum({0}, {1})"},
    "minimum": {"fdiub": "minimum({0}, {1})"},
    "neg": {"fdc": "-{0}", "iu": "wrap_neg({0})"},
    "sign": {"fdiu": "sign({0})", "c": "sign_of({0})"},
    "abs": {
        "fd": "fabs{f}({0})",
        "i": "integer_abs({0})",
        "u": "{0}",
        "c": "abs_of({0})",
    },
    "floor": _WHOLE,
    "ceil": _WHOLE,
    "rint": _WHOLE,
    "trunc": _WHOLE,
    # --- elementary functions
    "sqrt": _MATH,
    "rsqrt": _MATH,
    "reciprocal": {
        "fd": "1 / {0}",
        "iu": "integer_reciprocal({0})",
        "c": "reciprocal_of({0})",
    },
    **dict.fromkeys(
        (
            *("exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos"),
            *("atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
        ),
        _MATH,
    ),
    # --- special functions
    **dict.fromkeys(("erf", "erfc", "erfinv", "lgamma"), _REAL),
    "digamma": _SPECIAL[1],
    "zeta": _SPECIAL[2],
    "polygamma": _SPECIAL[2],
    "igamma": _SPECIAL[2],
    "igammac": _SPECIAL[2],
    "betainc": _SPECIAL[3],
    # --- comparisons, logic, bits
    **_COMPARE,
    "isnan": {"fd": "{0} != {0}", "c": "isnan_of({0})"},
    "isinf": {"fd": "fabs{f}({0}) == Real<{t}>::inf()", "c": "isinf_of({0})"},
    "isfinite": {"fd": "fabs{f}({0}) < Real<{t}>::inf()", "c": "isfinite_of({0})"},
    "logical_and": {"b": "{0} && {1}"},
    "logical_or": {"b": "{0} || {1}"},
    "logical_xor": {"b": "{0} != {1}"},
    "logical_not": {"b": "!{0}"},
    "bit_and": {"iu": "({t})({0} & {1})", "b": "{0} && {1}"},
    "bit_or": {"iu": "({t})({0} | {1})", "b": "{0} || {1}"},
    "bit_xor": {"iu": "({t})({0} ^ {1})", "b": "{0} != {1}"},
    "bit_not": {"iu": "({t})~{0}", "b": "!{0}"},
    "shift_left": {"iu": "shift_left({0}, {1})"},
    "shift_right": {"iu": "shift_right({0}, {1})"},
    # --- complex numbers
    "real": {"c": "{0}.re", "fd": "{0}"},
    "imag": {"c": "{0}.im", "fd": "({t})0"},
    "angle": {"c": "atan2({0}.im, {0}.re)", "fd": "atan2{f}(({t})0, {0})"},
    "conj": {"c": "conj({0})", "fd": "{0}"},
    "complex": {"float32": "c64{{{0}, {1}}}", "float64": "c128{{{0}, {1}}}"},
}

# How much code and time an element costs, next to an addition: what is dear is not
# unrolled. float64 and complex numbers count four times.
_DEAR: Final[dict[str, int]] = {
    **dict.fromkeys(
        ("exp", "expm1", "log", "log1p", "div", "sqrt", "rsqrt", "reciprocal", "tanh"),
        4,
    ),
    **dict.fromkeys(
        ("floordiv", "floormod", "truncdiv", "truncmod", "atan2", "erf"), 8
    ),
    **dict.fromkeys(("asin", "acos", "atan", "asinh", "acosh", "atanh", "erfc"), 8),
    **dict.fromkeys(("sinh", "cosh", "sin", "cos", "tan", "erfinv", "angle"), 16),
    **dict.fromkeys(("pow", "lgamma"), 32),
    **dict.fromkeys(("digamma", "zeta", "polygamma", "igamma", "igammac"), 1000),
    "betainc": 1000,
}

# Headers beyond types.cuh and index.cuh.
_SPECIAL_OPS: Final = ("digamma", "zeta", "polygamma", "igamma", "igammac", "betainc")


def _spread(row: dict[str, str]) -> dict[str, str]:
    """A row's texts by the names of the dtypes."""
    names = {d.name for d in ALL}
    return {
        name: text
        for key, text in row.items()
        for name in ((key,) if key in names else sum((_LETTERS[k] for k in key), ()))
    }


_TEXTS: Final = {op: _spread(row) for op, row in ROWS.items()}


def deciding(node: Apply) -> DType:
    """The dtype that picks the text of a function."""
    return node.args[1 if node.op is select else 0].dtype


def supports(name: str, dtype: DType) -> bool:
    """True if the function exists for arguments of ``dtype``."""
    return dtype.name in _TEXTS[name]


def cost(node: Apply) -> int:
    """The price of one element, about 1 for an addition of f32."""
    dtype = deciding(node)
    factor = 4 if dtype.is_complex or dtype.name == "float64" else 1
    return _DEAR.get(node.op.name, 1) * factor


def headers(node: Apply) -> tuple[str, ...]:
    """The headers in which the text's functions are defined."""
    found = ["math.cuh"]
    if node.dtype.is_complex or deciding(node).is_complex:
        found.append("complex.cuh")
    if node.op.name in _SPECIAL_OPS:
        found.append("special.cuh")
    return tuple(found)


def text(node: Apply, args: Sequence[str]) -> str:
    """The C expression of ``node``. TypeError where CUDA lacks the function."""
    if node.op is cast_op:
        return cast(args[0], node.args[0].dtype, node.dtype)
    dtype = deciding(node)
    template = _TEXTS[node.op.name].get(dtype.name)
    if template is None:
        accepted = ", ".join(_TEXTS[node.op.name])
        raise TypeError(
            f"{node.op.name} does not take {dtype.name} on CUDA. It takes {accepted}: "
            "cast the argument, or run this part with the numpy backend."
        )
    kind = computed(dtype)
    suffix = "f" if kind == "f32" else ""
    return template.format(*args, t=kind, f=suffix, name=node.op.name)


def cast(value: str, source: DType, target: DType) -> str:
    """``value`` as ``target``: floats truncate, complex drops imaginary."""
    to = computed(target)
    if source.is_complex:
        if target.is_complex:
            part = "f32" if target.name == "complex64" else "f64"
            return f"{to}{{({part}){value}.re, ({part}){value}.im}}"
        if target.is_bool:
            return f"{value}.re != 0 || {value}.im != 0"
        value = f"{value}.re"
        real = source.real_dtype
        return value if target is real else cast(value, real, target)
    if target.is_complex:
        part = "f32" if target.name == "complex64" else "f64"
        return f"{to}{{({part}){value}, 0}}"
    if target.is_bool:
        return f"{value} != 0"
    if target.name in ("float16", "bfloat16"):
        # Rounded now, as if it had been in memory: f64 straight, all else from f32.
        wide = "f64" if source.name == "float64" else "f32"
        return f"widen(round_{_half(target)}(({wide}){value}))"
    if source.is_floating and target.is_integer:
        return f"truncated<{to}>({value})"
    return f"({to}){value}"


def _half(dtype: DType) -> str:
    """ "f16" or "bf16": how the half types are called in kernels/types.cuh."""
    return "f16" if dtype.name == "float16" else "bf16"
