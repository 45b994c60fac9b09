"""TensorFlow functions compiled by XLA; arrays stay TensorFlow's from call to call."""

from __future__ import annotations

from typing import Any

from bench.peers import Step, graph
from bench.workloads import RATE, Workload


def make(workload: Workload) -> Step:
    """One call of a tf.function with jit_compile."""
    tf = graph.library("tensorflow")
    ops = graph.Ops(tf)
    data = {k: tf.constant(a) for k, a in workload.data().items()}
    names = list(workload.params())

    def loss_of(values: dict[str, Any], data: dict[str, Any]) -> Any:
        return workload.loss(ops, values, data)

    if workload.update == "none":
        params = [tf.constant(a) for a in workload.params().values()]

        @tf.function(jit_compile=True)
        def gradients(params: Any, data: Any) -> Any:
            loss = loss_of(dict(zip(names, params)), data)
            return [loss, *tf.gradients(loss, params)]

        return lambda: [t.numpy() for t in gradients(params, data)]

    variables = {k: tf.Variable(a) for k, a in workload.params().items()}
    moments = {
        k: (tf.Variable(a * 0), tf.Variable(a * 0)) for k, a in variables.items()
    }
    count = tf.Variable(0.0)

    @tf.function(jit_compile=True)
    def step(data: Any) -> Any:
        seen = {k: v.read_value() for k, v in variables.items()}
        if workload.sparse:
            table, ids = workload.sparse
            seen["rows"] = tf.gather(seen.pop(table), data[ids])
        loss = loss_of(seen, data)
        grads = dict(zip(seen, tf.gradients(loss, list(seen.values()))))
        if workload.sparse:
            rows = -RATE * grads.pop("rows")
            variables[table].scatter_nd_add(data[ids][:, None], rows)
        if workload.update == "adam":
            count.assign_add(1.0)
        for k, grad in grads.items():
            if workload.update == "adam":
                m, v = moments[k]
                m.assign(0.9 * m + 0.1 * grad)
                v.assign(0.999 * v + 0.001 * grad * grad)
                rate = RATE * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
                grad = rate / RATE * m / (tf.sqrt(v) + 1e-8)
            variables[k].assign_sub(RATE * grad)
        return loss

    return lambda: [step(data).numpy()]
