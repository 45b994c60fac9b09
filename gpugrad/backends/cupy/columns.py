"""Folds by columns: neighbouring threads take neighbouring folds.

A block is ``width`` threads along the folds and ``height`` along their points; each
thread carries a run of folds, and the threads above each other join in shared memory.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gpugrad.backends.cupy import text
from gpugrad.backends.cupy.joins import join, rounded, start
from gpugrad.backends.cupy.layout import Argument, Nest, best_run, carried
from gpugrad.backends.cupy.literals import computed, storage
from gpugrad.backends.cupy.row_plan import RUN_WORDS, THREADS, run_words
from gpugrad.backends.cupy.rows import declare_outputs, fill_outputs, write_outputs
from gpugrad.backends.cupy.stages import Stage
from gpugrad.backends.cupy.text import Body, Indexing, Kernel, Run
from gpugrad.kir.scalar import Expr, Reduce

_WARP: Final = 32
# Shorter columns are folded by one thread each.
_SHORT: Final = 16
_SHARED_BYTES: Final = 40 << 10
_UNROLLED_COST: Final = 64


class Tile(NamedTuple):
    """A block's shape. ``chunk``: points of a column a block folds; 0 for all."""

    nest: Nest
    stage: Stage
    run: Run
    width: int
    height: int
    unroll: int
    chunk: int = 0

    @property
    def folds(self) -> tuple[Reduce, ...]:
        """What is folded."""
        return self.stage.folds

    @property
    def blocks(self) -> int:
        """Blocks along the folds."""
        return -(-self.nest.rows // (self.width * self.run.length))

    @property
    def indexing(self) -> Indexing:
        """How wide indices are."""
        return Indexing(self.nest.wide)


def plan(nest: Nest, stage: Stage) -> Tile:
    """The block for the one stage of ``nest``, which has a parallel axis or more."""
    inner = nest.parallel - 1
    length = best_run(nest, inner, ragged=False)
    cost = max(1, text.price(o.expr for o in nest.outputs))
    size = sum(max(f.dtype.itemsize, 4) for f in stage.folds)
    while length > 1 and (
        length * cost > 8 * _UNROLLED_COST
        or THREADS * length * size > _SHARED_BYTES
        or run_words(nest, length) > RUN_WORDS
    ):
        length //= 2
    width, height = THREADS, 1
    if nest.length >= _SHORT:
        width = 1
        while width < _WARP and width * length < nest.rows:
            width *= 2
        height = THREADS // width
    while height > 1 and width * height * length * size > _SHARED_BYTES:
        height //= 2
    unroll = 4 if cost * length <= _UNROLLED_COST else 1
    return Tile(nest, stage, Run(inner, length), width, height, unroll)


def make_columns(tile: Tile) -> Kernel:
    """The kernel; with a chunk, the first of two."""
    nest, indexing, run = tile.nest, tile.indexing, tile.run
    linear = indexing.linear
    body = Body()
    body.add(
        f"const {linear} column = (({linear})blockIdx.x * {tile.width}u + "
        f"threadIdx.x) * {run.length}u;",
        f"const bool active = column < {indexing.number(nest.rows)};",
        f"const {linear} point = active ? column : 0;",
        *text.coordinates("point", range(nest.parallel), nest, indexing),
    )
    _accumulate(body, tile)
    if tile.height > 1:
        _join(body, tile)
    body.add("if (active && threadIdx.y == 0) {")
    arguments = [(o.argument, storage(o.dtype)) for o in nest.loads.values()]
    beside = tile.stage.outputs
    arguments += [(o.target.argument, storage(o.target.dtype)) for o in beside]
    arguments += _write_chunks(body, tile) if tile.chunk else _write(body, tile)
    body.add("}")
    chunks = -(-nest.length // tile.chunk) if tile.chunk else 1
    return text.make_kernel(
        "columns_split" if tile.chunk else "columns",
        body.text,
        arguments,
        [o.expr for o in nest.outputs],
        (tile.blocks, chunks, 1),
        (tile.width, tile.height, 1),
        ["reduce.cuh"],
        partial=bool(tile.chunk),
    )


def _accumulate(body: Body, tile: Tile) -> None:
    nest, indexing, run = tile.nest, tile.indexing, tile.run
    linear = indexing.linear
    beside, roots = tile.stage.outputs, tile.stage.roots
    for number, fold in enumerate(tile.folds):
        body.add(
            f"{computed(fold.dtype)} a{number}[{run.length}];",
            "#pragma unroll",
            f"for (int e = 0; e < {run.length}; ++e) a{number}[e] = {start(fold)};",
        )
    begin, end = "threadIdx.y", indexing.number(nest.length)
    if tile.chunk:
        begin = f"blockIdx.y * {indexing.number(tile.chunk)} + threadIdx.y"
        limit = f"(blockIdx.y + 1) * {indexing.number(tile.chunk)}"
        body.add(
            f"const {linear} limit = {limit};",
            f"const {linear} end = limit < {end} ? limit : {end};",
        )
        end = "end"
    axes = range(len(nest.extents))
    body.add(
        f"#pragma unroll {tile.unroll}",
        f"for ({linear} place = {begin}; place < {end}; place += {tile.height}u) {{",
        *text.coordinates("place", axes[nest.parallel :], nest, indexing),
    )
    lines, names = text.point_values(body, nest, run, roots, {}, axes, indexing)
    declare_outputs(body, beside, run)
    body.add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{", *lines)
    for number, (fold, name) in enumerate(zip(tile.folds, names)):
        body.add(f"a{number}[e] = {join(fold)}::of(a{number}[e], {name});")
    fill_outputs(body, beside, names[len(tile.folds) :])
    body.add("}")
    if beside:
        body.add("if (active) {")
        write_outputs(body, beside, run, axes, indexing)
        body.add("}")
    body.add("}")


def _join(body: Body, tile: Tile) -> None:
    """The threads above each other, in halves."""
    run, width, height = tile.run, tile.width, tile.height
    cells = width * run.length
    for number, fold in enumerate(tile.folds):
        body.add(
            f"__shared__ {computed(fold.dtype)} shared{number}[{height}][{cells}];",
            "#pragma unroll",
            f"for (int e = 0; e < {run.length}; ++e) {{",
            f"shared{number}[threadIdx.y][e * {width} + threadIdx.x] = a{number}[e];",
            "}",
        )
    body.add(
        "__syncthreads();",
        f"for (u32 step = {height // 2}u; step > 0; step /= 2) {{",
        "if (threadIdx.y < step) {",
        "#pragma unroll",
        f"for (int e = 0; e < {run.length}; ++e) {{",
        f"const u32 cell = e * {width} + threadIdx.x;",
    )
    for number, fold in enumerate(tile.folds):
        shared = f"shared{number}"
        body.add(
            f"a{number}[e] = {join(fold)}::of(a{number}[e], "
            f"{shared}[threadIdx.y + step][cell]);",
            f"{shared}[threadIdx.y][cell] = a{number}[e];",
        )
    body.add("}", "}", "__syncthreads();", "}")


def _write_chunks(body: Body, tile: Tile) -> list[tuple[Argument, str]]:
    arguments = []
    where = f"blockIdx.y * {tile.indexing.number(tile.nest.rows)} + column + e"
    body.add("#pragma unroll", f"for (int e = 0; e < {tile.run.length}; ++e) {{")
    for number, fold in enumerate(tile.folds):
        kind = storage(carried(fold.dtype))
        arguments.append((Argument("scratch", number), kind))
        body.add(f"scratch{number}[{where}] = narrow<{kind}>(a{number}[e]);")
    body.add("}")
    return arguments


def _write(body: Body, tile: Tile) -> list[tuple[Argument, str]]:
    nest, run = tile.nest, tile.run
    axes = range(nest.parallel)
    folds: dict[Expr, str] = {f: f"r{number}" for number, f in enumerate(tile.folds)}
    outputs = [o for o in nest.outputs if not o.full]
    roots = [o.expr for o in outputs]
    lines, names = text.point_values(body, nest, run, roots, folds, axes, tile.indexing)
    declare_outputs(body, outputs, run)
    body.add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{")
    for number, fold in enumerate(tile.folds):
        value = rounded(f"a{number}[e]", fold.dtype)
        body.add(f"const {computed(fold.dtype)} r{number} = {value};")
    body.add(*lines)
    fill_outputs(body, outputs, names)
    body.add("}")
    write_outputs(body, outputs, run, axes, tile.indexing)
    return [(o.target.argument, storage(o.target.dtype)) for o in outputs]
