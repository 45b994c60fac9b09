"""Which operations lie between xs and ys, at the cost of that part of the graph."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import zip_longest
from typing import NamedTuple

from gpugrad.graph.tensor import Operation


class Path(NamedTuple):
    """The operations between sources and targets.

    ``ops``:     those that a gradient may have to pass, sources and targets included.
    ``pending``: for each, how many inputs of operations of the path it feeds;
                 operations that feed none are absent.
    ``visited``: how many edges were looked at, for tests of the cost.
    """

    ops: set[Operation]
    pending: dict[Operation, int]
    visited: int


def between(targets: Collection[Operation], sources: Collection[Operation]) -> Path:
    """The path from ``sources`` to ``targets``.

    Forward from a source, only outputs of a trainable dtype count; backward from a
    target, every input. Ids grow along edges, so neither walk leaves the ids between
    the oldest source and the newest target. Both walks go on in lockstep until one
    has ended, so that neither a large graph before xs nor one beside ys is searched.
    """
    if not targets or not sources:
        return Path(set(), {}, 0)
    newest = max(op.id for op in targets)
    oldest = min(op.id for op in sources)
    ahead: set[Operation] = set()
    behind: set[Operation] = set()
    walks = zip_longest(
        _forward(sources, newest, ahead), _backward(targets, oldest, behind)
    )
    visited = 0
    reached = ahead
    for forward, backward in walks:
        visited += 1
        if forward is None:
            break
        if backward is None:
            reached = _descendants(behind, sources)
            break
    return _join(targets, reached, visited)


def _forward(
    sources: Collection[Operation], newest: int, seen: set[Operation]
) -> Iterator[bool]:
    """Add what trainable outputs of ``sources`` lead to; yields at each edge."""
    seen.update(sources)
    stack = list(seen)
    while stack:
        op = stack.pop()
        for tensor in op.outputs:
            if not tensor.dtype.is_trainable:
                continue
            for reader in tensor._consumers or ():
                if reader.id > newest:  # in the order of their ids
                    break
                yield True
                if reader not in seen:
                    seen.add(reader)
                    stack.append(reader)


def _backward(
    targets: Collection[Operation], oldest: int, seen: set[Operation]
) -> Iterator[bool]:
    """Add what ``targets`` are computed from; yields at each edge."""
    seen.update(op for op in targets if op.id >= oldest)
    stack = list(seen)
    while stack:
        for tensor in stack.pop().inputs:
            yield True
            op = tensor.op
            if op.id >= oldest and op not in seen:
                seen.add(op)
                stack.append(op)


def _descendants(
    candidates: set[Operation], sources: Collection[Operation]
) -> set[Operation]:
    """Those of ``candidates`` that trainable tensors connect to a source."""
    reached = candidates.intersection(sources)
    for op in sorted(candidates, key=_id):
        if op not in reached:
            for tensor in op.inputs:
                if tensor.dtype.is_trainable and tensor.op in reached:
                    reached.add(op)
                    break
    return reached


def _id(op: Operation) -> int:
    return op.id


def _join(
    targets: Collection[Operation], reached: set[Operation], visited: int
) -> Path:
    """Walk back from ``targets`` within ``reached``, counting the edges."""
    ops = reached.intersection(targets)
    stack = list(ops)
    pending: dict[Operation, int] = {}
    while stack:
        for tensor in stack.pop().inputs:
            op = tensor.op
            if op not in reached:
                continue
            visited += 1
            pending[op] = pending.get(op, 0) + 1
            if op not in ops:
                ops.add(op)
                stack.append(op)
    return Path(ops, pending, visited)
