"""Session: fetch structures, feed rules, errors, state."""

from __future__ import annotations

import threading
from collections import OrderedDict, namedtuple

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad.runtime import devices


@pytest.fixture(autouse=True)
def graph():
    with gg.Graph().as_default() as g:
        yield g


def test_structures_come_back() -> None:
    Pair = namedtuple("Pair", "first second")
    x = tf.constant([1.0, 2.0])
    s = tf.constant(3.0)
    with tf.Session() as session:
        got = session.run({"a": x, "b": [s, (x, Pair(s, x))], "c": tf.no_op()})
        assert isinstance(got["b"][1][1], Pair)
        assert got["c"] is None
        assert type(got["b"][0]) is np.float32
        assert isinstance(session.run(OrderedDict(q=x)), OrderedDict)
        assert session.run([]) == []
        assert session.run(()) == ()
        assert session.run({}) == {}


def test_results_belong_to_the_caller() -> None:
    x = tf.constant([1.0, 2.0])
    v = tf.Variable([1.0, 2.0])
    p = tf.placeholder(tf.float32, [2])
    fed = np.array([5.0, 6.0], np.float32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        results = session.run([x, x, v, p, tf.identity(v)], {p: fed})
        for a in range(len(results)):
            results[a][:] = 100 + a
        assert [r[0] for r in results] == [100, 101, 102, 103, 104]
        assert fed[0] == 5.0
        assert session.run(v).tolist() == [1.0, 2.0]
        assert session.run(x).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("fetch", [None, 3, 1.5, object()])
def test_fetches_of_a_wrong_type(fetch: object) -> None:
    tf.constant(1.0)
    with tf.Session() as session, pytest.raises(TypeError):
        session.run(fetch)


def test_unknown_and_foreign_fetches() -> None:
    tf.constant(1.0)
    with gg.Graph().as_default():
        foreign = tf.constant(1.0)
    with tf.Session() as session:
        for fetch in ("nope:0", "nope", foreign):
            with pytest.raises(ValueError, match="cannot be interpreted as a Tensor"):
                session.run(fetch)


def test_feeds_are_cast_like_asarray() -> None:
    i = tf.placeholder(tf.int32, [], name="i")
    b = tf.placeholder(tf.bool, [])
    with tf.Session() as session:
        assert session.run(i, {i: 1.5}) == 1
        assert session.run(i, {i: True}) == 1
        assert session.run(b, {b: "x"})
        assert session.run(i, {"i:0": np.float32(3.9)}) == 3
        with pytest.raises(TypeError, match="is not compatible with Tensor type"):
            session.run(i, {i: 2**40})
        with pytest.raises(ValueError, match=r"Cannot feed value of shape \(1,\)") as e:
            session.run(i, {i: [1]})
        assert "'i'" in str(e.value) and "test_session.py" in str(e.value)


def test_wrong_feeds_name_the_placeholder() -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="images")
    y = x * 2.0
    other = tf.constant(1.0)
    with tf.Session() as session:
        with pytest.raises(ValueError, match=r"images:0, which has shape \(None, 3\)"):
            session.run(y, {x: np.zeros((1, 2))})
        with pytest.raises(tf.errors.InvalidArgumentError, match="'images'.*feed_dict"):
            session.run(y)
        with pytest.raises(ValueError, match="images"):
            session.run(y, {x: "abc"})
        with pytest.raises(TypeError, match="cannot be a tf.Tensor"):
            session.run(y, {x: other})
        for key in ("images", 3, x.op, None):
            with pytest.raises(TypeError, match="Cannot interpret feed_dict key"):
                session.run(y, {key: 1.0})
        with pytest.raises(TypeError):
            session.run(y, [1])


def test_nan_is_data() -> None:
    x = tf.placeholder(tf.float32, [2])
    with tf.Session() as session:
        got = session.run(x * 2.0, {x: [np.nan, np.inf]})
    assert np.isnan(got[0]) and np.isinf(got[1])


def test_any_tensor_can_be_fed() -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    y = x * x
    z = y * y
    (g,) = tf.gradients(z, x)
    with tf.Session() as session:
        assert session.run(g, {x: 2.0, y: 10.0}) == 80.0  # 2y * 2x, y everywhere
        assert session.run([y, z], {y: 3.0}) == [3.0, 9.0]


def test_only_what_is_needed_runs_and_once() -> None:
    seen = []

    def look(value):
        seen.append(float(value))
        return value

    x = tf.constant(2.0)
    used = tf.py_func(look, [x], tf.float32)
    tf.py_func(look, [x * 5.0], tf.float32)
    with tf.Session() as session:
        session.run([used + 1.0, used * 2.0])
    assert seen == [2.0]


def test_a_failing_run_changes_no_variable() -> None:
    v = tf.Variable(1.0)
    x = tf.placeholder(tf.float32, [])
    with tf.control_dependencies([tf.assign_add(v, 1.0)]):
        check = tf.py_func(lambda a: np.float32(1.0 / float(a)), [x], tf.float32)
    with tf.control_dependencies([check]):
        more = tf.assign_add(v, 10.0)
    table = tf.gather(tf.constant([1.0, 2.0]), tf.placeholder(tf.int32, [], name="at"))
    with tf.control_dependencies([tf.assign(v, 50.0)]):
        late = tf.identity(table)
    with tf.Session() as session:
        session.run(v.initializer)
        with pytest.raises(Exception, match="division by zero"):
            session.run(more, {x: 0.0})
        assert session.run(v) == 1.0
        assert session.run(more, {x: 2.0}) == 12.0
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"is not in \[0, 2\)"):
            session.run(late, {"at:0": 7})
        assert session.run(v) == 12.0


def test_two_variables_swap() -> None:
    a, b = tf.Variable([1.0]), tf.Variable([2.0])
    old_a, old_b = a.read_value(), b.read_value()
    swap = tf.group(tf.assign(a, old_b), tf.assign(b, old_a))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            session.run(swap)
        assert [session.run(a)[0], session.run(b)[0]] == [2.0, 1.0]


def test_uninitialized_variable() -> None:
    v = tf.Variable(1.0, name="weights")
    with tf.Session() as session:
        with pytest.raises(tf.errors.FailedPreconditionError, match="weights"):
            session.run(v * 2.0)
        session.run(v.initializer)
        assert session.run(v * 2.0) == 2.0


def test_closed_and_empty_sessions() -> None:
    empty = tf.Session()
    with pytest.raises(RuntimeError, match="The Session graph is empty"):
        empty.run([])
    x = tf.constant(1.0)
    session = tf.Session()
    session.close()
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        session.run(x)
    with pytest.raises(ValueError, match="No default session is registered"):
        x.eval()
    with tf.Session():
        assert x.eval() == 1.0
    for wrong in ({"target": 3}, {"graph": 3}, {"config": 3}):
        with pytest.raises(TypeError):
            tf.Session(**wrong)


def test_make_callable() -> None:
    x = tf.placeholder(tf.float32, [])
    with tf.Session() as session:
        square = session.make_callable(x * x, [x])
        assert [square(3.0), square(4.0)] == [9.0, 16.0]
        with pytest.raises(TypeError):
            square()


def test_shapes_that_feeds_decide() -> None:
    n = tf.placeholder(tf.int32, [])
    x = tf.placeholder(tf.float32, None)
    reshaped = tf.reshape(x, [n, -1])
    total = tf.reduce_sum(tf.cast(tf.range(n * 2), tf.float32))
    with tf.Session() as session:
        assert session.run(reshaped, {n: 2, x: np.ones(6)}).shape == (2, 3)
        assert session.run(reshaped, {n: 3, x: np.ones(6)}).shape == (3, 2)
        assert [session.run(total, {n: k}) for k in (1, 2, 3)] == [1.0, 6.0, 15.0]
        with pytest.raises(tf.errors.InvalidArgumentError):
            session.run(reshaped, {n: 4, x: np.ones(6)})


def test_one_session_in_several_threads() -> None:
    v = tf.Variable(0.0)
    x = tf.placeholder(tf.float32, [None])
    step = tf.assign_add(v, tf.reduce_sum(x))
    session = tf.Session()
    session.run(v.initializer)

    def work() -> None:
        for n in range(1, 51):
            session.run(step, {x: np.ones(n % 7 + 1)})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.run(v) == 4 * sum(n % 7 + 1 for n in range(1, 51))


def test_a_gpu_that_is_not_there_is_an_error_only_when_asked_for() -> None:
    if devices.describe_backends()[1]["missing"] is None:
        pytest.skip("a CUDA device answers")
    with tf.device("/gpu:0"):
        x = tf.constant(1.0, name="on_gpu")
    with tf.Session() as session:
        with pytest.raises(tf.errors.InvalidArgumentError, match="on_gpu"):
            session.run(x)
    config = tf.ConfigProto(allow_soft_placement=True)
    with tf.Session(config=config) as session:
        assert session.run(x) == 1.0


def test_plans_are_kept_by_shape(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(x * x)
    with tf.Session() as session:
        for n in (1, 2, 1, 2, 3):
            assert session.run(y, {x: np.full(n, 2.0)}) == 4.0 * n


def test_an_error_in_a_merged_kernel_names_the_node_that_failed() -> None:
    with gg.Graph().as_default(), gg.Session() as session:
        x = gg.placeholder(gg.int32, [2], name="x")
        y = gg.identity(gg.floordiv(x + 1, x, name="quotient") * 2 - x, name="y")
        with pytest.raises(gg.errors.InvalidArgumentError, match="quotient"):
            session.run(y, {x: [1, 0]})
