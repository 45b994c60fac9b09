"""Reductions over axes: Sum, Mean, Max, Min, Prod, All, Any, EuclideanNorm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.graph import constant
from gpugrad.graph.build import apply_op, graph_of
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import View
from gpugrad.ops import rules, static
from gpugrad.ops.family import FOLD_LIMIT, OpFamily, axes_input, is_known

family = OpFamily()

_NUMERIC = rules.NUMBERS
_ORDERED = rules.REAL
_INPUT = Input("input")


# --- what all reductions share --------------------------------------------------------


def _infer(op: Any) -> Any:
    x, axes = op.inputs
    keep = op.attrs["keep_dims"]
    rules.require_dtype(op, 1, (dtypes.int32, dtypes.int64))
    if axes._shape is not None and len(axes._shape) > 1:
        raise ValueError(
            f"Shape must be at most rank 1 but is rank {len(axes._shape)}, of the "
            "reduction indices."
        )
    value = constant.constant_value(axes)
    if value is None or x._shape is None:
        shape = (None,) * len(x._shape) if keep and x._shape is not None else None
        return ((x.dtype, shape),)
    rank = len(x._shape)
    reduced = {shapes.axis(int(a), rank) for a in value.reshape(-1)}
    if keep:
        return ((x.dtype, tuple(1 if i in reduced else n for i, n in _numbered(x))),)
    return ((x.dtype, tuple(n for i, n in _numbered(x) if i not in reduced)),)


def _numbered(x: Tensor) -> Any:
    return enumerate(x._shape)  # type: ignore[arg-type]


def _infer_of(allowed: tuple[dtypes.DType, ...]) -> Callable[[Any], Any]:
    def infer(op: Any) -> Any:
        rules.require_dtype(op, 0, allowed)
        return _infer(op)

    return infer


def _value_of(fold: Callable[..., Any]) -> Callable[..., Any]:
    """The value of a small integer or boolean reduction, for shape arithmetic."""

    def value(op: Any, inputs: list[Any]) -> Any:
        x, axes = inputs
        if not is_known(x) or not is_known(axes) or x.dtype.kind not in "iub":
            return None
        if x.size > FOLD_LIMIT or x.size == 0:
            return None
        axis = tuple({int(a) % max(x.ndim, 1) for a in axes.reshape(-1)})
        result = fold(x, axis=axis, keepdims=op.attrs["keep_dims"])
        return [np.asarray(result).astype(x.dtype)]

    return value


def reduced_axes(b: Builder, site: Site) -> tuple[int, ...]:
    """The axes that a reduction folds, from 0 and in order."""
    rank = site.inputs[0].rank
    axes = [shapes.axis(a, rank) for a in b.integers(site.inputs[1])]
    if len(set(axes)) < len(axes):
        raise ValueError(f"The axes to reduce over name one twice: {axes}.")
    return tuple(sorted(axes))


def _lower_of(kind: str) -> Callable[..., View]:
    def lower(b: Builder, site: Site) -> View:
        x = site.inputs[0]
        axes = reduced_axes(b, site)
        keep = site.attrs["keep_dims"]
        if all(x.shape[a] == 1 for a in axes):
            return x if keep else x.drop_axes(axes)
        return b.reduce(kind, x, axes, keep)

    return lower


def _reduction(
    op_type: str,
    kind: str,
    allowed: tuple[dtypes.DType, ...] = _NUMERIC,
    source: Input = _INPUT,
    **rules_: Any,
) -> None:
    rules_.setdefault("lower", _lower_of(kind))
    family.op(
        op_type,
        (source, axes_input("reduction_indices")),
        attrs={"keep_dims": False},
        infer=_infer_of(allowed),
        **rules_,
    )


def all_axes(x: Any) -> Any:
    """Every axis of ``x``, as the ``axis=None`` of the public functions means it.

    A constant where the rank is known; else, and for scalars and Python values, a
    Range over the rank, under the names that TensorFlow gives them.
    """
    # A variable has a static shape too, which may be unknown.
    shape: shapes.Partial = x._shape if hasattr(x, "_shape") else np.shape(x)
    graph = graph_of(x)
    if shape is None:
        rank = graph.apply("Rank", x)
    elif shape and isinstance(x, Tensor):
        return rules.const(graph, np.arange(len(shape)), dtypes.int32)
    else:
        rank = rules.const(graph, len(shape), dtypes.int32, "Rank")
    return graph.apply("Range", 0, rank, 1, name="range")


def _reduce(op_type: str, x: Any, axis: Any, keepdims: Any, name: str | None) -> Any:
    keep = bool(keepdims)
    if axis is not None:
        return apply_op(op_type, x, axis, keep_dims=keep, name=name)
    result = apply_op(op_type, x, all_axes(x), keep_dims=keep, name=name)
    if not keep and isinstance(result, Tensor):
        result.set_shape(())
    return result


def kept_shape(graph: Any, input_shape: Any, axes: Any) -> Any:
    """The shape that a reduction over ``axes`` has with its axes kept as 1.

    A Python list where everything is known, else a tensor.
    """
    sizes, reduced = constant.sizes(input_shape), constant.constant_value(axes)
    if sizes is not None and None not in sizes and reduced is not None:
        result = list(sizes)
        for axis in reduced.reshape(-1):
            result[int(axis)] = 1
        return result
    if axes.dtype is not dtypes.int32:
        axes = graph.apply("Cast", axes, DstT=dtypes.int32)
    rank = static.size_of(input_shape)
    axes = (axes + rank) % rank
    ones_shape = static.shape_of(axes)
    indices = graph.apply("Range", 0, rank, 1, name="range")
    ones = graph.apply("Fill", ones_shape, np.int32(1), name="ones")
    return graph.apply("DynamicStitch", [indices, axes], [input_shape, ones])


# --- Sum ------------------------------------------------------------------------------

_reduction("Sum", "sum", value=_value_of(np.sum))


@family.gradient("Sum")
def _sum_grad(op: Any, dy: Any) -> Any:
    return [_spread(op, dy), None]


def _spread(op: Any, dy: Any) -> Any:
    """``dy`` repeated over the reduced axes of ``op``'s input."""
    graph, (x, axes) = op.graph, op.inputs
    shape, reduced = x._shape, constant.constant_value(axes)
    if shape is not None and reduced is not None:
        rank = len(shape)
        if np.array_equal(reduced, np.arange(rank)):
            dy = graph.apply("Reshape", dy, [1] * rank)
            if None in shape:
                sizes = graph.apply("Shape", x, out_type=dtypes.int32)
            else:
                sizes = rules.const(graph, shape, dtypes.int32)
            return graph.apply("Tile", dy, sizes)
        if None not in shape:
            kept = list(shape)
            for axis in reduced.reshape(-1):
                kept[int(axis)] = 1
            # TensorFlow computes the multiples by these two nodes.
            floor = graph.apply("Maximum", np.asarray(kept, np.int32), 1)
            copies = graph.apply(
                "FloorDiv", np.asarray(shape, np.int32), floor, name="floordiv"
            )
            dy = graph.apply("Reshape", dy, kept)
            copies = constant.constant_value(copies)
            return graph.apply("Tile", dy, copies)
    sizes = static.shape_of(x)
    if not op.attrs["keep_dims"]:
        dy = graph.apply("Reshape", dy, kept_shape(graph, sizes, axes))
    return graph.apply("BroadcastTo", dy, sizes)


def reduce_sum(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """The sum of the elements along ``axis``.

    Shapes:  ``axis`` is an int, a list or a tensor of them, counted from the end if
             negative; None for all. ``keepdims`` keeps the axes with extent 1.
    Dtypes:  any number; float16 and bfloat16 accumulate in float32. Integers wrap.
    Empty:   0.
    """
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Sum", input_tensor, axis, keep, name)


# --- Mean -----------------------------------------------------------------------------


def _lower_mean(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    axes, keep = reduced_axes(b, site), site.attrs["keep_dims"]
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    if count == 1:
        return x if keep else x.drop_axes(axes)
    dtype = x.dtype
    if dtype.is_integer:
        wide, whole = dtypes.int64, max(count, 1)
    else:
        wide = dtypes.float32 if rules.is_half(dtype) else dtype

    def mean(total: Expr) -> Expr:
        if dtype.is_integer:
            return scalar.cast(scalar.truncdiv(total, whole), dtype)
        return scalar.cast(total / count, dtype)

    return b.reduce(
        "sum", x, axes, keep, before=lambda e: scalar.cast(e, wide), after=mean
    )


_reduction("Mean", "sum", lower=_lower_mean)


@family.gradient("Mean")
def _mean_grad(op: Any, dy: Any) -> Any:
    graph, (x, axes), y = op.graph, op.inputs, op.outputs[0]
    spread = _spread(op, dy)
    if shapes.is_known(x._shape) and shapes.is_known(y._shape):
        size_in = int(np.prod(x._shape, dtype=np.int64))
        size_out = int(np.prod(y._shape, dtype=np.int64))
        count = size_in // max(size_out, 1)
        if rules.is_half(spread.dtype) and count > float(spread.dtype.max):
            return [spread * (1 / count), None]
        return [spread / rules.const(graph, count, spread.dtype), None]
    sizes = static.shape_of(x)
    rank = static.size_of(sizes)
    if axes.dtype is not dtypes.int32:
        axes = graph.apply("Cast", axes, DstT=dtypes.int32)
    axes = (axes + rank) % rank
    extents = graph.apply("GatherV2", sizes, axes, 0)
    count = graph.apply("Prod", extents, all_axes(extents), keep_dims=False)
    return [spread / graph.apply("Cast", count, DstT=spread.dtype), None]


def reduce_mean(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """The mean of the elements along ``axis`` (see reduce_sum).

    Integers divide towards zero. The mean of nothing is NaN.
    """
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Mean", input_tensor, axis, keep, name)


# --- Max, Min -------------------------------------------------------------------------

_reduction("Max", "max", _ORDERED, value=_value_of(np.max))
_reduction("Min", "min", _ORDERED, value=_value_of(np.min))


@family.gradient("Max", "Min")
def _extremum_grad(op: Any, dy: Any) -> Any:
    """The elements that equal the extremum share the gradient equally."""
    graph, (x, axes), y = op.graph, op.inputs, op.outputs[0]
    sizes = static.shape_of(x)
    if op.attrs["keep_dims"]:
        kept = static.shape_of(y)
    else:
        kept = kept_shape(graph, sizes, axes)
        y = graph.apply("Reshape", y, kept)
        dy = graph.apply("Reshape", dy, kept)
    chosen = graph.apply("Cast", graph.apply("Equal", y, x), DstT=dy.dtype)
    count = graph.apply("Sum", chosen, axes, keep_dims=False)
    return [chosen / graph.apply("Reshape", count, kept) * dy, None]


def reduce_max(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """The greatest element along ``axis`` (see reduce_sum).

    NaN if any is NaN. The maximum of nothing is -inf, or the least integer. Equal
    maxima share the gradient equally.
    """
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Max", input_tensor, axis, keep, name)


def reduce_min(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """The least element along ``axis`` (see reduce_max, with the signs turned)."""
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Min", input_tensor, axis, keep, name)


# --- Prod -----------------------------------------------------------------------------

_reduction("Prod", "prod", value=_value_of(np.prod))


@family.gradient("Prod")
def _prod_grad(op: Any, dy: Any) -> Any:
    """dy times the product of the other elements, exact where some are zero.

    The reduced axes become one, and the product of what stands before an element
    there is multiplied by that of what stands after it.
    """
    graph, (x, axes) = op.graph, op.inputs
    sizes = static.shape_of(x)
    flat = graph.apply("Reshape", axes, [-1])
    if not op.attrs["keep_dims"]:
        dy = graph.apply("Reshape", dy, kept_shape(graph, sizes, axes))
    dy = graph.apply("BroadcastTo", dy, sizes)
    perm, counts = _reduced_first(graph, x, sizes, flat)
    moved = graph.apply("Transpose", x, perm, name="transpose")
    moved_sizes = static.shape_of(moved)
    table = graph.apply("Reshape", moved, counts)
    before = graph.apply("Cumprod", table, 0, exclusive=True)
    after = graph.apply("Cumprod", table, 0, exclusive=True, reverse=True)
    others = graph.apply("Reshape", rules.conj(before) * rules.conj(after), moved_sizes)
    inverse = graph.apply("InvertPermutation", perm)
    others = graph.apply("Transpose", others, inverse, name="transpose")
    return [graph.apply("Reshape", dy * others, sizes), None]


def _reduced_first(graph: Any, x: Any, sizes: Any, axes: Any) -> Any:
    """A permutation with ``axes`` first; the sizes of the two parts, multiplied."""
    rank = x.ndim
    known = constant.constant_value(axes)
    if rank is not None and known is not None:
        first = [int(a) % max(rank, 1) for a in known]
        rest = [i for i in range(rank) if i not in first]
        perm = rules.const(graph, first + rest, dtypes.int32)
        parts = [rules.const(graph, part, dtypes.int32) for part in (first, rest)]
    else:
        count = graph.apply("Rank", x)
        if axes.dtype is not dtypes.int32:
            axes = graph.apply("Cast", axes, DstT=dtypes.int32)
        first = (axes + count) % count
        every = graph.apply("Range", 0, count, 1, name="range")
        rest, _ = graph.apply("ListDiff", every, first)
        perm = graph.apply("ConcatV2", [first, rest], 0, name="concat")
        parts = [first, rest]
    counts = []
    for part in parts:
        extents = graph.apply("GatherV2", sizes, part, 0)
        counts.append(graph.apply("Prod", extents, [0], keep_dims=False))
    return perm, counts


def reduce_prod(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """The product of the elements along ``axis`` (see reduce_sum); 1 for nothing."""
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Prod", input_tensor, axis, keep, name)


# --- All, Any -------------------------------------------------------------------------

_BOOL = Input("input", attr=None, dtype=dtypes.bool_)
_reduction("All", "all", (dtypes.bool_,), _BOOL, value=_value_of(np.all))
_reduction("Any", "any", (dtypes.bool_,), _BOOL, value=_value_of(np.any))


def reduce_all(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """True where every element along ``axis`` is True (see reduce_sum)."""
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("All", input_tensor, axis, keep, name)


def reduce_any(
    input_tensor: Any,
    axis: Any = None,
    keepdims: bool | None = None,
    name: str | None = None,
    reduction_indices: Any = None,
    keep_dims: bool | None = None,
) -> Any:
    """True where any element along ``axis`` is True (see reduce_sum)."""
    axis = rules.one_of(axis, reduction_indices, "axis", "reduction_indices")
    keep = rules.one_of(keepdims, keep_dims, "keepdims", "keep_dims")
    return _reduce("Any", input_tensor, axis, keep, name)


# --- EuclideanNorm --------------------------------------------------------------------


def _lower_euclidean(b: Builder, site: Site) -> View:
    x, dtype = site.inputs[0], site.dtypes[0]
    wide = dtype
    if rules.is_half(dtype):
        wide = dtypes.float32
    elif dtype.is_integer:
        wide = dtypes.float64

    def square(element: Expr) -> Expr:
        element = scalar.cast(element, wide)
        return element * (scalar.conj(element) if wide.is_complex else element)

    return b.reduce(
        "sum",
        x,
        reduced_axes(b, site),
        site.attrs["keep_dims"],
        before=square,
        after=lambda s: scalar.cast(scalar.sqrt(s), dtype),
    )


_reduction("EuclideanNorm", "sum", lower=_lower_euclidean)


@family.gradient("EuclideanNorm")
def _euclidean_grad(op: Any, dy: Any) -> Any:
    (x, axes), y = op.inputs, op.outputs[0]
    if not op.attrs["keep_dims"]:
        kept = kept_shape(op.graph, static.shape_of(x), axes)
        y = op.graph.apply("Reshape", y, kept)
        dy = op.graph.apply("Reshape", dy, kept)
    return [x / (y / dy), None]


def reduce_euclidean_norm(
    input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None
) -> Any:
    """The square root of the sum of squared magnitudes along ``axis``.

    The gradient of the norm of zeros is NaN.
    """
    return _reduce("EuclideanNorm", input_tensor, axis, keepdims, name)
