"""The C names of the element types, and literals of them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gpugrad.dtypes import DType

# How an element lies in memory (kernels/types.cuh).
STORAGE: Final[dict[str, str]] = {
    "float16": "f16",
    "bfloat16": "bf16",
    "float32": "f32",
    "float64": "f64",
    "complex64": "c64",
    "complex128": "c128",
    "int8": "i8",
    "int16": "i16",
    "int32": "i32",
    "int64": "i64",
    "uint8": "u8",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
    "bool": "b8",
}

# What it is computed in, where that differs.
_COMPUTED: Final[dict[str, str]] = {"float16": "f32", "bfloat16": "f32", "bool": "bool"}


def storage(dtype: DType) -> str:
    """The C type of an element in memory. TypeError if it has none."""
    found = STORAGE.get(dtype.name)
    if found is None:
        raise TypeError(
            f"A CUDA kernel cannot hold {dtype.name} values. Keep them on the CPU: "
            "run this part with the numpy backend."
        )
    return found


def computed(dtype: DType) -> str:
    """The C type in which an element is computed."""
    return _COMPUTED.get(dtype.name) or storage(dtype)


def _real(value: Any, double: bool) -> str:
    number = float(value)
    suffix = "F64" if double else "F32"
    if np.isnan(number):
        return f"NAN_{suffix}"
    if np.isinf(number):
        return f"INF_{suffix}" if number > 0 else f"(-INF_{suffix})"
    # repr of a float64 gives it back exactly; so does that of a float32 rounded once.
    text = repr(number) if double else str(np.float32(number))
    if "." not in text and "e" not in text:
        text += ".0"
    text = text if double else text + "f"
    return f"({text})" if text.startswith("-") else text


def literal(value: Any, dtype: DType) -> str:
    """``value`` of ``dtype`` as C text of its computed type."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_complex:
        double = dtype.name == "complex128"
        re, im = _real(value.real, double), _real(value.imag, double)
        return f"{storage(dtype)}{{{re}, {im}}}"
    if dtype.is_floating:
        return _real(value, dtype.name == "float64")
    number = int(value)
    if dtype.name == "int64":
        # The least int64 has no literal of its own: minus is an operator in C.
        return f"(i64)0x{number & (2**64 - 1):x}ull" if number < 0 else f"{number}ll"
    if dtype.name == "uint64":
        return f"{number}ull"
    if dtype.is_unsigned:
        return f"({storage(dtype)}){number}u"
    if number == -(2**31):
        return "(i32)0x80000000u"
    return (
        f"({storage(dtype)}){number}"
        if number >= 0
        else f"({storage(dtype)})({number})"
    )
