"""Attribute values, shapes and arrays as protobuf messages, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes, messages
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import UnimplementedError
from gpugrad.shapes import Partial, TensorShape, is_known, known

# Attributes whose value is a shape, and those that are floats though 1 may be given.
_SHAPES: Final = frozenset({"shape"})
_FLOATS: Final = frozenset(
    {"alpha", "epsilon", "exponential_avg_factor", "tolerance", "clip_value_max"}
)

# --- shapes ---------------------------------------------------------------------------


def shape_proto(shape: Partial) -> Any:
    """A static shape as a TensorShapeProto."""
    proto = messages.message("TensorShapeProto")()
    if shape is None:
        proto.unknown_rank = True
    else:
        for size in shape:
            proto.dim.add().size = -1 if size is None else size
    return proto


def from_shape_proto(proto: Any) -> Partial:
    """A TensorShapeProto as a static shape."""
    if proto.unknown_rank:
        return None
    return tuple(None if d.size < 0 else d.size for d in proto.dim)


# --- arrays ---------------------------------------------------------------------------

# Where TensorProto keeps values that are not raw bytes, by dtype name. "bits" are the
# bits of 16-bit floats; a complex number is two values.
_FIELDS: Final = {
    "float32": "float_val", "float64": "double_val", "int32": "int_val",
    "int16": "int_val", "int8": "int_val", "uint8": "int_val", "uint16": "int_val",
    "int64": "int64_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "bool": "bool_val", "string": "string_val", "float16": "half_val",
    "bfloat16": "half_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
}  # fmt: skip


def tensor_proto(value: np.ndarray, dtype: DType) -> Any:
    """An array as a TensorProto: raw little-endian bytes, or strings."""
    proto = messages.message("TensorProto")(dtype=dtype.as_datatype_enum)
    proto.tensor_shape.CopyFrom(shape_proto(value.shape))
    if dtype is dtypes.string:
        proto.string_val.extend(value.reshape(-1).tolist())
    elif np.little_endian or dtype.size == 1:
        proto.tensor_content = value.tobytes()
    else:
        proto.tensor_content = value.byteswap().tobytes()
    return proto


def from_tensor_proto(proto: Any) -> np.ndarray:
    """The array of a TensorProto: a new one, in C order.

    Fewer values than elements: the last one stands for the rest.
    """
    dtype = as_dtype(proto.dtype)
    shape = from_shape_proto(proto.tensor_shape)
    if not is_known(shape):
        raise ValueError(f"A constant has no whole shape: {TensorShape(shape)}.")
    sizes = known(shape)
    count = math.prod(sizes)
    if dtype.np_dtype is None:
        raise UnimplementedError(
            None, None, f"A constant of dtype {dtype.name} cannot be read here."
        )
    if proto.tensor_content:
        kind = dtype.np_dtype.newbyteorder("<") if dtype.size > 1 else dtype.np_dtype
        if dtype is dtypes.bfloat16:
            kind = dtype.np_dtype
        flat = np.frombuffer(proto.tensor_content, kind).astype(dtype.np_dtype)
    else:
        flat = _listed(proto, dtype)
    if flat.size == 0 and count:
        flat = np.zeros(1, dtype.np_dtype)
        if dtype is dtypes.string:
            flat[0] = b""
    if flat.size > max(count, 1):
        raise ValueError(f"A constant of shape {shape} has {flat.size} values.")
    full = np.empty(count, dtype.np_dtype)
    full[: flat.size] = flat[:count]
    if flat.size < count:
        full[flat.size :] = flat[-1]
    return full.reshape(sizes)


def _listed(proto: Any, dtype: DType) -> np.ndarray:
    values = getattr(proto, _FIELDS[dtype.name])
    if dtype is dtypes.string:
        flat = np.empty(len(values), object)
        flat[:] = list(values)
        return flat
    if dtype in (dtypes.float16, dtypes.bfloat16):
        return np.array(values, np.uint16).view(dtype.np_dtype)
    if dtype.is_complex:
        parts = np.array(values, dtype.real_dtype.np_dtype)
        return parts.view(dtype.np_dtype)
    return np.array(values, dtype.np_dtype)


# --- attributes -----------------------------------------------------------------------


def attr_value(name: str, value: Any) -> Any:
    """An attribute as an AttrValue; TypeError for what no message can hold."""
    proto = messages.message("AttrValue")()
    if name in _SHAPES:
        proto.shape.CopyFrom(shape_proto(value))
    elif isinstance(value, np.ndarray):
        proto.tensor.CopyFrom(tensor_proto(value, dtypes.of_numpy(value.dtype)))
    elif isinstance(value, (list, tuple)):
        _fill_list(proto.list, name, value)
    else:
        field, plain = _scalar(name, value)
        setattr(proto, field, plain)
    return proto


def _scalar(name: str, value: Any) -> tuple[str, Any]:
    """The field of AttrValue that a value goes into, and what goes there."""
    match value:
        case DType():
            return "type", value.as_datatype_enum
        case bool() | np.bool_():
            return "b", bool(value)
        case int() | np.integer() if name not in _FLOATS:
            return "i", int(value)
        case int() | float() | np.number():
            return "f", float(value)
        case str():
            return "s", value.encode()
        case bytes():
            return "s", value
    raise TypeError(f"the attribute {name!r} is {value!r}, which no message can hold")


def _fill_list(proto: Any, name: str, values: Sequence[Any]) -> None:
    proto.SetInParent()  # an empty list is a value too
    for value in values:
        field, plain = _scalar(name, value)
        getattr(proto, field).append(plain)


def shapes_attr(shapes: Sequence[Partial]) -> Any:
    """A list of shapes as an AttrValue."""
    proto = messages.message("AttrValue")()
    proto.list.SetInParent()
    proto.list.shape.extend([shape_proto(shape) for shape in shapes])
    return proto


def _shortest(value: float) -> float:
    """The shortest number that becomes ``value`` in the message's single precision:
    what was written as 0.2 is read as 0.2.
    """
    return float(str(np.float32(value)))


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "type": as_dtype,
    "shape": from_shape_proto,
    "tensor": from_tensor_proto,
    "s": bytes,
    "i": int,
    "f": _shortest,
    "b": bool,
}


def from_attr_value(proto: Any) -> Any:
    """The value of an AttrValue; strings stay bytes, lists are tuples."""
    kind = proto.WhichOneof("value")
    if kind == "list":
        for field, values in proto.list.ListFields():
            return tuple(_READERS[field.name](value) for value in values)
        return ()
    if kind not in _READERS:
        raise UnimplementedError(
            None, None, f"An attribute of kind {kind!r} (a function) cannot be read."
        )
    return _READERS[kind](getattr(proto, kind))
