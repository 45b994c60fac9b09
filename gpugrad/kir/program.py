"""A program of kernels: what the compiler makes and a backend runs."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from gpugrad.kir.scalar import Expr
from gpugrad.kir.space import Buffer, Shape, View
from gpugrad.kir.target import ONE_STREAM, Target

# The stream on which a run begins and ends, and the place of barriers over several
# streams: it keeps no order of its own, each barrier has only its waits.
HOME: Final = 0
GATE: Final = -1
# The number of the moment at which a run starts, among those of its steps. The end
# has the number after the last step's.
START: Final = -1


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
    stream: int = HOME

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


class InPlace(NamedTuple):
    """A call's first result may take the memory of argument number ``argument``.

    Its impl then changes that argument. ``check(xp, *args, **attrs)`` raises whatever
    the impl would, so that a backend can ask before anything is written.
    """

    argument: int
    check: Callable[..., None]


class Call(NamedTuple):
    """A library call: ``impl(xp, outs, *args, **attrs)`` writes into ``outs``.

    ``impl`` is written once against the array namespace ``xp`` (numpy or cupy);
    a backend may have a faster row under ``name``. ``pure`` calls give the same
    results for the same arguments and may be merged; the others run in the order of
    the Program. ``flops``: operations, where they outweigh the bytes. ``labels``: of a
    call that sums products, Einstein's notation: a letter an axis, for each argument
    and the result. What the result lacks is summed over.
    """

    name: str
    impl: Callable[..., None]
    args: tuple[View, ...]
    outs: tuple[View, ...]
    attrs: tuple[tuple[str, Hashable], ...] = ()
    pure: bool = True
    stream: int = HOME
    flops: int = 0
    in_place: InPlace | None = None
    labels: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[View, ...]:
        """The views that the step reads."""
        return self.args

    @property
    def writes(self) -> tuple[View, ...]:
        """The views that the step writes."""
        return self.outs


class Barrier(NamedTuple):
    """What reads a member after this step starts when all ``members`` are written.

    The tuple of gate_gradients. It runs on the stream that writes the members, or on
    GATE if they are several.
    """

    members: tuple[View, ...]
    stream: int = HOME

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
    ``shapes``:    of the arrays that come as inputs and variables, where it is known,
                   by buffer id.
    ``step``:      the buffer that holds the run's number, if anything reads it.
    ``offsets``:   byte offset in the arena of every "temp" buffer (memory pass).
    ``in_place``:  by temp, the temp whose memory it takes over, in the step that writes
                   the one and is the last to read the other (in_place.may_take()).
    ``waits``:     by step, the steps on other streams that are done before it starts;
                   by the number of steps, those that are done before the run ends on
                   HOME; START among them is where the run starts there. With the
                   order that each stream keeps, that orders everything (event pass;
                   None before it).
    ``target``:    the device that it is for.
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
    in_place: dict[int, int] = field(default_factory=dict)
    waits: dict[int, tuple[int, ...]] | None = None
    target: Target = ONE_STREAM
    # For messages: the graph node that each step came from, None, or the tuple of the
    # nodes of a merged step; the first of those is the one that can fail.
    origins: tuple[Any, ...] = ()
    shapes: dict[int, Shape] = field(default_factory=dict)


def node_of(origin: Any) -> Any:
    """The graph node to name for an entry of Program.origins."""
    return origin[0] if type(origin) is tuple else origin
