"""TensorFlow's answers to some programs, kept: tests compare with them without it.

To record them again: python -m tests.oracle --record
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from tests.oracle.answer import Answer
from tests.oracle.compare import ROOM, Answers, differences
from tests.oracle.program import Input, Line, Program
from tests.oracle.trial import Answering, ours

RECORDED = Path(__file__).with_name("recorded.json.gz")


def load() -> list[tuple[Program, Answers]]:
    """The recorded programs, and what TensorFlow answered."""
    names = {"Program": Program, "Input": Input, "Line": Line}
    names |= {"nan": np.nan, "inf": np.inf}
    rows = json.loads(gzip.decompress(RECORDED.read_bytes()))
    return [
        (
            eval(row["program"], names),  # noqa: S307
            {key: _unpacked(packed) for key, packed in row["answers"].items()},
        )
        for row in rows
    ]


def save(programs: list[Program], expecting: Answering) -> int:
    """Record the programs on which both agree well within bounds; their number."""
    rows: list[Any] = []
    for program in programs:
        expected = expecting(program)
        if "forward" in expected or re.search("infj|nanj", repr(program)):
            continue
        if differences(program, expected, ours(program), ROOM / 4):
            continue
        answers = {key: _packed(answer) for key, answer in expected.items()}
        rows.append({"program": repr(program), "answers": answers})
    text = json.dumps(rows, separators=(",", ":"))
    RECORDED.write_bytes(gzip.compress(text.encode(), mtime=0))
    return len(rows)


def _packed(answer: Answer) -> Any:
    arrays = []
    for array in answer.arrays:
        if array.dtype.kind == "V":  # bfloat16
            array = array.astype(np.float32)
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        arrays.append([array.dtype.str, list(array.shape), data])
    shape = None if answer.shape is None else list(answer.shape)
    return [answer.kind, answer.dtype, shape, arrays]


def _unpacked(packed: Any) -> Answer:
    kind, dtype, shape, parts = packed
    arrays = tuple(
        np.frombuffer(base64.b64decode(data), code).reshape(extents)
        for code, extents, data in parts
    )
    return Answer(kind, dtype, None if shape is None else tuple(shape), arrays)
