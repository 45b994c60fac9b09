"""Every misuse has its type and its text, and names the node and line at fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1
from tests.contract.support import refused, run

HERE = re.compile(r"test_errors\.py:\d+")


@pytest.fixture(autouse=True)
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


def real() -> tf.Tensor:
    return tf.constant([1.0, 2.0], name="x")


def grad(ys: Any, xs: Any, *args: Any, **kwargs: Any) -> Any:
    return tf.gradients(ys, xs, *args, **kwargs)


# --- arguments of gradients() ---------------------------------------------------------

BOOL = [[True, False]]
COMPLEX = [np.array([1 + 1j, 1], np.complex64)]

ARGUMENTS = {
    "unconnected": (
        lambda x: grad(x, x, unconnected_gradients="foo"),
        ValueError,
        "Unknown value for unconnected_gradients: 'foo'",
    ),
    "unconnected, other case": (
        lambda x: grad(x, x, unconnected_gradients="Zero"),
        ValueError,
        "Unknown value for unconnected_gradients: 'Zero'",
    ),
    "unconnected, even without xs": (
        lambda x: grad(x, [], unconnected_gradients=None),
        ValueError,
        "Unknown value for unconnected_gradients: 'None'",
    ),
    "aggregation": (
        lambda x: grad(x * x, x, aggregation_method=7),
        ValueError,
        "Invalid `aggregation_method` specified 7. Accepted values are [0, 1, 2].",
    ),
    "grad_ys, more than ys": (
        lambda x: grad(x, x, grad_ys=[1.0, 5.0]),
        ValueError,
        "Length mismatch. Passed 2 grad_ys for 1 ys",
    ),
    "grad_ys, fewer than ys": (
        lambda x: grad([x, x], x, grad_ys=[None]),
        ValueError,
        "Length mismatch. Passed 1 grad_ys for 2 ys",
    ),
    "complex y": (
        lambda x: grad(tf.complex(x, x), x),
        TypeError,
        "Gradients of complex tensors (Tensor(",
    ),
    "complex y, real grad_ys": (
        lambda x: grad(tf.complex(x, x), x, grad_ys=[[1.0, 1.0]]),
        TypeError,
        "Gradient type float32 generated for complex-valued tensor",
    ),
    "real y, complex grad_ys": (
        lambda x: grad(x, x, grad_ys=COMPLEX),
        TypeError,
        "Gradient type complex64 generated for real or integer-valued tensor",
    ),
    "real y, bool grad_ys": (
        lambda x: grad(x, x, grad_ys=BOOL),
        TypeError,
        "with type float32 must be real or integer",
    ),
    "bool y": (
        lambda x: grad(x > 1.0, x, grad_ys=BOOL),
        TypeError,
        "with type bool must be numeric to obtain a default gradient",
    ),
    "string y with grad_ys": (
        lambda x: grad(tf.constant("a"), x, grad_ys=["b"]),
        TypeError,
        "with type string must be numeric to obtain a default gradient",
    ),
    "string y": (
        lambda x: grad(tf.constant("a"), x),
        TypeError,
        "Expected string, but got 1 of type 'int'",
    ),
    "grad_ys of another dtype": (
        lambda x: grad(x * 2.0, x, grad_ys=tf.ones([2], tf.float64)),
        TypeError,
        "Input 'y' of 'Mul' Op has type float32 that does not match type float64 of "
        "argument 'x'",
    ),
    "grad_ys of another shape": (
        lambda x: grad(x * 2.0, x, grad_ys=[3.0]),
        ValueError,
        "Incompatible shapes between op input and calculated input gradient. Forward "
        "operation: mul. Input index: 0. Original input shape: (2,). Calculated input "
        "gradient shape: ()",
    ),
    "grad_ys that do not broadcast": (
        lambda x: grad(x * x, x, grad_ys=tf.ones([3])),
        ValueError,
        "Dimensions must be equal",
    ),
    "grad_ys that cannot be reshaped": (
        lambda x: grad(tf.reshape(x, [2, 1]), x, grad_ys=tf.ones([3])),
        ValueError,
        "Cannot reshape a tensor with",
    ),
    "None in ys": (lambda x: grad([x, None], x), TypeError, "among ys"),
    "None in xs": (lambda x: grad(x, [x, None]), TypeError, "among xs"),
    "no ys": (lambda x: grad(None, x), TypeError, "among ys"),
    "stop at None": (
        lambda x: grad(x, x, stop_gradients=[None]),
        TypeError,
        "stop_gradients must be tensors",
    ),
    "stop at a number": (
        lambda x: grad(x, x, stop_gradients=[2.0]),
        TypeError,
        "stop_gradients must be tensors",
    ),
    "nested xs": (lambda x: grad(x, [[x, x]]), TypeError, "each x must be one tensor"),
    "dict of xs": (lambda x: grad(x, {"a": x}), TypeError, "dict"),
    "slices as x": (
        lambda x: grad(x, tf.IndexedSlices(x, [0, 1])),
        ValueError,
        "Type IndexedSlices is not supported as a gradient source or gradient target",
    ),
    "slices without a shape": (
        lambda x: grad(x * 2.0, x, grad_ys=tf.IndexedSlices(x, tf.constant([0, 1]))),
        ValueError,
        "without dense_shape",
    ),
    "linear hessians": (
        lambda x: tf.hessians(tf.reduce_sum(x), x),
        ValueError,
        "None values not supported.",
    ),
    "unconnected hessians": (
        lambda x: tf.hessians(tf.constant(1.0), x),
        ValueError,
        "None values not supported.",
    ),
}


@pytest.mark.parametrize(
    ("call", "kind", "text"), ARGUMENTS.values(), ids=list(ARGUMENTS)
)
def test_arguments(call: Any, kind: type[Exception], text: str) -> None:
    x = real()
    refused(lambda: call(x), kind, text)


def test_an_unknown_method_is_harmless_without_a_path() -> None:
    assert grad(tf.constant(1.0), real(), aggregation_method=7) == [None]


def test_two_graphs() -> None:
    x = real()
    with tf.Graph().as_default():
        y = tf.constant(1.0, name="y")
    for call in (
        lambda: grad([x, y], x),
        lambda: grad(x, [x, y]),
        lambda: grad(x, x, grad_ys=[y]),
        lambda: x + y,
    ):
        refused(call, ValueError, "must be from the same graph as", "graphs are")


def test_a_finalized_graph(graph: v1.Graph) -> None:
    x = real()
    graph.finalize()
    text = "Graph is finalized and cannot be modified."
    refused(lambda: grad(x * 1.0, x), RuntimeError, text)
    refused(lambda: grad(x, x), RuntimeError, text)


# --- rules ----------------------------------------------------------------------------


def test_no_rule() -> None:
    x = real()
    y = tf.unique(x)[0]
    message = refused(
        lambda: grad(y, x),
        LookupError,
        "No gradient defined for operation'Unique' (op type: Unique)",
    )
    assert HERE.search(message)


def test_no_rule_of_that_name(graph: v1.Graph) -> None:
    x = real()
    with graph.gradient_override_map({"Exp": "ContractNobody"}):
        y = tf.exp(x, name="loss/exp")
    message = refused(
        lambda: grad(y, x),
        LookupError,
        "No gradient defined for operation'loss/exp'",
        "ContractNobody",
    )
    assert HERE.search(message)


def test_a_gradient_that_is_forbidden() -> None:
    x = real()
    y = tf.raw_ops.PreventGradient(input=x, message="because")
    text = "Gradient explicitly disabled. Reason: b'because'"
    refused(lambda: grad(y * 2.0, x), LookupError, text)
    assert len(grad(y * 2.0, y)) == 1
    assert grad(y * 2.0, x, stop_gradients=[y]) == [None]


WRONG = {
    "too many": (lambda op, dy: [dy, dy, dy], ValueError, "Num gradients 3 generated"),
    "too few": (lambda op, dy: dy, ValueError, "do not match num inputs 2"),
    "shape": (
        lambda op, dy: [tf.ones([3]), dy],
        ValueError,
        "Incompatible shapes between op input and calculated input gradient",
    ),
    "text": (lambda op, dy: ["a", "b"], TypeError, "returned 'a', a str"),
    "number": (lambda op, dy: [1.0, dy], TypeError, "returned 1.0, a float"),
    "array": (lambda op, dy: [dy, np.ones(2)], TypeError, "a ndarray"),
}


@pytest.mark.parametrize(("rule", "kind", "text"), WRONG.values(), ids=WRONG)
def test_what_a_rule_returns(
    graph: v1.Graph, request: pytest.FixtureRequest, rule, kind, text: str
) -> None:
    name = f"Contract{request.node.callspec.id.title().replace(' ', '')}"
    tf.RegisterGradient(name)(rule)
    x = real()
    with graph.gradient_override_map({"Mul": name}):
        y = tf.multiply(x, x, name="product")
    message = refused(lambda: grad(y, x), kind, text)
    assert "product" in message and HERE.search(message)


def test_what_a_rule_raises_comes_through(graph: v1.Graph) -> None:
    tf.RegisterGradient("ContractRaises")(lambda op, dy: 1 / 0)
    x = real()
    with graph.gradient_override_map({"Neg": "ContractRaises"}):
        y = -x
    refused(lambda: grad(y, x), ZeroDivisionError)


def test_registration(graph: v1.Graph) -> None:
    tf.RegisterGradient("ContractOnce")(lambda op, dy: dy)
    text = "Registering two gradient with name 'ContractOnce'!"
    refused(
        lambda: tf.RegisterGradient("ContractOnce")(lambda op, dy: dy), KeyError, text
    )
    for again in (tf.no_gradient, v1.NotDifferentiable, v1.NoGradient):
        refused(lambda again=again: again("ContractOnce"), KeyError, text)
    refused(lambda: tf.RegisterGradient(3), TypeError, "op_type must be a string")
    refused(lambda: tf.no_gradient(3), TypeError, "op_type must be a string")
    for wrong in (3, {"Add": 3}, {3: "Add"}):
        refused(
            lambda wrong=wrong: graph.gradient_override_map(wrong).__enter__(),
            TypeError,
            "op_type_map must be a dictionary mapping strings to strings",
        )


def test_custom_gradients() -> None:
    @tf.custom_gradient
    def three(a, b):
        return a * b, lambda dy: (dy, dy, dy)

    @tf.custom_gradient
    def scaled(a, by=2.0):
        return a * by, lambda dy: dy

    x = real()
    v = v1.get_variable("v", initializer=3.0)

    @tf.custom_gradient
    def times_v(a):
        return a * v, lambda dy: dy

    refused(
        lambda: grad(three(x, x), x), ValueError, "Num gradients", "match num inputs"
    )
    refused(lambda: scaled(x, by=3.0), ValueError, "keyword")
    refused(lambda: times_v(x), TypeError, "must accept keyword argument 'variables'")


# --- optimizers -----------------------------------------------------------------------


def test_optimizers() -> None:
    x = real()
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    refused(lambda: optimizer.minimize(x), ValueError, "No variables to optimize.")
    v = v1.get_variable("v", initializer=1.0)
    refused(
        lambda: optimizer.minimize(x[0]),
        ValueError,
        "No gradients provided for any variable",
    )
    refused(
        lambda: optimizer.apply_gradients([(None, v)]),
        ValueError,
        "No gradients provided for any variable",
    )
    refused(lambda: optimizer.apply_gradients([]), ValueError, "No variables provided.")
    refused(
        lambda: optimizer.compute_gradients(tf.cast(v, tf.int32)),
        ValueError,
        "Invalid type tf.int32 for Cast:0, expected: [tf.float32, tf.float64, "
        "tf.float16, tf.bfloat16].",
    )
    refused(
        lambda: optimizer.apply_gradients([(x, x)]),
        NotImplementedError,
        "Trying to update a Tensor ",
    )
    refused(
        lambda: optimizer.compute_gradients(v * v, gate_gradients=5),
        ValueError,
        "gate_gradients must be one of: Optimizer.GATE_NONE, Optimizer.GATE_OP, "
        "Optimizer.GATE_GRAPH.  Not 5",
    )


# --- what a symbolic tensor is not ----------------------------------------------------

AS_BOOL = "Using a symbolic `tf.Tensor` as a Python `bool` is not allowed"
PYTHON = {
    "bool": (lambda x: bool(x), TypeError, AS_BOOL),
    "if": (lambda x: 1 if x > 1.0 else 2, TypeError, AS_BOOL),
    "and": (lambda x: x and x, TypeError, AS_BOOL),
    "not": (lambda x: not x, TypeError, AS_BOOL),
    "for": (
        lambda x: list(x),
        TypeError,
        "Iterating over a symbolic `tf.Tensor` is not allowed",
    ),
    "len": (lambda x: len(x), TypeError, "len is not well defined for a symbolic"),
    "array": (
        lambda x: np.array(x),
        NotImplementedError,
        "Cannot convert a symbolic tf.Tensor (x:0) to a numpy array",
    ),
    "float": (lambda x: float(x), TypeError, ""),
    "range": (lambda x: range(x), TypeError, ""),
}


@pytest.mark.parametrize(("use", "kind", "text"), PYTHON.values(), ids=PYTHON)
def test_python_on_a_tensor(use, kind: type[Exception], text: str) -> None:
    x = real()
    refused(lambda: use(x), kind, text)


def test_the_kind_of_a_forbidden_use() -> None:
    x = real()
    for use in (bool, iter):
        with pytest.raises(tf.errors.OperatorNotAllowedInGraphError):
            use(x)


# --- building -------------------------------------------------------------------------

BUILDING = {
    "dtypes": (
        lambda x: x + tf.ones([2], tf.float64),
        TypeError,
        "Input 'y' of 'AddV2' Op has type float64 that does not match type float32 of "
        "argument 'x'.",
    ),
    "integer and fraction": (
        lambda x: tf.constant([1, 2]) + 1.5,
        TypeError,
        "Expected int32, but got 1.5 of type 'float'.",
    ),
    "integer and 1.0": (
        lambda x: tf.constant([1, 2]) * 1.0,
        TypeError,
        "Expected int32",
    ),
    "None": (lambda x: x + None, ValueError, "None values not supported."),
    "another dtype than asked for": (
        lambda x: tf.convert_to_tensor(x, tf.int32),
        ValueError,
        "Tensor conversion requested dtype int32 for Tensor with dtype float32",
    ),
    "a list of two dtypes": (
        lambda x: tf.stack([x, tf.constant([1, 2])]),
        TypeError,
        "",
    ),
    "a device": (
        lambda x: tf.device("/foo:0").__enter__(),
        ValueError,
        "Unknown attribute 'foo:0'",
    ),
    "an index of a device": (
        lambda x: tf.device("/gpu:one").__enter__(),
        ValueError,
        "is not a number",
    ),
    "a control input": (
        lambda x: tf.control_dependencies([3]).__enter__(),
        TypeError,
        "Control input must be Operation or Tensor",
    ),
    "a dimension": (lambda x: tf.TensorShape([-1]), ValueError, "must be >= 0"),
    "nothing to group": (lambda x: tf.group(None), TypeError, "None"),
}


@pytest.mark.parametrize(("build", "kind", "text"), BUILDING.values(), ids=BUILDING)
def test_building(build, kind: type[Exception], text: str) -> None:
    x = real()
    refused(lambda: build(x), kind, text)


AT_A_NODE = {
    "sum": (lambda: tf.add(tf.ones([3]), tf.ones([2]), name="bad"), "are 3 and 2"),
    "product": (
        lambda: tf.matmul(tf.ones([2, 3]), tf.ones([2, 3]), name="bad"),
        "Dimensions must be equal, but are 3 and 2",
    ),
    "reshape": (lambda: tf.reshape(tf.ones([3]), [2, 2], name="bad"), ""),
    "concat": (
        lambda: tf.concat([tf.ones([2, 3]), tf.ones([2, 4])], 0, name="bad"),
        "",
    ),
    "axis": (lambda: tf.reduce_sum(tf.ones([3]), 1, name="bad"), ""),
    "bias": (lambda: tf.nn.bias_add(tf.ones([2, 3]), tf.ones([2]), name="bad"), ""),
}


@pytest.mark.parametrize(("build", "text"), AT_A_NODE.values(), ids=AT_A_NODE)
def test_building_names_node_and_line(build, text: str) -> None:
    message = refused(build, ValueError, text, "'bad'")
    assert HERE.search(message)


VALUES = {  # known while building, but wrong as values: an error of the run, as it were
    "perm": lambda: tf.transpose(tf.ones([2, 3]), [0, 0]),
    "slice": lambda: tf.slice(tf.ones([2]), [0], [3]),
    "tile": lambda: tf.tile(tf.ones([2]), [-1]),
    "segments": lambda: tf.math.segment_sum(tf.ones([2]), [1, 0]),
    "softmax": lambda: tf.nn.softmax(tf.ones([2]), axis=1),
    "axes": lambda: tf.reduce_sum(tf.ones([2, 2]), [0, 0]),
    "row": lambda: tf.gather(tf.ones([2]), v1.placeholder_with_default(2, [])),
    "division": lambda: 1 // v1.placeholder_with_default(0, []),
    "NaN": lambda: tf.debugging.check_numerics(tf.constant(np.nan), "here"),
}


@pytest.mark.parametrize("build", VALUES.values(), ids=VALUES)
def test_values(build) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(build())
    assert isinstance(caught.value, tf.errors.OpError)
