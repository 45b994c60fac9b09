"""Rows that move elements about: shapes, slices, joins, gathers, scatters, segments."""

from __future__ import annotations

from tests.oracle.draw import Drawing, Row, Skip, Value

# What these rows take: mostly floats, seldom something without a gradient.
MOST = (
    "f", "f", "fc", "fc", "fc", "i", "b",
)  # fmt: skip


def _any(d: Drawing, least: int = 0, most: int = 4, empty: bool = True) -> Value:
    return d.tensor(d.choose(MOST), least, most, lambda v: empty or v.array.size > 0)


def _axis(d: Drawing, a: Value) -> int:
    return d.below(a.rank, -a.rank)


def _factors(d: Drawing, size: int) -> list[int]:
    """A shape of that many elements."""
    shape = []
    for factor in (2, 3, 5, 7):
        while size and size % factor == 0:
            size //= factor
            shape.append(factor)
    while len(shape) > 1 and d.chance(0.6):
        shape.append(shape.pop(0) * shape.pop(0))
    if d.chance(0.3):
        shape.insert(d.below(len(shape) + 1), 1)
    return shape


def _reshape(d: Drawing) -> str:
    a = _any(d)
    if d.chance(0.25):
        other = d.tensor(suits=lambda v: v.array.size == a.array.size)
        return f"tf.reshape({a}, tf.shape({other}))"
    shape = _factors(d, a.array.size) if a.array.size else [0, d.extent()]
    if shape and a.array.size and d.chance(0.4):
        shape[d.below(len(shape))] = -1
    return f"tf.reshape({a}, {shape})"


def _layout(d: Drawing) -> str:
    a = _any(d)
    if d.chance(0.5):
        order = list(range(a.rank))
        d.rng.shuffle(order)
        perm = f", {order}" if d.chance(0.7) else ""
        if d.chance(0.15):
            perm += ", conjugate=True"
            perm = perm if perm.startswith(", [") else ", conjugate=True"
        return f"tf.transpose({a}{perm})"
    if d.chance(0.4):
        return f"tf.expand_dims({a}, {d.below(a.rank + 1, -a.rank - 1)})"
    ones = [i for i, n in enumerate(a.shape) if n == 1]
    if ones and d.chance(0.7):
        axis = d.choose(ones)
        return f"tf.squeeze({a}, [{axis - a.rank * d.chance(0.3)}])"
    if a.rank < 2:
        return f"tf.squeeze({a})"
    return d.choose(
        ["tf.squeeze({a})", "tf.matrix_transpose({a})", "tf.linalg.adjoint({a})"]
    ).format(a=a)


def _join(d: Drawing) -> str:
    a = _any(d)
    count = d.below(4, 1)
    if a.rank and d.chance(0.6):
        axis = _axis(d, a)
        parts = [a]
        for _ in range(count - 1):
            shape = list(a.shape)
            shape[axis] = d.extent() if d.chance(0.5) else shape[axis]
            parts.append(d.like(a, tuple(shape)))
        d.rng.shuffle(parts)
        return f"tf.concat([{', '.join(map(str, parts))}], {axis})"
    parts = [a, *(d.like(a) for _ in range(count - 1))]
    if d.chance(0.1):
        return f"tf.convert_to_tensor([{', '.join(map(str, parts))}])"
    axis = d.below(a.rank + 1, -a.rank - 1)
    return f"tf.stack([{', '.join(map(str, parts))}], {axis})"


def _part(d: Drawing) -> tuple[str, int] | str:
    a = _any(d, 1)
    axis = _axis(d, a)
    extent = a.shape[axis]
    if not extent or extent > 6:
        raise Skip
    if d.chance(0.4):
        if extent == 1:
            return f"tf.unstack({a}, axis={axis})[0]"
        return f"tf.unstack({a}, axis={axis})", extent
    if d.chance(0.5) and extent > 1:
        even = [n for n in range(2, extent + 1) if extent % n == 0]
        count = d.choose(even)
        return f"tf.split({a}, {count}, {axis})", count
    first = d.below(extent + 1)
    return f"tf.split({a}, [{first}, {extent - first}], {axis})", 2


def _index(d: Drawing) -> str:
    """Python's square brackets, all kinds of entries."""
    a = _any(d, 1)
    entries: list[str] = []
    left = a.rank
    cut = d.below(left + 1) if d.chance(0.4) else None
    for i, extent in enumerate(a.shape):
        if i == cut:
            entries.append("...")
            if d.chance(0.3):
                break
        if d.chance(0.12):
            entries.append("tf.newaxis")
        if d.chance(0.25) and extent:
            entries.append(str(d.below(extent, -extent)))
            continue
        low = "" if d.chance(0.4) else str(d.below(extent + 2, -extent - 1))
        high = "" if d.chance(0.4) else str(d.below(extent + 2, -extent - 1))
        step = d.choose(["", "", ":1", ":2", ":-1", ":-2"])
        entries.append(f"{low}:{high}{step}")
        if d.chance(0.15) and cut is None:
            break
    return f"{a}[{', '.join(entries)}]"


def _strided(d: Drawing) -> str:
    a = _any(d, 1, 3)
    begin = [d.below(n + 1, -n) if n else 0 for n in a.shape]
    end = [d.below(n + 2, -n - 1) for n in a.shape]
    step = [d.choose([1, 1, 2, -1, -2]) for _ in a.shape]
    masks = {
        name: d.below(2**a.rank)
        for name in ("begin_mask", "end_mask", "shrink_axis_mask", "new_axis_mask")
        if d.chance(0.4)
    }
    if d.chance(0.3):
        masks["ellipsis_mask"] = 1 << d.below(a.rank)
    more = "".join(f", {name}={value}" for name, value in masks.items())
    return f"tf.strided_slice({a}, {begin}, {end}, {step}{more})"


def _slice(d: Drawing) -> str:
    a = _any(d, 1)
    begin = [d.below(n + 1) for n in a.shape]
    size = [d.below(n - b + 1) if d.chance(0.7) else -1 for n, b in zip(a.shape, begin)]
    return f"tf.slice({a}, {begin}, {size})"


def _repeat(d: Drawing) -> str:
    a = _any(d)
    how = d.below(4)
    if how == 0:
        return f"tf.tile({a}, {[d.choose([0, 1, 1, 2, 3]) for _ in a.shape]})"
    if how == 1:
        more = [d.below(4, 1) for _ in range(d.below(3))]
        shape = [d.extent() if n == 1 else n for n in a.shape]
        return f"tf.broadcast_to({a}, {more + shape})"
    if how == 2 and a.rank:
        axis = _axis(d, a)
        times = [d.below(3) for _ in range(a.shape[axis])]
        return f"tf.repeat({a}, {times if d.chance(0.6) else 2}, axis={axis})"
    if a.array.size != 1 or a.rank:
        raise Skip
    return f"tf.fill({list(d.shape(0, 2))}, {a})"


def _pad(d: Drawing) -> str:
    a = _any(d, 1, 3)
    mode = d.choose(["CONSTANT", "CONSTANT", "REFLECT", "SYMMETRIC"])
    room = 3 if mode == "CONSTANT" else 2
    pads = [[d.below(room), d.below(room)] for _ in a.shape]
    more = ", constant_values=2" if mode == "CONSTANT" and d.chance(0.3) else ""
    return f"tf.pad({a}, {pads}, '{mode}'{more})"


def _turn(d: Drawing) -> str:
    a = _any(d, 1)
    axes = sorted({d.below(a.rank) for _ in range(d.below(3, 1))})
    if d.chance(0.4):
        return f"tf.reverse({a}, {[i - a.rank * d.chance(0.4) for i in axes]})"
    if d.chance(0.6):
        shifts = [d.below(5, -4) for _ in axes]
        return f"tf.roll({a}, {shifts}, {axes})"
    if a.rank < 2:
        raise Skip
    lengths = [d.below(a.shape[1] + 1) for _ in range(a.shape[0])]
    return f"tf.reverse_sequence({a}, {lengths}, seq_axis=1, batch_axis=0)"


def _indices(d: Drawing, limit: int, shape: tuple[int, ...]) -> str:
    """Row numbers below ``limit``: a literal, or an integer tensor."""
    if not limit:
        raise Skip
    if not shape or 0 in shape or d.chance(0.6):
        count = 1
        for n in shape:
            count *= n
        flat = [d.below(limit) for _ in range(count)]
        if not shape:
            return str(flat[0])
        text = f"np.array({flat}, '{d.choose(['int32', 'int64'])}')"
        return text if len(shape) == 1 else f"{text}.reshape({shape})"
    a = d.tensor(
        "i", suits=lambda v: v.dtype in ("int32", "int64") and v.shape == shape
    )
    return f"tf.floormod({a}, {limit})"


def _gather(d: Drawing) -> str:
    a = _any(d, 1, 3)
    how = d.below(5)
    if how < 3:
        shape = d.shape(0, 2)
        if how == 0:
            return f"tf.gather({a}, {_indices(d, a.shape[0], shape)})"
        axis = _axis(d, a)
        return f"tf.gather({a}, {_indices(d, a.shape[axis], shape)}, axis={axis})"
    if how == 3:
        if a.rank < 2:
            raise Skip
        rows = _indices(d, a.shape[1], (a.shape[0], *d.shape(0, 1)))
        axis = d.choose([", axis=1", "", f", axis={1 - a.rank}"])
        return f"tf.gather({a}, {rows}{axis}, batch_dims=1)"
    depth = d.below(a.rank + 1, 1)
    least = min(a.shape[:depth])
    rows = _indices(d, least, (*d.shape(0, 2), depth))
    return f"tf.gather_nd({a}, {rows})"


def _lookup(d: Drawing) -> str:
    """Rows of a variable: its gradient is IndexedSlices."""
    shape = (d.below(6, 2), *d.shape(0, 2))
    found = [
        d.values[i.name]
        for i in d.inputs
        if i.kind == "variable" and i.extents and i.extents[0]
    ]
    dtype = d.some_dtype("f")
    a = d.choose(found) if found and d.chance(0.6) else None
    a = a or d.input(*d.numbers(dtype, shape), kinds=["variable"])
    rows = _indices(d, a.shape[0], d.shape(1, 2))
    if d.chance(0.4):
        norm = ", max_norm=1.0" if a.rank == 2 and d.chance(0.4) else ""
        return f"tf.nn.embedding_lookup({a}, {rows}{norm})"
    how = d.choose(["{a}", "{a}", "tf.identity({a})", "-{a}", "{a} + {a}"])
    return f"tf.gather({how.format(a=a)}, {rows})"


def _scatter(d: Drawing) -> str:
    a = _any(d, 1, 3)
    if a.dtype == "bool" or not a.shape[0]:
        raise Skip
    depth = d.below(min(a.rank, 2) + 1, 1)
    outer = d.shape(1, 1)
    rows = _indices(d, min(a.shape[:depth]), (*outer, depth))
    updates = d.like(a, (*outer, *a.shape[depth:]))
    how = d.choose(["nd", "add", "add", "sub", "update", "max", "min"])
    if how == "nd":
        return f"tf.scatter_nd({rows}, {updates}, {list(a.shape)})"
    if how == "update":  # with duplicates the last one wins only by chance
        numbers = list(range(a.shape[0]))
        d.rng.shuffle(numbers)
        rows = f"{[[n] for n in numbers[: d.below(len(numbers) + 1, 1)]]}"
        updates = d.like(a, (rows.count("[") - 1, *a.shape[1:]))
    return f"tf.tensor_scatter_nd_{how}({a}, {rows}, {updates})"


def _segment(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "f", "fc", "i"]), 1, 3, lambda v: v.array.size > 0)
    n = a.shape[0]
    if d.chance(0.4):
        numbers = sorted(d.below(3) for _ in range(n))
        how = d.choose(["sum", "mean", "max", "min", "prod"])
        return f"tf.math.segment_{how}({a}, {numbers})"
    how = d.choose(["sum", "mean", "max", "min", "prod", "sqrt_n"])
    deep = a.shape[:2] if a.rank > 1 and d.chance(0.2) else (n,)
    numbers = [d.below(4, -1) for _ in range(n * (deep[1] if len(deep) > 1 else 1))]
    ids = f"np.array({numbers}, 'int32').reshape({deep})" if len(deep) > 1 else numbers
    return f"tf.math.unsorted_segment_{how}({a}, {ids}, {d.below(6, 3)})"


def _mask(d: Drawing) -> str:
    a = _any(d, 1, 3)
    flags = [d.chance(0.6) for _ in range(a.shape[0])]
    if d.chance(0.5):
        return f"tf.boolean_mask({a}, {flags})"
    if d.chance(0.3):
        return f"tf.boolean_mask({a}, {d.like(d.tensor('b'), a.shape)})"
    if d.chance(0.5):
        return f"tf.reduce_sum(tf.cast(tf.where({a} > 0), tf.float64))"
    return f"tf.dynamic_partition({a}, {[d.below(2) for _ in flags]}, 2)[{d.below(2)}]"


def _stitch(d: Drawing) -> str:
    a = d.tensor("fi", 1, 2)
    b = d.like(a)
    numbers = list(range(2 * a.shape[0]))
    if d.chance(0.7):
        d.rng.shuffle(numbers)
    n = a.shape[0]
    return f"tf.dynamic_stitch([{numbers[:n]}, {numbers[n:]}], [{a}, {b}])"


def _diagonal(d: Drawing) -> str:
    a = d.tensor(d.choose(["f", "f", "fc", "i"]), 1, 3)
    if a.rank > 1 and d.chance(0.6):
        m, n = a.shape[-2:]
        b = d.like(a, (*a.shape[:-2], min(m, n)))
        k = d.below(n, -m + 1) if m and n else 0
        return d.choose(
            (
                "tf.linalg.diag_part({a})",
                "tf.linalg.set_diag({a}, {b})",
                "tf.linalg.band_part({a}, 1, 0)",
                "tf.linalg.band_part({a}, 0, -1)",
                "tf.linalg.trace({a})",
                "tf.linalg.diag_part({a}, k={k})",
            )
        ).format(a=a, b=b, k=k)
    if a.rank > 2:
        raise Skip
    return d.choose(
        (
            "tf.linalg.diag({a})",
            "tf.diag({a})",
            "tf.linalg.diag({a}, k={k})",
            "tf.linalg.diag({a}, k=1, padding_value=2)",
        )
    ).format(a=a, k=d.below(3, -2))


def _space(d: Drawing) -> str:
    dtype = d.some_dtype("f")
    how = d.below(4)
    shapes = [(1, 2, 4, 2), (1, 2, 1, 4), (1, 2, 4, 1), (4, 1, 2, 1)]
    a = d.input(*d.numbers(dtype, shapes[how]))
    return (
        f"tf.space_to_depth({a}, 2)",
        f"tf.depth_to_space({a}, 2)",
        f"tf.space_to_batch_nd({a}, [2, 2], [[0, 0], [1, 1]])",
        f"tf.batch_to_space_nd({a}, [2, 2], [[0, 1], [1, 0]])",
    )[how]


def _search(d: Drawing) -> str:
    a = d.tensor(least=1, most=1)
    rows = (
        "tf.searchsorted(tf.sort({a}), {b})",
        "tf.searchsorted(tf.sort({a}), {b}, side='right')",
        "tf.bitcast({a}, tf.int64)",
        "tf.math.bincount({i})",
        "tf.unravel_index({i}, [3, 4])",
        "tf.ensure_shape({a}, [None])",
    )
    i = [d.below(12) for _ in range(d.below(4, 1))]
    return d.choose(rows).format(a=a, b=d.like(a), i=i)


def _order(d: Drawing) -> tuple[str, int] | str:
    a = d.tensor(d.choose(["f", "f", "i"]), 1, 3, lambda v: v.array.size > 0)
    how = d.below(5)
    if how == 0:
        return f"tf.nn.top_k({a}, {d.below(a.shape[-1] + 1, 1)})", 2
    if how == 1:
        direction = d.choose(["ASCENDING", "DESCENDING"])
        return f"tf.sort({a}, axis={_axis(d, a)}, direction='{direction}')"
    if how == 2:
        return f"tf.argsort({a}, axis={_axis(d, a)}, stable=True)"
    if how == 3:
        return f"tf.{d.choose(['argmax', 'argmin'])}({a}, axis={_axis(d, a)})"
    if a.rank > 1:
        raise Skip
    return f"tf.unique({a})[{d.below(2)}]"


def _sequence(d: Drawing) -> tuple[str, int] | str:
    a = d.tensor(most=0)
    b = d.like(a)
    how = d.below(4)
    if how == 0 and a.dtype in ("float32", "float64"):
        return f"tf.linspace({a}, {b}, {d.below(5, 2)})"
    if how == 1:
        a = d.tensor(least=1, most=1)
        b = d.like(a, (d.extent(),))
        more = ", indexing='ij'" if d.chance(0.5) else ""
        return f"tf.meshgrid({a}, {b}{more})", 2
    if how == 2:
        return f"tf.eye({d.extent()}, dtype={a}.dtype) * {a}"
    a = _any(d)
    return d.choose(
        (
            "tf.shape({a})",
            "tf.size({a})",
            "tf.rank({a})",
            "tf.zeros_like({a})",
            "tf.cast(tf.size({a}), tf.float64)",
            "tf.ensure_shape({a}, {s})",
            "tf.identity({a})",
            "tf.placeholder_with_default({a}, {s})",
        )
    ).format(a=a, s=list(a.shape))


ROWS: list[tuple[float, Row]] = [
    (4, _reshape), (5, _layout), (5, _join), (4, _part), (5, _index), (3, _strided),
    (2, _slice), (3, _repeat), (3, _pad), (3, _turn), (5, _gather), (4, _lookup),
    (4, _scatter), (4, _segment), (2, _mask), (1, _stitch), (3, _diagonal),
    (1, _space), (4, _order), (2, _sequence), (0.7, _search),
]  # fmt: skip
