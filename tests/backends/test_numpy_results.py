"""Memory of large results is used again, and never while somebody holds it."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.numpy.results import ARRAYS, LEAST_BYTES, RESULTS, Results
from gpugrad.kir.builder import Builder
from tests.backends.programs import finish

SIZE = LEAST_BYTES // 4
FLOAT = np.dtype(np.float32)


def address(array: Any) -> int:
    return int(np.asarray(array).__array_interface__["data"][0])


def test_what_is_dropped_is_used_again() -> None:
    pool = Results()
    first = pool.array((SIZE,), FLOAT)
    assert first.flags.c_contiguous
    assert first.flags.writeable
    place = address(first)
    assert place % 64 == 0
    del first
    assert address(pool.array((2, SIZE // 2), FLOAT)) == place


VIEWS: dict[str, Callable[[np.ndarray], Any]] = {
    "itself": lambda a: a,
    "slice": lambda a: a[3:],
    "slice of a slice": lambda a: a[3:][::2][1:],
    "reshaped": lambda a: a.reshape(2, -1),
    "transposed": lambda a: a.reshape(2, -1).T,
    "another type": lambda a: a.view(np.int32),
    "one element": lambda a: a[5, ...],
    "broadcast": lambda a: np.broadcast_to(a, (2, SIZE)),
    "strided": lambda a: np.lib.stride_tricks.as_strided(a, (3,), (8,)),
    "asarray": lambda a: np.asarray(a),
    "subclass": lambda a: a.view(np.recarray),
    "buffer": lambda a: memoryview(a),
    "array of a buffer": lambda a: np.frombuffer(memoryview(a), np.float32),
    "dlpack": lambda a: np.from_dlpack(a),
    "iterator": lambda a: a.flat,
    "view of a view": lambda a: a.view(np.int32).reshape(4, -1)[1:, ::3].T,
}


@pytest.mark.parametrize("name", VIEWS)
def test_what_somebody_holds_is_not(name: str) -> None:
    pool = Results()
    first = pool.array((SIZE,), FLOAT)
    first[...] = 7
    place = address(first)
    view = VIEWS[name](first)
    del first
    gc.collect()
    second = pool.array((SIZE,), FLOAT)
    assert address(second) != place
    second[...] = 1
    held = view.base if name == "iterator" else np.asarray(view)
    if name in ("another type", "view of a view"):
        held = np.ascontiguousarray(held).view(np.float32)
    assert (np.asarray(held, np.float32) == 7).all()
    del view, held
    assert address(pool.array((SIZE,), FLOAT)) == place


def test_idle_memory_is_bounded() -> None:
    pool = Results(limit=10 * LEAST_BYTES)
    kept = [pool.array((SIZE,), FLOAT) for _ in range(30)]
    kept += [pool.array((2 * SIZE,), FLOAT) for _ in range(30)]
    assert pool.idle_bytes == 0
    kept.clear()
    assert 0 < pool.idle_bytes <= 10 * LEAST_BYTES
    huge = pool.array((11 * SIZE,), FLOAT)
    del huge
    assert pool.idle_bytes <= 10 * LEAST_BYTES
    pool.clear()
    assert pool.idle_bytes == 0


def test_held_results_keep_their_values_over_threads() -> None:
    """Threads take, fill, hold, view, pass on and drop; nobody sees another's value."""
    pool = Results(limit=20 * LEAST_BYTES)
    shared: list[tuple[Any, float]] = []
    wrong: list[float] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        held: list[tuple[Any, float]] = []
        for turn in range(300):
            size = rng.choice([SIZE // 64, SIZE // 32])
            array = pool.array((size,), FLOAT)
            value = float(seed * 1000 + turn)
            array[...] = value
            kept = array[rng.randrange(size) :: 7] if rng.random() < 0.7 else array
            del array
            rng.choice([held, shared]).append((kept, value))
            while len(held) > rng.randrange(1, 8):
                kept, value = held.pop(rng.randrange(len(held)))
                wrong.extend(kept[kept != value].tolist())
            while len(shared) > 12:
                try:
                    kept, value = shared.pop(0)
                except IndexError:
                    break
                wrong.extend(kept[kept != value].tolist())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_runs_reuse_what_is_dropped() -> None:
    values = np.arange(SIZE, dtype=np.float32)
    builder = Builder()
    x = builder.new(dtypes.float32, (SIZE,), "input")
    executable = finish(builder, [x], [builder.map(lambda a: a + 1.0, x)])
    (first,) = executable.run([values], [], 0)
    (second,) = executable.run([values + 1], [], 0)
    assert not np.shares_memory(first, second)
    view, place = first[1:], address(first)
    del first
    (third,) = executable.run([values + 2], [], 0)
    np.testing.assert_array_equal(view, values[1:] + 1)
    np.testing.assert_array_equal(second, values + 2)
    np.testing.assert_array_equal(third, values + 3)
    del view
    assert address(executable.run([values], [], 0)[0]) == place
    RESULTS.clear()


def test_library_calls_reuse_large_arrays():
    RESULTS.clear()
    first = ARRAYS.empty((SIZE, 2), np.float32)
    assert (first.shape, first.dtype) == ((SIZE, 2), np.float32)
    address = first.ctypes.data
    del first
    assert ARRAYS.empty((2, SIZE), np.float32).ctypes.data == address
    assert ARRAYS.empty(3).shape == (3,)
    assert ARRAYS.empty(LEAST_BYTES, object)[0] is None
    assert ARRAYS.__name__ == "numpy"
    assert ARRAYS.float16 is np.float16
    RESULTS.clear()
