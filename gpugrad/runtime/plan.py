"""A plan: what was compiled for one set of fetches and feeds, and how it runs.

Mostly a plan is one Program. Where a shape depends on data, or an op works on the
host, it is several stages with the host in between.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gpugrad.backends.base import Array, Backend, Executable, StepError
from gpugrad.collector import collecting_seldom
from gpugrad.compiler.lower import Bound, NeedsInput, Stage, lower_stage, not_fed
from gpugrad.compiler.pipeline import optimize
from gpugrad.compiler.schedule import Schedule
from gpugrad.dtypes import of_numpy
from gpugrad.errors import InvalidArgumentError, OpError, describe
from gpugrad.graph.tensor import Operation
from gpugrad.kir.program import Program, node_of
from gpugrad.runtime import memory
from gpugrad.runtime.accepts import Accepts, accepts
from gpugrad.runtime.context import Context
from gpugrad.runtime.host import HostStep

# A feed that shapes depend on is part of a plan's key by value; a feed larger than
# this is never one (sizes and axes are short).
_STATIC_LIMIT = 4096
# The bytes that the stages of one plan may hold, in arrays and in code, of which some
# few versions of each stage are kept all the same. A batch size that changes every
# time would otherwise fill the memory; the oldest goes first.
_STAGES_BYTES = 1 << 28
_BYTES_A_STEP = 1 << 12
_VERSIONS_KEPT = 4
# Different sizes of feeds after which a plan says that it compiles for each of them.
_MANY_VERSIONS = 32

_log = logging.getLogger("gpugrad")


class _Compiled:
    """A stage ready to run, for one set of shapes.

    Where it is all of a run, ``accepts`` takes feeds that are ready as they are, for
    ``run``, the executable's, and ``scalars`` are the places of results of rank 0.
    """

    __slots__ = (
        "accepts",
        "commits",
        "dead",
        "executable",
        "fresh_slots",
        "generation",
        "gives",
        "held_bytes",
        "host",
        "known",
        "program",
        "run",
        "scalars",
        "shapes",
        "stop",
        "takes",
    )

    def __init__(
        self,
        stage: Stage,
        executable: Executable | None,
        generation: int,
        shapes: list[tuple[int, Any]],
        known: list[tuple[int, bytes]],
    ) -> None:
        self.takes, self.gives = stage.takes, stage.gives
        self.stop = stage.stop
        self.host: HostStep | None = None
        self.program = stage.program
        self.commits = tuple(c.slot for c in stage.program.commits)
        self.executable = executable
        self.generation = generation
        self.shapes = shapes
        self.known = known
        self.held_bytes = (
            stage.program.arena_bytes + len(stage.program.steps) * _BYTES_A_STEP
        )
        self.fresh_slots: tuple[int, ...] = ()
        self.dead: tuple[int, ...] = ()
        self.accepts: Accepts | None = None
        self.run: Any = None
        self.scalars: list[int] = []

    def accept_arrays(self, array_type: type) -> None:
        """Make ``accepts``, ``run`` and ``scalars``."""
        assert self.executable is not None
        self.run = self.executable.run
        shapes = [shape for _, shape in self.shapes]
        dtypes = [buffer.dtype.np_dtype for buffer in self.program.inputs]
        self.accepts = accepts(list(zip(dtypes, shapes)), array_type)
        outputs = self.program.outputs
        self.scalars = [i for i, view in enumerate(outputs) if not view.shape]

    def fits(self, values: list[Any], context: Context) -> bool:
        """True when it was compiled for values like these."""
        if self.generation != context.generation:
            return False
        for number, shape in self.shapes:
            if values[number].shape != shape:
                return False
        for number, known in self.known:
            if context.backend.to_host(values[number]).tobytes() != known:
                return False
        return True


class Plan:
    """Compiled stages for one schedule. One run at a time: the owner's lock guards."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        unique = list(dict.fromkeys(schedule.fetches))
        self.order: list[int] | None = None
        if len(unique) != len(schedule.fetches):
            places = {number: i for i, number in enumerate(unique)}
            self.order = [places[n] for n in schedule.fetches]
        self._stages: dict[Any, _Compiled] = {}
        # What ran last, if it is all that a run is.
        self.straight: _Compiled | None = None
        # By start: the stage that ran last, the values there may be, and those of
        # them whose values shapes depend on.
        self._latest: dict[int, _Compiled] = {}
        self._versions = 0
        self._warned = False
        self._live: dict[int, list[int]] = {}
        self._static: dict[int, set[int]] = {}
        # The ops that always run on the host, by their place; what else a run starts
        # with: handles and constants, by value number.
        self._hosts: list[HostStep | None] = []
        self._blank: list[Any] = []
        # The items that must run on the host show that several stages are certain.
        self.single = all(i.op.spec.lower is not None for i in schedule.items)
        memory.register(self)

    def run(self, feeds: Sequence[Array], shapes: Any, context: Context) -> list[Array]:
        """The fetched values, in order, as arrays of the device."""
        if self.single and not self._static:
            compiled = self._stages.get((0, shapes))
            if (
                compiled is not None
                and compiled.generation == context.generation
                and compiled.stop == len(self.schedule.items)
                and compiled.executable is not None
            ):
                results = self._execute(compiled, feeds, context)
                if compiled.fresh_slots:
                    self._committed(context)
                elif self.order is None:
                    if compiled.accepts is None:
                        compiled.accept_arrays(context.backend.xp.ndarray)
                    self.straight = compiled
                order = self.order
                if order is not None:
                    results = _distinct([results[i] for i in order])
                return results
        results = self.call(feeds, context)
        return results if self.order is None else _distinct(results)

    def run_again(
        self,
        error: StepError,
        compiled: _Compiled,
        feeds: Sequence[Array],
        context: Context,
    ) -> list[Array]:
        """The results after all, if ``compiled.run`` failed for want of memory."""
        _refuse_to_run_again(compiled.program, error)
        context.next_step()
        return self._execute_again(compiled, feeds, context)

    # --- several stages ---------------------------------------------------------------

    def call(self, arguments: Sequence[Any], context: Context) -> list[Any]:
        """The fetched values, for any number of stages and anything on the host."""
        blank = self._blank or self._started(context)
        values = blank.copy()
        values[: len(arguments)] = arguments  # feeds are numbered first
        hosts, latest = self._hosts, self._latest
        now = context
        start, stop = 0, len(hosts)
        # Even after a last op on the host comes a stage: it copies what is fetched,
        # which may be a feed or an array of the user's.
        copied = self.schedule.lends
        while start < stop or not copied:
            host = hosts[start] if start < stop else None
            if host is not None:
                if not now.private:
                    now = context.made_private()
                host.run(values, now)
                start += 1
                continue
            compiled = latest.get(start)
            if compiled is None or not compiled.fits(values, now):
                compiled = latest[start] = self._compiled(start, values, now)
            start = compiled.stop
            if start < stop and not now.private:
                now = context.made_private()
            if compiled.executable is not None:
                if now.private and compiled.commits:
                    now.own(compiled.commits)
                takes = [values[n] for n in compiled.takes]
                results = self._execute(compiled, takes, now)
                for number, result in zip(compiled.gives, results):
                    values[number] = result
                if compiled.fresh_slots:
                    self._committed(now)
            for number in compiled.dead:
                values[number] = None
            if compiled.host is not None:
                compiled.host.run(values, now)
                start += 1
            else:
                copied = copied or start == stop
        if now is not context:
            context.publish(now)
        return [values[n] for n in self.schedule.fetches]

    def caller(self, context: Context) -> Callable[[Sequence[Any]], list[Any]]:
        """call() in one run, many times: where all is one stage, it is all there is."""
        compiled = self._latest.get(0)
        if (
            compiled is None
            or compiled.executable is None
            or not self.schedule.lends
            or compiled.stop < len(self.schedule.items)
            or compiled.host is not None
            or compiled.commits
            or compiled.known
            or list(compiled.gives) != self.schedule.fetches
            or compiled.generation != context.generation
        ):
            return lambda arguments: self.call(arguments, context)
        shapes, takes, run = compiled.shapes, compiled.takes, compiled.executable.run

        def call(arguments: Sequence[Any]) -> list[Any]:
            for number, shape in shapes:
                if arguments[number].shape != shape:
                    return self.call(arguments, context)
            context.step += 1
            feeds = [arguments[n] for n in takes]
            try:
                return run(feeds, context.arrays, context.step)
            except StepError as error:
                _refuse_to_run_again(compiled.program, error)
            return self._execute_again(compiled, feeds, context)

        return call

    def _started(self, context: Context) -> list[Any]:
        """What the first run finds out: where the host works, and with what."""
        schedule = self.schedule
        items = schedule.items
        backend = context.backend
        blank: list[Any] = [None] * len(schedule.last_use)
        for number, op in schedule.handles.items():
            blank[number] = op
        for number, (value, dtype) in schedule.consts.items():
            blank[number] = backend.to_device(value, dtype)
        self._hosts = [
            None if item.op.spec.lower is not None else self._host_step(index)
            for index, item in enumerate(items)
            if item.op.spec.lower is not None or item.op.spec.host is not None
        ]
        if len(self._hosts) < len(items):
            missing = next(
                i for i in items if i.op.spec.lower is None and i.op.spec.host is None
            )
            raise not_fed(missing.op)
        self._blank = blank
        return blank

    def _host_step(self, index: int) -> HostStep:
        schedule = self.schedule
        item = schedule.items[index]
        dead = [
            n
            for n in set(item.ins)
            if schedule.last_use[n] <= index
            and n not in schedule.handles
            and n not in schedule.consts
        ]
        return HostStep(item, schedule.last_use, dead, Plan)

    @staticmethod
    def _committed(context: Context) -> None:
        """A variable got its first value or another shape: plans are outdated."""
        context.generation = context.store.new_generation()
        if not context.private:
            context.store.generation = context.generation

    def _live_at(self, start: int) -> list[int]:
        """The arrays that there are when the item at ``start`` is next."""
        schedule = self.schedule
        made = [*schedule.inputs]
        for item in schedule.items[:start]:
            made += item.outs
        hidden = schedule.lists | schedule.handles.keys() | schedule.consts.keys()
        return [n for n in made if schedule.last_use[n] >= start and n not in hidden]

    def _compiled(self, start: int, values: list[Any], context: Context) -> _Compiled:
        static = self._static.get(start, set())
        live = self._live.get(start)
        if live is None:
            live = self._live[start] = self._live_at(start)
        while True:
            shapes = tuple([tuple(values[n].shape) for n in live])
            key: Any = (start, shapes)
            known: list[tuple[int, bytes]] = []
            if static:
                known = [
                    (n, context.backend.to_host(values[n]).tobytes())
                    for n in live
                    if n in static
                ]
                key = (start, shapes, tuple(known))
            found = self._stages.get(key)
            if found is not None and found.generation == context.generation:
                return found
            bound = {
                n: self._bind(values[n], n in static, context.backend) for n in live
            }
            try:
                with collecting_seldom():
                    stage = lower_stage(self.schedule, start, bound, context.handle)
                    return self._keep(key, stage, context, live, known)
            except NeedsInput as need:
                if values[need.number].size > _STATIC_LIMIT:
                    raise InvalidArgumentError(
                        None,
                        None,
                        "A shape depends on an array of more than "
                        f"{_STATIC_LIMIT} elements. Pass the sizes as a short vector.",
                    ) from None
                static = self._static.setdefault(start, set())
                static.add(need.number)

    def _keep(
        self,
        key: Any,
        stage: Stage,
        context: Context,
        live: list[int],
        known: list[tuple[int, bytes]],
    ) -> _Compiled:
        program = optimize(stage.program, target=context.backend.target)
        stage = replace(stage, program=program)
        executable = None
        if program.steps or program.outputs or program.commits:
            executable = self._load(program, context.backend)
        compiled = _Compiled(
            stage, executable, context.generation, list(zip(live, key[1])), known
        )
        compiled.fresh_slots = tuple(
            c.slot
            for c in program.commits
            if context.arrays[c.slot] is None
            or tuple(context.arrays[c.slot].shape) != c.view.shape
        )
        last_use = self.schedule.last_use
        compiled.dead = tuple(
            n for n in [*live, *stage.gives] if last_use[n] < stage.stop
        )
        if stage.host is not None:
            compiled.host = self._host_step(stage.stop)
        if self._stages.pop(key, None) is None:
            self._count_version()
        self._make_room(compiled.held_bytes)
        self._stages[key] = compiled
        return compiled

    @staticmethod
    def _load(program: Program, backend: Backend) -> Executable:
        """Load it; if memory runs out, again when all others have given theirs back."""
        try:
            memory.make_room(program, backend)
            with contextlib.suppress(MemoryError):
                return backend.load(program)
            # Only here, for the error holds on to what was made until it came.
            memory.release(backend)
            return backend.load(program)
        except MemoryError as error:
            raise memory.exhausted(program, error) from error

    def _execute(
        self, compiled: _Compiled, feeds: Sequence[Array], context: Context
    ) -> list[Array]:
        """Run a stage; if memory runs out, again when the others have given back."""
        number = context.next_step()
        executable = compiled.executable
        assert executable is not None
        try:
            return executable.run(feeds, context.arrays, number)
        except StepError as error:
            _refuse_to_run_again(compiled.program, error)
        return self._execute_again(compiled, feeds, context)

    @staticmethod
    def _execute_again(
        compiled: _Compiled, feeds: Sequence[Array], context: Context
    ) -> list[Array]:
        """Run a stage that memory ran out for, when the others have given back."""
        memory.release(context.backend, compiled)
        executable = compiled.executable
        assert executable is not None
        try:
            return executable.run(feeds, context.arrays, context.step)
        except StepError as error:
            if not isinstance(error.cause, MemoryError):
                raise
            raise memory.exhausted(
                compiled.program, error.cause, error.origin
            ) from error

    def held_bytes(self) -> int:
        """What the compiled stages hold between runs."""
        stages = list(self._stages.values())
        return sum(memory.footprint(c.program).held for c in stages)

    def forget(self, keep: Any) -> None:
        """Let go of the compiled stages, but for ``keep``."""
        stages = list(self._stages.items())
        self._stages = {key: stage for key, stage in stages if stage is keep}
        self._latest.clear()
        self.straight = None

    def _count_version(self) -> None:
        """Say once that the plan is compiled again and again."""
        self._versions += 1
        stages = len({key[0] for key in self._stages}) or 1
        if self._warned or self._versions <= _MANY_VERSIONS * stages:
            return
        self._warned = True
        items = self.schedule.items
        where = f", such as {describe(items[-1].op)}" if items else ""
        _log.warning(
            "The same fetches%s have been compiled for more than %d different shapes "
            "or values of what is fed. Each is a compilation, and only some are kept: "
            "feed batches of a few sizes, for example by padding the last one.",
            where,
            _MANY_VERSIONS,
        )

    def _make_room(self, needed: int) -> None:
        """Forget the oldest stages, so that one more with so many bytes may come."""
        stages = self._stages
        held = needed + sum(c.held_bytes for c in stages.values())
        few = _VERSIONS_KEPT * len({key[0] for key in stages})
        while held > _STAGES_BYTES and len(stages) >= few and stages:
            held -= stages.pop(next(iter(stages))).held_bytes

    @staticmethod
    def _bind(array: Array, static: bool, backend: Backend) -> Bound:
        dtype = of_numpy(np.dtype(array.dtype))
        # A copy: the array may be a feed, which the caller can change afterwards.
        value = backend.to_host(array).copy() if static else None
        return Bound(dtype, tuple(array.shape), value)


def _refuse_to_run_again(program: Program, error: StepError) -> None:
    """Raise the error, unless memory ran out and the program can run twice."""
    if not isinstance(error.cause, MemoryError):
        raise error
    if not memory.may_run_again(program):
        raise memory.exhausted(program, error.cause, error.origin) from error


def _distinct(results: list[Array]) -> list[Array]:
    """The same values, with a copy in the place of an array that came before."""
    seen: set[int] = set()
    found = []
    for result in results:
        found.append(result.copy() if id(result) in seen else result)
        seen.add(id(result))
    return found


def step_error(error: StepError) -> Exception:
    """The error a user sees for a failed step: its class, the node, the line."""
    op, cause = node_of(error.origin), error.cause
    if not isinstance(op, Operation):
        return cause
    text = f"{cause} [{describe(op)}]"
    if isinstance(cause, OpError):
        return type(cause)(None, op, text)
    return InvalidArgumentError(None, op, text)
