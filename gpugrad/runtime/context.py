"""The state of one run: the variables as it sees them, and its number."""

from __future__ import annotations

from collections.abc import Sequence

from gpugrad.backends.base import Backend
from gpugrad.graph.tensor import Operation
from gpugrad.kir.builder import Handle
from gpugrad.runtime.variables import VariableStore

# Runs inside one run (loop iterations) draw their own random numbers: each run has
# this many to give away.
RUNS_WITHIN = 1 << 20


class Context:
    """The state that the stages of one run share.

    ``arrays`` are the variables as the run sees them: the store's own list, or,
    once there are several stages, a ``private`` copy of the list that becomes the
    store's when the run has succeeded.
    """

    __slots__ = (
        "arrays",
        "backend",
        "generation",
        "owned",
        "private",
        "step",
        "store",
    )

    def __init__(self, store: VariableStore, backend: Backend, number: int) -> None:
        self.store = store
        self.backend = backend
        self.arrays = store.arrays
        self.generation = store.generation
        self.private = False
        self.owned: set[int] = set()
        self.step = number * RUNS_WITHIN

    def next_step(self) -> int:
        """A number that no other program run over this store gets."""
        self.step += 1
        return self.step

    def made_private(self) -> Context:
        """The same state, to be changed without showing."""
        copy = Context(self.store, self.backend, 0)
        copy.step, copy.generation = self.step, self.generation
        copy.arrays = list(self.arrays)
        copy.private = True
        return copy

    def own(self, slots: Sequence[int]) -> None:
        """Copy variables that are about to be written, once in a run."""
        for slot in slots:
            if slot not in self.owned:
                self.owned.add(slot)
                old = self.arrays[slot]
                self.arrays[slot] = None if old is None else old.copy()

    def publish(self, private: Context) -> None:
        """Take over what a private copy has become."""
        self.arrays[:] = private.arrays
        self.generation = private.generation
        if not self.private:
            self.store.generation = private.generation

    def handle(self, op: Operation) -> Handle:
        """A variable as lowering sees it now."""
        handle = self.store.handle(op)
        if self.private:
            missing = len(self.store.arrays) - len(self.arrays)
            self.arrays.extend([None] * missing)
            array = self.arrays[handle.slot]
            shape = None if array is None else tuple(array.shape)
            handle = handle._replace(shape=shape)
        return handle
