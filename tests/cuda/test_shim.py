"""Planted mistakes: the machine that runs kernels on the CPU finds each of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gpugrad.backends.cupy.layout import Argument
from gpugrad.backends.cupy.text import Kernel
from tests.cuda.cpu import ORDERS, Guarded, Machine, compiler

FORWARDS, BACKWARDS, SHUFFLED = ORDERS
N = 1000


def kernel(name: str, body: str, blocks: int = 4, threads: int = 256) -> Kernel:
    """``body`` over f32 in0 and out0; i numbers the threads of all blocks."""
    text = (
        f'extern "C" __global__ void {name}'
        "(const f32* __restrict__ in0, f32* __restrict__ out0) {\n"
        f"  const i32 t = threadIdx.x, i = blockIdx.x * {threads} + t;\n{body}\n}}\n"
    )
    arguments = (Argument("load", 0), Argument("store", 0))
    shape = ((blocks, 1, 1), (threads, 1, 1))
    return Kernel(name, text, ("types.cuh",), *shape, arguments)


SHARED = "  __shared__ f32 x[256];\n  x[t] = in0[t];\n"
KERNELS = {
    k.name: k
    for k in (
        kernel("right", f"  if (i < {N}) out0[i] = in0[i];"),
        kernel("one_more", f"  if (i < {N}) out0[i] = 1;"),
        kernel("wrong_tail", "  out0[i] = 1;"),
        kernel("reads_after", f"  if (i < {N}) out0[i] = in0[i + 1];"),
        kernel("reads_before", f"  if (i < {N}) out0[i] = in0[i - 1];"),
        kernel("writes_before", f"  if (i < {N}) out0[i - 1] = in0[i];"),
        kernel("wild", "  if (i == 700) out0[i] = *(f32*)(i64)(i * 16);"),
        kernel("joined", f"{SHARED}  __syncthreads();\n  out0[t] = x[255 - t];", 1),
        kernel("no_barrier", f"{SHARED}  out0[t] = x[t ? t - 1 : 0];", 1),
        # The last thread wins; forwards and backwards that is one that writes 1.
        kernel("races", "  if (t % 255 == 0 || t == 9) out0[0] = t == 9 ? 2 : 1;", 1),
        kernel("divergent", f"{SHARED}  if (t < 100) __syncthreads();", 1),
        kernel(
            "faults_in_fibers",
            f"{SHARED}  __syncthreads();\n  if (t == 77) out0[t] = *(f32*)(i64)64;",
            1,
        ),
    )
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    return Machine(KERNELS.values(), tmp_path_factory.mktemp("shim"))


@pytest.fixture
def run(machine: Machine) -> Callable[..., np.ndarray]:
    def run(name: str, order: int = FORWARDS, size: int = N) -> np.ndarray:
        given, made = (Guarded(4 * size, at_end=order != BACKWARDS) for _ in range(2))
        given.bytes.view(np.float32)[...] = np.arange(size)
        machine.launch(KERNELS[name], [given.address, made.address], order)
        assert made.is_intact, "overrun"
        return made.bytes.view(np.float32).copy()

    return run


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_right_passes(run, order: int) -> None:
    np.testing.assert_array_equal(run("right", order), np.arange(N))
    np.testing.assert_array_equal(run("joined", order)[:256], np.arange(256)[::-1])


def test_a_wrong_tail_is_a_write_after_the_end(run) -> None:
    """The first of those threads is named, which in this order is 1000 = 3 * 256 + 232.

    4,000 bytes are a multiple of 16, so the buffer ends where its page does.
    """
    with pytest.raises(AssertionError) as caught:
        run("wrong_tail")
    message = str(caught.value)
    assert "block (3, 0, 0), thread (232, 0, 0) writes" in message
    assert "byte 4000 of out0" in message


def test_a_read_after_the_end_is_found(run) -> None:
    message = r"block \(3, 0, 0\), thread \(231, 0, 0\) reads.*byte 4000 of in0"
    with pytest.raises(AssertionError, match=message):
        run("reads_after")


def test_what_comes_before_the_start_is_found_backwards(run) -> None:
    message = r"block \(0, 0, 0\), thread \(0, 0, 0\) reads.*byte -4 of in0"
    with pytest.raises(AssertionError, match=message):
        run("reads_before", BACKWARDS)
    with pytest.raises(AssertionError, match=r"writes.*byte -4 of out0"):
        run("writes_before", BACKWARDS)


def test_a_write_short_of_the_guard_is_found(run) -> None:
    """999 floats leave four bytes before the guard that the boundary costs."""
    with pytest.raises(AssertionError, match="overrun"):
        run("one_more", size=N - 1)


def test_a_wild_address_is_found(run) -> None:
    with pytest.raises(
        AssertionError, match=r"block \(2, 0, 0\), thread \(188, 0, 0\)"
    ):
        run("wild", SHUFFLED)


def test_a_missing_barrier_shows_in_some_order(run) -> None:
    want = np.maximum(np.arange(256) - 1, 0)
    np.testing.assert_array_equal(run("no_barrier", FORWARDS)[:256], want)
    for order in (BACKWARDS, SHUFFLED):
        # What nobody has written yet is poison.
        assert np.isnan(run("no_barrier", order)[:256]).any()


def test_a_race_may_show_in_the_shuffled_order_alone(run) -> None:
    assert run("races", FORWARDS)[0] == run("races", BACKWARDS)[0] == 1
    assert any(run("races", seed)[0] == 2 for seed in range(SHUFFLED, SHUFFLED + 8))


def test_a_barrier_that_some_do_not_reach_is_found(run) -> None:
    with pytest.raises(AssertionError, match="do not all arrive"):
        run("divergent")


def test_after_a_mistake_launches_work_as_before(run) -> None:
    for order in ORDERS:
        with pytest.raises(AssertionError, match=r"thread \(77, 0, 0\) reads"):
            run("faults_in_fibers", order)
        with pytest.raises(AssertionError):
            run("divergent", order)
        got = run("joined", order)[:256]
        np.testing.assert_array_equal(got, np.arange(256)[::-1])
