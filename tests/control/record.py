"""Writes recorded.json: what TensorFlow 2.21 computes for the programs of cases.py.

Needs TensorFlow: python -m tests.control.record
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.control.cases import CASES

RECORDED = Path(__file__).with_name("recorded.json")


def values(tf: Any, name: str) -> list[Any]:
    """What a case gives, as lists; "None" where there is no gradient."""
    with tf.Graph().as_default(), tf.Session() as session:
        fetches = CASES[name](tf)
        session.run(tf.global_variables_initializer())
        return [
            None if f is None else np.asarray(session.run(f)).tolist() for f in fetches
        ]


def in_tensorflow(name: str) -> list[Any]:
    """The values under TensorFlow, with its functional loops and branches."""
    import tensorflow as tf2
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    tf.enable_control_flow_v2()

    class Library:
        def __getattr__(self, attr: str) -> Any:
            return getattr(tf2, attr) if attr == "function" else getattr(tf, attr)

    return values(Library(), name)


def main() -> None:
    """Record all of them."""
    lines = [f"  {json.dumps(n)}: {json.dumps(in_tensorflow(n))}" for n in CASES]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
