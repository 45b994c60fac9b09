"""Where TensorFlow is wrong, or has no answer, and gpugrad differs on purpose.

Matched with a program shrunk to its core, so that a row excuses nothing else. Rows:
the order of what differs ("value", "first", "second"), a pattern of the core's lines,
a pattern of how it differs, and the reason.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from tests.oracle.compare import Difference
from tests.oracle.program import Program


class Known(NamedTuple):
    order: str
    lines: str
    what: str
    reason: str


KNOWN: tuple[Known, ...] = (
    Known(
        "second",
        "cross_entropy_with_logits",
        "off by",
        "the rule drops the derivative of softmax - labels with respect to labels",
    ),
    Known(
        "second",
        "recompute_grad",
        "refused NotImplementedError",
        "recompute_grad has no second order there",
    ),
)


def reason(program: Program, differences: list[Difference]) -> str:
    """Why these differences of a shrunk program are as they should be, or nothing."""
    text = " ".join(line.text for line in program.lines)
    orders = {d.key.split()[0] for d in differences} - {"first", "second"}
    order = "value" if orders else "first"
    if all(d.key.startswith("second") for d in differences):
        order = "second"
    what = " ".join(d.what for d in differences)
    for row in KNOWN:
        if row.order == order and re.search(row.lines, text):
            if re.search(row.what, what):
                return row.reason
    return ""
