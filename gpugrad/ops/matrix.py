"""Of whole matrices and short vectors: trace, cross product, matrix exponential."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from gpugrad import shapes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.diagonal import matrix_diag_part
from gpugrad.ops.family import OpFamily
from gpugrad.ops.linalg import adjoint, square_shape, squares, wide
from gpugrad.ops.reduce import reduce_sum
from gpugrad.ops.static import whole_slice

family = OpFamily()

# --- trace ----------------------------------------------------------------------------


def trace(x: Any, name: str | None = None) -> Tensor:
    """The sums of the diagonals of matrices: [..., m, n] gives [...]."""
    with name_scope(name, "Trace", [x]) as scope:
        x = convert_to_tensor(x, name="x")
        total: Tensor = reduce_sum(matrix_diag_part(x), [-1], name=scope)
        return total


# --- Cross ----------------------------------------------------------------------------


def _cross_infer(op: Operation) -> Any:
    a, b = op.inputs
    rules.require_dtype(op, 0, rules.REAL)
    shape = rules.merge_shapes(a._shape, b._shape)
    rules.require_rank(shape, 1, least=True)
    if shape is not None:
        last = rules.merge_dimensions(shape[-1], 3)
        shape = (*shape[:-1], last)
    return ((a.dtype, shape),)


def _cross_lower(b: Builder, site: Site) -> View:
    x, y = site.inputs
    if x.shape != y.shape or x.rank == 0 or x.shape[-1] != 3:
        raise ValueError(
            "Cross-products are only defined for 3-element vectors of one shape, not "
            f"{list(x.shape)} and {list(y.shape)}."
        )
    last = x.rank - 1
    out = b.new(x.dtype, x.shape)

    def part(view: View, index: int) -> View:
        return whole_slice(view, last, index % 3, 1)

    for i in range(3):
        b.store(
            part(out, i),
            lambda p, q, r, s: p * q - r * s,
            part(x, i + 1),
            part(y, i + 2),
            part(x, i + 2),
            part(y, i + 1),
        )
    return out


family.op("Cross", "a b", infer=_cross_infer, lower=_cross_lower)


@family.gradient("Cross")
def _cross_grad(op: Operation, dy: Tensor) -> Any:
    a, b = op.inputs
    return [op.graph.apply("Cross", b, dy), op.graph.apply("Cross", dy, a)]


def cross(a: Any, b: Any, name: str | None = None) -> Tensor:
    """The cross products of vectors of 3 elements, along the last axis."""
    return apply_op("Cross", a, b, name=name)


# --- MatrixExponential ----------------------------------------------------------------

# The (13, 13) Pade approximant is exact to float64 below this 1-norm (Higham 2005).
_DEGREE = 13
_RADIUS = 5.371920351148152
# The coefficients of x**i in its numerator, the highest 1.
_PADE = tuple(
    float(factorial(2 * _DEGREE - i) // (factorial(_DEGREE - i) * factorial(i)))
    for i in range(_DEGREE + 1)
)


def _exponential(xp: Any, outs: Any, a: Any) -> None:
    """By a rational function of a / 2**k, squared k times; k of each matrix its own."""
    (out,) = outs
    if out.size == 0:
        return
    a = wide(xp, a)
    norm = xp.abs(a).sum(axis=-2).max(axis=-1)
    good = xp.isfinite(norm)
    ratio = xp.where(good & (norm > _RADIUS), norm / _RADIUS, 1)
    times = xp.ceil(xp.log2(ratio)).astype(int)
    small = a * xp.exp2(-times[..., None, None].astype(norm.dtype))
    small = xp.where(good[..., None, None], small, 0).astype(a.dtype)
    unit = xp.eye(a.shape[-1], dtype=a.dtype)
    square = xp.matmul(small, small)
    even, odd, power = 0, 0, unit
    for i in range(0, _DEGREE, 2):
        even = even + _PADE[i] * power
        odd = odd + _PADE[i + 1] * power
        power = xp.matmul(power, square)
    odd = xp.matmul(small, odd)
    result = xp.linalg.solve(even - odd, even + odd)
    for i in range(int(times.max())):
        more = (i < times)[..., None, None]
        result = xp.where(more, xp.matmul(result, result), result)
    out[...] = xp.where(good[..., None, None], result, xp.nan)


def _exponential_infer(op: Operation) -> Any:
    batch, n = squares(op)
    return ((op.inputs[0].dtype, None if batch is None else (*batch, n, n)),)


def _exponential_lower(b: Builder, site: Site) -> View:
    (x,) = site.inputs
    square_shape(x)
    (out,) = b.call("matrix_exponential", _exponential, [x], [(x.dtype, x.shape)])
    return out


family.op(
    "MatrixExponential", "input", infer=_exponential_infer, lower=_exponential_lower
)


@family.gradient("MatrixExponential")
def _exponential_grad(op: Operation, dy: Tensor) -> Any:
    # exp([[A, E], [0, A]]) has on its upper right how exp(A) moves when A moves by E;
    # its adjoint is the same for A^H.
    apply = op.graph.apply
    turned = adjoint(op.inputs[0])
    above = apply("ConcatV2", [turned, dy], -1, name="concat")
    below = apply("ConcatV2", [apply("ZerosLike", dy), turned], -1, name="concat")
    block = apply("ConcatV2", [above, below], -2, name="concat")
    whole = apply("MatrixExponential", block)
    shape = dy._shape
    if shape is not None and shape[-1] is not None:
        return whole[..., : shape[-1], shape[-1] :]
    n = apply("Shape", dy)[-1]
    return whole[..., :n, n:]


def expm(input: Any, name: str | None = None) -> Tensor:
    """The exponentials of square matrices [..., n, n], not of their elements."""
    x = convert_to_tensor(input, name="input")
    return apply_op("MatrixExponential", x, name=name or "matrix_exponential")


@family.numpy_function(np.cross)
def _numpy_cross(a: Any, b: Any) -> Tensor:
    """NumPy's for vectors of 3; leading axes broadcast."""
    a, b = (convert_to_tensor(t) for t in (a, b))
    shape = shapes.broadcast(a._shape, b._shape)
    if a._shape != b._shape or not shapes.is_known(shape):
        zeros = apply_op("ZerosLike", a) * apply_op("ZerosLike", b)
        a, b = a + zeros, b + zeros
    return cross(a, b)
