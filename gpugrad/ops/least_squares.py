"""Least squares, pseudo-inverses and ranks of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.diagonal import eye
from gpugrad.ops.factor import svd
from gpugrad.ops.family import OpFamily
from gpugrad.ops.linalg import batch_and_sides, cholesky_solve, turned, wide
from gpugrad.ops.matmul import matmul
from gpugrad.ops.reduce import reduce_max
from gpugrad.ops.static import shape_of

family = OpFamily()


# --- MatrixSolveLs --------------------------------------------------------------------


def _infer(op: Operation) -> Any:
    batch, rows, columns = batch_and_sides(op)
    others, right_rows, right = batch_and_sides(op, 1)
    rules.merge_dimensions(rows, right_rows)
    rules.require_rank(op.inputs[2]._shape, 0)
    if batch is None or others is None:
        return ((op.inputs[0].dtype, None),)
    both = rules.merge_shapes(tuple(batch), tuple(others))
    assert both is not None
    return ((op.inputs[0].dtype, (*both, columns, right)),)


def _solve(xp: Any, outs: Any, a: Any, b: Any, regularizer: Any, fast: bool) -> None:
    (out,) = outs
    if out.size == 0 or a.size == 0:
        out[...] = 0
        return
    a, b = wide(xp, a), wide(xp, b)
    if not fast:
        # By the singular values, which forgives a deficient rank.
        out[...] = xp.matmul(xp.linalg.pinv(a), b)
        return
    tall = a.shape[-2] >= a.shape[-1]
    adjoint = turned(xp, a)
    square = xp.matmul(adjoint, a) if tall else xp.matmul(a, adjoint)
    square = square + regularizer.astype(a.dtype) * xp.eye(
        square.shape[-1], dtype=a.dtype
    )
    try:
        if tall:
            out[...] = xp.linalg.solve(square, xp.matmul(adjoint, b))
        else:
            out[...] = xp.matmul(adjoint, xp.linalg.solve(square, b))
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None, None, "The matrix has no full rank. Use fast=False."
        ) from None


def _lower(b: Builder, site: Site) -> View:
    a, right, regularizer = site.inputs
    if a.shape[:-1] != right.shape[:-1] or a.rank < 2:
        raise ValueError(
            f"Input matrix and rhs are incompatible: {list(a.shape)} and "
            f"{list(right.shape)}."
        )
    shape = (*a.shape[:-2], a.shape[-1], right.shape[-1])
    (out,) = b.call(
        "matrix_solve_ls",
        _solve,
        [a, right, regularizer],
        [(a.dtype, shape)],
        fast=site.attrs["fast"],
    )
    return out


family.op(
    "MatrixSolveLs",
    (
        Input("matrix"),
        Input("rhs"),
        Input("l2_regularizer", attr=None, dtype=dtypes.float64),
    ),
    attrs={"fast": True},
    infer=_infer,
    lower=_lower,
)


@family.gradient("MatrixSolveLs")
def _solve_grad(op: Operation, dy: Tensor) -> Any:
    """With C = AᴴA + λ, X = C⁻¹AᴴB; a wide A has X = AᴴD⁻¹B, D = AAᴴ + λ."""
    if not op.attrs["fast"]:
        raise ValueError("Gradient not defined for fast=False")
    (a, b, regularizer), (x,) = op.inputs, op.outputs
    rows, columns = a.shape[-2:].as_list()
    if rows is None or columns is None:
        raise ValueError(
            "The gradient of lstsq needs to know the size of the matrix; use "
            "set_shape()."
        )
    size = min(rows, columns)
    square = (
        matmul(a, a, adjoint_a=True)
        if rows >= columns
        else matmul(a, a, adjoint_b=True)
    )
    weight = op.graph.apply("Cast", regularizer, DstT=a.dtype)
    factor = op.graph.apply("Cholesky", square + weight * eye(size, dtype=a.dtype))
    if rows >= columns:
        z = cholesky_solve(factor, dy)
        left = matmul(b - matmul(a, x), z, adjoint_b=True)
        left = left - matmul(matmul(a, z), x, adjoint_b=True)
        return [left, matmul(a, z), None]
    y = cholesky_solve(factor, b)
    h = cholesky_solve(factor, matmul(a, dy))
    rest = dy - matmul(a, h, adjoint_a=True)
    left = matmul(y, rest, adjoint_b=True) - matmul(h, x, adjoint_b=True)
    return [left, h, None]


def lstsq(
    matrix: Any,
    rhs: Any,
    l2_regularizer: float = 0.0,
    fast: bool = True,
    name: str | None = None,
) -> Tensor:
    """The X for which ``matrix`` X is nearest to ``rhs``.

    Shapes:  matrix [..., m, n], rhs [..., m, k]; the result is [..., n, k]. Of several
             the smallest.
    ``fast``: by normal equations, which want a matrix of full rank; the sum of squares
             gets ``l2_regularizer`` times that of X added. Else by singular values,
             without a regularizer and without a gradient.
    Raises:  InvalidArgumentError when run on a CPU for a singular fast case.
    """
    with name_scope(name, "matrix_solve_ls", [matrix, rhs]):
        weight = convert_to_tensor(l2_regularizer, dtypes.float64)
        return apply_op("MatrixSolveLs", matrix, rhs, weight, fast=fast)


# --- pinv, matrix_rank ----------------------------------------------------------------


def _cut(values: Any, share: Any) -> Any:
    """``share`` of the greatest singular value, to compare all of them with."""
    return share * reduce_max(values, axis=-1, keepdims=True)


def pinv(
    a: Any,
    rcond: Any = None,
    validate_args: bool = False,
    name: str | None = None,
) -> Tensor:
    """The Moore-Penrose inverses of matrices: [..., m, n] gives [..., n, m].

    ``rcond``: singular values up to this share of the greatest count as 0, by default
             10 max(m, n) times the distance from 1 to the next number.
    """
    with name_scope(name, "pinv", [a]):
        a = convert_to_tensor(a, name="a")
        if not (a.dtype.is_floating or a.dtype.is_complex):
            raise TypeError("Input `a` must have `float`-like `dtype`.")
        rules.require_rank(a._shape, 2, least=True)
        real = a.dtype.real_dtype
        values, left, right = svd(a, full_matrices=False, compute_uv=True)
        if rcond is None:
            sides = shape_of(a)[-2:]
            longest = apply_op("Cast", reduce_max(sides), DstT=real)
            rcond = longest * (10 * float(np.finfo(real.np_dtype).eps))
        rcond = convert_to_tensor(rcond, real, name="rcond")
        if rcond.ndim != 0:
            rcond = apply_op("ExpandDims", rcond, -1)
        kept = apply_op("Greater", values, _cut(values, rcond))
        one = rules.const(values.graph, 1, real)
        inverse = apply_op("SelectV2", kept, values, one)
        zeros = apply_op("ZerosLike", values)
        inverse = apply_op("SelectV2", kept, 1.0 / inverse, zeros)
        if a.dtype.is_complex:
            inverse = apply_op("Cast", inverse, DstT=a.dtype)
        scaled = right * apply_op("ExpandDims", inverse, -2)
        return matmul(scaled, left, adjoint_b=True)


def matrix_rank(
    a: Any,
    tol: Any = None,
    validate_args: bool = False,
    name: str | None = None,
) -> Tensor:
    """How many singular values of [..., m, n] are above ``tol``: int32 [...].

    ``tol`` is by default max(m, n) times the greatest one times the distance from 1 to
    the next number.
    """
    with name_scope(name, "matrix_rank", [a]):
        a = convert_to_tensor(a, name="a")
        rules.require_rank(a._shape, 2, least=True)
        values = svd(a, compute_uv=False)
        if tol is None:
            longest = apply_op("Cast", reduce_max(shape_of(a)[-2:]), DstT=values.dtype)
            eps = float(np.finfo(values.dtype.np_dtype).eps)
            tol = _cut(values, longest * eps)
        above = apply_op("Cast", apply_op("Greater", values, tol), DstT=dtypes.int32)
        return apply_op("Sum", above, [-1], keep_dims=False)
