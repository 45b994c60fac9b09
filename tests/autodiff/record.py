"""Writes recorded.json: the nodes that TensorFlow 2.21 builds for programs.py.

Needs TensorFlow: python -m tests.autodiff.record
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.autodiff.programs import PROGRAMS

RECORDED = Path(__file__).with_name("recorded.json")


def nodes(graph: Any, first: int) -> list[dict[str, Any]]:
    """The nodes from number ``first`` on, constants aside."""
    found = []
    for op in graph.get_operations()[first:]:
        if op.type == "Const":
            continue
        node: dict[str, Any] = {
            "name": op.name,
            "type": op.type,
            "inputs": [_shown(t) for t in op.inputs],
        }
        if op.type == "Mul":  # TensorFlow's order depends on dtypes and shapes
            node["inputs"].sort()
        groups = sorted(g.decode() for g in op.colocation_groups())
        # Inside a few rules TensorFlow colocates one gradient op with another.
        inner = op.type not in ("AddN", "Identity") and "_grad/" in str(groups)
        if groups != [f"loc:@{op.name}"] and not inner:
            node["groups"] = groups
        if op.control_inputs:
            node["control"] = [c.name for c in op.control_inputs]
        if op.device:
            node["device"] = op.device
        found.append(node)
    return found


def _shown(tensor: Any) -> str:
    return "Const" if tensor.op.type == "Const" else tensor.name


def results(gradients: list[Any]) -> list[Any]:
    """The names of what gradients() gave."""
    out: list[Any] = []
    for gradient in gradients:
        if hasattr(gradient, "indices"):
            parts = (gradient.values, gradient.indices, gradient.dense_shape)
            out.append([_shown(p) for p in parts])
        else:
            out.append(None if gradient is None else _shown(gradient))
    return out


def run(tf: Any, name: str) -> dict[str, Any]:
    """What one program gives with a TensorFlow 1 module."""
    graph = tf.Graph()
    with graph.as_default():
        ys, xs, how = PROGRAMS[name](tf)
        first = len(graph.get_operations())
        got = results(tf.gradients(ys, xs, **how))
        return {"nodes": nodes(graph, first), "results": got}


def main() -> None:
    """Record every program."""
    import tensorflow

    tf = tensorflow.compat.v1
    lines = [f"{json.dumps(name)}: {json.dumps(run(tf, name))}" for name in PROGRAMS]
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
