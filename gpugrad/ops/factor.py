"""Factorizations: eigenvalues of hermitian matrices, singular values, QR."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.errors import InvalidArgumentError
from gpugrad.graph.build import apply_op, convert_to_tensor
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.diagonal import (
    matrix_band_part,
    matrix_diag,
    matrix_diag_part,
    matrix_set_diag,
)
from gpugrad.ops.family import OpFamily
from gpugrad.ops.linalg import (
    adjoint,
    batch_and_sides,
    matrix_triangular_solve,
    site_flags,
    square_shape,
    squares,
    turned,
    wide,
)
from gpugrad.ops.matmul import matmul
from gpugrad.ops.static import on_host

family = OpFamily()

# 1/x is taken as x / (x**2 + this), so that equal values give 0 rather than infinity.
_TINY = 1e-20


def _safe_reciprocal(x: Tensor) -> Tensor:
    return x / (x * x + _TINY)


def _gaps(values: Tensor) -> Tensor:
    """1 / (values[j] - values[i]) at [i, j], 0 on the diagonal."""
    apply = values.graph.apply
    gaps = apply("ExpandDims", values, -2) - apply("ExpandDims", values, -1)
    return matrix_set_diag(_safe_reciprocal(gaps), apply("ZerosLike", values))


# --- SelfAdjointEigV2 -----------------------------------------------------------------

Eig = namedtuple("Eig", ["e", "v"])


def _eigh_infer(op: Operation) -> Any:
    batch, n = squares(op)
    dtype = op.inputs[0].dtype
    values = None if batch is None else (*batch, n)
    vectors = None if batch is None else (*batch, n, n)
    return ((dtype, values), (dtype, vectors if op.attrs["compute_v"] else (0,)))


def _eigh(xp: Any, outs: Any, a: Any, compute_v: bool) -> None:
    values, vectors = outs
    if values.size == 0:
        return
    try:
        if compute_v:
            values[...], vectors[...] = xp.linalg.eigh(wide(xp, a))
        else:
            values[...] = xp.linalg.eigvalsh(wide(xp, a))
        failed = on_host(xp) and not xp.isfinite(values).all()
    except np.linalg.LinAlgError:
        failed = True
    if failed:
        raise InvalidArgumentError(
            None,
            None,
            "Self-adjoint eigen decomposition was not successful. The input might not "
            "be valid.",
        )


def _eigh_lower(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    square_shape(x)
    vectors = x.shape if site.attrs["compute_v"] else (0,)
    outs = [(x.dtype, x.shape[:-1]), (x.dtype, vectors)]
    return b.call("self_adjoint_eig", _eigh, [x], outs, **site_flags(site))


family.op(
    "SelfAdjointEigV2",
    "input",
    attrs={"compute_v": True},
    infer=_eigh_infer,
    lower=_eigh_lower,
)


@family.gradient("SelfAdjointEigV2")
def _eigh_grad(op: Operation, dvalues: Tensor, dvectors: Tensor) -> Any:
    inner = matrix_diag(dvalues)
    if op.attrs["compute_v"]:
        values, vectors = op.outputs
        turn = matmul(vectors, dvectors, adjoint_a=True)
        inner = inner + _gaps(values) * turn
    else:
        vectors = op.graph.apply("SelfAdjointEigV2", op.inputs[0], compute_v=True)[1]
    whole = matmul(vectors, matmul(inner, vectors, adjoint_b=True))
    # Only the lower triangle is read: it takes the share of its mirror image too.
    lower = matrix_band_part(whole + adjoint(whole), -1, 0)
    return matrix_set_diag(lower, 0.5 * matrix_diag_part(lower))


def self_adjoint_eig(tensor: Any, name: str | None = None) -> Any:
    """(eigenvalues [..., n], rising, and eigenvectors [..., n, n], one a column).

    ``tensor`` [..., n, n] is taken as hermitian: only the lower triangle is read, and
    the gradient stands there alone. Equal eigenvalues add nothing to the gradient that
    comes through the vectors.
    """
    values, vectors = apply_op("SelfAdjointEigV2", tensor, compute_v=True, name=name)
    return Eig(values, vectors)


def self_adjoint_eigvals(tensor: Any, name: str | None = None) -> Tensor:
    """The eigenvalues alone (see self_adjoint_eig)."""
    values: Tensor = apply_op("SelfAdjointEigV2", tensor, compute_v=False, name=name)[0]
    return values


@family.numpy_function(np.linalg.eigvalsh)
def _numpy_eigvalsh(a: Any) -> Tensor:
    return self_adjoint_eigvals(a)


@family.numpy_function(np.linalg.eigh)
def _numpy_eigh(a: Any) -> Any:
    return self_adjoint_eig(a)


# --- Svd ------------------------------------------------------------------------------

Svd = namedtuple("Svd", ["s", "u", "v"])


def _least(rows: int | None, columns: int | None) -> int | None:
    return None if rows is None or columns is None else min(rows, columns)


def _svd_infer(op: Operation) -> Any:
    batch, rows, columns = batch_and_sides(op)
    dtype = op.inputs[0].dtype
    none = (dtype, None)
    least = _least(rows, columns)
    values = none if batch is None else (dtype, (*batch, least))
    if not op.attrs["compute_uv"]:
        return (values, (dtype, (0,)), (dtype, (0,)))
    if batch is None:
        return (none, none, none)
    full = op.attrs["full_matrices"]
    u = (*batch, rows, rows if full else least)
    v = (*batch, columns, columns if full else least)
    return (values, (dtype, u), (dtype, v))


def _svd(xp: Any, outs: Any, a: Any, compute_uv: bool, full_matrices: bool) -> None:
    values, u, v = outs
    if a.size == 0:
        for out in (u, v):  # what is left of full matrices is any basis
            out[...] = xp.eye(*out.shape[-2:]) if out.ndim > 1 else 0
        return
    a = wide(xp, a)
    bad = ~xp.isfinite(a).all(axis=(-2, -1))
    a = xp.where(bad[..., None, None], xp.zeros((), a.dtype), a)
    if compute_uv:
        u[...], values[...], adjoint = xp.linalg.svd(a, full_matrices=full_matrices)
        v[...] = turned(xp, adjoint)
        u[bad] = v[bad] = xp.nan
    else:
        values[...] = xp.linalg.svd(a, compute_uv=False)
    values[bad] = xp.nan


def _svd_lower(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    if x.rank < 2:
        raise ValueError(f"Input must have rank >= 2, got shape {list(x.shape)}.")
    *batch, rows, columns = x.shape
    least = min(rows, columns)
    u: tuple[int, ...] = (0,)
    v: tuple[int, ...] = (0,)
    if site.attrs["compute_uv"]:
        full = site.attrs["full_matrices"]
        u = (*batch, rows, rows if full else least)
        v = (*batch, columns, columns if full else least)
    outs = [(x.dtype, (*batch, least)), (x.dtype, u), (x.dtype, v)]
    return b.call("svd", _svd, [x], outs, **site_flags(site))


family.op(
    "Svd",
    "input",
    attrs={"compute_uv": True, "full_matrices": False},
    infer=_svd_infer,
    lower=_svd_lower,
)


@family.gradient("Svd")
def _svd_grad(op: Operation, ds: Tensor, du: Tensor, dv: Tensor) -> Any:
    if ds.dtype.is_complex:  # singular values are real, whatever their dtype
        real = op.graph.apply("Real", ds)
        ds = op.graph.apply("Cast", real, DstT=ds.dtype)
    inner = matrix_diag(ds)
    if not op.attrs["compute_uv"]:
        found = op.graph.apply(
            "Svd", op.inputs[0], compute_uv=True, full_matrices=False
        )
        return matmul(found[1], matmul(inner, found[2], adjoint_b=True))
    s, u, v = op.outputs
    width = _full_width(op)
    rest: list[tuple[Tensor, Tensor]] = []
    if width is not None:
        rest = [(x[..., width:], d[..., width:]) for x, d in ((u, du), (v, dv))]
        u, du, v, dv = (x[..., :width] for x in (u, du, v, dv))
    gaps = _gaps(s * s)
    inverse = _safe_reciprocal(s)
    rows, columns = op.graph.apply("ExpandDims", s, -1), inverse[..., None, :]
    turn_u = matmul(u, du, adjoint_a=True)
    turn_v = matmul(v, dv, adjoint_a=True)
    skew_u, skew_v = gaps * turn_u, gaps * turn_v
    inner = inner + (skew_u + adjoint(skew_u)) * s[..., None, :]
    inner = inner + rows * (skew_v + adjoint(skew_v))
    if s.dtype.is_complex:  # the phases of a column of u and of v go together
        phase = matrix_diag_part(turn_v)
        inner = inner + matrix_diag(0.5 * inverse * (rules.conj(phase) - phase))
    # What of du and dv stands outside of the spaces that u and v span.
    out_u = du - matmul(u, turn_u)
    out_v = dv - matmul(v, turn_v)
    if rest:
        (u2, du2), (v2, dv2) = rest
        out_u = out_u - matmul(u2, matmul(du2, u, adjoint_a=True))
        out_v = out_v - matmul(v2, matmul(dv2, v, adjoint_a=True))
    left = matmul(u, inner) + out_u * columns
    return matmul(left, v, adjoint_b=True) + matmul(u * columns, out_v, adjoint_b=True)


def _rows(matrix: Tensor) -> int | None:
    return None if matrix._shape is None else matrix._shape[-2]


def _full_width(op: Operation) -> int | None:
    """The number of singular values, where u and v have more columns than that."""
    if not op.attrs["full_matrices"]:
        return None
    rows, columns = (_rows(t) for t in op.outputs[1:])
    if rows is None or columns is None:
        raise NotImplementedError(
            "SVD gradient has not been implemented for input with unknown inner matrix "
            "shape."
        )
    if abs(rows - columns) > 1:
        # Which vectors complete the basis is then arbitrary.
        raise NotImplementedError(
            "svd gradient is not implemented for abs(m - n) > 1 when full_matrices is "
            f"True. Received: m={rows} and n={columns}."
        )
    return None if rows == columns else min(rows, columns)


def svd(
    tensor: Any,
    full_matrices: bool = False,
    compute_uv: bool = True,
    name: str | None = None,
) -> Any:
    """(s, u, v) with ``tensor`` = u diag(s) v^H, s falling; s alone without compute_uv.

    Shapes:  tensor [..., m, n]; s [..., k] with k = min(m, n), u [..., m, k],
             v [..., n, k]; with full_matrices u [..., m, m], v [..., n, n].
    Dtypes:  s is real.
    """
    found = apply_op(
        "Svd", tensor, compute_uv=compute_uv, full_matrices=full_matrices, name=name
    )
    s, u, v = found
    if s.dtype.is_complex:
        s = apply_op("Real", s)
    return Svd(s, u, v) if compute_uv else s


# --- Qr -------------------------------------------------------------------------------

Qr = namedtuple("Qr", ["q", "r"])


def _qr_infer(op: Operation) -> Any:
    batch, rows, columns = batch_and_sides(op)
    dtype = op.inputs[0].dtype
    if batch is None:
        return ((dtype, None), (dtype, None))
    inner = rows if op.attrs["full_matrices"] else _least(rows, columns)
    return ((dtype, (*batch, rows, inner)), (dtype, (*batch, inner, columns)))


def _qr(xp: Any, outs: Any, a: Any, full_matrices: bool) -> None:
    q, r = outs
    if a.size == 0:
        q[...] = xp.eye(*q.shape[-2:])
        r[...] = 0
        return
    mode = "complete" if full_matrices else "reduced"
    q[...], r[...] = xp.linalg.qr(wide(xp, a), mode=mode)


def _qr_lower(b: Builder, site: Site) -> Sequence[View]:
    (x,) = site.inputs
    if x.rank < 2:
        raise ValueError(f"Input must have rank >= 2, got shape {list(x.shape)}.")
    *batch, rows, columns = x.shape
    inner = rows if site.attrs["full_matrices"] else min(rows, columns)
    outs = [(x.dtype, (*batch, rows, inner)), (x.dtype, (*batch, inner, columns))]
    return b.call("qr", _qr, [x], outs, **site_flags(site))


family.op(
    "Qr", "input", attrs={"full_matrices": False}, infer=_qr_infer, lower=_qr_lower
)


@family.gradient("Qr")
def _qr_grad(op: Operation, dq: Tensor, dr: Tensor) -> Any:
    q, r = op.outputs
    rows, columns = _rows(q), None if r._shape is None else r._shape[-1]
    if rows is None or columns is None:
        raise NotImplementedError(
            f"QrGrad not implemented with dynamic shapes. Received: r.shape={r.shape}."
        )
    if op.attrs["full_matrices"] and rows > columns:
        raise NotImplementedError(
            "QrGrad not implemented when nrows > ncols and full_matrices is true. "
            f"Received r.shape={r.shape} with nrows={rows} and ncols={columns}."
        )
    if rows >= columns:
        return _square_grad(q, r, dq, dr)
    # The first columns make q; the others are only turned by it.
    others = op.inputs[0][..., rows:]
    dothers = dr[..., rows:]
    dq = dq + matmul(others, dothers, adjoint_b=True)
    first = _square_grad(q, r[..., :rows], dq, dr[..., :rows])
    return op.graph.apply("ConcatV2", [first, matmul(q, dothers)], -1, name="concat")


def _square_grad(q: Tensor, r: Tensor, dq: Tensor, dr: Tensor) -> Tensor:
    """(dq + q (P(w) + P(w)^H)) r^-H, w = dr r^H - q^H dq.

    P keeps the upper triangle and halves the diagonal.
    """
    w = matmul(dr, r, adjoint_b=True) - matmul(q, dq, adjoint_a=True)
    upper = matrix_band_part(matrix_set_diag(w, 0.5 * matrix_diag_part(w)), 0, -1)
    total = dq + matmul(q, upper + adjoint(upper))
    return adjoint(matrix_triangular_solve(r, adjoint(total), lower=False))


def qr(input: Any, full_matrices: bool = False, name: str | None = None) -> Any:
    """(q, r) with ``input`` = q r, q^H q = 1 and r upper triangular.

    Shapes:  input [..., m, n]; q [..., m, k], r [..., k, n], k = min(m, n), or m with
             full_matrices, which has a gradient for m <= n only.
    """
    x = convert_to_tensor(input, name="input")
    return Qr(*apply_op("Qr", x, full_matrices=full_matrices, name=name))
