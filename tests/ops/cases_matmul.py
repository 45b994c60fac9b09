"""Gradient rows of matmul.py and einsum.py."""

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case


def size(*shape):
    return (shape, -2, 2)


def product(**turns):
    return lambda a, b: tf.matmul(a, b, **turns)


def unknown(function, shape):
    """``function`` of tensors whose rank is not known while building."""

    def build(*xs):
        y = function(*[tf.placeholder_with_default(x, None) for x in xs])
        y.set_shape(shape)
        return y

    return build


EQUATIONS = (
    ("ij,jk->ik", size(2, 3), size(3, 4)),
    ("ij,jk->ki", size(2, 3), size(3, 4)),
    ("bij,bkj->bik", size(2, 3, 4), size(2, 2, 4)),
    ("i,j->ij", size(3), size(4)),
    ("i,i->", size(4), size(4)),
    ("ij->ji", size(2, 3)),
    ("ij->j", size(2, 3)),
    ("ijk->j", size(2, 3, 2)),
    ("ii->", size(3, 3)),
    ("ii->i", size(3, 3)),
    ("iij->ji", size(3, 3, 2)),
    ("iij,jk->k", size(3, 3, 2), size(2, 2)),
    ("ij,kl->il", size(2, 3), size(2, 4)),
    ("ij,jk->k", size(2, 3), size(3, 4)),
    ("abc,cd,bd->ad", size(2, 3, 4), size(4, 2), size(3, 2)),
    ("...ij,...jk->...ik", size(2, 1, 2, 3), size(3, 3, 2)),
    ("...ij,jk", size(5, 2, 3), size(3, 4)),
    ("i...->...", size(3, 2, 2)),
    ("i...j,jk->...k", size(3, 2, 4), size(4, 2)),
    ("k...i,i...->...", size(2, 3, 4), size(4, 1)),
    ("...ii->...", size(2, 3, 3)),
)

CASES = [
    *(
        Case(
            "MatMul",
            product(transpose_a=ta, transpose_b=tb),
            [size(4, 3) if ta else size(3, 4), size(2, 4) if tb else size(4, 2)],
            label=f"{ta} {tb}",
        )
        for ta in (False, True)
        for tb in (False, True)
    ),
    *(
        Case(
            "MatMul",
            product(adjoint_a=ta, transpose_b=tb),
            [size(4, 3) if ta else size(3, 4), size(2, 4) if tb else size(4, 2)],
            dtype="complex128",
            label=f"complex {ta} {tb}",
        )
        for ta in (False, True)
        for tb in (False, True)
    ),
    *(
        Case(
            "BatchMatMulV2",
            product(adjoint_a=ta, adjoint_b=tb),
            [
                size(2, 4, 3) if ta else size(2, 3, 4),
                size(2, 2, 4) if tb else size(2, 4, 2),
            ],
            dtype=dtype,
            label=f"{dtype} {ta} {tb}",
        )
        for ta in (False, True)
        for tb in (False, True)
        for dtype in ("float64", "complex128")
    ),
    Case("BatchMatMulV2", product(), [size(3, 1, 2, 2), size(4, 2, 3)], label="spread"),
    Case("BatchMatMulV2", product(), [size(3, 2, 4), size(4, 2)], label="by a matrix"),
    Case(
        "BatchMatMulV2",
        unknown(tf.matmul, (3, 2, 2)),
        [size(3, 2, 4), size(4, 2)],
        label="unknown rank",
    ),
    Case(
        "BatchMatMulV2", tf.linalg.matvec, [size(2, 3, 4), size(2, 4)], label="matvec"
    ),
    Case(
        "MatMul",
        lambda a, b: tf.tensordot(a, b, [[0, 2], [1, 0]]),
        [size(2, 3, 4), size(4, 2, 5)],
        label="tensordot",
    ),
    *(
        Case("Einsum", lambda *xs, e=e: tf.einsum(e, *xs), list(sizes), label=e)
        for e, *sizes in EQUATIONS
    ),
    Case(
        "Einsum",
        lambda a, b: tf.einsum("iij,jk->ki", a, b),
        [size(3, 3, 2), size(2, 2)],
        dtype="complex128",
        label="complex",
    ),
    Case(
        "Einsum",
        unknown(lambda a, b: tf.einsum("...ij,...jk->...k", a, b), (3, 2)),
        [size(3, 2, 4), size(4, 2)],
        label="unknown rank",
    ),
]
