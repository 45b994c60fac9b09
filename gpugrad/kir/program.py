"""A program of kernels: what the compiler makes and a backend runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import Buffer, Shape, View


class Store(NamedTuple):
    """Write ``expr`` through ``view`` at every point of the space.

    Where the space has reduced axes, the view has extent 1 and stride 0 on them if
    ``expr`` is constant along them (all its loads are inside a Reduce).
    """

    view: View
    expr: Expr


class Group(NamedTuple):
    """One kernel: an iteration space, the views it loads, and what it stores.

    ``extents`` and ``reduced`` describe the axes; each load's shape is
    ``extents`` (broadcasting by stride 0). Stores do not overlap loads.
    """

    extents: Shape
    reduced: tuple[bool, ...]
    loads: tuple[View, ...]
    stores: tuple[Store, ...]
    stream: int = 0

    @property
    def reads(self) -> tuple[View, ...]:
        """The views that the step reads."""
        return self.loads

    @property
    def writes(self) -> tuple[View, ...]:
        """The views that the step writes."""
        stores = self.stores
        # Every pass asks every step; nearly all groups have one store.
        if len(stores) == 1:
            return (stores[0].view,)
        return tuple([s.view for s in stores])


class Call(NamedTuple):
    """A library call: ``impl(xp, outs, *args, **attrs)`` writes into ``outs``.

    ``impl`` is written once against the array namespace ``xp`` (numpy or cupy);
    a backend may have a faster row under ``name``. ``pure`` calls give the same
    results for the same arguments and may be merged.
    """

    name: str
    impl: Callable[..., None]
    args: tuple[View, ...]
    outs: tuple[View, ...]
    attrs: tuple[tuple[str, Hashable], ...] = ()
    pure: bool = True
    stream: int = 0

    @property
    def reads(self) -> tuple[View, ...]:
        """The views that the step reads."""
        return self.args

    @property
    def writes(self) -> tuple[View, ...]:
        """The views that the step writes."""
        return self.outs


class Barrier(NamedTuple):
    """Nothing after this step starts before all of ``members`` are written.

    The tuple of gate_gradients. ``streams`` are those that write the members;
    the stream pass fills them in.
    """

    members: tuple[View, ...]
    streams: tuple[int, ...] = (0,)
    stream: int = 0

    @property
    def reads(self) -> tuple[View, ...]:
        """The views that the step waits for."""
        return self.members

    @property
    def writes(self) -> tuple[View, ...]:
        """Nothing."""
        return ()


Step = Group | Call | Barrier


class Commit(NamedTuple):
    """After the last step, variable number ``slot`` takes the value of ``view``."""

    slot: int
    view: View


@dataclass(frozen=True, slots=True)
class Program:
    """Steps in an order that respects every dependency, and their storage.

    ``inputs``:    buffers of the feeds, in the order in which run() takes them.
    ``variables``: (slot, buffer): values read from the variable store at the start.
    ``consts``:    arrays of the "const" buffers, by buffer id.
    ``outputs``:   what run() returns, in order; each a whole "output" buffer.
    ``commits``:   variables written, all after the last step has succeeded.
    ``step``:      the buffer that holds the run's number, if anything reads it.
    ``offsets``:   byte offset in the arena of every "temp" buffer (memory pass).
    """

    steps: tuple[Step, ...]
    inputs: tuple[Buffer, ...]
    variables: tuple[tuple[int, Buffer], ...]
    consts: dict[int, np.ndarray]
    outputs: tuple[View, ...]
    commits: tuple[Commit, ...]
    step: Buffer | None = None
    offsets: dict[int, int] = field(default_factory=dict)
    arena_bytes: int = 0
    # For messages and explain(): the graph nodes that a step came from.
    origins: tuple[Any, ...] = ()
