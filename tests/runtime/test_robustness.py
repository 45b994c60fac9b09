"""What a demanding user does: shared memory, failing runs, threads, huge arrays."""

from __future__ import annotations

import gc
import types
import weakref
from collections import defaultdict

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with gg.Graph().as_default() as g:
        yield g


def _apart(*arrays: np.ndarray) -> bool:
    return not any(
        np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i]
    )


# --- memory is shared with nobody -----------------------------------------------------


def test_results_of_host_ops_are_the_callers_own() -> None:
    p = tf.placeholder(tf.float32, [3])
    kept = np.zeros(3, np.float32)
    same = tf.py_func(lambda x: x, [p], tf.float32)
    choice = tf.cond(tf.reduce_sum(p) > 0, lambda: p, lambda: 2 * p)
    raw = choice.op.inputs[0]
    own = tf.py_func(lambda: kept, [], tf.float32)
    fed = np.ones(3, np.float32)
    with tf.Session() as session:
        for _ in range(2):
            results = session.run([same, raw, own, p], {p: fed})
            assert _apart(fed, kept, *results)
        assert _apart(fed, session.run(same, {p: fed}))


def test_a_python_function_cannot_write_into_feeds_or_other_values() -> None:
    p = tf.placeholder(tf.float32, [3])
    counter = np.zeros((), np.float32)

    def add_one(x: np.ndarray) -> np.ndarray:
        x += 1
        return x

    def count() -> np.ndarray:
        counter[...] += 1
        return counter

    changed = tf.py_func(add_one, [p], tf.float32)
    first = tf.py_func(count, [], tf.float32)
    with tf.control_dependencies([first]):
        second = tf.py_func(count, [], tf.float32)
    fed = np.ones(3, np.float32)
    with tf.Session() as session:
        new, old = session.run([changed, p + 0], {p: fed})
        assert (new[0], old[0], fed[0]) == (2, 1, 1)
        assert session.run([first, second]) == [1, 2]


def test_operands_are_taken_as_they_are_now() -> None:
    operand = np.ones(3, np.float32)
    sizes = np.array([2, 3], np.int32)
    p = tf.placeholder(tf.float32, [3])
    q = tf.placeholder(tf.int32, [2])
    total = p + operand
    v = tf.Variable(operand)
    fetches = [tf.reshape(tf.zeros([6]), q), 2 * q]
    with tf.Session() as session:
        session.run(fetches, {q: sizes})
        operand[:] = 5
        sizes[:] = 7
        session.run(v.initializer)
        assert session.run([total, v], {p: np.zeros(3)})[0].tolist() == [1, 1, 1]
        assert session.run(v).tolist() == [1, 1, 1]
        again = session.run(fetches, {q: np.array([2, 3], np.int32)})
        assert again[1].tolist() == [4, 6]


# --- state ----------------------------------------------------------------------------


def test_plans_of_a_failed_run_are_not_taken_for_others() -> None:
    v = tf.Variable([1.0, 2.0, 3.0], validate_shape=False)
    p = tf.placeholder(tf.float32, [None])
    fails = tf.placeholder(tf.bool, [])

    def host(fails: bool) -> np.float32:
        if fails:
            raise ValueError("no")
        return np.float32(1)

    with tf.control_dependencies([tf.assign(v, p)]):
        first = tf.py_func(lambda: np.float32(1), [], tf.float32)
    with tf.control_dependencies([first]):
        read = 2 * v.read_value()
    with tf.control_dependencies([read]):
        second = tf.py_func(host, [fails], tf.float32)
    with tf.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match="no"):
            session.run([read, second], {p: np.ones(5), fails: True})
        with pytest.raises(tf.errors.FailedPreconditionError):
            session.run(v)
        session.run(v.initializer)
        got = session.run([read, second], {p: np.ones(4), fails: False})
        assert got[0].tolist() == [2, 2, 2, 2]


def test_a_variable_of_open_shape_changes_it() -> None:
    v = tf.Variable([0.0], validate_shape=False)
    p = tf.placeholder(tf.float32, None)
    assign, total = tf.assign(v, p), tf.reduce_sum(v)
    with tf.Session() as session:
        session.run(v.initializer)
        for shape in [(3,), (), (2, 2), (0,), (3,)]:
            session.run(assign, {p: np.ones(shape)})
            assert session.run(total) == np.prod(shape)
            assert session.run(v).shape == shape


def test_an_interrupted_run_changes_nothing() -> None:
    v = tf.Variable(1.0)
    stop = tf.placeholder(tf.bool, [])

    def host(stop: bool) -> np.float32:
        if stop:
            raise KeyboardInterrupt
        return np.float32(1)

    with tf.control_dependencies([v.assign_add(1.0)]):
        one = tf.py_func(host, [stop], tf.float32)
    add = v.assign_add(one)
    with tf.Session() as session:
        session.run(v.initializer)
        with pytest.raises(KeyboardInterrupt):
            session.run(add, {stop: True})
        assert session.run(v) == 1
        assert session.run(add, {stop: False}) == 3


# --- plans ----------------------------------------------------------------------------


def test_plans_of_many_shapes_do_not_fill_the_memory() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.cumsum(tf.cumsum(x))
    with tf.Session() as session:
        for n in range(20):
            session.run(y, {x: np.ones(10_000_000 + n, np.float32)})
        (prepared,) = session._prepared.values()
        assert len(prepared.plan._stages) <= 8


def test_many_shapes_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.tanh(x, name="squash")
    with tf.Session() as session, caplog.at_level("WARNING", "gpugrad"):
        for n in range(32):
            session.run(y, {x: np.ones(n)})
        assert not caplog.records
        for n in range(64):
            session.run(y, {x: np.ones(n)})
    (record,) = caplog.records
    assert "squash" in record.getMessage()
    assert "more than 32 different shapes" in record.getMessage()


def test_all_plans_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpugrad.runtime.session._PLANS_BYTES", 3_000_000)
    x = tf.placeholder(tf.float32, [100_000])
    y = tf.cumsum(x)
    with tf.Session() as session:
        for n in range(20):
            session.run(tf.cumsum(y + float(n)), {x: np.ones(100_000)})
        assert 1 < len(session._prepared) < 10


def test_a_forgotten_executable_frees_its_arrays_at_once() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = x
    for _ in range(300):  # several functions of generated code
        y = tf.cumsum(y)
    session = tf.Session()
    session.run(y, {x: np.ones(3)})
    (prepared,) = session._prepared.values()
    (compiled,) = prepared.plan._stages.values()
    executable = weakref.ref(compiled.executable._module.functions["run"])
    del prepared, compiled
    gc.disable()
    try:
        session.close()
        assert executable() is None
    finally:
        gc.enable()


def test_what_does_not_fit_into_memory_is_said() -> None:
    n = tf.placeholder(tf.int64, [1])
    with tf.Session() as session:
        for size in (1 << 50, 1 << 61):
            for fetch in (tf.zeros(n), tf.cumsum(tf.zeros(n))[0]):
                with pytest.raises(tf.errors.ResourceExhaustedError, match="memory"):
                    session.run(fetch, {n: [size]})


def test_repeat_takes_memory_for_its_result_only() -> None:
    x, counts = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [None])
    values, times = np.arange(20_000.0), np.arange(20_000) % 7
    with tf.Session() as session:
        got = session.run(tf.repeat(x, counts), {x: values, counts: times})
    assert np.array_equal(got, np.repeat(values, times))


def test_kinds_of_mappings_come_back() -> None:
    x = tf.constant(1.0)
    several = defaultdict(list)
    several["a"] = x
    with tf.Session() as session:
        assert session.run(types.MappingProxyType({"b": x})) == {"b": 1}
        got = session.run(several)
        assert type(got) is defaultdict and got["new"] == []
        assert [type(k) for key in (1, True) for k in session.run({key: x})] == [
            int,
            bool,
        ]
