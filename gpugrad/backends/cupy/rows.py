"""Folds by rows: the lanes of a group walk along one row and then join their results.

A group is 1 to 32 lanes of a warp, or a whole block. Every lane gets each result, so
folds may depend on folds, and outputs may run over the row again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from gpugrad.backends.cupy import text
from gpugrad.backends.cupy.layout import (
    Argument,
    Nest,
    Output,
    best_run,
    carried,
    identity,
)
from gpugrad.backends.cupy.literals import computed, literal, storage
from gpugrad.backends.cupy.text import Body, Indexing, Kernel, Run
from gpugrad.dtypes import DType
from gpugrad.kir.scalar import Expr, Reduce, postorder

THREADS: Final = 256
WARP: Final = 32
# Rows longer than this are a block's, shorter ones a warp's or part of one.
_WARP_ROW: Final = 2048
_UNROLLED_COST: Final = 64
# Registers that a run of all operands may fill, in 4-byte words.
RUN_WORDS: Final = 48

_JOINS: Final = {
    "sum": "JoinSum",
    "prod": "JoinProduct",
    "max": "JoinMaximum",
    "min": "JoinMinimum",
    "all": "JoinAll",
    "any": "JoinAny",
}
# What the folds of numbers are among truth values.
_OF_BOOL: Final = {"sum": "any", "max": "any", "prod": "all", "min": "all"}


def join(fold: Reduce) -> str:
    """The struct of kernels/reduce.cuh that joins two results of ``fold``."""
    kind = _OF_BOOL.get(fold.kind, fold.kind) if fold.dtype.is_bool else fold.kind
    dtype = fold.dtype
    impossible = kind in ("all", "any") and not dtype.is_bool
    if impossible or (kind in ("max", "min") and dtype.is_complex):
        raise TypeError(
            f"The reduction {fold.kind!r} does not take {dtype.name} on CUDA. "
            "Cast its argument."
        )
    return _JOINS[kind]


def start(fold: Reduce) -> str:
    """The identity of ``fold`` as C text."""
    join(fold)  # which refuses what has none
    return literal(identity(fold).value, fold.dtype)


def rounded(value: str, dtype: DType) -> str:
    """A fold's result as if it had been in memory, which is where halves round."""
    half = dtype.is_floating and dtype.itemsize == 2
    return f"widen(narrow<{storage(dtype)}>({value}))" if half else value


class Plan(NamedTuple):
    """How rows are walked.

    ``lanes``: threads a row. ``runs``: whole runs in a row; ``rest``: points after
    them. ``chunk``: runs a block takes when rows are cut, each chunk's result going
    to scratch memory; 0 if they are not.
    """

    nest: Nest
    levels: list[list[Reduce]]
    run: Run
    lanes: int
    runs: int
    rest: int
    unroll: int
    chunk: int = 0

    @property
    def indexing(self) -> Indexing:
        """How wide indices are."""
        return Indexing(self.nest.wide)


def plan(nest: Nest, levels: list[list[Reduce]], alone: bool = False) -> Plan:
    """The way to walk ``nest``; ``alone`` gives every row to a single thread."""
    inner = len(nest.extents) - 1
    single = inner == nest.parallel
    cost = max(1, text.price(o.expr for o in nest.outputs))
    length = 1 if alone else best_run(nest, inner, ragged=single)
    while length > 1 and (
        length * cost > 8 * _UNROLLED_COST or run_words(nest, length) > RUN_WORDS
    ):
        length //= 2
    runs, rest = divmod(nest.length, length)
    lanes = 1
    if not alone:
        while lanes < WARP and lanes < runs:
            lanes *= 2
        if nest.length > _WARP_ROW:
            lanes = THREADS
    unroll = 4 if cost * length <= _UNROLLED_COST else 1
    return Plan(nest, levels, Run(inner, length), lanes, runs, rest, unroll)


def run_words(nest: Nest, length: int) -> int:
    """The registers that a run of every operand takes, in 4-byte words."""
    return sum(max(o.dtype.itemsize * length // 4, 1) for o in nest.operands)


def sorted_outputs(nest: Nest) -> tuple[list[Output], list[Output], list[Output]]:
    """Those at every point that need no fold, those once a fold, and the others."""
    beside, once, full = [], [], []
    for output in nest.outputs:
        if not output.full:
            once.append(output)
        elif any(type(e) is Reduce for e in postorder(output.expr)):
            full.append(output)
        else:
            beside.append(output)
    return beside, once, full


def declare_outputs(body: Body, outputs: Sequence[Output], run: Run) -> None:
    """Registers for a run of each output."""
    for output in outputs:
        kind, number = storage(output.target.dtype), output.target.argument.number
        body.add(f"{kind} y{number}[{run.length}];")


def fill_outputs(body: Body, outputs: Sequence[Output], names: Sequence[str]) -> None:
    """Point e of each output from the value of that name."""
    for output, name in zip(outputs, names, strict=True):
        kind, number = storage(output.target.dtype), output.target.argument.number
        body.add(f"y{number}[e] = narrow<{kind}>({name});")


def write_outputs(
    body: Body,
    outputs: Sequence[Output],
    run: Run,
    axes: Iterable[int],
    indexing: Indexing,
) -> None:
    """The runs to memory."""
    for output in outputs:
        name = f"y{output.target.argument.number}"
        body.add(text.write(name, output.target, run, axes, indexing))


def make_rows(plan: Plan) -> Kernel:
    """The kernel; with a chunk, the first of two."""
    nest, indexing = plan.nest, plan.indexing
    per_block = THREADS // plan.lanes
    body = Body()
    linear = indexing.linear
    body.add(
        f"const {linear} row = ({linear})blockIdx.x * {indexing.number(per_block)} + "
        f"threadIdx.x / {plan.lanes}u;",
        f"const u32 lane = threadIdx.x % {plan.lanes}u;",
        f"const bool active = row < {indexing.number(nest.rows)};",
        # Idle lanes walk along row 0: they must arrive where the group joins.
        f"const {linear} point = active ? row : 0;",
        *text.coordinates("point", range(nest.parallel), nest, indexing),
    )
    beside, once, full = sorted_outputs(nest)
    folds: dict[Reduce, str] = {}
    for number, level in enumerate(plan.levels):
        _fold_level(body, plan, level, folds, beside if number == 0 else [])
    arguments = [(o.argument, storage(o.dtype)) for o in nest.loads.values()]
    arguments += [(o.target.argument, storage(o.target.dtype)) for o in beside]
    if plan.chunk:
        assert not full
        arguments += _write_chunks(body, plan, folds)
    else:
        arguments += [
            (o.target.argument, storage(o.target.dtype)) for o in (*once, *full)
        ]
        _write_once(body, plan, once, folds)
        _write_full(body, plan, full, folds)
    blocks = -(-nest.rows // per_block)
    chunks = -(-plan.runs // plan.chunk) if plan.chunk else 1
    return text.make_kernel(
        "rows_split" if plan.chunk else "rows",
        body.text,
        arguments,
        [o.expr for o in nest.outputs],
        (blocks, chunks, 1),
        (THREADS, 1, 1),
    )


def _walk(
    body: Body,
    plan: Plan,
    roots: list[Expr],
    folds: dict[Reduce, str],
    use: Callable[[Run, list[str], list[str]], None],
) -> None:
    """Loops over the row; ``use`` gets the run, the lines and names of the values."""
    indexing, run = plan.indexing, plan.run
    linear = indexing.linear
    begin, end = "lane", indexing.number(plan.runs)
    if plan.chunk:
        begin = f"blockIdx.y * {indexing.number(plan.chunk)} + lane"
        limit = f"(blockIdx.y + 1) * {indexing.number(plan.chunk)}"
        body.add(
            f"const {linear} limit = {limit};",
            f"const {linear} end = limit < {end} ? limit : {end};",
        )
        end = "end"
    body.add(
        f"#pragma unroll {plan.unroll}",
        f"for ({linear} number = {begin}; number < {end}; number += {plan.lanes}u) {{",
        f"const {linear} place = number * {run.length}u;",
    )
    _at(body, plan, roots, folds, run, use)
    body.add("}")
    if plan.rest:
        last = " && blockIdx.y == gridDim.y - 1" if plan.chunk else ""
        # One point a lane; a group has at least as many lanes as a run has points,
        # or else the lanes come round again.
        body.add(
            f"for (u32 over = lane; over < {plan.rest}u{last}; "
            f"over += {plan.lanes}u) {{",
            f"const {linear} place = {indexing.number(plan.runs * run.length)} + over;",
        )
        _at(body, plan, roots, folds, Run(run.inner, 1), use)
        body.add("}")


def _at(
    body: Body,
    plan: Plan,
    roots: list[Expr],
    folds: dict[Reduce, str],
    run: Run,
    use: Callable[[Run, list[str], list[str]], None],
) -> None:
    nest, indexing = plan.nest, plan.indexing
    axes = range(len(nest.extents))
    body.add(*text.coordinates("place", axes[nest.parallel :], nest, indexing))
    use(run, *text.point_values(body, nest, run, roots, folds, axes, indexing))


def _fold_level(
    body: Body,
    plan: Plan,
    level: list[Reduce],
    folds: dict[Reduce, str],
    beside: list[Output],
) -> None:
    """Accumulators, the loop, the join of all lanes; results go to ``folds``.

    ``beside`` are written on the way.
    """
    first = len(folds)
    names = [f"a{first + i}" for i in range(len(level))]
    for fold, name in zip(level, names):
        body.add(f"{computed(fold.dtype)} {name} = {start(fold)};")

    axes = range(len(plan.nest.extents))

    def accumulate(run: Run, lines: list[str], found: list[str]) -> None:
        declare_outputs(body, beside, run)
        body.add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{", *lines)
        for fold, name, value in zip(level, names, found):
            body.add(f"{name} = {join(fold)}::of({name}, {value});")
        fill_outputs(body, beside, found[len(level) :])
        body.add("}")
        if beside:
            body.add("if (active) {")
            write_outputs(body, beside, run, axes, plan.indexing)
            body.add("}")

    body.add("{")
    roots = [f.arg for f in level] + [o.expr for o in beside]
    _walk(body, plan, roots, folds, accumulate)
    body.add("}")
    for number, (fold, name) in enumerate(zip(level, names), first):
        kind = computed(fold.dtype)
        if plan.lanes == THREADS:
            warps = THREADS // WARP
            body.add(f"__shared__ {kind} shared{number}[{warps}];")
            joined = f"fold_block<{join(fold)}, {warps}>({name}, shared{number})"
        elif plan.lanes > 1:
            joined = f"fold_lanes<{join(fold)}, {plan.lanes}>({name})"
        else:
            joined = name
        value = joined if plan.chunk else rounded(joined, fold.dtype)
        body.add(f"const {kind} r{number} = {value};")
        folds[fold] = f"r{number}"


def _write_chunks(
    body: Body, plan: Plan, folds: dict[Reduce, str]
) -> list[tuple[Argument, str]]:
    arguments = []
    where = f"blockIdx.y * {plan.indexing.number(plan.nest.rows)} + point"
    body.add("if (active && lane == 0) {")
    for number, (fold, name) in enumerate(folds.items()):
        kind = storage(carried(fold.dtype))
        arguments.append((Argument("scratch", number), kind))
        body.add(f"scratch{number}[{where}] = narrow<{kind}>({name});")
    body.add("}")
    return arguments


def _write_once(
    body: Body, plan: Plan, outputs: list[Output], folds: dict[Reduce, str]
) -> None:
    """What is one value a row."""
    if not outputs:
        return
    nest, indexing, single = plan.nest, plan.indexing, Run(-1, 1)
    axes = range(nest.parallel)
    roots = [o.expr for o in outputs]
    body.add("if (active && lane == 0) {")
    lines, names = text.point_values(body, nest, single, roots, folds, axes, indexing)
    body.add(*lines)
    for output, name in zip(outputs, names):
        kind = storage(output.target.dtype)
        number = output.target.argument.number
        body.add(
            f"const {kind} y{number} = narrow<{kind}>({name});",
            text.write(f"&y{number}", output.target, single, axes, indexing),
        )
    body.add("}")


def _write_full(
    body: Body, plan: Plan, outputs: list[Output], folds: dict[Reduce, str]
) -> None:
    """What differs along the row: one more walk."""
    if not outputs:
        return
    axes = range(len(plan.nest.extents))

    def put(run: Run, lines: list[str], names: list[str]) -> None:
        declare_outputs(body, outputs, run)
        body.add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{", *lines)
        fill_outputs(body, outputs, names)
        body.add("}")
        write_outputs(body, outputs, run, axes, plan.indexing)

    body.add("if (active) {")
    _walk(body, plan, [o.expr for o in outputs], folds, put)
    body.add("}")
