"""The passes, in the only place that knows their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gpugrad import config
from gpugrad.compiler.cse import merge_equal_steps, write_outputs_directly
from gpugrad.compiler.dce import drop_dead_steps
from gpugrad.compiler.memory import plan_memory
from gpugrad.compiler.streams import assign_streams
from gpugrad.kir.program import Program
from gpugrad.kir.verify import check_program

Pass = Callable[[Program], Program]

# Every pass takes a valid Program and gives a valid one with the same results.
# Dead steps go first, so that no later pass works on them; outputs are placed
# before memory is planned, because they live outside the arena.
PASSES: Final[tuple[Pass, ...]] = (
    drop_dead_steps,
    merge_equal_steps,
    write_outputs_directly,
    assign_streams,
    plan_memory,
)


def optimize(program: Program, passes: tuple[Pass, ...] = PASSES) -> Program:
    """Run the passes; with Config.verify, check the program after each."""
    verify = config.current().verify
    for run_pass in passes:
        program = run_pass(program)
        if verify:
            check_program(program)
    return program
