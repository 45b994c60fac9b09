"""Kernels that fold by rows: which there are, what they read, that they are right.

They run on the CPU in three orders of their threads, in memory between guard pages, and
are compared with the meaning of the IR, which NumPy computes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as gg
from gpugrad import dtypes
from gpugrad.backends.cupy import row_plan
from gpugrad.backends.cupy.codegen import lower
from gpugrad.backends.cupy.layout import Argument
from gpugrad.backends.cupy.text import Kernel, Lowered
from gpugrad.dtypes import DType
from gpugrad.kir import scalar as s
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Index, Load, Reduce
from gpugrad.kir.space import Buffer, View, whole
from tests.cuda.cpu import ORDERS, Guarded, Machine, compiler, run_step
from tests.cuda.fakes import FakeBackend, HollowDevice
from tests.cuda.row_programs import PROGRAMS, row_groups, row_operands
from tests.cuda.test_on_cpu import ATOL_OF_FOLDS, RTOL

LENGTHS = (2, 31, 32, 33, 127, 128, 1000, 1024, 1025, 4096, 5000, 8192, 20000, 100001)
FEW_LENGTHS = (33, 1000, 20000)
# Some of a block's rows are missing where a block takes several.
ROWS = 5
OTHERS = (dtypes.float16, dtypes.bfloat16, dtypes.float64)


def variant(kernel: Kernel) -> str:
    """The name of row_plan.py's table, or the kind of another kernel."""
    found = re.fullmatch(r"gpugrad_(?:rows_)?(\w+)_\w{16}", kernel.name)
    assert found
    return found[1]


@pytest.fixture
def machine(tmp_path):
    """Compiles kernels for the CPU."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    numbers = iter(range(1000))

    def make(kernels: list[Kernel]) -> Machine:
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        return Machine(kernels, folder)

    return make


@pytest.fixture
def as_if_many(monkeypatch):
    """A few rows are taken by as many lanes as each of many rows."""
    monkeypatch.setattr(row_plan, "_ENOUGH_THREADS", 0)


def close(got: np.ndarray, want: np.ndarray, store: Store, group: Group) -> None:
    """Rounding is of the summands' size, which the sum of either sign may not have."""
    rtol = RTOL[store.view.dtype.name]
    folded = store.view.size < np.prod(group.extents)
    terms = group.extents[group.reduced.index(True)] if folded else 1
    atol = rtol * max(ATOL_OF_FOLDS, terms**0.5)
    got, want = got.astype(np.float64), want.astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, equal_nan=True)


def check(machine, groups: list[tuple[str, Group]]) -> None:
    """Every group in every order against the meaning of the IR."""
    cases = [(name, group, lower(group)) for name, group in groups]
    built = machine([k for _, _, low in cases for k in low.kernels])
    for name, group, lowered in cases:
        memory = row_operands(group)
        want = interpret([group], dict(memory))
        for order in ORDERS:
            got = run_step(built, lowered, group, memory, order)
            for store in group.stores:
                buffer = store.view.buffer
                try:
                    close(got[buffer.id], want[buffer.id], store, group)
                except AssertionError as error:
                    kinds = [variant(k) for k in lowered.kernels]
                    message = f"{name}, {kinds}, order {order}: {error}"
                    raise AssertionError(message) from None


# --- softmax, cross entropy, layer norm -----------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_lengths(name, machine, as_if_many):
    groups = [
        (f"{name} {length}", group)
        for length in LENGTHS
        for group in row_groups(name, ROWS, length, dtypes.float32)
    ]
    check(machine, groups)


@pytest.mark.parametrize("dtype", OTHERS, ids=lambda d: d.name)
def test_dtypes(dtype, machine, as_if_many):
    groups = [
        (f"{name} {length} {dtype.name}", group)
        for name in PROGRAMS
        for length in FEW_LENGTHS
        for group in row_groups(name, ROWS, length, dtype)
    ]
    check(machine, groups)


def test_few_rows_are_taken_by_more_lanes(machine):
    groups = []
    for length in (33, 127, 1000, 4096):
        for name in ("softmax", "layer-norm"):
            (few,) = row_groups(name, ROWS, length, dtypes.float32)
            (many,) = row_groups(name, 1 << 20, length, dtypes.float32)
            (one,), (two,) = lower(few).kernels, lower(many).kernels
            threads = [k.grid[0] * k.block[0] for k in (one, two)]
            assert threads[0] / ROWS >= threads[1] / (1 << 20)
            groups.append((f"{name} {length}", few))
    check(machine, groups)


# --- layouts and chains ---------------------------------------------------------------


class Scene:
    """Buffers for a Group made by hand."""

    def __init__(self, dtype: DType) -> None:
        self.dtype = dtype
        self._buffers = 0

    def buffer(self, size: int) -> Buffer:
        self._buffers += 1
        return Buffer(self._buffers, self.dtype, size, "temp")

    def group(
        self, reduced: tuple[bool, ...], loads: tuple[View, ...], *exprs: Expr
    ) -> Group:
        """Stores of ``exprs``: at every point, or once a row if all is folded."""
        extents = loads[0].shape
        stores = []
        for expr in exprs:
            if type(expr) is Reduce:
                kept = tuple(1 if r else n for n, r in zip(extents, reduced))
                view = whole(self.buffer(int(np.prod(kept))), kept)
                steps = tuple(0 if r else v for v, r in zip(view.strides, reduced))
                view = View(view.buffer, kept, steps, 0)
            else:
                view = whole(self.buffer(int(np.prod(extents))), extents)
            stores.append(Store(view, expr))
        return Group(extents, reduced, loads, tuple(stores))


def chain(dtype: DType) -> tuple[Expr, ...]:
    """Four folds, each of the one before it, over three operands; five outputs."""
    x, row, column = (Load(i, dtype) for i in range(3))
    t = x * row + column
    size = s.exp(t - Reduce("max", t))
    part = s.div(size, Reduce("sum", size))
    mean = Reduce("sum", part * t)
    away = t - mean
    spread = Reduce("sum", away * away * part)
    return part, mean, away * s.rsqrt(spread + 1.0), spread, t + t


def scenes(dtype: DType, length: int) -> Iterator[tuple[str, Group]]:
    """Views that start and go where no vector fits, and operands that are repeated."""
    rows = (False, True)
    for name, offset, pad, step in (
        ("plain", 0, 0, 1),
        ("misaligned", 1, 0, 1),
        ("padded", 0, 8, 1),
        ("odd rows", 0, 3, 1),
        ("every second", 0, 0, 2),
        ("backwards", length - 1, 0, -1),
    ):
        scene = Scene(dtype)
        width = length * abs(step) + pad
        x = View(
            scene.buffer(ROWS * width + offset), (ROWS, length), (width, step), offset
        )
        row = View(scene.buffer(length), (ROWS, length), (0, 1), 0)
        column = View(scene.buffer(ROWS + 1), (ROWS, length), (1, 0), 1)
        yield f"{name} {length}", scene.group(rows, (x, row, column), *chain(dtype))
    scene = Scene(dtype)
    shape = (3, ROWS, length // 3)
    x = whole(scene.buffer(int(np.prod(shape))), shape)
    row = View(scene.buffer(shape[2]), shape, (0, 0, 1), 0)
    column = View(scene.buffer(ROWS), shape, (0, 1, 0), 0)
    place = s.cast(Index(2), dtype) * (1 / length)
    exprs = (*chain(dtype), Reduce("sum", Load(0, dtype) * place))
    yield (
        f"two axes {length}",
        scene.group((True, False, True), (x, row, column), *exprs),
    )
    scene = Scene(dtype)
    shape = (length, ROWS)
    x = whole(scene.buffer(length * ROWS), shape)
    row = View(scene.buffer(length), shape, (1, 0), 0)
    column = View(scene.buffer(ROWS), shape, (0, 1), 0)
    yield (
        f"by columns {length}",
        scene.group((True, False), (x, row, column), *chain(dtype)),
    )


@pytest.mark.parametrize("length", [7, 30, 200, 3000, 40000])
def test_layouts(length, machine, as_if_many):
    check(machine, list(scenes(dtypes.float32, length)))


def test_layouts_of_halves(machine, as_if_many):
    check(machine, [c for n in (30, 3000) for c in scenes(dtypes.float16, n)])


# --- numbers that are no ordinary ones ------------------------------------------------


@pytest.mark.parametrize("length", [100, 5000, 100001])
def test_infinities_and_nans(length, machine, as_if_many):
    """Rows that have them, or are made of nothing else, in registers or not."""
    cases = []
    for name in ("softmax", "log-softmax", "layer-norm"):
        (group,) = row_groups(name, 8, length, dtypes.float32)
        cases.append((group, lower(group)))
    built = machine([k for _, low in cases for k in low.kernels])
    for group, lowered in cases:
        memory = row_operands(group)
        x = memory[group.loads[0].buffer.id].reshape(8, length)
        x[0] = -np.inf
        x[1, length // 2] = np.inf
        x[2, length - 1] = np.nan
        x[3, : length // 2] = -np.inf
        x[4] = 3.0
        x[5, 1:] = -np.inf
        x[6] = np.inf
        x[7] *= 1e4
        want = interpret([group], dict(memory))
        (store,) = group.stores
        for order in ORDERS:
            got = run_step(built, lowered, group, memory, order)
            number = store.view.buffer.id
            close(got[number], want[number], store, group)


def test_a_variance_far_from_zero_loses_nothing(machine, as_if_many):
    """In one pass over a row too long for registers; a sum of squares loses it all."""
    scene = Scene(dtypes.float32)
    length = 100000
    x = Load(0, dtypes.float32)
    mean = Reduce("sum", x) * (1 / length)
    away = x - mean
    view = whole(scene.buffer(ROWS * length), (ROWS, length))
    group = scene.group((False, True), (view,), Reduce("sum", away * away))
    lowered = lower(group)
    assert [variant(k) for k in lowered.kernels] == ["online"]
    assert len(reads(lowered.kernels[0])) == 1
    values = row_operands(group)[1].reshape(ROWS, length)
    means = np.array([0, 1e3, 1e4, -1e5, 3e6], np.float32)
    values += means[:, None]
    got = run_step(
        machine(list(lowered.kernels)), lowered, group, {1: values.reshape(-1)}
    )
    exact = values.astype(np.float64)
    want = ((exact - exact.mean(1, keepdims=True)) ** 2).sum(1)
    (buffer,) = (t.view.buffer for t in group.stores)
    # The mean is a float32 itself, and moves the result by the square of its error.
    slack = 1e-4 * want + length * (4 * np.spacing(abs(means)).astype(float)) ** 2
    assert (abs(got[buffer.id] - want) <= slack).all()
    squares = (values * values).sum(1) - values.sum(1) ** 2 / length
    assert (abs(squares - want) > slack)[1:].all()


# --- how often memory is read ---------------------------------------------------------

_READ = re.compile(
    r"load(?:_strided)?<(\d+)(?:, \d+)?>\(in(\d+)(?: \+ ([^,]*))?, [^;]*;"
)


def reads(kernel: Kernel) -> list[re.Match[str]]:
    """The places in the text that read; nothing else may touch what is read."""
    found = list(_READ.finditer(kernel.text))
    body = kernel.text.partition("{")[2]
    assert len(re.findall(r"\bin\d+\b", body)) == len(found)
    return found


def counting(kernel: Kernel) -> Kernel:
    """The kernel, which also counts how often each element of each load is read."""

    def with_count(match: re.Match[str]) -> str:
        place = f"counts{match[2]}[{match[3] or '0'} + k]"
        return f"{match[0]} for (int k = 0; k < {match[1]}; ++k) ++{place};"

    slots = [a.number for a in kernel.arguments if a.kind == "load"]
    counters = "".join(f", u32* __restrict__ counts{slot}" for slot in slots)
    text = _READ.sub(with_count, kernel.text).replace(") {", f"{counters}) {{", 1)
    more = tuple(Argument("scratch", slot) for slot in slots)
    return kernel._replace(text=text, arguments=(*kernel.arguments, *more))


def counts(machine, cases: list[tuple[Group, Kernel]]) -> list[dict[int, np.ndarray]]:
    """By load, how often each element of its buffer is read in a run."""
    counted = [(group, counting(kernel)) for group, kernel in cases]
    built = machine([kernel for _, kernel in counted])
    found = []
    for group, kernel in counted:
        memory = row_operands(group)
        views = {"load": group.reads, "store": group.writes}
        room = {v.buffer.id: Guarded(v.buffer.size * v.dtype.itemsize, False)
                for v in (*group.reads, *group.writes)}  # fmt: skip
        for number, values in memory.items():
            room[number].bytes.view(values.dtype)[...] = values
        times = [Guarded(4 * v.buffer.size, at_end=False) for v in group.loads]
        for place in times:
            place.bytes[...] = 0
        addresses = [
            times[a.number].address
            if a.kind == "scratch"
            else room[views[a.kind][a.number].buffer.id].address
            for a in kernel.arguments
        ]
        built.launch(kernel, addresses, 0)
        found.append({n: t.bytes.view(np.uint32) for n, t in enumerate(times)})
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_stays_in_registers_is_read_once(name, machine, as_if_many):
    """In whole blocks: idle lanes read row 0 again, which costs nothing."""
    cases = []
    for length in (32, 1000, 1023, 4096):
        rows = 256 if length < 100 else 8
        for group in row_groups(name, rows, length, dtypes.float32):
            (kernel,) = lower(group).kernels
            assert variant(kernel) in ("subwarp", "warp", "block")
            slots = [int(m[2]) for m in reads(kernel)]
            assert sorted(slots) == list(range(len(group.loads)))
            cases.append((group, kernel))
    for (group, _), found in zip(cases, counts(machine, cases), strict=True):
        for slot, view in enumerate(group.loads):
            if view.is_contiguous:
                assert set(found[slot]) == {1}


def test_a_second_read_is_noticed(machine, as_if_many):
    (group,) = row_groups("softmax", 8, 1024, dtypes.float32)
    (kernel,) = lower(group).kernels
    (match,) = reads(kernel)
    again = kernel._replace(text=kernel.text.replace(match[0], match[0] * 2))
    ((times, *_),) = [list(f.values()) for f in counts(machine, [(group, again)])]
    assert set(times) == {2}
    hidden = kernel.text.replace("widen(x0[u][e])", "in0[c0]", 1)
    with pytest.raises(AssertionError):
        reads(kernel._replace(text=hidden))


def test_how_often_a_long_row_is_read(machine):
    """Once a stage, where two folds of a pair are one."""
    times = {
        "softmax": (2,),
        "log-softmax": (2,),
        "cross-entropy": (2, 1),
        "sparse-cross-entropy": (2,),
        "layer-norm": (2,),
        "softmax-gradient": (3, 2),
        "log-softmax-gradient": (2, 2),
    }
    cases = []
    for name in times:
        (group,) = row_groups(name, 2, 100001, dtypes.float64)
        (kernel,) = lower(group).kernels
        assert variant(kernel) == "online"
        cases.append((group, kernel))
    for (name, wanted), found in zip(times.items(), counts(machine, cases)):
        for slot, count in enumerate(wanted):
            assert set(found[slot]) == {count}, name


# --- planted mistakes -----------------------------------------------------------------


def broken(kernel: Kernel, right: str, wrong: str) -> Kernel:
    text = kernel.text.replace(right, wrong)
    assert text != kernel.text
    return kernel._replace(text=text)


@pytest.mark.parametrize(
    ("length", "right", "wrong"),
    [
        # A lane after the last run: it reads and writes outside.
        (1000, "u < 7 || number < 250u", "true"),
        # The last run is left out.
        (1000, "number < 250u", "number < 249u"),
        # A fold of half of the lanes.
        (1000, "fold_lanes<JoinSum, 32>", "fold_lanes<JoinSum, 16>"),
        # One run too far.
        (4096, "number * 4u", "number * 4u + 4u"),
        # Idle lanes of the last block go on to rows that are not there.
        (128, "active ? row : 0", "row"),
        # No barrier.
        (4096, "__syncthreads();", ""),
    ],
)
def test_mistakes_are_found(length, right, wrong, machine, as_if_many):
    (group,) = row_groups("softmax", 7, length, dtypes.float32)
    (kernel,) = lower(group).kernels
    wrong_kernel = broken(kernel, right, wrong)
    with pytest.raises(AssertionError):
        check_kernel(machine, group, wrong_kernel)
    check_kernel(machine, group, kernel)


def check_kernel(machine, group: Group, kernel: Kernel) -> None:
    memory = row_operands(group)
    want = interpret([group], dict(memory))
    built = machine([kernel])
    for order in ORDERS:
        got = run_step(built, Lowered((kernel,)), group, memory, order)
        for store in group.stores:
            number = store.view.buffer.id
            close(got[number], want[number], store, group)


# --- the table ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "length", "dtype", "found"),
    [
        ("softmax", 3, dtypes.float32, ("subwarp", 4, 256)),
        ("softmax", 64, dtypes.float32, ("subwarp", 8, 256)),
        ("softmax", 256, dtypes.float32, ("subwarp", 16, 256)),
        ("softmax", 1024, dtypes.float32, ("warp", 32, 256)),
        ("softmax", 1025, dtypes.float32, ("block", 128, 128)),
        ("softmax", 4096, dtypes.float32, ("block", 256, 256)),
        ("softmax", 16384, dtypes.float32, ("block", 512, 512)),
        ("softmax", 32768, dtypes.float32, ("block", 1024, 1024)),
        ("softmax", 32769, dtypes.float32, ("online", 256, 256)),
        ("softmax", 32768, dtypes.bfloat16, ("block", 1024, 1024)),
        ("softmax", 8192, dtypes.float64, ("block", 512, 512)),
        ("softmax", 8194, dtypes.float64, ("online", 256, 256)),
        ("softmax-gradient", 1024, dtypes.float32, ("block", 128, 128)),
        ("softmax-gradient", 16384, dtypes.float32, ("block", 1024, 1024)),
        ("softmax-gradient", 16388, dtypes.float32, ("online", 256, 256)),
        ("layer-norm", 4096, dtypes.float16, ("block", 256, 256)),
    ],
)
def test_how_many_rows_are_taken(name, length, dtype, found):
    (group,) = row_groups(name, 1 << 17, length, dtype)
    (kernel,) = lower(group).kernels
    kind, lanes, block = found
    assert (variant(kernel), kernel.block) == (kind, (block, 1, 1))
    assert kernel.grid == ((1 << 17) // (block // lanes), 1, 1)


def test_explain_names_the_variant():
    with gg.Graph().as_default():
        x = gg.placeholder(gg.float32, (300, None))
        y = gg.nn.softmax(x)
        session = gg.Session()
        session._backend = FakeBackend(HollowDevice())
        for length, kind in ((16, "subwarp"), (4096, "block"), (1 << 16, "online")):
            feeds = {x: np.zeros((300, length), np.float32)}
            assert f"gpugrad_rows_{kind}_" in gg.explain(y, feeds, session)
