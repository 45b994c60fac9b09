"""Functions made of reductions: logsumexp, variance, norms, moments."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.reduce import reduce_max, reduce_mean, reduce_sum

family = OpFamily()


# --- L2Loss ---------------------------------------------------------------------------


def _infer_l2_loss(op: Any) -> Any:
    rules.require_dtype(op, 0, rules.FLOATS)
    return ((op.inputs[0].dtype, ()),)


def _lower_l2_loss(b: Builder, site: Site) -> View:
    x, dtype = site.inputs[0], site.dtypes[0]
    wide = dtypes.float32 if rules.is_half(dtype) else dtype

    def square(element: scalar.Expr) -> scalar.Expr:
        element = scalar.cast(element, wide)
        return element * element

    return b.reduce(
        "sum",
        x,
        range(x.rank),
        before=square,
        after=lambda s: scalar.cast(s * 0.5, dtype),
    )


family.op("L2Loss", "t", infer=_infer_l2_loss, lower=_lower_l2_loss)


@family.gradient("L2Loss")
def _l2_loss_grad(op: Any, dy: Any) -> Any:
    return op.inputs[0] * dy


def l2_loss(t: Any, name: str | None = None) -> Any:
    """Half the sum of the squares of all elements."""
    return apply_op("L2Loss", t, name=name)


# --- log(sum(exp)) --------------------------------------------------------------------


def reduce_logsumexp(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """log(sum(exp(x))) along ``axis`` (see reduce_sum), without overflow.

    The maximum is taken out first; no gradient goes through it. -inf for nothing.
    """
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = bool(rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    with name_scope(name, "ReduceLogSumExp", [input_tensor]) as scope:
        x = convert_to_tensor(input_tensor)
        top = reduce_max(x, axis, keepdims=True)
        finite = apply_op("IsFinite", top)
        top = apply_op("StopGradient", apply_op("SelectV2", finite, top, 0))
        shifted = apply_op("Exp", apply_op("Sub", x, top))
        result = apply_op("Log", reduce_sum(shifted, axis, keepdims=keep))
        if not keep:
            top = apply_op("Reshape", top, apply_op("Shape", result))
        return apply_op("AddV2", result, top, name=scope)


# --- variance -------------------------------------------------------------------------


def reduce_variance(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The mean squared distance from the mean along ``axis`` (real for complex x)."""
    with name_scope(name or "reduce_variance", None, [input_tensor]):
        x = convert_to_tensor(input_tensor)
        mean = reduce_mean(x, axis, keepdims=True)
        if mean.dtype.is_integer:
            raise TypeError(
                "Input must be either real or complex. Received integer type "
                f"{mean.dtype.name}. Cast it."
            )
        distance = apply_op("Sub", x, mean, name="sub")
        if distance.dtype.is_complex:
            product = apply_op("Mul", apply_op("Conj", distance), distance)
            square = apply_op("Real", product, Tout=distance.dtype.real_dtype)
        else:
            square = apply_op("Square", distance)
        return reduce_mean(square, axis, keepdims=keepdims)


def reduce_std(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The square root of reduce_variance; its gradient at a constant is NaN."""
    with name_scope(name or "reduce_std", None, [input_tensor]):
        variance = reduce_variance(input_tensor, axis, keepdims)
        return apply_op("Sqrt", variance)


# --- counting -------------------------------------------------------------------------


def count_nonzero(
    input_tensor: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
    dtype: Any = dtypes.int64,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
    input: Any = None,
) -> Any:
    """How many elements along ``axis`` are not 0 (see reduce_sum)."""
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    value = rules.one_of(input_tensor, input, "input_tensor", "input")
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    with name_scope(name, "count_nonzero", [value]):
        x = convert_to_tensor(value)
        zero = {"string": b"", "bool": False}.get(x.dtype.name, 0)
        differs = apply_op("NotEqual", x, convert_to_tensor(zero, x.dtype, "zeros"))
        ones = apply_op("Cast", differs, DstT=dtypes.int64)
        count = reduce_sum(ones, axis, keepdims=keep)
        wanted = dtypes.as_dtype(dtype)
        return count if count.dtype is wanted else apply_op("Cast", count, DstT=wanted)


def zero_fraction(value: Any, name: str | None = None) -> Any:
    """The share of elements that are 0, as float32; NaN for nothing."""
    with name_scope(name, "zero_fraction", [value]):
        x = convert_to_tensor(value, name="value")
        size = apply_op("Size", x, out_type=dtypes.int64)
        zeros = size - count_nonzero(x)
        share = apply_op("Cast", zeros, DstT=dtypes.float32) / apply_op(
            "Cast", size, DstT=dtypes.float32
        )
        return apply_op("Identity", share, name="fraction")


# --- norms ----------------------------------------------------------------------------

_VECTOR_NORMS = ("euclidean", 1, 2, np.inf)
_MATRIX_NORMS = ("euclidean", "fro", 1, 2, np.inf)


def norm(
    tensor: Any,
    ord: Any = "euclidean",
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    keep_dims: bool | None = None,
) -> Any:
    """The norm of vectors (``axis`` an int, or None: of all elements) or matrices.

    ``ord``: "euclidean", 1, 2, inf or any positive number for vectors; "euclidean",
    "fro", 1, 2 or inf for matrices (``axis`` a pair). The gradient of the euclidean
    norm of zeros is NaN.
    """
    keep = bool(rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    matrix = isinstance(axis, (tuple, list, np.ndarray)) and len(axis) != 1
    if matrix:
        axis = tuple(int(a) for a in axis)
        if len(axis) != 2 or axis[0] == axis[1]:
            raise ValueError(
                "'axis' must be None, an integer, or a tuple of 2 unique integers, got "
                f"{list(axis)}"
            )
        if ord not in _MATRIX_NORMS:
            raise ValueError(
                "'ord' must be a supported matrix norm in "
                f"{list(_MATRIX_NORMS)}, got {ord}"
            )
    elif ord not in _VECTOR_NORMS and (isinstance(ord, str) or not ord > 0):
        raise ValueError(f"'ord' must be a supported vector norm, got {ord}")
    with name_scope(name, "norm", [tensor]):
        x = convert_to_tensor(tensor)
        result = (_matrix_norm if matrix else _vector_norm)(x, ord, axis)
        if keep:
            return result
        dims = () if axis is None else np.atleast_1d(axis).tolist()
        return apply_op("Squeeze", result, squeeze_dims=list(dims))


def normalize(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, name: str | None = None
) -> tuple[Any, Any]:
    """(``tensor`` divided by its norm, the norm), which keeps the axes (see norm)."""
    with name_scope(name, "normalize", [tensor]):
        tensor = convert_to_tensor(tensor)
        size = norm(tensor, ord, axis, keepdims=True)
        if tensor.dtype.is_complex and not size.dtype.is_complex:
            size = apply_op("Cast", size, DstT=tensor.dtype)
        return tensor / size, size


def _square_norm(x: Any, axis: Any) -> Any:
    other = apply_op("Conj", x) if x.dtype.is_complex else x
    return apply_op("Sqrt", reduce_sum(x * other, axis, keepdims=True))


def _vector_norm(x: Any, ord: Any, axis: Any) -> Any:
    """A vector norm with its axis kept."""
    if ord in ("euclidean", 2):
        return _square_norm(x, axis)
    size = abs(x)
    if ord == 1:
        return reduce_sum(size, axis, keepdims=True)
    if ord == np.inf:
        return reduce_max(size, axis, keepdims=True)
    total = reduce_sum(apply_op("Pow", size, ord), axis, keepdims=True)
    return apply_op("Pow", total, 1.0 / ord)


def _matrix_norm(x: Any, ord: Any, axis: tuple[int, int]) -> Any:
    """A matrix norm with its axes kept."""
    if ord in ("euclidean", "fro"):
        return _square_norm(x, list(axis))
    if ord == 2:
        return _spectral_norm(x, axis)
    rows, columns = axis if ord == 1 else (axis[1], axis[0])
    return reduce_max(reduce_sum(abs(x), rows, keepdims=True), columns, keepdims=True)


def _spectral_norm(x: Any, axis: tuple[int, int]) -> Any:
    """The greatest singular value: of x transposed so that ``axis`` comes last."""
    if x._shape is None:
        raise ValueError("ord=2 of a matrix needs a tensor of known rank.")
    rank = len(x._shape)
    pair = [a % rank for a in axis]
    order = [i for i in range(rank) if i not in pair] + pair
    moved = apply_op("Transpose", x, order, name="transpose")
    values = apply_op("Svd", moved, compute_uv=False, full_matrices=False)[0]
    top = reduce_max(values, -1, keepdims=True)
    top = apply_op("ExpandDims", top, -1)
    return apply_op("Transpose", top, np.argsort(order).tolist(), name="transpose")


def l2_normalize(
    x: Any,
    axis: Any = None,
    epsilon: float = 1e-12,
    name: str | None = None,
    dim: Any = None,
) -> Any:
    """``x`` divided by its euclidean norm along ``axis``.

    Squared norms below ``epsilon`` count as ``epsilon``.
    """
    axis = rules.one_of(axis, dim, "axis", "dim")
    with name_scope(name, "l2_normalize", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        if x.dtype.is_complex:
            square = apply_op("Real", x * apply_op("Conj", x), Tout=x.dtype.real_dtype)
        else:
            square = apply_op("Square", x)
        total = apply_op("Maximum", reduce_sum(square, axis, keepdims=True), epsilon)
        inverse = apply_op("Rsqrt", total)
        if x.dtype.is_complex:
            inverse = apply_op("Cast", inverse, DstT=x.dtype)
        return apply_op("Mul", x, inverse, name=scope)


# --- moments --------------------------------------------------------------------------


def moments(
    x: Any,
    axes: Any,
    shift: Any = None,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Any, Any]:
    """(mean, variance) along ``axes``; float16 is computed in float32.

    ``shift`` is accepted and not used, as in TensorFlow.
    """
    keep = bool(rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    with name_scope(name, "moments", [x, axes]):
        x = convert_to_tensor(x, name="x")
        wide = x
        if x.dtype is dtypes.float16:
            wide = apply_op("Cast", x, DstT=dtypes.float32)
        mean = reduce_mean(wide, axes, keepdims=True, name="mean")
        still = apply_op("StopGradient", mean)
        square = apply_op("SquaredDifference", wide, still)
        variance = reduce_mean(square, axes, keepdims=True, name="variance")
        results = [mean, variance]
        if not keep:
            results = [_squeeze(t, axes) for t in results]
        if wide is not x:
            results = [apply_op("Cast", t, DstT=x.dtype) for t in results]
        return results[0], results[1]


def _squeeze(tensor: Any, axes: Any) -> Any:
    dims = np.atleast_1d(np.asarray(axes)).astype(int).tolist()
    return apply_op("Squeeze", tensor, squeeze_dims=dims)


def weighted_moments(
    x: Any,
    axes: Any,
    frequency_weights: Any,
    name: str | None = None,
    keep_dims: bool | None = None,
    keepdims: bool | None = None,
) -> tuple[Any, Any]:
    """(mean, variance) along ``axes``, each element counted by its weight.

    The weights broadcast against ``x``; 0 where they sum to 0.
    """
    keep = bool(rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims"))
    with name_scope(name, "weighted_moments", [x, frequency_weights, axes]):
        x = convert_to_tensor(x, name="x")
        weights = convert_to_tensor(frequency_weights, name="frequency_weights")
        half = x.dtype is dtypes.float16
        wide = apply_op("Cast", x, DstT=dtypes.float32) if half else x
        if weights.dtype is not wide.dtype:
            weights = apply_op("Cast", weights, DstT=wide.dtype)
        total = reduce_sum(
            weights * wide, axes, name="weighted_input_sum", keepdims=True
        )
        spread = weights + rules.zeros_of(wide)
        weight = reduce_sum(spread, axes, name="sum_of_weights", keepdims=True)
        mean = apply_op("DivNoNan", total, weight, name="div_no_nan")
        square = weights * apply_op("SquaredDifference", wide, mean)
        total = reduce_sum(square, axes, name="weighted_distsq", keepdims=True)
        variance = apply_op("DivNoNan", total, weight, name="div_no_nan")
        results = [mean, variance]
        if not keep:
            results = [_squeeze(t, axes) for t in results]
        if half:
            results = [apply_op("Cast", t, DstT=x.dtype) for t in results]
        return results[0], results[1]


def sufficient_statistics(
    x: Any,
    axes: Any,
    shift: Any = None,
    keep_dims: bool | None = None,
    name: str | None = None,
    keepdims: bool | None = None,
) -> tuple[Any, Any, Any, Any]:
    """(count, sum, sum of squares, shift) along ``axes``, of ``x - shift``."""
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    axes = sorted({int(a) for a in np.atleast_1d(np.asarray(axes))})
    with name_scope(name, "sufficient_statistics", [x, shift]):
        x = convert_to_tensor(x, name="x")
        count = _count(x, axes)
        if shift is not None:
            shift = convert_to_tensor(shift, x.dtype, name="shift")
            first = apply_op("Sub", x, shift)
            second = apply_op("SquaredDifference", x, shift)
        else:
            first, second = x, apply_op("Square", x)
        total = reduce_sum(first, axes, keepdims=keep, name="mean_ss")
        squares = reduce_sum(second, axes, keepdims=keep, name="var_ss")
        return count, total, squares, shift


def _count(x: Any, axes: list[int]) -> Any:
    """How many elements a reduction folds, as a tensor of x's dtype."""
    shape = x._shape
    if shape is not None and all(shape[a] is not None for a in axes):
        count = int(np.prod([shape[a] for a in axes], dtype=np.int64))
        return convert_to_tensor(count, x.dtype, name="count")
    extents = apply_op("GatherV2", apply_op("Shape", x), axes, 0)
    extents = apply_op("Cast", extents, DstT=x.dtype)
    return apply_op("Prod", extents, [0], keep_dims=False, name="count")


def normalize_moments(
    counts: Any, mean_ss: Any, variance_ss: Any, shift: Any, name: str | None = None
) -> tuple[Any, Any]:
    """(mean, variance) from what sufficient_statistics gives."""
    with name_scope(name, "normalize", [counts, mean_ss, variance_ss, shift]):
        divisor = apply_op("Reciprocal", counts, name="divisor")
        if shift is not None:
            shifted = apply_op("Mul", mean_ss, divisor, name="shifted_mean")
            mean = apply_op("AddV2", shifted, shift, name="mean")
        else:
            mean = shifted = apply_op("Mul", mean_ss, divisor, name="mean")
        variance = apply_op(
            "Sub",
            apply_op("Mul", variance_ss, divisor),
            apply_op("Square", shifted),
            name="variance",
        )
        return mean, variance
