"""Least squares, roots, logarithms and factors of matrices, against NumPy."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from tests.ops.running import built, value

RNG = np.random.default_rng(5)
TALL, WIDE = RNG.normal(size=(2, 5, 3)), RNG.normal(size=(2, 3, 5))
SQUARE = RNG.normal(size=(2, 4, 4))
POSITIVE = SQUARE @ SQUARE.transpose(0, 2, 1) + np.eye(4)
COMPLEX = POSITIVE + 0.3j * RNG.normal(size=(2, 4, 4))
LOW = np.concatenate([TALL[..., :2], TALL[..., 1:2]], axis=-1)  # of rank 2
L = tf.linalg


def close(found, wanted, rtol=1e-10):
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("a", [TALL, WIDE], ids=["tall", "wide"])
@pytest.mark.parametrize("fast", [True, False])
def test_lstsq(a, fast):
    right = RNG.normal(size=(2, a.shape[1], 2))
    found = value(lambda a, b: L.lstsq(a, b, fast=fast), a, right)
    close(found, [np.linalg.lstsq(m, b)[0] for m, b in zip(a, right)])


def test_lstsq_with_a_regularizer():
    right = RNG.normal(size=(2, 5, 2))
    found = value(lambda a, b: tf.matrix_solve_ls(a, b, 0.7), TALL, right)
    stacked = np.concatenate(
        [TALL, np.sqrt(0.7) * np.broadcast_to(np.eye(3), (2, 3, 3))], 1
    )
    longer = np.concatenate([right, np.zeros([2, 3, 2])], 1)
    close(found, [np.linalg.lstsq(m, b)[0] for m, b in zip(stacked, longer)])


def test_lstsq_of_a_deficient_rank():
    right = RNG.normal(size=(2, 5, 2))
    found = value(lambda a, b: L.lstsq(a, b, fast=False), LOW, right)
    close(found, [np.linalg.lstsq(m, b, rcond=1e-12)[0] for m, b in zip(LOW, right)])
    with tf.Graph().as_default():
        a = tf.constant(TALL)
        with pytest.raises(ValueError, match="not defined for fast=False"):
            tf.gradients(L.lstsq(a, right, fast=False), a)


def test_pinv_and_rank():
    for a in (TALL, WIDE, LOW, TALL + 1j * TALL[::-1]):
        close(value(L.pinv, a), np.linalg.pinv(a, rcond=1e-13))
        rank = value(L.matrix_rank, a)
        assert rank.dtype == np.int32
        np.testing.assert_array_equal(rank, np.linalg.matrix_rank(a))
    assert value(lambda a: L.matrix_rank(a, tol=100.0), TALL).tolist() == [0, 0]
    assert not value(lambda a: L.pinv(a, rcond=1.0), TALL).any()


def test_normalize():
    unit, size = (
        value(lambda t, k=k: L.normalize(t, axis=-1)[k], TALL) for k in (0, 1)
    )
    close(size, np.linalg.norm(TALL, axis=-1, keepdims=True))
    close(unit * size, TALL)


@pytest.mark.parametrize(
    "a", [POSITIVE, COMPLEX, np.eye(3)], ids=["real", "complex", "1"]
)
def test_square_root(a):
    root = value(L.sqrtm, a)
    close(root @ root, a)
    assert (np.linalg.eigvals(root).real > 0).all()
    single = value(tf.matrix_square_root, a.astype("F" if a.dtype.kind == "c" else "f"))
    close(single, root, 1e-4)


def test_logarithm():
    found = value(L.logm, COMPLEX)
    close(value(L.expm, found), COMPLEX)
    assert (np.abs(np.linalg.eigvals(found).imag) < np.pi).all()
    turn = np.array([[0.0, -1], [1, 0]], complex)  # a quarter turn
    close(value(L.logm, turn), turn * np.pi / 2)
    close(value(L.logm, np.diag([1e-8, 1.0, 1e8]) + 0j).diagonal().real,
          np.log([1e-8, 1, 1e8]), 1e-8)  # fmt: skip


@pytest.mark.parametrize(
    "a", [SQUARE, COMPLEX, SQUARE[0]], ids=["real", "complex", "one"]
)
def test_lu(a):
    right = RNG.normal(size=(*a.shape[:-1], 3)).astype(a.dtype)
    lu, p = (value(lambda t, k=k: L.lu(t)[k], a) for k in (0, 1))
    assert p.dtype == np.int32
    lower = np.tril(lu, -1) + np.eye(4)
    close(lower @ np.triu(lu), np.take_along_axis(a, p[..., None], -2))
    assert (np.abs(lower) <= 1).all()
    close(value(L.lu_reconstruct, lu, p), a)
    close(value(L.lu_solve, lu, p, right), np.linalg.solve(a, right), 1e-9)
    close(value(L.lu_matrix_inverse, lu, p), np.linalg.inv(a), 1e-9)


def refused(function, a):
    with pytest.raises(tf.errors.InvalidArgumentError):
        value(function, a)


def test_singular():
    zeros = np.zeros([2, 3, 3])
    refused(L.lu, zeros)
    refused(L.sqrtm, zeros)
    refused(L.logm, zeros + 0j)
    refused(lambda a: L.lstsq(a, a), zeros)


def test_no_gradient():
    with tf.Graph().as_default():
        a = tf.constant(COMPLEX)
        for y in (L.lu(a)[0], L.logm(a)):
            with pytest.raises(LookupError):
                tf.gradients(y, a, grad_ys=[y])


def test_built_shapes():
    assert built(L.lstsq, [None, 5, 3], [2, 5, None]).shape.as_list() == [2, 3, None]
    assert built(lambda a: L.lu(a)[1], [None, 4, None]).shape.as_list() == [None, 4]
    with pytest.raises(TypeError, match="complex64"):
        built(L.logm, [3, 3])
