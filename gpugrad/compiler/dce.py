"""Drop steps whose results nothing reads."""

from __future__ import annotations

from dataclasses import replace

from gpugrad.kir.program import Barrier, Call, Program


def drop_dead_steps(program: Program) -> Program:
    """Keep what leads to an output, a commit, or an effect outside the program.

    Requires: nothing.
    Ensures:  every temp buffer that is written is read later, put out or committed.
              Barriers keep their places and only name members that are left.
    """
    live = {v.buffer.id for v in program.outputs}
    live.update(c.view.buffer.id for c in program.commits)
    kept, origins = [], []
    for step, origin in zip(reversed(program.steps), reversed(program.origins)):
        if type(step) is Barrier:
            members = tuple(m for m in step.members if m.buffer.id in live)
            if len(members) > 1:
                kept.append(step._replace(members=members))
                origins.append(origin)
            continue
        if any(v.buffer.id in live for v in step.writes) or (
            type(step) is Call and not step.pure
        ):
            live.update(v.buffer.id for v in step.reads)
            kept.append(step)
            origins.append(origin)
    return replace(
        program,
        steps=tuple(reversed(kept)),
        origins=tuple(reversed(origins)),
        consts={k: v for k, v in program.consts.items() if k in live},
        variables=tuple(v for v in program.variables if v[1].id in live),
    )
