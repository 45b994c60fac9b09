"""Gradient rows of linalg.py, factor.py and matrix.py.

Bases that factorizations may choose freely are compared as they come: a small step
does not change the choice.
"""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case


def size(*shape):
    return (shape, -1, 1)


def regular(function):
    """``function`` of a matrix that is far from singular."""
    return lambda a, *rest: function(a + 3 * eye(a), *rest)


def hermitian(function):
    return lambda a, *rest: function(a + tf.linalg.adjoint(a), *rest)


def positive(function):
    return lambda a, *rest: function(
        tf.matmul(a, a, adjoint_b=True) + 2 * eye(a), *rest
    )


def spread(function):
    """``function`` of a matrix whose singular values are well apart."""

    def build(a):
        n = min(a.shape.as_list()[-2:])
        diagonal = tf.cast(tf.range(n) * 2 + 1, a.dtype)
        spot = tf.zeros_like(a)
        batch = tf.zeros([*a.shape.as_list()[:-2], 1], a.dtype)
        return function(a / 2 + tf.matrix_set_diag(spot, diagonal + batch))

    return build


def eye(a):
    return tf.eye(tf.shape(a)[-1], dtype=a.dtype)


def rebuilt(a):
    """A function of a complex matrix that no choice of phases changes."""
    s, u, v = tf.svd(a)
    return tf.matmul(u * tf.cast(tf.sin(s), a.dtype), v, adjoint_b=True)


def eigen(a):
    e, v = tf.self_adjoint_eig(a)
    return tf.matmul(v * tf.exp(0.3 * e)[..., None, :], v, adjoint_b=True)


def complex_qr(a):
    q, r = tf.qr(a)
    return tf.matmul(tf.square(tf.abs(q)), tf.square(tf.abs(r)))


PLAIN = (
    Case("MatrixInverse", regular(tf.matrix_inverse), [size(3, 3)]),
    Case("MatrixInverse", regular(tf.matrix_inverse), [size(2, 2, 2)]),
    Case(
        "MatrixInverse",
        regular(lambda a: tf.matrix_inverse(a, adjoint=True)),
        [size(3, 3)],
        label="adjoint",
    ),
    Case("MatrixDeterminant", regular(tf.matrix_determinant), [size(3, 3)]),
    Case("MatrixDeterminant", tf.matrix_determinant, [size(2, 3, 2, 2)]),
    Case(
        "LogMatrixDeterminant",
        regular(lambda a: tf.linalg.slogdet(a)[1]),
        [size(2, 3, 3)],
    ),
    Case("Cholesky", positive(tf.cholesky), [size(3, 3)]),
    Case("Cholesky", positive(tf.linalg.logdet), [size(2, 2, 2)], label="logdet"),
    Case("MatrixSolve", regular(tf.matrix_solve), [size(3, 3), size(3, 2)]),
    Case(
        "MatrixSolve",
        regular(lambda a, b: tf.matrix_solve(a, b, adjoint=True)),
        [size(2, 3, 3), size(2, 3, 1)],
        label="adjoint",
    ),
    Case(
        "MatrixTriangularSolve",
        regular(lambda a, b: tf.cholesky_solve(a, b)),
        [size(3, 3), size(2, 3, 2)],
        label="cholesky_solve",
    ),
    Case("SelfAdjointEigV2", hermitian(tf.self_adjoint_eigvals), [size(3, 3)]),
    Case(
        "SelfAdjointEigV2", hermitian(eigen), [size(2, 3, 3)], label="vectors_squared"
    ),
    Case("SelfAdjointEigV2", tf.self_adjoint_eig, [size(3, 3)], label="vectors"),
    Case("Svd", spread(lambda a: tf.svd(a, compute_uv=False)), [size(2, 3, 2)]),
    Case(
        "Svd",
        spread(lambda a: tf.norm(a, 2, axis=(-2, -1))),
        [size(2, 3, 3)],
        label="norm",
    ),
    Case("Qr", regular(tf.qr), [size(3, 3)], label="square"),
    Case("Qr", tf.qr, [size(2, 4, 2)], label="tall"),
    Case("Qr", tf.qr, [size(2, 4)], label="wide"),
    Case("Cross", tf.cross, [size(2, 3), size(2, 3)]),
    Case("MatrixExponential", tf.linalg.expm, [size(3, 3)]),
    Case(
        "MatrixExponential",
        lambda a: tf.linalg.expm(6 * a),
        [size(2, 2, 2)],
        label="squared",
    ),
    Case("Sum", tf.trace, [size(2, 3, 2)], label="trace"),
)

TRIANGULAR = [
    Case(
        "MatrixTriangularSolve",
        regular(
            lambda a, b, lower=lower, adjoint=adjoint: tf.matrix_triangular_solve(
                a, b, lower, adjoint
            )
        ),
        [size(2, 3, 3), size(3, 2)],
        label=f"{'lower' if lower else 'upper'}{'_adjoint' * adjoint}",
    )
    for lower in (True, False)
    for adjoint in (True, False)
]

SVD = [
    Case(
        "Svd",
        spread(lambda a, full=full: tf.svd(a, full_matrices=full)),
        [size(*shape)],
        label="full" if full else "",
    )
    for shape in ((3, 3), (2, 4, 3), (2, 3), (4, 2))
    for full in (False, True)
    if not full or abs(shape[-1] - shape[-2]) < 2
]

COMPLEX = [
    Case(op, build, inputs, dtype="complex128", label="complex")
    for op, build, inputs in (
        ("MatrixInverse", regular(tf.matrix_inverse), [size(3, 3)]),
        ("MatrixDeterminant", regular(tf.matrix_determinant), [size(3, 3)]),
        ("Cholesky", positive(tf.cholesky), [size(3, 3)]),
        ("MatrixSolve", regular(tf.matrix_solve), [size(3, 3), size(3, 2)]),
        (
            "MatrixTriangularSolve",
            regular(lambda a, b: tf.matrix_triangular_solve(a, b, adjoint=True)),
            [size(3, 3), size(3, 2)],
        ),
        (
            "SelfAdjointEigV2",
            hermitian(lambda a: tf.real(tf.self_adjoint_eigvals(a))),
            [size(3, 3)],
        ),
        ("SelfAdjointEigV2", hermitian(eigen), [size(3, 3)]),
        ("Svd", spread(rebuilt), [size(3, 2)]),
        ("Qr", complex_qr, [size(3, 2)]),
        ("MatrixExponential", tf.linalg.expm, [size(3, 3)]),
    )
]

CASES = [
    *PLAIN,
    *TRIANGULAR,
    *SVD,
    *COMPLEX,
    *(
        Case("MatrixSolveLs", solve, [(shape, -1, 1), (right, -1, 1)], label=label)
        for label, shape, right in (
            ("tall", (2, 5, 3), (2, 5, 2)),
            ("wide", (3, 4), (3, 2)),
            ("square", (3, 3), (3, 1)),
        )
        for solve in (
            tf.linalg.lstsq,
            lambda a, b: tf.linalg.lstsq(a, b, l2_regularizer=0.5),
        )
    ),
    Case(
        "MatrixSolveLs",
        lambda a, b: tf.linalg.lstsq(a, b, l2_regularizer=0.5),
        [((4, 3), -1, 1), ((4, 2), -1, 1)],
        dtype="complex128",
        label="complex",
    ),
    Case("Svd", tf.linalg.pinv, [((4, 3), -1, 1)], label="pinv"),
    Case(
        "MatrixSquareRoot",
        lambda a: tf.linalg.sqrtm(a + 4 * np.eye(3)),
        [((2, 3, 3), -1, 1)],
    ),
    Case(
        "MatrixSquareRoot",
        lambda a: tf.linalg.sqrtm(a + 4 * np.eye(3)),
        [((3, 3), -1, 1)],
        dtype="complex128",
        label="complex",
    ),
]
