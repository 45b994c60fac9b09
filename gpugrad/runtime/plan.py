"""A plan: what was compiled for one set of fetches and feeds, and how it runs.

Mostly a plan is one Program. Where a shape depends on data, or an op works on the
host, it is several stages with the host in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpugrad.backends.base import Array, Backend, Executable, StepError
from gpugrad.collector import collecting_seldom
from gpugrad.compiler.lower import Bound, NeedsInput, Stage, lower_stage
from gpugrad.compiler.pipeline import optimize
from gpugrad.compiler.schedule import Item, Schedule, schedule_function
from gpugrad.dtypes import DType, of_numpy, variant
from gpugrad.errors import InvalidArgumentError, OpError, describe
from gpugrad.graph.tensor import Operation
from gpugrad.kir.builder import Handle, Site
from gpugrad.kir.program import Program, node_of
from gpugrad.runtime import memory
from gpugrad.runtime.variables import VariableStore

# A feed that shapes depend on is part of a plan's key by value; a feed larger than
# this is never one (sizes and axes are short).
_STATIC_LIMIT = 4096
# Stages kept for one plan, and the bytes that they may hold, of which some few
# versions of each stage are kept all the same. A batch size that changes every time
# would otherwise fill the memory; the oldest goes first.
_STAGES_LIMIT = 64
_STAGES_BYTES = 1 << 28
_VERSIONS_KEPT = 4
# Runs inside one run (loop iterations) draw their own random numbers: each run has
# this many to give away.
_RUNS_WITHIN = 1 << 20


class Context:
    """The state that the stages of one run share.

    ``arrays`` are the variables as the run sees them: the store's own list, or,
    once there are several stages, a ``private`` copy of the list that becomes the
    store's when the run has succeeded.
    """

    __slots__ = ("arrays", "backend", "generation", "private", "step", "store")

    def __init__(self, store: VariableStore, backend: Backend, number: int) -> None:
        self.store = store
        self.backend = backend
        self.arrays = store.arrays
        self.generation = store.generation
        self.private = False
        self.step = number * _RUNS_WITHIN

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


class _Compiled:
    """A stage ready to run."""

    __slots__ = ("executable", "fresh_slots", "generation", "stage")

    def __init__(self, stage: Stage, executable: Executable, generation: int) -> None:
        self.stage = stage
        self.executable = executable
        self.generation = generation
        self.fresh_slots: tuple[int, ...] = ()


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
        # Positions, by stage start, of the values that are part of the key.
        self._static: dict[int, set[int]] = {}
        self.functions: dict[Any, Plan] = {}
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
                and compiled.stage.stop == len(self.schedule.items)
            ):
                results = self._execute(compiled, feeds, context)
                if compiled.fresh_slots:
                    self._committed(context)
                order = self.order
                if order is not None:
                    results = _distinct([results[i] for i in order])
                return results
        values = dict(zip(self.schedule.inputs, feeds))
        results = self._run_stages(values, context)
        return results if self.order is None else _distinct(results)

    # --- several stages ---------------------------------------------------------------

    def _run_stages(self, values: dict[int, Array], context: Context) -> list[Array]:
        schedule = self.schedule
        now = context
        start = 0
        while True:
            compiled = self._compiled(start, values, now)
            stage = compiled.stage
            if stage.stop < len(schedule.items) and not now.private:
                now = context.made_private()
            if now.private:
                # Commits write in place: let them write to copies.
                for commit in stage.program.commits:
                    old = now.arrays[commit.slot]
                    now.arrays[commit.slot] = None if old is None else old.copy()
            takes = [values[n] for n in stage.takes]
            results = self._execute(compiled, takes, now)
            values.update(zip(stage.gives, results))
            if compiled.fresh_slots:
                self._committed(now)
            start = stage.stop
            if stage.host is not None:
                # Even after the last item comes a stage: it copies what is fetched,
                # for what a host op gives may be a feed or an array of the user's.
                self._run_host(stage.host, values, now)
                start += 1
            elif start == len(schedule.items):
                break
            for number in [n for n in values if schedule.last_use[n] < start]:
                del values[number]
        if now is not context:
            context.publish(now)
        return [values[n] for n in schedule.fetches]

    @staticmethod
    def _committed(context: Context) -> None:
        """A variable got its first value or another shape: plans are outdated."""
        context.generation = context.store.new_generation()
        if not context.private:
            context.store.generation = context.generation

    def _compiled(
        self, start: int, values: dict[int, Array], context: Context
    ) -> _Compiled:
        static = self._static.get(start, set())
        last_use = self.schedule.last_use
        live = [
            n for n in values if last_use[n] >= start and type(values[n]) is not list
        ]
        while True:
            key: Any = (start, tuple(tuple(values[n].shape) for n in live))
            if static:
                known = [
                    context.backend.to_host(values[n]) for n in live if n in static
                ]
                key = (*key, tuple(v.tobytes() for v in known))
            found = self._stages.get(key)
            if found is not None and found.generation == context.generation:
                return found
            bound = {
                n: self._bind(values[n], n in static, context.backend) for n in live
            }
            try:
                with collecting_seldom():
                    stage = lower_stage(self.schedule, start, bound, context.handle)
                    return self._keep(key, stage, context)
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

    def _keep(self, key: Any, stage: Stage, context: Context) -> _Compiled:
        program = optimize(stage.program, target=context.backend.target)
        stage = Stage(
            program, stage.takes, stage.gives, stage.start, stage.stop, stage.host
        )
        executable = self._load(program, context.backend)
        compiled = _Compiled(stage, executable, context.generation)
        compiled.fresh_slots = tuple(
            c.slot
            for c in program.commits
            if context.arrays[c.slot] is None
            or tuple(context.arrays[c.slot].shape) != c.view.shape
        )
        self._stages.pop(key, None)
        self._make_room(program.arena_bytes)
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
        executable, program = compiled.executable, compiled.stage.program
        try:
            return executable.run(feeds, context.arrays, number)
        except StepError as error:
            if not isinstance(error.cause, MemoryError):
                raise
            if not memory.may_run_again(program):
                raise memory.exhausted(program, error.cause, error.origin) from error
        memory.release(context.backend, compiled)
        try:
            return executable.run(feeds, context.arrays, number)
        except StepError as error:
            if not isinstance(error.cause, MemoryError):
                raise
            raise memory.exhausted(program, error.cause, error.origin) from error

    def held_bytes(self) -> int:
        """What the compiled stages hold between runs."""
        stages = list(self._stages.values())
        return sum(memory.footprint(c.stage.program).held for c in stages)

    def forget(self, keep: Any) -> None:
        """Let go of the compiled stages, but for ``keep``."""
        stages = list(self._stages.items())
        self._stages = {key: stage for key, stage in stages if stage is keep}

    def _make_room(self, needed: int) -> None:
        """Forget the oldest stages, so that one more with so many bytes may come."""
        stages = self._stages
        held = needed + sum(c.stage.program.arena_bytes for c in stages.values())
        few = _VERSIONS_KEPT * len({key[0] for key in stages})
        while stages and (
            len(stages) >= _STAGES_LIMIT
            or (held > _STAGES_BYTES and len(stages) >= few)
        ):
            oldest = stages.pop(next(iter(stages)))
            held -= oldest.stage.program.arena_bytes

    @staticmethod
    def _bind(array: Array, static: bool, backend: Backend) -> Bound:
        dtype = of_numpy(np.dtype(array.dtype))
        # A copy: the array may be a feed, which the caller can change afterwards.
        value = backend.to_host(array).copy() if static else None
        return Bound(dtype, tuple(array.shape), value)

    def _run_host(self, item: Item, values: dict[int, Any], context: Context) -> None:
        """Run an op on the host.

        Values of dtype variant are Python lists of arrays, which only such ops read.
        """
        op = item.op
        backend = context.backend
        arrays = [
            self.schedule.handles[n]
            if n in self.schedule.handles
            else _leave_device(values[n], backend)
            for n in item.ins
        ]
        outputs = op.outputs[: len(item.outs)]
        while (
            outputs
            and outputs[-1].dtype is variant
            and self.schedule.last_use[item.outs[len(outputs) - 1]] < 0
        ):
            outputs = outputs[:-1]
        site = Site(op.attrs, (), tuple([t.dtype for t in outputs]))

        def run(body: Any, arguments: Sequence[Any], results: Any = None) -> list[Any]:
            return self._run_function(body, arguments, results, context)

        try:
            results = op.spec.host(run, site, arrays)  # type: ignore[misc]
        except OpError as error:
            if error.op is not None:
                raise
            raise type(error)(None, op, f"{error} [{describe(op)}]") from error
        except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
            raise InvalidArgumentError(None, op, f"{error} [{describe(op)}]") from error
        outs = item.outs[: len(outputs)]
        for number, result, tensor in zip(outs, results, outputs, strict=True):
            values[number] = _enter_device(result, tensor.dtype, backend)

    def _run_function(
        self, body: Any, arguments: Sequence[Any], results: Any, context: Context
    ) -> list[Any]:
        """Run a sub-graph on host values, inside this run's state.

        ``results`` are tensors of the body, by default its outputs. Arguments for
        resource inputs are the handle ops that _run_host passed on.
        """
        wanted = tuple(body.outputs if results is None else results)
        variables = tuple(a for a in arguments if isinstance(a, Operation))
        key = (body, wanted, variables)
        plan = self.functions.get(key)
        if plan is None:
            plan = self.functions[key] = Plan(schedule_function(body, wanted, {}))
            for number, argument in zip(plan.schedule.inputs, arguments):
                if isinstance(argument, Operation):
                    plan.schedule.handles[number] = argument
        backend = context.backend
        values = {
            n: _enter_device(a, p.dtype, backend)
            for n, p, a in zip(plan.schedule.inputs, body.inputs, arguments)
            if not isinstance(a, Operation)
        }
        found = plan._run_stages(values, context)
        return [_leave_device(r, backend) for r in found]


def _distinct(results: list[Array]) -> list[Array]:
    """The same values, with a copy in the place of an array that came before."""
    seen: set[int] = set()
    found = []
    for result in results:
        found.append(result.copy() if id(result) in seen else result)
        seen.add(id(result))
    return found


def _leave_device(value: Any, backend: Backend) -> Any:
    return value if type(value) is list else backend.to_host(value)


def _enter_device(value: Any, dtype: DType, backend: Backend) -> Any:
    return value if dtype is variant else backend.to_device(value, dtype)


def step_error(error: StepError) -> Exception:
    """The error a user sees for a failed step: its class, the node, the line."""
    op, cause = node_of(error.origin), error.cause
    if not isinstance(op, Operation):
        return cause
    text = f"{cause} [{describe(op)}]"
    if isinstance(cause, OpError):
        return type(cause)(None, op, text)
    return InvalidArgumentError(None, op, text)
