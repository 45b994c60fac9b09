"""The benchmarks run, compare results, and would notice a wrong one."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as command
from bench import driver, report
from bench.peers import by_hand
from bench.single import SINGLES
from bench.worker import make
from bench.workloads import WORKLOADS, Workload, elementwise, mlp, rows

pytest.importorskip("rich", reason="the tables need the extra demo")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def test_names_are_unique() -> None:
    names = [w.name for w in (*WORKLOADS, *SINGLES)]
    assert len(set(names)) == len(names)


def test_a_run_keeps_table_json_and_chart(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["elementwise_1000", "--peers", "gpugrad,numpy", "--rounds", "2"]
    assert command.main(arguments) == 0
    rows = json.loads((results / "cpu.json").read_text())
    assert [r["peer"] for r in rows] == ["gpugrad", "numpy"]
    assert all(r["rounds"] == 2 and r["median"] > 0 for r in rows)
    assert rows[1]["differs"] < driver.RELATIVE
    assert rows[0]["machine"]["versions"]["numpy"] == np.__version__
    assert (results / "cpu.png").stat().st_size > 5_000
    assert re.search(r"numpy [\d.]+ [mu]s \([\d.]+\)", capsys.readouterr().out)


def test_other_rows_are_kept(results: Path) -> None:
    one = driver.Result("a", "A", "gpugrad", seconds=[1.0])
    two = driver.Result("b", "B", "gpugrad", seconds=[2.0])
    for result in (one, two, two):
        result.finish(1)
        report.keep([result], "cpu")
    found = json.loads((results / "cpu.json").read_text())
    assert [(r["workload"], r["median"]) for r in found] == [("a", 1.0), ("b", 2.0)]


def test_a_peer_that_computes_something_else_is_marked(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "RELATIVE", -1.0)
    arguments = ["elementwise_1000", "--peers", "gpugrad,numpy", "--rounds", "1"]
    assert command.main([*arguments, "--dry"]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "gap"),
    [
        ([np.array([1.0, 2.0])], [np.array([1.0, 2.0])], 0.0),
        ([np.array([1.0, 2.0])], [np.array([1.0, 1.0])], 0.5),
        ([np.array([1.0])], [], float("inf")),
        ([np.array([1.0])], [np.array([1.0, 1.0])], float("inf")),
    ],
)
def test_difference(
    ours: list[np.ndarray], theirs: list[np.ndarray], gap: float
) -> None:
    assert driver.difference(ours, theirs) == gap


def test_a_process_that_dies_says_why(tmp_path: Path) -> None:
    process = driver.Process("no such workload", "gpugrad", tmp_path / "r.npz")
    with pytest.raises(RuntimeError, match="no such workload"):
        process.answer()
    process.close()


@pytest.mark.parametrize(
    "workload",
    [
        elementwise(1_000),
        rows(16, 32),
        mlp(8, (4, 16, 3), "sgd"),
        mlp(8, (4, 16, 3), "adam"),
    ],
    ids=lambda w: w.name,
)
def test_by_hand_agrees(workload: Workload) -> None:
    """Three steps, so that a wrong update shows in the losses."""
    from bench.peers import graph

    ours, theirs = graph.make("gpugrad", workload), by_hand.make(workload)
    for _ in range(3):
        mine = [np.asarray(a, np.float64) for a in ours()]
        other = [np.asarray(a, np.float64) for a in theirs()]
        assert driver.difference(mine, other) < 1e-4


@pytest.mark.parametrize("name", ["loop_1000", "hvp", "session", "call", "build_1000"])
def test_singles_run(name: str) -> None:
    step = make(name, "gpugrad")
    assert len(step()) in (1, 2)


def test_peers_are_no_dependency() -> None:
    assert not {"tensorflow", "jax", "torch", "autograd"} & sys.modules.keys()


def test_the_summary_goes_between_its_marks(results: Path, tmp_path: Path) -> None:
    found = [
        driver.Result("a", "A", "gpugrad", seconds=[1e-3]),
        driver.Result("a", "A", "jax", seconds=[3e-3]),
        driver.Result("a", "A", "numpy", seconds=[2e-3]),
        driver.Result("a", "A", "torch", seconds=[1e-4], differs=1.0),
        driver.Result("b", "B", "gpugrad", seconds=[1.0]),
    ]
    for result in found:
        result.finish(1)
    report.keep(found, "cpu")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):  # a second time changes nothing
        report.write_summary(readme, "cpu", {"a": (3_000_000, 2_000_000)})
    text = readme.read_text()
    assert "| A | 1 ms | numpy 2 ms | 2.00 | 3 | 2 |" in text
    assert "| B | 1 s |  |  |  |  |" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text


def test_traffic_is_counted() -> None:
    from bench.peers.graph import traffic

    workload = elementwise(1_000)
    moved = traffic(workload)
    assert moved is not None
    assert moved >= workload.least_bytes == 6 * 4_000
