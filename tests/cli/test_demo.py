"""``gpugrad demo``: learns, repeats itself, and refuses what cannot work at once."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from itertools import islice

import matplotlib.image
import numpy as np
import pytest

from gpugrad import cli, config
from gpugrad.demo import digits, picture
from gpugrad.demo.classifier import Classifier
from gpugrad.runtime import devices


@pytest.fixture(autouse=True)
def same_backend_after():
    """The demo chooses a backend for the whole process: choose the old one again."""
    before = config.current().backend
    yield
    config.set_backend(before)


def demo(*options):
    return cli.main(["demo", "--backend", "numpy", *map(str, options)])


# --- the data -------------------------------------------------------------------------


def test_the_data_is_whole():
    training, held_out = digits.load()
    assert (len(training), len(held_out)) == (1437, 360)
    for part in (training, held_out):
        assert part.images.dtype == np.float32
        assert part.images.shape == (len(part), 64)
        assert part.images.min() == 0
        assert part.images.max() == 1
        assert set(part.labels) == set(range(10))
    # UCI's own count of each digit in the file
    everything = np.concatenate([training.labels, held_out.labels])
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(everything).tolist() == counts


def test_the_same_digits_are_held_out_every_time():
    (_, first), (_, second) = digits.load(), digits.load()
    assert np.array_equal(first.images, second.images)


def test_minibatches_pass_over_every_digit_once_before_any_comes_again():
    """Rows are numbered, so that which ones came can be read off the labels."""
    rows = digits.Digits(np.zeros((10, 64), np.float32), np.arange(10, dtype=np.int32))
    batches = digits.minibatches(rows, size=3, seed=5)
    passes = [[b.labels for b in islice(batches, 3)] for _ in range(4)]
    for one in passes:
        assert all(len(labels) == 3 for labels in one)
        assert len(set(np.concatenate(one))) == 9
    assert not np.array_equal(passes[0], passes[1])


# --- the classifier -------------------------------------------------------------------


def test_it_learns():
    config.set_backend("numpy")
    training, held_out = digits.load()
    classifier = Classifier(seed=0)
    assert classifier.score(held_out).accuracy < 0.3
    losses = [score.loss for score in classifier.train(training, 300, 64, seed=0)]
    assert np.mean(losses[-50:]) < 0.2 * losses[0]
    assert classifier.score(held_out).accuracy >= 0.95


def test_probabilities_are_a_distribution():
    config.set_backend("numpy")
    _, held_out = digits.load()
    result = Classifier(seed=3).probabilities(held_out.images[:7])
    assert result.shape == (7, 10)
    assert result.sum(axis=1) == pytest.approx(np.ones(7), rel=1e-6)


# --- the command ----------------------------------------------------------------------


def test_what_it_prints_and_draws(tmp_path, capsys):
    output = tmp_path / "digits.png"
    assert demo("--steps", 40, "--output", output) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("step ")]) == 11
    text = "\n".join(lines)
    assert re.search(r"^step 40  loss \d\.\d{6}  accuracy \d\.\d{4}$", text, re.M)
    assert re.search(r"^held-out accuracy: \d+\.\d\d% of 360 digits$", text, re.M)
    assert re.search(r"^steps per second:  [\d,]+ ", text, re.M)
    assert re.search(r"^device:            \S", text, re.M)
    assert lines[-1] == f"picture:           {output}"
    height, width, _ = matplotlib.image.imread(output).shape
    assert (height, width) == (550, 1210)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.png"]


def test_one_seed_prints_the_same_again_and_another_does_not(tmp_path, capsys):
    printed = []
    for seed in (7, 7, 8):
        assert demo("--steps", 12, "--seed", seed, "--output", tmp_path / "a.png") == 0
        out = capsys.readouterr().out
        printed.append(out[: out.index("steps per second")])
    assert printed[0] == printed[1]
    assert printed[0] != printed[2]


def test_one_step_is_enough_to_run(tmp_path, capsys):
    assert demo("--steps", 1, "--output", tmp_path / "a.png") == 0
    assert "steps per second" not in capsys.readouterr().out


def test_python_dash_m(tmp_path):
    """In a process of its own, with its output piped: no control codes in it."""
    done = subprocess.run(
        [sys.executable, "-m", "gpugrad", "demo", "--steps", "5"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert "\x1b" not in done.stdout + done.stderr
    assert (tmp_path / "gpugrad-demo.png").is_file()


# --- refusals, all before any training ------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "'0' is not a whole number from 1"),
        (["--steps", "many"], "'many' is not a whole number from 1"),
        (["--batch", "-3"], "'-3' is not a whole number from 1"),
        (["--seed", "1.5"], "'1.5' is not a whole number from 0"),
        (["--seed", str(2**63)], f"is not a whole number from 0 to {2**63 - 1}"),
        (["--backend", "tpu"], "invalid choice: 'tpu'"),
    ],
)
def test_bad_option(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["demo", *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_batch_larger_than_the_data(capsys):
    assert demo("--batch", 1438) == 1
    assert "--batch 1438: there are 1437 digits" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("missing/a.png", "No such file or directory"),
        ("a.jpg", "end it in .png"),
        ("folder.png", "this is a folder"),
        ("file/a.png", "Not a directory"),
        ("/proc/a.png", "cannot write into /proc"),
    ],
)
def test_output_that_cannot_be_written(output, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert demo("--output", output) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"gpugrad: error: --output {output}: ")
    assert message in captured.err


def test_a_gpu_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "missing_gpu", lambda: "there is none.")
    output = tmp_path / "a.png"
    assert cli.main(["demo", "--backend", "cupy", "--output", str(output)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "cupy backend was asked for, but there is none." in captured.err


def test_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert demo() == 1
    expected = "the demo needs rich and matplotlib: pip install 'gpugrad[demo]'"
    assert expected in capsys.readouterr().err
    assert importlib.util.find_spec("rich")


def test_failed_picture_leaves_the_old_one(tmp_path, monkeypatch):
    output = tmp_path / "a.png"
    output.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(picture.Figure, "savefig", fail)
    _, held_out = digits.load()
    with pytest.raises(OSError, match="disk full"):
        picture.save(output, [1.0], held_out, np.eye(360, 10, dtype=np.float32), "")
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]
