"""What is measured: losses written once, against the few functions that all peers have.

A peer (bench/peers) supplies ``ops`` with its own best version of each function, takes
the gradients in its own way and applies its own optimizer. So every row of the table
compares the same mathematics, and a result that differs is found before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Loss = Callable[[Any, dict[str, Any], dict[str, Any]], Any]

TRAINING = ("sgd", "adam")
RATE = 0.01


@dataclass(frozen=True)
class Workload:
    """A scalar loss of parameters and data.

    ``update``: "none" gives the loss and the gradient of every parameter; "sgd" and
    "adam" keep the parameters and give the loss of the step.
    ``sparse``: (parameter, data) names of a table and the rows of it that the loss
    sees, as the parameter "rows": only those rows are updated.
    ``least_bytes``: what a call has to move at the least: each array that goes in read
    once, each that comes out written once.
    ``except_for``: peers that are not run, and why.
    """

    name: str
    title: str
    loss: Loss
    params: Callable[[], Arrays]
    data: Callable[[], Arrays] = dict
    update: str = "none"
    sparse: tuple[str, str] | None = None
    except_for: dict[str, str] = field(default_factory=dict)

    @property
    def least_bytes(self) -> int:
        """See the class."""
        params, data = self.params(), self.data()
        inputs = sum(a.nbytes for a in (*params.values(), *data.values()))
        outputs = sum(a.nbytes for a in params.values())
        if self.sparse:
            table, ids = params[self.sparse[0]], data[self.sparse[1]]
            rows = ids.size * table.itemsize * table.shape[-1]
            return inputs + outputs - 2 * table.nbytes + 2 * rows
        if self.update == "adam":  # two moments, read and written
            outputs += 4 * outputs
        return inputs + outputs


def _normal(seed: int, scale: float = 1.0, /, **shapes: tuple[int, ...]) -> Arrays:
    rng = np.random.default_rng(seed)
    return {
        name: (rng.standard_normal(shape) * scale).astype(np.float32)
        for name, shape in shapes.items()
    }


def _one_hot(seed: int, n: int, classes: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.eye(classes, dtype=np.float32)[rng.integers(0, classes, n)]


# --- elementwise ----------------------------------------------------------------------


def _elementwise_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    x, w, b = p["x"], p["w"], p["b"]
    return ops.sum(ops.tanh(x * w + b) * ops.exp(-x * x))


def elementwise(size: int) -> Workload:
    """sum(tanh(x w + b) exp(-x x)) and three gradients."""
    return Workload(
        f"elementwise_{size}",
        f"elementwise and three gradients, {size:,} elements",
        _elementwise_loss,
        lambda: _normal(1, x=(size,), w=(size,), b=(size,)),
    )


# --- rows -----------------------------------------------------------------------------


def _rows_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    normal = ops.layer_norm(p["x"], p["scale"], p["shift"])
    return ops.cross_entropy(ops.gelu(normal), d["labels"])


def rows(n: int, width: int) -> Workload:
    """Layer norm, gelu, softmax cross entropy over the rows of a matrix."""
    return Workload(
        f"rows_{n}x{width}",
        f"layer norm, gelu, cross entropy and gradients, {n} x {width}",
        _rows_loss,
        lambda: _normal(2, x=(n, width), scale=(width,), shift=(width,)),
        lambda: {"labels": _one_hot(3, n, width)},
    )


# --- multilayer perceptrons -----------------------------------------------------------


def _mlp_params(sizes: tuple[int, ...]) -> Arrays:
    params = {}
    for layer, (n, m) in enumerate(pairwise(sizes)):
        params |= _normal(layer, n**-0.5, **{f"w{layer}": (n, m)})
        params[f"b{layer}"] = np.zeros(m, np.float32)
    return params


def _mlp_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    layers = len(p) // 2
    x = d["x"]
    for layer in range(layers):
        x = ops.matmul(x, p[f"w{layer}"]) + p[f"b{layer}"]
        if layer < layers - 1:
            x = ops.tanh(x)
    return ops.cross_entropy(x, d["labels"])


def mlp(batch: int, sizes: tuple[int, ...], update: str) -> Workload:
    """A training step of a multilayer perceptron."""
    text = ",".join(map(str, sizes))
    return Workload(
        f"mlp_{batch}x{'-'.join(map(str, sizes))}_{update}",
        f"MLP step, {batch} x [{text}], {update.upper()}",
        _mlp_loss,
        lambda: _mlp_params(sizes),
        lambda: {
            **_normal(9, x=(batch, sizes[0])),
            "labels": _one_hot(8, batch, sizes[-1]),
        },
        update,
    )


# --- convolution ----------------------------------------------------------------------


def _conv_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    x = d["x"]
    for layer in range(2):
        x = ops.relu(ops.conv2d(x, p[f"k{layer}"]) + p[f"c{layer}"])
        x = ops.max_pool(x)
    x = ops.reshape(x, (x.shape[0], -1))
    return ops.cross_entropy(ops.matmul(x, p["w"]) + p["b"], d["labels"])


def conv_net(batch: int) -> Workload:
    """A training step of two 5 x 5 convolutions with pooling and a dense layer."""
    return Workload(
        f"conv_{batch}x28x28",
        f"conv net step, {batch} x 28 x 28, SGD",
        _conv_loss,
        lambda: {
            **_normal(4, 0.1, k0=(5, 5, 1, 32), k1=(5, 5, 32, 64)),
            **_normal(5, 0.02, w=(7 * 7 * 64, 10)),
            "c0": np.zeros(32, np.float32),
            "c1": np.zeros(64, np.float32),
            "b": np.zeros(10, np.float32),
        },
        lambda: {
            **_normal(6, x=(batch, 28, 28, 1)),
            "labels": _one_hot(7, batch, 10),
        },
        "sgd",
        except_for={"autograd": "it has no fast convolution"},
    )


# --- recurrence -----------------------------------------------------------------------


def _lstm_cell(ops: Any, p: dict[str, Any], x: Any, h: Any, c: Any) -> tuple[Any, Any]:
    z = ops.matmul(ops.concat([x, h], 1), p["kernel"]) + p["bias"]
    i, j, f, o = ops.split(z, 4, 1)
    c = ops.sigmoid(f + 1.0) * c + ops.sigmoid(i) * ops.tanh(j)
    return ops.sigmoid(o) * ops.tanh(c), c


def _lstm_unrolled(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    h, c = d["h"], d["c"]
    for step in range(d["x"].shape[0]):
        h, c = _lstm_cell(ops, p, d["x"][step], h, c)
    return ops.sum(h * h) / h.shape[0]


def _lstm_loop(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    def step(state: Any, x: Any) -> Any:
        return _lstm_cell(ops, p, x, *state)

    h, _ = ops.scan(step, (d["h"], d["c"]), d["x"])
    return ops.sum(h * h) / h.shape[0]


def lstm(loop: bool, steps: int = 50, batch: int = 32, width: int = 128) -> Workload:
    """A training step of an LSTM."""
    kind = "loop" if loop else "unrolled"
    excepted = {"torch": "it has no loop", "torch-compile": "it has no loop"}
    excepted["autograd"] = "it has no loop"
    return Workload(
        f"lstm_{kind}",
        f"LSTM step, {steps} steps of {batch} x {width}, {kind}, SGD",
        _lstm_loop if loop else _lstm_unrolled,
        lambda: {
            **_normal(10, 0.08, kernel=(64 + width, 4 * width)),
            "bias": np.zeros(4 * width, np.float32),
        },
        lambda: {
            **_normal(11, x=(steps, batch, 64)),
            "h": np.zeros((batch, width), np.float32),
            "c": np.zeros((batch, width), np.float32),
        },
        "sgd",
        except_for=excepted if loop else {},
    )


# --- transformer block ----------------------------------------------------------------


def _block_loss(ops: Any, p: dict[str, Any], d: dict[str, Any], heads: int = 4) -> Any:
    x = d["x"]
    n, length, width = x.shape
    flat = (n * length, width)
    h = ops.layer_norm(x, p["scale1"], p["shift1"])
    qkv = ops.matmul(ops.reshape(h, flat), p["qkv"])
    parts = []
    for part in ops.split(qkv, 3, 1):
        part = ops.reshape(part, (n, length, heads, width // heads))
        parts.append(ops.transpose(part, (0, 2, 1, 3)))
    q, k, v = parts
    scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * (width / heads) ** -0.5
    mixed = ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))
    mixed = ops.matmul(ops.reshape(mixed, flat), p["out"])
    x = x + ops.reshape(mixed, (n, length, width))
    h = ops.layer_norm(x, p["scale2"], p["shift2"])
    h = ops.gelu(ops.matmul(ops.reshape(h, flat), p["up"]) + p["up_bias"])
    h = ops.matmul(h, p["down"]) + p["down_bias"]
    # Bounded below, so that thousands of timed steps do not run away.
    miss = ops.reshape(x, flat) + h - d["target"]
    return ops.sum(miss * miss) / (n * length * width)


def transformer(n: int = 4, length: int = 128, width: int = 256) -> Workload:
    """A training step of one pre-norm transformer block."""
    return Workload(
        f"transformer_{n}x{length}x{width}",
        f"transformer block step, {n} x {length} x {width}, SGD",
        _block_loss,
        lambda: {
            **_normal(
                12,
                width**-0.5,
                qkv=(width, 3 * width),
                out=(width, width),
                up=(width, 4 * width),
                down=(4 * width, width),
            ),
            "up_bias": np.zeros(4 * width, np.float32),
            "down_bias": np.zeros(width, np.float32),
            **{f"scale{i}": np.ones(width, np.float32) for i in (1, 2)},
            **{f"shift{i}": np.zeros(width, np.float32) for i in (1, 2)},
        },
        lambda: _normal(13, x=(n, length, width), target=(n * length, width)),
        "sgd",
    )


# --- embedding ------------------------------------------------------------------------


def _embedding_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    return ops.cross_entropy(ops.matmul(p["rows"], p["w"]), d["labels"])


def embedding(rows: int = 50_000, width: int = 64, batch: int = 512) -> Workload:
    """A training step that reads and updates a few rows of a large table."""
    return Workload(
        f"embedding_{rows}x{width}",
        f"embedding step, {batch} of {rows:,} x {width} rows, SGD",
        _embedding_loss,
        lambda: _normal(14, 0.1, table=(rows, width), w=(width, 16)),
        lambda: {
            "ids": np.random.default_rng(15).integers(0, rows, batch),
            "labels": _one_hot(16, batch, 16),
        },
        "sgd",
        sparse=("table", "ids"),
    )


# --- fan-in ---------------------------------------------------------------------------


def _fan_in_loss(ops: Any, p: dict[str, Any], d: dict[str, Any]) -> Any:
    total = None
    for branch in range(1000):
        term = ops.sum(ops.tanh(p["x"] * (branch * 1e-3)))
        total = term if total is None else total + term
    return total


def fan_in(method: str, size: int = 50_000) -> Workload:
    """The gradient of a tensor that 1,000 branches read."""
    return Workload(
        f"fan_in_{method.lower()}",
        f"gradient with a fan-in of 1,000, {size:,} elements, {method}",
        _fan_in_loss,
        lambda: _normal(17, x=(size,)),
        except_for={"torch-compile": "compiling takes minutes"},
    )


WORKLOADS: tuple[Workload, ...] = (
    elementwise(1_000),
    elementwise(100_000),
    elementwise(4_000_000),
    rows(512, 1024),
    *[mlp(8, (4, 16, 3), update) for update in TRAINING],
    *[mlp(32, (784, 128, 10), update) for update in TRAINING],
    *[mlp(256, (784, 1024, 1024, 10), update) for update in TRAINING],
    conv_net(32),
    lstm(loop=False),
    lstm(loop=True),
    transformer(),
    embedding(),
    *[fan_in(m) for m in ("ADD_N", "EXPERIMENTAL_TREE", "EXPERIMENTAL_ACCUMULATE_N")],
)

# What `python -m bench --gpu` runs: two of the above, and one that fills a large GPU.
GPU_STEPS: tuple[Workload, ...] = (
    mlp(256, (784, 1024, 1024, 10), "sgd"),
    transformer(),
    transformer(8, 512, 1024),
)
