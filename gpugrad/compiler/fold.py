"""Constant folding of shape arithmetic, while lowering."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpugrad.kir.builder import Builder
from gpugrad.kir.interpret import interpret
from gpugrad.kir.space import View

# Elements. Shape arithmetic is far smaller; larger constants stay with the device.
LIMIT = 1024


def fold(builder: Builder, start: int, results: Sequence[View]) -> list[View]:
    """Run the steps from ``start`` now, and make their results constants.

    Requires: the steps read constants only, and nothing else reads what they write
              but ``results``.
    Ensures:  the builder has no steps from ``start`` on.
    """
    steps = builder.steps[start:]
    memory = {}
    for step in steps:
        for view in (*step.reads, *step.writes):
            buffer = view.buffer
            if buffer.kind == "const":
                memory[buffer.id] = builder.consts[buffer.id].reshape(-1)
            elif buffer.id not in memory:
                memory[buffer.id] = np.zeros(buffer.size, buffer.dtype.np_dtype)
    interpret(steps, memory)
    del builder.steps[start:], builder.origins[start:]
    folded = []
    for view in results:
        if view.buffer.kind != "const":
            data = memory[view.buffer.id]
            item = data.itemsize
            value = np.lib.stride_tricks.as_strided(
                data[view.offset :] if view.size else data[:0],
                view.shape,
                tuple(s * item for s in view.strides),
            )
            view = builder.literal(value, view.dtype)
        folded.append(view)
    return folded
