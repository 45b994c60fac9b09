"""What runs as kernels: each case once for gpugrad, its rivals, and NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bench.peers.graph import Ops
from gpugrad.dtypes import ALL

Arrays = list[np.ndarray]
# Random numbers are made once and repeated; the period divides no extent.
_PERIOD = 1_000_003
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Case:
    """One kernel, or a few, as a function of arrays.

    ``build``: (tf, tensors) -> tensor or list of them, the gpugrad version.
    ``wanted``: the same of float64 arrays with NumPy, always as a list.
    ``rivals``: by name of the library; each takes the module and its arrays.
    ``alone``: the axis along which results depend only on the same place of those
    inputs that have as many axes as the first; a few places are checked. None: all.
    """

    name: str
    dtype: str
    arrays: Callable[[], Arrays]
    build: Callable[..., Any]
    wanted: Callable[..., Arrays]
    alone: int | None = None
    rivals: dict[str, Callable[..., Any]] = field(default_factory=dict)


def available(names: Sequence[str] = _DTYPES) -> dict[str, np.dtype]:
    """Those dtypes that NumPy has here; bfloat16 comes with ml_dtypes."""
    known = {d.name: d.np_dtype for d in ALL if d.np_dtype is not None}
    return {n: np.dtype(known[n]) for n in names if n in known}


def drawn(dtype: Any, *shapes: tuple[int, ...], low: float = -1.0) -> Arrays:
    """Numbers between ``low`` and 1, cheap to make in any size."""
    rng = np.random.default_rng(7)
    found = []
    for shape in shapes:
        size = int(np.prod(shape))
        values = rng.uniform(low, 1.0, min(size, _PERIOD)).astype(dtype)
        found.append(np.resize(values, size).reshape(shape))
    return found


def _count(*extents: int) -> str:
    return " x ".join(f"{n:,}" for n in extents)


# --- elementwise ----------------------------------------------------------------------


def elementwise(
    sizes: Sequence[int] = (1 << 20, (1 << 24) - 3, 1 << 24, 1 << 26),
) -> Iterator[Case]:
    """One op of two inputs, and a chain of ops with its three gradients."""

    def chain(tf: Any, x: Any, w: Any, b: Any) -> Any:
        return tf.gradients(tf.tanh(x * w + b) * tf.exp(-x * x), [x, w, b])

    def slopes(x: Any, w: Any, b: Any) -> Arrays:
        t, e = np.tanh(x * w + b), np.exp(-x * x)
        inner = (1 - t * t) * e
        return [inner * w - 2 * x * t * e, inner * x, inner]

    for name, dtype in available().items():
        for n in sizes:
            yield Case(
                f"x + y, {_count(n)}", name,
                lambda n=n, dtype=dtype: drawn(dtype, (n,), (n,)),
                lambda tf, x, y: x + y, lambda x, y: [x + y], 0,
                {"cupy": lambda xp, x, y: x + y, "torch": lambda xp, x, y: x + y},
            )  # fmt: skip
            yield Case(
                f"gradients of tanh(x w + b) exp(-x x), {_count(n)}", name,
                lambda n=n, dtype=dtype: drawn(dtype, (n,), (n,), (n,)),
                chain, slopes, 0,
            )  # fmt: skip


# --- rows -----------------------------------------------------------------------------


def rows(
    shapes: Sequence[tuple[int, int]] = (
        (131_072, 128),
        (16_384, 1_024),
        (4_096, 8_192),
        (512, 65_536),
    ),
) -> Iterator[Case]:
    """Softmax and layer norm over the rows of matrices."""

    def softmax(x: Any) -> Arrays:
        e = np.exp(x - x.max(-1, keepdims=True))
        return [e / e.sum(-1, keepdims=True)]

    def normal(x: Any, scale: Any, shift: Any) -> Arrays:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return [centred / np.sqrt(variance + 1e-5) * scale + shift]

    def torch_normal(torch: Any, x: Any, scale: Any, shift: Any) -> Any:
        return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift, 1e-5)

    for name, dtype in available().items():
        for n, width in shapes:
            yield Case(
                f"softmax of rows, {_count(n, width)}", name,
                lambda n=n, width=width, dtype=dtype: drawn(dtype, (n, width)),
                lambda tf, x: tf.nn.softmax(x), softmax, 0,
                {"torch": lambda torch, x: torch.softmax(x, -1)},
            )  # fmt: skip
            yield Case(
                f"layer norm of rows, {_count(n, width)}", name,
                lambda n=n, width=width, dtype=dtype: drawn(
                    dtype, (n, width), (width,), (width,)
                ),
                lambda tf, *xs: Ops(tf).layer_norm(*xs), normal, 0,
                {"torch": torch_normal},
            )  # fmt: skip


# --- columns and everything -----------------------------------------------------------


def reductions(
    shapes: Sequence[tuple[int, int]] = (
        (1 << 20, 16),
        (16_384, 1_024),
        (512, 65_536),
    ),
    sizes: Sequence[int] = (1 << 20, 1 << 26),
) -> Iterator[Case]:
    """Sums of the columns of matrices, and of all that there is."""
    for name, dtype in available().items():
        for n, width in shapes:
            yield Case(
                f"sum of columns, {_count(n, width)}", name,
                lambda n=n, width=width, dtype=dtype: drawn(dtype, (n, width)),
                lambda tf, x: tf.reduce_sum(x, 0), lambda x: [x.sum(0)], 1,
                {
                    "cupy": lambda xp, x: x.sum(0),
                    "torch": lambda torch, x: x.sum(0),
                },
            )  # fmt: skip
        for n in sizes:
            yield Case(
                f"sum of everything, {_count(n)}", name,
                lambda n=n, dtype=dtype: drawn(dtype, (n,)),
                lambda tf, x: tf.reduce_sum(x), lambda x: [x.sum()], None,
                {
                    "cupy": lambda xp, x: x.sum(),
                    "torch": lambda torch, x: x.sum(),
                },
            )  # fmt: skip


# --- library calls with kernels of our own --------------------------------------------


def calls(
    n: int = 1 << 20,
    width: int = 64,
    scanned: tuple[int, int] = (4_096, 4_096),
    images: int = 32,
    side: int = 56,
    channels: int = 64,
) -> Iterator[Case]:
    """Gather, segments, scatter, scans, and convolutions."""
    few = max(n // 10, 1)
    float32 = np.dtype(np.float32)

    def with_ids(rows: int, places: int) -> Callable[[], Arrays]:
        def make() -> Arrays:
            ids = np.random.default_rng(8).integers(0, places, n).astype(np.int32)
            return [*drawn(float32, (rows, width)), ids]

        return make

    def added(rows: Any, ids: Any) -> Arrays:
        out = np.zeros((few, rows.shape[1]))
        np.add.at(out, ids.astype(np.int64), rows)
        return [out]

    def cupy_added(xp: Any, rows: Any, ids: Any) -> Any:
        import cupyx

        out = xp.zeros((few, width), rows.dtype)
        cupyx.scatter_add(out, ids, rows)
        return out

    def torch_added(torch: Any, rows: Any, ids: Any) -> Any:
        out = torch.zeros((few, width), dtype=rows.dtype, device=rows.device)
        return out.index_add_(0, ids, rows)

    yield Case(
        f"gather, {_count(n)} rows of {width}", "float32", with_ids(n, n),
        lambda tf, table, ids: tf.gather(table, ids),
        lambda table, ids: [table[ids.astype(np.int64)]], 1,
        {
            "cupy": lambda xp, table, ids: xp.take(table, ids, 0),
            "torch": lambda torch, table, ids: torch.index_select(table, 0, ids),
        },
    )  # fmt: skip
    rivals = {"cupy": cupy_added, "torch": torch_added}
    yield Case(
        f"segment sum, {_count(n)} rows of {width} into {few:,}", "float32",
        with_ids(n, few),
        lambda tf, rows, ids: tf.math.unsorted_segment_sum(rows, ids, few),
        added, 1, rivals,
    )  # fmt: skip
    yield Case(
        f"scatter_nd, {_count(n)} rows of {width} into {few:,}", "float32",
        with_ids(n, few),
        lambda tf, rows, ids: tf.scatter_nd(ids[:, None], rows, [few, width]),
        added, 1, rivals,
    )  # fmt: skip
    for axis in (0, 1):
        yield Case(
            f"cumsum along axis {axis}, {_count(*scanned)}", "float32",
            lambda: drawn(float32, scanned, low=0.0),
            lambda tf, x, axis=axis: tf.cumsum(x, axis),
            lambda x, axis=axis: [np.cumsum(x, axis)], 1 - axis,
            {
                "cupy": lambda xp, x, axis=axis: xp.cumsum(x, axis),
                "torch": lambda torch, x, axis=axis: torch.cumsum(x, axis),
            },
        )  # fmt: skip
    yield from _convolutions((images, side, side, channels))


def _convolutions(shape: tuple[int, int, int, int]) -> Iterator[Case]:
    n, height, width, channels = shape
    kernel, ones = (3, 3, channels, channels), [1, 1, 1, 1]
    text = f"{n} x {height} x {width} x {channels}, 3 x 3"

    def parts(x: Any) -> Iterator[tuple[int, int, Any]]:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        for i in range(3):
            for j in range(3):
                yield i, j, padded[:, i : i + height, j : j + width]

    def forward(x: Any, w: Any) -> Arrays:
        return [sum(part @ w[i, j] for i, j, part in parts(x))]

    def slopes(x: Any, w: Any, dy: Any) -> Arrays:
        dw = np.zeros(w.shape)
        for i, j, part in parts(x):
            dw[i, j] = np.tensordot(part, dy, ((0, 1, 2), (0, 1, 2)))
        dx = sum(part @ w[2 - i, 2 - j].T for i, j, part in parts(dy))
        return [dx, dw]

    def torch_forward(torch: Any, x: Any, w: Any) -> Any:
        # Channels last outside and inside: nothing is copied but the small filter.
        return torch.nn.functional.conv2d(
            x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1), padding=1
        )

    def torch_slopes(torch: Any, x: Any, w: Any, dy: Any) -> Any:
        return torch.ops.aten.convolution_backward(
            dy.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1),
            None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False],
        )  # fmt: skip

    def gradients(tf: Any, x: Any, w: Any, dy: Any) -> Any:
        return tf.gradients(tf.nn.conv2d(x, w, ones, "SAME"), [x, w], grad_ys=dy)

    float32 = np.dtype(np.float32)
    yield Case(
        f"convolution, {text}", "float32", lambda: drawn(float32, shape, kernel),
        lambda tf, x, w: tf.nn.conv2d(x, w, ones, "SAME"), forward, None,
        {"torch": torch_forward},
    )  # fmt: skip
    yield Case(
        f"both gradients of it, {text}", "float32",
        lambda: drawn(float32, shape, kernel, shape), gradients, slopes, None,
        {"torch": torch_slopes},
    )  # fmt: skip
