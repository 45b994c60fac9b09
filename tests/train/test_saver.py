"""Saver: what is saved comes back, and what goes wrong loses nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad import dtypes, files
from gpugrad.checkpoint import archive, state


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


@pytest.fixture
def session(graph: tf.Graph) -> Iterator[tf.Session]:
    with tf.Session() as fresh:
        yield fresh


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


# --- round trips ----------------------------------------------------------------------

VALUES = {
    "float32": np.array([[1.5, -0.0], [np.nan, np.inf]], np.float32),
    "float64": np.array(np.pi),
    "float16": np.zeros((0, 3), np.float16),
    "int64": np.array([2**62, -1]),
    "uint8": np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
    "bool": np.array([True, False]),
    "complex64": np.array([1 + 2j], np.complex64),
    "string": np.array([b"", b"a\x00b\x00", "ü".encode()], object),
}


@pytest.mark.parametrize("name", VALUES)
def test_every_dtype(name: str, session: tf.Session, tmp_path: Path) -> None:
    value = VALUES[name]
    v = tf.Variable(value, dtype=name, name="v")
    saver = tf.train.Saver()
    session.run(v.initializer)
    path = saver.save(session, tmp_path / "c")
    with tf.Session() as other:
        saver.restore(other, path)
        back = other.run(v)
    assert np.asarray(back).dtype == value.dtype
    np.testing.assert_array_equal(back, value)
    reader = tf.train.load_checkpoint(path)
    assert reader.get_variable_to_dtype_map() == {"v": dtypes.as_dtype(name)}
    np.testing.assert_array_equal(reader.get_tensor("v"), value)


def test_bfloat16(session: tf.Session, tmp_path: Path) -> None:
    value = np.array([1.5, -3.0, np.inf], dtypes.bfloat16.np_dtype)
    v = tf.Variable(value)
    session.run(v.initializer)
    saver = tf.train.Saver()
    path = saver.save(session, tmp_path / "c")
    with tf.Session() as other:
        saver.restore(other, path)
        assert other.run(v).tobytes() == value.tobytes()


def test_bfloat16_without_its_package(tmp_path: Path) -> None:
    """The bits are kept as uint16; a machine that lacks the type says what to do."""
    bits = np.array([0x3F80, 0xC040], np.uint16)
    archive.write(str(tmp_path / "c"), {"v": (dtypes.bfloat16, bits)})
    reader = tf.train.load_checkpoint(tmp_path / "c")
    assert reader.get_variable_to_shape_map() == {"v": [2]}
    assert reader.get_tensor("v").astype(np.float32).tolist() == [1.0, -3.0]
    script = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import gpugrad.compat.v1 as tf\n"
        f"tf.train.load_checkpoint({str(tmp_path / 'c')!r}).get_tensor('v')"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True
    )
    assert "UnimplementedError" in found.stderr
    assert "pip install ml_dtypes" in found.stderr


def test_numpy_opens_the_file(session: tf.Session, tmp_path: Path) -> None:
    with tf.variable_scope("layer"):
        tf.get_variable("w", initializer=[1.0, 2.0])
    session.run(tf.global_variables_initializer())
    path = tf.train.Saver().save(session, tmp_path / "c", 7)
    assert path == str(tmp_path / "c-7")
    with np.load(path + ".npz", allow_pickle=False) as arrays:
        assert arrays["layer/w"].tolist() == [1.0, 2.0]


def test_restore_is_a_run_of_its_own(session: tf.Session, tmp_path: Path) -> None:
    """Plans made before see the restored value, also of another shape."""
    v = tf.Variable([1.0, 2.0])
    u = tf.Variable([1.0], validate_shape=False)
    total = tf.reduce_sum(v) + tf.reduce_sum(u)
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver()
    session.run(u.assign([3.0, 4.0, 5.0]))
    path = saver.save(session, tmp_path / "c")
    session.run(tf.global_variables_initializer())
    assert session.run(total) == 4.0
    before = tf.get_default_graph().version
    saver.restore(session, path)
    assert tf.get_default_graph().version == before
    assert session.run(total) == 15.0
    session.run(v.assign_add([1.0, 1.0]))
    saver.restore(session, path)  # the first restore kept no alias of its arrays
    assert session.run(total) == 15.0


def test_a_training_run_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    def train(steps: int, start: Any = None) -> tuple[Any, str]:
        with tf.Graph().as_default():
            w = tf.get_variable("w", initializer=[1.0, -2.0])
            step = tf.train.get_or_create_global_step()
            loss = tf.reduce_sum(tf.square(w - 0.5))
            op = tf.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
            saver = tf.train.Saver()
            with tf.Session() as session:
                if start is None:
                    session.run(tf.global_variables_initializer())
                else:
                    saver.restore(session, start)
                for _ in range(steps):
                    session.run(op)
                path = saver.save(session, tmp_path / "model.ckpt", global_step=step)
                return session.run(w), path

    whole, _ = train(6)
    _, path = train(3)
    assert path.endswith("model.ckpt-3")
    again, last = train(3, path)
    assert last.endswith("model.ckpt-6")
    assert again.tolist() == whole.tolist()
    assert [n for n, _ in tf.train.list_variables(path)] == [
        "beta1_power", "beta2_power", "global_step", "w", "w/Adam", "w/Adam_1",
    ]  # fmt: skip


def test_names_of_ones_own(session: tf.Session, tmp_path: Path) -> None:
    a, b = tf.Variable(1.0, name="a"), tf.Variable(2.0, name="b")
    session.run(tf.global_variables_initializer())
    path = tf.train.Saver({"x": a}).save(session, tmp_path / "c")
    assert tf.train.list_variables(path) == [("x", [])]
    tf.train.Saver({"x": b}).restore(session, path)
    assert session.run([a, b]) == [1.0, 1.0]
    assert tf.train.load_variable(path, "x:0") == 1.0


def test_reshape(session: tf.Session, tmp_path: Path) -> None:
    a = tf.Variable(np.arange(6.0), name="a")
    b = tf.Variable(np.zeros((2, 3)), name="b")
    session.run(tf.global_variables_initializer())
    path = tf.train.Saver({"v": a}).save(session, tmp_path / "c")
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"v has shape \(6,\)"):
        tf.train.Saver({"v": b}).restore(session, path)
    tf.train.Saver({"v": b}, reshape=True).restore(session, path)
    assert session.run(b).tolist() == [[0, 1, 2], [3, 4, 5]]


# --- which are kept -------------------------------------------------------------------


def test_the_oldest_go(session: tf.Session, tmp_path: Path) -> None:
    v = tf.Variable(0.0)
    session.run(v.initializer)
    saver = tf.train.Saver(max_to_keep=2)
    paths = [saver.save(session, tmp_path / "m", n) for n in (1, np.int64(2), 3)]
    assert saver.last_checkpoints == paths[1:]
    assert [tf.train.checkpoint_exists(p) for p in paths] == [False, True, True]
    assert {n for n in contents(tmp_path) if not n.endswith(".meta")} == {
        "checkpoint", "m-2.npz", "m-3.npz",
    }  # fmt: skip
    assert "m-1.meta" not in contents(tmp_path)
    found = tf.train.get_checkpoint_state(tmp_path)
    assert found.model_checkpoint_path == paths[2]
    assert found.all_model_checkpoint_paths == paths[1:]
    assert tf.train.latest_checkpoint(tmp_path) == paths[2]
    fresh = tf.train.Saver(max_to_keep=2)
    fresh.recover_last_checkpoints([paths[0], *found.all_model_checkpoint_paths])
    assert fresh.last_checkpoints == paths[1:]
    fresh.save(session, tmp_path / "m", 4)
    assert not tf.train.checkpoint_exists(paths[1])


def test_a_checkpoint_saved_again_is_not_deleted(
    session: tf.Session, tmp_path: Path
) -> None:
    v = tf.Variable(0.0)
    session.run(v.initializer)
    saver = tf.train.Saver(max_to_keep=2)
    for step in (1, 2, 1, 3):
        path = saver.save(session, tmp_path / "m", step)
        assert tf.train.checkpoint_exists(path)
    assert [Path(p).name for p in saver.last_checkpoints] == ["m-1", "m-3"]
    assert not tf.train.checkpoint_exists(tmp_path / "m-2")


def test_one_in_so_many_hours_stays(
    session: tf.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    v = tf.Variable(0.0)
    session.run(v.initializer)
    saver = tf.train.Saver(max_to_keep=1, keep_checkpoint_every_n_hours=1)
    for step in range(6):
        saver.save(session, tmp_path / "m", step, write_meta_graph=False)
        now[0] += 1801
    # Times 0, 1801, ... after the start: more than 3600 and more than 7200 stay.
    assert sorted(contents(tmp_path)) == [
        "checkpoint", "m-2.npz", "m-4.npz", "m-5.npz",
    ]  # fmt: skip


@pytest.mark.parametrize("keep", [0, None])
def test_all_are_kept(keep: Any, session: tf.Session, tmp_path: Path) -> None:
    v = tf.Variable(0.0)
    session.run(v.initializer)
    saver = tf.train.Saver(max_to_keep=keep)
    for step in range(7):
        saver.save(session, tmp_path / "m", step, write_meta_graph=False)
    assert len(contents(tmp_path)) == 8 and saver.last_checkpoints == []


def test_the_step_and_the_state_file(
    session: tf.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    v = tf.Variable(0.0)
    step = tf.train.create_global_step()
    session.run(tf.global_variables_initializer())
    session.run(step.assign(12))
    saver = tf.train.Saver(pad_step_number=True)
    assert saver.save(session, "d/m", step) == "d/m-00000012"
    assert saver.save(session, "d/m", write_state=False) == "d/m"
    text = (tmp_path / "d" / "checkpoint").read_text()
    assert text.splitlines()[:2] == [
        'model_checkpoint_path: "m-00000012"',
        'all_model_checkpoint_paths: "m-00000012"',
    ]
    assert tf.train.latest_checkpoint("d") == "d/m-00000012"
    assert tf.train.latest_checkpoint(tmp_path) is None
    assert session.run(v) == 0.0


def test_a_folder_that_moves(session: tf.Session, tmp_path: Path) -> None:
    tf.Variable(0.0)
    session.run(tf.global_variables_initializer())
    (tmp_path / "old").mkdir()
    tf.train.Saver(save_relative_paths=True).save(session, tmp_path / "old" / "m")
    (tmp_path / "old").rename(tmp_path / "new")
    assert tf.train.latest_checkpoint(tmp_path / "new") == str(tmp_path / "new" / "m")


@pytest.mark.parametrize("name", ['a "b"\\c', "ü\n\t", "plain"])
def test_state_text_round_trip(name: str, tmp_path: Path) -> None:
    stamps = [1.5, 1700000000.125]
    tf.train.update_checkpoint_state(
        str(tmp_path), name, ["x", name], all_model_checkpoint_timestamps=stamps
    )
    found = tf.train.get_checkpoint_state(tmp_path)
    assert found.model_checkpoint_path == str(tmp_path / name)
    assert found.all_model_checkpoint_timestamps == stamps
    assert (tmp_path / "checkpoint").read_bytes().isascii()


def test_a_state_file_of_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt-9"\n'
        'all_model_checkpoint_paths: "/data/\\303\\274-1"\n'
        "all_model_checkpoint_timestamps: 1.7000000001e+09\n"
        "last_preserved_timestamp: 17.5\n"
    )
    found = tf.train.get_checkpoint_state(tmp_path)
    assert found.model_checkpoint_path == str(tmp_path / "model.ckpt-9")
    assert found.all_model_checkpoint_paths == ["/data/ü-1"]
    assert found.all_model_checkpoint_timestamps == [1.7000000001e9]
    assert found.last_preserved_timestamp == 17.5
    (tmp_path / "checkpoint").write_text("model_checkpoint_path: m\n\n???")
    with pytest.raises(tf.errors.DataLossError, match="line 1|line 2|line 3"):
        tf.train.get_checkpoint_state(tmp_path)


# --- what goes wrong ------------------------------------------------------------------


def saved(session: tf.Session, folder: Path) -> tuple[tf.train.Saver, str]:
    tf.Variable(np.arange(1000.0), name="a")
    tf.Variable([1.0, 2.0], name="b")
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver()
    return saver, saver.save(session, folder / "c")


def test_a_failed_restore_changes_nothing(session: tf.Session, tmp_path: Path) -> None:
    _, path = saved(session, tmp_path)
    a, b = tf.global_variables()
    session.run([a.assign(a * 2.0), b.assign([7.0, 8.0])])
    wrong = tf.Variable([0.0, 0.0, 0.0], name="wrong")
    gone = tf.Variable(np.zeros((2, 5)), name="layer/gone")
    session.run([wrong.initializer, gone.initializer])
    with pytest.raises(tf.errors.NotFoundError) as missing:
        tf.train.Saver([a, b, gone, wrong]).restore(session, path)
    for text in ("2 of 4", "Key layer/gone (2, 5) not found", "Nothing was restored"):
        assert text in str(missing.value)
    with pytest.raises(tf.errors.InvalidArgumentError) as differ:
        tf.train.Saver({"a": a, "b": wrong}).restore(session, path)
    assert "b has shape (2,), the variable (3,)" in str(differ.value)
    integer = tf.Variable([1, 2], name="integer")
    with pytest.raises(tf.errors.InvalidArgumentError, match="b is float32, the vari"):
        tf.train.Saver({"a": a, "b": integer}).restore(session, path)
    assert session.run(a).tolist() == (np.arange(1000.0) * 2).tolist()
    assert session.run(b).tolist() == [7.0, 8.0]


def test_damage_is_found(session: tf.Session, tmp_path: Path) -> None:
    """One wrong bit anywhere in the file: an error, or the right values."""
    saver, path = saved(session, tmp_path)
    a, b = tf.global_variables()
    session.run(b.assign([7.0, 8.0]))
    file = Path(path + ".npz")
    good = file.read_bytes()
    messages: list[str] = []
    places = {*range(0, len(good), 97), *range(len(good) - 400, len(good), 3)}
    for place in sorted(places):
        bad = bytearray(good)
        bad[place] ^= 0x10
        file.write_bytes(bad)
        try:
            saver.restore(session, path)
        except (tf.errors.DataLossError, tf.errors.NotFoundError) as error:
            messages.append(str(error))
            assert session.run(b).tolist() == [7.0, 8.0]
        else:
            assert session.run(b).tolist() == [1.0, 2.0]
            session.run(b.assign([7.0, 8.0]))
        assert session.run(a).tolist() == np.arange(1000.0).tolist()
    assert len(messages) > len(places) / 2
    assert all("damaged" in m or "Nothing was restored" in m for m in messages)
    file.write_bytes(good[:-30])
    with pytest.raises(tf.errors.DataLossError, match=r"c\.npz is damaged"):
        saver.restore(session, path)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (os._exit, (1,))

    prefix = str(tmp_path / "c")
    np.savez(prefix + ".npz", v=np.array([Bomb()], object))
    with zipfile.ZipFile(prefix + ".npz", "a") as file:
        file.writestr(
            "manifest.json",
            '{"format": 1, "tensors": {"v": {"dtype": "float32", "shape": [1]}}}',
        )
    with pytest.raises(tf.errors.DataLossError, match="damaged"):
        tf.train.load_checkpoint(prefix).get_tensor("v")


@pytest.mark.parametrize("what", ["[1]", "{}", '{"format": 1, "tensors": 3}', "\xff"])
def test_a_wrong_manifest(what: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("manifest.json", what.encode("latin-1"))
    with pytest.raises(tf.errors.DataLossError, match="damaged"):
        tf.train.load_checkpoint(tmp_path / "c")


def test_a_later_format_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as file:
        file.writestr("manifest.json", '{"format": 2, "tensors": {}}')
    with pytest.raises(tf.errors.UnimplementedError, match="reads format 1"):
        tf.train.load_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("moment", ["writing", "renaming"])
def test_a_killed_writer_leaves_the_old_checkpoint(
    moment: str, session: tf.Session, tmp_path: Path
) -> None:
    saver, path = saved(session, tmp_path)
    before = contents(tmp_path)
    code = f"""
        import os, pathlib, signal
        import numpy as np
        import gpugrad.compat.v1 as tf
        a = tf.Variable(np.zeros(1000), name="a")
        b = tf.Variable([0.0, 0.0], name="b")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            def die(*args, **kwargs):
                os.kill(os.getpid(), signal.SIGKILL)
            if {moment!r} == "writing":
                np.lib.format.write_array = die
            else:
                pathlib.Path.replace = die
            tf.train.Saver().save(session, {path!r})
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert run.returncode == -9
    after = contents(tmp_path)
    assert {n: after[n] for n in before} == before
    left = sorted(set(after) - set(before))
    assert len(left) == 1 and left[0].endswith(".part")
    with tf.Session() as other:
        saver.restore(other, tf.train.latest_checkpoint(tmp_path))
        assert other.run(tf.global_variables()[1]).tolist() == [1.0, 2.0]


def test_a_failed_save_leaves_the_files(
    session: tf.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saver, path = saved(session, tmp_path)
    before = contents(tmp_path)
    late = tf.Variable(1.0, name="late")
    with pytest.raises(tf.errors.FailedPreconditionError, match="late"):
        tf.train.Saver().save(session, path)
    session.run(late.initializer)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        tf.train.Saver().save(session, path)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert saver.last_checkpoints == [path]


def test_errors(session: tf.Session, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No variables to save"):
        tf.train.Saver()
    tf.train.Saver(allow_empty=True).save(session, tmp_path / "empty")
    v = tf.Variable(1.0, name="v")
    with pytest.raises(TypeError, match="Variable to save is not a Variable"):
        tf.train.Saver([v * 2.0])
    with pytest.raises(TypeError, match="Variable to save is not a Variable"):
        tf.train.Saver({"v": 3.0})
    session.run(v.initializer)
    saver = tf.train.Saver()
    with pytest.raises(ValueError, match="Parent directory of .* doesn't exist"):
        saver.save(session, tmp_path / "none" / "m")
    with pytest.raises(ValueError, match="must not contain path components"):
        saver.save(session, tmp_path / "m", latest_filename="a/b")
    with pytest.raises(ValueError, match="not a valid checkpoint"):
        saver.restore(session, tmp_path / "nothing")
    with pytest.raises(ValueError, match="Can't load save_path when it is None"):
        saver.restore(session, None)
    with pytest.raises(ValueError, match="Couldn't find 'checkpoint' file"):
        tf.train.list_variables(os.fspath(tmp_path.parent))
    with pytest.raises(tf.errors.NotFoundError, match="There is no checkpoint"):
        tf.train.load_checkpoint(tmp_path / "nothing")
    with pytest.raises(tf.errors.NotFoundError, match="Key w not found"):
        tf.train.load_variable(saver.save(session, tmp_path / "m"), "w")
    late = tf.train.Saver(defer_build=True)
    with pytest.raises(RuntimeError, match=r"call build\(\) first"):
        late.save(session, tmp_path / "m")
    late.build()
    late.save(session, tmp_path / "m")


def test_assign_values_refuses_as_a_whole(session: tf.Session) -> None:
    a, b = tf.Variable(1.0), tf.Variable([1.0])
    session.run(tf.global_variables_initializer())
    with pytest.raises(ValueError, match="Cannot feed value of shape"):
        session.assign_values({a: 2.0, b: [1.0, 2.0]})
    assert session.run(a) == 1.0
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="not a variable of this graph"):
            session.assign_values({tf.Variable(1.0): 2.0})
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.assign_values({a: 2.0})


def test_threads_save_while_others_train(session: tf.Session, tmp_path: Path) -> None:
    """Every checkpoint is of one moment: both variables count alike."""
    a, b = tf.Variable(0.0, name="a"), tf.Variable(np.zeros(500), name="b")
    step = tf.group(a.assign_add(1.0), b.assign_add(np.ones(500)))
    session.run(tf.global_variables_initializer())
    saver = tf.train.Saver(max_to_keep=3)

    def save(name: str) -> None:
        for number in range(25):
            path = saver.save(session, tmp_path / name, number)
            try:
                reader = archive.CheckpointReader(path)
            except tf.errors.NotFoundError:
                continue  # one of the three kept no more: the other thread was quick
            assert set(reader.get_tensor("b")) == {float(reader.get_tensor("a"))}

    def train() -> None:
        for _ in range(25):
            session.run(step)

    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(save, "x"), pool.submit(save, "y"), pool.submit(train)]
        for job in jobs:
            job.result()
    assert len(saver.last_checkpoints) == 3
    assert state.checkpoint_exists(saver.last_checkpoints[-1])


@pytest.mark.parametrize("name", ["graph_def", "saver_def", "export_scope"])
def test_what_an_export_would_ignore_is_refused(name: str) -> None:
    with (
        tf.Graph().as_default(),
        pytest.raises(tf.errors.UnimplementedError, match=name),
    ):
        tf.train.export_meta_graph(**{name: "part"})
