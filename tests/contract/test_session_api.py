"""Session.run: what may be fetched and fed, what comes back, what is refused."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1
from tests.contract.support import refused, run

Pair = namedtuple("Pair", "first second")


@pytest.fixture(autouse=True)
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


# --- fetches --------------------------------------------------------------------------


def test_what_may_be_fetched() -> None:
    x = tf.constant([1.0, 2.0], name="x")
    v = v1.get_variable("v", initializer=3.0)
    nothing = tf.no_op(name="nothing")
    rows = tf.IndexedSlices(x, tf.constant([0, 3]), tf.constant([5]))
    got = run([x, nothing, v, "x:0", "nothing", rows])
    assert got[0].tolist() == got[3].tolist() == [1.0, 2.0]
    assert got[1] is got[4] is None
    assert got[2] == 3.0
    assert type(got[5]).__name__ == "IndexedSlicesValue"
    assert got[5].indices.tolist() == [0, 3] and got[5].dense_shape.tolist() == [5]
    assert run(tf.IndexedSlices(x, tf.constant([0, 3]))).dense_shape is None


def test_structures_come_back() -> None:
    x = tf.constant(1.0)
    done = tf.no_op()
    got = run({"a": [x, (x, Pair(x, done))], "b": OrderedDict(z=x, y=[])})
    assert got == {"a": [1.0, (1.0, Pair(1.0, None))], "b": OrderedDict(z=1.0, y=[])}
    assert type(got["a"][1][1]) is Pair and type(got["b"]) is OrderedDict
    assert (run([]), run(()), run({})) == ([], (), {})


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1.0, np.float32), (1, np.int32), (True, np.bool_), (1j, np.complex128)],
)
def test_scalars_are_of_numpy(value: object, kind: type) -> None:
    assert type(run(tf.constant(value))) is kind


def test_strings_are_bytes() -> None:
    assert run(tf.constant("ä")) == "ä".encode()
    got = run(tf.constant([["a", "b"]]))
    assert got.dtype == object and got.tolist() == [[b"a", b"b"]]


@pytest.mark.parametrize("fetch", [None, 1, 1.5, [None], {"a": None}])
def test_fetches_of_a_wrong_type(fetch: object) -> None:
    tf.constant(1.0)
    refused(lambda: run(fetch), TypeError)


def test_fetches_that_are_not_there() -> None:
    tf.constant(1.0, name="x")
    with tf.Graph().as_default():
        foreign = tf.constant(2.0)
    for fetch in ("nope", "nope:0", "x:1", foreign):
        refused(
            lambda fetch=fetch: run(fetch),
            ValueError,
            "cannot be interpreted as a Tensor",
        )


# --- feeds ----------------------------------------------------------------------------


def test_keys() -> None:
    f = v1.placeholder(tf.float32, [], name="f")
    i = v1.placeholder(tf.int32, [], name="i")
    c = tf.constant([1.0, 2.0])
    rows = tf.IndexedSlices(c, tf.constant([0, 1]), tf.constant([2]))
    assert run([f, i], {(f, i): (1.5, 2)}) == [1.5, 2]
    assert run(f, {"f:0": 2.5}) == 2.5
    assert run([c, c * 2.0], {c: [5.0, 6.0]})[1].tolist() == [10.0, 12.0]
    got = run(rows, {rows: ([7.0, 8.0], [1, 2], [9])})
    assert (got.indices.tolist(), got.dense_shape.tolist()) == ([1, 2], [9])
    assert run(c, {f: 1.0}).tolist() == [1.0, 2.0]  # not needed, and allowed


@pytest.mark.parametrize("key", ["f", "nope:0", "f:1", 3, None])
def test_keys_that_name_no_tensor(key: object) -> None:
    f = v1.placeholder(tf.float32, [], name="f")
    refused(
        lambda: run(f, {key: 1.0}),
        TypeError,
        "Cannot interpret feed_dict key as Tensor",
    )


def test_keys_of_a_wrong_kind() -> None:
    f = v1.placeholder(tf.float32, [], name="f")
    text = "Cannot interpret feed_dict key as Tensor"
    refused(lambda: run(f, {f.op: 1.0}), TypeError, text)
    with tf.Graph().as_default():
        foreign = tf.constant(1.0)
    refused(lambda: run(f, {foreign: 1.0}), TypeError, text)
    refused(lambda: run(f, [(f, 1.0)]), TypeError, "feed_dict must be a dictionary")


VALUES = [
    (tf.int32, 1.7, 1),
    (tf.int32, -1.7, -1),
    (tf.int32, True, 1),
    (tf.int32, np.float32(3.9), 3),
    (tf.float32, 1, 1.0),
    (tf.float32, np.float64(2.5), 2.5),
    (tf.bool, "x", True),
    (tf.bool, "", False),
    (tf.bool, 0.5, True),
    (tf.bool, 1, True),
    (tf.complex64, 2, 2 + 0j),
    (tf.string, "a", b"a"),
    (tf.string, b"a", b"a"),
]


@pytest.mark.parametrize(("dtype", "value", "expected"), VALUES)
def test_values_are_cast(dtype: tf.DType, value: object, expected: object) -> None:
    x = v1.placeholder(dtype, [])
    assert run(x, {x: value}) == expected


MISFITS = [
    (tf.int32, 2**31, TypeError),
    (tf.int32, 2**70, TypeError),
    (tf.bool, 2, TypeError),
    (tf.string, 1, TypeError),
    (tf.string, [1, "a"], (TypeError, ValueError)),
    (tf.int32, None, TypeError),
    (tf.int32, "a", ValueError),
    (tf.float32, "a", ValueError),
    (tf.float32, [[1.0], [2.0, 3.0]], ValueError),
    (tf.uint8, [1, 256], (TypeError, ValueError, OverflowError)),
]


@pytest.mark.parametrize(("dtype", "value", "kind"), MISFITS)
def test_values_that_do_not_become_the_dtype(dtype, value, kind) -> None:
    x = v1.placeholder(dtype, name="features")
    message = refused(lambda: run(x, {x: value}), kind)
    assert "features" in message and "test_session_api.py" in message


def test_tensors_are_no_values() -> None:
    x = v1.placeholder(tf.float32, [], name="features")
    refused(lambda: run(x, {x: tf.constant(1.0)}), TypeError, "features")


def test_shapes_have_to_fit() -> None:
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    assert run(x, {x: np.zeros((0, 3))}).shape == (0, 3)
    for value, shape in ((np.zeros((1, 2)), "(1, 2)"), (np.zeros(3), "(3,)")):
        refused(
            lambda value=value: run(x, {x: value}),
            ValueError,
            f"Cannot feed value of shape {shape} for Tensor x:0, which has shape "
            "(None, 3)",
        )


# --- what is missing ------------------------------------------------------------------


def test_a_placeholder_without_a_value() -> None:
    x = v1.placeholder(tf.float32, [None, 3], name="features")
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="You must feed a value for placeholder tensor 'features'",
    ):
        run(x * 2.0)


def test_a_variable_without_a_value() -> None:
    v = v1.get_variable("weights", initializer=1.0)
    with v1.Session() as session:
        with pytest.raises(tf.errors.FailedPreconditionError, match="weights"):
            session.run(v)


def test_sessions_that_cannot_run() -> None:
    refused(lambda: v1.Session().run([]), RuntimeError, "The Session graph is empty.")
    x = tf.constant(1.0)
    with v1.Session() as session:
        pass
    refused(lambda: session.run(x), RuntimeError, "Attempted to use a closed Session.")
    for wrong in ({"target": 3}, {"graph": 3}, {"config": 3}):
        refused(lambda wrong=wrong: v1.Session(**wrong), TypeError)
    for call in (x.eval, tf.no_op().run):
        refused(call, ValueError, "No default session is registered")


# --- defaults and lifetimes -----------------------------------------------------------


def test_default_sessions() -> None:
    x = tf.constant(2.0)
    with v1.Session() as outer:
        with v1.Session() as inner:
            assert v1.get_default_session() is inner
        assert v1.get_default_session() is outer
        assert x.eval() == 2.0
    assert v1.get_default_session() is None
    session = v1.Session()
    for _ in range(2):
        with session.as_default():
            assert x.eval() == 2.0
    assert session.run(x) == 2.0
    interactive = v1.InteractiveSession()
    assert v1.get_default_session() is interactive
    interactive.close()
    assert v1.get_default_session() is None


def test_a_session_brings_its_graph() -> None:
    other = tf.Graph()
    with v1.Session(graph=other) as session:
        assert v1.get_default_graph() is other
        assert session.run(tf.constant(1.0)) == 1.0


def test_each_op_runs_once_a_run() -> None:
    v = v1.get_variable("v", initializer=0.0)
    up = v1.assign_add(v, 1.0)
    with v1.Session() as session:
        session.run(v.initializer)
        assert session.run([up, up, up.op])[:2] == [1.0, 1.0]
        assert session.run(v) == 1.0


def test_results_are_the_callers() -> None:
    x = tf.constant([1.0, 2.0])
    with v1.Session() as session:
        first, second = session.run([x, x])
        first[0] = 9.0
        assert second.tolist() == session.run(x).tolist() == [1.0, 2.0]


def test_callables() -> None:
    x = v1.placeholder(tf.float32, [])
    with v1.Session() as session:
        assert session.make_callable([x * 2.0, tf.no_op()], [x])(3.0) == [6.0, None]
        assert session.make_callable(tf.constant(1.0))() == 1.0
