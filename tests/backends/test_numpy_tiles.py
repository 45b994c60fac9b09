"""Large groups: tiles, threads, exact sums, updates in place."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.backend import NumpyExecutable
from gpugrad.backends.numpy.folds import sum_columns, sum_rows
from gpugrad.backends.numpy.pool import Pool
from gpugrad.backends.numpy.streams import Workers
from gpugrad.config import Config
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Handle
from gpugrad.kir.program import Commit, Group, Program, Store
from gpugrad.kir.scalar import Expr, Load, Reduce
from gpugrad.kir.space import Shape, View
from gpugrad.kir.verify import check_program

F = dtypes.float32


def load(builder: Builder, inputs: list[View], config: Config) -> NumpyExecutable:
    written = [view for step in builder.steps for view in step.writes]
    program = Program(
        tuple(builder.steps),
        tuple(v.buffer for v in inputs),
        tuple(builder.variables.items()),
        builder.consts,
        tuple(v for v in written if v.buffer.kind == "output"),
        tuple(Commit(slot, v) for slot, v in builder.state.items()),
        origins=tuple(builder.origins),
    )
    check_program(program)
    config = replace(config, machine_code=0)
    return NumpyExecutable(program, Workers(), config)


def softmax(builder: Builder, shape: Shape, axis: int) -> View:
    x = builder.new(F, shape, "input")
    element = Load(0, F)
    e = scalar.exp(element - Reduce("max", element))
    out = builder.new(F, shape, "output")
    reduced = tuple(i == axis for i in range(len(shape)))
    store = Store(out, e / Reduce("sum", e))
    builder.append(Group(shape, reduced, (x,), (store,)))
    return x


def expected_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x.astype(np.float64)
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shape", [(301, 7), (7, 301), (64, 64), (3, 5000), (5000, 3)])
def test_softmax(shape: Shape, axis: int) -> None:
    """Whole folds in a tile, folds over tiles, short rows turned: all agree."""
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    wanted = expected_softmax(values, axis)
    for tile_bytes in (300, 4000, 50_000, 1 << 20):
        builder = Builder()
        x = softmax(builder, shape, axis)
        config = Config(num_threads=3, tile_bytes=tile_bytes, share_ns=0)
        (found,) = load(builder, [x], config).run([values], [], 0)
        np.testing.assert_allclose(found, wanted, rtol=2e-6)


@pytest.mark.parametrize("axis", [0, 1])
def test_results_do_not_depend_on_the_number_of_threads(axis: int) -> None:
    values = np.random.default_rng(1).standard_normal((500, 40)).astype(np.float32)
    found = []
    for threads in (1, 2, 3, 4, 4):
        builder = Builder()
        x = softmax(builder, values.shape, axis)
        total = builder.new(F, (), "output")
        everything = View(total.buffer, (1, 1), (0, 0), 0)
        store = Store(everything, Reduce("sum", scalar.exp(Load(0, F))))
        builder.append(Group(values.shape, (True, True), (x,), (store,)))
        config = Config(num_threads=threads, tile_bytes=3000, share_ns=0)
        found.append(load(builder, [x], config).run([values], [], 0))
    for other in found[1:]:
        for one, two in zip(found[0], other):
            np.testing.assert_array_equal(one, two)


SUMS: list[tuple[Callable[..., None], Shape, int]] = [
    (sum_columns, (3000, 64), 0),
    (sum_columns, (100_000, 3), 0),
    (sum_columns, (5, 5000), 0),
    (sum_columns, (517, 33), 0),
    (sum_rows, (64, 3000), 1),
    (sum_rows, (3, 100_000), 1),
    (sum_rows, (5000, 5), 1),
    (sum_rows, (33, 511), 1),
]


@pytest.mark.parametrize(("function", "shape", "axis"), SUMS)
def test_sums_are_as_exact_as_pairwise_ones(
    function: Callable[..., None], shape: Shape, axis: int
) -> None:
    """NumPy adds pairwise along the last axis; down the columns one by one."""
    x = np.random.default_rng(2).random(shape, np.float32)
    exact = x.astype(np.float64).sum(axis, keepdims=True)
    found = np.empty(exact.shape, np.float32)
    function(x, found)
    turned = np.ascontiguousarray(np.moveaxis(x, axis, -1))
    pairwise = turned.sum(-1).reshape(exact.shape)
    error = np.max(np.abs(found - exact) / exact)
    assert error <= max(2 * np.max(np.abs(pairwise - exact) / exact), 2.0**-22)


def test_full_sum_is_exact() -> None:
    values = np.full(3_000_000, 0.1, np.float32)
    builder = Builder()
    x = builder.new(F, values.shape, "input")
    out = builder.new(F, (1,), "output")
    store = Store(View(out.buffer, (1,), (0,), 0), Reduce("sum", Load(0, F) * 1.0))
    builder.append(Group(values.shape, (True,), (x,), (store,)))
    (found,) = load(builder, [x], Config()).run([values], [], 0)
    np.testing.assert_allclose(found[0], values.astype(np.float64).sum(), rtol=3e-7)


FLAT = (20_000,)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_error_in_a_thread_names_its_step(threads: int) -> None:
    builder = Builder()
    x = builder.new(dtypes.int32, FLAT, "input")
    builder.origin = "before"
    y = builder.map(lambda a: a + 1, x)
    builder.origin = "division"
    out = builder.new(dtypes.int32, FLAT, "output")
    builder.store(out, scalar.floordiv, y, x)
    config = Config(num_threads=threads, tile_bytes=4000, share_ns=0)
    executable = load(builder, [x], config)
    ones = np.ones(FLAT, np.int32)
    bad = ones.copy()
    bad[15_000] = 0
    for _ in range(3):
        with pytest.raises(StepError, match="division by zero") as caught:
            executable.run([bad], [], 0)
        assert caught.value.origin == "division"
        assert executable.run([ones], [], 0)[0].tolist() == [2] * FLAT[0]


def test_a_pool_serves_several_threads_at_a_time() -> None:
    """The second does its work alone; both are right."""
    values = np.random.default_rng(3).standard_normal((400, 50)).astype(np.float32)
    wanted = expected_softmax(values, 1)
    config = Config(num_threads=2, tile_bytes=3000, share_ns=0)
    errors: list[float] = []

    def work() -> None:
        builder = Builder()
        executable = load(builder, [softmax(builder, values.shape, 1)], config)
        for _ in range(50):
            (found,) = executable.run([values], [], 0)
            errors.append(float(np.max(np.abs(found - wanted))))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 150
    assert max(errors) < 1e-6


def test_the_pool_does_every_portion_once() -> None:
    pool = Pool(3)
    for count in (0, 1, 2, 50):
        done: list[int] = []
        pool.run(lambda thread, portion, done=done: done.append(portion), range(count))
        assert sorted(done) == list(range(count))


FORK = """
import os, numpy as np
from tests.backends.test_numpy_tiles import Builder, Config, load, softmax
values = np.ones((400, 50), np.float32)
builder = Builder()
x = softmax(builder, values.shape, 1)
run = load(builder, [x], Config(num_threads=2, tile_bytes=3000, share_ns=0)).run
run([values], [], 0)
child = os.fork()
found = run([values], [], 0)[0]
assert np.allclose(found, 0.02)
if child == 0:
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


@pytest.mark.skipif(not hasattr(sys, "getswitchinterval"), reason="CPython alone")
@pytest.mark.skipif(sys.platform == "win32", reason="no fork there")
def test_threads_after_a_fork() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=60)


def test_the_source_shows_the_loop() -> None:
    builder = Builder()
    x = softmax(builder, (5000, 200), 1)
    source = load(builder, [x], Config()).source
    assert "tiles of [" in source
    assert "over [5000 200r]" in source
    assert "def tile0(l0, h0, s, i0_0, o0):" in source


# --- selection on the bits ------------------------------------------------------------


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64, dtypes.complex64])
@pytest.mark.parametrize("zero", [True, False])
def test_select_takes_any_bits(dtype: dtypes.DType, zero: bool) -> None:
    """NaN, infinities and -0.0 on the side that is not taken leave no trace."""
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5], dtype.np_dtype)
    left, right = (a.reshape(-1) for a in np.meshgrid(special, special))
    where = np.arange(left.size) % 2 == 0
    builder = Builder()
    inputs = [builder.new(d, left.shape, "input") for d in (dtypes.bool_, dtype, dtype)]

    def choose(c: Expr, a: Expr, b: Expr) -> Expr:
        return scalar.select(c, a, scalar.Lit(0, dtype) if zero else b)

    builder.store(builder.new(dtype, left.shape, "output"), choose, *inputs)
    config = Config(tile_bytes=100)
    (found,) = load(builder, inputs, config).run([where, left, right], [], 0)
    wanted = np.where(where, left, dtype.np_dtype.type(0) if zero else right)
    assert found.tobytes() == wanted.tobytes()


# --- updates in place -----------------------------------------------------------------


def _descent(size: int, last: Callable[[Builder, View], Any]) -> NumpyExecutable:
    """v -= 0.5 g, with another step that ``last`` appends."""
    builder = Builder()
    handle = Handle(0, "v", F, (size,))
    g = builder.new(F, (size,), "input")
    divisor = builder.new(dtypes.int32, (), "input")
    old = builder.read(handle)
    builder.assign(handle, builder.map(lambda v, d: v - d * 0.5, old, g))
    last(builder, divisor)
    return load(builder, [g, divisor], Config(tile_bytes=4000))


@pytest.mark.parametrize("size", [3, 20_000])
def test_an_update_without_a_copy(size: int) -> None:
    executable = _descent(size, lambda b, d: None)
    assert "w0 = v0 if" in executable.source
    array = np.ones(size, np.float32)
    store: list[Any] = [array]
    for expected in (0.5, 0.0):
        executable.run([np.ones(size, np.float32), np.int32(1)[...]], store, 0)
        assert store[0] is array
        assert (array == expected).all()


@pytest.mark.parametrize("size", [3, 20_000])
def test_a_later_step_that_may_fail_waits_for_a_copy(size: int) -> None:
    def divide(builder: Builder, divisor: View) -> None:
        out = builder.new(dtypes.int32, (), "output")
        builder.store(out, scalar.floordiv, divisor, divisor)

    executable = _descent(size, divide)
    array = np.ones(size, np.float32)
    gradient = np.ones(size, np.float32)
    with pytest.raises(StepError):
        executable.run([gradient, np.int32(0)[...]], [array], 0)
    assert (array == 1).all()
    executable.run([gradient, np.int32(1)[...]], [array], 0)
    assert (array == 0.5).all()


@pytest.mark.parametrize("late", [True, False])
def test_who_reads_the_old_value_reads_it_first(late: bool) -> None:
    """A product with the old weights that comes after the update, or before it."""
    builder = Builder()
    handle = Handle(0, "w", F, (3, 3))
    x = builder.new(F, (3, 3), "input")
    old = builder.read(handle)
    out = builder.new(F, (3, 3), "output")
    new = None if late else product(builder, x, old, F)
    builder.assign(handle, builder.map(lambda w, d: w - d, old, x))
    builder.copy(product(builder, x, old, F) if new is None else new, out)
    executable = load(builder, [x], Config())
    assert ("w0 = v0 if" in executable.source) is not late
    rng = np.random.default_rng(4)
    values, weights = (rng.standard_normal((3, 3)).astype(np.float32) for _ in range(2))
    store: list[Any] = [weights.copy()]
    (found,) = executable.run([values], store, 0)
    np.testing.assert_allclose(found, values @ weights, rtol=1e-5)
    np.testing.assert_array_equal(store[0], weights - values)


def product(builder: Builder, x: View, y: View, dtype: dtypes.DType) -> View:
    def impl(xp: Any, outs: Any, a: Any, b: Any) -> None:
        xp.matmul(a, b, out=outs[0])

    return builder.call("matmul", impl, [x, y], [(dtype, (x.shape[0], y.shape[1]))])[0]
