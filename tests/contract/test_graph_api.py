"""Graph, Operation, Tensor and IndexedSlices: what they know and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1
from tests.contract.support import refused, run


@pytest.fixture(autouse=True)
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


@pytest.fixture
def product() -> tf.Tensor:
    x = v1.placeholder(tf.float32, [None, 3], name="x")
    return tf.matmul(x, tf.ones([3, 2]), name="mm")


# --- operations -----------------------------------------------------------------------


def test_an_operation(product: tf.Tensor, graph: v1.Graph) -> None:
    op = product.op
    assert (op.name, op.type, op.device) == ("mm", "MatMul", "")
    assert isinstance(op.inputs, tuple) and [t.name for t in op.inputs] == [
        "x:0",
        "ones:0",
    ]
    assert op.outputs == [product]
    assert len(op.control_inputs) == 0
    assert op.graph is graph
    assert op.colocation_groups() == [b"loc:@mm"]
    assert op.get_attr("transpose_a") is False
    assert op.get_attr("T") is tf.float32
    refused(
        lambda: op.get_attr("nope"),
        ValueError,
        "Operation 'mm' has no attr named 'nope'.",
    )
    assert repr(op) == "<tf.Operation 'mm' type=MatMul>"
    for line in ('name: "mm"', 'op: "MatMul"', 'input: "x"', 'key: "transpose_b"'):
        assert line in str(op)


def test_kinds_of_attributes() -> None:
    image = tf.ones([1, 4, 4, 1])
    pool = v1.nn.max_pool(image, [1, 2, 2, 1], [1, 2, 2, 1], "SAME").op
    assert pool.get_attr("padding") == b"SAME"
    assert pool.get_attr("ksize") == [1, 2, 2, 1]
    assert tf.cast(image, tf.int32).op.get_attr("DstT") is tf.int32


# --- tensors --------------------------------------------------------------------------


def test_a_tensor(product: tf.Tensor, graph: v1.Graph) -> None:
    assert (product.name, product.value_index, product.device) == ("mm:0", 0, "")
    assert product.graph is graph and product.dtype is tf.float32
    assert product.shape.as_list() == product.get_shape().as_list() == [None, 2]
    assert product.consumers() == []
    used = [tf.exp(product).op, tf.negative(product).op]
    assert set(product.consumers()) == set(used)
    assert {product: 1}[product] == 1
    assert (product == product) is True
    assert product.ref().deref() is product


def test_set_shape_merges(product: tf.Tensor) -> None:
    product.set_shape([4, None])
    assert product.shape.as_list() == [4, 2]
    refused(lambda: product.set_shape([5, 2]), ValueError, "(4, 2)", "(5, 2)")
    refused(lambda: product.set_shape([4]), ValueError)
    unknown = v1.placeholder(tf.float32)
    unknown.set_shape([None, 7])
    assert unknown.shape.as_list() == [None, 7]


def test_shapes() -> None:
    shape = tf.TensorShape([None, 3])
    assert (shape.ndims, shape.rank, len(shape)) == (2, 2, 2)
    assert shape == [None, 3] and shape[1:].as_list() == [3]
    assert (shape[1], shape.num_elements()) == (3, None)
    assert not shape.is_fully_defined()
    assert shape.merge_with([2, None]).as_list() == [2, 3]
    assert shape.concatenate([4]).as_list() == [None, 3, 4]
    assert shape.with_rank(2) == shape
    assert shape.is_compatible_with([7, 3]) and not shape.is_compatible_with([7, 4])
    unknown = tf.TensorShape(None)
    assert unknown.ndims is None and str(unknown) == "<unknown>"
    for call in (
        lambda: unknown.as_list(),
        lambda: len(unknown),
        lambda: list(unknown),
        lambda: shape.merge_with([3, 4]),
        lambda: shape.with_rank(1),
        lambda: shape.assert_has_rank(3),
        lambda: shape.assert_is_fully_defined(),
    ):
        refused(call, ValueError)


# --- lookups --------------------------------------------------------------------------


def test_lookups(graph: v1.Graph, product: tf.Tensor) -> None:
    assert graph.get_tensor_by_name("mm:0") is product
    assert graph.get_operation_by_name("mm") is product.op
    for element in (product, product.op):
        assert graph.as_graph_element(element) is element
        assert graph.as_graph_element(element.name) is element
    for name, kind in (
        ("mm", ValueError),
        ("mm:x", ValueError),
        ("mm:1", KeyError),
        ("nope:0", KeyError),
        (3, TypeError),
    ):
        refused(lambda name=name: graph.get_tensor_by_name(name), kind)
    for name, kind in (("mm:0", ValueError), ("nope", KeyError), (3, TypeError)):
        refused(lambda name=name: graph.get_operation_by_name(name), kind)
    refused(lambda: graph.as_graph_element("mm", allow_operation=False), ValueError)
    refused(lambda: graph.as_graph_element(3), TypeError)


def test_operations_stand_in_the_order_of_their_making(graph: v1.Graph) -> None:
    made = [tf.constant(1.0, name=name) for name in ("b", "a", "c")]
    assert [op.name for op in graph.get_operations()] == ["b", "a", "c"]
    assert graph.version == len(made)
    assert graph.unique_name("a") == "a_1"
    assert graph.unique_name("a", mark_as_used=False) == "a_2"
    assert graph.unique_name("a") == "a_2"
    with v1.name_scope("outer"):
        assert graph.get_name_scope() == "outer"


def test_collections(graph: v1.Graph) -> None:
    graph.add_to_collection("one", 1)
    graph.add_to_collections(["one", "two"], 2)
    graph.get_collection("one").append(3)  # a copy
    graph.get_collection_ref("two").append(4)
    assert graph.get_collection("one") == [1, 2]
    assert graph.get_collection("two") == [2, 4]
    assert graph.get_collection("nothing") == []
    assert set(graph.get_all_collection_keys()) >= {"one", "two"}
    graph.clear_collection("one")
    assert graph.get_collection("one") == []
    x = tf.constant(1.0, name="inside/x")
    v1.add_to_collection("scoped", x)
    assert v1.get_collection("scoped", scope="inside") == [x]
    assert v1.get_collection("scoped", scope="other") == []


def test_what_may_not_be_fed_or_fetched(graph: v1.Graph) -> None:
    x = tf.constant(1.0)
    y = x * 2.0
    graph.prevent_feeding(x)
    graph.prevent_fetching(y.op)
    assert (graph.is_feedable(x), graph.is_feedable(y)) == (False, True)
    assert (graph.is_fetchable(x), graph.is_fetchable(y)) == (True, False)
    refused(lambda: run(x, {x: 2.0}), ValueError, "may not be fed")
    refused(lambda: run(y), ValueError, "not fetchable")


# --- control edges, devices, groups ---------------------------------------------------


def controls(element: tf.Tensor | tf.Operation) -> list[str]:
    op = element.op if isinstance(element, tf.Tensor) else element
    return [control.name for control in op.control_inputs]


def test_control_dependencies(graph: v1.Graph) -> None:
    a, b = tf.constant(1.0, name="a"), tf.constant(2.0, name="b")
    with tf.control_dependencies([a, a.op]):
        c = tf.identity(b)
        with tf.control_dependencies(["b"]):
            nested = tf.constant(3.0)
        with tf.control_dependencies(None):
            free = tf.identity(b)
        ordered = tf.identity(c)
    assert [controls(t) for t in (c, nested, free, ordered)] == [
        ["a"],
        ["a", "b"],
        [],
        [],
    ]
    with graph.control_dependencies([tf.IndexedSlices(a, b)]):
        assert controls(tf.no_op()) == ["a"]


DEVICES = {
    "/cpu:0": "/device:CPU:0",
    "gpu:1": "/device:GPU:1",
    "/GPU:1": "/device:GPU:1",
    "/device:GPU:2": "/device:GPU:2",
    "/gpu": "/device:GPU:*",
    "/job:worker/task:1/cpu:0": "/job:worker/task:1/device:CPU:0",
    "": "",
}


@pytest.mark.parametrize(("name", "full"), DEVICES.items())
def test_device_names(name: str, full: str) -> None:
    with tf.device(name):
        assert tf.constant(1.0).device == full


def test_nested_devices() -> None:
    with tf.device("/job:worker/cpu:0"):
        with tf.device("/gpu:1"):
            assert tf.constant(1.0).device == "/job:worker/device:GPU:1"
        with tf.device("/task:2"):
            assert tf.constant(1.0).device == "/job:worker/task:2/device:CPU:0"
        with tf.device(None):
            assert tf.constant(1.0).device == ""
        assert tf.constant(1.0).device == "/job:worker/device:CPU:0"


def test_groups() -> None:
    a, b = tf.constant(1.0, name="a"), tf.constant(2.0, name="b")
    both = tf.group(a, [b], name="both")
    assert (both.name, both.type, controls(both)) == ("both", "NoOp", ["a", "b"])
    assert tf.group().type == "NoOp"
    gated = v1.tuple([a, None, b], name="gate")
    assert gated[1] is None
    assert [t.name for t in gated if t is not None] == [
        "gate/control_dependency:0",
        "gate/control_dependency_1:0",
    ]
    assert [controls(t) for t in gated if t is not None] == [["gate/group_deps"]] * 2
    refused(lambda: v1.tuple([None]), ValueError)


# --- NumPy on the left ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda x: np.float32(2.0) * x, "mul"),
        (lambda x: np.array([1, 2]) + x, "add"),
        (lambda x: np.array([1.0, 2.0]) - x, "sub"),
        (lambda x: np.float64(2.0) / x, "truediv"),
        (lambda x: np.float32(2.0) ** x, "pow"),
        (lambda x: np.ones(2, np.float32) < x, "Greater"),
        (lambda x: x * np.float64(2.0), "mul"),
    ],
)
def test_operators_of_arrays_are_operators(build, name: str) -> None:
    x = tf.constant([1.0, 4.0])
    y = build(x)
    assert y.op.name == name
    assert y.graph is x.graph


def test_the_order_of_operands_stays() -> None:
    x = tf.constant([1.0, 4.0])
    three = np.full(2, 3.0, np.float32)
    assert run(three - x).tolist() == [2.0, -1.0]
    assert run(three / x).tolist() == [3.0, 0.75]
    assert run(three < x).tolist() == [False, True]
    assert run(three**x).tolist() == [3.0, 81.0]


# --- rows of a table ------------------------------------------------------------------


def test_slices() -> None:
    values = tf.constant([[1.0, 2.0], [3.0, 4.0]], name="values")
    indices = tf.constant([0, 2], name="indices")
    shape = tf.constant([4, 2], name="shape")
    rows = tf.IndexedSlices(values, indices, shape)
    assert rows.values is values and rows.indices is indices
    assert rows.dense_shape is shape and rows.shape == (4, 2)
    assert (rows.dtype, rows.name, rows.device) == (tf.float32, "values:0", "")
    assert rows.op is values.op and rows.graph is values.graph
    bare = tf.IndexedSlices(values, indices)
    assert str(bare) == f"IndexedSlices(indices={indices}, values={values})"
    assert str(rows) == (
        f"IndexedSlices(indices={indices}, values={values}, dense_shape={shape})"
    )
    assert tf.is_tensor(rows) and not isinstance(rows, tf.Tensor)
    for kept in (
        -rows,
        tf.math.scalar_mul(2.0, rows),
        tf.identity(rows),
        tf.stop_gradient(rows),
        tf.clip_by_norm(rows, 1.0),
        tf.clip_by_value(rows, 0.0, 1.0),
        tf.clip_by_global_norm([rows], 1.0)[0][0],
    ):
        assert isinstance(kept, tf.IndexedSlices)
    for dense in (
        tf.add_n([rows, rows]),
        tf.multiply(rows, 2.0),
        tf.reduce_sum(rows),
        tf.convert_to_tensor(rows),
    ):
        assert isinstance(dense, tf.Tensor)
    for call in (lambda: rows + 1.0, lambda: rows * 2.0, lambda: rows[0]):
        refused(call, TypeError)
    refused(lambda: tf.convert_to_tensor(bare), ValueError, "without dense_shape")


def test_a_negative_norm_counts_as_zero() -> None:
    x = tf.constant([3.0, 4.0])
    for norm in (-1.0, tf.constant(-1.0)):
        assert run(tf.clip_by_norm(x, norm)).tolist() == [0.0, 0.0]
