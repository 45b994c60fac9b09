"""A Group's loops in the order and number that suit the device.

Axes of extent 1 vanish, parallel axes come before reduced ones, the largest strides
come first, and neighbours over which every operand moves evenly become one axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, prod
from typing import Final, NamedTuple

from gpugrad.dtypes import DType, float32, int64
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Lit,
    Load,
    Reduce,
    postorder,
    substitute,
)
from gpugrad.kir.space import View

# Bytes: the widest access, and what every buffer's address is a multiple of.
WIDEST: Final = 16


class Argument(NamedTuple):
    """What a kernel's pointer points at: the start of a view, or scratch memory.

    ``kind``: "load" or "store", number ``number`` of the Group (of a Call: argument
    and out), or "scratch", number ``number`` of the kernels' scratch buffers.
    """

    kind: str
    number: int


class Operand(NamedTuple):
    """Where a nest reads or writes: strides in elements over the nest's axes.

    ``alignment``: bytes, a power of two that divides the start address.
    """

    argument: Argument
    dtype: DType
    strides: tuple[int, ...]
    alignment: int


class Output(NamedTuple):
    """``expr`` goes to ``target``: at every point if ``full``, else once a fold."""

    target: Operand
    expr: Expr
    full: bool


class Nest(NamedTuple):
    """Loops over ``extents``, the ``parallel`` first ones independent of each other.

    Load expressions number ``loads``; Index expressions number the axes.
    """

    extents: tuple[int, ...]
    parallel: int
    loads: dict[int, Operand]
    outputs: tuple[Output, ...]

    @property
    def rows(self) -> int:
        """Number of points of the parallel axes."""
        return prod(self.extents[: self.parallel])

    @property
    def length(self) -> int:
        """Number of points that are folded into one."""
        return prod(self.extents[self.parallel :])

    @property
    def operands(self) -> Iterable[Operand]:
        """All loads, then all targets."""
        yield from self.loads.values()
        yield from (o.target for o in self.outputs)

    @property
    def wide(self) -> bool:
        """True when 32-bit indices do not reach every element."""
        return (
            any(
                sum(abs(s) * (n - 1) for n, s in zip(self.extents, o.strides))
                >= 2**31 - 64
                for o in self.operands
            )
            or max(self.rows, self.length, prod(self.extents)) >= 2**31 - 2**16
        )


def _operand(argument: Argument, view: View) -> Operand:
    alignment = gcd(view.offset * view.dtype.itemsize, WIDEST)
    return Operand(argument, view.dtype, view.strides, alignment)


def make_nest(group: Group) -> Nest | None:
    """The loops of ``group``; None if it writes nothing.

    Folds over nothing are literals afterwards and folds over one point are gone, so
    Reduce expressions are left only where ``parallel`` is less than the rank.
    """
    outputs = []
    for index, store in enumerate(group.stores):
        if store.view.size == 0:
            continue
        full = any(
            r and n != 1 and m == n
            for r, n, m in zip(group.reduced, group.extents, store.view.shape)
        )
        target = _operand(Argument("store", index), store.view)
        outputs.append(Output(target, store.expr, full))
    if not outputs:
        return None
    reduced = tuple(r and n != 1 for r, n in zip(group.reduced, group.extents))
    length = prod(n for n, r in zip(group.extents, reduced) if r)
    if length == 0:
        outputs = [o._replace(expr=_without_folds(o.expr)) for o in outputs]
    elif not any(reduced):
        outputs = [o._replace(expr=_unfolded(o.expr)) for o in outputs]
    extents = group.extents
    if not any(type(e) is Reduce for o in outputs for e in postorder(o.expr)):
        if not any(o.full for o in outputs):
            extents = tuple(1 if r else n for n, r in zip(extents, reduced))
        reduced = (False,) * len(extents)
    used = {e.slot for o in outputs for e in postorder(o.expr) if type(e) is Load}
    loads = {i: _operand(Argument("load", i), group.loads[i]) for i in sorted(used)}
    return _arranged(extents, reduced, loads, outputs)


def _without_folds(expr: Expr) -> Expr:
    folds: dict[Expr, Expr] = {
        e: identity(e) for e in postorder(expr) if type(e) is Reduce
    }
    return substitute(expr, folds)


def _unfolded(expr: Expr) -> Expr:
    while True:
        folds = {e: e.arg for e in postorder(expr) if type(e) is Reduce}
        if not folds:
            return expr
        expr = substitute(expr, folds)  # type: ignore[arg-type]


def identity(fold: Reduce) -> Lit:
    """What a fold of no element gives."""
    dtype, kind = fold.dtype, fold.kind
    if kind in ("all", "any") or dtype.is_bool:
        return Lit(kind in ("all", "min", "prod"), dtype)
    if kind in ("sum", "prod"):
        return Lit(kind == "prod", dtype)
    if dtype.is_floating:
        return Lit(float("-inf" if kind == "max" else "inf"), dtype)
    return Lit(dtype.min if kind == "max" else dtype.max, dtype)


def carried(dtype: DType) -> DType:
    """The type in which a fold of ``dtype`` is carried: float32 for the half types."""
    return float32 if dtype.is_floating and dtype.itemsize == 2 else dtype


def _arranged(
    extents: Sequence[int],
    reduced: Sequence[bool],
    loads: dict[int, Operand],
    outputs: list[Output],
) -> Nest:
    operands = [*loads.values(), *(o.target for o in outputs)]
    # The writes of an elementwise nest and the reads of a fold decide the order.
    leaders = list(loads.values()) if any(reduced) else [o.target for o in outputs]

    def place(axis: int) -> tuple[bool, int]:
        steps = [abs(o.strides[axis]) * o.dtype.itemsize for o in leaders]
        return reduced[axis], -max(steps, default=0)

    kept = [a for a, n in enumerate(extents) if n != 1]
    order = sorted(kept, key=place)
    indexed = {e.axis for o in outputs for e in postorder(o.expr) if type(e) is Index}
    runs: list[list[int]] = []
    for axis in order:
        last = runs[-1][-1] if runs else None
        if (
            last is not None
            and reduced[last] == reduced[axis]
            and last not in indexed
            and axis not in indexed
            and all(
                o.strides[last] == extents[axis] * o.strides[axis] for o in operands
            )
        ):
            runs[-1].append(axis)
        else:
            runs.append([axis])

    def moved(operand: Operand) -> Operand:
        return operand._replace(strides=tuple(operand.strides[r[-1]] for r in runs))

    mapping: dict[Expr, Expr] = {Index(a): Lit(0, int64) for a in indexed}
    mapping |= {Index(r[0]): Index(i) for i, r in enumerate(runs) if r[0] in indexed}
    return Nest(
        tuple(prod(extents[a] for a in r) for r in runs),
        sum(not reduced[r[0]] for r in runs),
        {slot: moved(o) for slot, o in loads.items()},
        tuple(
            Output(moved(o.target), substitute(o.expr, mapping), o.full)
            for o in outputs
        ),
    )


def constant_along(nest: Nest, slot: int) -> bool:
    """True if a load has one element a row."""
    return not any(nest.loads[slot].strides[nest.parallel :])


def varying(nest: Nest) -> set[Expr]:
    """The expressions that differ from point to point of a row."""
    found: set[Expr] = set()
    for node in postorder(*[o.expr for o in nest.outputs]):
        if type(node) is Load:
            differs = not constant_along(nest, node.slot)
        elif type(node) is Index:
            differs = node.axis >= nest.parallel
        else:
            differs = type(node) is Apply and any(a in found for a in node.args)
        if differs:
            found.add(node)
    return found


# --- accesses -------------------------------------------------------------------------


def access_width(operand: Operand, inner: int, run: int) -> int:
    """How many of ``run`` elements along axis ``inner`` one access may take."""
    if operand.strides[inner] != 1:
        return 1
    size = operand.dtype.itemsize
    others = [s * size for a, s in enumerate(operand.strides) if a != inner]
    aligned = gcd(WIDEST, operand.alignment or WIDEST, run * size, *others)
    return max(1, min(run, aligned // size))


def best_run(nest: Nest, inner: int, ragged: bool) -> int:
    """How many neighbours along ``inner`` a thread should take at a time.

    As many as fill the widest access of the smallest type, within 32 bytes of the
    largest. ``ragged``: a rest that does not fill a run is taken care of.
    """
    sizes = [o.dtype.itemsize for o in nest.operands if o.strides[inner] == 1]
    if not sizes:
        return 1
    run = max(1, min(WIDEST // min(sizes), max(2 * WIDEST // max(sizes), 1)))
    while run > 1 and not ragged and nest.extents[inner] % run:
        run //= 2
    while run > 1 and nest.extents[inner] < run:
        run //= 2
    # No wider than the best access: neighbours that load one by one do not pay.
    widths = [access_width(o, inner, run) for o in nest.operands]
    return max(widths)
