"""Folds by rows as C text: the lanes of a group take one row and join their results.

A group is 1 to 32 lanes of a warp, or a whole block. Every lane gets each result, so
folds may depend on folds, and outputs may be made from any of them. What a row needs
more than once stays in registers if it fits (row_plan.py); else it is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpugrad.backends.cupy import text
from gpugrad.backends.cupy.joins import join, rounded, start
from gpugrad.backends.cupy.layout import (
    Argument,
    Output,
    carried,
    constant_along,
    varying,
)
from gpugrad.backends.cupy.literals import computed, storage
from gpugrad.backends.cupy.row_plan import WARP, Plan
from gpugrad.backends.cupy.stages import Stage
from gpugrad.backends.cupy.text import Body, Indexing, Kernel, Run
from gpugrad.kir.scalar import Apply, Expr, Index, Lit, Load, Reduce


def declare_outputs(body: Body, outputs: Iterable[Output], run: Run) -> None:
    """Registers for a run of each output."""
    for output in outputs:
        kind = storage(output.target.dtype)
        body.add(f"{kind} {_register(output)}[{run.length}];")


def fill_outputs(body: Body, outputs: Iterable[Output], names: Iterable[str]) -> None:
    """Point e of each output from the value of that name."""
    for output, name in zip(outputs, names, strict=True):
        kind = storage(output.target.dtype)
        body.add(f"{_register(output)}[e] = narrow<{kind}>({name});")


def write_outputs(
    body: Body,
    outputs: Iterable[Output],
    run: Run,
    axes: Sequence[int],
    indexing: Indexing,
) -> None:
    """The runs to memory."""
    for output in outputs:
        body.add(text.write(_register(output), output.target, run, axes, indexing))


def _register(output: Output) -> str:
    """ "y0" for store 0, "z0" for scratch buffer 0."""
    argument = output.target.argument
    return f"{'y' if argument.kind == 'store' else 'z'}{argument.number}"


def make_rows(plan: Plan) -> Kernel:
    """The kernel; with a chunk, the first of two."""
    return _Rows(plan).make()


class _Rows:
    """A kernel in the making.

    ``_known``: the C names of the values that need no line any more. ``_differs``: the
    expressions that are not constant along a row.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._nest = plan.nest
        self._body = Body()
        self._known: dict[Expr, str] = {}
        self._differs = varying(plan.nest)
        self._row_values = self._hidden = 0
        self._made: set[Expr] = set()
        per_block = plan.block // plan.lanes
        self._blocks = -(-plan.nest.rows // per_block)
        self._all_active = plan.nest.rows % per_block == 0
        self._row_axes = range(plan.nest.parallel)
        self._axes = range(len(plan.nest.extents))

    def make(self) -> Kernel:
        """The kernel."""
        plan, nest = self._plan, self._nest
        self._begin()
        for number, stage in enumerate(plan.stages):
            self._stage(number, stage)
        outputs = [o for s in plan.stages for o in s.outputs]
        arguments = [(o.argument, storage(o.dtype)) for o in nest.loads.values()]
        if plan.chunk:
            arguments += self._write_chunks()
        else:
            once = [o for o in nest.outputs if not o.full]
            self._write_once(once)
            outputs += once
        targets = [o.target for o in outputs]
        arguments += [(t.argument, storage(t.dtype)) for t in targets]
        headers = ["reduce.cuh"]
        if any(stage.pairs for stage in plan.stages):
            headers.append("online.cuh")
        chunks = -(-plan.runs // plan.chunk) if plan.chunk else 1
        return text.make_kernel(
            f"rows_{plan.variant}",
            self._body.text,
            arguments,
            [o.expr for o in nest.outputs],
            (self._blocks, chunks, 1),
            (plan.block, 1, 1),
            headers,
            partial=bool(plan.chunk)
            or any(t.argument.kind == "scratch" for t in targets),
            registers=plan.registers,
        )

    # --- before the first stage ---------------------------------------------------

    def _begin(self) -> None:
        """Which row a thread works on, and the loads that are constant along it."""
        plan, nest, indexing = self._plan, self._nest, self._plan.indexing
        linear, per_block = indexing.linear, plan.block // plan.lanes
        add = self._body.add
        point = "row"
        if per_block == 1:
            add(f"const {linear} row = blockIdx.x;", "const u32 lane = threadIdx.x;")
        else:
            add(
                f"const {linear} row = ({linear})blockIdx.x * "
                f"{indexing.number(per_block)} + threadIdx.x / {plan.lanes}u;",
                f"const u32 lane = threadIdx.x % {plan.lanes}u;",
            )
        if not self._all_active:
            # Idle lanes take row 0: they must arrive where the group joins.
            add(
                f"const bool active = row < {indexing.number(nest.rows)};",
                f"const {linear} point = active ? row : 0;",
            )
            point = "point"
        add(*text.coordinates(point, self._row_axes, nest, indexing))
        single = Run(-1, 1)
        for slot, operand in nest.loads.items():
            if constant_along(nest, slot):
                name = f"x{slot}"
                add(
                    text.declare(name, operand, single),
                    text.read(name, operand, single, self._row_axes, indexing),
                )

    # --- a stage ------------------------------------------------------------------

    def _stage(self, number: int, stage: Stage) -> None:
        """Read what begins here, go over the points, join the lanes' results."""
        plan, add = self._plan, self._body.add
        self._read_carried(number)
        self._make_row_values(stage.roots)
        if plan.share:
            self._hide_row_values(stage)
        for fold in stage.folds:
            add(f"{computed(fold.dtype)} a{self._number(fold)} = {start(fold)};")
        for pair in stage.pairs:
            add(f"{pair.ctype} a{self._number(pair.second)} = {pair.ctype}::none();")
        new = self._new_kept(stage)
        for name, value in new:
            shape = f"[{plan.share}][{plan.run.length}]"
            add(f"{computed(value.dtype)} {name}{shape};")
        if plan.share:
            self._go_over_registers(stage, new)
        else:
            self._go_along(stage)
        self._known |= {value: f"{name}[u][e]" for name, value in new}
        self._join(stage)

    def _number(self, fold: Reduce) -> int:
        """The place of a fold among all."""
        folds = [f for s in self._plan.stages for f in s.known]
        return folds.index(fold)

    def _read_carried(self, number: int) -> None:
        """All loads that begin with this stage, before the first value is needed."""
        plan, add = self._plan, self._body.add
        slots = [s for s, begin in plan.carried.begin.items() if begin == number]
        if not slots:
            return
        for slot in slots:
            operand = self._nest.loads[slot]
            add(text.declare(f"x{slot}", operand, plan.run, f"[{plan.share}]"))
        self._open_share(True)
        for slot in slots:
            operand = self._nest.loads[slot]
            name = f"x{slot}[u]"
            add(text.read(name, operand, plan.run, self._axes, plan.indexing))
        self._close_share()

    def _make_row_values(self, roots: Sequence[Expr]) -> None:
        """What is the same at all points of a row, once."""
        values = [
            e
            for e in text.order(roots, self._known)
            if e not in self._differs
            and e not in self._known
            and type(e) is not Lit
            and type(e) is not Reduce
        ]
        lines, names = text.values(
            values, self._load, text.coordinate(Run(-1, 1)), self._known, "s",
            self._row_values,
        )  # fmt: skip
        self._row_values += len(lines)
        self._body.add(*lines)
        self._known |= dict(zip(values, names))

    def _hide_row_values(self, stage: Stage) -> None:
        """Keep the compiler from keeping what is to be computed again.

        It would find that the values are the same as in an earlier stage, and carry
        them in more registers than there are.
        """
        needed = [
            e
            for e in text.order(stage.roots, self._known)
            if type(e) is Apply and e in self._differs and e not in self._known
        ]
        again = [a for e in needed if e in self._made for a in e.args]
        for value in dict.fromkeys(a for a in again if a in self._known):
            if value in self._differs:
                name = self._known[value]
                if not name.startswith("apart"):
                    self._known[value] = f"apart({name})"
            else:
                name, kind = f"h{self._hidden}", computed(value.dtype)
                self._body.add(f"const {kind} {name} = apart({self._known[value]});")
                self._known[value] = name
                self._hidden += 1
        self._made |= set(needed)

    def _new_kept(self, stage: Stage) -> list[tuple[str, Expr]]:
        """The values that this stage makes for later ones, with their names."""
        kept = self._plan.carried.kept
        needed = set(text.order(stage.roots, self._known))
        return [
            (f"k{number}", value)
            for number, value in enumerate(kept)
            if value in needed and value not in self._known
        ]

    def _open_share(self, coordinates: bool) -> None:
        """Over the runs of a lane; the last of them may be missing."""
        plan, indexing, add = self._plan, self._plan.indexing, self._body.add
        lanes, share = plan.lanes, plan.share
        linear = indexing.linear
        whole = plan.runs % lanes == 0
        add("#pragma unroll", f"for (int u = 0; u < {share}; ++u) {{")
        if coordinates or not whole:
            add(f"const {linear} number = lane + u * {lanes}u;")
        if not whole:
            early = f"u < {share - 1} || " if share > 1 else ""
            add(f"if ({early}number < {indexing.number(plan.runs)}) {{")
        if coordinates:
            self._place(f"number * {plan.run.length}u")

    def _close_share(self) -> None:
        whole = self._plan.runs % self._plan.lanes == 0
        self._body.add(*(["}"] if whole else ["}", "}"]))

    def _place(self, place: str) -> None:
        """The coordinates of point number ``place`` of the row."""
        nest, indexing = self._nest, self._plan.indexing
        axes = self._axes[nest.parallel :]
        self._body.add(
            f"const {indexing.linear} place = {place};",
            *text.coordinates("place", axes, nest, indexing),
        )

    def _go_over_registers(self, stage: Stage, new: list[tuple[str, Expr]]) -> None:
        needed = set(text.order([*stage.roots], self._known))
        moves = stage.outputs or any(
            type(e) is Index or (type(e) is Load and self._is_read_here(e.slot))
            for e in needed & self._differs
        )
        self._open_share(bool(moves))
        self._points(stage, self._plan.run, new)
        self._close_share()

    def _go_along(self, stage: Stage) -> None:
        """A loop over the runs of the row, or of the block's chunk, then the rest."""
        plan, indexing, run, add = (
            self._plan, self._plan.indexing, self._plan.run, self._body.add,
        )  # fmt: skip
        linear = indexing.linear
        begin, end = "lane", indexing.number(plan.runs)
        if plan.chunk:
            begin = f"blockIdx.y * {indexing.number(plan.chunk)} + lane"
            limit = f"(blockIdx.y + 1) * {indexing.number(plan.chunk)}"
            add(
                f"const {linear} limit = {limit};",
                f"const {linear} end = limit < {end} ? limit : {end};",
            )
            end = "end"
        add(
            f"#pragma unroll {plan.unroll}",
            f"for ({linear} number = {begin}; number < {end}; "
            f"number += {plan.lanes}u) {{",
        )
        self._place(f"number * {run.length}u")
        self._points(stage, run, [])
        add("}")
        if plan.rest:
            last = " && blockIdx.y == gridDim.y - 1" if plan.chunk else ""
            # One point a lane; where a group has fewer lanes they come round again.
            add(
                f"for (u32 over = lane; over < {plan.rest}u{last}; "
                f"over += {plan.lanes}u) {{",
            )
            self._place(f"{indexing.number(plan.runs * run.length)} + over")
            self._points(stage, Run(run.inner, 1), [])
            add("}")

    def _is_read_here(self, slot: int) -> bool:
        """True for a load that differs along the row and is in no register yet."""
        return slot not in self._plan.carried.begin and not constant_along(
            self._nest, slot
        )

    def _load(self, slot: int) -> str:
        """An element in registers, outside of any run."""
        return f"x{slot}"

    def _points(self, stage: Stage, run: Run, new: list[tuple[str, Expr]]) -> None:
        """The points of one run: read, compute, accumulate, write."""
        nest, indexing, add = self._nest, self._plan.indexing, self._body.add
        roots = [*stage.roots, *[value for _, value in new]]
        for slot in text.used_slots(roots, self._known):
            if self._is_read_here(slot):
                operand = nest.loads[slot]
                add(
                    text.declare(f"x{slot}", operand, run),
                    text.read(f"x{slot}", operand, run, self._axes, indexing),
                )

        def load(slot: int) -> str:
            if constant_along(nest, slot):
                return f"x{slot}"
            where = "[u]" if slot in self._plan.carried.begin else ""
            return text.element(f"x{slot}{where}", nest.loads[slot], run)

        lines, names = text.values(roots, load, text.coordinate(run), self._known)
        found = iter(names)
        declare_outputs(self._body, stage.outputs, run)
        for pair in stage.pairs:
            kind = computed(pair.second.dtype)
            add(f"{kind} t{self._number(pair.second)}[{run.length}];")
        add("#pragma unroll", f"for (int e = 0; e < {run.length}; ++e) {{", *lines)
        for fold in stage.folds:
            name = f"a{self._number(fold)}"
            add(f"{name} = {join(fold)}::of({name}, {next(found)});")
        for pair in stage.pairs:
            add(f"t{self._number(pair.second)}[e] = {next(found)};")
        count = len(stage.outputs)
        fill_outputs(self._body, stage.outputs, [next(found) for _ in range(count)])
        for name, _ in new:
            add(f"{name}[u][e] = {next(found)};")
        add("}")
        for pair in stage.pairs:
            number = self._number(pair.second)
            add(f"a{number}.take(t{number});")
        if stage.outputs:
            self._open_active("")
            write_outputs(self._body, stage.outputs, run, self._axes, indexing)
            self._close_active("")

    # --- joining ------------------------------------------------------------------

    def _join(self, stage: Stage) -> None:
        """Every lane gets the results of the stage's folds."""
        self._share(stage)
        for fold in stage.folds:
            number = self._number(fold)
            value = self._joined(number, join(fold))
            if not self._plan.chunk:
                value = rounded(value, fold.dtype)
            self._body.add(f"const {computed(fold.dtype)} r{number} = {value};")
            self._known[fold] = f"r{number}"
        for pair in stage.pairs:
            first, second = self._number(pair.first), self._number(pair.second)
            kind, state = computed(pair.second.dtype), f"pair{second}"
            self._body.add(
                f"const {pair.ctype} {state} = {self._joined(second, 'JoinStates')};",
                f"const {kind} r{first} = "
                f"{rounded(f'{state}.first()', pair.first.dtype)};",
            )
            self._known[pair.first] = f"r{first}"
            self._make_row_values([pair.offset])
            value = f"{state}.second({self._known[pair.offset]})"
            value = rounded(value, pair.second.dtype)
            self._body.add(f"const {kind} r{second} = {value};")
            self._known[pair.second] = f"r{second}"

    def _share(self, stage: Stage) -> None:
        """In blocks: the results of the warps meet in shared memory."""
        made = [(self._number(f), computed(f.dtype), join(f)) for f in stage.folds]
        for pair in stage.pairs:
            made.append((self._number(pair.second), pair.ctype, "JoinStates"))
        if self._plan.lanes <= WARP or not made:
            return
        warps = self._plan.lanes // WARP
        for number, ctype, joins in made:
            self._body.add(
                f"__shared__ {ctype} shared{number}[{warps}];",
                f"fold_to_shared<{joins}>(a{number}, shared{number});",
            )
        self._body.add("__syncthreads();")

    def _joined(self, number: int, joins: str) -> str:
        lanes = self._plan.lanes
        if lanes > WARP:
            return f"fold_shared<{joins}, {lanes // WARP}>(shared{number})"
        return f"fold_lanes<{joins}, {lanes}>(a{number})" if lanes > 1 else f"a{number}"

    # --- what is one value a row --------------------------------------------------

    def _open_active(self, more: str) -> None:
        terms = [t for t in ("" if self._all_active else "active", more) if t]
        if terms:
            self._body.add(f"if ({' && '.join(terms)}) {{")

    def _close_active(self, more: str) -> None:
        if more or not self._all_active:
            self._body.add("}")

    def _write_chunks(self) -> list[tuple[Argument, str]]:
        arguments = []
        row = "row" if self._all_active else "point"
        where = f"blockIdx.y * {self._plan.indexing.number(self._nest.rows)} + {row}"
        self._open_active("lane == 0")
        for number, fold in enumerate(self._plan.stages[0].folds):
            kind = storage(carried(fold.dtype))
            arguments.append((Argument("scratch", number), kind))
            value = self._known[fold]
            self._body.add(f"scratch{number}[{where}] = narrow<{kind}>({value});")
        self._close_active("lane == 0")
        return arguments

    def _write_once(self, outputs: list[Output]) -> None:
        if not outputs:
            return
        indexing, single = self._plan.indexing, Run(-1, 1)
        self._open_active("lane == 0")
        lines, names = text.values(
            [o.expr for o in outputs], self._load, text.coordinate(single), self._known
        )
        self._body.add(*lines)
        for output, name in zip(outputs, names):
            kind, register = storage(output.target.dtype), _register(output)
            self._body.add(
                f"const {kind} {register} = narrow<{kind}>({name});",
                text.write(
                    f"&{register}", output.target, single, self._row_axes, indexing
                ),
            )
        self._close_active("lane == 0")
