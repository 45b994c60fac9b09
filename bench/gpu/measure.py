"""Measures cases: checks what they compute, times them, relates that to ceilings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.driver import difference
from bench.gpu.cases import Case, available
from bench.gpu.machine import Budget
from gpugrad.compiler.cost import bytes_moved
from gpugrad.compiler.pipeline import optimize
from gpugrad.kir.program import Call, Program
from gpugrad.runtime.explain import lowered

# Of the largest element of a result: a few units in the last place, and sums in
# another order.
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}
# Elements of each input that NumPy computes again.
_CHECKED = 1 << 21
_COPY_BYTES = 1 << 30


@dataclass
class Row:
    """One measurement. ``best`` and ``median`` are seconds, ``bytes`` by the IR.

    ``of_ceiling``: the rate as a part of the copy of as many bytes, or of the matrix
    product of the dtype; None where neither limits it.
    """

    part: str
    name: str
    dtype: str
    library: str
    median: float = 0.0
    best: float = 0.0
    rounds: int = 0
    bytes: int = 0
    flops: int = 0
    of_ceiling: float | None = None
    differs: float = 0.0
    note: str = ""

    def timed(self, seconds: Sequence[float]) -> None:
        """Take the statistics of ``seconds``."""
        self.rounds = len(seconds)
        self.median, self.best = statistics.median(seconds), min(seconds)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)


class Ceilings:
    """What the device reaches in this very run, measured as soon as it is asked for."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine
        self._copies: dict[int, float] = {}
        self._products: dict[str, float] = {}

    def copy(self, size: int) -> float:
        """Bytes a second, read and written, of a copy that moves ``size`` in all."""
        # By powers of two: close enough, and few copies.
        size = 1 << max(min(size, _COPY_BYTES).bit_length() - 1, 12)
        if size not in self._copies:
            xp = self._machine.xp
            source = xp.ones(size // 2, "uint8")
            target = xp.empty_like(source)
            times = self._machine.seconds(lambda: xp.copyto(target, source))
            self._copies[size] = size / statistics.median(times)
        return self._copies[size]

    def product(self, dtype: str, n: int = 4096) -> float:
        """Operations a second of the library's matrix product."""
        if dtype not in self._products:
            xp = self._machine.xp
            a = xp.ones((n, n), available([dtype])[dtype])
            times = self._machine.seconds(lambda: xp.matmul(a, a))
            self._products[dtype] = 2 * n**3 / statistics.median(times)
        return self._products[dtype]

    def rows(self, product_size: int = 4096) -> Iterator[Row]:
        """Those that every report begins with."""
        for size in (1 << 22, 1 << 26, _COPY_BYTES):
            rate = self.copy(size)
            yield Row(
                "ceilings", f"copy, {size:,} bytes moved", "", "cupy",
                size / rate, bytes=size,
            )  # fmt: skip
        for dtype in available():
            flops = 2 * product_size**3
            name = f"matrix product, {product_size:,} cubed"
            rate = self.product(dtype, product_size)
            yield Row("ceilings", name, dtype, "cupy", flops / rate, flops=flops)


def compiled(
    case: Case, arrays: Sequence[Any], backend: Any
) -> tuple[Program, list[Any]]:
    """gpugrad's program for a case, and its inputs in order."""
    import gpugrad.compat.v1 as tf

    graph = tf.Graph()
    with graph.as_default():
        xs = [tf.placeholder(a.dtype, a.shape) for a in arrays]
        built = case.build(tf, *xs)
    session = tf.Session(graph=graph)
    plan, program = lowered(built, dict(zip(xs, arrays)), session)
    program = optimize(program, target=backend.target)
    return program, [arrays[number] for number in plan.inputs]


def load(case: Case, arrays: Sequence[Any], backend: Any) -> tuple[Program, Any]:
    """The program, and a function that runs it."""
    program, fed = compiled(case, arrays, backend)
    executable = backend.load(program)
    return program, lambda: executable.run(fed, [], 0)


def sampled(
    case: Case, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and outputs at some places of the axis along which they stand alone."""
    inputs, results = list(arrays), list(outputs)
    if case.alone is not None:
        first = arrays[0]
        extent = first.shape[case.alone]
        count = max(1, min(extent, _CHECKED * extent // max(first.size, 1)))
        places = np.unique(np.linspace(0, extent - 1, count).astype(np.int64))
        inputs = [
            a.take(places, case.alone) if a.ndim == first.ndim else a for a in arrays
        ]
        axis = min(case.alone, min(o.ndim for o in outputs) - 1)
        results = [o.take(places, axis) for o in outputs]
    wide = [a.astype(np.float64) for a in inputs]
    return wide, [o.astype(np.float64) for o in results]


def check(
    case: Case, arrays: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> float:
    """How far the outputs are from NumPy's, relative to the largest element."""
    inputs, results = sampled(case, arrays, outputs)
    return difference([np.asarray(w) for w in case.wanted(*inputs)], results)


def measure(part: str, case: Case, machine: Any, ceilings: Ceilings) -> Iterator[Row]:
    """gpugrad's row, then those of the rivals that are here."""
    host = case.arrays()
    dtypes = [_dtype(a) for a in host]
    arrays = [machine.backend.to_device(a, d) for a, d in zip(host, dtypes)]
    program, call = load(case, arrays, machine.backend)
    moved = bytes_moved(program)
    flops = sum(s.flops for s in program.steps if isinstance(s, Call))
    row = Row(part, case.name, case.dtype, "gpugrad", bytes=moved, flops=flops)
    row.differs = check(case, host, [machine.backend.to_host(o) for o in call()])
    if not row.differs <= TOLERANCE[case.dtype]:
        row.note = f"result differs by {row.differs:.1e}"
    row.timed(machine.seconds(call))
    limit = moved / ceilings.copy(moved)
    if flops:
        limit = max(limit, flops / ceilings.product(case.dtype))
    row.of_ceiling = limit / row.median
    yield row
    for library, function in case.rivals.items():
        if library not in machine.rivals():
            continue
        module, convert = machine.rivals()[library]
        given = [convert(a) for a in arrays]
        other = Row(part, case.name, case.dtype, library, bytes=moved, flops=flops)
        try:
            times = machine.seconds(lambda: function(module, *given))  # noqa: B023
        except Exception as error:  # noqa: BLE001 (a rival's failure is a result)
            other.note = f"failed: {type(error).__name__}: {error}"[:120]
        else:
            other.timed(times)
            other.of_ceiling = limit / other.median
        yield other


def _dtype(array: np.ndarray) -> Any:
    from gpugrad.dtypes import of_numpy

    return of_numpy(array.dtype)


def run_part(
    part: str,
    cases: Iterable[Case],
    machine: Any,
    ceilings: Ceilings,
    budget: Budget,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """All cases for which there is time; one that fails is a row that says so."""
    for case in cases:
        if not budget.allows(part, f"{case.name}, {case.dtype}"):
            continue
        say(f"{part}: {case.name}, {case.dtype}")
        with budget.timing(part):
            try:
                yield from measure(part, case, machine, ceilings)
            except Exception as error:  # noqa: BLE001 (the others are measured still)
                text = f"failed: {type(error).__name__}: {error}"[:300]
                yield Row(part, case.name, case.dtype, "gpugrad", note=text)
        machine.backend.free_memory()
