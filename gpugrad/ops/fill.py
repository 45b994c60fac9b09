"""Constants, and tensors filled with one value."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType, as_dtype
from gpugrad.errors import GraphTypeError
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known, same_as_input
from gpugrad.ops.static import shape_of, static_input

family = OpFamily()

# zeros() and ones() of fewer elements are constants; larger ones are filled when run.
_SMALL = 1000
# What TensorFlow calls the constant of a static shape that it was given as a shape.
_CONVERTED = "Shape/shape_as_tensor"

# --- Const --------------------------------------------------------------------------


def _const_infer(op: Operation) -> Any:
    return ((op.attrs["dtype"], op.attrs["value"].shape),)


def _const_lower(b: Builder, site: Site) -> View:
    return b.literal(site.attrs["value"], site.attrs["dtype"])


family.op(
    "Const",
    attrs={"value": ..., "dtype": ...},
    infer=_const_infer,
    lower=_const_lower,
)
family.no_gradient("Const")


def constant(
    value: Any,
    dtype: Any = None,
    shape: Any = None,
    name: str | None = "Const",
    verify_shape: bool = False,
) -> Tensor:
    """A tensor of a fixed value: a number, a string, nested lists, or an array.

    Python ints become int32, floats float32 and NumPy values keep their dtype, unless
    ``dtype`` says otherwise. With ``shape``, a value of as many elements is reshaped
    and a shorter one is continued with its last element (``verify_shape``: refused).
    Raises TypeError for values that ``dtype`` cannot hold.
    """
    wanted = None if dtype is None else as_dtype(dtype).base_dtype
    if isinstance(value, Tensor) or (
        isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value)
    ):
        raise GraphTypeError(
            f"constant() takes values, not symbolic tensors such as {value!r}. Use "
            "convert_to_tensor() or stack()."
        )
    if hasattr(value, "__gpugrad_value__"):
        value = np.asarray(value)
    array = values.to_array(value, wanted)
    if array is value or array.base is not None:
        array = array.copy()  # later changes of the caller's array do not show
    if shape is not None:
        array = _as_shape(array, shapes.known(shapes.as_partial(shape)), verify_shape)
    return apply_op(
        "Const",
        name=name or "Const",
        value=array,
        dtype=wanted or dtypes.of_numpy(array.dtype),
    )


def _as_shape(array: np.ndarray, shape: tuple[int, ...], verify: bool) -> np.ndarray:
    if verify and array.shape != shape:
        raise TypeError(f"Expected Tensor's shape: {shape}, got {array.shape}.")
    size = int(np.prod(shape, dtype=np.int64))
    if array.size == size:
        return array.reshape(shape)
    if array.size > size:
        raise ValueError(
            f"Too many elements provided. Takes at most {size}, but got {array.size}."
        )
    if array.size == 0:
        raise ValueError(f"An empty value cannot fill shape {shape}.")
    flat = array.reshape(-1)
    return np.concatenate([flat, np.full(size - flat.size, flat[-1])]).reshape(shape)


# --- Fill ---------------------------------------------------------------------------


def _fill_infer(op: Operation) -> Any:
    dims, value = op.inputs
    if value._shape not in (None, ()):
        raise ValueError(
            f"Shape must be rank 0 but is rank {len(value._shape)} for value"
        )
    if dims._shape is not None and len(dims._shape) != 1:
        raise ValueError(
            f"Shape must be rank 1 but is rank {len(dims._shape)} for dims"
        )
    sizes = values.sizes(dims)
    if sizes is not None and any(n is not None and n < 0 for n in sizes):
        raise ValueError(f"Fill dimensions must be >= 0, not {list(sizes)}")
    return ((value.dtype, sizes),)


def _fill_lower(b: Builder, site: Site) -> View:
    dims = b.integers(site.inputs[0])
    if any(n < 0 for n in dims):
        raise ValueError(f"Fill dimensions must be >= 0, not {list(dims)}")
    return site.inputs[1].broadcast(dims)


def _fill_value(op: Operation, inputs: list[Any]) -> Any:
    dims, value = inputs
    if not (is_known(dims) and is_known(value)) or value.dtype.kind not in "iub":
        return None
    if (dims < 0).any() or np.prod(dims, dtype=np.int64) > FOLD_LIMIT:
        return None
    return [np.full(tuple(dims), value)]


family.op(
    "Fill",
    (static_input("dims", "index_type"), Input("value")),
    infer=_fill_infer,
    lower=_fill_lower,
    value=_fill_value,
)


@family.gradient("Fill")
def _fill_grad(op: Operation, dy: Tensor) -> Any:
    apply = op.graph.apply
    if dy._shape is None:
        axes = apply("Range", 0, apply("Rank", dy), 1, name="range")
    else:
        every = np.arange(len(dy._shape), dtype=np.int32)
        axes = apply("Const", value=every, dtype=dtypes.int32)
    return [None, apply("Sum", dy, axes)]


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """``value``, a scalar, repeated to the shape ``dims``."""
    return apply_op("Fill", dims, value, name=name)


def zeros(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Zeros (False, empty strings) of ``shape``, which may be a tensor."""
    return _filled("zeros", 0, shape, dtype, name)


def ones(shape: Any, dtype: Any = dtypes.float32, name: str | None = None) -> Tensor:
    """Ones (True) of ``shape``, which may be a tensor."""
    return _filled("ones", 1, shape, dtype, name)


def _filled(kind: str, value: int, shape: Any, dtype: Any, name: str | None) -> Tensor:
    dtype = as_dtype(dtype).base_dtype
    scalar = _scalar(value, dtype)
    with name_scope(name, kind, [shape]) as scope:
        if not isinstance(shape, Tensor):
            dims = _static_shape(shape)
            if dims is None:
                shape = convert_to_tensor(shape, dtypes.int32)
            elif np.prod(dims, dtype=np.int64) < _SMALL:
                return apply_op(
                    "Const", name=scope, value=np.full(dims, scalar), dtype=dtype
                )
            else:
                large = any(n >= 2**31 for n in dims)
                kept = np.array(dims, np.int64 if large else np.int32)
                shape = constant(kept, name="shape_as_tensor")
        if not shape._shape:
            shape = apply_op("Reshape", shape, [-1])
        return apply_op("Fill", shape, constant(scalar, dtype), name=scope)


def _scalar(value: int, dtype: DType) -> np.ndarray:
    if dtype is dtypes.string:
        if value:
            raise TypeError(
                "ones() has no strings: expected a numeric or boolean dtype."
            )
        array = np.empty((), object)
        array[()] = b""
        return array
    return np.array(value, dtype.np_dtype)


def _static_shape(shape: Any) -> tuple[int, ...] | None:
    """The sizes if they are all Python or NumPy integers; None if tensors are in it."""
    try:
        dims = shapes.as_partial(shape)
    except TypeError:
        return None
    return None if dims is None or None in dims else shapes.known(dims)


# --- ZerosLike, OnesLike ------------------------------------------------------------


def _zeros_like_lower(b: Builder, site: Site) -> View:
    return _repeated(b, 0, site)


def _ones_like_lower(b: Builder, site: Site) -> View:
    return _repeated(b, 1, site)


def _repeated(b: Builder, value: int, site: Site) -> View:
    dtype = site.dtypes[0]
    return b.literal(_scalar(value, dtype), dtype).broadcast(site.inputs[0].shape)


family.op("ZerosLike", "x", infer=same_as_input, lower=_zeros_like_lower)
family.op("OnesLike", "x", infer=same_as_input, lower=_ones_like_lower)
family.no_gradient("ZerosLike", "OnesLike")


@family.numpy_function(np.zeros_like)
def zeros_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    """Zeros of the shape of ``tensor``, and of its dtype unless ``dtype`` is given."""
    with name_scope(name, "zeros_like", [tensor]) as scope:
        tensor = _as_tensor(tensor)
        wanted = tensor.dtype if dtype is None else as_dtype(dtype).base_dtype
        if optimize and shapes.is_known(tensor._shape):
            return zeros(tensor._shape, wanted, name=scope)
        if wanted is not tensor.dtype:
            return zeros(shape_of(tensor), wanted, name=scope)
        return apply_op("ZerosLike", tensor, name=scope)


@family.numpy_function(np.ones_like)
def ones_like(
    tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True
) -> Tensor:
    """Ones of the shape of ``tensor``, and of its dtype unless ``dtype`` is given."""
    with name_scope(name, "ones_like", [tensor]) as scope:
        tensor = _as_tensor(tensor)
        wanted = tensor.dtype if dtype is None else as_dtype(dtype).base_dtype
        label = "Shape" if not shapes.is_known(tensor._shape) else _CONVERTED
        result = ones(shape_of(tensor, name=label), wanted, name=scope)
        result.set_shape(tensor._shape)
        return result


def _as_tensor(value: Any) -> Any:
    """A symbolic tensor: shape functions read static shapes."""
    return (
        value if isinstance(value, Tensor) else convert_to_tensor(value, name="tensor")
    )


def zeros_like_v2(input: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """``zeros_like`` with the signature of TensorFlow 2."""
    return zeros_like(input, dtype, name)


def ones_like_v2(input: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """``ones_like`` with the signature of TensorFlow 2."""
    return ones_like(input, dtype, name)


@family.numpy_function(np.full_like)
def _full_like(tensor: Any, fill_value: Any, dtype: Any = None) -> Tensor:
    dtype = tensor.dtype if dtype is None else as_dtype(dtype)
    return apply_op("Fill", shape_of(tensor), constant(fill_value, dtype))
