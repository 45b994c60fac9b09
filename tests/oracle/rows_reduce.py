"""Rows of reductions, scans, products of matrices, and linear algebra."""

from __future__ import annotations

from tests.oracle.draw import Drawing, Row, Skip, Value, kind

REDUCE = (
    "tf.reduce_sum", "tf.reduce_mean", "tf.reduce_max", "tf.reduce_min",
    "tf.reduce_prod", "tf.reduce_logsumexp", "tf.math.reduce_euclidean_norm",
    "tf.math.reduce_variance", "tf.math.reduce_std",
)  # fmt: skip
COMPLEX_REDUCE = ("tf.reduce_sum", "tf.reduce_mean", "tf.reduce_prod")
NORMS = (
    "tf.norm({a})", "tf.norm({a}, axis={i})", "tf.norm({a}, 1, axis={i})",
    "tf.norm({a}, np.inf, axis={i}, keepdims=True)", "tf.nn.l2_normalize({a}, {i})",
    "tf.nn.zero_fraction({a})", "tf.math.count_nonzero({a}, {i})",
    "tf.norm({a}, 3, axis={i})",
)  # fmt: skip


def _axes(d: Drawing, a: Value) -> str:
    """None, one axis or several; negative ones too."""
    if not a.rank or d.chance(0.2):
        return ""
    axes = [i for i in range(a.rank) if d.chance(0.5)]
    axes = [i - a.rank * d.chance(0.4) for i in axes]
    if len(axes) == 1 and d.chance(0.7):
        return f", {axes[0]}"
    return f", {axes}"


def _reduce(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "fc"]))
    names = COMPLEX_REDUCE if kind(a.dtype) == "c" else REDUCE
    keep = ", keepdims=True" if d.chance(0.3) else ""
    return f"{d.choose(names)}({a}{_axes(d, a)}{keep})"


def _norm(d: Drawing) -> tuple[str, int] | str:
    a = d.tensor(least=1)
    axis = d.below(a.rank, -a.rank)
    if d.chance(0.3):
        keep = ", keepdims=True" if d.chance(0.3) else ""
        return f"tf.nn.moments({a}, [{axis}]{keep})", 2
    return d.choose(NORMS).format(a=a, i=axis)


def _scan(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "fc"]), 1)
    names = ["tf.cumsum", "tf.cumprod", "tf.math.cumulative_logsumexp"]
    name = d.choose(names[: 2 + (kind(a.dtype) == "f")])
    more = ", exclusive=True" if d.chance(0.4) else ""
    more += ", reverse=True" if d.chance(0.4) else ""
    return f"{name}({a}, axis={d.below(a.rank, -a.rank)}{more})"


def _matmul(d: Drawing) -> str:
    a = d.tensor("fc", 2)
    batch = a.shape[:-2]
    if d.chance(0.3) and batch:
        batch = batch[d.below(len(batch) + 1) :]
        batch = tuple(1 if d.chance(0.3) else n for n in batch)
    flags = []
    inner, last = a.shape[-1], d.extent()
    if d.chance(0.3):
        flags.append(d.choose(["transpose_a=True", "adjoint_a=True"]))
        inner = a.shape[-2]
    shape = (inner, last)
    if d.chance(0.3):
        flags.append(d.choose(["transpose_b=True", "adjoint_b=True"]))
        shape = (last, inner)
    b = d.like(a, (*batch, *shape))
    if not flags and d.chance(0.3):
        return f"{a} @ {b}"
    return f"tf.matmul({', '.join([str(a), str(b), *flags])})"


def _product(d: Drawing) -> str:
    a = d.tensor("fc", 1, 3)
    how = d.below(4)
    if how == 0 and a.rank > 1:
        b = d.like(a, (*a.shape[:-2], a.shape[-1]))
        return f"tf.linalg.matvec({a}, {b})"
    if how == 1:
        b = d.like(a, (a.shape[-1], *d.shape(0, 2)))
        return f"tf.tensordot({a}, {b}, 1)"
    if how == 2:
        axis = d.below(a.rank)
        b = d.like(a, (d.extent(), a.shape[axis]))
        return f"tf.tensordot({a}, {b}, [[{axis}], [1]])"
    return _einsum(d)


def _einsum(d: Drawing) -> str:
    """Letters for the axes of a tensor or two; some kept, some summed."""
    a = d.tensor("fc", 1, 3)
    letters = "ijklmn"
    first = letters[: a.rank]
    sizes = dict(zip(first, a.shape))
    if d.chance(0.15) and a.rank > 1 and a.shape[0] == a.shape[1]:
        first = "i" + "i" + first[2:]
    operands = [first]
    names = [str(a)]
    for _ in range(d.choose([0, 1, 1, 1, 2])):
        word = "".join(c for c in dict.fromkeys(first) if d.chance(0.6))
        if d.chance(0.5):
            fresh = letters[len(sizes)]
            sizes[fresh] = d.extent()
            word += fresh
        if not word or len(sizes) > 5:
            raise Skip
        word = "".join(d.rng.sample(word, len(word)))
        operands.append(word)
        names.append(str(d.like(a, tuple(sizes[c] for c in word))))
    seen = list(dict.fromkeys("".join(operands)))
    d.rng.shuffle(seen)
    kept = "".join(c for c in seen if d.chance(0.6))
    arrow = "" if d.chance(0.15) else f"->{kept}"
    if d.chance(0.15):
        operands = [f"...{word}" for word in operands]
        arrow = f"->...{kept}" if arrow else arrow
    return f"tf.einsum('{','.join(operands)}{arrow}', {', '.join(names)})"


def _square_matrix(d: Drawing) -> Value:
    dtype = d.some_dtype(d.choose(["f", "fc"]))
    # Where infinities come out of a factorization depends on the kernel.
    if dtype in ("float16", "bfloat16") or d.style == "wild":
        raise Skip
    found = [
        v
        for v in d.values.values()
        if v.dtype == dtype and v.rank > 1 and v.shape[-1] == v.shape[-2] > 0
    ]
    if found and d.chance(0.6):
        return d.choose(found)
    n = d.below(4, 1)
    batch = (2,) if d.chance(0.3) else ()
    return d.input(*d.numbers(dtype, (*batch, n, n)))


def _linalg(d: Drawing) -> str:
    a = _square_matrix(d)
    n = a.shape[-1]
    b = d.like(a, (*a.shape[:-1], d.below(4, 1)))
    eye = f"tf.eye({n}, dtype=tf.{a.dtype})"
    # Well away from singular, and positive definite; eigenvalues apart.
    firm = f"{a} + 4 * {eye}"
    definite = f"tf.matmul({a}, {a}, adjoint_b=True) + {eye}"
    spread = f"tf.linalg.diag(tf.cast(tf.range({n}), tf.{a.dtype}) * 3)"
    hermitian = f"{a} + tf.linalg.adjoint({a}) + {spread}"
    tri = f"tf.linalg.cholesky({definite})"
    rows = [
        f"tf.linalg.inv({firm})", f"tf.linalg.det({firm})",
        f"tf.linalg.logdet({definite})", f"tf.linalg.slogdet({firm})[1]",
        f"tf.linalg.cholesky({definite})",
        f"tf.linalg.solve({firm}, {b})", f"tf.linalg.solve({firm}, {b}, adjoint=True)",
        f"tf.linalg.triangular_solve({firm}, {b})", f"tf.cholesky_solve({tri}, {b})",
        f"tf.linalg.triangular_solve({firm}, {b}, lower=False, adjoint=True)",
        f"tf.linalg.eigvalsh({hermitian})", f"tf.linalg.expm({a} * 0.3)",
        f"tf.svd({firm}, compute_uv=False)", f"tf.abs(tf.linalg.qr({firm})[1])",
        f"tf.abs(tf.linalg.eigh({hermitian})[1])",
        f"tf.linalg.inv({firm}, adjoint=True)",
        f"tf.abs(tf.svd({firm} + {spread})[1])", f"tf.linalg.trace({a})",
    ]  # fmt: skip
    return d.choose(rows)


def _fourier(d: Drawing) -> str:
    a = d.tensor("c", 1, 3, lambda v: v.array.size > 0)
    if d.chance(0.6):
        deep = min(a.rank, 3)
        name = d.choose(
            ["fft", "ifft", "fft2d", "ifft2d", "fft3d", "ifft3d"][: 2 * deep]
        )
        return f"tf.signal.{name}({a})"
    b = d.tensor("f", 1, 3, lambda v: v.array.size > 0)
    if b.dtype not in ("float32", "float64"):
        raise Skip
    if d.chance(0.5):
        return f"tf.signal.rfft({b}{d.choose(['', ', [4]', ', [3]'])})"
    if a.shape[-1] == 1:  # of length 0, which aborts TensorFlow
        raise Skip
    return f"tf.signal.irfft({a}{d.choose(['', ', [4]', ', [5]'])})"


ROWS: list[tuple[float, Row]] = [
    (14, _reduce), (4, _norm), (5, _scan), (8, _matmul), (6, _product), (6, _linalg),
    (1.5, _fourier),
]  # fmt: skip
