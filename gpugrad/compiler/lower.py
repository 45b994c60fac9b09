"""Operations to steps: calls each op's ``lower`` with concrete shapes.

Shape arithmetic disappears here: views cost nothing, and small integer results of
constants are computed on the spot (fold.py). Where a shape depends on data, the
stage ends: the runtime runs what there is and lowers the rest with the values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpugrad.compiler import fold
from gpugrad.compiler.schedule import Item, Schedule
from gpugrad.dtypes import DType
from gpugrad.errors import FailedPreconditionError, InvalidArgumentError, describe
from gpugrad.graph.tensor import Operation
from gpugrad.kir.builder import Builder, Handle, NeedsValue, Site, Uninitialized
from gpugrad.kir.program import Commit, Group, Program, Step, Store
from gpugrad.kir.scalar import Load
from gpugrad.kir.space import Shape, View

Handles = Callable[[Operation], Handle]


class Bound(NamedTuple):
    """A value that exists when a stage starts. ``value`` if shapes depend on it."""

    dtype: DType
    shape: Shape
    value: np.ndarray | None = None


class NeedsInput(Exception):
    """A shape depends on the value of a stage's input: lower again with the value."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@dataclass(frozen=True, slots=True)
class Stage:
    """A Program for the items from ``start`` up to ``stop``.

    ``takes``: value numbers of the Program's inputs; ``gives``: of its outputs.
    ``host``: the item at which the stage stopped, if it runs on the host; the next
    stage starts after it, or at ``stop`` if a shape was the reason.
    """

    program: Program
    takes: tuple[int, ...]
    gives: tuple[int, ...]
    start: int
    stop: int
    host: Item | None


def lower_stage(
    schedule: Schedule, start: int, bound: dict[int, Bound], handles: Handles
) -> Stage:
    """Lower from item ``start`` until the end or until a value has to be known."""
    builder = Builder()
    env: dict[int, Any] = {}
    inputs: dict[int, int] = {}
    if not schedule.lends:
        for number in schedule.fetches:
            if number in schedule.consts:
                env[number] = builder.literal(*schedule.consts[number])
    for number, value in bound.items():
        if value.value is not None:
            env[number] = builder.literal(value.value, value.dtype)
        else:
            env[number] = view = builder.new(value.dtype, value.shape, "input")
            inputs[view.buffer.id] = number
    items = schedule.items
    stop, host = len(items), None
    for index in range(start, stop):
        item = items[index]
        if item.op.spec.lower is None:
            if item.op.spec.host is None:
                raise not_fed(item.op)
            stop, host = index, item
            break
        try:
            _lower_item(builder, item, env, schedule, handles)
        except NeedsValue as need:
            if item.op.spec.host is not None:
                # Some ops compile where a value is constant, and run on the host else.
                stop, host = index, item
                break
            wanted = inputs.get(need.view.buffer.id)
            if wanted is not None:
                raise NeedsInput(wanted) from None
            if _number_of(need.view, item, env) is None:
                raise _located(need, item.op) from need
            stop = index
            break
    return _finish(builder, schedule, env, inputs, start, stop, host)


def _lower_item(
    builder: Builder,
    item: Item,
    env: dict[int, Any],
    schedule: Schedule,
    handles: Handles,
) -> None:
    op = item.op
    views = []
    for number in item.ins:
        view = env.get(number)
        if view is None:
            known = schedule.consts.get(number)
            if known is not None:
                view = builder.literal(*known)
            else:
                view = handles(schedule.handles[number])
            env[number] = view
        views.append(view)
    control = tuple(env[n] for n in item.control if n in env) if item.control else ()
    outputs = op.outputs
    site = Site(
        op.attrs,
        tuple(views),
        tuple([t.dtype for t in outputs]),
        control,
        shapes=tuple([t._shape for t in outputs]),
    )
    builder.origin = op
    before = len(builder.steps)
    try:
        results = op.spec.lower(builder, site)  # type: ignore[misc]
        if type(results) is View:
            results = (results,)
        steps = builder.steps[before:]
        if results and steps and _foldable(views, results, steps):
            results = fold.fold(builder, before, results)
    except NeedsValue:
        # Nothing of a half-lowered op stays behind.
        del builder.steps[before:], builder.origins[before:]
        raise
    except Uninitialized as error:
        raise FailedPreconditionError(
            None,
            op,
            f"Error while reading variable {error.handle.name}: it has no value yet "
            f"(asked by {describe(op)}). Run its initializer first.",
        ) from None
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise _located(error, op) from error
    for number, result in zip(item.outs, results, strict=True):
        env[number] = result


def _foldable(
    inputs: Sequence[Any], results: Sequence[View], steps: Sequence[Step]
) -> bool:
    """Small integer or boolean results of constants: shape arithmetic.

    Not what counts by the run, such as random integers of a constant shape.
    """
    for view in results:
        if view.size > fold.LIMIT or not (view.dtype.is_integer or view.dtype.is_bool):
            return False
    for view in inputs:
        if type(view) is not View or view.buffer.kind != "const":
            return False
    return all(v.buffer.kind in ("const", "temp") for s in steps for v in s.reads)


def _number_of(view: View, item: Item, env: dict[int, Any]) -> int | None:
    for number in item.ins:
        other = env[number]
        if type(other) is View and other.buffer.id == view.buffer.id:
            return number
    return None


def _located(error: Exception, op: Operation) -> InvalidArgumentError:
    if isinstance(error, InvalidArgumentError) and error.op is not None:
        return error
    return InvalidArgumentError(None, op, f"{error} [{describe(op)}]")


def not_fed(op: Operation) -> InvalidArgumentError:
    """The error for a placeholder without a value."""
    dtype = op.outputs[0].dtype.name.replace("float32", "float")
    shape = op.outputs[0]._shape
    dims = (
        "<unknown>"
        if shape is None
        else ("[" + ",".join("?" if d is None else str(d) for d in shape) + "]")
    )
    return InvalidArgumentError(
        None,
        op,
        f"You must feed a value for placeholder tensor '{op.name}' with dtype {dtype} "
        f"and shape {dims} [{describe(op)}]. Add it to feed_dict.",
    )


def _finish(
    builder: Builder,
    schedule: Schedule,
    env: dict[int, Any],
    inputs: dict[int, int],
    start: int,
    stop: int,
    host: Item | None,
) -> Stage:
    """Close the program: copies of what leaves it, and the variables it writes."""
    builder.origin = None
    gives = _leaving(schedule, env, inputs, stop)
    outputs = []
    for number in gives:
        view = env[number]
        out = builder.new(view.dtype, view.shape, "output")
        reduced = (False,) * len(view.shape)
        store = Store(out, Load(0, view.dtype))
        builder.append(Group(view.shape, reduced, (view,), (store,)))
        outputs.append(out)
    commits = tuple(
        Commit(slot, view)
        for slot, view in builder.state.items()
        if view.buffer.kind != "variable"
    )
    takes = []
    buffers = []
    shapes = dict(builder.shapes)
    for number, view in env.items():
        if type(view) is View and inputs.get(view.buffer.id) == number:
            takes.append(number)
            buffers.append(view.buffer)
            shapes[view.buffer.id] = view.shape
    program = Program(
        steps=tuple(builder.steps),
        inputs=tuple(buffers),
        variables=tuple(builder.variables.items()),
        consts=builder.consts,
        outputs=tuple(outputs),
        commits=commits,
        step=builder.step,
        origins=tuple(builder.origins),
        shapes=shapes,
    )
    return Stage(program, tuple(takes), tuple(gives), start, stop, host)


def _leaving(
    schedule: Schedule, env: dict[int, Any], inputs: dict[int, int], stop: int
) -> list[int]:
    """Value numbers to hand out: the fetches, or what later stages read.

    ``inputs`` gives, by buffer, the values that the runtime has already.
    """
    numbers: Iterable[int] = env
    if stop == len(schedule.items):
        numbers = [n for n in dict.fromkeys(schedule.fetches) if n in env]
        # What is missing are values that only the host knows (dtype variant).
        if not schedule.lends:
            return list(numbers)
    return [
        number
        for number in numbers
        if schedule.last_use[number] >= stop
        and type(env[number]) is View
        and inputs.get(env[number].buffer.id) != number
        and number not in schedule.consts
    ]
