"""One Group for every kind of kernel that the generator can emit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from gpugrad import dtypes
from gpugrad.backends.cupy import scalar as table
from gpugrad.backends.cupy.literals import STORAGE
from gpugrad.dtypes import DType
from gpugrad.kir import scalar as s
from gpugrad.kir.builder import Builder
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Index, Load, Reduce
from gpugrad.kir.space import View
from gpugrad.ops import bessel, integrals


class Case(NamedTuple):
    """A Group and what it is for."""

    name: str
    group: Group


# Every element type that a kernel can hold; bfloat16 if ml_dtypes is there.
DTYPES = tuple(d for d in dtypes.ALL if d.name in STORAGE and d.np_dtype is not None)
FLOATS = tuple(d for d in DTYPES if d.is_floating)


def _only(builder: Builder) -> Group:
    (group,) = builder.steps
    assert isinstance(group, Group)
    return group


def _arguments(op: s.ScalarOp, dtype: DType) -> tuple[DType, ...]:
    if op is s.select:
        return (dtypes.bool_, dtype, dtype)
    return (dtype,) * op.arity


# --- elementwise ------------------------------------------------------------------


def function_cases(size: int = 4099) -> Iterator[Case]:
    """Every scalar function for every dtype that it takes; the size leaves a rest."""
    for op in s.OPS.values():
        if op is s.cast_op:
            continue
        for dtype in DTYPES:
            if not table.supports(op.name, dtype):
                continue
            builder = Builder()
            views = [builder.new(d, (size,)) for d in _arguments(op, dtype)]
            builder.map(op, *views)
            yield Case(f"{op.name}-{dtype.name}", _only(builder))


def composed_cases(size: int = 257) -> Iterator[Case]:
    """Ops that are long expressions rather than one scalar function."""
    for op_type, function in (*bessel.FUNCTIONS.items(), *integrals.FUNCTIONS.items()):
        for dtype in (dtypes.float16, dtypes.float32, dtypes.float64):
            builder = Builder()
            builder.map(function, builder.new(dtype, (size,)))
            yield Case(f"{op_type}-{dtype.name}", _only(builder))


def cast_cases(size: int = 1031) -> Iterator[Case]:
    """Every pair of dtypes."""
    for source in DTYPES:
        for target in DTYPES:
            builder = Builder()
            view = builder.new(source, (size,))
            builder.map(lambda x: x, view, dtype=target)
            yield Case(f"cast-{source.name}-{target.name}", _only(builder))


class Layout(NamedTuple):
    """A way to view buffers, as a shape and views of them."""

    name: str
    views: Callable[[Builder, DType], tuple[View, ...]]
    vector: bool = False


def _flipped(view: View) -> View:
    last = view.rank - 1
    offset = view.offset + (view.shape[last] - 1) * view.strides[last]
    strides = (*view.strides[:last], -view.strides[last])
    return View(view.buffer, view.shape, strides, offset)


LAYOUTS = (
    Layout("vector", lambda b, d: (b.new(d, (64, 96)), b.new(d, (64, 96))), True),
    Layout("odd", lambda b, d: (b.new(d, (7, 13)), b.new(d, (7, 13)))),
    Layout("scalars", lambda b, d: (b.new(d, ()), b.new(d, ()))),
    Layout("row", lambda b, d: (b.new(d, (24, 48)), b.new(d, (48,))), True),
    Layout("column", lambda b, d: (b.new(d, (24, 48)), b.new(d, (24, 1))), True),
    Layout("one", lambda b, d: (b.new(d, (24, 48)), b.new(d, ()))),
    Layout("outer", lambda b, d: (b.new(d, (9, 1, 5)), b.new(d, (1, 6, 5)))),
    Layout(
        "transposed",
        lambda b, d: (b.new(d, (33, 20)), b.new(d, (20, 33)).transpose((1, 0))),
    ),
    Layout(
        "offset",
        lambda b, d: (b.new(d, (65,)).slice((1,), (64,)), b.new(d, (64,))),
    ),
    Layout(
        "sliced",
        lambda b, d: (
            b.new(d, (10, 64)).slice((2, 0), (8, 32), (1, 2)),
            b.new(d, (8, 40)).slice((0, 8), (8, 32)),
        ),
    ),
    Layout("flipped", lambda b, d: (_flipped(b.new(d, (6, 32))), b.new(d, (6, 32)))),
    Layout(
        "permuted",
        lambda b, d: (
            b.new(d, (4, 5, 6, 8)).transpose((2, 0, 3, 1)),
            b.new(d, (6, 4, 8, 5)),
        ),
    ),
)


def layout_cases() -> Iterator[Case]:
    """Every layout for every dtype, with a function of two arguments."""
    for layout in LAYOUTS:
        for dtype in DTYPES:
            builder = Builder()
            views = layout.views(builder, dtype)
            op = s.logical_xor if dtype.is_bool else s.add
            builder.map(op, *views)
            yield Case(f"{layout.name}-{dtype.name}", _only(builder))


def _mixed_case(sources: tuple[DType, ...], target: DType) -> Case:
    builder = Builder()
    views = [builder.new(d, (16, 128)) for d in sources]

    def total(*args: Expr) -> Expr:
        first, *rest = [s.cast(a, target) for a in args]
        for arg in rest:
            first = first + arg
        return first

    builder.map(total, *views)
    names = "+".join(d.name for d in (*sources, target))
    return Case(f"mixed-{names}", _only(builder))


def special_cases() -> Iterator[Case]:
    """Mixed dtypes, coordinates, several stores, constants and empty spaces."""
    d = dtypes
    yield _mixed_case((d.float16, d.float32, d.bool_), d.float32)
    yield _mixed_case((d.float32, d.float64), d.float64)
    yield _mixed_case((d.int8, d.int64, d.float32), d.float32)
    yield _mixed_case((d.complex64, d.float32), d.complex64)
    for shape in ((1000,), (30, 40), (7, 1, 9), (4, 5, 6)):
        builder = Builder()
        builder.generate(lambda *i: sum(i[1:], i[0]) * 3, shape, d.int32)
        yield Case(f"index-{'x'.join(map(str, shape))}", _only(builder))
    builder = Builder()
    x = builder.new(d.float32, (20, 30))
    low, high = builder.new(d.float32, (20, 30)), builder.new(d.bool_, (20, 30))
    v = Load(0, d.float32)
    stores = (Store(low, v * v), Store(high, s.greater(v, s.cast(Index(1), d.float32))))
    yield Case("two-stores", Group((20, 30), (False,) * 2, (x,), stores))
    for dtype in DTYPES:
        builder = Builder()
        builder.fill(1, dtype, (257,))
        yield Case(f"fill-{dtype.name}", _only(builder))
    builder = Builder()
    builder.map(s.neg, builder.new(d.float32, (0, 4)))
    yield Case("empty", _only(builder))


# --- folds ------------------------------------------------------------------------


class Fold(NamedTuple):
    """A shape and the axes that are folded."""

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]


FOLDS = (
    Fold("thread-row", (300, 3), (1,)),
    Fold("subwarp-row", (300, 16), (1,)),
    Fold("subwarp-odd-row", (100, 19), (1,)),
    Fold("warp-row", (40, 512), (1,)),
    Fold("warp-odd-row", (40, 511), (1,)),
    Fold("block-row", (40, 4096), (1,)),
    Fold("block-odd-row", (5, 4097), (1,)),
    Fold("long-row", (2, 40000), (1,)),
    Fold("full", (40003,), (0,)),
    Fold("full-small", (7, 5), (0, 1)),
    Fold("column", (64, 48), (0,)),
    Fold("short-column", (5, 300), (0,)),
    Fold("narrow-column", (200, 3), (0,)),
    Fold("long-column", (4000, 12), (0,)),
    Fold("middle", (6, 50, 20), (1,)),
    Fold("outer-and-inner", (6, 7, 50), (0, 2)),
    Fold("one", (5, 1), (1,)),
    Fold("nothing", (5, 0), (1,)),
)
KINDS = s.REDUCTIONS


def folds_dtype(kind: str, dtype: DType) -> bool:
    """Whether a reduction takes a dtype."""
    if kind in ("all", "any"):
        return dtype.is_bool
    return not (dtype.is_complex and kind in ("max", "min"))


def fold_cases(
    dtypes_: tuple[DType, ...] = DTYPES, folds: tuple[Fold, ...] = FOLDS
) -> Iterator[Case]:
    """Every reduction of every dtype over every shape, with something after it."""
    for fold in folds:
        for kind in KINDS:
            for dtype in dtypes_:
                if not folds_dtype(kind, dtype):
                    continue
                builder = Builder()
                view = builder.new(dtype, fold.shape)
                builder.reduce(kind, view, fold.axes, after=lambda r: _twice(r))
                yield Case(f"{kind}-{fold.name}-{dtype.name}", _only(builder))


def _twice(value: Expr) -> Expr:
    return s.logical_not(value) if value.dtype.is_bool else value + value


def _row_group(
    shape: tuple[int, ...],
    axis: int,
    make: Callable[[Any], list[tuple[Expr, bool]]],
    dtype: DType = dtypes.float32,
) -> Group:
    """Stores of ``make(load)``: (expression, whether it has a value at every point)."""
    builder = Builder()
    view = builder.new(dtype, shape)
    reduced = tuple(i == axis for i in range(len(shape)))
    stores = []
    for expr, full in make(Load(0, dtype)):
        if full:
            out = builder.new(expr.dtype, shape)
        else:
            kept = tuple(1 if r else n for n, r in zip(shape, reduced))
            out = builder.new(expr.dtype, kept)
            strides = tuple(0 if r else v for v, r in zip(out.strides, reduced))
            out = View(out.buffer, kept, strides, 0)
        stores.append(Store(out, expr))
    return Group(shape, reduced, (view,), tuple(stores))


def _softmax(x: Expr) -> list[tuple[Expr, bool]]:
    size = s.exp(x - Reduce("max", x))
    return [(s.div(size, Reduce("sum", size)), True)]


def _moments(x: Expr) -> list[tuple[Expr, bool]]:
    mean = Reduce("sum", x) * 0.125
    away = x - mean
    return [(mean, False), (Reduce("sum", away * away), False), (away, True)]


def _extremes(x: Expr) -> list[tuple[Expr, bool]]:
    return [(Reduce("max", x), False), (Reduce("min", x) + Reduce("sum", x), False)]


def _beside(x: Expr) -> list[tuple[Expr, bool]]:
    square = x * x
    last = [(Reduce("max", x), False), (x + x, True)]
    return [(square, True), (Reduce("sum", square) * 0.5, False), *last]


def beside_cases() -> Iterator[Case]:
    """What is stored at every point beside its folds, cut in two steps or not."""
    shapes = (
        ((40, 24), 1), ((5, 4097), 1), ((2, 40003), 1), ((40003,), 0),
        ((64, 48), 0), ((200, 3), 0), ((4000, 12), 0),
    )  # fmt: skip
    for shape, axis in shapes:
        for dtype in FLOATS:
            name = f"beside-{'x'.join(map(str, shape))}-{dtype.name}"
            yield Case(name, _row_group(shape, axis, _beside, dtype))


def crowded_cases() -> Iterator[Case]:
    """As many loads and stores as a merged kernel has, with a fold and without."""
    for reduced in ((False, False), (False, True), (True, False), (True, True)):
        builder = Builder()
        loads = tuple(builder.new(dtypes.float32, (64, 128)) for _ in range(14))
        exprs = [Load(i, dtypes.float32) for i in range(14)]
        stores = [
            Store(builder.new(dtypes.float32, (64, 128)), s.tanh(a + b) * c)
            for a, b, c in zip(exprs, exprs[1:], exprs[2:10])
        ]
        if any(reduced):
            kept = tuple(1 if r else n for n, r in zip((64, 128), reduced))
            out = builder.new(dtypes.float32, kept)
            strides = tuple(0 if r else v for v, r in zip(out.strides, reduced))
            total = Reduce("sum", exprs[12] * exprs[13])
            stores.append(Store(View(out.buffer, kept, strides, 0), total))
        name = "".join("r" if r else "p" for r in reduced)
        group = Group((64, 128), reduced, loads, tuple(stores))
        yield Case(f"crowded-{name}", group)


def back_cases() -> Iterator[Case]:
    """Several folds, folds of folds, and results that are broadcast back."""
    shapes = (((40, 24), 1), ((12, 300), 1), ((3, 4100), 1), ((24, 40), 0), ((70,), 0))
    for shape, axis in shapes:
        for make in (_softmax, _moments, _extremes):
            for dtype in FLOATS:
                name = f"{make.__name__[1:]}-{'x'.join(map(str, shape))}-{dtype.name}"
                yield Case(name, _row_group(shape, axis, make, dtype))
    builder = Builder()
    x, b = builder.new(dtypes.float32, (50, 60)), builder.new(dtypes.float32, (50, 1))
    one = Reduce("sum", Load(0, dtypes.float32) * s.cast(Index(1), dtypes.float32))
    expr = one * Load(1, dtypes.float32) + s.cast(Index(0), dtypes.float32)
    out = builder.new(dtypes.float32, (50, 1))
    out = View(out.buffer, (50, 1), (1, 0), 0)
    loads = (x, b.broadcast((50, 60)))
    yield Case(
        "after-loads", Group((50, 60), (False, True), loads, (Store(out, expr),))
    )


def all_cases() -> Iterator[Case]:
    """Everything above."""
    yield from function_cases()
    yield from composed_cases()
    yield from cast_cases()
    yield from layout_cases()
    yield from special_cases()
    yield from fold_cases()
    yield from back_cases()
    yield from beside_cases()
    yield from crowded_cases()


def wide_cases() -> Iterator[Case]:
    """Kernels whose indices need 64 bits: too large to run in a test."""
    many = 1 << 32
    for name, shape, axes in (
        ("vector", (many,), None),
        ("odd", (many // 16, 17), None),
        ("full", (many,), (0,)),
        ("row", (many // 4096, 4096), (1,)),
        ("column", (1 << 20, 8192), (0,)),
    ):
        builder = Builder()
        view = builder.new(dtypes.float32, shape)
        if axes is None:
            builder.map(s.add, view, builder.new(dtypes.float32, shape[-1:]))
        else:
            builder.reduce("sum", view, axes)
        yield Case(f"wide-{name}", _only(builder))
