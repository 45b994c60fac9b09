"""Library calls that have kernels of their own, with operands, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.dtypes import DType
from gpugrad.kir.builder import Builder
from gpugrad.kir.philox import philox
from gpugrad.kir.program import Call
from gpugrad.ops import (
    convolve,
    gather,
    scan,
    scatter,
    segment,
    slice_at,
    variable_rows,
)


class Case(NamedTuple):
    """A call and its arguments, in order."""

    name: str
    call: Call
    arguments: tuple[np.ndarray, ...]

    def expected(self) -> list[np.ndarray]:
        """What the call's own impl gives with NumPy."""
        outs = tuple(np.zeros(v.shape, v.dtype.np_dtype) for v in self.call.outs)
        with np.errstate(all="ignore"):
            self.call.impl(np, outs, *self.arguments, **dict(self.call.attrs))
        return list(outs)


NUMBERS = tuple(
    d
    for d in dtypes.ALL
    if d.np_dtype is not None
    and d.name in ("float16", "float32", "float64", "int32", "int64", "uint8",
                   "complex64")
)  # fmt: skip
FLOATS = (dtypes.float16, dtypes.float32, dtypes.float64)


def make(
    name: str,
    call: str,
    impl: Callable[..., None],
    arguments: list[np.ndarray],
    outs: list[tuple[DType, tuple[int, ...]]],
    **attrs: Any,
) -> Case:
    """A case whose arguments are whole buffers."""
    builder = Builder()
    views = [builder.new(dtypes.as_dtype(a.dtype), a.shape) for a in arguments]
    builder.call(call, impl, views, outs, **attrs)
    (step,) = builder.steps
    assert isinstance(step, Call)
    return Case(name, step, tuple(arguments))


def values(rng: np.random.Generator, dtype: DType, shape: Any) -> np.ndarray:
    """Small numbers."""
    if dtype.is_integer:
        return rng.integers(0, 9, shape).astype(dtype.np_dtype)
    found = rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape)
    if dtype.is_complex:
        found = found + 1j * rng.uniform(-2, 2, shape)
    return found.astype(dtype.np_dtype)


# --- gather ---------------------------------------------------------------------------


def gathers() -> Iterator[Case]:
    """Widths that are vectors and that are not, all index types, batches, nothing."""
    rng = np.random.default_rng(1)
    for dtype in (*NUMBERS, dtypes.bool_, dtypes.complex128):
        for batch, before, n, m, width in (
            (1, 1, 7, 5, 8),
            (2, 3, 4, 6, 3),
            (1, 1, 1, 300, 1),
            (1, 2, 5, 0, 4),
        ):
            table = values(rng, dtype, (batch, before, n, width))
            for index_dtype in (np.int32, np.int64):
                index = rng.integers(0, n, (batch, m)).astype(index_dtype)
                yield make(
                    f"gather-{dtype.name}-{width}", "gather", gather._gather,
                    [table, index], [(dtype, (batch, before, m, width))],
                    shape=index.shape,
                )  # fmt: skip
    table = values(rng, dtypes.float32, (3, 4, 5, 2))
    vectors = rng.integers(0, 3, (9, 2)).astype(np.int32)
    yield make(
        "gather_nd", "gather_nd", gather._gather_nd,
        [table.reshape(12, 10), vectors], [(dtypes.float32, (9, 10))], extents=(3, 4),
    )  # fmt: skip
    yield make(
        "gather_rows", "gather_rows", variable_rows.gather_rows,
        [table, vectors], [(dtypes.float32, (9, 2, 4, 5, 2))],
    )  # fmt: skip


# --- parts ----------------------------------------------------------------------------

# shape, sizes of a part, kinds of start by moving axis, starts
PARTS: tuple[tuple[Any, Any, dict[int, str], tuple[int, ...]], ...] = (
    ((7, 8), (1, 8), {0: "index"}, (-2,)),
    ((7, 8), (1, 8), {0: "index"}, (3,)),
    ((7, 6), (1, 1), {0: "index", 1: "index"}, (6, -6)),
    ((5,), (1,), {0: "index"}, (4,)),
    ((4, 3, 16), (4, 1, 16), {1: "index"}, (2,)),
    ((4, 3, 5), (2, 3, 4), {0: "part", 2: "part"}, (2, 1)),
    ((9, 32), (9, 8), {1: "range"}, (-24,)),
    ((1, 300, 3), (1, 100, 3), {1: "range"}, (-300,)),
    ((2, 0, 3), (1, 0, 3), {0: "index"}, (1,)),
)


def parts() -> Iterator[Case]:
    """Elements, rows, columns and blocks, aligned and not; reads and their reverse."""
    rng = np.random.default_rng(5)
    for dtype in (*NUMBERS, dtypes.bool_, dtypes.complex128):
        for shape, sizes, moving, starts in PARTS:
            attrs = {"axes": tuple(moving), "kinds": tuple(moving.values())}
            x, part = values(rng, dtype, shape), values(rng, dtype, sizes)
            for index_dtype in (np.int32, np.int64):
                given = [np.array(n, index_dtype) for n in starts]
                name = f"{dtype.name}-{shape}-{sizes}"
                yield make(
                    f"slice_at-{name}", "slice_at", slice_at._slice_at,
                    [x, *given], [(dtype, sizes)], **attrs,
                )  # fmt: skip
                if part.size:
                    yield make(
                        f"put_at-{name}", "put_at", slice_at._put_at,
                        [part, *given], [(dtype, shape)], **attrs,
                    )  # fmt: skip


# --- scatter and segments -------------------------------------------------------------


def combinations() -> Iterator[Case]:
    """Every way to meet, for numbers that have it; few and many rows of one place."""
    rng = np.random.default_rng(2)
    shapes = ((5, 9, 3), (40, 33, 1), (1, 600, 2), (3, 0, 4), (3000, 70, 1), (2, 5, 40))
    for n, m, width in shapes:
        ids = rng.integers(0, n, m).astype(np.int32)
        for dtype in NUMBERS:
            if dtype is not dtypes.float32 and m != 9:
                continue
            rows = values(rng, dtype, (m, width))
            base = values(rng, dtype, (n, width))
            kinds = KINDS if n < 1000 else ("sum",)  # large ones take long
            yield from _segments(dtype, rows, ids - (m > 8), n, kinds)
            yield from _scatters(dtype, base, ids, rows, only_sums=n >= 1000)
    # Thousands of rows, over several tiles of the sort.
    ids = rng.integers(0, 9_000, 5_000).astype(np.int64)
    rows = values(rng, dtypes.float64, (5_000, 1))
    yield from _segments(dtypes.float64, rows, ids, 9_000, kinds=("sum",))


KINDS = ("sum", "prod", "max", "min", "mean")


def _segments(
    dtype: DType, rows: np.ndarray, ids: np.ndarray, n: int, kinds: Any = KINDS
) -> Iterator[Case]:
    for kind in kinds:
        if dtype.is_complex and kind not in ("sum", "prod"):
            continue
        if kind == "mean" and not dtype.is_floating:
            continue
        empty = None if kind == "mean" else segment._start(kind, dtype)
        yield make(
            f"segments-{kind}-{dtype.name}-{rows.shape}", "segments",
            segment._segments, [rows, ids], [(dtype, (n, rows.shape[1]))],
            kind=kind, empty=empty,
        )  # fmt: skip


_WRITES = ("set", "add", "subtract", "multiply", "maximum", "minimum", "divide")


def _scatters(
    dtype: DType,
    base: np.ndarray,
    ids: np.ndarray,
    rows: np.ndarray,
    only_sums: bool = False,
) -> Iterator[Case]:
    vectors, shape = ids[:, None], base.shape
    name = f"{dtype.name}-{rows.shape}"
    out = [(dtype, shape)]
    yield make(
        f"scatter_nd-{name}", "scatter_nd", scatter._scatter_nd, [vectors, rows], out,
        extents=shape[:1],
    )  # fmt: skip
    for kind in ("sum",) if only_sums else ("update", "sum", "sub", "max", "min"):
        if dtype.is_complex and kind in ("max", "min"):
            continue
        yield make(
            f"tensor_scatter-{kind}-{name}", "tensor_scatter",
            scatter._tensor_scatter, [base, vectors, rows], out,
            extents=shape[:1], kind=kind,
        )  # fmt: skip
    for how in ("add",) if only_sums else _WRITES:
        if how == "divide" and len(rows) > 100 * len(base):
            continue  # a product of hundreds of numbers underflows
        if dtype.is_complex and how in ("maximum", "minimum", "divide"):
            continue
        if how == "divide" and not dtype.is_floating:
            continue
        yield make(
            f"scatter-{how}-{name}", "scatter", variable_rows.scatter,
            [base, ids, rows], out,
            how=how, nd=False,
        )  # fmt: skip
    if dtype is dtypes.float32:
        yield make(
            f"sum_equal_rows-{name}", "sum_equal_rows", variable_rows.sum_equal_rows,
            [rows, ids], [(dtype, rows.shape)], size=len(base),
        )  # fmt: skip


# --- scans ----------------------------------------------------------------------------


def scans() -> Iterator[Case]:
    """Every scan, both ways, along every kind of axis, cut in chunks and whole."""
    rng = np.random.default_rng(3)
    impls = {
        "cumsum": scan._accumulate("cumsum", 0),
        "cumprod": scan._accumulate("cumprod", 1),
        "cumulative_logsumexp": scan._cumulative_logsumexp,
        "linear_recurrence": scan._linear_recurrence,
    }
    for shape, axis in (((7,), 0), ((3, 5, 4), 1), ((2, 300), 1), ((130, 3), 0)):
        for name, impl in impls.items():
            for dtype in NUMBERS:
                if name == "cumulative_logsumexp" and not dtype.is_floating:
                    continue
                if shape[axis] > 20 and (name == "cumprod" or dtype.itemsize < 4):
                    continue  # out of the type's range
                if shape == (130, 3) and dtype is not dtypes.float32:
                    continue
                arguments = [values(rng, dtype, shape)]
                if name == "linear_recurrence":
                    arguments = [(arguments[0] / 4).astype(dtype.np_dtype)]
                    arguments.append(values(rng, dtype, shape))
                for exclusive, reverse in ((False, False), (True, True), (True, False)):
                    yield make(
                        f"{name}-{dtype.name}-{shape}-{axis}-{exclusive}-{reverse}",
                        name, impl, arguments, [(dtype, shape)],
                        axis=axis, exclusive=exclusive, reverse=reverse,
                    )  # fmt: skip


# --- convolutions ---------------------------------------------------------------------

# window, strides, dilations, pads, sizes, groups, inner, outer
GEOMETRIES = (
    ((3, 2), (1, 1), (1, 1), ((1, 1), (0, 1)), (6, 5), 1, 3, 4),
    ((3, 3), (2, 3), (1, 1), ((0, 1), (1, 1)), (9, 7), 2, 2, 3),
    ((2, 2), (1, 2), (2, 1), ((0, 0), (0, 0)), (5, 6), 1, 5, 70),
    ((1, 1), (2, 2), (1, 1), ((0, 0), (0, 0)), (4, 5), 1, 20, 2),
    ((2, 1, 2), (1, 2, 1), (1, 1, 1), ((1, 0), (0, 0), (0, 1)), (3, 4, 3), 1, 2, 3),
)


def convolutions(batch: int = 3) -> Iterator[Case]:
    """All parts of a convolution, and of depthwise ones."""
    for numbers in GEOMETRIES:
        for dtype in FLOATS if numbers is GEOMETRIES[1] else (dtypes.float32,):
            yield from _convolution(dtype, numbers, batch)
    # A filter's sum over so many places that it is cut.
    wide = ((2, 2), (1, 1), (1, 1), ((0, 0), (0, 0)), (33, 34), 1, 2, 3)
    yield from _convolution(dtypes.float32, wide, 3)


def _convolution(dtype: DType, numbers: Any, batch: int) -> Iterator[Case]:
    window, strides, dilations, pads, sizes, groups, inner, outer = numbers
    positions = tuple(
        (n + sum(p) - (k - 1) * d - 1) // s + 1
        for n, p, k, d, s in zip(sizes, pads, window, dilations, strides)
    )
    for depthwise in (False, True):
        groups, inner = (inner * groups, 1) if depthwise else (groups, inner)
        outer = min(outer, 4) if depthwise else outer
        g = convolve.Geometry(
            window, strides, dilations, pads, sizes, positions, groups, inner, outer
        )
        rng = np.random.default_rng(4)
        x = values(rng, dtype, (batch, *sizes, groups * inner))
        tail = (groups, outer) if depthwise else (inner, groups * outer)
        w = values(rng, dtype, (*window, *tail))
        dy = values(rng, dtype, (batch, *positions, groups * outer))
        prefix = "depthwise_" if depthwise else ""
        for part, arguments, like in (
            ("forward", [x, w], dy),
            ("to_input", [w, dy], x),
            ("to_filter", [x, dy], w),
        ):
            yield make(
                f"conv-{prefix}{part}-{dtype.name}-{window}-{strides}",
                f"conv_{prefix}{part}", getattr(convolve, prefix + part), arguments,
                [(dtype, like.shape)], geometry=g,
            )  # fmt: skip


def random_words() -> Iterator[Case]:
    """A whole number of blocks of four words, and not."""
    for size in (1003, 4096, 0):
        yield make(
            f"philox-{size}", "philox", philox, [np.array(5)],
            [(dtypes.uint32, (size,))], key0=1, key1=2,
        )  # fmt: skip


FAMILIES: dict[str, Callable[[], Iterator[Case]]] = {
    "gather": gathers,
    "slice_at": parts,
    "combine": combinations,
    "scan": scans,
    "convolution": convolutions,
    "philox": random_words,
}
