"""How rows are folded: which threads take a row, and whether it stays in registers.

| variant  | a row is taken by         | of at most       | and is read          |
| -------- | ------------------------- | ---------------- | -------------------- |
| subwarp  | 1 to 16 lanes of a warp   | 16 words a lane  | once                 |
| warp     | a warp                    | 32 words a lane  | once                 |
| block    | a block of 64 to 1,024    | 16 or 32 a lane  | once                 |
| online   | a block, or a warp        | any length       | once a stage; a pair |
|          |                           |                  | of folds is a stage  |
| walk     | the same                  | any length       | once a stage         |
| split    | many blocks               | few long rows    | once: it is a stage  |

A word is a 4-byte register that a point of the row needs from one stage to the next
(stages.carry): 1 in a softmax, 2 in its gradient, twice that in float64. Rows that
stay in registers are subwarp, warp or block; the others walk along the row again. Where
rows are few and long the compiler leaves the stages apart (compiler/cluster.py), and
each is split by itself (fold.py).

None of this has been measured: it has not run on a GPU. The limits come from register
counts of the machine code and from what is known of the devices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gpugrad.backends.cupy import text
from gpugrad.backends.cupy.layout import Nest, best_run, constant_along
from gpugrad.backends.cupy.online import pairs
from gpugrad.backends.cupy.stages import Carried, Stage, carry, stages, words
from gpugrad.backends.cupy.text import Indexing, Run
from gpugrad.kir.scalar import postorder

THREADS: Final = 256
WARP: Final = 32

# Lanes of a row, and the words that each may hold. An H200 wants 48 KiB on their way
# on a multiprocessor to reach its bandwidth, that is 12 words of each of 1,024 threads:
# 16 are enough, and leave each thread 64 registers. A warp may hold 32, since that
# spares a barrier, and so may the largest blocks, whose rows would else be read again.
_LADDER: Final = (
    *((1, 16), (2, 16), (4, 16), (8, 16), (16, 16), (32, 32)),
    *((64, 16), (128, 16), (256, 16), (512, 32), (1024, 32)),
)
# Who holds more than this gets 128 registers, and so does who computes in float64;
# half as many threads then have as many bytes on their way.
_FEW_WORDS: Final = 16
# That many threads have only 64 registers each, for a run of what a stage reads by
# itself as well; float64 needs more to compute.
_FULL_BLOCK: Final = 1024
_FULL_WORDS: Final = 36
# Lanes that read a whole line of 128 bytes at a time in 16-byte accesses.
_LINE_LANES: Final = 8
# What a thread that is alone with its row may hold.
_ALONE_WORDS: Final = 32
# Threads that keep the largest devices busy; fewer rows are taken by more lanes.
_ENOUGH_THREADS: Final = 264 * 256
# Above this cost (scalar.cost) a thread's points are not all unrolled.
_RESIDENT_COST: Final = 2048
# Longer rows are a block's to walk along, shorter ones a warp's or part of one.
_WARP_ROW: Final = 2048
_UNROLLED_COST: Final = 64
# Lanes are added to a long row only as long as each has so many runs of it.
_LEAST_RUNS: Final = 16
# Registers that a run of all operands may fill, in 4-byte words.
RUN_WORDS: Final = 48


class Plan(NamedTuple):
    """How rows are walked.

    ``lanes``: threads a row, ``block`` threads a block. ``runs``: whole runs in a row;
    ``rest``: points after them. ``share``: runs that a lane holds in registers, as
    ``carried`` says; 0 if rows are walked along. ``chunk``: runs a block takes when
    rows are cut, each chunk's result going to scratch memory; 0 if they are not.
    """

    nest: Nest
    stages: list[Stage]
    run: Run
    lanes: int
    block: int
    runs: int
    rest: int
    unroll: int
    share: int = 0
    carried: Carried = Carried((), {}, 0, 0)
    chunk: int = 0

    @property
    def registers(self) -> int:
        """How many a thread may have."""
        held = self.share * self.run.length * self.carried.words
        small = held <= _FEW_WORDS and not _has_doubles(self.nest)
        return 64 if small or self.block == _FULL_BLOCK else 128

    @property
    def indexing(self) -> Indexing:
        """How wide indices are."""
        return Indexing(self.nest.wide)

    @property
    def variant(self) -> str:
        """The name in the table above."""
        if self.chunk:
            return "split"
        if not self.share:
            return "online" if any(s.pairs for s in self.stages) else "walk"
        if self.lanes < WARP:
            return "subwarp"
        return "warp" if self.lanes == WARP else "block"


def plan(nest: Nest, alone: bool = False) -> Plan:
    """The way to fold the rows of ``nest``.

    ``alone`` gives every row to a single thread.
    """
    return _resident(nest, alone) or _walk(nest, stages(nest, pairs(nest)), alone)


def run_words(nest: Nest, length: int) -> int:
    """The registers that a run of every operand takes, in 4-byte words."""
    return sum(max(o.dtype.itemsize * length // 4, 1) for o in nest.operands)


def _resident(nest: Nest, alone: bool) -> Plan | None:
    """Rows in registers; None if they do not fit."""
    inner = len(nest.extents) - 1
    cost = max(1, text.price(o.expr for o in nest.outputs))
    length = 1 if alone else best_run(nest, inner, ragged=False)
    while length > 1 and run_words(nest, length) > RUN_WORDS:
        length //= 2
    runs = nest.length // length
    # Cheaply refused before stages are weighed.
    if runs * length > _LADDER[-1][0] * _LADDER[-1][1]:
        return None
    passes = stages(nest)
    carried = carry(nest, passes)
    for lanes, most in ((1, _ALONE_WORDS),) if alone else _LADDER:
        if lanes < min(_LINE_LANES, runs) and not alone:
            continue
        points = -(-runs // lanes) * length
        size = max(carried.words, _widest(nest))
        if points * size <= most and points * cost <= _RESIDENT_COST:
            break
    else:
        return None
    if lanes == _FULL_BLOCK and (
        _has_doubles(nest) or points * size + length * carried.late // 4 > _FULL_WORDS
    ):
        return None
    if not alone:
        lanes = _wider(nest, runs, lanes)
    if len(passes) == 1 and lanes > THREADS:
        return None  # a single walk reads the row once as well
    run = Run(inner, length)
    block = THREADS if lanes <= WARP else lanes
    share = -(-runs // lanes)
    return Plan(nest, passes, run, lanes, block, runs, 0, 1, share, carried)


def _widest(nest: Nest) -> int:
    """Words a point of the largest load that differs along a row."""
    slots = [s for s in nest.loads if not constant_along(nest, s)]
    return max([words(nest.loads[s].dtype) for s in slots], default=1)


def _has_doubles(nest: Nest) -> bool:
    """True if anything is computed in 8 bytes or more."""
    return any(
        e.dtype.itemsize > 4 and not e.dtype.is_integer
        for e in postorder(*[o.expr for o in nest.outputs])
    )


def _wider(nest: Nest, runs: int, lanes: int) -> int:
    """More lanes for few rows, as long as each has a run."""
    for more, _ in _LADDER:
        if more <= lanes or more > THREADS:
            continue
        if nest.rows * lanes >= _ENOUGH_THREADS or runs < more:
            break
        lanes = more
    return lanes


def _walk(nest: Nest, passes: Sequence[Stage], alone: bool) -> Plan:
    """Rows that are read again by every stage."""
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
            most = _FULL_BLOCK // 2 if _has_doubles(nest) else _FULL_BLOCK
            while cost < text.DEAR and lanes < most:
                few = nest.rows * lanes < 2 * _ENOUGH_THREADS
                if not few or runs < 2 * lanes * _LEAST_RUNS:
                    break
                lanes *= 2
    unroll = 4 if cost * length <= _UNROLLED_COST else 1
    run, block = Run(inner, length), max(lanes, THREADS)
    return Plan(nest, list(passes), run, lanes, block, runs, rest, unroll)
