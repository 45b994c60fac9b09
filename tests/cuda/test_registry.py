"""Every op of the registry through the CUDA executable, kernels compiled for the CPU.

Rows and examples of the op tests run once on the NumPy backend, which is watched: each
Program that it loads, and what went in and came out. Then the same Programs run as the
CUDA backend would run them. Library calls for which there is no kernel of ours run
their impl, with NumPy in CuPy's place.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes
from gpugrad.backends.cupy.text import Kernel
from gpugrad.backends.numpy.backend import NumpyBackend
from gpugrad.graph.spec import REGISTRY
from gpugrad.kir.program import Program
from gpugrad.runtime import devices
from tests.cuda.cpu import Machine, compiler
from tests.cuda.fakes import FakeBackend, SharedDevice, kernels_of
from tests.ops import harness
from tests.ops.test_gradients import CASES
from tests.ops.test_shapes import EXAMPLES

# Functions of C against NumPy's, in float64; folds add in another order.
RTOL = 1e-9
# Single precision, in the few rows that have it.
RTOL_SINGLE = 3e-5


class Run(NamedTuple):
    """A Program, what one run of it was given, and what came of it."""

    case: str
    program: Program
    inputs: list[np.ndarray]
    variables: list[np.ndarray | None]
    step: int
    outputs: list[np.ndarray]
    committed: list[np.ndarray | None]


class Watched:
    """A NumPy executable that writes down its first run."""

    def __init__(self, program: Program, inner: Any, found: list[Run]) -> None:
        self._program, self._inner, self._found = program, inner, found
        self._seen = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def run(self, inputs: Any, variables: Any, step: int) -> list[np.ndarray]:
        before = copy.deepcopy(list(inputs)), copy.deepcopy(list(variables))
        outputs: list[np.ndarray] = self._inner.run(inputs, variables, step)
        if not self._seen:
            self._seen = True
            after = copy.deepcopy(outputs), copy.deepcopy(list(variables))
            self._found.append(Run("", self._program, *before, step, *after))
        return outputs


class Watcher(NumpyBackend):
    """The NumPy backend, watched."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Run] = []

    def load(self, program: Program) -> Any:
        return Watched(program, super().load(program), self.found)


def rows() -> Iterator[tuple[str, Any, list[np.ndarray], bool]]:
    """(name, function, values, is it differentiable)."""
    for case in CASES:
        yield case.name, case.build, harness.draw(case, 0), True
    for name, (build, *arrays) in EXAMPLES.items():
        yield name, build, [np.asarray(a) for a in arrays], False


def run_on_numpy(build: Any, values: list[np.ndarray], smooth: bool) -> set[str]:
    """The row's outputs and gradients; the types of all ops that there are."""
    graph = tf.Graph()
    with graph.as_default():
        xs = [tf.placeholder(v.dtype, v.shape) for v in values]
        y = build(*xs)
        ys = list(y) if isinstance(y, (list, tuple)) else [y]
        fetched = list(ys)
        if smooth:
            tops = [t for t in ys if t.dtype.is_floating or t.dtype.is_complex]
            ones = [tf.ones_like(t) for t in tops]
            slopes = tf.gradients(tops, xs, grad_ys=ones)
            fetched += [tf.convert_to_tensor(g) for g in slopes if g is not None]
    with tf.Session(graph=graph) as session:
        session.run(fetched, dict(zip(xs, values)))
    return {op.type for op in graph.get_operations()}


OPTIMIZERS: tuple[Callable[[], Any], ...] = (
    lambda: tf.train.GradientDescentOptimizer(0.1),
    lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    lambda: tf.train.AdagradOptimizer(0.1),
    lambda: tf.train.AdagradDAOptimizer(0.1, tf.train.get_or_create_global_step()),
    lambda: tf.train.AdadeltaOptimizer(0.1),
    lambda: tf.train.RMSPropOptimizer(0.1),
    lambda: tf.train.RMSPropOptimizer(0.1, centered=True),
    lambda: tf.train.FtrlOptimizer(0.1),
    lambda: tf.train.FtrlOptimizer(0.1, l2_shrinkage_regularization_strength=0.1),
    lambda: tf.train.ProximalGradientDescentOptimizer(0.1, 0.01),
    lambda: tf.train.ProximalAdagradOptimizer(0.1, l1_regularization_strength=0.01),
    lambda: tf.train.AdamOptimizer(0.1),
)


def train(make: Callable[[], Any]) -> Any:
    """Two steps of an optimizer, of a dense and of a sparse gradient."""
    start = np.linspace(0.5, 2.0, 12).reshape(4, 3)
    dense, table = tf.Variable(start), tf.Variable(start[::-1])
    rows = tf.gather(table, [0, 2, 2])
    return make().minimize(tf.reduce_sum(dense**2) + tf.reduce_sum(rows**2))


def write(method: str) -> Any:
    """One of a variable's methods that change rows of it."""
    variable = tf.Variable(np.linspace(0.5, 2.0, 12).reshape(4, 3))
    rows = np.linspace(0.7, 1.9, 6).reshape(2, 3)
    if "_nd_" in method:
        return getattr(variable, method)([[0], [2]], rows)
    return getattr(variable, method)(tf.IndexedSlices(tf.constant(rows), [0, 2]))


KINDS = ("update", "add", "sub", "mul", "div", "max", "min")
ND_KINDS = ("update", "add", "sub", "max", "min")

STATE: dict[str, Callable[[], Any]] = {
    **{f"optimizer {i}": partial(train, make) for i, make in enumerate(OPTIMIZERS)},
    **{f"scatter {k}": partial(write, f"scatter_{k}") for k in KINDS},
    **{f"scatter_nd {k}": partial(write, f"scatter_nd_{k}") for k in ND_KINDS},
    "assign": lambda: [
        getattr(tf.Variable([1.0, 2.0]), method)([0.5, 0.25])
        for method in ("assign", "assign_add", "assign_sub")
    ],
    "VariableShape": lambda: tf.get_default_graph().apply(
        "VariableShape", tf.Variable([1.0, 2.0]).handle
    ),
    "PreventGradient": lambda: tf.get_default_graph().apply(
        "PreventGradient", tf.constant([1.0]), message="none"
    ),
}


def run_state(build: Callable[[], Any]) -> set[str]:
    """Initializers and two runs of a graph of variables; the types of its ops."""
    graph = tf.Graph()
    with graph.as_default():
        made = build()
        init = tf.global_variables_initializer()
    with tf.Session(graph=graph) as session:
        session.run(init)
        for _ in range(2):
            session.run(made)
    return {op.type for op in graph.get_operations()}


def check(run: Run, backend: Any) -> None:
    """The Program gives on ``backend`` what it gave on NumPy."""
    executable = backend.load(run.program)
    variables = [None if a is None else placed(backend, a) for a in run.variables]
    inputs = [placed(backend, a) for a in run.inputs]
    outputs = executable.run(inputs, variables, run.step)
    pairs = [*zip(outputs, run.outputs), *zip(variables, run.committed)]
    for found, want in pairs:
        if want is None:
            assert found is None
            continue
        got = backend.to_host(found)
        if want.dtype.kind not in "fc":
            np.testing.assert_array_equal(got, want)
            continue
        single = want.dtype.itemsize < (16 if want.dtype.kind == "c" else 8)
        rtol = RTOL_SINGLE if single else RTOL
        finite = np.isfinite(want)
        scale = float(np.max(np.abs(want), initial=0.0, where=finite))
        np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol * scale)


def placed(backend: Any, array: np.ndarray) -> Any:
    """A copy on the device; strings stay where they are."""
    dtype = dtypes.string if array.dtype.hasobject else dtypes.of_numpy(array.dtype)
    return backend.to_device(array.copy(), dtype)


def watched_runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Every row's Programs, as NumPy ran them; no op of the registry is missing."""
    watcher = Watcher()
    monkeypatch.setitem(devices._backends, "auto", watcher)
    runs: list[Run] = []
    types: set[str] = set()
    for name, build, values, smooth in rows():
        watcher.found.clear()
        types |= run_on_numpy(build, values, smooth)
        runs += [r._replace(case=name) for r in watcher.found]
    for name, state in STATE.items():
        watcher.found.clear()
        types |= run_state(state)
        runs += [r._replace(case=name) for r in watcher.found]
    everything = {s.type for s in REGISTRY if s.lower is not None}
    assert everything - types == set()
    return runs


def check_all(runs: list[Run], backend_for: Callable[[int], Any]) -> None:
    """Every run, and then what went wrong in any of them."""
    failures = []
    for number, run in enumerate(runs):
        try:
            check(run, backend_for(number))
        except Exception as error:  # noqa: BLE001 (the others run still)
            text = f"{type(error).__name__}: {error}"
            failures.append(f"{run.case}: {text[:300]}")
    assert not failures, "\n".join(failures)


def test_every_op_runs_on_cuda_as_on_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    runs = watched_runs(monkeypatch)
    kernels: dict[str, Kernel] = {}
    for run in runs:
        kernels |= {k.name: k for k in kernels_of(run.program)}
    machine = Machine(kernels.values(), tmp_path)

    def backend_for(number: int) -> FakeBackend:
        return FakeBackend(SharedDevice(tmp_path / str(number), machine))

    check_all(runs, backend_for)
    print(f"\n{len(runs)} programs, {len(kernels)} kernels")  # noqa: T201


@pytest.mark.gpu
def test_every_op_runs_on_a_gpu_as_on_numpy(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_all(watched_runs(monkeypatch), lambda number: gpu)
