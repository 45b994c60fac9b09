"""Element types: TensorFlow's names and enum numbers over NumPy's types."""

from __future__ import annotations

import contextlib
from typing import Any, Final

import numpy as np


class DType:
    """An element type. There is one object a type, so ``is`` compares them.

    ``name`` and ``as_datatype_enum`` are TensorFlow's; ``np_dtype`` is the NumPy
    type that holds the values (object for strings, None for handles).
    """

    __slots__ = (
        "_ref",
        "as_datatype_enum",
        "base_dtype",
        "char",
        "is_bool",
        "is_complex",
        "is_floating",
        "is_integer",
        "is_trainable",
        "is_unsigned",
        "itemsize",
        "name",
        "np_dtype",
    )

    def __init__(self, name: str, enum: int, np_type: Any, kind: str) -> None:
        self.name = name
        self.as_datatype_enum = enum
        self.np_dtype = None if np_type is None else np.dtype(np_type)
        self.itemsize = 0 if self.np_dtype is None else self.np_dtype.itemsize
        self.is_floating = kind == "f"
        self.is_integer = kind in "iu"
        self.is_unsigned = kind == "u"
        self.is_complex = kind == "c"
        self.is_bool = kind == "b"
        # A gradient flows through these, and only these; a handle carries the
        # gradient of the variable behind it.
        self.is_trainable = kind in "fch"
        self.base_dtype = self
        self._ref: DType | None = None

    @property
    def is_scalar(self) -> bool:
        """True for types whose values are numbers or booleans."""
        return self.itemsize > 0 and self.np_dtype != np.object_

    @property
    def is_numeric(self) -> bool:
        """True for integers, real and complex floating types."""
        return self.is_floating or self.is_integer or self.is_complex

    @property
    def as_numpy_dtype(self) -> Any:
        """The NumPy scalar type, such as ``numpy.float32``."""
        if self.np_dtype is None:
            raise TypeError(f"{self.name} values have no NumPy type.")
        return self.np_dtype.type

    @property
    def real_dtype(self) -> DType:
        """float32 for complex64, float64 for complex128, itself otherwise."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @property
    def size(self) -> int:
        """Bytes an element."""
        return max(self.itemsize, 1)

    @property
    def limits(self) -> tuple[Any, Any]:
        """The least and the greatest finite value."""
        return self.min, self.max

    @property
    def max(self) -> Any:
        """The greatest finite value of a real or integer type."""
        return self._info("max")

    @property
    def min(self) -> Any:
        """The least finite value of a real or integer type."""
        return self._info("min")

    def _info(self, which: str) -> Any:
        if self.is_integer:
            return getattr(np.iinfo(self.np_dtype), which)
        if self.is_floating:
            if self.name == "bfloat16":
                return getattr(_bfloat16_info(self.np_dtype), which)
            return getattr(np.finfo(self.np_dtype), which)
        if self.is_bool:
            return which == "max"
        raise TypeError(f"{self.name} has no {which}.")

    @property
    def is_numpy_compatible(self) -> bool:
        """True when NumPy arrays hold the values."""
        return self.np_dtype is not None

    def is_compatible_with(self, other: Any) -> bool:
        """True when ``other`` is the same type."""
        return self is as_dtype(other).base_dtype

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DType):
            return self is other
        if other is None:
            return False
        try:
            return as_dtype(other) is self
        except TypeError:
            return NotImplemented

    def __hash__(self) -> int:
        return self.as_datatype_enum

    def __repr__(self) -> str:
        return f"tf.{self.name}"

    def __str__(self) -> str:
        return f"<dtype: '{self.name}'>"

    def __reduce__(self) -> tuple[Any, ...]:
        return as_dtype, (self.name,)


float32: Final = DType("float32", 1, np.float32, "f")
float64: Final = DType("float64", 2, np.float64, "f")
int32: Final = DType("int32", 3, np.int32, "i")
uint8: Final = DType("uint8", 4, np.uint8, "u")
int16: Final = DType("int16", 5, np.int16, "i")
int8: Final = DType("int8", 6, np.int8, "i")
string: Final = DType("string", 7, np.object_, "s")
complex64: Final = DType("complex64", 8, np.complex64, "c")
int64: Final = DType("int64", 9, np.int64, "i")
bool_: Final = DType("bool", 10, np.bool_, "b")
uint16: Final = DType("uint16", 17, np.uint16, "u")
complex128: Final = DType("complex128", 18, np.complex128, "c")
float16: Final = DType("float16", 19, np.float16, "f")
resource: Final = DType("resource", 20, None, "h")
variant: Final = DType("variant", 21, None, "h")
uint32: Final = DType("uint32", 22, np.uint32, "u")
uint64: Final = DType("uint64", 23, np.uint64, "u")
# Without ml_dtypes bfloat16 has a name but no values.
_bfloat16_type: Any = None
_bfloat16_info: Any = None
with contextlib.suppress(ImportError):
    import ml_dtypes

    _bfloat16_type, _bfloat16_info = ml_dtypes.bfloat16, ml_dtypes.finfo
bfloat16: Final = DType("bfloat16", 14, _bfloat16_type, "f")

ALL: Final = (
    float16, bfloat16, float32, float64, complex64, complex128,
    int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    bool_, string, resource, variant,
)  # fmt: skip

_BY_NAME: Final[dict[Any, DType]] = {
    **{d.name: d for d in ALL},
    **{d.as_datatype_enum: d for d in ALL},
    **{"half": float16, "float": float32, "double": float64},
}
_BY_NUMPY: Final[dict[np.dtype[Any], DType]] = {
    d.np_dtype: d for d in ALL if d.np_dtype is not None and d is not string
}
_BY_PYTHON: Final[dict[type, DType]] = {
    bool: bool_,
    int: int32,
    float: float32,
    complex: complex128,
    str: string,
    bytes: string,
    object: string,
}


def as_dtype(value: Any) -> DType:
    """The DType for a DType, a name, an enum number, or a NumPy or Python type.

    Raises TypeError when there is none. ``int`` gives int32 and ``float``
    gives float32, as constants made of Python numbers do.
    """
    if isinstance(value, DType):
        return value
    try:
        found = _BY_NAME.get(value) or _BY_PYTHON.get(value)
    except TypeError:
        found = None
    if found is None:
        try:
            found = of_numpy(np.dtype(value))
        except TypeError:
            raise TypeError(
                f"Cannot convert the argument `type_value`: {value!r} to a TensorFlow "
                "DType. Pass a DType, its name, or a NumPy type."
            ) from None
    return found


def of_numpy(np_dtype: np.dtype[Any]) -> DType:
    """The DType whose values NumPy arrays of ``np_dtype`` hold."""
    found = _BY_NUMPY.get(np_dtype)
    if found is None:
        if np_dtype.kind in "OSU":
            return string
        found = _BY_NUMPY.get(np_dtype.newbyteorder("="))
        if found is None:
            raise TypeError(
                f"NumPy type {np_dtype} has no DType. Cast the array first."
            )
    return found
