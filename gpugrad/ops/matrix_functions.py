"""Matrix square roots and logarithms, and the factors L and U."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import as_dtype
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.diagonal import eye, matrix_band_part, matrix_set_diag
from gpugrad.ops.family import OpFamily
from gpugrad.ops.gather import gather
from gpugrad.ops.layout import matrix_transpose
from gpugrad.ops.linalg import square_shape, squares, wide
from gpugrad.ops.matmul import matmul
from gpugrad.ops.static import on_host, shape_of

family = OpFamily()

_STEPS = 60


def _infer(op: Operation) -> Any:
    batch, n = squares(op)
    return ((op.inputs[0].dtype, None if batch is None else (*batch, n, n)),)


def _lowered(name: str, impl: Callable[..., None]) -> Callable[..., View]:
    def lower(b: Builder, site: Site) -> View:
        (x,) = site.inputs
        square_shape(x)
        (out,) = b.call(name, impl, [x], [(x.dtype, x.shape)])
        return out

    return lower


# --- MatrixSquareRoot -----------------------------------------------------------------


def _root(xp: Any, a: Any) -> Any:
    """By Denman and Beavers' iteration, scaled by determinants (Higham 2008, 6.29)."""
    n = a.shape[-1]
    unit = xp.eye(n, dtype=a.dtype)
    y, z = a, xp.broadcast_to(unit, a.shape)
    for _ in range(_STEPS):
        scale = xp.abs(xp.linalg.det(y) * xp.linalg.det(z)) ** (-1 / (2 * n))
        scale = xp.where(xp.isfinite(scale), scale, 1)[..., None, None]
        before = y
        y, z = (
            (scale * y + xp.linalg.inv(z) / scale) / 2,
            (scale * z + xp.linalg.inv(y) / scale) / 2,
        )
        y, z = y.astype(a.dtype), z.astype(a.dtype)
        change = xp.abs(y - before).max()
        if on_host(xp) and change <= 4 * xp.finfo(a.dtype).eps * xp.abs(y).max():
            break
    return y


def _square_root(xp: Any, outs: Any, a: Any) -> None:
    (out,) = outs
    if out.size == 0:
        return
    try:
        out[...] = _root(xp, wide(xp, a))
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None, None, "The iteration for the square root met a singular matrix."
        ) from None


family.op(
    "MatrixSquareRoot",
    "input",
    infer=_infer,
    lower=_lowered("matrix_square_root", _square_root),
)


@family.gradient("MatrixSquareRoot")
def _square_root_grad(op: Operation, dy: Tensor) -> Any:
    """The S of Yᴴ S + S Yᴴ = dy, as a linear system of n * n unknowns."""
    y, apply = op.outputs[0], op.graph.apply
    adjoint = matrix_transpose(y, conjugate=True)
    n = shape_of(y)[-1]
    batch = shape_of(y)[:-2]
    unit = eye(n, dtype=y.dtype)

    def outer(left: Tensor, right: Tensor) -> Tensor:
        """The Kronecker product, [..., n, n, n, n] in the order of its axes."""
        return apply("Einsum", [left, right], equation="...ij,...kl->...ikjl")

    system = outer(adjoint, unit) + outer(unit, matrix_transpose(adjoint))
    size = apply("Pack", [n * n], axis=0)
    square = apply("ConcatV2", [batch, size, size], 0)
    column = apply("ConcatV2", [batch, size, [1]], 0)
    found = apply(
        "MatrixSolve", apply("Reshape", system, square), apply("Reshape", dy, column)
    )
    return apply("Reshape", found, shape_of(y))


def sqrtm(input: Any, name: str | None = None) -> Tensor:
    """The principal square roots of matrices [..., n, n].

    A matrix needs one: no eigenvalue on the negative real axis, nor 0. The gradient
    solves n * n equations.
    Raises:  InvalidArgumentError when run on a CPU for a singular matrix.
    """
    return apply_op("MatrixSquareRoot", input, name=name)


# --- MatrixLogarithm ------------------------------------------------------------------

# Gauss and Legendre's rule with 8 points on [0, 1]: for the integral of E / (1 + t E),
# which is log(1 + E), it is the (8, 8) Pade approximant.
_NODES, _WEIGHTS = (v.tolist() for v in np.polynomial.legendre.leggauss(8))
_SMALL = 0.25


def _logarithm(xp: Any, outs: Any, a: Any) -> None:
    """Square roots until the matrix is near 1, then a rational function."""
    (out,) = outs
    if out.size == 0:
        return
    unit = xp.eye(a.shape[-1], dtype=a.dtype)
    times = 0
    try:
        while times < 64 and xp.abs(a - unit).sum(axis=-2).max() > _SMALL:
            a, times = _root(xp, a), times + 1
        rest = a - unit
        total = xp.zeros_like(a)
        for node, weight in zip(_NODES, _WEIGHTS):
            inner = unit + rest * ((node + 1) / 2)
            total = total + xp.linalg.solve(inner, rest) * (weight / 2)
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None, None, "A singular matrix has no logarithm."
        ) from None
    out[...] = total * 2.0**times


def _infer_complex(op: Operation) -> Any:
    rules.require_dtype(op, 0, rules.COMPLEX)
    return _infer(op)


family.op(
    "MatrixLogarithm",
    "input",
    infer=_infer_complex,
    lower=_lowered("matrix_logarithm", _logarithm),
)


def logm(input: Any, name: str | None = None) -> Tensor:
    """The principal logarithms of complex matrices [..., n, n]. It has no gradient.

    Raises:  InvalidArgumentError when run on a CPU for a singular matrix.
    """
    return apply_op("MatrixLogarithm", input, name=name)


# --- Lu -------------------------------------------------------------------------------


def _factors(xp: Any, outs: Any, a: Any) -> None:
    """Gauss's elimination with the greatest element of a column as its pivot."""
    out, order = outs
    n = a.shape[-1]
    work = wide(xp, a).reshape(-1, n, n).copy()
    places = xp.broadcast_to(xp.arange(n), work.shape[:2]).copy()
    rows = xp.arange(len(work))
    for k in range(n):
        pivot = xp.abs(work[:, k:, k]).argmax(axis=1) + k
        for array in (work, places):
            chosen = array[rows, pivot].copy()
            array[rows, pivot] = array[:, k]
            array[:, k] = chosen
        diagonal = work[:, k, k]
        if on_host(xp) and not diagonal.all():
            raise InvalidArgumentError(None, None, "Input is not invertible.")
        work[:, k + 1 :, k] /= diagonal[:, None]
        work[:, k + 1 :, k + 1 :] -= (
            work[:, k + 1 :, k, None] * work[:, None, k, k + 1 :]
        )
    out[...] = work.reshape(out.shape)
    order[...] = places.reshape(order.shape)


def _infer_factors(op: Operation) -> Any:
    batch, n = squares(op)
    index = op.attrs["output_idx_type"]
    if batch is None:
        return ((op.inputs[0].dtype, None), (index, None))
    return ((op.inputs[0].dtype, (*batch, n, n)), (index, (*batch, n)))


def _lower_factors(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    square_shape(x)
    if not x.size:
        return [b.new(x.dtype, x.shape), b.new(site.dtypes[1], x.shape[:-1])]
    outs = [(x.dtype, x.shape), (site.dtypes[1], x.shape[:-1])]
    return b.call("lu", _factors, [x], outs)


family.op(
    "Lu",
    "input",
    attrs={"output_idx_type": dtypes.int32},
    infer=_infer_factors,
    lower=_lower_factors,
)


def lu(input: Any, output_idx_type: Any = dtypes.int32, name: str | None = None) -> Any:
    """(lu, p): [..., n, n] as P L U, and the rows [..., n] that P takes one by one.

    The part of ``lu`` below the diagonal is L, whose diagonal is 1; the rest is U. It
    has no gradient.
    Raises:  InvalidArgumentError when run on a CPU for a singular matrix.
    """
    return apply_op("Lu", input, output_idx_type=as_dtype(output_idx_type), name=name)


def _lower_factor(lower_upper: Tensor) -> Tensor:
    below = matrix_band_part(lower_upper, -1, 0)
    return matrix_set_diag(below, apply_op("OnesLike", lower_upper[..., 0]))


def lu_solve(
    lower_upper: Any,
    perm: Any,
    rhs: Any,
    validate_args: bool = False,
    name: str | None = None,
) -> Tensor:
    """The X of A X = ``rhs`` [..., n, k], where lu(A) gave the first two arguments."""
    with name_scope(name, "lu_solve", [lower_upper, perm, rhs]):
        factors = convert_to_tensor(lower_upper, name="lower_upper")
        rhs = convert_to_tensor(rhs, factors.dtype, name="rhs")
        perm = convert_to_tensor(perm, dtypes.int32, name="perm")
        rank = perm.ndim
        if rank is None:
            raise ValueError("lu_solve() needs a `perm` of known rank.")
        rows = gather(rhs, perm, axis=rank - 1, batch_dims=rank - 1)
        half = apply_op("MatrixTriangularSolve", _lower_factor(factors), rows)
        return apply_op("MatrixTriangularSolve", factors, half, lower=False)


def lu_reconstruct(
    lower_upper: Any, perm: Any, validate_args: bool = False, name: str | None = None
) -> Tensor:
    """The matrix [..., n, n] of which lu() gave these."""
    with name_scope(name, "lu_reconstruct", [lower_upper, perm]):
        factors = convert_to_tensor(lower_upper, name="lower_upper")
        perm = convert_to_tensor(perm, dtypes.int32, name="perm")
        rank = perm.ndim
        if rank is None:
            raise ValueError("lu_reconstruct() needs a `perm` of known rank.")
        product = matmul(_lower_factor(factors), matrix_band_part(factors, 0, -1))
        back = apply_op("TopKV2", -perm, shape_of(perm)[-1])[1]
        return gather(product, back, axis=rank - 1, batch_dims=rank - 1)


def lu_matrix_inverse(
    lower_upper: Any, perm: Any, validate_args: bool = False, name: str | None = None
) -> Tensor:
    """The inverse of the matrix [..., n, n] of which lu() gave these."""
    with name_scope(name, "lu_matrix_inverse", [lower_upper, perm]):
        factors = convert_to_tensor(lower_upper, name="lower_upper")
        n = shape_of(factors)[-1]
        unit = eye(n, dtype=factors.dtype)
        whole = apply_op("ZerosLike", factors) + unit
        return lu_solve(factors, perm, whole)
