"""Variables: names, reads and writes, errors, and gradients through their reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def names(graph: tf.Graph) -> list[tuple[str, str]]:
    return [(op.name, op.type) for op in graph.get_operations()]


def run(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


# --- names ----------------------------------------------------------------------------


def test_a_variable_adds_these_ops(graph: tf.Graph) -> None:
    v = tf.get_variable("v", initializer=1.0)
    assert names(graph) == [
        ("v/Initializer/initial_value", "Const"),
        ("v", "VarHandleOp"),
        ("v/IsInitialized/VarIsInitializedOp", "VarIsInitializedOp"),
        ("v/Assign", "AssignVariableOp"),
        ("v/Read/ReadVariableOp", "ReadVariableOp"),
    ]
    assert repr(v) == "<tf.Variable 'v:0' shape=() dtype=float32>"
    assert (v.name, v.op.name, v.initializer.name) == ("v:0", "v", "v/Assign")
    assert v.initial_value.name == "v/Initializer/initial_value:0"


def test_reads_stand_where_they_are_used() -> None:
    v = tf.Variable([1.0, 2.0])
    y = v * v
    assert [t.name for t in y.op.inputs] == ["ReadVariableOp:0", "mul/ReadVariableOp:0"]
    assert (v + 1.0).op.inputs[0].name == "ReadVariableOp_1:0"
    assert tf.square(v).op.inputs[0].name == "Square/ReadVariableOp:0"
    assert (2.0 - v).op.inputs[1].name == "ReadVariableOp_2:0"
    assert v.read_value().name == "Identity:0"
    assert v.read_value().op.inputs[0].name == "Read_1/ReadVariableOp:0"


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: tf.Variable(1.0), "Variable:0"),
        (lambda: [tf.Variable(1.0), tf.Variable(1.0)][1], "Variable_1:0"),
        (lambda: tf.Variable(lambda: tf.ones([2]), name="w"), "w:0"),
    ],
)
def test_names(make: Callable[[], Any], name: str) -> None:
    assert make().name == name


def test_scopes_prefix_variables_but_not_get_variable() -> None:
    with tf.name_scope("ns"):
        assert tf.get_variable("v", initializer=1.0).name == "v:0"
        assert tf.Variable(1.0).name == "ns/Variable:0"


def test_assign_gives_the_variable_afterwards() -> None:
    v = tf.get_variable("v", initializer=[1.0, 2.0])
    after = v.assign([2.0, 3.0])
    assert repr(after) == "<tf.Variable 'AssignVariableOp' shape=(2,) dtype=float32>"
    assert after.op.type == "AssignVariableOp" and after.handle is v.handle
    read = after.value().op
    assert [op.name for op in read.control_inputs] == ["AssignVariableOp"]
    assert v.assign([0.0, 0.0], read_value=False).type == "AssignVariableOp"


# --- values ---------------------------------------------------------------------------


def test_assignments() -> None:
    v = tf.Variable([1.0, 2.0])
    steps = [v.assign([3.0, 4.0]), v.assign_add([1.0, 1.0]), v.assign_sub([0.0, 2.0])]
    steps += [tf.assign(v, v * 2.0), tf.scatter_update(v, [1], [9.0])]
    steps += [tf.scatter_add(v, [0, 0], [1.0, 2.0]), v.scatter_nd_update([[1]], [7.0])]
    expected = [[3, 4], [4, 5], [4, 3], [8, 6], [8, 9], [11, 9], [11, 7]]
    with tf.Session() as session:
        session.run(v.initializer)
        for step, value in zip(steps, expected):
            np.testing.assert_array_equal(session.run(step), value)
            np.testing.assert_array_equal(session.run(v), value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("add", [5, 2, 5]), ("sub", [-1, 2, -1]), ("mul", [6, 2, 6]),
        ("div", [2 / 3, 2, 2 / 3]), ("max", [3, 2, 3]), ("min", [2, 2, 2]),
        ("update", [3, 2, 3]),
    ],
)  # fmt: skip
def test_scatters(kind: str, value: list[float]) -> None:
    v = tf.Variable([2.0, 2.0, 2.0])
    slices = tf.IndexedSlices(tf.constant([3.0, 3.0]), tf.constant([0, 2]))
    np.testing.assert_allclose(run(getattr(v, f"scatter_{kind}")(slices)), value)
    np.testing.assert_allclose(
        run(getattr(tf, f"scatter_{kind}")(v, [0, 2], 3.0)), value
    )


def test_an_update_reads_the_value_of_its_place_in_the_program() -> None:
    v = tf.Variable(1.0)
    with tf.control_dependencies([v.assign(5.0)]):
        doubled = v.assign(v.read_value() * 2.0)
    with tf.control_dependencies([doubled]):
        y = v.read_value() + 0.5
    assert run(y) == 10.5


def test_session_fetches_feeds_and_loads() -> None:
    v = tf.Variable([1.0, 2.0])
    with tf.Session() as session:
        session.run(v.initializer)
        np.testing.assert_array_equal(session.run(v, {v: [7.0, 8.0]}), [7, 8])
        v.load([0.0, 3.0])
        np.testing.assert_array_equal(v.eval(), [0, 3])
        assert session.run(v.is_initialized())


def test_reading_before_initialising() -> None:
    v, w = tf.Variable(1.0, name="v"), tf.Variable(2.0, name="w")
    missing = tf.report_uninitialized_variables()
    with tf.Session() as session:
        with pytest.raises(gg.errors.FailedPreconditionError, match="v"):
            session.run(v * 2.0)
        assert session.run(missing).tolist() == [b"v", b"w"]
        session.run(w.initializer)
        assert session.run(missing).tolist() == [b"v"]
        assert not session.run(tf.is_variable_initialized(v))


def test_a_variable_made_in_a_function_lives_outside() -> None:
    made: list[Any] = []

    @tf.function
    def f(x: Any) -> Any:
        if not made:
            made.append(tf.Variable(2.0))
        return x * made[0]

    assert run(f(tf.constant(3.0))) == 6.0
    assert made[0].graph is tf.get_default_graph()


def test_numpy_functions() -> None:
    v = tf.Variable([1.0, 4.0])
    np.testing.assert_allclose(run(np.sqrt(v)), [1, 2])


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda v: tf.Variable(None), ValueError, "initial_value"),
        (lambda v: tf.Variable(1.0, collections="a"), ValueError, "must be a list"),
        (lambda v: v.assign([1.0, 2.0, 3.0]), ValueError, "Shape mismatch"),
        (lambda v: tf.assign(v, 1.0), ValueError, "Shape mismatch"),
        (lambda v: v.assign(tf.constant([1, 2])), ValueError, "int32"),
        (lambda v: tf.assign(tf.constant(1.0), 2.0), AttributeError, "variable"),
        (lambda v: tf.scatter_add(v, [0], [1.0, 2.0]), ValueError, "updates.shape"),
        (lambda v: v.scatter_add([1.0]), TypeError, "IndexedSlices"),
        (lambda v: bool(v), TypeError, "bool"),
        (lambda v: list(v), TypeError, "Iterating"),
        (lambda v: np.array(v), NotImplementedError, "symbolic"),
        (lambda v: len(v), TypeError, "len"),
    ],
)
def test_misuse(make: Callable[[Any], Any], kind: type[Exception], text: str) -> None:
    v = tf.Variable([1.0, 2.0], name="v")
    with pytest.raises(kind, match=text):
        make(v)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda v: tf.scatter_add(v, [1, 5], [2.0, 2.0]), "indices[1] = 5 is not in"),
        (lambda v: tf.scatter_nd_add(v, [[-1]], [2.0]), "indices[0] = [-1] does not"),
        (lambda v: v.sparse_read([[0], [7]]), "indices[1,0] = 7 is not in [0, 2)"),
        (
            lambda v: v.assign(tf.placeholder_with_default([1.0, 2.0, 3.0], None)),
            "shape",
        ),
    ],
)
def test_a_failed_step_changes_nothing(make: Callable[[Any], Any], text: str) -> None:
    v = tf.Variable([1.0, 2.0])
    step = make(v)
    with tf.Session() as session:
        session.run(v.initializer)
        with pytest.raises(gg.errors.InvalidArgumentError, match=re.escape(text)):
            session.run([v.assign([8.0, 8.0]), step])
        np.testing.assert_array_equal(session.run(v), [1, 2])


# --- gradients ------------------------------------------------------------------------


def test_gradients_are_those_of_the_handle() -> None:
    v = tf.get_variable("v", initializer=2.0)
    r = v.read_value()
    assert run(tf.gradients(v * v, v)) == [4.0]
    assert tf.gradients(v * v, [v.value()]) == [None]
    assert run(tf.gradients(r * r, [r, v])) == [4.0, 4.0]
    assert run(tf.gradients(v, v)) == [1.0]
    assert run(tf.gradients(v * v, v.handle)) == [4.0]
    zero = tf.gradients(tf.constant(1.0), v, unconnected_gradients="zero")
    assert run(zero) == [0.0]


def test_gathered_rows_give_indexed_slices() -> None:
    v = tf.Variable(np.ones((5, 2), "f"))
    (g,) = tf.gradients(v.sparse_read([1, 1, 3]) * 2.0, v)
    assert isinstance(g, tf.IndexedSlices) and g.shape.as_list() == [5, 2]
    value = run(g)
    assert value.indices.tolist() == [1, 1, 3] and value.dense_shape.tolist() == [5, 2]
    np.testing.assert_array_equal(value.values, np.full((3, 2), 2.0))


def _of_the_value(v: Any) -> Any:
    return tf.reduce_sum(tf.sin(v) * v * v.read_value())


def _of_rows(v: Any) -> Any:
    return tf.reduce_sum(tf.sin(v.sparse_read([2, 0, 2])) * v.sparse_read([1, 1, 2]))


@pytest.mark.parametrize("function", [_of_the_value, _of_rows])
@pytest.mark.parametrize("order", [1, 2])
def test_gradients_agree_with_differences(
    function: Callable[[Any], Any], order: int
) -> None:
    start = np.array([0.3, -0.7, 1.1])
    v = tf.Variable(start)
    y = function(v)
    if order == 2:
        weights = tf.constant(np.array([0.4, 1.3, -0.6]))
        y = tf.reduce_sum(tf.convert_to_tensor(tf.gradients(y, v)[0]) * weights)
    g = tf.convert_to_tensor(tf.gradients(y, v)[0])
    step, eps = np.array([1.0, -0.5, 0.8]), 1e-6
    with tf.Session() as session:
        session.run(v.initializer)
        analytic = float(session.run(g) @ step)
        found = []
        for sign in (1, -1):
            v.load(start + sign * eps * step)
            found.append(session.run(y))
    assert analytic == pytest.approx((found[0] - found[1]) / (2 * eps), rel=1e-7)


def test_count_up_to() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable(0, name="v")
        count = v.count_up_to(2)
        session.run(v.initializer)
        assert [session.run(count), session.run(tf.count_up_to(v, 2))] == [0, 1]
        for _ in range(2):
            with pytest.raises(tf.errors.OutOfRangeError, match="Reached limit of 2"):
                session.run(count)
        assert session.run(v) == 2


def test_greatest_and_least_at_places() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
        session.run(v.initializer)
        session.run(v.scatter_nd_max([[0, 0], [1, 1]], [5.0, 0.0]))
        assert session.run(v).tolist() == [[5.0, 2.0], [3.0, 4.0]]
        session.run(v.scatter_nd_min([[1]], [[1.0, 9.0]]))
        assert session.run(v).tolist() == [[5.0, 2.0], [1.0, 4.0]]
        assert session.run(v.gather_nd([[0, 1], [1, 0]])).tolist() == [2.0, 1.0]
        assert session.run(v.initialized_value()).tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_handle_fetched_is_its_value() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([1.0], name="v")
        session.run(v.initializer)
        assert session.run("v:0").tolist() == [1.0]
        assert session.run(v.handle).tolist() == [1.0]
