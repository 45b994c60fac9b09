"""Optimizers whose steps are compared with TensorFlow's, and how they are run.

``python -m tests.train.optimizer_cases`` where TensorFlow is installed writes
data/optimizers.json anew; the tests need only that file.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "data" / "optimizers.json"
L1L2 = {"l1_regularization_strength": 0.05, "l2_regularization_strength": 0.1}
SHRINKAGE = {"l2_shrinkage_regularization_strength": 0.2, "beta": 0.3}
CASES: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda t: t.GradientDescentOptimizer(0.3),
    "momentum": lambda t: t.MomentumOptimizer(0.2, 0.9),
    "nesterov": lambda t: t.MomentumOptimizer(0.2, 0.9, use_nesterov=True),
    "adagrad": lambda t: t.AdagradOptimizer(0.5),
    "adadelta": lambda t: t.AdadeltaOptimizer(1.0, 0.9, 1e-2),
    "rmsprop": lambda t: t.RMSPropOptimizer(0.1, momentum=0.5),
    "centered": lambda t: t.RMSPropOptimizer(0.05, momentum=0.3, centered=True),
    "adam": lambda t: t.AdamOptimizer(0.1),
    "ftrl": lambda t: t.FtrlOptimizer(0.5, **L1L2),
    "ftrl_power": lambda t: t.FtrlOptimizer(0.5, learning_rate_power=-0.7),
    "ftrl_shrinkage": lambda t: t.FtrlOptimizer(0.5, **SHRINKAGE),
    "proximal": lambda t: t.ProximalGradientDescentOptimizer(0.3, **L1L2),
    "proximal_adagrad": lambda t: t.ProximalAdagradOptimizer(0.5, **L1L2),
    "adagrad_da": lambda t: t.AdagradDAOptimizer(
        0.5, t.get_or_create_global_step(), **L1L2
    ),
}
START = np.array([[0.3, -0.7], [1.1, 0.2], [-0.4, 0.9], [2.0, -1.0]], np.float32)
BATCHES = ([0, 2, 2], [2, 1], [0, 0, 3], [1])


def steps(t: Any, case: str, rows: bool) -> dict[str, Any]:
    """Four steps of a module's optimizer: its variables' names, and all values.

    With ``rows`` the gradient is IndexedSlices, some rows of which come twice.
    """
    with t.Graph().as_default():
        w = t.get_variable("w", initializer=START)
        u = t.get_variable("u", initializer=np.array([1.0, 2.0], np.float32))
        count = t.train.get_or_create_global_step()
        batch = t.placeholder(t.int32, [None])
        x = t.gather(w, batch) if rows else w
        loss = t.reduce_sum(t.square(x - 0.25)) + t.reduce_sum(u**3)
        optimizer = CASES[case](t.train)
        step = optimizer.minimize(loss, global_step=count)
        values = []
        with t.Session() as session:
            session.run(t.global_variables_initializer())
            for picked in BATCHES:
                session.run(step, {batch: picked})
                now = session.run([w, u, count, *optimizer.variables()])
                values.append([value.tolist() for value in now])
        return {
            "variables": [v.name for v in optimizer.variables()],
            "slots": optimizer.get_slot_names(),
            "all": [v.name for v in t.global_variables()],
            "values": values,
        }


def _record() -> None:
    import tensorflow.compat.v1 as tf

    tf.disable_eager_execution()
    tf.enable_resource_variables()
    found = {
        f"{case}-{'rows' if rows else 'dense'}": steps(tf, case, rows)
        for case in CASES
        for rows in (False, True)
    }
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    _record()
