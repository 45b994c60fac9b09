"""Memory that runs out, memory that must not grow, and GPUs that are not to be had."""

from __future__ import annotations

import gc
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad import config
from gpugrad.compiler import streams as stream_pass
from gpugrad.errors import UnavailableError
from gpugrad.runtime import devices, memory
from tests.cuda.fakes import FakeBackend, HollowDevice

MEGABYTE = 1 << 20


@pytest.fixture(autouse=True)
def graph():
    with gg.Graph().as_default() as g:
        yield g


@pytest.fixture
def on(monkeypatch):
    """Makes sessions run on a fake GPU of so many bytes."""

    def install(capacity: int, streams: int = 1) -> FakeBackend:
        backend = FakeBackend(HollowDevice(capacity), streams)
        monkeypatch.setitem(devices._backends, "cupy", backend)
        return backend

    return install


def on_gpu(**fields) -> tf.Session:
    options = gg.GPUOptions(**fields)
    return tf.Session(config=tf.ConfigProto(backend="cupy", gpu_options=options))


def limited(monkeypatch, limit: int) -> None:
    monkeypatch.setattr(
        config, "_current", replace(config.current(), memory_limit=limit)
    )


def chain(x, length: int):
    """Values that are all needed at the end, so that all are held."""
    values = [x]
    for _ in range(length):
        values.append(tf.cumsum(values[-1]))
    return tf.add_n(values)


# --- it runs out ----------------------------------------------------------------------


def test_others_give_their_memory_back(on) -> None:
    backend = on(10 * MEGABYTE)
    x = tf.placeholder(tf.float32, [None])
    y = chain(x, 3)
    held = []
    with on_gpu() as session:
        for n in range(9):  # nine plans of 1.5 MB each, and 0.5 MB for a result
            session.run(y, {x: np.ones(MEGABYTE // 8 + n, np.float32)})
            held.append(backend.device.held)
        assert backend.device.freed == 1
        assert max(held) <= 10 * MEGABYTE
        assert min(held[5:]) < held[4]


def test_a_run_that_does_not_fit_says_what_it_needs(on) -> None:
    backend = on(5 * MEGABYTE)
    x = tf.placeholder(tf.float32, [None])
    v = tf.Variable(3.0)
    change = v.assign_add(tf.reduce_sum(chain(x, 9)))  # the line that is named
    with on_gpu() as session:
        session.run(v.initializer)
        with pytest.raises(tf.errors.ResourceExhaustedError) as caught:
            session.run(change, {x: np.ones(MEGABYTE // 4)})
        assert isinstance(caught.value, MemoryError)
        text = str(caught.value)
        (peak,) = re.findall(r"The run needs ([\d,]+) bytes", text)
        assert int(peak.replace(",", "")) > 5 * MEGABYTE
        assert text.count("1,048,576 bytes: float32 [262144], made by Cumsum node") == 5
        assert f"{Path(__file__).name}:" in text
        assert "smaller batches" in text and "recompute_grad" in text
        assert "Cumsum" in caught.value.op.type
        assert backend.device.freed == 1
        variables = session._store.arrays
        np.testing.assert_array_equal(variables[0].shape, ())
        session.run(change, {x: np.ones(8)})  # a smaller one still runs


def test_results_that_do_not_fit_are_tried_twice(on) -> None:
    backend = on(6 * MEGABYTE + 4096)
    x = tf.placeholder(tf.float32, [None])
    big, small = tf.exp(x), chain(x, 2)
    feed = {x: np.ones(MEGABYTE // 2, np.float32)}
    with on_gpu() as session:
        session.run(big, feed)  # 2 MB, given back
        kept = session.run(big, feed)
        session.run(small, {x: np.ones(MEGABYTE // 4, np.float32)})
        before = backend.device.freed
        result = session.run(big, feed)  # what `small` holds has to go
        assert backend.device.freed == before + 1
        last = session.run(big, feed)
        assert result.shape == kept.shape == last.shape
        with pytest.raises(tf.errors.ResourceExhaustedError, match="for results"):
            session.run(big, feed)
        del kept
        session.run(big, feed)


def test_effects_are_not_repeated(on, monkeypatch) -> None:
    backend = on(1 << 30)
    x = tf.placeholder(tf.float32, [4])
    y = tf.check_numerics(x, "checked")
    with on_gpu() as session:
        session.run(y, {x: np.ones(4)})
        calls = []

        def fail(*arguments) -> None:
            calls.append(1)
            raise MemoryError("no more")

        monkeypatch.setattr(backend.device, "empty", fail)
        with pytest.raises(tf.errors.ResourceExhaustedError, match="no more"):
            session.run(y, {x: np.ones(4)})
        assert len(calls) == 1


def test_a_limit_for_the_process(monkeypatch) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = chain(x, 8)
    gc.collect()
    memory.release(devices.backend("numpy"))
    limited(monkeypatch, 4 * MEGABYTE)
    with tf.Session(config=tf.ConfigProto(backend="numpy")) as session:
        for n in range(8):  # about 1 MB each: the first ones go
            session.run(y, {x: np.ones(MEGABYTE // 32 + n)})
        (prepared,) = session._prepared.values()
        assert 0 < prepared.plan.held_bytes() <= 4 * MEGABYTE
        with pytest.raises(MemoryError, match="GPUGRAD_MEMORY_LIMIT"):
            session.run(y, {x: np.ones(MEGABYTE)})
        assert session.run(y, {x: np.ones(3)}).shape == (3,)


def test_settings_are_checked(monkeypatch) -> None:
    monkeypatch.setenv("GPUGRAD_MEMORY_LIMIT", "a lot")
    with pytest.raises(ValueError, match="GPUGRAD_MEMORY_LIMIT is a whole number"):
        config.from_environment()
    monkeypatch.setenv("GPUGRAD_MEMORY_LIMIT", "1000")
    monkeypatch.setenv("GPUGRAD_STREAMS", "0")
    with pytest.raises(ValueError, match="GPUGRAD_STREAMS"):
        config.from_environment()
    monkeypatch.setenv("GPUGRAD_STREAMS", "3")
    found = config.from_environment()
    assert (found.memory_limit, found.streams) == (1000, 3)


# --- gpu_options ----------------------------------------------------------------------


def test_the_part_of_a_gpus_memory(on) -> None:
    backend = on(1 << 30)
    for fraction in (0.0, 1.0, 0.25):
        on_gpu(per_process_gpu_memory_fraction=fraction)
    assert backend.fractions == [0.25]
    with pytest.raises(ValueError, match="between 0 and 1, not 2"):
        on_gpu(per_process_gpu_memory_fraction=2)
    with pytest.raises(TypeError, match="gpu_options"):
        tf.Session(config=tf.ConfigProto(gpu_options=3))


def test_a_gpu_by_its_number(monkeypatch) -> None:
    made: list[int | None] = []

    def make(name: str, device: int | None = None) -> FakeBackend:
        made.append(device)
        return FakeBackend(HollowDevice())

    monkeypatch.setattr(devices, "missing_gpu", lambda: None)
    monkeypatch.setattr(devices, "_make", make)
    monkeypatch.setattr(devices, "_backends", {})
    first = on_gpu(visible_device_list="1,0")._backend
    assert on_gpu(visible_device_list="1")._backend is first
    assert on_gpu(visible_device_list="0")._backend is not first
    assert on_gpu()._backend is not first
    assert made == [1, 0, None]
    with pytest.raises(ValueError, match="visible_device_list"):
        on_gpu(visible_device_list="gpu1")


def test_a_gpu_that_is_not_there_is_an_error_where_it_is_named(on, monkeypatch) -> None:
    on(1 << 30)
    monkeypatch.setattr(devices, "gpu_count", lambda: 2)
    for number in range(3):
        with tf.device(f"/gpu:{number}"):
            x = tf.constant([1.0]) + float(number)
        with tf.Session(config=tf.ConfigProto(backend="cupy")) as session:
            if number < 2:
                session.run(x)
                continue
            with pytest.raises(tf.errors.InvalidArgumentError, match="are 2 GPUs"):
                session.run(x)
        soft = tf.ConfigProto(backend="cupy", allow_soft_placement=True)
        with tf.Session(config=soft) as session:
            session.run(x)


def test_a_gpu_that_another_process_has_is_only_missed_by_name(
    monkeypatch, caplog
) -> None:
    def make(name: str, device: int | None = None) -> None:
        raise UnavailableError(None, None, "The GPU cannot be used: taken.")

    monkeypatch.setattr(devices, "missing_gpu", lambda: None)
    monkeypatch.setattr(devices, "_make", make)
    monkeypatch.setattr(devices, "_backends", {})
    monkeypatch.setattr(config, "_current", replace(config.current(), backend=None))
    with caplog.at_level(logging.WARNING, "gpugrad"):
        assert devices.backend().name == "numpy"
    assert "taken" in caplog.text
    with pytest.raises(UnavailableError, match="taken"):
        devices.backend("cupy")


# --- it does not grow -----------------------------------------------------------------


def training():
    """A step of a small classifier, its loss, and the feeds."""
    rng = np.random.default_rng(0)
    x = tf.placeholder(tf.float32, [16, 8])
    labels = tf.placeholder(tf.int32, [16])
    hidden = tf.tanh(
        tf.matmul(x, tf.Variable(rng.normal(size=(8, 32)), dtype="float32"))
    )
    logits = tf.matmul(hidden, tf.Variable(rng.normal(size=(32, 4)), dtype="float32"))
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    step = tf.train.AdamOptimizer(1e-3).minimize(loss)
    feeds = {x: rng.normal(size=(16, 8)), labels: rng.integers(0, 4, 16)}
    return step, loss, feeds


def resident() -> int:
    """Bytes of this process that are in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("streams", [1, 3])
def test_ten_thousand_steps_take_no_more_memory(streams: int, monkeypatch) -> None:
    monkeypatch.setattr(config, "_current", replace(config.current(), streams=streams))
    monkeypatch.setattr(stream_pass, "_WORTH", -1e9 if streams > 1 else 0.1)
    step, loss, feeds = training()
    count = 10_000 if streams == 1 else 1_000
    with tf.Session(config=tf.ConfigProto(backend="numpy")) as session:
        session.run(tf.global_variables_initializer())
        for _ in range(500):
            session.run([step, loss], feeds)
        gc.collect()
        before = resident()
        for _ in range(count):
            session.run([step, loss], feeds)
        gc.collect()
        assert resident() - before < MEGABYTE


@pytest.mark.parametrize("streams", [1, 4])
def test_ten_thousand_steps_allocate_their_results_only(
    on, monkeypatch, streams
) -> None:
    monkeypatch.setattr(stream_pass, "_WORTH", -1e9 if streams > 1 else 0.1)
    device = on(1 << 30, streams).device
    step, loss, feeds = training()
    # Kernels that do nothing leave in memory whatever it held, for matmuls to read.
    with on_gpu() as session, np.errstate(all="ignore"):
        session.run(tf.global_variables_initializer())
        session.run([step, loss], feeds)
        allocations, events, held = device.allocations, device.events, device.held
        assert (events > 0) == (streams > 1)
        for _ in range(10_000 if streams == 1 else 1_000):
            session.run([step, loss], feeds)
            device.notes.clear()
        count = 10_000 if streams == 1 else 1_000
        assert device.allocations - allocations == count  # the loss
        assert device.events == events
        assert device.held == held
