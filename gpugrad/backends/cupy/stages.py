"""What each pass over a row makes, and what is carried in registers to the next one.

A fold can only be made when those that it needs are known, so the folds of a row fall
into stages by depth; so do the values that are stored at every point.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from gpugrad.backends.cupy import scalar, text
from gpugrad.backends.cupy.layout import Nest, Output, varying
from gpugrad.backends.cupy.online import Pair
from gpugrad.dtypes import DType
from gpugrad.kir.scalar import Apply, Expr, Load, Reduce, children, postorder

# What a register that is carried from stage to stage may cost to save: an exponential
# and its neighbours are rather computed twice than carried beside what is carried
# anyway, but never if carrying them costs no further register.
_WORD_COST: Final = 8


class Stage(NamedTuple):
    """One pass over the points of a row.

    ``folds`` are accumulated one by one, ``pairs`` two at a time; ``outputs`` are
    written at every point.
    """

    folds: tuple[Reduce, ...]
    pairs: tuple[Pair, ...]
    outputs: tuple[Output, ...]

    @property
    def roots(self) -> list[Expr]:
        """What is computed at a point: of each fold, pair and output."""
        made = [f.arg for f in self.folds] + [p.value for p in self.pairs]
        return made + [o.expr for o in self.outputs]

    @property
    def known(self) -> Iterable[Reduce]:
        """The folds that are known after the stage."""
        yield from self.folds
        for pair in self.pairs:
            yield from (pair.first, pair.second)


def stages(nest: Nest, pairs: Collection[Pair] = ()) -> list[Stage]:
    """As few passes as the folds' dependencies allow, each output as early as it can.

    The folds of a pair are made in one pass although the second needs the first.
    """
    by_second = {p.second: p for p in pairs}
    firsts = {p.first for p in pairs}
    depth: dict[Expr, int] = {}
    folds: list[list[Reduce]] = []
    for node in postorder(*[o.expr for o in nest.outputs]):
        below = max((depth[c] for c in children(node)), default=0)
        if type(node) is Reduce:
            if node in by_second:
                below = depth[by_second[node].value]
            if below == len(folds):
                folds.append([])
            folds[below].append(node)
            below += 1
        depth[node] = below
    full = [o for o in nest.outputs if o.full]
    count = max([len(folds), *[depth[o.expr] + 1 for o in full]])
    folds += [[] for _ in range(count - len(folds))]
    return [
        Stage(
            tuple(f for f in made if f not in by_second and f not in firsts),
            tuple(by_second[f] for f in made if f in by_second),
            tuple(o for o in full if depth[o.expr] == number),
        )
        for number, made in enumerate(folds)
    ]


# --- what is carried --------------------------------------------------------------


class Carried(NamedTuple):
    """What stays in registers between stages.

    ``kept``: values that are computed in the first stage that needs them. ``begin``:
    by load, the stage before which it is read; a load that is not there is read in
    the one stage that needs it. ``words``: 4-byte registers a point between stages, at
    most. ``late``: bytes a point that a stage after the first reads for itself.
    """

    kept: tuple[Expr, ...]
    begin: dict[int, int]
    words: int
    late: int


def carry(nest: Nest, passes: Sequence[Stage]) -> Carried:
    """The choice between carrying values and computing them again from what is.

    Every load is read once. Greedily, the value whose keeping saves most is kept.
    """
    differs = varying(nest)
    kept: list[Expr] = []
    best = _price(_needs(passes, kept), kept, differs)
    while True:
        needs = _needs(passes, kept)
        seen: set[Expr] = set()
        again: list[Expr] = []
        for need in needs:
            again += [e for e in need if e in seen and type(e) is Apply]
            seen |= need.keys()
        trials = []
        for value in dict.fromkeys(again):
            if value in differs and value not in kept:
                more = [*kept, value]
                trials.append((_price(_needs(passes, more), more, differs), value))
        least = min(trials, key=lambda t: t[0], default=None)
        if least is None or least[0] >= best:
            break
        best = least[0]
        kept.append(least[1])
    return _read_early(_needs(passes, kept), kept, differs)


def _needs(passes: Sequence[Stage], kept: Collection[Expr]) -> list[dict[Expr, bool]]:
    """By stage, what it takes; True for what it finds made by an earlier one."""
    known: dict[Expr, str] = {}
    needs = []
    for stage in passes:
        need = {e: e in known for e in text.order(stage.roots, known)}
        needs.append(need)
        known |= dict.fromkeys(stage.known, "")
        known |= dict.fromkeys([e for e in kept if e in need], "")
    return needs


def _spans(
    needs: list[dict[Expr, bool]], kept: Collection[Expr], differs: set[Expr]
) -> dict[Expr, tuple[int, int]]:
    """The first and the last stage that needs each varying load and kept value."""
    spans: dict[Expr, tuple[int, int]] = {}
    for number, need in enumerate(needs):
        for node in need:
            if node in kept or (type(node) is Load and node in differs):
                spans[node] = (spans.get(node, (number, 0))[0], number)
    return spans


def _alive(spans: dict[Expr, tuple[int, int]], count: int) -> list[int]:
    """Words a point that are carried from each stage to the next."""
    return [
        sum(words(e.dtype) for e, (b, end) in spans.items() if b <= number < end)
        for number in range(count - 1)
    ]


def words(dtype: DType) -> int:
    """Registers of a value: halves and bytes take a whole one."""
    return -(-dtype.itemsize // 4)


def _price(
    needs: list[dict[Expr, bool]], kept: Collection[Expr], differs: set[Expr]
) -> int:
    work = sum(
        scalar.cost(node)
        for need in needs
        for node, made in need.items()
        if not made and type(node) is Apply and node in differs
    )
    alive = _alive(_spans(needs, kept, differs), len(needs))
    return work + _WORD_COST * max(alive, default=0)


def _read_early(
    needs: list[dict[Expr, bool]], kept: list[Expr], differs: set[Expr]
) -> Carried:
    """Loads move to earlier stages, to be on their way sooner, where it costs nothing.

    That is where no more registers are in use than at the worst place anyway.
    """
    spans = _spans(needs, kept, differs)
    alive = _alive(spans, len(needs))
    most = max(alive, default=0)
    begin: dict[int, int] = {}
    for node, (first, last) in sorted(spans.items(), key=lambda s: s[1]):
        if type(node) is not Load:
            continue
        early, size = first, words(node.dtype)
        while early > 0 and alive[early - 1] + size <= most:
            early -= 1
            alive[early] += size
        if early < last:
            begin[node.slot] = early
    late = [
        node.dtype.itemsize
        for node, (first, _) in spans.items()
        if type(node) is Load and node.slot not in begin and first > 0
    ]
    return Carried(tuple(kept), begin, most, sum(late))
