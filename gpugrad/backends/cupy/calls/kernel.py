"""What the rules of library calls share: kernels from a body and typed parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from gpugrad.backends.cupy.layout import Argument
from gpugrad.backends.cupy.text import Kernel, Lowered, Number, named_kernel, pointer
from gpugrad.dtypes import DType
from gpugrad.kir.program import Call
from gpugrad.kir.space import View

Rule = Callable[[Call], Lowered | None]

THREADS: Final = 256
# That fit a multiprocessor at a time, at the least: up to 128 registers a thread.
BLOCKS: Final = 2
# Numbers of rows and of places fit into 32 bits with room for one more.
COUNT_LIMIT: Final = 2**31


class Parameter(NamedTuple):
    """A pointer to elements of C type ``ctype``."""

    argument: Argument
    ctype: str
    written: bool = False


def load(number: int, ctype: str) -> Parameter:
    """Argument ``number`` of the call."""
    return Parameter(Argument("load", number), ctype)


def store(number: int, ctype: str) -> Parameter:
    """Result ``number`` of the call."""
    return Parameter(Argument("store", number), ctype, written=True)


def scratch(number: int, ctype: str, written: bool = True) -> Parameter:
    """Scratch memory ``number`` of the kernels."""
    return Parameter(Argument("scratch", number), ctype, written)


def make(
    kind: str,
    body: str,
    parameters: Sequence[Parameter],
    headers: Sequence[str],
    grid: tuple[int, int, int],
    block: tuple[int, int, int] = (THREADS, 1, 1),
    numbers: Sequence[tuple[str, Number]] = (),
) -> Kernel:
    """A kernel whose body sees in0, out0, scratch0, ... and the named numbers."""
    formals = [
        f"{'' if p.written else 'const '}{p.ctype}* __restrict__ {pointer(p.argument)}"
        for p in parameters
    ] + [f"{number.ctype} {name}" for name, number in numbers]
    threads = block[0] * block[1] * block[2]
    return named_kernel(
        kind,
        headers,
        # Without a number of blocks the assembler keeps to 32 registers, and spills.
        f"__launch_bounds__({threads}, {BLOCKS})",
        ", ".join(formals),
        "\n".join("  " + line for line in body.splitlines()),
        grid,
        block,
        (*[p.argument for p in parameters], *[n for _, n in numbers]),
    )


def blocks(count: int) -> tuple[int, int, int]:
    """A grid with a thread for each of ``count``."""
    return (-(-count // THREADS), 1, 1)


def all_contiguous(*views: View) -> bool:
    """True where kernels may count elements from the views' starts."""
    return all(v.is_contiguous for v in views)


def headers(name: str, dtype: DType) -> tuple[str, ...]:
    """``name``, and what its templates need for elements of ``dtype``."""
    return ("complex.cuh", name) if dtype.is_complex else (name,)
