"""Cast: the same numbers in another element type."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.indexed_slices import IndexedSlices
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.graph.variable import Variable
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, is_known

family = OpFamily()


# --- Cast -----------------------------------------------------------------------------


def _infer(op: Any) -> Any:
    (x,) = op.inputs
    source, target = x.dtype, op.attrs["DstT"]
    if source is not target:
        for dtype in (source, target):
            if not (dtype.is_numeric or dtype.is_bool):
                raise TypeError(
                    f"Cast {source.name} to {target.name} is not supported."
                )
    return ((target, x._shape),)


def _lower(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    target = site.dtypes[0]
    return x if x.dtype is target else b.map(lambda v: scalar.cast(v, target), x)


def _value(op: Any, inputs: list[Any]) -> Any:
    """Sizes stay sizes, also where only some of them are known."""
    (x,) = inputs
    target = op.attrs["DstT"]
    if x is None or x.size > FOLD_LIMIT:
        return None
    if not is_known(x):
        return [x] if target.is_integer else None
    if x.dtype.kind not in "iub":
        return None
    return [x.astype(target.np_dtype)]


family.op(
    "Cast",
    [Input("x", attr="SrcT")],
    attrs={"DstT": ..., "Truncate": False},
    infer=_infer,
    lower=_lower,
    value=_value,
)


@family.gradient("Cast", slices=True)
def _cast_grad(op: Any, dy: Any) -> Any:
    source = op.inputs[0].dtype
    if not (source.is_trainable and op.attrs["DstT"].is_trainable):
        return None
    return cast(dy, source)


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """``x`` in another element type; x itself if it has that type.

    Floats are cut off towards zero on their way to integers, complex numbers lose
    their imaginary part, and whatever is not 0 is True. IndexedSlices stay so.
    """
    target = dtypes.as_dtype(dtype).base_dtype
    if isinstance(x, IndexedSlices):
        values = cast(x.values, target, name)
        return IndexedSlices(values, x.indices, x.dense_shape)
    if isinstance(x, Variable) and x.dtype.base_dtype is target:
        return x
    label = name or "Cast"
    x = convert_to_tensor(x, name=f"{label.rstrip('/')}/x")
    return x if x.dtype is target else apply_op("Cast", x, DstT=target, name=label)


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Tensor:
    """``value`` in another type, first clipped to what that type can hold.

    NaN becomes 0 in an integer type on some devices and the least integer on others.
    """
    target = dtypes.as_dtype(dtype).base_dtype
    with name_scope(name, "saturate_cast", [value]) as scope:
        x = convert_to_tensor(value, name="value")
        source = x.dtype.base_dtype
        if _is_real(source) and _is_real(target):
            low, high = _common_limits(source, target)
            # In any case: an infinity is outside even of its own type's limits.
            x = apply_op("ClipByValue", x, low, high, name="clamp")
        return cast(x, target, scope)


def _is_real(dtype: dtypes.DType) -> bool:
    return dtype.is_floating or dtype.is_integer


def _common_limits(source: dtypes.DType, target: dtypes.DType) -> tuple[Any, Any]:
    """The least and the greatest number of ``source`` that ``target`` can hold."""
    low, high = max(source.min, target.min), min(source.max, target.max)
    if source.is_integer:
        return int(low), int(high)
    # A limit such as 2**31 - 1 is no float32; the next one down is.
    kind = source.as_numpy_dtype
    least, greatest = kind(low), kind(high)
    if float(least) < target.min:
        least = np.nextafter(least, kind(0))
    if float(greatest) > target.max:
        greatest = np.nextafter(greatest, kind(0))
    return least, greatest


def to_float(x: Any, name: str | None = "ToFloat") -> Any:
    """``x`` as float32."""
    return cast(x, dtypes.float32, name)


def to_double(x: Any, name: str | None = "ToDouble") -> Any:
    """``x`` as float64."""
    return cast(x, dtypes.float64, name)


def to_bfloat16(x: Any, name: str | None = "ToBFloat16") -> Any:
    """``x`` as bfloat16."""
    return cast(x, dtypes.bfloat16, name)


def to_int32(x: Any, name: str | None = "ToInt32") -> Any:
    """``x`` as int32."""
    return cast(x, dtypes.int32, name)


def to_int64(x: Any, name: str | None = "ToInt64") -> Any:
    """``x`` as int64."""
    return cast(x, dtypes.int64, name)


def to_complex64(x: Any, name: str | None = "ToComplex64") -> Any:
    """``x`` as complex64."""
    return cast(x, dtypes.complex64, name)


def to_complex128(x: Any, name: str | None = "ToComplex128") -> Any:
    """``x`` as complex128."""
    return cast(x, dtypes.complex128, name)
