"""Matrix products and einsum: values, edges, graphs, errors."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.ops.cases_matmul import EQUATIONS
from tests.ops.running import built, gradient_ops, value, value_and_gradients

RNG = np.random.default_rng(5)


def draw(*shape, dtype=np.float64):
    x = RNG.normal(size=shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * RNG.normal(size=shape)
    return x.astype(dtype)


SHAPES = [
    ((2, 3), (3, 4)),
    ((0, 4), (4, 2)),
    ((3, 0), (0, 2)),
    ((2, 0, 4), (2, 4, 3)),
    ((2, 1, 3, 0), (5, 0, 2)),
    ((2, 1, 2, 3), (4, 3, 2)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_values_agree_with_numpy(left, right):
    a, b = draw(*left), draw(*right)
    for shapes in (None, [(None,) * a.ndim, (None,) * b.ndim], [None, None]):
        got = value(tf.matmul, a, b, shapes=shapes)
        np.testing.assert_allclose(got, a @ b, rtol=1e-12)
    y, (da, db) = value_and_gradients(tf.matmul, a, b)
    assert (da.shape, db.shape) == (left, right)
    ones = np.ones(y.shape)
    wide = ones @ np.swapaxes(b, -1, -2)
    np.testing.assert_allclose(da, fold(wide, left), rtol=1e-12)


def fold(x, shape):
    """Summed down to a shape that broadcasts to it."""
    x = x.sum(tuple(range(x.ndim - len(shape))))
    kept = tuple(i for i, n in enumerate(shape) if n == 1 != x.shape[i])
    return x.sum(kept, keepdims=True)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("turn", ["transpose", "adjoint"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_turned_operands(batch, turn, dtype):
    a, b = draw(*batch, 3, 2, dtype=dtype), draw(*batch, 4, 3, dtype=dtype)
    got = value(
        lambda x, y: tf.matmul(x, y, **{f"{turn}_a": True, f"{turn}_b": True}), a, b
    )
    x, y = np.swapaxes(a, -1, -2), np.swapaxes(b, -1, -2)
    if turn == "adjoint":
        x, y = x.conj(), y.conj()
    np.testing.assert_allclose(got, x @ y)


def test_half_accumulates_in_float32():
    a = np.full((1, 3000), 0.1, np.float16)
    got = value(lambda x: tf.matmul(x, x, transpose_b=True), a)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, [[float(a[0, 0]) ** 2 * 3000]], rtol=1e-3)


def test_integers_and_output_type():
    a = np.array([[100, 100]], np.int8)
    got = value(lambda x: tf.matmul(x, x, transpose_b=True, output_type=tf.int32), a)
    assert got.dtype == np.int32
    assert got.tolist() == [[20000]]


def test_operands_that_are_views_and_python_values():
    a = draw(4, 6)
    got = value(lambda x: tf.matmul(x[::2, ::-2], tf.transpose(x)[::2]), a)
    np.testing.assert_allclose(got, a[::2, ::-2] @ a.T[::2])
    got = value(lambda x: tf.matmul(x, [[1, 2.5]] * 6), a)
    np.testing.assert_allclose(got, a @ np.array([[1, 2.5]] * 6))
    got = value(lambda x: np.ones((2, 4)) @ x, a)
    np.testing.assert_allclose(got, np.ones((2, 4)) @ a)


@pytest.mark.parametrize(("equation", "sizes"), [(e, s) for e, *s in EQUATIONS])
def test_einsum_agrees_with_numpy(equation, sizes):
    arrays = [draw(*shape) for shape, _, _ in sizes]
    wanted = np.einsum(equation, *arrays)
    for shapes in (None, [None] * len(arrays)):
        got = value(lambda *xs: tf.einsum(equation, *xs), *arrays, shapes=shapes)
        np.testing.assert_allclose(got, wanted, rtol=1e-12)
    np.testing.assert_allclose(
        value(lambda *xs: np.einsum(equation, *xs), *arrays), wanted, rtol=1e-12
    )


def test_einsum_without_an_arrow_and_with_blanks():
    a, b = draw(2, 3), draw(3, 4)
    np.testing.assert_allclose(
        value(lambda x, y: tf.einsum("ij , jk", x, y), a, b), a @ b
    )
    np.testing.assert_allclose(value(lambda x: tf.einsum("ba", x), a), a.T)


def test_einsum_takes_the_cheap_pair_first():
    with tf.Graph().as_default() as graph:
        a, b, c = (tf.zeros(s) for s in ((1000, 2), (2, 1000), (1000, 3)))
        y = tf.einsum("ij,jk,kl->il", a, b, c)
        ops = [op for op in graph.get_operations() if op.type == "Einsum"]
        assert [op.name for op in ops] == ["einsum/Einsum", "einsum/Einsum_1"]
        assert ops[0].outputs[0].shape.as_list() in ([2, 3], [3, 2])
        assert y.shape.as_list() == [1000, 3]


NUMPY = [
    (np.matmul, (2, 3), (3, 4)),
    (np.dot, (3,), (3,)),
    (np.dot, (2, 3), (3,)),
    (np.dot, (2, 3), (3, 4)),
    (np.dot, (2, 2, 3), (4, 3, 2)),
    (np.dot, (), (3, 2)),
    (np.inner, (2, 3), (4, 3)),
    (np.outer, (2,), (3,)),
    (np.vdot, (2, 3), (2, 3)),
    (np.tensordot, (2, 3, 4), (3, 4, 2)),
    (lambda a, b: np.tensordot(a, b, [[0, 2], [1, 0]]), (2, 3, 4), (4, 2, 5)),
    (lambda a, b: np.tensordot(a, b, 0), (2,), (3,)),
    (lambda a, b: a @ b, (2, 3), (3, 4)),
]


@pytest.mark.parametrize(("function", "left", "right"), NUMPY)
def test_numpy_functions(function, left, right):
    a, b = draw(*left), draw(*right)
    np.testing.assert_allclose(value(function, a, b), function(a, b), rtol=1e-12)


def test_trace_and_matvec():
    a, v = draw(2, 3, 3), draw(2, 3)
    np.testing.assert_allclose(value(np.trace, a[0]), np.trace(a[0]))
    np.testing.assert_allclose(
        value(tf.linalg.matvec, a, v), np.einsum("bij,bj->bi", a, v)
    )


@pytest.mark.parametrize("axes", [1, [[2], [0]], [2, 0]])
def test_tensordot_of_unknown_sizes(axes):
    a, b = draw(2, 3, 4), draw(4, 5)
    for shapes in ([(None, None, 4), (4, None)], [(None, 3, None), (None, 5)]):
        got = value(lambda x, y: tf.tensordot(x, y, axes), a, b, shapes=shapes)
        np.testing.assert_allclose(got, np.tensordot(a, b, axes), rtol=1e-12)
    result = built(lambda x, y: tf.tensordot(x, y, axes), (None, 3, 4), (4, None))
    assert result.shape.as_list() == [None, 3, None]


# --- graphs and errors ----------------------------------------------------------------

GRAPHS = [
    ("matmul", tf.matmul, [(2, 3), (3, 4)], "MatMul MatMul_1", ["MatMul", "MatMul_1"]),
    ("batch", tf.matmul, [(5, 2, 3), (5, 3, 4)],
     "MatMul:BatchMatMulV2 MatMul_1:BatchMatMulV2", ["MatMul", "MatMul_1"]),
    ("spread", tf.matmul, [(3, 1, 2, 2), (4, 2, 2)],
     "MatMul:BatchMatMulV2 MatMul_1:BatchMatMulV2 strided_slice:StridedSlice "
     "strided_slice_1:StridedSlice BroadcastGradientArgs Sum Reshape Sum_1 Reshape_1",
     ["Reshape", "Reshape_1"]),
    ("einsum", lambda x, y: tf.einsum("ij,jk->ik", x, y), [(2, 3), (3, 4)],
     "Einsum Einsum_1", ["Einsum", "Einsum_1"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("_", "function", "shapes", "ops", "results"), GRAPHS, ids=[g[0] for g in GRAPHS]
)
def test_gradient_graphs(_, function, shapes, ops, results):
    assert gradient_ops(function, *shapes) == (ops.split(), results)


def test_names_and_types():
    plain = built(tf.matmul, (2, 3), (3, 4))
    assert (plain.op.name, plain.op.type) == ("MatMul", "MatMul")
    operator = built(lambda a, b: a @ b, (5, 2, 3), (3, 4))
    assert (operator.op.name, operator.op.type) == ("matmul", "BatchMatMulV2")
    vague = built(tf.matmul, None, (3, 4))
    assert (vague.op.type, vague.shape.rank) == ("BatchMatMulV2", None)
    named = built(lambda a: tf.matmul(a, [[1.0], [2.0]], name="y"), (3, 2))
    assert [t.name for t in named.op.inputs] == ["Placeholder:0", "y/b:0"]
    assert built(tf.matmul, (None, 3), (3, None)).shape.as_list() == [None, None]


ERRORS = [
    (tf.matmul, [(2, 3), (2, 3)], ValueError, "must be equal, but are 3 and 2"),
    (tf.matmul, [(4, 2, 3), (5, 3, 3)], ValueError, "must be equal, but are 4 and 5"),
    (tf.matmul, [(3,), (3, 3)], ValueError, "rank 2 but is rank 1"),
    (lambda a, b: tf.matmul(a, b, transpose_a=True, adjoint_a=True),
     [(3, 3), (3, 3)], ValueError, "Only one of `transpose_a`"),
    (lambda a: tf.matmul(a > 0, a > 0), [(3, 3)], TypeError, "DataType bool"),
    (lambda a, b: tf.einsum("ij,jk->ik", a, b), [(2, 3), (4, 5)], ValueError,
     "must be equal, but are 3 and 4"),
    (lambda a, b: tf.einsum("ij,jk->iq", a, b), [(2, 3), (3, 5)], ValueError,
     "label q not present"),
    (lambda a, b: tf.einsum("ij->i", a, b), [(2, 3), (3, 5)], ValueError, "Got 2"),
    (lambda a: tf.einsum("ijk->i", a), [(2, 3)], ValueError, "rank 3 but is rank 2"),
    (lambda a: tf.einsum("i1->i", a), [(2, 3)], ValueError, "incorrect format"),
    (lambda a: tf.einsum("i->ii", a), [(2,)], ValueError, "more than once"),
    (lambda a: tf.einsum("...i->i", a), [(2, 3)], ValueError, "lack the ellipsis"),
    (lambda a: tf.einsum(3, a), [(2,)], TypeError, "must be a string"),
    (lambda a, b: tf.tensordot(a, b, 3), [(2, 3), (3, 2)], ValueError, "larger"),
    (lambda a, b: tf.tensordot(a, b, [[1, 0], [0]]), [(2, 3), (3, 2)], ValueError,
     "Different number"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "shapes", "error", "text"), ERRORS)
def test_errors_while_building(function, shapes, error, text):
    with pytest.raises(error, match=text):
        built(function, *shapes)


def test_a_mismatch_found_while_running_names_the_node():
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="size-incompatible.*MatMul"
    ):
        value(tf.matmul, draw(2, 3), draw(2, 3), shapes=[None, None])
