"""The GPU's benchmark on the CPU: its cases, bytes, tables, budget and exit status.

NumPy stands in for CuPy and the NumPy backend for the GPU's, so what is computed and
counted is real and what is timed is not.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench import __main__ as bench_command
from bench import peers
from bench import report as cpu_report
from bench.driver import Process
from bench.gpu import cases, command, machine, measure, steps
from bench.gpu.machine import Budget
from bench.gpu.measure import Ceilings, Row, run_part
from bench.workloads import mlp
from gpugrad.runtime import devices
from tests.cuda.cpu import Machine, compiler
from tests.cuda.fakes import FakeBackend, SharedDevice, kernels_of

pytest.importorskip("rich", reason="the tables need the extra demo")

TINY = mlp(8, (4, 16, 3), "sgd")


class Host:
    """As bench.gpu.machine.Gpu; every call takes a millisecond."""

    torch = None

    def __init__(self) -> None:
        self.backend, self.xp = devices.backend("numpy"), np

    def rivals(self) -> dict[str, Any]:
        return {"cupy": (np, lambda array: array)}

    def seconds(self, call: Any) -> list[float]:
        call()
        return [2e-3, 1e-3, 1e-3]

    def facts(self) -> dict[str, Any]:
        return {"device": "a host", "driver_cuda": 13000, "versions": {}}


SMALL = {
    "elementwise": lambda: cases.elementwise((1003,)),
    "rows": lambda: cases.rows(((70, 33),)),
    "reductions": lambda: cases.reductions(((70, 33),), (5000,)),
    "library calls": lambda: cases.calls(500, 6, (40, 30), 2, 7, 5),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(cpu_report, "RESULTS", tmp_path)
    monkeypatch.setattr(command, "CASES", SMALL)
    monkeypatch.setattr(measure, "_COPY_BYTES", 1 << 14)
    monkeypatch.setattr(measure.Ceilings, "product", lambda self, dtype, n=0: 1e6)
    monkeypatch.setattr(command, "run_steps", lambda *rest: iter(()))
    cupyx = ModuleType("cupyx")
    cupyx.scatter_add = np.add.at  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    return tmp_path


def numbers(part: str) -> list[Row]:
    budget = Budget([(part, 1e9)])
    host = Host()
    found = run_part(
        part, SMALL[part](), host, Ceilings(host), budget, lambda text: None
    )
    return list(found)


@pytest.mark.parametrize("part", SMALL)
def test_every_case_computes_what_numpy_does(small: Path, part: str) -> None:
    rows = [r for r in numbers(part) if r.library == "gpugrad"]
    assert rows
    assert {r.note for r in rows} == {""}
    # The NumPy backend rounds each op of a chain to half precision.
    assert all(r.differs < (1e-2 if "16" in r.dtype else 1e-5) for r in rows)
    assert all(r.rounds == 3 and r.of_ceiling for r in rows)


def test_every_case_is_kernels_of_ours(tmp_path: Path) -> None:
    """Run on the CPU by the very executable that runs on a GPU."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    host = devices.backend("numpy")
    everything = [case for make in SMALL.values() for case in make()]
    arrays = [case.arrays() for case in everything]
    programs = [
        measure.compiled(c, given, host) for c, given in zip(everything, arrays)
    ]
    kernels = [k for program, _ in programs for k in kernels_of(program)]
    machine = Machine(kernels, tmp_path)
    for case, given, (program, fed) in zip(everything, arrays, programs):
        device = SharedDevice(tmp_path, machine)
        executable = FakeBackend(device).load(program)
        found = measure.check(case, given, executable.run(fed, [], 0))
        assert found <= measure.TOLERANCE[case.dtype], case.name
        assert device.launched
        assert not any(note.startswith("call") for note in device.notes), case.name


def test_a_wrong_result_and_a_failure_are_rows_that_say_so(small: Path) -> None:
    (case,) = [c for c in cases.reductions((), (64,)) if c.dtype == "float32"]
    wrong = measure.Case(
        *(case.name, case.dtype, case.arrays, case.build),
        lambda x: [x.sum() + 1],
        rivals={"cupy": lambda xp, x: xp.no_such_function(x)},
    )
    broken = measure.Case(
        case.name, case.dtype, case.arrays, lambda tf, x: 1 // 0, case.wanted
    )
    host, budget = Host(), Budget([("part", 1e9)])
    rows = list(
        run_part("part", [wrong, broken], host, Ceilings(host), budget, lambda t: None)
    )
    assert "differs" in rows[0].note and rows[0].rounds
    assert "no_such_function" in rows[1].note
    assert "ZeroDivisionError" in rows[2].note


def test_bytes_are_counted_by_the_program() -> None:
    def moved(case: cases.Case) -> int:
        program, _ = measure.load(case, case.arrays(), devices.backend("numpy"))
        return measure.bytes_moved(program)

    add, chain, *_ = cases.elementwise((1000,))
    assert moved(add) == 3 * 4000
    assert moved(chain) == 6 * 4000
    softmax, normal, *_ = cases.rows(((16, 512),))
    assert moved(softmax) == 2 * 16 * 512 * 4
    assert moved(normal) == 2 * 16 * 512 * 4 + 2 * 512 * 4
    columns, whole, *_ = cases.reductions(((64, 32),), (1000,))
    assert moved(columns) == (64 * 32 + 32) * 4
    assert moved(whole) == 4004


def test_convolutions_are_held_to_the_product(small: Path) -> None:
    row = next(r for r in numbers("library calls") if r.name.startswith("convolution"))
    assert row.flops == 2 * (2 * 7 * 7 * 5) * 3 * 3 * 5
    assert row.of_ceiling == pytest.approx(row.flops / 1e6 / 1e-3)


def test_some_places_are_checked_and_the_rest_is_not_copied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "_CHECKED", 100)
    case = next(iter(cases.rows(((50, 20),))))
    (x,) = case.arrays()
    (inputs,), (outputs,) = measure.sampled(case, [x], [2 * x])
    assert inputs.shape == outputs.shape == (5, 20)
    np.testing.assert_array_equal(inputs[-1], x[-1])
    np.testing.assert_array_equal(outputs, 2 * inputs)


def test_a_run_keeps_table_json_and_chart(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(machine=Host()) == 0
    kept = json.loads((small / "gpu.json").read_text())
    assert kept["machine"]["device"] == "a host"
    assert kept["machine"]["date"]
    assert kept["cut"] == []
    parts = {r["part"] for r in kept["rows"]}
    assert parts == {"ceilings", *SMALL}
    copies = [r for r in kept["rows"] if r["name"].startswith("copy")]
    assert {r["bytes"] / r["median"] for r in copies} >= {(1 << 14) / 1e-3}
    text = (small / "gpu.txt").read_text()
    assert "softmax of rows, 70 x 33" in text and "GB/s" in text
    assert (small / "gpu.png").stat().st_size > 5_000
    assert "elementwise" in capsys.readouterr().out


def test_nothing_is_kept_of_a_dry_run(small: Path) -> None:
    assert command.run(dry=True, machine=Host()) == 0
    assert not list(small.iterdir())


def test_what_there_is_no_time_for_is_cut_and_said(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    late = [("ceilings", 1e9), ("rows", -2e9), ("reductions", 2e9)]
    monkeypatch.setattr(command, "PARTS", late)
    assert command.run(machine=Host()) == 0
    kept = json.loads((small / "gpu.json").read_text())
    assert {r["part"] for r in kept["rows"]} == {"ceilings", "reductions"}
    assert any(c.startswith("rows: softmax") for c in kept["cut"])
    assert "cut, for want of time: rows" in capsys.readouterr().out


def test_a_budget_hands_on_what_a_part_leaves() -> None:
    now = [0.0]
    budget = Budget([("a", 10.0), ("b", 5.0)], clock=lambda: now[0])
    with budget.timing("a"):
        now[0] = 4.0
    assert budget.left("a") == 6.0 and budget.left("b") == 11.0
    assert budget.allows("a", "one")
    now[0] = 7.0
    assert not budget.allows("a", "two")  # as long as the first would be too long
    assert budget.allows("b", "three")
    assert budget.cut == ["a: two"]


def test_the_parts_fit_in_eight_minutes() -> None:
    assert sum(s for _, s in command.PARTS) <= command.LIMIT_S - 30 <= 450
    assert [p for p, _ in command.PARTS][1:-1] == list(command.CASES)


def test_without_a_gpu_it_says_so_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "missing_gpu", lambda: "there is none here.")
    assert bench_command.main(["--gpu"]) == 2
    said = capsys.readouterr().err
    assert said == "python -m bench --gpu needs a GPU: there is none here.\n"


def test_nvidia_smi_is_asked_if_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert machine.smi(0) == {}
    answer = "580.65, 1980 MHz, 1980 MHz, 2619 MHz, 700.00 W, 31\n"

    def run(command: list[str], **rest: Any) -> Any:
        assert command[1] == "--id=3"
        return subprocess.CompletedProcess(command, 0, answer, "")

    monkeypatch.setattr(machine.shutil, "which", lambda name: "/bin/nvidia-smi")
    monkeypatch.setattr(machine.subprocess, "run", run)
    assert machine.smi(3)["driver_version"] == "580.65"
    assert machine.smi(3)["temperature.gpu"] == "31"


class Events:
    """CuPy's events and streams: each call is a second later than the one before."""

    def __init__(self) -> None:
        self.now = 0.0
        self.log: list[str] = []
        self.cuda = self

    def Event(self) -> Any:
        events = self

        class Event:
            at = 0.0

            def record(self, stream: Any) -> None:
                self.at = events.now
                events.log.append("record")

        return Event()

    def get_elapsed_time(self, first: Any, last: Any) -> float:
        return (last.at - first.at) * 1e3

    def fill(self, value: int) -> None:
        self.log.append("flush")
        self.now += 100

    def synchronize(self) -> None:
        self.log.append("wait")

    def __enter__(self) -> None:
        self.log.append("stream")

    def __exit__(self, *error: object) -> None:
        pass


def test_only_the_call_is_between_the_events() -> None:
    events = Events()
    gpu = machine.Gpu.__new__(machine.Gpu)
    gpu.xp, gpu._stream, gpu._junk, gpu.torch = events, events, events, None

    def call() -> None:
        events.log.append("call")
        events.now += 1

    times = gpu.seconds(call)
    assert set(times) == {1.0} and 20 <= len(times) <= 100
    assert events.log[0] == "stream"
    assert events.log[-5:] == ["flush", "record", "call", "record", "wait"]


def test_steps_run_in_processes_and_are_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "_ROUNDS", 2)
    monkeypatch.setattr(steps, "RELATIVE", 1e-3)
    budget = Budget([("steps", 120.0)])
    rows = list(
        steps.run_steps("steps", budget, lambda t: None, [TINY], ("gpugrad",), "cpu")
    )
    assert [(r.library, r.note, r.rounds) for r in rows] == [("gpugrad", "", 2)]
    assert rows[0].median > 0 and rows[0].differs < 1e-5


def test_a_step_that_takes_too_long_is_cut() -> None:
    budget = Budget([("steps", 0.2)])
    rows = list(steps.run_steps("steps", budget, lambda t: None, [TINY], (), "cpu"))
    assert len(rows) == 1 and rows[0].note.startswith("cut")
    assert len(budget.cut) == 1


def test_a_worker_that_does_not_answer_in_time_is_killed(tmp_path: Path) -> None:
    process = Process(TINY.name, "gpugrad", tmp_path / "r.npz")
    start = time.monotonic()
    with pytest.raises(RuntimeError):
        process.answer(0.05)
    assert time.monotonic() - start < 30
    process.close()


@pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed"
)
def test_torch_says_that_it_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.peers import torch

    monkeypatch.setenv("BENCH_DEVICE", "gpu")
    monkeypatch.setattr(torch.torch.cuda, "is_available", lambda: False)
    with pytest.raises(LookupError, match="sees no GPU"):
        torch.make(False, TINY)


def test_the_cpu_is_measured_on_the_cpu() -> None:
    assert peers.ENVIRONMENT["cpu"]["GPUGRAD_BACKEND"] == "numpy"
    assert not peers.on_gpu()
