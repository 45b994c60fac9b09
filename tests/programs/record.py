"""Writes recorded.json: the losses of the programs here, as TensorFlow 2.21 has them.

Needs TensorFlow: python -m tests.programs.record
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
OURS = "import gpugrad.compat.v1 as tf\n"
TENSORFLOW = "import tensorflow.compat.v1 as tf; tf.disable_v2_behavior()\n"
PROGRAMS = sorted(
    path.stem
    for path in HERE.glob("*.py")
    if OURS in path.read_text("utf-8") and not path.stem.startswith("test_")
)


def losses_of(name: str, importing: str) -> list[float]:
    """Run a program under a library, with nothing changed but the import."""
    path = HERE / f"{name}.py"
    source = path.read_text(encoding="utf-8").replace(OURS, importing)
    namespace: dict[str, Any] = {"__name__": "program"}
    exec(compile(source, str(path), "exec"), namespace)
    return [float(loss) for loss in namespace["losses"]]


def in_tensorflow(name: str) -> list[float]:
    """The losses that TensorFlow gives, in a graph of its own."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        return losses_of(name, TENSORFLOW)


def main() -> None:
    """Record all of them."""
    found = {name: in_tensorflow(name) for name in PROGRAMS}
    lines = [f"  {json.dumps(n)}: {json.dumps(v)}" for n, v in found.items()]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
