"""Kernels without folds: each thread takes a few runs of neighbouring points."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Final

from gpugrad.backends.cupy import text
from gpugrad.backends.cupy.layout import Argument, Nest, best_run
from gpugrad.backends.cupy.literals import storage
from gpugrad.backends.cupy.text import Body, Indexing, Kernel, Run

THREADS: Final = 256
# Bytes each thread should have on the way per input: with 1536 threads on a
# multiprocessor, two 16-byte loads cover the latency of an H200's memory.
_IN_FLIGHT: Final = 32
# Registers that loads may fill before the first is used, in 4-byte words.
_LOAD_WORDS: Final = 64
# Above this cost (scalar.cost) a thread's points are not all unrolled.
_UNROLLED_COST: Final = 512
# Below this many points there are too few blocks for a thread to take several runs.
_FEW_POINTS: Final = 1 << 19


def make_elementwise(nest: Nest, one: Collection[Argument] = ()) -> Kernel:
    """The kernel of a nest whose axes are all parallel.

    ``one``: arguments that may be the same memory, the same element at each point.
    """
    indexing = Indexing(nest.wide)
    run, repeats = _shape(nest)
    points = prod(nest.extents)
    runs = points // run.length
    body = Body()
    tile = THREADS * repeats
    body.add(
        f"const {indexing.linear} first = "
        f"({indexing.linear})blockIdx.x * {indexing.number(tile)} + threadIdx.x;"
    )
    _phases(body, nest, run, repeats, runs, indexing)
    rest = points % run.length
    if rest:
        _rest(body, nest, runs * run.length, rest, indexing)
    blocks = -(-runs // tile)
    return text.make_kernel(
        "map",
        body.text,
        [(o.argument, storage(o.dtype)) for o in nest.operands],
        [o.expr for o in nest.outputs],
        (max(blocks, 1), 1, 1),
        (THREADS, 1, 1),
        one=one,
    )


def _shape(nest: Nest) -> tuple[Run, int]:
    """How many neighbours make a run, and how many runs a thread takes."""
    cost = max(1, text.price(o.expr for o in nest.outputs))
    inner = len(nest.extents) - 1
    length = best_run(nest, inner, ragged=inner == 0) if inner >= 0 else 1

    def words(run: int) -> int:
        return sum(max(o.dtype.itemsize * run // 4, 1) for o in nest.loads.values())

    while length > 1 and (
        length * cost > _UNROLLED_COST or words(length) > _LOAD_WORDS
    ):
        length //= 2
    sizes = [o.dtype.itemsize for o in nest.operands]
    repeats = max(1, _IN_FLIGHT // (length * max(sizes)))
    repeats = min(repeats, 4)
    while repeats > 1 and (
        repeats * length * cost > _UNROLLED_COST
        or repeats * words(length) > _LOAD_WORDS
        or prod(nest.extents) < _FEW_POINTS
    ):
        repeats //= 2
    return Run(inner, length), repeats


def _phases(
    body: Body, nest: Nest, run: Run, repeats: int, runs: int, indexing: Indexing
) -> None:
    """All loads of a thread before its first value, so that they overlap."""
    axes = range(len(nest.extents))
    dimension = f"[{repeats}]"
    for slot, operand in nest.loads.items():
        body.add(text.declare(f"x{slot}", operand, run, dimension))

    def open_loop() -> None:
        body.add(
            "#pragma unroll",
            f"for (int u = 0; u < {repeats}; ++u) {{",
            f"const {indexing.linear} number = first + u * {THREADS}u;",
            f"if (number < {indexing.number(runs)}) {{",
        )
        linear = "number"
        if run.length > 1:
            linear = "point"
            body.add(f"const {indexing.linear} point = number * {run.length}u;")
        body.add(*text.coordinates(linear, axes, nest, indexing))

    if nest.loads:
        open_loop()
        for slot, operand in nest.loads.items():
            body.add(text.read(f"x{slot}[u]", operand, run, axes, indexing))
        body.add("}", "}")
    open_loop()
    _compute(body, nest, run, "[u]", indexing)
    body.add("}", "}")


def _compute(
    body: Body, nest: Nest, run: Run, subscript: str, indexing: Indexing
) -> None:
    """From registers x to registers y, and from there to memory."""
    for number, output in enumerate(nest.outputs):
        body.add(f"{storage(output.target.dtype)} y{number}[{run.length}];")

    def load(slot: int) -> str:
        return text.element(f"x{slot}{subscript}", nest.loads[slot], run)

    roots = [o.expr for o in nest.outputs]
    lines, names = text.values(roots, load, text.coordinate(run), {})
    body.add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{", *lines)
    for number, (output, name) in enumerate(zip(nest.outputs, names)):
        kind = storage(output.target.dtype)
        body.add(f"y{number}[e] = narrow<{kind}>({name});")
    body.add("}")
    axes = range(len(nest.extents))
    for number, output in enumerate(nest.outputs):
        body.add(text.write(f"y{number}", output.target, run, axes, indexing))


def _rest(body: Body, nest: Nest, start: int, rest: int, indexing: Indexing) -> None:
    """The points after the last whole run, one a thread of the last block."""
    single = Run(0, 1)
    body.add(
        f"if (threadIdx.x < {rest}u && blockIdx.x == gridDim.x - 1) {{",
        f"const {indexing.linear} point = {indexing.number(start)} + threadIdx.x;",
        *text.coordinates("point", [0], nest, indexing),
    )
    for slot, operand in nest.loads.items():
        body.add(
            text.declare(f"x{slot}", operand, single),
            text.read(f"x{slot}", operand, single, [0], indexing),
        )
    _compute(body, nest, single, "", indexing)
    body.add("}")
