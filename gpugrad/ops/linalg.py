"""Linear systems: inverses, determinants, the Cholesky factor and what it solves."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpugrad import dtypes, shapes
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.diagonal import (
    matrix_band_part,
    matrix_diag_part,
    matrix_set_diag,
)
from gpugrad.ops.family import OpFamily
from gpugrad.ops.layout import matrix_transpose
from gpugrad.ops.matmul import matmul, sum_batches
from gpugrad.ops.reduce import reduce_sum
from gpugrad.ops.static import on_host, shape_of

family = OpFamily()

TYPES = (
    dtypes.float64,
    dtypes.float32,
    dtypes.float16,
    dtypes.complex64,
    dtypes.complex128,
)


# --- what all of them share -----------------------------------------------------------


def adjoint(matrix: Any, name: str | None = None) -> Tensor:
    """The last two axes exchanged, and conjugated if complex."""
    with name_scope(name, "adjoint", [matrix]):
        return matrix_transpose(convert_to_tensor(matrix, name="matrix"), None, True)


def batch_and_sides(
    op: Operation, index: int = 0
) -> tuple[Sequence[int | None] | None, int | None, int | None]:
    """(batch, rows, columns) of an input; the batch is None where rank is unknown."""
    rules.require_dtype(op, index, TYPES)
    shape = op.inputs[index]._shape
    rules.require_rank(shape, 2, least=True)
    if shape is None:
        return None, None, None
    return shape[:-2], shape[-2], shape[-1]


def squares(op: Operation) -> tuple[Sequence[int | None] | None, int | None]:
    """(batch, n) of the first input, which must be n by n matrices."""
    batch, rows, columns = batch_and_sides(op)
    return batch, rules.merge_dimensions(rows, columns)


def square_shape(view: View) -> None:
    """ValueError unless a view is of square matrices."""
    if view.rank < 2:
        raise ValueError(f"Input must have rank >= 2, got shape {list(view.shape)}.")
    if view.shape[-1] != view.shape[-2]:
        raise ValueError(f"Input matrix must be square, got shape {list(view.shape)}.")


def wide(xp: Any, a: Any) -> Any:
    """The array itself, in float32 if it is float16."""
    return a.astype(xp.float32) if a.dtype.itemsize == 2 else a


def turned(xp: Any, a: Any) -> Any:
    """The adjoint of an array of matrices."""
    a = xp.swapaxes(a, -1, -2)
    return xp.conj(a) if a.dtype.kind == "c" else a


def _infer_square(op: Operation) -> Any:
    batch, n = squares(op)
    dtype = op.inputs[0].dtype
    return ((dtype, None if batch is None else (*batch, n, n)),)


def _lower_square(name: str, impl: Callable[..., None]) -> Callable[..., View]:
    def lower(b: Builder, site: Site) -> View:
        (x,) = site.inputs
        square_shape(x)
        (out,) = b.call(name, impl, [x], [(x.dtype, x.shape)], **site_flags(site))
        return out

    return lower


def site_flags(site: Site) -> dict[str, Any]:
    """The attributes of an op that are not dtypes."""
    return {k: v for k, v in site.attrs.items() if isinstance(v, bool)}


# --- MatrixInverse --------------------------------------------------------------------


def _inverse(xp: Any, outs: Any, a: Any, adjoint: bool) -> None:
    (out,) = outs
    if out.size == 0:
        return
    a = wide(xp, a)
    try:
        out[...] = xp.linalg.inv(turned(xp, a) if adjoint else a)
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(None, None, "Input is not invertible.") from None


family.op(
    "MatrixInverse",
    "input",
    attrs={"adjoint": False},
    infer=_infer_square,
    lower=_lower_square("matrix_inverse", _inverse),
)


@family.gradient("MatrixInverse")
def _inverse_grad(op: Operation, dy: Tensor) -> Any:
    y = op.outputs[0]
    if op.attrs["adjoint"]:
        return -matmul(y, matmul(dy, y, adjoint_a=True))
    return -matmul(y, matmul(dy, y, adjoint_b=True), adjoint_a=True)


def matrix_inverse(
    input: Any, adjoint: bool = False, name: str | None = None
) -> Tensor:
    """The inverses of square matrices [..., n, n], or those of their adjoints.

    Raises:  InvalidArgumentError when run on a CPU for a singular matrix; on a GPU
             the result has infinite or NaN elements.
    """
    return apply_op("MatrixInverse", input, adjoint=adjoint, name=name)


@family.numpy_function(np.linalg.inv)
def _numpy_inv(a: Any) -> Tensor:
    return matrix_inverse(a)


# --- MatrixDeterminant ----------------------------------------------------------------


def _infer_scalars(count: int) -> Callable[[Operation], Any]:
    def infer(op: Operation) -> Any:
        batch, _ = squares(op)
        shape = None if batch is None else tuple(batch)
        return ((op.inputs[0].dtype, shape),) * count

    return infer


def _determinant(xp: Any, outs: Any, a: Any) -> None:
    outs[0][...] = xp.linalg.det(wide(xp, a)) if a.shape[-1] else 1


def _lower_determinant(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    square_shape(x)
    outs = [(x.dtype, x.shape[:-2])]
    (out,) = b.call("matrix_determinant", _determinant, [x], outs)
    return out


family.op(
    "MatrixDeterminant",
    "input",
    infer=_infer_scalars(1),
    lower=_lower_determinant,
)


@family.gradient("MatrixDeterminant")
def _determinant_grad(op: Operation, dy: Tensor) -> Any:
    inverse = op.graph.apply("MatrixInverse", op.inputs[0], adjoint=True)
    return _as_matrices(dy * rules.conj(op.outputs[0])) * inverse


def _as_matrices(scalars: Tensor) -> Tensor:
    """Scalars [...] as matrices [..., 1, 1]."""
    apply = scalars.graph.apply
    sizes = apply("ConcatV2", [shape_of(scalars), [1, 1]], 0, name="concat")
    matrices: Tensor = apply("Reshape", scalars, sizes)
    return matrices


def matrix_determinant(input: Any, name: str | None = None) -> Tensor:
    """The determinants of square matrices: [..., n, n] gives [...].

    The gradient of a singular matrix's is an InvalidArgumentError (see matrix_inverse).
    """
    return apply_op("MatrixDeterminant", input, name=name)


@family.numpy_function(np.linalg.det)
def _numpy_det(a: Any) -> Tensor:
    return matrix_determinant(a)


# --- LogMatrixDeterminant -------------------------------------------------------------

LogDeterminant = namedtuple("LogDeterminant", ["sign", "log_abs_determinant"])


def _log_determinant(xp: Any, outs: Any, a: Any) -> None:
    sign, size = outs
    if a.shape[-1] == 0:
        sign[...], size[...] = 1, 0
        return
    sign[...], size[...] = xp.linalg.slogdet(wide(xp, a))


def _lower_log_determinant(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    square_shape(x)
    outs = [(x.dtype, x.shape[:-2])] * 2
    return b.call("log_matrix_determinant", _log_determinant, [x], outs)


family.op(
    "LogMatrixDeterminant",
    "input",
    infer=_infer_scalars(2),
    lower=_lower_log_determinant,
)


@family.gradient("LogMatrixDeterminant")
def _log_determinant_grad(op: Operation, dsign: Tensor, dy: Tensor) -> Any:
    inverse = op.graph.apply("MatrixInverse", op.inputs[0], adjoint=True)
    return _as_matrices(dy) * inverse


def slogdet(input: Any, name: str | None = None) -> Any:
    """(sign, log of the absolute value) of the determinants of [..., n, n].

    A singular matrix has (0, -inf). The sign has no gradient.
    """
    return LogDeterminant(*apply_op("LogMatrixDeterminant", input, name=name))


def logdet(matrix: Any, name: str | None = None) -> Tensor:
    """The log of the determinants of hermitian positive definite matrices."""
    with name_scope(name, "logdet", [matrix]):
        factor = apply_op("Cholesky", matrix)
        logs = apply_op("Log", matrix_diag_part(factor))
        if logs.dtype.is_complex:
            logs = apply_op("Real", logs)
        return 2.0 * reduce_sum(logs, axis=[-1])


# --- Cholesky -------------------------------------------------------------------------


def _cholesky(xp: Any, outs: Any, a: Any) -> None:
    (out,) = outs
    if out.size == 0:
        return
    try:
        out[...] = xp.linalg.cholesky(wide(xp, a))
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None,
            None,
            "Cholesky decomposition was not successful. The input might not be valid.",
        ) from None


family.op(
    "Cholesky",
    "input",
    infer=_infer_square,
    lower=_lower_square("cholesky", _cholesky),
)


@family.gradient("Cholesky")
def _cholesky_grad(op: Operation, dy: Tensor) -> Any:
    # dA = L^-H P(L^H dL) L^-1 made hermitian, P: lower triangle, diagonal halved.
    factor = op.outputs[0]
    inner = matmul(factor, dy, adjoint_a=True)
    inner = matrix_band_part(
        matrix_set_diag(inner, 0.5 * matrix_diag_part(inner)), -1, 0
    )
    left = matrix_triangular_solve(factor, inner, adjoint=True)
    both = matrix_triangular_solve(factor, adjoint(left), adjoint=True)
    return 0.5 * (both + adjoint(both))


def cholesky(input: Any, name: str | None = None) -> Tensor:
    """The lower triangular L with L L^H = ``input`` [..., n, n], positive definite.

    Only the lower triangle is read. The gradient is hermitian.
    Raises:  InvalidArgumentError when run on a CPU for a matrix that has no such L.
    """
    return apply_op("Cholesky", input, name=name)


@family.numpy_function(np.linalg.cholesky)
def _numpy_cholesky(a: Any) -> Tensor:
    return cholesky(a)


# --- MatrixSolve ----------------------------------------------------------------------


def _infer_solve(op: Operation) -> Any:
    batch, n = squares(op)
    others, rows, columns = batch_and_sides(op, 1)
    n = rules.merge_dimensions(n, rows)
    merged = rules.merge_shapes(_tuple(batch), _tuple(others))
    shape = None if merged is None else (*merged, n, columns)
    return ((op.inputs[0].dtype, shape),)


def _tuple(batch: Sequence[int | None] | None) -> shapes.Partial:
    return None if batch is None else tuple(batch)


def _solve(xp: Any, outs: Any, a: Any, b: Any, adjoint: bool) -> None:
    (out,) = outs
    if out.size == 0:
        return
    a = wide(xp, a)
    try:
        out[...] = xp.linalg.solve(turned(xp, a) if adjoint else a, wide(xp, b))
    except np.linalg.LinAlgError:
        raise InvalidArgumentError(
            None, None, "Input matrix is not invertible."
        ) from None


def _lower_solve(b: Builder, site: Site) -> View:
    a, right = site.inputs
    square_shape(a)
    if a.shape[:-1] != right.shape[:-1]:
        raise ValueError(
            "Input matrix and rhs are incompatible: "
            f"{list(a.shape)} and {list(right.shape)}."
        )
    outs = [(right.dtype, right.shape)]
    (out,) = b.call("matrix_solve", _solve, [a, right], outs, **site_flags(site))
    return out


family.op(
    "MatrixSolve",
    "matrix rhs",
    attrs={"adjoint": False},
    infer=_infer_solve,
    lower=_lower_solve,
)


@family.gradient("MatrixSolve")
def _solve_grad(op: Operation, dy: Tensor) -> Any:
    flipped = not op.attrs["adjoint"]
    right = op.graph.apply("MatrixSolve", op.inputs[0], dy, adjoint=flipped)
    return [_left_grad(op, right), right]


def _left_grad(op: Operation, right: Tensor) -> Tensor:
    """The gradient of a system's matrix, from that of its right hand side."""
    x = op.outputs[0]
    if op.attrs["adjoint"]:
        return -matmul(x, right, adjoint_b=True)
    return -matmul(right, x, adjoint_b=True)


def matrix_solve(
    matrix: Any, rhs: Any, adjoint: bool = False, name: str | None = None
) -> Tensor:
    """The X of ``matrix`` X = ``rhs``: [..., n, n] and [..., n, k] give [..., n, k].

    ``adjoint`` solves with the adjoint of the matrix.
    Raises:  InvalidArgumentError when run on a CPU for a singular matrix.
    """
    return apply_op("MatrixSolve", matrix, rhs, adjoint=adjoint, name=name)


# --- MatrixTriangularSolve ------------------------------------------------------------


def _infer_triangular(op: Operation) -> Any:
    batch, n = squares(op)
    others, rows, columns = batch_and_sides(op, 1)
    n = rules.merge_dimensions(n, rows)
    if batch is None or others is None:
        return ((op.inputs[0].dtype, None),)
    both = shapes.broadcast(tuple(batch), tuple(others))
    assert both is not None
    return ((op.inputs[0].dtype, (*both, n, columns)),)


def _substitute(xp: Any, a: Any, x: Any, lower: bool) -> None:
    """Solve in place by halves: one by one division, all else matrix products."""
    n = a.shape[-1]
    if n == 1:
        x /= a
        return
    first, last = slice(0, n // 2), slice(n // 2, n)
    if not lower:
        first, last = last, first
    _substitute(xp, a[..., first, first], x[..., first, :], lower)
    x[..., last, :] -= xp.matmul(a[..., last, first], x[..., first, :])
    _substitute(xp, a[..., last, last], x[..., last, :], lower)


def _triangular(xp: Any, outs: Any, a: Any, b: Any, lower: bool, adjoint: bool) -> None:
    (out,) = outs
    if out.size == 0:
        return
    if on_host(xp) and not xp.diagonal(a, axis1=-2, axis2=-1).all():
        raise InvalidArgumentError(None, None, "Input matrix is not invertible.")
    a, b = wide(xp, a), wide(xp, b)
    x = xp.empty(out.shape, b.dtype)
    x[...] = b
    _substitute(xp, turned(xp, a) if adjoint else a, x, lower is not adjoint)
    out[...] = x


def _lower_triangular(b: Builder, site: Site) -> View:
    a, right = site.inputs
    square_shape(a)
    if right.rank < 2 or a.shape[-1] != right.shape[-2]:
        raise ValueError(
            "Input matrix and rhs are incompatible: "
            f"{list(a.shape)} and {list(right.shape)}."
        )
    batch = np.broadcast_shapes(a.shape[:-2], right.shape[:-2])
    outs = [(right.dtype, (*batch, *right.shape[-2:]))]
    flags = site_flags(site)
    (out,) = b.call("triangular_solve", _triangular, [a, right], outs, **flags)
    return out


family.op(
    "MatrixTriangularSolve",
    "matrix rhs",
    attrs={"lower": True, "adjoint": False},
    infer=_infer_triangular,
    lower=_lower_triangular,
)


@family.gradient("MatrixTriangularSolve")
def _triangular_grad(op: Operation, dy: Tensor) -> Any:
    matrix, rhs = op.inputs
    lower = op.attrs["lower"]
    right = matrix_triangular_solve(matrix, dy, lower, not op.attrs["adjoint"])
    left = _left_grad(op, right)
    left = matrix_band_part(left, *((-1, 0) if lower else (0, -1)))
    return sum_batches(op.graph, (matrix, rhs), (left, right))


def matrix_triangular_solve(
    matrix: Any,
    rhs: Any,
    lower: bool = True,
    adjoint: bool = False,
    name: str | None = None,
) -> Tensor:
    """The X of ``matrix`` X = ``rhs`` for a triangular matrix [..., n, n].

    Only the ``lower`` (or upper) triangle is read, and has a gradient. The axes before
    the last two broadcast. ``adjoint`` solves with the adjoint of the triangle.
    Raises:  InvalidArgumentError when run on a CPU for a zero on the diagonal.
    """
    with name_scope(name, "triangular_solve", [matrix, rhs]):
        return apply_op(
            "MatrixTriangularSolve", matrix, rhs, lower=lower, adjoint=adjoint
        )


def cholesky_solve(chol: Any, rhs: Any, name: str | None = None) -> Tensor:
    """The X of A X = ``rhs``, where ``chol`` is cholesky(A): [..., n, n], [..., n, k].

    The axes before the last two broadcast.
    """
    with name_scope(name, "cholesky_solve", [chol, rhs]):
        half = apply_op("MatrixTriangularSolve", chol, rhs, lower=True)
        return apply_op("MatrixTriangularSolve", chol, half, lower=True, adjoint=True)
