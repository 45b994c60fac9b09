"""Ops that run on the host: functions of the user's, branches, loops, lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gpugrad.compiler.schedule import Body, Item, schedule_bodies
from gpugrad.dtypes import variant
from gpugrad.errors import InvalidArgumentError, OpError, describe
from gpugrad.graph.tensor import Operation
from gpugrad.kir.builder import Site

if TYPE_CHECKING:
    from gpugrad.runtime.context import Context
    from gpugrad.runtime.plan import Plan

MakePlan = Callable[[Any], "Plan"]


class HostStep:
    """One op at its place in a plan, with the plans of the bodies that it runs.

    ``dead`` are the inputs that nothing reads any more afterwards.
    """

    __slots__ = (
        "_bodies",
        "_dead",
        "_ins",
        "_kept",
        "_make_plan",
        "_outs",
        "_site",
        "op",
    )

    def __init__(
        self,
        item: Item,
        last_use: Sequence[int],
        dead: Sequence[int],
        make_plan: MakePlan,
    ) -> None:
        self.op = item.op
        self._ins, self._outs, self._dead = item.ins, item.outs, tuple(dead)
        outputs = item.op.outputs[: len(item.outs)]
        self._site = Site(
            item.op.attrs,
            (),
            tuple([t.dtype for t in outputs]),
            wanted=tuple([last_use[n] >= 0 for n in item.outs]),
        )
        self._kept: dict[Any, Any] = {}
        self._make_plan = make_plan
        self._bodies: Bodies | None = None

    def run(self, values: list[Any], context: Context) -> None:
        """Take the inputs from ``values`` by number, and put the outputs there."""
        op = self.op
        spec = op.spec
        arrays = [values[n] for n in self._ins]
        for number in self._dead:
            values[number] = None
        try:
            if spec.on_device:
                bodies = self._bodies
                if bodies is None or bodies.context is not context:
                    bodies = Bodies(self._kept, self._make_plan, context)
                    self._bodies = bodies
                results = spec.host(bodies, self._site, arrays)  # type: ignore[misc]
                for number, result in zip(self._outs, results):
                    values[number] = result
            else:
                self._compute(values, arrays, context)
        except OpError as error:
            if error.op is not None:
                raise
            raise type(error)(None, op, f"{error} [{describe(op)}]") from error
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise InvalidArgumentError(None, op, f"{error} [{describe(op)}]") from error

    def _compute(
        self, values: list[Any], arrays: Sequence[Any], context: Context
    ) -> None:
        """Run an op that works on NumPy arrays."""
        backend = context.backend
        host = [a if isinstance(a, Operation) else backend.to_host(a) for a in arrays]
        results = self.op.spec.host(None, self._site, host)  # type: ignore[misc]
        found = zip(self._outs, results, self._site.dtypes, strict=True)
        for number, result, dtype in found:
            values[number] = (
                result if dtype is variant else backend.to_device(result, dtype)
            )


class Bodies:
    """What an op that works on the device's arrays may ask of the run around it.

    ``xp``: the array namespace. ``to_host``: an array's values as a NumPy array, which
    waits for the device. ``kept``: what the op wants to find again when it runs the
    next time at this place.
    """

    __slots__ = ("_make_plan", "context", "kept", "to_host", "xp")

    def __init__(
        self, kept: dict[Any, Any], make_plan: MakePlan, context: Context
    ) -> None:
        self.kept = kept
        self._make_plan = make_plan
        self.context = context
        self.xp = context.backend.xp
        self.to_host = context.backend.to_host

    def compiled(
        self,
        key: Any,
        bodies: Callable[[], Sequence[tuple[Any, Sequence[Any], Sequence[Any]]]],
        arguments: Sequence[Any],
    ) -> Callable[[Sequence[Any]], list[Any]]:
        """A function of such arguments that runs bodies, one after another.

        ``bodies()`` gives for each (graph, sources, results): a source is the number
        of an argument, or a tensor of a body before it. The function gives all
        results, as arrays that are not to be written. Arguments that are operations
        are handles of variables.
        """
        plan = self.kept.get(key)
        if plan is None:
            parts = [Body(*body) for body in bodies()]
            kinds = _kinds(parts, len(arguments))
            schedule = schedule_bodies(parts, kinds)
            for number, argument in zip(schedule.inputs, arguments):
                if isinstance(argument, Operation):
                    schedule.handles[number] = argument
            plan = self.kept[key] = self._make_plan(schedule)
        return plan.caller(self.context)


def _kinds(bodies: Sequence[Body], count: int) -> list[Any]:
    """The dtypes of arguments, from the placeholders that they go to."""
    kinds: list[Any] = [None] * count
    for body in bodies:
        for placeholder, source in zip(body.graph.inputs, body.sources):
            if isinstance(source, int):
                kinds[source] = placeholder.dtype
    return kinds
