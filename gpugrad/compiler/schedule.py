"""Which operations a run needs, in order, with calls of sub-graphs opened up."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from gpugrad import dtypes
from gpugrad.graph.tensor import Operation, Tensor

# The value number of each tensor that there is; -1 for each operation that is done.
Environment = dict[Tensor | Operation, int]


class Item(NamedTuple):
    """One operation to run. Values are numbered within the schedule.

    ``control``: what the op's control inputs make; only kept for ops that make
    nothing themselves, which is where barriers come from.
    """

    op: Operation
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    control: tuple[int, ...]


@dataclass(slots=True)
class Schedule:
    """The operations of a run, independent of shapes.

    ``inputs``:   the value numbers of the feeds.
    ``fetches``:  the value numbers of the fetched tensors.
    ``handles``:  value numbers that are variables, with their handle ops.
    ``last_use``: for every value, the index of the last item that reads it; the
                  number of items for a fetched one; -1 for one that nobody reads.
    ``lists``:    value numbers of dtype variant: Python objects, which only the
                  host handles.
    ``consts``:   constants, which are no items then, where the host does something.
    ``lends``:    what is fetched stays within the run, so that it may be an array
                  that the run was given, not a copy.
    """

    items: list[Item] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    fetches: list[int] = field(default_factory=list)
    handles: dict[int, Operation] = field(default_factory=dict)
    last_use: list[int] = field(default_factory=list)
    lists: set[int] = field(default_factory=set)
    consts: dict[int, tuple[np.ndarray, dtypes.DType]] = field(default_factory=dict)
    lends: bool = False


def needed(
    tensors: Iterable[Tensor],
    ops: Iterable[Operation],
    fed: Container[Tensor | Operation],
) -> list[Operation]:
    """The operations behind ``tensors`` and ``ops``, in the order of creation.

    Fed tensors and operations that are done are not looked behind. Creation order
    respects data and control edges, and is the program order of reads and writes of
    variables.
    """
    stack = [t.op for t in tensors if t not in fed]
    stack.extend(op for op in ops if op not in fed)
    seen = set(stack)
    stack = list(seen)
    while stack:
        op = stack.pop()
        for tensor in op.inputs:
            producer = tensor.op
            if producer not in seen and tensor not in fed:
                seen.add(producer)
                stack.append(producer)
        for producer in op.control_inputs:
            if producer in seen or producer in fed:
                continue
            if producer.outputs and all(t in fed for t in producer.outputs):
                continue  # fed as a whole, such as a placeholder
            seen.add(producer)
            stack.append(producer)
    return sorted(seen, key=_by_id)


def _by_id(op: Operation) -> int:
    return op.id


class Scheduler:
    """Builds a Schedule from one or several graphs."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self._count = 0
        # What each op without outputs waits for.
        self._groups: dict[Operation, tuple[int, ...]] = {}
        # What no compiled code makes: lists, and whatever ops on the host give.
        self._from_host: set[int] = set()

    def new_value(self, dtype: dtypes.DType) -> int:
        """A fresh value number."""
        number = self._count
        self._count += 1
        if dtype is dtypes.variant:
            self.schedule.lists.add(number)
            self._from_host.add(number)
        return number

    def add(
        self,
        env: Environment,
        tensors: Sequence[Tensor],
        ops: Sequence[Operation] = (),
    ) -> None:
        """Schedule what ``tensors`` and ``ops`` need and ``env`` does not have."""
        items = self.schedule.items
        for op in needed(tensors, ops, env):
            spec = op.spec
            env[op] = -1
            if spec.inline is not None:
                self._inline(op, env)
                continue
            if spec.alias and env[op.inputs[0]] in self._from_host:
                env.setdefault(op.outputs[0], env[op.inputs[0]])
                continue
            outs = []
            for tensor in op.outputs:
                value = env.get(tensor)
                if value is None:
                    value = self.new_value(tensor.dtype)
                    env[tensor] = value
                else:
                    value = self.new_value(
                        tensor.dtype
                    )  # this output is fed: compute and drop
                outs.append(value)
            if spec.lower is None:
                self._from_host.update(outs)
            if spec.lower is None and outs and op.outputs[0].dtype is dtypes.resource:
                self.schedule.handles[outs[0]] = op
                continue
            control: tuple[int, ...] = ()
            if not outs and op.control_inputs:
                control = self._behind(op, env)
            ins = tuple([env[t] for t in op.inputs])
            items.append(Item(op, ins, tuple(outs), control))

    def _behind(self, op: Operation, env: Environment) -> tuple[int, ...]:
        """What the control inputs of ``op`` make, also by way of groups of others."""
        found: dict[int, None] = {}
        for before in op.control_inputs:
            found.update((env[t], None) for t in before.outputs if t in env)
            if not before.outputs:  # a group for one device, within one for several
                found.update(dict.fromkeys(self._groups.get(before, ())))
        values = self._groups[op] = tuple(found)
        return values

    def _inline(self, op: Operation, env: Environment) -> None:
        """Schedule the body of a call; its results are the call's outputs."""
        call = op.spec.inline(op)  # type: ignore[misc]
        inner: Environment = {
            placeholder: env[argument]
            for placeholder, argument in zip(call.inputs, op.inputs)
        }
        self.add(inner, call.results, call.effects)
        for tensor, result in zip(op.outputs, call.results):
            env.setdefault(tensor, inner[result])

    def finish(self, inputs: Sequence[int], fetches: Sequence[int]) -> Schedule:
        """The schedule, with the last use of every value."""
        schedule = self.schedule
        schedule.inputs = list(inputs)
        schedule.fetches = list(fetches)
        if any(item.op.spec.lower is None for item in schedule.items):
            consts = schedule.consts = _constants(schedule.items)
            left = [i for i in schedule.items if not consts.keys() & i.outs]
            schedule.items = _few_stages(left)
        last_use = [-1] * self._count
        for index, item in enumerate(schedule.items):
            for value in item.ins:
                last_use[value] = index
            for value in item.control:
                last_use[value] = index
        for value in fetches:
            last_use[value] = len(schedule.items)
        schedule.last_use = last_use
        return schedule


def _constants(items: Sequence[Item]) -> dict[int, tuple[np.ndarray, dtypes.DType]]:
    """The values of the items that are constants."""
    found = {}
    for item in items:
        value = item.op.attrs.get("value")
        if value is not None and not item.ins and len(item.outs) == 1:
            found[item.outs[0]] = value, item.op.outputs[0].dtype
    return found


def _few_stages(items: Sequence[Item]) -> list[Item]:
    """``items`` in an order in which compiled code and host alternate seldom.

    What the host does comes as soon as it can, compiled code when the host has nothing
    to do, and then all that is possible. Stateful items keep their order, and so do
    those with control inputs.
    """
    maker = {number: i for i, item in enumerate(items) for number in item.outs}
    waiting = [0] * len(items)
    readers: list[list[int]] = [[] for _ in items]
    previous = None
    for index, item in enumerate(items):
        before = {maker[n] for n in (*item.ins, *item.control) if n in maker}
        if item.op.spec.stateful or item.op.control_inputs:
            if previous is not None:
                before.add(previous)
            previous = index
        waiting[index] = len(before)
        for other in before:
            readers[other].append(index)
    on_host = [item.op.spec.lower is None for item in items]
    ready: tuple[list[int], list[int]] = ([], [])
    for index, count in enumerate(waiting):
        if not count:
            ready[on_host[index]].append(index)
    ordered: list[Item] = []
    host = True
    while len(ordered) < len(items):
        host = not host if not ready[host] else host
        index = heapq.heappop(ready[host])
        ordered.append(items[index])
        for reader in readers[index]:
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready[on_host[reader]], reader)
    return ordered


def schedule(
    fetches: Sequence[Tensor], targets: Sequence[Operation], feeds: Sequence[Tensor]
) -> Schedule:
    """What a run of ``fetches`` and ``targets`` with ``feeds`` does."""
    scheduler = Scheduler()
    env: Environment = {t: scheduler.new_value(t.dtype) for t in feeds}
    inputs = list(env.values())
    scheduler.add(env, fetches, targets)
    return scheduler.finish(inputs, [env[t] for t in fetches])


def schedule_function(
    body: Any, results: Sequence[Tensor], outer: dict[Tensor, Tensor]
) -> Schedule:
    """What a function body does with values for its arguments.

    ``outer`` gives, for captured placeholders, the tensors of the surrounding graph:
    their own operations are scheduled first. The other inputs are the arguments.
    """
    scheduler = Scheduler()
    surrounding: Environment = {}
    env: Environment = {}
    inputs = []
    for placeholder in body.inputs:
        captured = outer.get(placeholder)
        if captured is None:
            env[placeholder] = scheduler.new_value(placeholder.dtype)
            inputs.append(env[placeholder])
        else:
            scheduler.add(surrounding, [captured])
            env[placeholder] = surrounding[captured]
    scheduler.add(env, results, body.effects)
    return scheduler.finish(inputs, [env[t] for t in results])


class Body(NamedTuple):
    """A function body to run: its graph, what its inputs are, and what is wanted.

    Each source is the number of an argument, or a tensor of a body before it.
    """

    graph: Any
    sources: Sequence[int | Tensor]
    results: Sequence[Tensor]


def schedule_bodies(bodies: Sequence[Body], kinds: Sequence[dtypes.DType]) -> Schedule:
    """Bodies one after another, on arguments of dtypes ``kinds``; all their results."""
    scheduler = Scheduler()
    arguments = [scheduler.new_value(dtype) for dtype in kinds]
    known: Environment = {}
    fetches = []
    for body in bodies:
        env: Environment = {
            placeholder: arguments[s] if isinstance(s, int) else known[s]
            for placeholder, s in zip(body.graph.inputs, body.sources, strict=True)
        }
        scheduler.add(env, body.results, body.graph.effects)
        fetches += [env[t] for t in body.results]
        known.update(env)
    found = scheduler.finish(arguments, fetches)
    found.lends = True
    return found
