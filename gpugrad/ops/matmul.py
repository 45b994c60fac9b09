"""Matrix products: MatMul, BatchMatMulV2, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from string import ascii_lowercase
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.dtypes import DType
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import Shape, View
from gpugrad.ops import rules, static
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import rank_of, shape_of

family = OpFamily()


# --- the library call -----------------------------------------------------------------


def multiply(
    xp: Any, outs: Any, a: Any, b: Any, conj_a: bool = False, conj_b: bool = False
) -> None:
    """``outs[0] = a @ b`` over broadcast batches; half types accumulate in float32."""
    (out,) = outs
    if out.size == 0:
        return
    if a.shape[-1] == 0:
        out[...] = 0
        return
    if conj_a:
        a = xp.conj(a)
    if conj_b:
        b = xp.conj(b)
    if out.dtype.itemsize == 2 and out.dtype.kind in "fV":
        out[...] = xp.matmul(a.astype(xp.float32), b.astype(xp.float32))
    else:
        xp.matmul(a, b, out=out)


def _labels(rank: int) -> tuple[str, str, str]:
    """Einstein's notation of a product over the same batches: "aij", "ajk", "aik"."""
    batch = ascii_lowercase[: rank - 2]
    return batch + "IJ", batch + "JK", batch + "IK"


def product(
    b: Builder,
    x: View,
    y: View,
    dtype: DType,
    conj_x: bool = False,
    conj_y: bool = False,
) -> View:
    """The matrix products of the last two axes of two views, batches broadcast."""
    if x.shape[-1] != y.shape[-2]:
        raise ValueError(
            f"Matrix size-incompatible: In[0]: {list(x.shape)}, In[1]: {list(y.shape)}."
        )
    batch: Shape = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    if y.rank == 2 and x.rank > 2 and x.is_contiguous:
        # One product of a tall matrix, not a batch of small ones.
        flat = x.reshape((prod(x.shape[:-1]), x.shape[-1]))
        assert flat is not None
        (tall,) = b.call(
            "matmul",
            multiply,
            (flat, y),
            ((dtype, (flat.shape[0], y.shape[-1])),),
            flops=2 * flat.size * y.shape[-1],
            labels=_labels(2),
            conj_a=conj_x,
            conj_b=conj_y,
        )
        return b.reshape(tall, (*x.shape[:-1], y.shape[-1]))
    (out,) = b.call(
        "matmul",
        multiply,
        (x, y),
        ((dtype, (*batch, x.shape[-2], y.shape[-1])),),
        flops=2 * prod((*batch, *x.shape[-2:], y.shape[-1])),
        labels=_labels(x.rank) if x.shape[:-2] == y.shape[:-2] else (),
        conj_a=conj_x,
        conj_b=conj_y,
    )
    return out


def swapped(view: View) -> View:
    """The view with its last two axes exchanged."""
    last = view.rank - 1
    return view.transpose((*range(last - 1), last, last - 1))


# --- MatMul ---------------------------------------------------------------------------


def _sides(shape: shapes.Partial, transposed: bool) -> tuple[int | None, int | None]:
    """(rows, columns) of a matrix as it enters the product."""
    if shape is None:
        return None, None
    rows, columns = shape[-2:]
    return (columns, rows) if transposed else (rows, columns)


def _infer_matmul(op: Any) -> Any:
    a, b = op.inputs
    rules.require_dtype(op, 0, rules.NUMBERS)
    rules.require_rank(a._shape, 2)
    rules.require_rank(b._shape, 2)
    rows, inner = _sides(a._shape, op.attrs["transpose_a"])
    inner_b, columns = _sides(b._shape, op.attrs["transpose_b"])
    rules.merge_dimensions(inner, inner_b)
    return ((a.dtype, (rows, columns)),)


def _lower_matmul(b: Builder, site: Site) -> View:
    x, y = site.inputs
    x = swapped(x) if site.attrs["transpose_a"] else x
    y = swapped(y) if site.attrs["transpose_b"] else y
    return product(b, x, y, site.dtypes[0])


family.op(
    "MatMul",
    "a b",
    attrs={"transpose_a": False, "transpose_b": False},
    infer=_infer_matmul,
    lower=_lower_matmul,
)


@family.gradient("MatMul")
def _matmul_grad(op: Any, dy: Any) -> Any:
    a, b = (rules.conj(t) for t in op.inputs)
    ta, tb = op.attrs["transpose_a"], op.attrs["transpose_b"]
    multiply = _Product(op.graph, "MatMul", "transpose_a", "transpose_b")
    da = multiply(b, dy, tb, True) if ta else multiply(dy, b, False, not tb)
    db = multiply(dy, a, True, ta) if tb else multiply(a, dy, not ta, False)
    return [da, db]


def product_factors(gradient: Tensor) -> tuple[Tensor, Tensor] | None:
    """The factors of ``a.T @ b``, as of the gradient of weights; None if it is none."""
    op = gradient.op
    while op.type == "Identity":
        op = op.inputs[0].op
    if op.type != "MatMul" or not op.attrs["transpose_a"] or op.attrs["transpose_b"]:
        return None
    a, b = op.inputs
    return a, b


class _Product:
    """Adds products of one op type to a graph, under the name MatMul."""

    def __init__(self, graph: Any, op_type: str, first: str, second: str) -> None:
        self._graph, self._type, self._attrs = graph, op_type, (first, second)

    def __call__(self, a: Any, b: Any, turn_a: bool, turn_b: bool) -> Any:
        attrs = dict(zip(self._attrs, (turn_a, turn_b)))
        return self._graph.apply(self._type, a, b, name="MatMul", **attrs)


# --- BatchMatMulV2 --------------------------------------------------------------------


def _infer_batch(op: Any) -> Any:
    x, y = op.inputs
    rules.require_dtype(op, 0, rules.NUMBERS)
    rules.require_rank(x._shape, 2, least=True)
    rules.require_rank(y._shape, 2, least=True)
    rows, inner = _sides(x._shape, op.attrs["adj_x"])
    inner_y, columns = _sides(y._shape, op.attrs["adj_y"])
    rules.merge_dimensions(inner, inner_y)
    if x._shape is None or y._shape is None:
        return ((x.dtype, None),)
    batch = shapes.broadcast(x._shape[:-2], y._shape[:-2])
    assert batch is not None
    return ((x.dtype, (*batch, rows, columns)),)


def _lower_batch(b: Builder, site: Site) -> View:
    x, y = site.inputs
    adj_x, adj_y = site.attrs["adj_x"], site.attrs["adj_y"]
    x = swapped(x) if adj_x else x
    y = swapped(y) if adj_y else y
    dtype = site.dtypes[0]
    is_complex = dtype.is_complex
    return product(b, x, y, dtype, adj_x and is_complex, adj_y and is_complex)


family.op(
    "BatchMatMulV2",
    "x y",
    attrs={"adj_x": False, "adj_y": False},
    infer=_infer_batch,
    lower=_lower_batch,
)


@family.gradient("BatchMatMulV2")
def _batch_grad(op: Any, dy: Any) -> Any:
    x, y = op.inputs
    adj_x, adj_y = op.attrs["adj_x"], op.attrs["adj_y"]
    multiply = _Product(op.graph, "BatchMatMulV2", "adj_x", "adj_y")
    dx = multiply(y, dy, adj_y, True) if adj_x else multiply(dy, y, False, not adj_y)
    dz = multiply(dy, x, True, adj_x) if adj_y else multiply(x, dy, not adj_x, False)
    batches = [None if t._shape is None else t._shape[:-2] for t in (x, y)]
    if batches[0] == batches[1] and shapes.is_known(batches[0]):
        return [dx, dz]
    return sum_batches(op.graph, (x, y), (dx, dz))


def sum_batches(graph: Any, xs: Sequence[Any], grads: Sequence[Any]) -> list[Any]:
    """The gradients summed over the batches along which their inputs repeat."""
    sizes = [static.shape_of(x) for x in xs]
    parts = [s[:-2] for s in sizes]
    axes = graph.apply("BroadcastGradientArgs", *parts)
    results = []
    for grad, axis, size in zip(grads, axes, sizes):
        grad = graph.apply("Sum", grad, axis, keep_dims=False)
        results.append(graph.apply("Reshape", grad, size))
    return results


# --- matmul ---------------------------------------------------------------------------


@family.numpy_function(np.matmul)
def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    adjoint_a: bool = False,
    adjoint_b: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    output_type: Any = None,
    name: str | None = None,
) -> Any:
    """The matrix product of the last two axes; the axes before them broadcast.

    Shapes:  a [..., m, k], b [..., k, n], result [..., m, n]; at least rank 2 each.
    Dtypes:  any number, the same on both sides; float16 and bfloat16 accumulate in
             float32. ``output_type`` casts the operands first.
    ``adjoint_*`` transposes and conjugates. The ``*_is_sparse`` hints change nothing.
    """
    for side, turn, adjoint in (
        ("a", transpose_a, adjoint_a),
        ("b", transpose_b, adjoint_b),
    ):
        if turn and adjoint:
            raise ValueError(
                f"Only one of `transpose_{side}` and `adjoint_{side}` can be True. "
                f"Received `transpose_{side}`=True, `adjoint_{side}`=True."
            )
    with name_scope(name, "MatMul", [a, b]) as scope:
        a, b = _operands(a, b)
        if output_type is not None:
            wanted = dtypes.as_dtype(output_type)
            if wanted is not a.dtype:
                a, b = (apply_op("Cast", t, DstT=wanted) for t in (a, b))
        ranks = [None if t._shape is None else len(t._shape) for t in (a, b)]
        batch = any(r is None or r > 2 for r in ranks)
        is_complex = a.dtype.is_complex
        # MatMul knows transposes, BatchMatMulV2 adjoints: conjugate for the other.
        other = (transpose_a, transpose_b) if batch else (adjoint_a, adjoint_b)
        if is_complex:
            a = apply_op("Conj", a) if other[0] else a
            b = apply_op("Conj", b) if other[1] else b
        turn_a, turn_b = transpose_a or adjoint_a, transpose_b or adjoint_b
        if batch:
            return apply_op(
                "BatchMatMulV2", a, b, adj_x=turn_a, adj_y=turn_b, name=scope
            )
        return apply_op(
            "MatMul", a, b, transpose_a=turn_a, transpose_b=turn_b, name=scope
        )


def _operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Both as tensors; a Python value takes the dtype of the other, if it is one."""
    if not isinstance(a, Tensor):
        like = b.dtype if isinstance(b, Tensor) else None
        a = convert_to_tensor(a, dtype_hint=like, name="a")
    if not isinstance(b, Tensor):
        b = convert_to_tensor(b, dtype_hint=a.dtype, name="b")
    return a, b


def matvec(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    adjoint_a: bool = False,
    a_is_sparse: bool = False,
    b_is_sparse: bool = False,
    name: str | None = None,
) -> Any:
    """The product of matrices a [..., m, k] and vectors b [..., k]: [..., m]."""
    with name_scope(name, "MatVec", [a, b]):
        a, b = _operands(a, b)
        column = apply_op("ExpandDims", b, -1)
        result = matmul(
            a, column, transpose_a=transpose_a, adjoint_a=adjoint_a,
            a_is_sparse=a_is_sparse, b_is_sparse=b_is_sparse,
        )  # fmt: skip
        return apply_op("Squeeze", result, squeeze_dims=[-1])


# --- tensordot ------------------------------------------------------------------------


@family.numpy_function(np.tensordot)
def tensordot(a: Any, b: Any, axes: Any = 2, name: str | None = None) -> Any:
    """The sum of products over pairs of axes.

    ``axes``: a number n (the last n axes of a with the first n of b), or two lists
    of axes of a and b. The result has the other axes of a, then those of b.
    """
    with name_scope(name, "Tensordot", [a, b]) as scope:
        a, b = _operands(a, b)
        if a._shape is None or b._shape is None:
            return _tensordot_of_any_rank(a, b, axes, scope)
        axes_a, axes_b = _contracted(a, b, axes)
        free_a = [i for i in range(len(a._shape)) if i not in axes_a]
        free_b = [i for i in range(len(b._shape)) if i not in axes_b]
        left, sizes_a = _as_matrix(a, free_a, axes_a, False)
        right, sizes_b = _as_matrix(b, free_b, axes_b, True)
        result = matmul(left, right)
        if len(free_a) == 1 == len(free_b):
            return result
        if isinstance(sizes_a, list) and isinstance(sizes_b, list):
            sizes = sizes_a + sizes_b
            if result._shape == tuple(sizes):
                return result
        else:
            sizes = apply_op("ConcatV2", [sizes_a, sizes_b], 0, name="concat")
        known = [a._shape[i] for i in free_a] + [b._shape[i] for i in free_b]
        result = apply_op("Reshape", result, sizes, name=scope)
        result.set_shape(known)
        return result


def _tensordot_of_any_rank(a: Any, b: Any, axes: Any, scope: str) -> Any:
    """tensordot where a rank, and so the number of free axes, is known only later."""
    if isinstance(axes, (int, np.integer)):
        rank = rank_of(a)
        pair: Any = apply_op("Range", rank - axes, rank, 1), list(range(axes))
    else:
        pair = [np.atleast_1d(np.asarray(part, np.int32)) for part in axes]
    sides: list[Any] = []
    for tensor, part in zip((a, b), pair, strict=True):
        rank = rank_of(tensor)
        summed = apply_op("FloorMod", part, rank)
        free, _ = apply_op("ListDiff", apply_op("Range", 0, rank, 1), summed)
        sizes = apply_op("GatherV2", shape_of(tensor), free, 0)
        order = [summed, free] if tensor is b and sides else [free, summed]
        turned = apply_op("Transpose", tensor, apply_op("ConcatV2", order, 0))
        count = apply_op("Prod", sizes, [0], keep_dims=False)
        rest = apply_op("GatherV2", shape_of(tensor), summed, 0)
        rest = apply_op("Prod", rest, [0], keep_dims=False)
        matrix = [rest, count] if order[0] is summed else [count, rest]
        sides.append((apply_op("Reshape", turned, matrix), sizes))
    (left, sizes_a), (right, sizes_b) = sides
    sizes = apply_op("ConcatV2", [sizes_a, sizes_b], 0, name="concat")
    return apply_op("Reshape", matmul(left, right), sizes, name=scope)


def _contracted(a: Any, b: Any, axes: Any) -> tuple[list[int], list[int]]:
    """The axes of a and of b that are summed over, in pairs, from 0."""
    if isinstance(axes, (int, np.integer)):
        if axes < 0:
            raise ValueError(f"`axes` must be at least 0. Received: {axes}.")
        for tensor in (a, b):
            if axes > len(tensor._shape):
                raise ValueError(
                    "`axes` must not be larger than the number of dimensions of tensor "
                    f"{tensor}.  Received {axes}, vs tensor dimensions "
                    f"{len(tensor._shape)}."
                )
        rank = len(a._shape)
        return list(range(rank - axes, rank)), list(range(axes))
    if len(axes) != 2:
        raise ValueError(
            f"`axes` must be an integer or have length 2. Received {axes}."
        )
    pair = [np.atleast_1d(np.asarray(part, np.int64)).tolist() for part in axes]
    if len(pair[0]) != len(pair[1]):
        raise ValueError(
            "Different number of contraction axes `a` and `b`, "
            f"{len(pair[0])} != {len(pair[1])}."
        )
    first, second = (
        [shapes.axis(i, len(t._shape), "axes") for i in part]
        for part, t in zip(pair, (a, b))
    )
    return first, second


def _as_matrix(
    tensor: Any, free: list[int], summed: list[int], summed_first: bool
) -> tuple[Any, Any]:
    """The tensor as a matrix [free, summed], or turned; the sizes of the free axes."""
    order = summed + free if summed_first else free + summed
    shape = tensor._shape
    if order != list(range(len(shape))):
        tensor = apply_op("Transpose", tensor, order, name="transpose")
    if shapes.is_known(shape):
        free_sizes: Any = [shape[i] for i in free]
        sides = [prod(free_sizes), prod(shape[i] for i in summed)]
        target: Any = sides[::-1] if summed_first else sides
        if tensor._shape == tuple(target):
            return tensor, free_sizes
        return apply_op("Reshape", tensor, target), free_sizes
    sizes = apply_op("Shape", tensor, out_type=dtypes.int32)
    start = len(summed) if summed_first else 0
    free_sizes = sizes[start : start + len(free)]
    summed_sizes = sizes[: len(summed)] if summed_first else sizes[len(free) :]
    parts = [
        apply_op("Prod", p, [0], keep_dims=False) for p in (free_sizes, summed_sizes)
    ]
    target = apply_op(
        "Pack", parts[::-1] if summed_first else parts, axis=0, name="stack"
    )
    return apply_op("Reshape", tensor, target), free_sizes


# --- NumPy's products -----------------------------------------------------------------


@family.numpy_function(np.dot)
def _dot(a: Any, b: Any, out: Any = None) -> Any:
    """NumPy's dot: the last axis of a with the last but one of b."""
    if out is not None:
        raise TypeError("A symbolic tensor cannot be written into: leave out= away.")
    a, b = _operands(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return apply_op("Mul", a, b)
    if a.ndim == 2 == b.ndim:
        return matmul(a, b)
    return tensordot(a, b, [[-1], [-1 if b.ndim == 1 else -2]])


@family.numpy_function(np.vdot)
def _vdot(a: Any, b: Any) -> Any:
    """The sum of conj(a) * b over all elements."""
    a, b = _operands(a, b)
    flat = [apply_op("Reshape", t, [-1]) for t in (rules.conj(a), b)]
    return tensordot(*flat, 1)


@family.numpy_function(np.inner)
def _inner(a: Any, b: Any) -> Any:
    """The sum of products over the last axes."""
    a, b = _operands(a, b)
    if a.ndim == 0 or b.ndim == 0:
        return apply_op("Mul", a, b)
    return tensordot(a, b, [[-1], [-1]])


@family.numpy_function(np.outer)
def _outer(a: Any, b: Any, out: Any = None) -> Any:
    """The products of every element of a with every element of b."""
    if out is not None:
        raise TypeError("A symbolic tensor cannot be written into: leave out= away.")
    a, b = _operands(a, b)
    return apply_op("Reshape", a, [-1, 1]) * apply_op("Reshape", b, [1, -1])
