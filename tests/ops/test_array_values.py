"""Values of the array ops, against NumPy, with every degree of static knowledge."""

from __future__ import annotations

import types

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.ops import segment
from gpugrad.ops.scatter_rows import UFUNCS, combine

X = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
M = np.arange(12, dtype=np.float32).reshape(3, 4)
IDS = np.array([2, -1, 2], np.int32)

# How much is known while building: the value's shape, its rank, or nothing.
KNOWN = {"static": tuple, "rank": lambda shape: (None,) * len(shape), "nothing": None}


def enter(value, known, feed):
    """A placeholder for ``value`` that knows as much of its shape as ``known`` says."""
    of = KNOWN[known]
    tensor = tf.placeholder(value.dtype, None if of is None else of(value.shape))
    feed[tensor] = value
    return tensor


def run(build, *arrays, known="static"):
    """The values of what ``build`` makes of placeholders for ``arrays``."""
    feed = {}
    with tf.Graph().as_default():
        result = build(*[enter(a, known, feed) for a in arrays])
        with tf.Session() as session:
            return session.run(result, feed), result


KEYS = [
    0, -1, slice(1, None), slice(None, None, -1), slice(None, None, 2), slice(-2, None),
    (Ellipsis, 0), (0, Ellipsis), (None, 0), (slice(None), None, 1), (Ellipsis, None),
    (0, 1, 2), slice(0, 0), slice(5, 1, -1), slice(-100, 100), Ellipsis, None,
    (slice(None), slice(1, 100, 3)), (slice(-1, -3, -1), 0, Ellipsis, -1),
    (slice(2, 0, -1), slice(None), slice(None, None, -2)),
    (slice(None, None, -1), Ellipsis, None, slice(3, 0, -2)), np.int64(1), np.array(2),
]  # fmt: skip


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_getitem(key, known):
    got, tensor = run(lambda x: x[key], X, known=known)
    np.testing.assert_array_equal(got, X[key])
    assert tensor.shape.is_compatible_with(X[key].shape)
    if known == "static":
        assert tensor.shape == X[key].shape


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_gradient_of_getitem(key, known):
    got, _ = run(lambda x: tf.gradients(x[key] * x[key], x)[0], X, known=known)
    want = np.zeros_like(X)
    want[key] = 2 * X[key]
    np.testing.assert_array_equal(got, want)


def test_indices_that_are_tensors():
    start, index = np.int32(1), np.int64(2)
    got, tensor = run(lambda x, i, j: x[i:, j], X, start, index)
    np.testing.assert_array_equal(got, X[1:, 2])
    assert tensor.shape.as_list() == [None, 5]


def test_a_mask_as_index():
    got, _ = run(lambda x: x[M > 5], M)
    np.testing.assert_array_equal(got, M[M > 5])


# name: (how to build it from one tensor, the same on a NumPy array)
SAME_AS_NUMPY = {
    "reshape": (lambda x: tf.reshape(x, [4, -1]), lambda x: x.reshape(4, -1)),
    "flatten": (lambda x: tf.reshape(x, [-1]), np.ravel),
    "transpose": (tf.transpose, np.transpose),
    "permute": (lambda x: tf.transpose(x, [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    "matrix_transpose": (tf.matrix_transpose, lambda x: x.swapaxes(1, 2)),
    "expand_dims": (lambda x: tf.expand_dims(x, -2), lambda x: np.expand_dims(x, -2)),
    "squeeze": (lambda x: tf.squeeze(x[:1]), lambda x: x[0]),
    "tile": (lambda x: tf.tile(x, [2, 1, 3]), lambda x: np.tile(x, [2, 1, 3])),
    "tile nothing": (lambda x: tf.tile(x, [2, 0, 1]), lambda x: x[:, :0].repeat(2, 0)),
    "broadcast_to": (
        lambda x: tf.broadcast_to(x, [2, 3, 4, 5]),
        lambda x: np.broadcast_to(x, [2, 3, 4, 5]),
    ),
    "concat": (lambda x: tf.concat([x, x[:, :0], x], 1), lambda x: np.hstack([x, x])),
    "stack": (lambda x: tf.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
    "slice": (lambda x: tf.slice(x, [0, 1, 2], [-1, 2, 3]), lambda x: x[:, 1:3, 2:]),
    "reverse": (lambda x: tf.reverse(x, [0, -1]), lambda x: x[::-1, :, ::-1]),
    "roll": (
        lambda x: tf.roll(x, [1, -7], [0, 2]),
        lambda x: np.roll(x, [1, -7], [0, 2]),
    ),
    "pad": (
        lambda x: tf.pad(x, [[1, 0], [0, 2], [0, 0]], constant_values=7),
        lambda x: np.pad(x, [[1, 0], [0, 2], [0, 0]], constant_values=7),
    ),
    "reflect": (
        lambda x: tf.pad(x, [[1, 2], [0, 3], [4, 0]], "REFLECT"),
        lambda x: np.pad(x, [[1, 2], [0, 3], [4, 0]], "reflect"),
    ),
    "symmetric": (
        lambda x: tf.pad(x, [[3, 0], [4, 1], [0, 0]], "symmetric"),
        lambda x: np.pad(x, [[3, 0], [4, 1], [0, 0]], "symmetric"),
    ),
    "gather": (lambda x: tf.gather(x, [[2, 0]]), lambda x: x[[[2, 0]]]),
    "gather axis": (
        lambda x: tf.gather(x, [2, 0, 2], axis=-1),
        lambda x: x[..., [2, 0, 2]],
    ),
    "gather one": (lambda x: tf.gather(x, 1, axis=1), lambda x: x[:, 1]),
    "gather batch": (
        lambda x: tf.gather(x, np.array([[0], [3], [1]]), axis=1, batch_dims=1),
        lambda x: x[np.arange(3)[:, None], [[0], [3], [1]]],
    ),
    "gather_nd": (
        lambda x: tf.gather_nd(x, [[0, 1], [2, 3]]),
        lambda x: x[[0, 2], [1, 3]],
    ),
    "gather_nd all": (
        lambda x: tf.gather_nd(x, [[1, 2, 3]]),
        lambda x: x[[1], [2], [3]],
    ),
    "where": (lambda x: tf.where(x > 50), lambda x: np.argwhere(x > 50)),
    "boolean_mask": (
        lambda x: tf.boolean_mask(x, [True, False, True, True], axis=1),
        lambda x: x[:, [0, 2, 3]],
    ),
    "diag_part": (tf.matrix_diag_part, lambda x: np.diagonal(x, 0, 1, 2)),
    "band_part": (lambda x: tf.matrix_band_part(x, -1, 0), np.tril),
    "top_k": (lambda x: tf.nn.top_k(x, 2)[0], lambda x: x[..., :-3:-1]),
    "zeros_like": (tf.zeros_like, np.zeros_like),
    "ones_like": (
        lambda x: tf.ones_like(x, tf.int32),
        lambda x: np.ones_like(x, np.int32),
    ),
    "shape": (tf.shape, lambda x: np.array(x.shape, np.int32)),
    "size": (tf.size, lambda x: np.int32(x.size)),
    "rank": (tf.rank, lambda x: np.int32(x.ndim)),
    "repeat": (lambda x: tf.repeat(x, 2), lambda x: np.repeat(x, 2)),
}


@pytest.mark.parametrize("known", KNOWN)
@pytest.mark.parametrize("name", SAME_AS_NUMPY)
def test_same_as_numpy(name, known):
    build, expected = SAME_AS_NUMPY[name]
    got, tensor = run(build, X, known=known)
    want = np.asarray(expected(X))
    np.testing.assert_array_equal(got, want)
    assert got.dtype == tensor.dtype.np_dtype
    if want.dtype != np.int64 or name == "where":
        assert got.dtype == want.dtype
    assert tensor.shape.is_compatible_with(want.shape)


# name: (how to build it from tensors, the arrays, the values)
VALUES = {
    "split": (lambda x: tf.split(x, 2, 1), [M], np.split(M, 2, 1)),
    "split sizes": (
        lambda x: tf.split(x, [1, -1, 0], 1), [M], [M[:, :1], M[:, 1:], M[:, 4:]],
    ),
    "unstack": (tf.unstack, [M], list(M)),
    "meshgrid": (tf.meshgrid, [M[0], M[:, 0]], np.meshgrid(M[0], M[:, 0])),
    "segment_sum": (
        lambda x, i: tf.segment_sum(x, i),
        [M, np.array([0, 0, 2], np.int32)],
        np.stack([M[0] + M[1], 0 * M[0], M[2]]),
    ),
    "segment_max": (
        lambda x, i: tf.segment_max(x, i),
        [M - 20, np.array([0, 0, 2], np.int32)],
        np.stack([M[1] - 20, 0 * M[0], M[2] - 20]),
    ),
    "reshape of nothing": (
        lambda x: [tf.reshape(x, [-1, 0]), tf.reshape(x, [0, -1, 2])],
        [np.zeros([2, 0, 3])],
        [np.zeros([6, 0]), np.zeros([0, 3, 2])],
    ),
    "segment_max of infinities": (
        lambda x: tf.segment_max(x, [1, 1]),
        [np.full([2, 1], -np.inf)],
        np.array([[0.0], [-np.inf]]),
    ),
    "segment_mean": (
        lambda x: tf.segment_mean(x, [0, 0, 1]),
        [M],
        np.stack([(M[0] + M[1]) / 2, M[2]]),
    ),
    "unsorted_segment_sum": (
        lambda x, i: tf.unsorted_segment_sum(x, i, 4),
        [M, IDS],
        np.stack([0 * M[0], 0 * M[0], M[0] + M[2], 0 * M[0]]),
    ),
    "unsorted_segment_prod": (
        lambda x, i: tf.unsorted_segment_prod(x, i, 3),
        [M, IDS],
        np.stack([1 + 0 * M[0], 1 + 0 * M[0], M[0] * M[2]]),
    ),
    "unsorted_segment_min": (
        lambda x, i: tf.unsorted_segment_min(x, i, 3),
        [M, IDS],
        np.stack([np.full(4, np.finfo("f").max)] * 2 + [M[0]]),
    ),
    "dynamic_partition": (
        lambda x, i: tf.dynamic_partition(x, i, 3),
        [M, np.array([1, 0, 1], np.int32)],
        [M[[1]], M[[0, 2]], M[:0]],
    ),
    "dynamic_stitch": (
        lambda x, i: tf.dynamic_stitch([i, [3, 0]], [x, x[:2]]),
        [M, np.array([0, 2, 1], np.int32)],
        np.stack([M[1], M[2], M[1], M[0]]),
    ),
    "scatter_nd": (
        lambda x: tf.scatter_nd([[1], [3], [1]], x, [4, 4]),
        [M],
        np.stack([0 * M[0], M[0] + M[2], 0 * M[0], M[1]]),
    ),
    "tensor_scatter_update": (
        lambda x: tf.tensor_scatter_update(x, [[0, 1]], [9.0]),
        [M],
        np.concatenate([[0, 9], M.ravel()[2:]]).reshape(3, 4),
    ),
    "unique": (
        lambda x: tuple(tf.unique(x)),
        [np.array([3, 1, 3, 2, 1])],
        (np.array([3, 1, 2]), np.array([0, 1, 0, 2, 1])),
    ),
    "setdiff1d": (
        lambda x: tuple(tf.setdiff1d(x, [2, 4])),
        [np.array([1, 2, 3, 4], np.int32)],
        (np.array([1, 3]), np.array([0, 2])),
    ),
    "one_hot": (
        lambda i: tf.one_hot(i, 3, 5, 7, axis=0),
        [np.array([2, -1, 0])],
        np.array([[7, 7, 5], [7, 7, 7], [5, 7, 7]]),
    ),
    "sequence_mask": (
        lambda n: tf.sequence_mask(n, dtype=tf.int32),
        [np.array([1, 3, 0])],
        np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0]]),
    ),
    "reverse_sequence": (
        lambda x, n: tf.reverse_sequence(x, n, seq_axis=1, batch_axis=0),
        [M, np.array([1, 4, 2])],
        np.stack([M[0], M[1, ::-1], M[2, [1, 0, 2, 3]]]),
    ),
    "range": (tf.range, [np.int32(4)], np.arange(4)),
    "matrix_diag": (
        tf.matrix_diag, [M[:2]], np.stack([np.diag(M[0]), np.diag(M[1])]),
    ),
    "diagonals": (
        lambda x: tf.matrix_diag_part(x, k=(-1, 1), padding_value=-1),
        [M[:, :3]],
        np.array([[-1, 1, 6], [0, 5, 10], [4, 9, -1]]),
    ),
    "set_diag": (
        lambda x: tf.matrix_set_diag(x, x[:, 0]),
        [M],
        np.array([[0, 1, 2, 3], [4, 4, 6, 7], [8, 9, 8, 11]]),
    ),
    "diag": (tf.diag, [M[0]], np.diag(M[0])),
    "sort": (lambda x: tf.sort(x, axis=0), [-M], -M[::-1]),
    "argsort": (
        lambda x: tf.argsort(x, direction="DESCENDING"),
        [np.array([1, 3, 1, 3])],
        np.array([1, 3, 0, 2]),
    ),
    "space_to_depth": (
        lambda x: tf.depth_to_space(tf.space_to_depth(x, 2), 2),
        [M.reshape(1, 2, 6, 1)],
        M.reshape(1, 2, 6, 1),
    ),
    "space_to_batch": (
        lambda x: tf.batch_to_space_nd(
            tf.space_to_batch_nd(x, [2, 3], [[1, 0], [0, 2]]), [2, 3], [[1, 0], [0, 2]]
        ),
        [M.reshape(1, 3, 4, 1)],
        M.reshape(1, 3, 4, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("known", ["static", "rank"])
@pytest.mark.parametrize("name", VALUES)
def test_values(name, known):
    build, arrays, want = VALUES[name]
    if name == "unstack" and known == "rank":
        build = lambda x: tf.unstack(x, num=3)  # noqa: E731 (one case of the table)
    got, _ = run(build, *arrays, known=known)
    several = isinstance(want, (list, tuple))
    for g, w in zip(got, want) if several else [(got, want)]:
        np.testing.assert_array_equal(g, w)


def test_generators():
    with tf.Graph().as_default(), tf.Session() as session:
        got = session.run({
            "up": tf.range(2, 9, 3), "down": tf.range(5, 0, -2),
            "floats": tf.range(0.0, 1.0, 0.25), "long": tf.range(np.int64(3)),
            "line": tf.linspace(0.0, 1.0, 5), "one": tf.linspace(3.0, 4.0, 1),
            "eye": tf.eye(2, 3, [2]), "fill": tf.fill([2, 0], 7),
            "tail": tf.constant([1, 2], shape=[4]), "text": tf.zeros([2], tf.string),
            "large": tf.ones([2000]),
        })  # fmt: skip
    np.testing.assert_array_equal(got["up"], [2, 5, 8])
    np.testing.assert_array_equal(got["down"], [5, 3, 1])
    np.testing.assert_allclose(got["floats"], [0, 0.25, 0.5, 0.75])
    assert got["long"].dtype == np.int64
    np.testing.assert_allclose(got["line"], np.linspace(0, 1, 5))
    np.testing.assert_allclose(got["one"], [3])
    np.testing.assert_array_equal(got["eye"], np.stack([np.eye(2, 3)] * 2))
    assert got["fill"].shape == (2, 0)
    np.testing.assert_array_equal(got["tail"], [1, 2, 2, 2])
    assert got["text"].tolist() == [b"", b""]
    assert got["large"].sum() == 2000


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "complex64"])
def test_sums_of_rows_in_every_dtype(dtype):
    rows = np.full((3000, 2), 1, dtype)
    got, _ = run(lambda x: tf.unsorted_segment_sum(x, np.arange(3000) % 2, 2), rows)
    np.testing.assert_array_equal(got, np.full((2, 2), 1500, dtype))


def test_halves_are_added_up_in_float32():
    rows = np.full((4000, 1), 1, np.float16)
    got, _ = run(lambda x: tf.unsorted_segment_sum(x, np.zeros(4000, int), 1), rows)
    assert got == np.float16(4000)  # one by one it would end at 2048


@pytest.mark.parametrize("kind", ["sum", "mean", "prod", "max", "min"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "int64", "int16", "complex64"])
def test_the_way_of_a_gpu_gives_the_same_segments(dtype, kind):
    """Without looks at the values, on NumPy under another name."""
    if dtype == "complex64" and kind in ("max", "min"):
        pytest.skip("complex numbers have no order")
    elsewhere = types.SimpleNamespace(**vars(np))
    elsewhere.__name__ = "elsewhere"
    rows = np.random.default_rng(0).integers(1, 4, (7, 3)).astype(dtype)
    ids = np.array([2, -1, 2, 0, 5, 0, 2])
    start = {"prod": 1, "min": 100}.get(kind, 0)
    here, there = np.empty((4, 3), dtype), np.empty((4, 3), dtype)
    segment._segments(np, [here], rows[ids < 4], ids[ids < 4], kind, start)
    segment._segments(elsewhere, [there], rows, ids, kind, start)
    np.testing.assert_array_equal(here, there)


def test_a_constant_keeps_its_value():
    array = np.zeros(2, np.float32)
    with tf.Graph().as_default(), tf.Session() as session:
        tensor = tf.constant(array)
        array[:] = 5
        np.testing.assert_array_equal(session.run(tensor), [0, 0])


# --- ops that run on the host ---------------------------------------------------------


def test_a_length_that_depends_on_data_in_the_midst_of_a_run():
    def build(x):
        return tf.reduce_sum(tf.boolean_mask(x * 2, x > 3) ** 2)

    for known in KNOWN:
        got, _ = run(
            lambda x: build(x) if x.shape.ndims else tf.zeros([]), M, known=known
        )
        if known != "nothing":
            assert got == ((M[M > 3] * 2) ** 2).sum()


def test_a_mask_that_is_constant_needs_no_host():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [3, 4])
        y = tf.boolean_mask(x, [True, False, True])
        session.run(y, {x: M})
        (plan,) = [p.plan for p in session._prepared.values()]
        (stage,) = plan._stages.values()
        assert stage.stop == len(plan.schedule.items)


def test_the_same_plan_for_other_data():
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None])
        y = tf.boolean_mask(x, x > 0)
        for value in ([1, -1, 2], [-1, -1, -1], [5]):
            want = [v for v in value if v > 0]
            np.testing.assert_array_equal(session.run(y, {x: value}), want)


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("many", [3, 60, 5000])
def test_rows_that_meet_are_combined(kind: str, many: int) -> None:
    """Long rows go whole where few indices come again: not one of those is lost."""
    rng = np.random.default_rng(many)
    for count, width in ((300, 40), (300, 8), (3000, 64), (4, 64), (1, 5000)):
        index = rng.integers(0, many, count).astype(np.int32)
        rows = 1 + rng.random((count, width))
        table = 1 + rng.random((many, width))
        wanted = table.copy()
        getattr(np, UFUNCS[kind]).at(wanted, index, rows)
        combine(np, table, kind, index, rows)
        np.testing.assert_allclose(table, wanted, rtol=1e-12)
