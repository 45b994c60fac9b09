"""Checkpoints that TensorFlow 2.21 wrote: read, restored, refused when damaged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes

PREFIX = Path(__file__).parent / "data" / "tensorflow" / "model.ckpt"


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def test_reading() -> None:
    reader = tf.train.load_checkpoint(PREFIX)
    shapes = reader.get_variable_to_shape_map()
    assert len(shapes) == 48 and shapes["layer/w"] == [2, 3]
    assert reader.get_variable_to_dtype_map()["bf"] is dtypes.bfloat16
    w = reader.get_tensor("layer/w")
    assert w.dtype == np.float32 and w.tolist() == [[0, 0.25, 0.5], [0.75, 1, 1.25]]
    assert reader.get_tensor("layer/b").tolist() == [1.0, -2.0]
    assert reader.get_tensor("half").tolist() == [1.5, -0.5]
    assert reader.get_tensor("s").tolist() == [b"a", b"", b"longer"]
    assert reader.get_tensor("flag").tolist() is True
    assert reader.get_tensor("empty").shape == (0, 2)
    for number in range(40):
        found = reader.get_tensor(f"many/v{number:02d}")
        assert found.tolist() == [number, number]
    with pytest.raises(tf.errors.NotFoundError, match="Key nope not found"):
        reader.get_tensor("nope")


def test_restoring(tmp_path: Path) -> None:
    with tf.variable_scope("layer"):
        w = tf.get_variable("w", [2, 3])
    s = tf.get_variable("s", initializer=["", "", ""])
    step = tf.train.get_or_create_global_step()
    saver = tf.train.Saver()
    with tf.Session() as session:
        saver.restore(session, PREFIX)
        assert session.run(w)[1].tolist() == [0.75, 1.0, 1.25]
        assert session.run(s).tolist() == [b"a", b"", b"longer"]
        assert session.run(step) == 0
        own = saver.save(session, tmp_path / "own", write_meta_graph=False)
        saver.restore(session, own)
        with pytest.raises(tf.errors.InvalidArgumentError, match="the variable"):
            tf.train.Saver({"layer/b": w}).restore(session, PREFIX)
    saver.recover_last_checkpoints([str(PREFIX), str(tmp_path / "none"), own])
    assert saver.last_checkpoints == [str(PREFIX), own]


def copied(folder: Path) -> tuple[Path, Path]:
    for path in PREFIX.parent.iterdir():
        shutil.copy(path, folder)
    return folder / "model.ckpt.index", folder / "model.ckpt.data-00000-of-00001"


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """No byte of the index, changed or missing, brings another kind of error."""
    index, data = copied(tmp_path)
    prefix = tmp_path / "model.ckpt"
    good = index.read_bytes()
    refused = 0
    for place in range(len(good)):
        for bad in (good[:place], good[:place] + b"\xff" + good[place + 1 :]):
            index.write_bytes(bad)
            try:
                reader = tf.train.load_checkpoint(prefix)
                for name, kind in reader.get_variable_to_dtype_map().items():
                    if kind.np_dtype is not None:
                        reader.get_tensor(name)
            except (tf.errors.DataLossError, tf.errors.UnimplementedError):
                refused += 1
    assert refused > len(good)
    index.write_bytes(good)
    data.write_bytes(data.read_bytes()[:-50])
    with pytest.raises(tf.errors.DataLossError, match="does not hold all of"):
        for name in ("s", "many/v39", "layer/w"):
            tf.train.load_variable(prefix, name)
    data.unlink()
    with pytest.raises(tf.errors.DataLossError, match="No such file"):
        tf.train.load_variable(prefix, "layer/w")
