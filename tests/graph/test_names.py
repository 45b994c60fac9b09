"""Names: uniquifying, scopes, operands, lookups (TensorFlow 2.21's results)."""

from __future__ import annotations

import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with gg.Graph().as_default() as g:
        yield g


def names(*wanted: str) -> list[str]:
    return [tf.constant(1.0, name=w).op.name for w in wanted]


def test_case_does_not_make_a_name_unique() -> None:
    got = names("foo", "FOO", "foo_1", "foo", "foo_1")
    assert got == ["foo", "FOO_1", "foo_1_1", "foo_2", "foo_1_2"]


def test_scopes_and_ops_share_the_table() -> None:
    with tf.name_scope("a") as first:
        pass
    with tf.name_scope("a") as second:
        with tf.name_scope("b") as inner:
            pass
        with tf.name_scope("b") as again:
            pass
    assert [first, second, inner, again] == ["a/", "a_1/", "a_1/b/", "a_1/b_1/"]
    assert names("a", "W", "w", "w_1") == ["a_2", "W", "w_1", "w_1_1"]


def test_an_op_takes_a_scope_name() -> None:
    names("a")
    with tf.name_scope("a") as scope:
        assert scope == "a_1/"


def test_reentering_and_leaving_scopes() -> None:
    with tf.name_scope("outer") as scope:
        names("c")
    with tf.name_scope(scope):
        assert names("c") == ["outer/c_1"]
        with tf.name_scope(None) as root:
            assert root == ""
            assert names("c") == ["c"]
        with tf.name_scope(""):
            assert names("c") == ["c_1"]


def test_a_slash_at_the_end_is_taken_as_it_is() -> None:
    assert names("x/") == ["x"]


@pytest.mark.parametrize("name", ["_x", "-x", "not valid!", "ä", ""])
def test_invalid_root_names(name: str) -> None:
    if name:
        with pytest.raises(ValueError, match="is not a valid"):
            names(name)
        with pytest.raises(ValueError, match="is not a valid"):
            tf.name_scope(name).__enter__()


@pytest.mark.parametrize("name", ["_x", "-x", ".5"])
def test_names_valid_inside_a_scope(name: str) -> None:
    with tf.name_scope("a"):
        assert names(name) == [f"a/{name}"]


def test_operands_are_named_after_the_op(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")
    made = [
        (2 * x, ["mul/x", "mul"]),
        (x + 1.0, ["add/y", "add"]),
        (tf.reduce_sum(x, 0), ["Sum/reduction_indices", "Sum"]),
        (tf.reduce_sum(x), ["Const", "Sum_1"]),
        (tf.transpose(x, [1, 0]), ["transpose/perm", "transpose"]),
        (tf.concat([x, x], 0), ["concat/axis", "concat"]),
        (tf.reshape(x, [6]), ["Reshape/shape", "Reshape"]),
        (tf.expand_dims(x, 0), ["ExpandDims/dim", "ExpandDims"]),
        (tf.tile(x, [1, 2]), ["Tile/multiples", "Tile"]),
    ]
    expected = ["x"] + [name for _, group in made for name in group]
    assert [op.name for op in graph.get_operations()] == expected


def test_lookups(graph: gg.Graph) -> None:
    x = tf.constant([1.0], name="x")
    assert graph.get_tensor_by_name("x:0") is x
    assert graph.get_operation_by_name("x") is x.op
    assert graph.as_graph_element("x:0") is x
    assert graph.as_graph_element("x") is x.op
    for wrong, error in [
        ("x", ValueError),
        ("x:1", KeyError),
        ("nope:0", KeyError),
        ("x:y", ValueError),
        (3, TypeError),
    ]:
        with pytest.raises(error):
            graph.get_tensor_by_name(wrong)
    for wrong, error in [("x:0", ValueError), ("nope", KeyError), (3, TypeError)]:
        with pytest.raises(error):
            graph.get_operation_by_name(wrong)


def test_repr_and_str(graph: gg.Graph) -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    u = tf.placeholder(tf.int32, name="u")
    with tf.device("/cpu:0"):
        c = tf.constant([1], name="c")
    assert repr(x) == "<tf.Tensor 'x:0' shape=(None, 3) dtype=float32>"
    assert str(x) == 'Tensor("x:0", shape=(None, 3), dtype=float32)'
    assert repr(u) == "<tf.Tensor 'u:0' shape=<unknown> dtype=int32>"
    assert str(u) == 'Tensor("u:0", dtype=int32)'
    assert str(c) == 'Tensor("c:0", shape=(1,), dtype=int32, device=/device:CPU:0)'
    assert repr(tf.matmul(x, tf.ones([3, 2]), name="mm").op) == (
        "<tf.Operation 'mm' type=MatMul>"
    )
    assert repr(x.shape) == "TensorShape([None, 3])"
    assert str(x.shape) == "(None, 3)"
    assert repr(u.shape) == "TensorShape(None)"
    assert str(u.shape) == "<unknown>"
    assert repr(tf.float32) == "tf.float32"
    assert str(tf.float32) == "<dtype: 'float32'>"


def test_errors_name_the_users_line() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")
    y = tf.placeholder(tf.float32, [2], name="y")
    with pytest.raises(ValueError, match=r"are 3 and 2.*test_names\.py:\d+") as caught:
        tf.add(x, y, name="total")
    assert "'total'" in str(caught.value)
    i = tf.constant([1, 2])
    with pytest.raises(TypeError, match="Input 'y' of 'AddV2' Op has type int32"):
        y + i
    with pytest.raises(TypeError, match="Expected int32, but got 1.5"):
        i + 1.5
    with pytest.raises(ValueError, match="None values not supported"):
        tf.convert_to_tensor(None)


def test_control_dependencies() -> None:
    x = tf.constant(1.0, name="x")
    with tf.control_dependencies([x]):
        y = tf.identity(tf.constant(2.0), name="y")
        z = tf.identity(y, name="z")
        with tf.control_dependencies(None):
            w = tf.identity(x, name="w")
    assert [op.name for op in y.op.inputs[0].op.control_inputs] == ["x"]
    assert z.op.control_inputs == ()  # ordered through y already
    assert w.op.control_inputs == ()
    with pytest.raises(TypeError):
        tf.control_dependencies([3]).__enter__()


def test_what_a_tensor_is_not() -> None:
    x = tf.placeholder(tf.float32, [3], name="x")
    with pytest.raises(TypeError, match="as a Python `bool` is not allowed"):
        bool(x)
    with pytest.raises(TypeError, match="Iterating over a symbolic"):
        iter(x)
    with pytest.raises(TypeError, match="len is not well defined"):
        len(x)
    with pytest.raises(NotImplementedError, match="Cannot convert a symbolic"):
        import numpy as np

        np.array(x)
    for number in (float, int, range):
        with pytest.raises(TypeError):
            number(x)
    assert {x: 1}[x] == 1
    assert (x == 1.0) is False


def test_finalized(graph: gg.Graph) -> None:
    x = tf.constant(1.0)
    graph.finalize()
    with pytest.raises(RuntimeError, match="Graph is finalized and cannot be modified"):
        x + 1.0


def test_collections(graph: gg.Graph) -> None:
    graph.add_to_collection("c", 1)
    graph.add_to_collections(["c", "d"], 2)
    copy = graph.get_collection("c")
    copy.append(9)
    assert graph.get_collection("c") == [1, 2]
    graph.get_collection_ref("c").append(3)
    assert graph.get_collection("c") == [1, 2, 3]
    graph.clear_collection("c")
    assert graph.get_collection("c") == []


def test_building_from_threads(graph: gg.Graph) -> None:
    """Names stay unique and ids dense when several threads build one graph."""
    import threading

    x = tf.constant(1.0, name="x")

    def build() -> None:
        y = x
        for _ in range(200):
            y = tf.multiply(y, x, name="m")

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ops = graph.get_operations()
    assert len(ops) == 801
    assert len({op.name for op in ops}) == 801
    assert [op.id for op in ops] == list(range(801))
