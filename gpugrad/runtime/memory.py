"""When memory runs out: what a Program needs, what can be given back, what to say."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from gpugrad import config
from gpugrad.backends.base import Backend
from gpugrad.errors import ResourceExhaustedError, describe
from gpugrad.graph.tensor import Operation
from gpugrad.kir.program import Call, Program, node_of

_LISTED = 5  # tensors in a message


class Footprint(NamedTuple):
    """Bytes that a Program holds while it runs, beside its feeds and variables."""

    arena: int
    constants: int
    outputs: int

    @property
    def held(self) -> int:
        """What it holds between runs as well."""
        return self.arena + self.constants

    @property
    def peak(self) -> int:
        """The most that it holds at any time."""
        return self.held + self.outputs


def footprint(program: Program) -> Footprint:
    """What ``program`` needs; strings, which are Python objects, are not counted."""
    outputs = {v.buffer.id: v.buffer for v in program.outputs}
    return Footprint(
        program.arena_bytes,
        sum(a.nbytes for a in program.consts.values()),
        sum(b.size * b.dtype.size for b in outputs.values()),
    )


class Holder(Protocol):
    """Something that holds compiled Programs and can do without them."""

    def held_bytes(self) -> int:
        """What its Programs hold between runs."""
        ...

    def forget(self, keep: Any) -> None:
        """Let go of all compiled Programs but ``keep``."""
        ...


_holders: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()


def register(holder: Holder) -> None:
    """Ask ``holder`` to let go of what it holds when memory runs out."""
    with _lock:
        _holders.add(holder)


def _all() -> list[Holder]:
    with _lock:
        return list(_holders)


def release(backend: Backend, keep: Any = None) -> None:
    """Drop every compiled Program in the process but ``keep``, and empty the pools.

    What runs in another thread stays until it is done.
    """
    for holder in _all():
        holder.forget(keep)
    gc.collect()
    backend.free_memory()


def make_room(program: Program, backend: Backend) -> None:
    """MemoryError if ``program`` needs more than the limit of the settings.

    Where it only needs more than is left beside the other Programs, those go.
    """
    limit = config.current().memory_limit
    if limit is None:
        return
    needed = footprint(program).peak
    if needed > limit:
        raise MemoryError(f"the limit is {limit:,} bytes (GPUGRAD_MEMORY_LIMIT)")
    if needed + sum(h.held_bytes() for h in _all()) > limit:
        release(backend)


def may_run_again(program: Program) -> bool:
    """True if a run that fails has changed nothing outside of the Program."""
    return all(step.pure for step in program.steps if isinstance(step, Call))


def exhausted(
    program: Program, cause: BaseException, origin: Any = None
) -> ResourceExhaustedError:
    """The error for a Program that does not fit: its needs, the largest, what helps.

    ``origin`` is the operation at which memory ran out, if that is known.
    """
    need = footprint(program)
    rows = _largest(program)
    origin = node_of(origin)
    op = origin if isinstance(origin, Operation) else None
    where = f" [{describe(op)}]" if op is not None else ""
    if op is None and rows:
        op = rows[0].origin
    lines = [
        f"The arrays of this run do not fit into memory: {cause}{where}.",
        f"The run needs {need.peak:,} bytes beside its feeds and variables: "
        f"{need.arena:,} for what it computes on the way, {need.outputs:,} for "
        f"results, {need.constants:,} for constants. The largest:",
    ]
    lines += [f"  {row}" for row in rows]
    lines.append(
        "Feed smaller batches, fetch less at once, or let recompute_grad() compute "
        "parts of the forward pass again rather than keep them. On a GPU other "
        "processes use memory too (nvidia-smi lists them)."
    )
    return ResourceExhaustedError(None, op, "\n".join(lines))


class _Row(NamedTuple):
    size: int
    text: str
    origin: Any

    def __str__(self) -> str:
        by = f", made by {describe(self.origin)}" if self.origin is not None else ""
        return f"{self.size:,} bytes: {self.text}{by}"


def _largest(program: Program) -> list[_Row]:
    rows: dict[int, _Row] = {}  # by buffer
    origins: Iterable[Any] = program.origins or [None] * len(program.steps)
    for step, origin in zip(program.steps, origins):
        for view in step.writes:
            buffer = view.buffer
            made = rows.get(buffer.id)
            node = node_of(origin)
            node = node if isinstance(node, Operation) else None
            if made is None or (made.origin is None and node is not None):
                shape = list(view.shape) if view.size == buffer.size else [buffer.size]
                text = f"{buffer.dtype.name} {shape}"
                rows[buffer.id] = _Row(buffer.size * buffer.dtype.size, text, node)
    for number, array in program.consts.items():
        text = f"constant {np.dtype(array.dtype).name} {list(array.shape)}"
        rows[number] = _Row(array.nbytes, text, None)
    ordered = sorted(rows.values(), key=lambda row: -row.size)
    return [row for row in ordered[:_LISTED] if row.size]
