"""Where the values of variables live between runs."""

from __future__ import annotations

from itertools import count
from typing import Any

from gpugrad.graph.tensor import Operation
from gpugrad.kir.builder import Handle


class VariableStore:
    """The arrays of variables, by slot; a session owns one.

    Not safe for two threads at a time: the owner's lock guards it. ``generation``
    changes whenever a value appears or changes its shape, which outdates plans; no
    number comes twice, not even one of a run that failed.
    """

    def __init__(self) -> None:
        self.arrays: list[Any] = []
        self.generation = 0
        self._slots: dict[Operation, int] = {}
        self._generations = count(1)

    def new_generation(self) -> int:
        """A generation that there has not been."""
        return next(self._generations)

    def slot(self, op: Operation) -> int:
        """The slot of a variable, by its handle op."""
        found = self._slots.get(op)
        if found is None:
            found = self._slots[op] = len(self.arrays)
            self.arrays.append(None)
        return found

    def handle(self, op: Operation) -> Handle:
        """What lowering may know of a variable."""
        slot = self.slot(op)
        array = self.arrays[slot]
        shape = None if array is None else tuple(array.shape)
        return Handle(slot, op.name, op.attrs["dtype"], shape)

    def assign(self, values: dict[Operation, Any]) -> None:
        """Set variables, by their handle ops, to arrays of the device."""
        for op, array in values.items():
            slot = self.slot(op)
            old = self.arrays[slot]
            if old is not None and tuple(old.shape) == tuple(array.shape):
                old[...] = array  # in place: what was compiled knows the address
            else:
                self.arrays[slot] = array.copy()
                self.generation = self.new_generation()

    def is_initialized(self, op: Operation) -> bool:
        """True when the variable has a value."""
        return self.arrays[self.slot(op)] is not None
