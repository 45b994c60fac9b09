"""explain(): every stage of compiling, printed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from gpugrad.compiler.cost import bytes_moved, least_bytes
from gpugrad.compiler.lower import Bound, lower_stage
from gpugrad.compiler.pipeline import PASSES, optimize
from gpugrad.compiler.schedule import Schedule, schedule
from gpugrad.dtypes import of_numpy
from gpugrad.graph import sessions
from gpugrad.kir.program import GATE, START, Barrier, Call, Group, Program
from gpugrad.kir.scalar import written
from gpugrad.kir.space import View
from gpugrad.runtime import fetches as fetching
from gpugrad.runtime import memory_plan
from gpugrad.runtime.context import Context
from gpugrad.runtime.session import BaseSession


class Explanation(str):
    """The text that explain() gives, which can draw its memory plan as well."""

    program: Program

    def draw_memory(self, path: str | os.PathLike[str]) -> None:
        """Draw which buffer lies where during which steps, into a PNG file.

        Raises ImportError, saying what to install, without matplotlib.
        """
        memory_plan.draw(self.program, path)


def explain(fetches: Any, feed_dict: Any = None, session: Any = None) -> Explanation:
    """What running ``fetches`` would do, as text, without running it.

    The operations after pruning, the steps of the Program with their barriers, the
    bytes that they move, the memory plan, and the generated source. ``feed_dict``
    gives the shapes, as in ``Session.run``; only the first stage is shown where shapes
    depend on data. Uses ``session``, or the default one, or a new one over the graph.
    ``explain(...).draw_memory(path)`` draws the memory plan.
    """
    session = session or _session(fetches)
    plan, program = lowered(fetches, feed_dict, session)
    program = optimize(program, target=session._backend.target)
    source = session._backend.load(program).source
    parts = [
        _operations(plan),
        _steps(program),
        _traffic(program),
        memory_plan.text(program),
        f"# source for {session._backend.device_name}\n{source}",
    ]
    explanation = Explanation("\n\n".join(parts))
    explanation.program = program
    return explanation


def lowered(
    fetches: Any, feed_dict: Any = None, session: Any = None
) -> tuple[Schedule, Program]:
    """The operations of a run, and the Program of its first stage before any pass."""
    session = session or _session(fetches)
    _, arrays, tensors = session._feeds(feed_dict or {})
    parsed = fetching.parse(session.graph, fetches)
    plan = schedule(parsed.tensors, parsed.operations, list(tensors))
    bound = {
        number: Bound(of_numpy(a.dtype), tuple(a.shape))
        for number, a in zip(plan.inputs, arrays)
    }
    context = Context(session._store, session._backend, 0)
    return plan, lower_stage(plan, 0, bound, context.handle).program


def _session(fetches: Any) -> Any:
    found = sessions.default()
    if found is None:
        elements = fetches if isinstance(fetches, (list, tuple)) else [fetches]
        found = BaseSession(graph=elements[0].graph)
    return found


def _operations(plan: Schedule) -> str:
    lines = [f"# {len(plan.items)} operations after pruning"]
    for item in plan.items:
        inputs = ", ".join(t.name for t in item.op.inputs)
        control = "".join(f" ^{op.name}" for op in item.op.control_inputs)
        lines.append(f"{item.op.name} = {item.op.type}({inputs}){control}")
    return "\n".join(lines)


def _view(view: View) -> str:
    text = f"{view.buffer.kind}{view.buffer.id}{list(view.shape)}"
    if not view.is_contiguous:
        text += f" strides {list(view.strides)}"
    return text + (f" from {view.offset}" if view.offset else "")


def _steps(program: Program) -> str:
    names = ", ".join(run.__name__ for run in PASSES)
    lines = [f"# {len(program.steps)} steps after {names}"]
    several = any(step.stream for step in program.steps)
    for number, step in enumerate(program.steps):
        if several:
            lines.append(_place(program, number))
        if isinstance(step, Group):
            lines += _group(step)
        elif isinstance(step, Call):
            outs = ", ".join(_view(v) for v in step.outs)
            args = ", ".join(_view(v) for v in step.args)
            lines.append(f"{outs} = {step.name}({args})")
        elif isinstance(step, Barrier):
            members = ", ".join(_view(v) for v in step.members)
            lines.append(f"barrier: {members}")
    for commit in program.commits:
        lines.append(f"variable {commit.slot} <- {_view(commit.view)}")
    return "\n".join(lines)


def _group(group: Group) -> Iterator[str]:
    """A line that says over what, one for each value that is used again, and stores."""
    axes = [f"{n}{'r' if r else ''}" for n, r in zip(group.extents, group.reduced)]
    loads = [f"in{slot} = {_view(v)}" for slot, v in enumerate(group.loads)]
    yield f"kernel [{' '.join(axes)}] {', '.join(loads)}".rstrip()
    shared, texts = written(*[store.expr for store in group.stores])
    for line in shared:
        yield f"    {line}"
    for store, text in zip(group.stores, texts):
        yield f"    {_view(store.view)} = {text}"


def _place(program: Program, number: int) -> str:
    stream = program.steps[number].stream
    text = "# the gate" if stream == GATE else f"# stream {stream}"
    waits = [w for w in (program.waits or {}).get(number, ()) if w != START]
    return f"{text}, step {number}" + (f", after {waits}" if waits else "")


def _traffic(program: Program) -> str:
    moved, least = bytes_moved(program), least_bytes(program)
    return f"# {moved:,} bytes moved, of {least:,} that any kernels would"
