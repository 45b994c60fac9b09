"""Diagonals of matrices: taken, set, and matrices made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.graph import constant as values
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Site
from gpugrad.kir.scalar import Expr, Index, Lit
from gpugrad.kir.space import View
from gpugrad.ops import rules
from gpugrad.ops.family import OpFamily
from gpugrad.ops.fill import ones, zeros
from gpugrad.ops.static import axis_in

family = OpFamily()

# --- Diag, DiagPart -----------------------------------------------------------------


def _diag_infer(op: Operation) -> Any:
    x = op.inputs[0]
    return ((x.dtype, None if x._shape is None else x._shape * 2),)


def _diag_part_infer(op: Operation) -> Any:
    x = op.inputs[0]
    if x._shape is None:
        return ((x.dtype, None),)
    return ((x.dtype, _halved(x._shape)),)


def _halved(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    rank = len(shape)
    if rank == 0 or rank % 2:
        raise ValueError(f"Input must have even and non-zero rank, not {rank}")
    first, last = shape[: rank // 2], shape[rank // 2 :]
    if any(m is not None and n is not None and m != n for m, n in zip(first, last)):
        raise ValueError(f"Dimensions of {list(shape)} must come in equal pairs")
    return tuple(n if m is None else m for m, n in zip(first, last))


def _paired(view: View) -> View:
    """The elements whose first coordinates equal the last ones."""
    half = view.rank // 2
    strides = tuple(view.strides[i] + view.strides[half + i] for i in range(half))
    return View(view.buffer, view.shape[:half], strides, view.offset)


def _diag_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    out = b.new(x.dtype, x.shape * 2)
    b.store_value(out, 0)
    if x.size:
        b.copy(x, into=_paired(out))
    return out


def _diag_part_lower(b: Builder, site: Site) -> View:
    _halved(site.inputs[0].shape)
    return _paired(site.inputs[0])


family.op("Diag", "diagonal", infer=_diag_infer, lower=_diag_lower)
family.op("DiagPart", "input", infer=_diag_part_infer, lower=_diag_part_lower)


@family.gradient("Diag")
def _diag_grad(op: Operation, dy: Tensor) -> Any:
    return op.graph.apply("DiagPart", dy)


@family.gradient("DiagPart")
def _diag_part_grad(op: Operation, dy: Tensor) -> Any:
    return op.graph.apply("Diag", dy)


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """Zeros of twice the rank with ``diagonal`` where both halves of indices agree."""
    return apply_op("Diag", diagonal, name=name)


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """The elements whose two halves of indices agree: the inverse of diag."""
    return apply_op("DiagPart", input, name=name)


# --- MatrixDiagV3, MatrixDiagPartV3, MatrixSetDiagV3 --------------------------------

_ALIGNMENTS = ("LEFT_RIGHT", "RIGHT_LEFT", "LEFT_LEFT", "RIGHT_RIGHT")


class Band(NamedTuple):
    """Diagonals ``low`` to ``high`` of an r by c matrix; ``width`` is the longest."""

    low: int
    high: int
    rows: int
    columns: int

    @property
    def width(self) -> int:
        """The length of the longest diagonal of the band."""
        return min(self.rows + min(self.high, 0), self.columns - max(self.low, 0))

    def shape(self, batch: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the band as packed diagonals."""
        if self.low == self.high:
            return (*batch, self.width)
        return (*batch, self.high - self.low + 1, self.width)


def _limits(k: Sequence[int]) -> tuple[int, int]:
    low, high = (k[0], k[0]) if len(k) == 1 else (k[0], k[1])
    if len(k) > 2 or low > high:
        raise ValueError(f"k must be one diagonal, or a lower and a higher: {list(k)}")
    return low, high


def _band(k: Sequence[int], rows: int, columns: int) -> Band:
    low, high = _limits(k)
    for diagonal in (low, high):
        if not (-rows < diagonal < columns or diagonal == 0):
            raise ValueError(
                f"diagonal {diagonal} is out of range of a {rows} by {columns} matrix"
            )
    return Band(low, high, rows, columns)


def _diagonals(
    matrix: View, packed: View, band: Band, align: str
) -> list[tuple[View, View]]:
    """For each diagonal of the band: its place in the matrix and among the packed."""
    if align not in _ALIGNMENTS:
        raise ValueError(
            f"align must be one of {', '.join(_ALIGNMENTS)}, not {align!r}"
        )
    above, below = align.split("_")
    batch = matrix.rank - 2
    down, along = matrix.strides[-2:]
    pairs = []
    for diagonal in range(band.low, band.high + 1):
        row, column = max(0, -diagonal), max(0, diagonal)
        length = max(0, min(band.rows - row, band.columns - column))
        here = View(
            matrix.buffer,
            (*matrix.shape[:batch], length),
            (*matrix.strides[:batch], down + along),
            matrix.offset + (row * down + column * along if length else 0),
        )
        left = (diagonal >= 0 and above == "LEFT") or (
            diagonal <= 0 and below == "LEFT"
        )
        start = 0 if left else band.width - length
        rows = packed
        if band.low != band.high:
            place = band.high - diagonal
            starts = (*[0] * batch, place, 0)
            sizes = (*packed.shape[:batch], 1, packed.shape[-1])
            rows = packed.slice(starts, sizes).drop_axes((batch,))
        part = rows.slice((*[0] * batch, start), (*rows.shape[:-1], length))
        pairs.append((here, part))
    return pairs


def _matrix_size(b: Builder, site: Site) -> Band:
    """The matrix that packed diagonals make, by TensorFlow's rules for -1."""
    diagonal = site.inputs[0]
    low, high = _limits(b.integers(site.inputs[1]))
    rows, columns = b.integers(site.inputs[2])[0], b.integers(site.inputs[3])[0]
    return _sized(diagonal.shape[-1], low, high, rows, columns)


def _sized(width: int, low: int, high: int, rows: int, columns: int) -> Band:
    least_rows, least_columns = width - min(high, 0), width + max(low, 0)
    if rows == -1 and columns == -1:
        rows = columns = max(least_rows, least_columns)
    rows = least_rows if rows == -1 else rows
    columns = least_columns if columns == -1 else columns
    band = Band(low, high, rows, columns)
    if band.width != width:
        raise ValueError(
            f"a {rows} by {columns} matrix has no diagonals {low} to {high} of length "
            f"{width}"
        )
    return band


def _matrix_diag_infer(op: Operation) -> Any:
    diagonal, k, *size = op.inputs
    known = values.constant_value(k)
    if diagonal._shape is None or known is None:
        return ((diagonal.dtype, None),)
    low, high = _limits(known.reshape(-1).tolist())
    batch = diagonal._shape[: -1 if low == high else -2]
    extents = [values.constant_value(t) for t in size[:2]]
    width = diagonal._shape[-1]
    if width is None or any(e is None for e in extents):
        return ((diagonal.dtype, (*batch, None, None)),)
    band = _sized(width, low, high, *[int(e.reshape(-1)[0]) for e in extents])  # type: ignore[union-attr]
    return ((diagonal.dtype, (*batch, band.rows, band.columns)),)


def _matrix_diag_lower(b: Builder, site: Site) -> View:
    diagonal = site.inputs[0]
    band = _matrix_size(b, site)
    batch = diagonal.shape[: -1 if band.low == band.high else -2]
    if diagonal.shape != band.shape(batch):
        raise ValueError(
            f"diagonal must be of shape {list(band.shape(batch))}, not "
            f"{list(diagonal.shape)}"
        )
    out = b.new(diagonal.dtype, (*batch, band.rows, band.columns))
    b.store(out, lambda padding: padding, site.inputs[4])
    for here, part in _diagonals(out, diagonal, band, site.attrs["align"]):
        if part.size:
            b.copy(part, into=here)
    return out


def _part_infer(op: Operation) -> Any:
    x, k = op.inputs[:2]
    known = values.constant_value(k)
    if x._shape is None or known is None:
        return ((x.dtype, None),)
    if len(x._shape) < 2:
        raise ValueError(f"Shape must be at least rank 2 but is rank {len(x._shape)}")
    *batch, rows, columns = x._shape
    low, high = _limits(known.reshape(-1).tolist())
    many = [] if low == high else [high - low + 1]
    if rows is None or columns is None:
        return ((x.dtype, (*batch, *many, None)),)
    width = _band([low, high], rows, columns).width
    return ((x.dtype, (*batch, *many, width)),)


def _part_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    band = _band(b.integers(site.inputs[1]), *x.shape[-2:])
    batch = x.shape[:-2]
    if band.low == band.high:
        # One diagonal has no gaps: it is a view.
        one = View(x.buffer, band.shape(batch), (*x.strides[:-2], 0), 0)
        return _diagonals(x, one, band, site.attrs["align"])[0][0]
    out = b.new(x.dtype, band.shape(batch))
    b.store(out, lambda padding: padding, site.inputs[2])
    for here, part in _diagonals(x, out, band, site.attrs["align"]):
        if part.size:
            b.copy(here, into=part)
    return out


def _set_infer(op: Operation) -> Any:
    x = op.inputs[0]
    if x._shape is not None and len(x._shape) < 2:
        raise ValueError(f"Shape must be at least rank 2 but is rank {len(x._shape)}")
    shape, diagonal, k = (
        x._shape,
        op.inputs[1]._shape,
        values.constant_value(op.inputs[2]),
    )
    if shape is None and diagonal and k is not None and np.ptp(k) == 0:
        shape = (*diagonal[:-1], None, None)
    return ((x.dtype, shape),)


def _set_lower(b: Builder, site: Site) -> View:
    x, diagonal, k = site.inputs
    band = _band(b.integers(k), *x.shape[-2:])
    if diagonal.shape != band.shape(x.shape[:-2]):
        raise ValueError(
            f"diagonal must be of shape {list(band.shape(x.shape[:-2]))}, not "
            f"{list(diagonal.shape)}"
        )
    out = b.copy(x)
    for here, part in _diagonals(out, diagonal, band, site.attrs["align"]):
        if part.size:
            b.copy(part, into=here)
    return out


def _integer(name: str) -> Input:
    return Input(name, attr=None, dtype=dtypes.int32, static=True)


family.op(
    "MatrixDiagV3",
    (
        Input("diagonal"),
        _integer("k"),
        _integer("num_rows"),
        _integer("num_cols"),
        Input("padding_value"),
    ),
    attrs={"align": "RIGHT_LEFT"},
    infer=_matrix_diag_infer,
    lower=_matrix_diag_lower,
)
family.op(
    "MatrixDiagPartV3",
    (Input("input"), _integer("k"), Input("padding_value")),
    attrs={"align": "RIGHT_LEFT"},
    infer=_part_infer,
    lower=_part_lower,
)
family.op(
    "MatrixSetDiagV3",
    (Input("input"), Input("diagonal"), _integer("k")),
    attrs={"align": "RIGHT_LEFT"},
    infer=_set_infer,
    lower=_set_lower,
)


@family.gradient("MatrixDiagV3")
def _matrix_diag_grad(op: Operation, dy: Tensor) -> Any:
    align = op.attrs["align"]
    part = op.graph.apply(
        "MatrixDiagPartV3", dy, op.inputs[1], 0, align=align, name="diag_part"
    )
    return [part, None, None, None, None]


@family.gradient("MatrixDiagPartV3")
def _part_grad(op: Operation, dy: Tensor) -> Any:
    x, k = op.inputs[:2]
    apply, align = op.graph.apply, op.attrs["align"]
    size = None if x._shape is None else x._shape[-2:]
    if size is not None and None not in size:
        made = apply("MatrixDiagV3", dy, k, *size, 0, align=align, name="diag")
        return [made, None, None]
    empty = apply("ZerosLike", x, name="zeros_like")
    made = apply("MatrixSetDiagV3", empty, dy, k, align=align, name="set_diag")
    return [made, None, None]


@family.gradient("MatrixSetDiagV3")
def _set_grad(op: Operation, dy: Tensor) -> Any:
    _, diagonal, k = op.inputs
    apply, align = op.graph.apply, op.attrs["align"]
    nothing = rules.zeros_like(op.graph, diagonal)
    kept = apply("MatrixSetDiagV3", dy, nothing, k, align=align, name="set_diag")
    part = apply("MatrixDiagPartV3", dy, k, 0, align=align, name="diag_part")
    return [kept, part, None]


def matrix_diag(
    diagonal: Any,
    name: str | None = "diag",
    k: Any = 0,
    num_rows: Any = -1,
    num_cols: Any = -1,
    padding_value: Any = 0,
    align: str = "RIGHT_LEFT",
) -> Tensor:
    """Matrices with ``diagonal`` on diagonal ``k``, and padding_value elsewhere.

    Shapes:  diagonal [..., n], result [..., n, n]. With k a pair (low, high),
             diagonal [..., high - low + 1, n], the highest first; shorter ones stand as
             ``align`` says. num_rows, num_cols: other sizes of the matrix.
    """
    return apply_op(
        "MatrixDiagV3",
        diagonal,
        k,
        num_rows,
        num_cols,
        padding_value,
        align=align,
        name=name or "diag",
    )


def matrix_diag_part(
    input: Any,
    name: str | None = "diag_part",
    k: Any = 0,
    padding_value: Any = 0,
    align: str = "RIGHT_LEFT",
) -> Tensor:
    """Diagonal ``k`` of matrices [..., r, c], or diagonals ``k`` = (low, high)."""
    return apply_op(
        "MatrixDiagPartV3",
        input,
        k,
        padding_value,
        align=align,
        name=name or "diag_part",
    )


def matrix_set_diag(
    input: Any,
    diagonal: Any,
    name: str | None = "set_diag",
    k: Any = 0,
    align: str = "RIGHT_LEFT",
) -> Tensor:
    """``input`` with its diagonal ``k`` (or diagonals) replaced."""
    return apply_op(
        "MatrixSetDiagV3", input, diagonal, k, align=align, name=name or "set_diag"
    )


@family.numpy_function(np.diag)
def _numpy_diag(v: Any, k: int = 0) -> Tensor:
    return matrix_diag(v, k=k) if v.ndim == 1 else matrix_diag_part(v, k=k)


@family.numpy_function(np.diagonal)
def _numpy_diagonal(a: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    rank = a.ndim
    if rank is None:
        raise ValueError("np.diagonal() needs a tensor of known rank.")
    last = [axis_in(axis1, rank), axis_in(axis2, rank)]
    perm = [i for i in range(rank) if i not in last] + last
    return matrix_diag_part(apply_op("Transpose", a, perm), k=offset)


# --- eye ----------------------------------------------------------------------------


def eye(
    num_rows: Any,
    num_columns: Any = None,
    batch_shape: Any = None,
    dtype: Any = dtypes.float32,
    name: str | None = None,
) -> Tensor:
    """Identity matrices [*batch_shape, num_rows, num_columns], square by default."""
    with name_scope(name, "eye", [num_rows, num_columns, batch_shape]):
        columns = num_rows if num_columns is None else num_columns
        batch = [] if batch_shape is None else batch_shape
        sizes = (num_rows, columns)
        if any(isinstance(n, Tensor) for n in (*sizes, batch)):
            least = apply_op("Minimum", *sizes) if num_columns is not None else num_rows
            length = apply_op("Reshape", least, [1])
            outer: Any = convert_to_tensor(batch, length.dtype)
            shape: Any = apply_op("ConcatV2", [outer, length], 0)
        else:
            outer = list(batch)
            shape = [*outer, min(sizes)]
        diagonal = ones(shape, dtype)
        if num_columns is None:
            return matrix_diag(diagonal)
        if isinstance(shape, Tensor):
            full = apply_op("Pack", list(sizes), axis=0)
            whole: Any = apply_op("ConcatV2", [outer, full], 0)
        else:
            whole = [*outer, *sizes]
        return matrix_set_diag(zeros(whole, dtype), diagonal)


# --- MatrixBandPart -----------------------------------------------------------------


def _band_part_lower(b: Builder, site: Site) -> View:
    x = site.inputs[0]
    lower, upper = b.integers(site.inputs[1])[0], b.integers(site.inputs[2])[0]
    if x.rank < 2:
        raise ValueError(
            f"input must be at least 2-dim, received shape: {list(x.shape)}"
        )
    if lower < 0 and upper < 0:
        view: View = x
        return view
    below = Index(x.rank - 2) - Index(x.rank - 1)
    conditions: list[Expr] = []
    if lower >= 0:
        conditions.append(scalar.less_equal(below, lower))
    if upper >= 0:
        conditions.append(scalar.greater_equal(below, -upper))
    inside = conditions[0]
    if len(conditions) == 2:
        inside = scalar.logical_and(*conditions)
    return b.map(lambda v: scalar.select(inside, v, Lit(0, v.dtype)), x)


family.op(
    "MatrixBandPart",
    (
        Input("input"),
        Input("num_lower", attr="Tindex", default=dtypes.int64, static=True),
        Input("num_upper", attr="Tindex", default=dtypes.int64, static=True),
    ),
    infer=_set_infer,
    lower=_band_part_lower,
)


@family.gradient("MatrixBandPart")
def _band_part_grad(op: Operation, dy: Tensor) -> Any:
    return [op.graph.apply("MatrixBandPart", dy, *op.inputs[1:]), None, None]


def matrix_band_part(
    input: Any, num_lower: Any, num_upper: Any, name: str | None = None
) -> Tensor:
    """Matrices without what is further below or above the diagonal; -1 keeps all."""
    return apply_op("MatrixBandPart", input, num_lower, num_upper, name=name)


@family.numpy_function(np.tril)
def _numpy_tril(m: Any, k: int = 0) -> Tensor:
    return _triangle(m, k, lower=True)


@family.numpy_function(np.triu)
def _numpy_triu(m: Any, k: int = 0) -> Tensor:
    return _triangle(m, k, lower=False)


def _triangle(m: Any, k: int, lower: bool) -> Tensor:
    if k:
        raise ValueError("np.tril() and np.triu() of a tensor have k = 0 only.")
    return matrix_band_part(m, *((-1, 0) if lower else (0, -1)))
