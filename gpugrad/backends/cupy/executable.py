"""A Program bound to a device: frozen launches, one arena, a few pointers a run.

Nothing here imports CuPy. What it needs of a device is the Device protocol, so tests
run whole Programs with the kernels compiled for the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from gpugrad.backends.base import StepError
from gpugrad.backends.cupy.calls import CALLS
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.cupy.compile import CompileError
from gpugrad.backends.cupy.failure import explained, with_nodes
from gpugrad.backends.cupy.launch import Launch
from gpugrad.backends.cupy.layout import WIDEST, Argument
from gpugrad.backends.cupy.streams import Enqueuer
from gpugrad.backends.cupy.text import Kernel, Lowered, module_source
from gpugrad.errors import OpError
from gpugrad.kir.program import Barrier, Call, Group, Program, Step
from gpugrad.kir.scalar import Lit, Load
from gpugrad.kir.space import Buffer, Shape, View

Array = Any
_SCRATCH_STEP = 512


class Device(Protocol):
    """What an executable needs of a device. Memory is an array of bytes."""

    xp: Any

    @property
    def launch(self) -> Callable[..., int]:
        """A function that is called as cuLaunchKernel is."""
        ...

    def functions(self, kernels: Sequence[Kernel]) -> dict[str, int]:
        """The driver's handle of each kernel, compiled and loaded."""
        ...

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """A new array on a 16-byte boundary."""
        ...

    def upload(self, values: np.ndarray) -> Array:
        """A new array with these values."""
        ...

    def address(self, array: Array) -> int:
        """Of the first element."""
        ...

    def view(
        self, array: Array, start: int, shape: Shape, dtype: Any, strides: Shape
    ) -> Array:
        """Part of ``array``'s memory from byte ``start``, strides in bytes."""
        ...

    def stream(self, number: int) -> Any:
        """Stream ``number`` of the device; 0 is home, -1 the gate. It has ``ptr``."""
        ...

    def using(self, stream: Any) -> AbstractContextManager[Any]:
        """Library calls inside are enqueued on ``stream``."""
        ...

    def running(self) -> AbstractContextManager[Any]:
        """Order a run after the caller's work so far, and before what comes."""
        ...

    def new_event(self) -> Any:
        """An event without timing."""
        ...


class CupyExecutable:
    """See backends.base.Executable. One run at a time."""

    def __init__(self, program: Program, device: Device) -> None:
        self._program = program
        self._device = device
        self._lowered = [_lower(step, program.in_place) for step in program.steps]
        self._functions = self._compile()
        byte = np.dtype(np.uint8)
        self._arena = device.empty((max(program.arena_bytes, 1),), byte)
        self._counter = device.empty((1,), np.dtype(np.int64))
        self._fixed = self._place_buffers()
        self._scratch = self._place_scratch()
        # The arrays of this run, in the order of _base_of; launches name them by place.
        self._base_of = self._number_bases()
        self._patches: list[tuple[Any, int, int, int]] = []
        actions = [self._action(i, s) for i, s in enumerate(program.steps)]
        self._enqueuer = Enqueuer(program, device, actions)

    # --- loading ------------------------------------------------------------------

    def _compile(self) -> dict[str, int]:
        """The driver's handles of all kernels, by name."""
        steps = [low.kernels if low else () for low in self._lowered]
        try:
            return self._device.functions([k for kernels in steps for k in kernels])
        except CompileError as error:
            names = [{k.name for k in kernels} for kernels in steps]
            raise with_nodes(error, names, self._program.origins) from error

    def _place_buffers(self) -> dict[int, tuple[Array, int]]:
        """(array, byte offset) of each buffer that stays where it is."""
        program, device = self._program, self._device
        fixed: dict[int, tuple[Array, int]] = {
            number: (self._arena, offset) for number, offset in program.offsets.items()
        }
        for number, values in program.consts.items():
            host = values.dtype == object
            fixed[number] = (values if host else device.upload(values), 0)
        if program.step is not None:
            fixed[program.step.id] = (self._counter, 0)
        for step in program.steps:
            for view in step.writes:
                buffer = view.buffer
                if buffer.kind == "temp" and buffer.id not in fixed:
                    fixed[buffer.id] = (self._own(buffer), 0)
        return fixed

    def _own(self, buffer: Buffer) -> Array:
        """Memory of a temp that has no place in the arena."""
        if buffer.dtype.name == "string":
            # Strings stay on the host; only library calls touch them.
            return np.empty(buffer.size, object)
        assert buffer.dtype.np_dtype is not None
        return self._device.empty((buffer.size,), buffer.dtype.np_dtype)

    def _place_scratch(self) -> dict[int, Array]:
        """Scratch memory of each stream, as large as its largest step needs."""
        sizes: dict[int, int] = {}
        for step, low in zip(self._program.steps, self._lowered):
            if low and low.scratch:
                total = sum(map(_scratch_bytes, low.scratch))
                sizes[step.stream] = max(sizes.get(step.stream, 0), total)
        byte = np.dtype(np.uint8)
        return {s: self._device.empty((n,), byte) for s, n in sizes.items()}

    def _number_bases(self) -> dict[int, int]:
        program = self._program
        buffers = [*program.inputs, *(b for _, b in program.variables)]
        buffers += [v.buffer for v in program.outputs]
        bases: dict[int, int] = {}
        for buffer in buffers:
            bases.setdefault(buffer.id, len(bases))
        return bases

    def _action(self, index: int, step: Step) -> Callable[[list[Array]], None]:
        low = self._lowered[index]
        if low is not None:
            launches = [self._launch(step, low, k) for k in low.kernels]
            if len(launches) == 1:
                return lambda bases, only=launches[0]: only()  # type: ignore[misc]
            return lambda bases: _run_all(launches)
        if isinstance(step, Call):
            return self._library_call(step)
        if isinstance(step, Group):
            return self._on_host(step)
        assert isinstance(step, Barrier)
        return lambda bases: None  # its waits do it

    def _on_host(self, group: Group) -> Callable[[list[Array]], None]:
        """Copies of strings, which stay on the host."""
        loads = [self._array_of(v) for v in group.loads]
        moves = []
        for store in group.stores:
            if not isinstance(store.expr, Load | Lit):
                raise TypeError(
                    f"The cupy backend can move strings, not compute {store.expr}. Run "
                    "this part with the numpy backend."
                )
            value = loads[store.expr.slot] if isinstance(store.expr, Load) else None
            moves.append((self._array_of(store.view), value, store.expr))

        def run(bases: list[Array]) -> None:
            for out, value, expr in moves:
                out(bases)[...] = value(bases) if value else expr.value  # type: ignore

        return run

    def _launch(self, step: Step, low: Lowered, kernel: Kernel) -> Launch:
        addresses, patches = [], []
        for place, argument in enumerate(kernel.arguments):
            if not isinstance(argument, Argument):
                continue
            base, address = self._locate(step, low, argument)
            if base is not None:
                patches.append((place, base, address))
            addresses.append(address)
        stream = self._device.stream(step.stream).ptr
        launch = Launch(
            self._device.launch, self._functions[kernel.name], kernel, stream, addresses
        )
        self._patches += [(launch.values, *patch) for patch in patches]
        return launch

    def _locate(
        self, step: Step, low: Lowered, argument: Argument
    ) -> tuple[int | None, int]:
        """A fixed address (None, address), or (number of a base, byte offset)."""
        if argument.kind == "scratch":
            before = sum(map(_scratch_bytes, low.scratch[: argument.number]))
            return None, self._device.address(self._scratch[step.stream]) + before
        views = step.reads if argument.kind == "load" else step.writes
        view = views[argument.number]
        offset = view.offset * view.dtype.itemsize
        base = self._base_of.get(view.buffer.id)
        if base is not None:
            return base, offset
        array, start = self._fixed[view.buffer.id]
        return None, self._device.address(array) + start + offset

    def _library_call(self, call: Call) -> Callable[[list[Array]], None]:
        impl, attrs, device = call.impl, dict(call.attrs), self._device
        stream = device.stream(call.stream)
        outs = [self._array_of(v) for v in call.outs]
        args = [self._array_of(v) for v in call.args]

        def run(bases: list[Array]) -> None:
            with device.using(stream):
                impl(
                    device.xp,
                    tuple(out(bases) for out in outs),
                    *[arg(bases) for arg in args],
                    **attrs,
                )

        return run

    def _array_of(self, view: View) -> Callable[[list[Array]], Array]:
        """The view as an array: made once if its memory stays, else in each run."""
        base = self._base_of.get(view.buffer.id)
        if base is not None:
            return lambda bases: self._view(bases[base], 0, view)
        array, start = self._fixed[view.buffer.id]
        made = self._view(array, start, view)
        return lambda bases: made

    def _view(self, array: Array, start: int, view: View) -> Array:
        dtype = view.dtype.np_dtype
        size = view.dtype.itemsize
        strides = tuple(s * size for s in view.strides)
        if view.dtype.name == "string":
            flat = array.reshape(-1)[view.offset :]
            return np.lib.stride_tricks.as_strided(flat, view.shape, strides)
        start += view.offset * size if view.size else 0
        return self._device.view(array, start, view.shape, dtype, strides)

    # --- running ------------------------------------------------------------------

    def run(
        self, inputs: Sequence[Array], variables: list[Array | None], step: int
    ) -> list[Array]:
        """Enqueue one run; the host does not wait for the device."""
        try:
            return self._run(inputs, variables, step)
        except (StepError, OpError):
            raise
        except Exception as error:
            meant = explained(error, "preparing a run")
            if meant is None and not isinstance(error, MemoryError):
                raise
            raise StepError(None, meant or error) from error

    def _run(
        self, inputs: Sequence[Array], variables: list[Array | None], step: int
    ) -> list[Array]:
        with self._device.running():
            bases = self._bases(inputs, variables)
            addresses = [0 if _is_host(a) else self._device.address(a) for a in bases]
            for values, place, base, offset in self._patches:
                values[place] = addresses[base] + offset
            if self._program.step is not None:
                self._counter.fill(step)
            self._run_steps(bases)
            self._commit(bases, variables)
            return self._results(bases)

    def _bases(
        self, inputs: Sequence[Array], variables: list[Array | None]
    ) -> list[Array]:
        program, device = self._program, self._device
        arrays: dict[int, Array] = {}
        for buffer, array in zip(program.inputs, inputs):
            arrays[buffer.id] = self._aligned(array)
        for slot, buffer in program.variables:
            arrays[buffer.id] = self._aligned(variables[slot])
        for view in program.outputs:
            if view.buffer.id not in arrays:
                arrays[view.buffer.id] = (
                    np.empty(view.shape, object)
                    if view.dtype.name == "string"
                    else device.empty(view.shape, view.dtype.np_dtype)  # type: ignore[arg-type]
                )
        return [arrays[number] for number in self._base_of]

    def _aligned(self, array: Array) -> Array:
        """The array, or a copy if a slice starts where vectors cannot be read."""
        if _is_host(array) or self._device.address(array) % WIDEST == 0:
            return array
        return array.copy()

    def _run_steps(self, bases: list[Array]) -> None:
        try:
            self._enqueuer.run(bases)
        except Exception as error:
            origins = self._program.origins
            index = self._enqueuer.number
            cause = explained(error, "calling a library") or error
            raise StepError(origins[index] if origins else None, cause) from error

    def _commit(self, bases: list[Array], variables: list[Array | None]) -> None:
        """Store variables: whatever can fail comes before the first write."""
        planned = []
        for slot, view in self._program.commits:
            value = self._array_of(view)(bases)
            now = variables[slot]
            if now is not None and now.shape == view.shape and now.dtype == value.dtype:
                planned.append((slot, now, value))
            else:
                planned.append((slot, None, value.copy()))
        for slot, now, value in planned:
            if now is None:
                variables[slot] = value
            else:
                now[...] = value

    def _results(self, bases: list[Array]) -> list[Array]:
        results: list[Array] = []
        given: set[int] = set()
        for view in self._program.outputs:
            array = bases[self._base_of[view.buffer.id]]
            results.append(array.copy() if view.buffer.id in given else array)
            given.add(view.buffer.id)
        return results

    # --- printing -----------------------------------------------------------------

    @property
    def source(self) -> str:
        """The schedule, a line a step, and the CUDA text of the kernels."""
        lines = []
        for index, step in enumerate(self._program.steps):
            low = self._lowered[index]
            if low is not None:
                for kernel in low.kernels:
                    shape = f"<<<{kernel.grid}, {kernel.block}>>>"
                    lines.append(f"// {index}: {kernel.name} {shape}")
            elif isinstance(step, Group):
                lines.append(f"// {index}: strings copied on the host")
            elif isinstance(step, Call):
                lines.append(f"// {index}: library call")
            else:
                lines.append(f"// {index}: barrier")
        kernels = [k for low in self._lowered if low for k in low.kernels]
        return "\n".join(lines) + "\n\n" + module_source(kernels)


def _lower(step: Step, in_place: dict[int, int]) -> Lowered | None:
    """The kernels of a step; None if it is a library call or a barrier."""
    if isinstance(step, Group):
        views = (*step.reads, *step.writes)
        if any(v.dtype.name == "string" for v in views):
            return None
        return lower(step, in_place)
    if isinstance(step, Call) and step.name in CALLS:
        return CALLS[step.name](step)
    return None


def _run_all(launches: list[Launch]) -> None:
    for launch in launches:
        launch()


def _scratch_bytes(size: int) -> int:
    return -(-size // _SCRATCH_STEP) * _SCRATCH_STEP


def _is_host(array: Array) -> bool:
    return isinstance(array, np.ndarray) and array.dtype == object
