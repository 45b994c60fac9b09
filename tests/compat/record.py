"""Writes recorded.json: what TensorFlow 2.21 makes of programs.py.

Needs TensorFlow and tf_keras, both 2.21, for tf.layers and tf.nn.rnn_cell:
TF_USE_LEGACY_KERAS=1 python -m tests.compat.record
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.compat.programs import PROGRAMS

RECORDED = Path(__file__).with_name("recorded.json")


def digest(value: Any) -> float:
    """One number that any wrong element changes."""
    flat = np.asarray(value, np.float64).reshape(-1)
    return float(flat @ np.cos(np.arange(flat.size)))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _set(session: Any, variables: list[Any]) -> None:
    """Values that do not depend on anybody's random numbers."""
    for number, variable in enumerate(variables):
        shape = variable.shape.as_list()
        size = int(np.prod(shape))
        values = 0.45 + 0.35 * np.sin(1 + number + np.arange(size) ** 1.3)
        dtype = variable.dtype.base_dtype.as_numpy_dtype
        variable.load(values.reshape(shape).astype(dtype), session)


def run(tf: Any, name: str) -> dict[str, Any]:
    """Names, shapes, values and gradients of one program."""
    program = PROGRAMS[name]
    with tf.Graph().as_default() as graph:
        dtype = getattr(tf, program.dtype)
        xs = [tf.placeholder(dtype, static) for static, _ in program.inputs]
        ys = _leaves(program.build(tf, *xs))
        trained = tf.trainable_variables()
        loss = tf.add_n([tf.reduce_sum(tf.sin(y)) for y in ys])
        first = [g for g in tf.gradients(loss, xs + trained) if g is not None]
        second = []
        if program.second:
            again = tf.add_n([tf.reduce_sum(tf.square(g)) for g in first])
            second = [g for g in tf.gradients(again, xs + trained) if g is not None]
        losses = graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
        updates = graph.get_collection(tf.GraphKeys.UPDATE_OPS)
        feed = {
            x: np.sin(3 * np.arange(np.prod(fed)) ** 1.1).reshape(fed)
            for x, (_, fed) in zip(xs, program.inputs)
        }
        variables = tf.global_variables()
        with tf.Session() as session:
            _set(session, variables)
            values = session.run([ys, first, second, losses], feed)
            if updates:
                session.run(updates, feed)
            after = session.run(variables) if variables else []
    return {
        "outputs": [y.name for y in ys] if program.named else None,
        "shapes": [[int(n) if n else None for n in y.shape.as_list()] for y in ys],
        "variables": {v.name: v.shape.as_list() for v in variables},
        "trained": [v.name for v in trained],
        "losses": [loss.name for loss in losses],
        "values": [[digest(v) for v in group] for group in [*values, after]],
    }


def _main() -> None:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    tf.enable_control_flow_v2()  # without it loops have no second order,
    tf.enable_resource_variables()  # and it needs these
    text = json.dumps({name: run(tf, name) for name in PROGRAMS}, indent=1)
    RECORDED.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main()
