"""Summaries and event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

pytest.importorskip("tensorboard.compat.proto", reason="needs the extra tensorboard")


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def run(summary: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        return tf.Summary.FromString(session.run(summary, feed))


def accumulated(folder: Path) -> Any:
    from tensorboard.backend.event_processing import event_accumulator

    found = event_accumulator.EventAccumulator(
        str(folder), size_guidance={"images": 0, "scalars": 0, "histograms": 0}
    )
    return found.Reload()


def events(folder: Path) -> list[Any]:
    from tensorboard.backend.event_processing import event_file_loader

    return [
        event
        for path in sorted(folder.iterdir())
        for event in event_file_loader.LegacyEventFileLoader(str(path)).Load()
    ]


# --- ops ------------------------------------------------------------------------------


def test_names_and_tags(graph: tf.Graph) -> None:
    """As TensorFlow 2.21 names and tags them."""
    with tf.name_scope("sc"):
        a = tf.summary.scalar("loss here!", tf.constant(1.5))
        b = tf.summary.scalar("loss", tf.constant(2), family="fam")
        tf.summary.histogram("h", tf.constant([1.0]), collections=["mine"])
    c = tf.summary.scalar("loss", 3.0)
    assert [(t.op.name, t.op.type) for t in (a, b, c)] == [
        ("sc/loss_here_", "ScalarSummary"),
        ("sc/fam/loss", "ScalarSummary"),
        ("loss", "ScalarSummary"),
    ]
    assert [t.name for t in a.op.inputs] == ["sc/loss_here_/tags:0", "sc/Const:0"]
    merged = tf.summary.merge_all()
    assert merged.op.name == "Merge/MergeSummary" and list(merged.op.inputs) == [
        a,
        b,
        c,
    ]
    assert merged.dtype is tf.string and merged.shape == ()
    assert [(v.tag, v.simple_value) for v in run(merged).value] == [
        ("sc/loss_here_", 1.5), ("fam/sc/fam/loss", 2.0), ("loss", 3.0),
    ]  # fmt: skip
    assert [t.op.name for t in tf.get_collection("mine")] == ["sc/h"]
    only = tf.summary.merge_all(scope="sc/fam")
    assert [v.tag for v in run(only).value] == ["fam/sc/fam/loss"]
    assert tf.summary.merge_all("none of them") is None


def test_histogram() -> None:
    """Buckets as TensorFlow 2.21 gives them."""
    (value,) = run(tf.summary.histogram("h", tf.constant([-1.0, 0.0, 0.0, 2.5]))).value
    histo = value.histo
    assert (histo.min, histo.max, histo.num) == (-1.0, 2.5, 4.0)
    assert (histo.sum, histo.sum_squares) == (1.5, 7.25)
    assert list(histo.bucket) == [0, 1, 0, 2, 0, 1, 0]
    assert list(histo.bucket_limit) == [
        -1.0089710279437536, -0.917246389039776, 0.0, 1e-12, 2.3791009056258718,
        2.6170109961884593, 1.7976931348623157e308,
    ]  # fmt: skip


def test_histograms_of_odd_values() -> None:
    (huge,) = run(tf.summary.histogram("h", np.array([1e300, -1e300]))).value
    assert sum(huge.histo.bucket) == 2 and huge.histo.bucket[-1] == 1
    (empty,) = run(tf.summary.histogram("h", np.zeros((0, 2)))).value
    assert empty.histo.num == 0 and list(empty.histo.bucket) == [0]
    (whole,) = run(tf.summary.histogram("h", np.arange(5))).value
    assert whole.histo.sum == 10
    for bad, word in (([1.0, np.nan], "Nan"), ([np.inf], "Inf")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{word} in summary"):
            run(tf.summary.histogram("h", bad))


def pixels(value: Any) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string)))


def test_images() -> None:
    """Floats are scaled as TensorFlow 2.21 scales them."""
    batch = np.arange(24, dtype=np.float32).reshape(2, 2, 2, 3) - 5.0
    first, second = run(tf.summary.image("im", batch)).value
    assert (first.tag, second.tag) == ("im/image/0", "im/image/1")
    assert (first.image.height, first.image.width, first.image.colorspace) == (2, 2, 3)
    assert pixels(first).reshape(-1).tolist() == [
        22, 43, 64, 85, 106, 128, 149, 170, 191, 212, 233, 255,
    ]  # fmt: skip
    assert pixels(second).reshape(-1).tolist() == [
        99, 113, 127, 141, 155, 170, 184, 198, 212, 226, 240, 255,
    ]  # fmt: skip
    raw = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    (one,) = run(tf.summary.image("g", raw, max_outputs=1)).value
    assert one.tag == "g/image" and pixels(one).tolist() == [[0, 1], [2, 3]]
    bad = np.full((1, 1, 2, 4), 2.0)
    bad[0, 0, 1, 2] = np.nan
    (red,) = run(tf.summary.image("b", bad)).value
    assert pixels(red)[0].tolist() == [[255] * 4, [255, 0, 0, 255]]
    (dark,) = run(tf.summary.image("d", np.zeros((1, 1, 1, 1)))).value
    assert pixels(dark).tolist() == [[0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="last dim 1, 3, or 4"):
        run(tf.summary.image("x", np.zeros((1, 2, 2, 2))))


def test_text_and_tensors() -> None:
    (value,) = run(tf.summary.text("tx", tf.constant("hello"))).value
    assert (value.tag, value.metadata.plugin_data.plugin_name) == ("tx", "text")
    assert list(value.tensor.string_val) == [b"hello"]
    (value,) = run(tf.summary.tensor_summary("t", [1, 2], display_name="d")).value
    assert value.metadata.display_name == "d" and value.tensor.dtype == 3
    with pytest.raises(ValueError, match="dtype string, got float32"):
        tf.summary.text("tx", tf.constant(1.0))


def test_errors_and_old_names() -> None:
    a = tf.scalar_summary(["a", "b"], [1.0, 2.0])
    h = tf.histogram_summary("h", [1.0])
    i = tf.image_summary("i", np.zeros((1, 1, 1, 1)), max_images=1)
    assert [v.tag for v in run(tf.merge_all_summaries()).value] == [
        "a", "b", "h", "i/image",
    ]  # fmt: skip
    assert [t.op.name for t in (a, h, i)] == [
        "ScalarSummary", "HistogramSummary", "ImageSummary",
    ]  # fmt: skip
    with pytest.raises(tf.errors.InvalidArgumentError, match="not the same shape"):
        run(tf.summary.scalar("s", [1.0, 2.0]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Duplicate tag h found"):
        run(tf.merge_summary([h, h]))


# --- event files ----------------------------------------------------------------------


def test_a_training_run_in_tensorboard(graph: tf.Graph, tmp_path: Path) -> None:
    w = tf.get_variable("w", initializer=[[1.0, -2.0]])
    loss = tf.reduce_sum(tf.square(w))
    train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    tf.summary.scalar("loss", loss)
    tf.summary.histogram("weights", w)
    tf.summary.image("im", tf.reshape(w, [1, 1, 2, 1]))
    tf.summary.text("note", tf.constant(["a", "b"]))
    merged = tf.summary.merge_all()
    losses = []
    with tf.summary.FileWriter(tmp_path / "logs" / "a", graph) as writer:
        assert writer.get_logdir() == str(tmp_path / "logs" / "a")
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for step in range(25):
                _, value, text = session.run([train, loss, merged])
                losses.append(value)
                writer.add_summary(text, step)
        writer.add_run_metadata(None, "step 3", 3)
        with pytest.raises(ValueError, match="already used"):
            writer.add_run_metadata(None, "step 3", 4)
    found = accumulated(tmp_path / "logs" / "a")
    tags = found.Tags()
    assert tags["scalars"] == ["loss"] and tags["histograms"] == ["weights"]
    assert tags["images"] == ["im/image/0"] and tags["graph"]
    assert tags["run_metadata"] == ["step 3"] and tags["tensors"] == ["note"]
    assert [(s.step, s.value) for s in found.Scalars("loss")] == list(enumerate(losses))
    assert found.Histograms("weights")[0].histogram_value.num == 2
    assert found.Tensors("note")[3].tensor_proto.string_val[:] == [b"a", b"b"]
    names = {node.name for node in found.Graph().node}
    assert names == {op.name for op in graph.get_operations()} - {"init"}


def test_messages_made_by_hand(tmp_path: Path) -> None:
    writer = tf.train.SummaryWriter(str(tmp_path))
    value = tf.Summary.Value(tag="x", simple_value=2.5)
    writer.add_summary(tf.Summary(value=[value]), np.int64(7))
    writer.add_session_log(tf.SessionLog(status=tf.SessionLog.START), 8)
    writer.add_meta_graph(tf.MetaGraphDef())
    writer.close()
    found = events(tmp_path)
    assert found[0].file_version == "brain.Event:2"
    assert (found[1].step, found[1].summary.value[0].simple_value) == (7, 2.5)
    assert found[2].session_log.status == tf.SessionLog.START
    assert found[3].HasField("meta_graph_def") and len(found) == 4


def test_what_a_graph_def_cannot_hold_is_shown_without(
    graph: tf.Graph, tmp_path: Path
) -> None:
    x = tf.placeholder(tf.float32, [])
    y = tf.cond(x > 0.0, lambda: x, lambda: -x)
    tf.py_func(np.sin, [y], tf.float32)
    with tf.summary.FileWriter(tmp_path, session=tf.Session()):
        pass
    names = {node.name for node in accumulated(tmp_path).Graph().node}
    assert names == {op.name for op in graph.get_operations()}
    with pytest.raises(TypeError, match="must be an instance of `Graph`"):
        tf.summary.FileWriter(tmp_path, 3)


def test_when_events_reach_the_file(tmp_path: Path) -> None:
    summary = tf.Summary(value=[tf.Summary.Value(tag="x", simple_value=1.0)])
    writer = tf.summary.FileWriter(tmp_path, max_queue=3)
    for _ in range(2):
        writer.add_summary(summary)
    assert len(events(tmp_path)) == 1
    writer.add_summary(summary)
    assert len(events(tmp_path)) == 4
    writer.close()
    writer.close()
    with pytest.raises(RuntimeError, match="closed"):
        writer.add_summary(summary)
    writer.reopen()
    writer.add_summary(summary)
    writer.close()
    assert len(list(tmp_path.iterdir())) == 2 and len(events(tmp_path)) == 6
    often = tf.summary.FileWriter(tmp_path / "often", flush_secs=0)
    often.add_summary(summary)
    assert len(events(tmp_path / "often")) == 2
    often.close()


def test_metadata_is_written_once(tmp_path: Path) -> None:
    with tf.Session() as session, tf.summary.FileWriter(tmp_path) as writer:
        data = session.run(tf.summary.text("t", tf.constant("a")))
        writer.add_summary(data, 1)
        writer.add_summary(data, 2)
    _, first, second = events(tmp_path)
    assert first.summary.value[0].HasField("metadata")
    assert not second.summary.value[0].HasField("metadata")


def test_threads_write_whole_events(tmp_path: Path) -> None:
    def work(name: str) -> None:
        for step in range(50):
            value = tf.Summary.Value(tag=name, simple_value=step)
            writer.add_summary(tf.Summary(value=[value]), step)

    with tf.summary.FileWriter(tmp_path, max_queue=4) as writer:
        with ThreadPoolExecutor() as pool:
            list(pool.map(work, "abcd"))
    found = accumulated(tmp_path)
    for name in "abcd":
        assert [s.step for s in found.Scalars(name)] == list(range(50))


def test_a_writer_a_folder(tmp_path: Path) -> None:
    cache = tf.summary.FileWriterCache
    first = cache.get(str(tmp_path))
    assert cache.get(str(tmp_path)) is first
    cache.clear()
    with pytest.raises(RuntimeError, match="closed"):
        first.add_summary(tf.Summary())


def test_without_the_extra(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["tensorboard"] = None
import gpugrad.compat.v1 as tf
s = tf.summary.scalar("a", 1.0)
folder = {str(tmp_path)!r}
for ask in (lambda: tf.Session().run(s), lambda: tf.summary.FileWriter(folder)):
    try:
        ask()
    except ImportError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.count("pip install 'gpugrad[tensorboard]'") == 2
