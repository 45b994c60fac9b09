"""What a Group's kernel computes when: once a row, or in a walk over it, and in which.

A walk computes what depends on the folds of the walks before it. What two walks need is
computed twice if that is cheap, else kept.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Final, NamedTuple

from gpugrad.backends.numpy.axes import varying
from gpugrad.backends.numpy.x86 import functions
from gpugrad.backends.numpy.x86.assembler import WIDEST
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import (
    Apply,
    Expr,
    Index,
    Lit,
    Load,
    Reduce,
    children,
    postorder,
)
from gpugrad.kir.space import View

# Bytes of the frame for parts of a row; a thread's stack may be as small as 128 KB.
_ROW_BYTES: Final = 48 << 10
# Weights of functions, those not listed being 1. What is heavier than _AGAIN is kept.
WEIGHT: Final = {
    "exp": 20, "expm1": 22, "log": 30, "log1p": 40, "tanh": 25, "erf": 45, "div": 4,
    "sqrt": 5, "rsqrt": 9, "reciprocal": 4,
}  # fmt: skip
_AGAIN: Final = 4


class Refused(Exception):
    """The group has something that this printer lacks; the text says what."""


class Accumulator(NamedTuple):
    """Partial folds in memory; steps in bytes, between portions and along each axis."""

    address: int
    portion: int
    strides: tuple[int, ...]


class Stage(NamedTuple):
    """One walk over a row: its folds, stores of whole rows, and of one number a row.

    ``known``: what earlier walks have computed.
    """

    folds: list[Reduce]
    stores: list[Store]
    scalars: list[Store]
    known: set[Expr]


class Stages:
    """The walks over a row of ``group``, and what they need."""

    def __init__(self, group: Group, partial: Container[Expr], in_place: bool) -> None:
        self.group = group
        self._last = len(group.extents) - 1
        roots = [s.expr for s in group.stores]
        self.order = list(postorder(*roots))
        # Bytes of a number, and the suffix of instructions on singles and on doubles.
        sizes = [n.dtype.itemsize for n in self.order if not n.dtype.is_bool]
        self.size = max(sizes, default=1)
        self.kind = "pd" if self.size == 8 else "ps"
        self._check()
        self._axes = varying(group)
        has_folds = any(type(n) is Reduce for n in self.order)
        self.folds_last = has_folds and group.reduced[self._last]
        self.written = [s for s in group.stores if s.expr not in partial]
        loads = {self.load(n): None for n in self.order if type(n) is Load}
        self.loads = list(loads)
        # Stores wait until everything at their place has been read.
        self.late = in_place
        self.stages = self._staged(partial)
        if self.late and len(self.stages) > 1:
            raise Refused("a row that is written where it is read again")
        self.saved = self._kept()

    def load(self, node: Load) -> View:
        """The view that a load reads."""
        return self.group.loads[node.slot]

    def is_uniform(self, node: Expr) -> bool:
        """True for what is the same along the last axis."""
        return self._last not in self._axes[node]

    def inner_order(self, root: Expr, known: Container[Expr]) -> list[Expr]:
        """What ``root`` needs in a walk, arguments first.

        What is the same along the row, and what earlier walks kept, stands for itself.
        """
        return _order(
            root, lambda n: self.is_uniform(n) or (n in known and n in self.saved)
        )

    @staticmethod
    def uniform_order(root: Expr, known: Container[Expr]) -> list[Expr]:
        """What ``root``, the same along the row, needs besides what is known."""
        return _order(root, lambda n: n in known or type(n) is Reduce)

    def inner_uniform(self, stage: Stage) -> list[Expr]:
        """What is the same along the row, and read by the walk."""
        roots = [f.arg for f in stage.folds] + [s.expr for s in stage.stores]
        found: dict[Expr, None] = {}
        for root in roots:
            for node in self.inner_order(root, stage.known):
                if self.is_uniform(node):
                    found[node] = None
        return list(found)

    # --- planning ---------------------------------------------------------------------

    def _check(self) -> None:
        """Refuse what there are no instructions for."""
        names = {n.dtype.name for n in self.order}
        names |= {s.view.dtype.name for s in self.group.stores}
        if not names <= {"float32", "bool"} and not names <= {"float64", "bool"}:
            raise Refused("other types than float32, or float64, and bool")
        if names == {"bool"}:
            raise Refused("nothing but truth values")
        for node in self.order:
            if type(node) is Index:
                raise Refused("coordinates")
            if type(node) is Lit and node.dtype.is_bool:
                raise Refused("a literal truth value")
            if type(node) is Apply and functions.function(node, self.kind) is None:
                raise Refused(node.op.name)
            if type(node) is Reduce and (
                node.kind not in ("sum", "max", "min") or node.dtype.is_bool
            ):
                raise Refused(f"folds by {node.kind}")
        if max(self.group.extents) >= 1 << 31:
            raise Refused("more than 2^31 points along an axis")
        last = self._last
        length = self.group.extents[last]
        for view in (*self.group.loads, *[s.view for s in self.group.stores]):
            if (
                length != 1
                and view.shape[last] != 1
                and view.strides[last] not in (0, 1)
            ):
                raise Refused("strides along the last axis")

    def _staged(self, partial: Container[Expr]) -> list[Stage]:
        levels: dict[Expr, int] = {}
        for node in self.order:
            levels[node] = max([levels[c] for c in children(node)], default=0)
            if type(node) is Reduce and node not in partial:
                levels[node] += 1
        count = max(levels.values(), default=0) + 1
        stages = [Stage([], [], [], set()) for _ in range(count)]
        for node in self.order:
            if type(node) is Reduce:
                stages[levels[node.arg]].folds.append(node)
        for store in self.written:
            stage = stages[levels[store.expr]]
            one = self.group.extents[self._last] == 1 or (
                store.view.shape[self._last] == 1 or not store.view.strides[self._last]
            )
            (stage.scalars if one else stage.stores).append(store)
        return stages

    def _kept(self) -> dict[Expr, None]:
        """What a later walk reads from the frame: costly results of an earlier one."""
        saved: dict[Expr, None] = {}
        length = self.group.extents[self._last]
        room = _ROW_BYTES // (length * self.size + WIDEST)
        done: set[Expr] = set()
        for stage in self.stages:
            stage.known.update(done)
            new: set[Expr] = set()
            stack = [f.arg for f in stage.folds] + [s.expr for s in stage.stores]
            while stack:
                node = stack.pop()
                if node in new or self.is_uniform(node) or type(node) is not Apply:
                    continue
                again = node in done and self._weight(node) > _AGAIN
                if again and (node in saved or len(saved) < room):
                    saved[node] = None
                    continue
                new.add(node)
                stack.extend(node.args)
            done |= new
        return saved

    def _weight(self, node: Expr) -> int:
        return sum(
            WEIGHT.get(n.op.name, 1)
            for n in postorder(node)
            if type(n) is Apply and not self.is_uniform(n)
        )


def _order(root: Expr, is_leaf: Callable[[Expr], bool]) -> list[Expr]:
    """Everything down to the leaves once, arguments before their users."""
    found: dict[Expr, None] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if node in found:
            continue
        if ready or is_leaf(node):
            found[node] = None
            continue
        stack.append((node, True))
        stack.extend([(c, False) for c in children(node)])
    return list(found)
