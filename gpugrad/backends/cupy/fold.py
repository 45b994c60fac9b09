"""Which kernels fold a nest: by rows, by columns, in one step or in two.

By rows, neighbouring lanes take neighbouring points of one fold; by columns, they take
neighbouring folds. A fold that would leave most of the device idle is cut into chunks:
one kernel writes the chunks' results to scratch memory, a second folds those. The
order of all additions depends on the shapes alone, so results repeat bit by bit.
"""

from __future__ import annotations

from typing import Final

from gpugrad.backends.cupy import columns, row_plan, rows, text
from gpugrad.backends.cupy.layout import (
    WIDEST,
    Argument,
    Nest,
    Operand,
    Output,
    carried,
)
from gpugrad.backends.cupy.row_plan import THREADS, Plan
from gpugrad.backends.cupy.stages import Stage, stages
from gpugrad.backends.cupy.text import Kernel, Lowered
from gpugrad.kir.scalar import Expr, Load, Reduce, cast, substitute
from gpugrad.kir.space import contiguous_strides

# Blocks that keep every multiprocessor of the largest devices busy, and how many are
# made when a fold is cut.
_ENOUGH_BLOCKS: Final = 264
_WANTED_BLOCKS: Final = 528
_LEAST_ROW_CHUNK: Final = 8192
_LEAST_COLUMN_CHUNK: Final = 64


def make_fold(nest: Nest) -> Lowered:
    """The kernels of a nest with folds."""
    passes = stages(nest)
    along = _folds_along_memory(nest)
    if len(passes) > 1:
        return Lowered((rows.make_rows(row_plan.plan(nest, alone=not along)),))
    (stage,) = passes
    if along:
        plan = row_plan.plan(nest)
        chunk = _row_chunk(nest, plan)
        if chunk is None:
            return Lowered((rows.make_rows(plan),))
        chunks = -(-plan.runs // chunk)
        cut = plan._replace(lanes=THREADS, block=THREADS, chunk=chunk)
        first = rows.make_rows(cut)
    else:
        tile = columns.plan(nest, stage)
        chunk = _column_chunk(nest, tile)
        if chunk is None:
            return Lowered((columns.make_columns(tile),))
        chunks = -(-nest.length // chunk)
        first = columns.make_columns(tile._replace(chunk=chunk))
    return _in_two_steps(nest, stage, first, chunks)


def _folds_along_memory(nest: Nest) -> bool:
    """True if the points of one fold are nearer to each other than the folds are."""
    if not nest.loads or nest.parallel == 0:
        return True

    def span(operand: Operand) -> int:
        size = operand.dtype.itemsize
        for extent, stride in zip(nest.extents, operand.strides):
            size *= extent if stride else 1
        return size

    leader = max(nest.loads.values(), key=span)
    steps = [(abs(s), a) for a, s in enumerate(leader.strides) if s]
    return not steps or min(steps)[1] >= nest.parallel


def _row_chunk(nest: Nest, plan: Plan) -> int | None:
    """How many runs a block takes of a fold that is cut; None if it is not."""
    if nest.rows >= _ENOUGH_BLOCKS or nest.length < 4 * _LEAST_ROW_CHUNK:
        return None
    if plan.share or plan.lanes < THREADS:
        return None
    wanted = -(-_WANTED_BLOCKS // nest.rows)
    chunks = min(wanted, nest.length // _LEAST_ROW_CHUNK)
    step = THREADS
    return _ceil(_ceil(plan.runs, chunks), step) * step


def _column_chunk(nest: Nest, tile: columns.Tile) -> int | None:
    """How many points a block folds of a column that is cut; None if it is not."""
    if tile.blocks >= _ENOUGH_BLOCKS or nest.length < 4 * _LEAST_COLUMN_CHUNK:
        return None
    wanted = -(-_WANTED_BLOCKS // tile.blocks)
    chunks = min(wanted, nest.length // _LEAST_COLUMN_CHUNK)
    return _ceil(_ceil(nest.length, chunks), tile.height) * tile.height


def _ceil(amount: int, unit: int) -> int:
    return -(-amount // unit)


def _in_two_steps(nest: Nest, stage: Stage, first: Kernel, chunks: int) -> Lowered:
    """``first`` wrote each chunk's fold to scratch; a second kernel folds those."""
    parallel = nest.extents[: nest.parallel]
    steps = (*contiguous_strides(parallel), nest.rows)
    folds = stage.folds
    once = [o for o in nest.outputs if not o.full]
    outside = text.used_slots([o.expr for o in once], folds)
    loads = {slot: _over_chunks(nest.loads[slot], nest.parallel) for slot in outside}
    mapping: dict[Expr, Expr] = {}
    for number, fold in enumerate(folds):
        slot = max(nest.loads, default=-1) + 1 + number
        dtype = carried(fold.dtype)
        loads[slot] = Operand(Argument("scratch", number), dtype, steps, WIDEST)
        mapping[fold] = cast(Reduce(fold.kind, Load(slot, dtype)), fold.dtype)
    outputs = tuple(
        Output(
            _over_chunks(o.target, nest.parallel), substitute(o.expr, mapping), False
        )
        for o in once
    )
    second = Nest((*parallel, chunks), nest.parallel, loads, outputs)
    if _folds_along_memory(second):
        last = rows.make_rows(row_plan.plan(second))
    else:
        last = columns.make_columns(columns.plan(second, stages(second)[0]))
    scratch = tuple(nest.rows * chunks * carried(fold.dtype).itemsize for fold in folds)
    return Lowered((first, last), scratch)


def _over_chunks(operand: Operand, parallel: int) -> Operand:
    return operand._replace(strides=(*operand.strides[:parallel], 0))
