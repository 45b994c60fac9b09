"""A Program as Python source: straight-line code, one NumPy call a line.

What stays from run to run (temps, constants, scratch) is bound to global names of the
generated module; what is new in each run (feeds, variables, outputs) is a local. Long
programs are split into functions, because CPython compiles a long function slowly.

    t7, t7_1   views of temp buffer 7          i0, v3, o1   feed, variable, output
    c4         a constant buffer               k0           a literal
    s2, s1_2   scratch; of stream 1            n0           indices along an axis
    h1         ones                            b2           where rows begin
    tile5      a large group, tile by tile     f1           folds between two passes
    w3         variable 3's memory, as the last steps write its new value there
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any, Final

import numpy as np

from gpugrad.backends.numpy.calls import direct, is_dot, is_turned
from gpugrad.backends.numpy.kernel import Plan
from gpugrad.backends.numpy.loops import RUN_LOCALS, TileCode, TileLoop, thread_memory
from gpugrad.backends.numpy.module import Module, Part
from gpugrad.backends.numpy.pool import available
from gpugrad.backends.numpy.results import ARRAYS, LEAST_BYTES, RESULTS
from gpugrad.backends.numpy.storage import (
    Scratch,
    Storage,
    aligned_bytes,
    itemised,
    strided,
)
from gpugrad.backends.numpy.tiling import Pass, passes
from gpugrad.backends.numpy.updates import Tail, computed_in_place
from gpugrad.backends.numpy.whole import WholeKernel
from gpugrad.backends.numpy.x86.code import MachineCode
from gpugrad.config import Config
from gpugrad.dtypes import DType, of_numpy, string
from gpugrad.kir import meaning
from gpugrad.kir.program import HOME, Barrier, Call, Commit, Group, Program, Step
from gpugrad.kir.scalar import Expr, Lit, Reduce
from gpugrad.kir.space import Buffer, Shape, View

# Lines a function. Compiling took 11 us a line in functions of 1,000 lines, 21 in one
# of 100,000, and 8 in functions of 200.
PART_LINES: Final = 200
# Bytes of a tile's arrays. Measured on cores with 2 MB of second-level cache: 2 MB was
# best for one thread, 4 MB for two, whose calls should be long (Config.tile_bytes).
_TILE: Final = 2 << 20
_SHARED_TILE: Final = 4 << 20
# Nanoseconds of work in tiles from which it is shared (Config.share_ns).
_SHARE_NS: Final = 5_000_000

_STATIC: Final = {"temp": "t", "const": "c", "step": "t"}


class Generator:
    """Writes the code of one Program. Use it once: ``Generator(program).module()``.

    ``segments``, if given, are the steps in pieces that run in an order of the
    caller's: ``run`` takes a function ``dispatch`` as well, and calls it with the
    arguments of all parts; ``segment_of_part`` says which piece each part is of.
    """

    def __init__(
        self,
        program: Program,
        settings: Config,
        segments: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self._program = program
        self._settings = settings
        self._most_threads = settings.num_threads or available()
        shared = self._most_threads > 1
        self._tile_bytes = settings.tile_bytes or (_SHARED_TILE if shared else _TILE)
        # Numbers of buffers between passes over one group: no Program has such.
        self._between = count(-1, -1)
        self._loops: list[tuple[TileCode, int]] = []
        self._machine = MachineCode(self, settings)
        self._segments = segments
        self._storage = Storage(program)
        # Streams run at the same time: each has scratch of its own.
        self._scratches = {HOME: Scratch()}
        self.scratch = self._scratches[HOME]
        self.in_place = program.in_place
        self.segment_of_part = [0]
        self.plans: dict[tuple[Expr, ...], Plan] = {}
        self.namespace: dict[str, Any] = {
            "xp": ARRAYS,
            "copyto": np.copyto,
            "empty": np.empty,
            "fits": _fits,
            "ndarray": np.ndarray,
            "strided": strided,
        }
        self._names: dict[tuple[int, Shape, Shape, int], str] = {}
        self._views_of: dict[int, int] = {}
        self._bound: dict[Any, str] = {}
        self._prologue: list[str] = []
        # Shape of each output, and the local that holds each feed, variable, output.
        # Of what is local, where it is known: no run has to ask.
        self._own_shapes: dict[int, Shape] = dict(program.shapes)
        self._variables = dict(program.variables)
        self._locals: dict[int, str] = {}
        self._parts = [Part()]
        self._step: int | None = None

    def module(self) -> Module:
        """Write and compile everything."""
        self._receive()
        steps = self._program.steps
        for place, segment in enumerate(self._segments or [range(len(steps))]):
            if place:
                self._new_part(place)
            for number in segment:
                if len(self._parts[-1].lines) >= PART_LINES:
                    self._new_part(place)
                if self._in_place and number == self._tail.first:
                    self._ask(self._tail.checks)
                self._step = number
                self._write(steps[number])
        self._step = None
        return self._compile()

    def _new_part(self, segment: int) -> None:
        self._parts.append(Part())
        self.segment_of_part.append(segment)

    def _write(self, step: Step) -> None:
        scratch = self._scratches.get(step.stream)
        if scratch is None:
            scratch = self._scratches[step.stream] = Scratch(f"s{step.stream}_")
        self.scratch = scratch
        if type(step) is Group:
            self._group(step)
        elif type(step) is Call:
            self._call(step)
        else:
            assert type(step) is Barrier
            # Everything before is written already, or waited for.
            members = ", ".join(self.view(m) for m in step.members)
            self.line(f"pass  # barrier: {members}")

    # --- what kernels write with ------------------------------------------------------

    def line(self, text: str) -> None:
        """One line of the current step."""
        part = self._parts[-1]
        part.lines.append(text)
        part.steps.append(self._step)

    def bind(self, value: Any, name: str) -> str:
        """A global name for ``value``: ``name``, or that with a number behind it."""
        bound = self._bound.get(value)
        if bound is None:
            bound = name if name not in self.namespace else f"{name}_{len(self._bound)}"
            self._bound[value] = bound
            self.namespace[bound] = value
        return bound

    def dtype(self, dtype: DType) -> str:
        """The name of a NumPy type."""
        self.namespace[dtype.name] = dtype.np_dtype
        return dtype.name

    def literal(self, literal: Lit) -> str:
        """The name of a literal, an array of rank 0: ufuncs take it twice as fast."""
        name = self._bound.get(literal)
        if name is None:
            name = self._bound[literal] = f"k{len(self._bound)}"
            value = np.empty((), literal.dtype.np_dtype)
            value[()] = literal.value
            self.namespace[name] = value
        return name

    def indices(self, axis: int, extents: Shape) -> str:
        """The name of the coordinates along an axis, with extent 1 along the others."""
        shape = [1] * len(extents)
        shape[axis] = extents[axis]
        key = (axis, extents)
        return self._array(key, "n", lambda: np.arange(extents[axis]).reshape(shape))

    def ones(self, count: int, dtype: DType) -> str:
        """The name of a vector of ones."""
        return self._array((count, dtype), "h", lambda: np.ones(count, dtype.np_dtype))

    def starts(self, rows: int, length: int) -> str:
        """The name of the places at which the rows of a matrix begin."""
        key = ("starts", rows, length)
        return self._array(key, "b", lambda: np.arange(rows) * length)

    def _array(self, key: Any, name: str, make: Callable[[], np.ndarray]) -> str:
        """The name of an array that is made once."""
        bound = self._bound.get(key)
        if bound is None:
            bound = self._bound[key] = f"{name}{len(self._bound)}"
            self.namespace[bound] = make()
        return bound

    def view(self, view: View) -> str:
        """The name of the array that is ``view``."""
        key = (view.buffer.id, *view[1:])
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = self._new_view(view)
        if name[0] in RUN_LOCALS:
            self._parts[-1].locals[name] = None
        return name

    def of_run(self, buffer: Buffer) -> str | None:
        """The local of this part that holds a buffer of the run; None for others."""
        name = self._locals.get(buffer.id)
        if name is not None:
            self._parts[-1].locals[name] = None
        return name

    # --- views ------------------------------------------------------------------------

    def _new_view(self, view: View) -> str:
        buffer = view.buffer
        number = self._views_of.get(buffer.id, 0)
        self._views_of[buffer.id] = number + 1
        prefix = None if buffer.id in self._locals else _STATIC.get(buffer.kind)
        if prefix is not None or 0 in view.shape:
            name = f"{prefix or 'e'}{buffer.id}" if buffer.id >= 0 else f"f{-buffer.id}"
            if number:
                name = f"{name}_{number}"
            if prefix is None:
                self.namespace[name] = np.empty(view.shape, buffer.dtype.np_dtype)
            else:
                self.namespace[name] = self._storage.array(view)
            return name
        return self._local_view(view, number)

    def _local_view(self, view: View, number: int) -> str:
        """A view of a feed, variable or output: made anew in each run."""
        buffer = view.buffer
        base = self._locals[buffer.id]
        own_shape = self._own_shapes.get(buffer.id)
        whole = view.is_whole
        if whole and view.shape == own_shape:
            return base
        name = f"{base}_{number}"
        shape = view.shape
        turned = view.transpose(tuple(reversed(range(view.rank))))
        if not whole and turned.is_whole:
            self._prologue.append(f"{name} = {self.view(turned)}.T")
            return name
        if whole and own_shape == () and shape:
            # As reshape() does, in 0.1 us and not 0.3.
            made = f"{base}[{', '.join(['None'] * len(shape))}]"
        elif whole and own_shape is not None:
            made = f"{base}.reshape({shape})"
        elif whole:
            # A program of unknown origin: how many elements there are, not how.
            made = f"{base} if {base}.shape == {shape} else {base}.reshape({shape})"
        elif buffer.dtype is string:
            where = f"{shape}, {view.strides}, {view.offset}"
            made = f"strided({base}.reshape(-1), {where})"
        else:
            first = view.offset * buffer.dtype.itemsize
            steps = itemised(buffer, view.strides)
            dtype = self.dtype(buffer.dtype)
            made = f"ndarray({shape}, {dtype}, {base}, {first}, {steps})"
        self._prologue.append(f"{name} = {made}")
        return name

    # --- the parts of the run ---------------------------------------------------------

    def _receive(self) -> None:
        """Give each feed, variable and output its local."""
        program, write = self._program, self._prologue.append
        for number, buffer in enumerate(program.inputs):
            self._locals[buffer.id] = f"i{number}"
        if program.inputs:
            names = ", ".join(self._locals[b.id] for b in program.inputs)
            write(f"({names},) = inputs")
        for slot, buffer in program.variables:
            self._locals[buffer.id] = f"v{slot}"
            write(f"v{slot} = variables[{slot}]")
        self._tail = Tail({}, 0, ())
        if self._segments is None:
            self._tail = computed_in_place(program)
        self._in_place = self._tail.commits
        slots = {slot: buffer.id for slot, buffer in program.variables}
        self._machine.same = {
            number: slots[commit.slot]
            for number, commit in self._in_place.items()
            if commit.slot in slots
        }
        for number, commit in self._in_place.items():
            slot, view = commit
            self._locals[number] = f"w{slot}"
            self._own_shapes[number] = view.shape
            if self._keeps_shape(commit):
                write(f"w{slot} = v{slot}")
                continue
            new = f"empty({view.shape}, {self.dtype(view.dtype)})"
            write(f"w{slot} = v{slot} if v{slot}.shape == {view.shape} else {new}")
        if program.step is not None:
            counter = View(program.step, (), (), 0)
            write(f"{self.view(counter)}[...] = step")
        results = 0
        for view in program.outputs:
            buffer = view.buffer
            if buffer.kind != "output" or not view.is_whole:
                raise AssertionError(f"output {view} is not a whole output buffer")
            if buffer.id not in self._locals:
                name = f"o{results}"
                results += 1
                self._locals[buffer.id] = name
                self._own_shapes[buffer.id] = view.shape
                large = buffer.size * buffer.dtype.size >= LEAST_BYTES
                pooled = large and buffer.dtype is not string
                make = self.bind(RESULTS.array, "pooled") if pooled else "empty"
                write(f"{name} = {make}({view.shape}, {self.dtype(buffer.dtype)})")

    def _group(self, group: Group) -> None:
        if self._machine.write(group, self._between):
            return
        walks = None
        if not any(v.dtype is string for v in (*group.reads, *group.writes)):
            walks = passes(group, self._tile_bytes, self._between)
        if walks is None:
            WholeKernel(self, group).write()
            return
        for walk in walks:
            self._loop(walk)

    def _loop(self, walk: Pass) -> None:
        """One pass over the tiles of a group, and the last additions of its folds."""
        code = TileCode(self, f"tile{len(self._loops)}", walk)
        assert self._step is not None
        self._loops.append((code, self._step))
        for node, (name, array) in code.partials.items():
            assert isinstance(node, Reduce)
            self.namespace[name] = array
            dtype = of_numpy(array.dtype)
            nothing = Lit(meaning.identity(node.kind, dtype), dtype)
            self.line(f"{name}[...] = {self.literal(nothing)}")
        self.line(f"{code.name}({', '.join(code.passed)})")
        stores = {store.expr: store.view for store in walk.group.stores}
        for node, (name, array) in code.partials.items():
            assert isinstance(node, Reduce)
            fold = self.bind(meaning.REDUCTION[node.kind].reduce, f"reduce_{node.kind}")
            dtype = of_numpy(array.dtype)
            target = self.view(stores[node])
            if dtype is node.dtype:
                self.line(f"{fold}({name}, 0, {self.dtype(dtype)}, {target})")
            else:
                self.line(f"{target}[...] = {fold}({name}, 0, {self.dtype(dtype)})")

    def _call(self, call: Call) -> None:
        function = direct(call)
        if is_turned(call):
            self._turned_product(call)
        elif function is not None and is_dot(call):
            a, b, out = map(self.view, (*call.args, *call.outs))
            self.line(f"{a}.dot({b}, {out})")
        elif function is not None:
            arrays = ", ".join(map(self.view, (*call.args, *call.outs)))
            self.line(f"{self.bind(function, call.name)}({arrays})")
        else:
            outs = "".join(f"{self.view(v)}, " for v in call.outs)
            self._call_function("call", call.impl, call, [f"({outs})"])

    def _turned_product(self, call: Call) -> None:
        """``out = a @ b`` by way of ``b.T @ a.T``."""
        a, b = [self.view(v.transpose((1, 0))) for v in call.args]
        (out,) = call.outs
        turned, slot = self.scratch.take(out.dtype, (out.shape[1], out.shape[0]))
        self.line(f"{self.bind(direct(call), call.name)}({b}, {a}, {turned})")
        self.line(f"{self.view(out)}[...] = {turned}.T")
        self.scratch.give_back(slot)

    def _ask(self, checks: tuple[int, ...]) -> None:
        """Let calls that will change variables say no before anything is changed."""
        for number in checks:
            call = self._program.steps[number]
            assert type(call) is Call
            assert call.in_place is not None
            self._step = number
            self._call_function("check", call.in_place.check, call, [])

    def _call_function(
        self, kind: str, function: Any, call: Call, outs: list[str]
    ) -> None:
        name = f"{kind}{self._step}"
        self.namespace[name] = function
        parts = ["xp", *outs, *map(self.view, call.args)]
        for number, (attr, value) in enumerate(call.attrs):
            bound = f"a{self._step}_{number}"
            self.namespace[bound] = value
            parts.append(f"{attr}={bound}")
        comment = f"  # {call.name}" if call.name.isidentifier() else ""
        self.line(f"{name}({', '.join(parts)}){comment}")

    def _commits(self, commits: tuple[Commit, ...]) -> Iterator[str]:
        """Store variables: whatever can fail comes before the first write."""
        if self._in_place:
            for commit in commits:
                if not self._keeps_shape(commit):
                    yield f"variables[{commit.slot}] = w{commit.slot}"
            return
        values = [(c, self.view(c.view)) for c in commits]
        for commit, value in values:
            slot, view = commit
            if self._keeps_shape(commit):
                continue
            old = self._variables.get(slot)
            if old is None:
                yield f"v{slot} = variables[{slot}]"
            same = f"fits(v{slot}, {value})"
            if old is not None and old.dtype is view.dtype:
                same = f"v{slot}.shape == {view.shape}"
            yield f"w{slot} = None if {same} else {value}.copy()"
        for commit, value in values:
            slot = commit.slot
            if self._keeps_shape(commit):
                yield f"v{slot}[...] = {value}"
                continue
            yield f"if w{slot} is None: v{slot}[...] = {value}"
            yield f"else: variables[{slot}] = w{slot}"

    def _keeps_shape(self, commit: Commit) -> bool:
        """True if the variable is known to have the new value's shape and dtype."""
        old, view = self._variables.get(commit.slot), commit.view
        return (
            old is not None
            and old.dtype is view.dtype
            and self._program.shapes.get(old.id) == view.shape
        )

    def _results(self) -> str:
        names: list[str] = []
        for view in self._program.outputs:
            name = self._locals[view.buffer.id]
            names.append(f"{name}.copy()" if name in names else name)
        return f"return [{', '.join(names)}]"

    def _compile(self) -> Module:
        epilogue = [*self._commits(self._program.commits), self._results()]
        module = Module(self.namespace)
        for scratch in self._scratches.values():
            memory = [aligned_bytes(size) for size in scratch.sizes()]
            self.namespace.update(zip(scratch.names, scratch.arrays(memory)))
        self._compile_loops(module)
        self._machine.compile(module)
        body: list[str] = []
        steps: list[int | None] = []
        header = "def run(inputs, variables, step):"
        if self._segments is not None:
            header = "def run(inputs, variables, step, dispatch):"
            for number, part in enumerate(self._parts):
                self._add_part(module, number, part)
            given = ["".join(f"{name}, " for name in p.locals) for p in self._parts]
            body = [f"dispatch({', '.join(f'({names})' for names in given)})"]
            steps = [None]
        elif len(self._parts) == 1:
            body, steps = self._parts[0].lines, self._parts[0].steps
        else:
            for number, part in enumerate(self._parts):
                body.append(self._add_part(module, number, part))
                steps.append(None)
        lines = [*self._prologue, *body, *epilogue]
        steps = [None] * len(self._prologue) + steps + [None] * len(epilogue)
        module.add(header, lines, steps)
        return module

    @staticmethod
    def _add_part(module: Module, number: int, part: Part) -> str:
        """Compile a part; the line that calls it."""
        call = f"part{number}({', '.join(part.locals)})"
        module.add(f"def {call}:", part.lines or ["pass"], part.steps or [None])
        return call

    def _compile_loops(self, module: Module) -> None:
        """Streams run at the same time: the loops of each have memory of their own."""
        settings, steps = self._settings, self._program.steps
        most = self._most_threads
        by_stream: dict[int, list[tuple[TileCode, int, int]]] = {}
        for code, step in self._loops:
            share = _SHARE_NS if settings.share_ns is None else settings.share_ns
            threads = code.threads(most, share)
            loops = by_stream.setdefault(steps[step].stream, [])
            loops.append((code, step, threads))
        for loops in by_stream.values():
            threads = max([number for _, _, number in loops])
            memory = thread_memory([code for code, _, _ in loops], threads)
            for code, step, threads in loops:
                function = module.add_tile(code.source, step)
                loop = TileLoop(function, code, memory, threads)
                self.namespace[code.name] = loop
                if self._in_place:
                    loop.prepare()  # what can fail, before any variable changes


def _fits(now: np.ndarray | None, value: np.ndarray) -> bool:
    """True when ``value`` can be written into the variable's array as it is now."""
    return now is not None and now.shape == value.shape and now.dtype == value.dtype
