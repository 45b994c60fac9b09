"""The passes, in the only place that knows their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from gpugrad import config
from gpugrad.compiler.algebra import simplify
from gpugrad.compiler.cse import merge_equal_steps, write_outputs_directly
from gpugrad.compiler.dce import drop_dead_steps
from gpugrad.compiler.events import order_streams
from gpugrad.compiler.fold import fold_constants
from gpugrad.compiler.fuse import fuse
from gpugrad.compiler.join import join_groups
from gpugrad.compiler.memory import plan_memory
from gpugrad.compiler.narrow import narrow_products
from gpugrad.compiler.parts import split_readers
from gpugrad.compiler.pieces import place_pieces
from gpugrad.compiler.products import join_products
from gpugrad.compiler.recompute import recompute_cheap_values
from gpugrad.compiler.streams import assign_streams
from gpugrad.kir.program import Program
from gpugrad.kir.target import ONE_STREAM, Target
from gpugrad.kir.verify import check_program

Pass = Callable[[Program], Program]

# Every pass takes a valid Program and gives a valid one with the same results.
# Dead steps go first, so that no later pass works on them; outputs are placed
# before memory is planned, because they live outside the arena. Waits come last: they
# name steps by number, and reuse of memory needs some.
PASSES: Final[tuple[Pass, ...]] = (
    drop_dead_steps,
    fold_constants,
    merge_equal_steps,
    write_outputs_directly,
    simplify,
    narrow_products,
    join_products,
    fuse,
    join_groups,
    split_readers,
    recompute_cheap_values,
    place_pieces,
    assign_streams,
    plan_memory,
    order_streams,
)


def optimize(
    program: Program,
    passes: tuple[Pass, ...] = PASSES,
    target: Target = ONE_STREAM,
) -> Program:
    """Run the passes for ``target``; with Config.verify, check after each."""
    verify = config.current().verify
    if program.target != target:
        program = replace(program, target=target)
    for run_pass in passes:
        program = run_pass(program)
        if verify:
            check_program(program)
    return program
