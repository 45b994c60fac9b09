"""Values, edges and errors of linalg.py, factor.py, matrix.py and fft.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad import errors

DTYPES = ("float16", "float32", "float64", "complex64", "complex128")
TOLERANCE = {"float16": 2e-2, "float32": 1e-4, "complex64": 1e-4}


def run(build: Callable[..., Any], *values: Any) -> Any:
    with tf.Graph().as_default() as graph:
        fetches = build(*[tf.constant(v) for v in values])
        with tf.Session(graph=graph) as session:
            return session.run(fetches)


def matrices(*shape: int, dtype: str = "float64") -> np.ndarray:
    rng = np.random.default_rng(3)
    a = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        a = a + 1j * rng.standard_normal(shape)
    return (a + 3 * np.eye(*shape[-2:])).astype(dtype)


def product_with_inverse(a: Any, spd: Any, b: Any) -> Any:
    return tf.matmul(tf.matrix_inverse(a), tf.matmul(a, b)), b


def solved(a: Any, spd: Any, b: Any) -> Any:
    return tf.matmul(a, tf.matrix_solve(a, b)), b


def squared_factor(a: Any, spd: Any, b: Any) -> Any:
    factor = tf.cholesky(spd)
    return tf.matmul(factor, factor, adjoint_b=True), spd


def solved_by_factor(a: Any, spd: Any, b: Any) -> Any:
    return tf.matmul(spd, tf.cholesky_solve(tf.cholesky(spd), b)), b


def of_singular_values(a: Any, spd: Any, b: Any) -> Any:
    s, u, v = tf.svd(a)
    s = tf.cast(s, a.dtype)[..., None, :]
    return tf.matmul(u * s, v, adjoint_b=True), a


def of_eigenvalues(a: Any, spd: Any, b: Any) -> Any:
    e, v = tf.self_adjoint_eig(spd)
    return tf.matmul(v * e[..., None, :], v, adjoint_b=True), spd


def of_q_and_r(a: Any, spd: Any, b: Any) -> Any:
    return tf.matmul(*tf.qr(a)), a


def of_sign_and_log(a: Any, spd: Any, b: Any) -> Any:
    sign, log = tf.linalg.slogdet(a)
    return sign * tf.exp(log), tf.matrix_determinant(a)


IDENTITIES = (
    product_with_inverse, solved, squared_factor, solved_by_factor, of_singular_values,
    of_eigenvalues, of_q_and_r, of_sign_and_log,
)  # fmt: skip


@pytest.mark.parametrize("identity", IDENTITIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_identities_in_every_dtype(identity: Callable[..., Any], dtype: str) -> None:
    a = matrices(2, 3, 3, dtype=dtype)
    spd = (a @ np.conj(np.swapaxes(a, -1, -2)) / 4).astype(dtype)
    left, right = run(identity, a, spd, np.ones((2, 3, 2), dtype))
    assert left.dtype == dtype
    tolerance = TOLERANCE.get(dtype, 1e-12)
    np.testing.assert_allclose(left, right, tolerance, 10 * tolerance)


SINGULAR = np.ones((2, 2))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (tf.matrix_inverse, "Input is not invertible"),
        (lambda a: tf.matrix_solve(a, a), "Input matrix is not invertible"),
        (lambda a: tf.matrix_triangular_solve(a - 1, a), "not invertible"),
        (lambda a: tf.cholesky(a - 2), "Cholesky decomposition was not successful"),
        (lambda a: tf.gradients(tf.matrix_determinant(a), a), "not invertible"),
        (lambda a: tf.self_adjoint_eig(a / 0), "was not successful"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_what_has_no_answer(build: Callable[..., Any], text: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=text):
        run(build, SINGULAR)


def test_a_singular_matrix_has_a_determinant() -> None:
    assert run(tf.matrix_determinant, SINGULAR) == 0
    assert tuple(run(tf.linalg.slogdet, SINGULAR)) == (0, -np.inf)


def test_nan_goes_through_svd() -> None:
    a = np.stack([np.full((2, 2), np.nan), np.eye(2)])
    s, u, v = run(tf.svd, a)
    assert np.isnan(s[0]).all() and np.isnan(u[0]).all() and np.isnan(v[0]).all()
    np.testing.assert_array_equal(s[1], [1, 1])


@pytest.mark.parametrize(
    "build",
    [
        tf.matrix_inverse,
        tf.cholesky,
        tf.linalg.expm,
        tf.self_adjoint_eig,
        tf.svd,
        tf.qr,
        lambda a: tf.matrix_solve(a, a),
        lambda a: tf.matrix_triangular_solve(a, a),
    ],
)
@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 2, 2)])
def test_empty(build: Callable[..., Any], shape: tuple[int, ...]) -> None:
    results = run(build, np.zeros(shape))
    for result in results if isinstance(results, tuple) else (results,):
        assert result.size == 0


def test_empty_determinants() -> None:
    empty = np.zeros((2, 0, 0))
    np.testing.assert_array_equal(run(tf.matrix_determinant, empty), [1, 1])
    np.testing.assert_array_equal(run(tf.linalg.logdet, empty), [0, 0])


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_full_bases_of_nothing(shape: tuple[int, int]) -> None:
    _, u, v = run(lambda a: tf.svd(a, full_matrices=True), np.zeros(shape))
    np.testing.assert_array_equal(u, np.eye(shape[0]))
    np.testing.assert_array_equal(v, np.eye(shape[1]))
    q, r = run(lambda a: tf.qr(a, full_matrices=True), np.zeros(shape))
    np.testing.assert_array_equal(q, np.eye(shape[0]))
    assert r.shape == shape


@pytest.mark.parametrize(
    ("build", "values"),
    [
        (tf.matrix_inverse, [np.ones((2, 3))]),
        (tf.matrix_inverse, [np.ones(3)]),
        (tf.cholesky, [np.ones((2, 3))]),
        (tf.matrix_solve, [np.ones((3, 2, 2)), np.ones((2, 2))]),
        (tf.matrix_solve, [np.ones((2, 2)), np.ones((3, 2))]),
        (tf.matrix_triangular_solve, [np.ones((2, 2)), np.ones((3, 2))]),
        (tf.cross, [np.ones((3, 2)), np.ones((3, 2))]),
        (tf.svd, [np.ones(3)]),
        (tf.qr, [np.ones(3)]),
        (tf.signal.rfft2d, [np.ones(3)]),
    ],
)
def test_wrong_shapes(build: Callable[..., Any], values: list[np.ndarray]) -> None:
    with tf.Graph().as_default(), pytest.raises(ValueError):
        build(*[tf.constant(v) for v in values])
    with tf.Graph().as_default() as graph:
        xs = [tf.placeholder(v.dtype, None) for v in values]
        y = build(*xs)
        with (
            tf.Session(graph=graph) as session,
            pytest.raises((ValueError, tf.errors.OpError)),
        ):
            session.run(y, dict(zip(xs, values)))


@pytest.mark.parametrize("build", [tf.matrix_inverse, tf.svd, tf.qr])
def test_wrong_dtypes(build: Callable[..., Any]) -> None:
    with tf.Graph().as_default(), pytest.raises(TypeError, match="int32"):
        build(tf.constant(np.ones((2, 2), np.int32)))


def test_only_the_lower_triangle_of_a_hermitian_matrix_is_read() -> None:
    a, b = np.array([[2.0, 9], [1, 3]]), np.array([[2.0, 1], [1, 3]])
    for build in (tf.cholesky, tf.self_adjoint_eig):
        for got, wanted in zip(run(build, a), run(build, b)):
            np.testing.assert_array_equal(got, wanted)


def test_the_gradient_of_eigenvalues_stands_in_the_lower_triangle() -> None:
    (grad,) = run(
        lambda a: tf.gradients(tf.self_adjoint_eigvals(a), a, tf.constant([1.0, 2.0])),
        np.array([[2.0, 1], [1, 3]], np.float32),
    )
    np.testing.assert_allclose(grad, [[1.276, 0], [0.894, 1.724]], atol=1e-3)


def test_equal_eigenvalues_have_a_gradient() -> None:
    (grad,) = run(lambda a: tf.gradients(tf.self_adjoint_eig(a)[1], a), np.eye(3))
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda a: tf.svd(a, full_matrices=True), "full_matrices is True"),
        (lambda a: tf.qr(a, full_matrices=True), "nrows > ncols"),
        (lambda a: tf.qr(tf.placeholder_with_default(a, [None, None])), "dynamic"),
    ],
)
def test_factors_without_a_gradient(build: Callable[..., Any], text: str) -> None:
    with tf.Graph().as_default():
        a = tf.constant(np.ones((4, 2)))
        with pytest.raises(NotImplementedError, match=text):
            tf.gradients(list(build(a)), a)


def test_exponentials() -> None:
    turn = np.array([[0, -1.0], [1, 0]])
    angles = np.array([0.001, 0.5, 3, 40])[:, None, None]
    got = run(tf.linalg.expm, angles * turn)
    wanted = np.cos(angles) * np.eye(2) + np.sin(angles) * turn
    np.testing.assert_allclose(got, wanted, atol=1e-13)
    both = run(tf.linalg.expm, np.stack([np.full((2, 2), np.inf), 0 * turn]))
    assert np.isnan(both[0]).all()
    np.testing.assert_allclose(both[1], np.eye(2), atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("lower", [True, False])
def test_triangular_solve(n: int, lower: bool) -> None:
    a = matrices(n, n) + n * np.eye(n)
    triangle = np.tril(a) if lower else np.triu(a)
    b = np.random.default_rng(0).standard_normal((3, n, 2))
    got = run(lambda a, b: tf.matrix_triangular_solve(a, b, lower), a, b)
    np.testing.assert_allclose(triangle @ got, b, atol=1e-12)


TRANSFORMS = (
    ("fft", "fft", (2, 5)), ("ifft", "ifft", (2, 5)), ("fft2d", "fft2", (3, 4)),
    ("ifft2d", "ifft2", (3, 4)), ("fft3d", "fftn", (2, 3, 4)),
    ("ifft3d", "ifftn", (2, 3, 4)), ("irfft", "irfft", (2, 5)),
    ("irfft2d", "irfft2", (3, 4)), ("irfft3d", "irfftn", (2, 3, 4)),
)  # fmt: skip


@pytest.mark.parametrize(("ours", "numpys", "shape"), TRANSFORMS)
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_transforms(ours: str, numpys: str, shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    got = run(getattr(tf.signal, ours), x)
    wanted = getattr(np.fft, numpys)(x)
    assert got.dtype == (
        wanted.real.astype(x.real.dtype).dtype if "r" in ours else dtype
    )
    np.testing.assert_allclose(got, wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("length", [None, [3], [4], [9]])
def test_lengths_of_real_transforms(length: list[int] | None) -> None:
    x = np.random.default_rng(2).standard_normal((2, 6))
    n = length[0] if length else None
    spectrum = run(lambda x: tf.signal.rfft(x, length), x)
    np.testing.assert_allclose(spectrum, np.fft.rfft(x, n), atol=1e-12)
    back = run(lambda x: tf.signal.irfft(x, length), spectrum)
    np.testing.assert_allclose(back, np.fft.irfft(spectrum, n), atol=1e-12)


def test_names() -> None:
    with tf.Graph().as_default():
        a = tf.constant(np.eye(3), name="a")
        names = {
            "MatrixInverse": tf.matrix_inverse(a),
            "logdet/mul": tf.linalg.logdet(a),
            "cholesky_solve/MatrixTriangularSolve_1": tf.cholesky_solve(a, a),
            "triangular_solve/MatrixTriangularSolve": tf.matrix_triangular_solve(a, a),
            "SelfAdjointEigV2": tf.self_adjoint_eigvals(a),
            "Svd": tf.svd(a, compute_uv=False),
            "Trace": tf.trace(a),
            "adjoint/matrix_transpose/transpose": tf.linalg.adjoint(a),
            "rfft": tf.signal.rfft(a),
        }
        assert list(names) == [tensor.op.name for tensor in names.values()]


def test_names_of_both_flavours() -> None:
    assert gg.linalg.inv is tf.linalg.inv
    assert gg.signal.rfft is tf.spectral.rfft


def test_numpy_functions() -> None:
    a = matrices(3, 3)
    spd = a @ a.T
    for function, value in (
        (np.linalg.inv, a), (np.linalg.det, a), (np.linalg.cholesky, spd),
        (np.linalg.eigvalsh, spd),
    ):  # fmt: skip
        np.testing.assert_allclose(run(function, value), function(value), 1e-9)
    np.testing.assert_allclose(
        run(np.cross, np.eye(3), np.ones(3)), np.cross(np.eye(3), np.ones(3))
    )
