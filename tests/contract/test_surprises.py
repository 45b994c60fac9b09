"""Cases where what gradients() gives is not what one expects at first."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import gpugrad as tf
import gpugrad.compat.v1 as v1
from tests.contract.support import lists, refused, run

grad = v1.gradients


@pytest.fixture(autouse=True)
def graph() -> Iterator[v1.Graph]:
    with v1.Graph().as_default() as graph:
        yield graph


def names(tensors: list[tf.Tensor]) -> list[str]:
    return [tensor.name for tensor in tensors]


# --- what is differentiated, and what is not ------------------------------------------


def test_a_sibling_output_gets_zeros_once_its_op_is_differentiated() -> None:
    a = tf.constant([1.0, 2.0, 3.0, 4.0])
    u, v = tf.split(a, 2)
    y = u * 3.0
    assert grad(y, [v]) == [None]  # the split is an x: nothing passes through it
    both = grad(y, [a, v])
    assert names(both) == [
        "gradients_1/split_grad/concat:0",
        "gradients_1/zeros_like:0",
    ]
    assert lists(both) == [[3.0, 3.0, 0.0, 0.0], [0.0, 0.0]]


def test_stopping_at_x_at_y_and_between() -> None:
    a = tf.constant(2.0)
    b = a * 3.0
    c = b * b
    assert run(grad(c, a, stop_gradients=[a])) == [36.0]
    assert grad(c, a, stop_gradients=[c]) == [None]
    first, second = grad(c, [a, b], stop_gradients=[b])
    assert first is None
    assert run(second) == 12.0


def test_stopping_one_output_stops_its_op() -> None:
    u, v = tf.split(tf.constant([1.0, 2.0, 3.0, 4.0], name="a"), 2)
    a = u.op.inputs[1]
    assert grad([u * 3.0, v * 5.0], [a], stop_gradients=[u]) == [None]


def test_the_result_may_be_the_seed() -> None:
    x = tf.constant([1.0, 2.0])
    ones = grad(x + 1.0, x)[0]
    given = grad(x, x, grad_ys=tf.constant([7.0]))[0]
    assert names([ones, given]) == ["gradients/grad_ys_0:0", "gradients_1/grad_ys_0:0"]
    assert given.shape == (1,)  # nobody asked whether it fits


def test_integers() -> None:
    i = tf.constant([1, 2])
    x = tf.constant([1.5, 2.5])
    assert grad(i * 3, i) == [None]
    assert lists(grad(i, i)) == [[1, 1]]
    assert grad(tf.cast(tf.cast(x, tf.int32), tf.float32), x) == [None]
    (zero,) = grad(i * 3, i, unconnected_gradients="zero")
    assert (zero.dtype, run(zero).tolist()) == (tf.int32, [0, 0])


def test_zeros_stand_outside_the_scope_and_have_any_dtype() -> None:
    a = tf.ones([1, 2])
    b = tf.constant([True, False])
    x = tf.constant(1.5)
    found = grad(tf.constant(1.0), [a, b], unconnected_gradients="zero")
    found += grad(tf.floor(x), x, unconnected_gradients="zero")
    assert names(found) == ["zeros_like:0", "zeros_like_1:0", "zeros_like_2:0"]
    assert lists(found) == [[[0.0, 0.0]], [False, False], 0.0]


def test_an_op_without_a_rule_is_an_error_only_where_a_gradient_arrives() -> None:
    x = tf.constant([1.0, 2.0])

    def unique(t: tf.Tensor) -> tf.Tensor:
        return tf.unique(t)[0]

    for y, name in (
        (tf.math.is_nan(x), "IsNan"),
        (unique(x), "Unique"),
        (unique(tf.stop_gradient(x)), "Unique_1"),  # stopped too early
    ):
        refused(
            lambda y=y: grad(y, x),
            LookupError,
            f"No gradient defined for operation'{name}'",
        )
    for y in (
        tf.cast(tf.math.is_nan(x), tf.float32),
        tf.equal(x, 1.0),
        tf.stop_gradient(unique(x)),
    ):
        assert grad(y, x) == [None]


def test_an_op_without_a_rule_may_be_an_x() -> None:
    a = tf.constant([1.0, 2.0, 2.0])
    x = tf.unique(a)[0]
    assert lists(grad(x * x, x)) == [[2.0, 4.0]]
    refused(lambda: grad(x * x, [a, x]), LookupError, "operation'Unique'")


def test_terms_are_added_in_the_order_in_which_ops_were_done() -> None:
    x = tf.constant(2.0, name="x")
    a, b, c = tf.exp(x, "a"), tf.sin(x, "b"), tf.cos(x, "c")
    y = tf.multiply(tf.multiply(c, a, "ca"), b, "cab")
    assert names(grad(y, x)[0].op.inputs) == [
        "gradients/b_grad/mul:0",
        "gradients/c_grad/mul:0",
        "gradients/a_grad/mul:0",
    ]


def test_what_is_listed_twice() -> None:
    x = tf.constant(3.0)
    y = x * x
    twice = grad([y, y], [x, x])
    assert twice[0] is twice[1]
    assert run(twice) == [12.0, 12.0]
    assert run(grad([x, y], x)) == [7.0]
    assert run(grad([y, y * 2.0], [y])) == [3.0]


def test_a_value_that_is_fed_is_fed_to_the_gradient() -> None:
    x = v1.placeholder(tf.float32, [3])
    y = tf.exp(x)
    (g,) = grad(tf.square(y), x)
    assert run(g, {x: [0.0] * 3}).tolist() == [2.0] * 3
    assert run(g, {x: [0.0] * 3, y: [10.0] * 3}).tolist() == [200.0] * 3
    a = tf.constant(2.0)
    b = a * a
    assert run(grad(b * b, a), {b: 10.0}) == [80.0]


def test_control_edges_carry_nothing() -> None:
    x = tf.constant([1.0, 2.0])
    with tf.control_dependencies([x]):
        z = tf.constant([3.0])
    assert grad(z * 2.0, x) == [None]


def test_the_tensors_choose_the_graph() -> None:
    x = tf.constant(3.0)
    y = x * x
    with tf.Graph().as_default() as other:
        (g,) = grad(y, x)
    assert g.graph is x.graph and other.get_operations() == []
    assert run(g) == 6.0


def test_an_integer_sibling_as_y_gives_zeros() -> None:
    x = tf.constant([1.0, 3.0, 2.0])
    indices = tf.nn.top_k(x, 2)[1]
    assert lists(grad(indices, x)) == [[0.0, 0.0, 0.0]]
    assert grad(tf.cast(indices, tf.float32), x) == [None]
    assert grad(tf.argmax(x), x) == [None]


# --- variables ------------------------------------------------------------------------


def test_a_variable_is_not_one_of_its_reads() -> None:
    v = v1.get_variable("v", initializer=2.0)
    read = v.read_value()
    assert run(grad(v * v, v)) == [4.0]
    assert grad(v * v, [v.value()]) == [None]
    assert run(grad(read * read, [read])) == [4.0]
    assert run(grad(v, v)) == [1.0]


def test_optimizers_skip_what_has_no_gradient() -> None:
    v = v1.get_variable("v", initializer=1.0)
    u = v1.get_variable("u", initializer=1.0)
    optimizer = v1.train.GradientDescentOptimizer(0.1)
    assert repr(optimizer.compute_gradients(v * v)) == (
        "[(<tf.Tensor 'gradients/AddN:0' shape=() dtype=float32>, "
        "<tf.Variable 'v:0' shape=() dtype=float32>), "
        "(None, <tf.Variable 'u:0' shape=() dtype=float32>)]"
    )
    assert optimizer.minimize(v * v).type == "NoOp"
    refused(
        lambda: optimizer.minimize(v * v, var_list=[u]),
        ValueError,
        "No gradients provided for any variable",
    )


# --- rows of a table ------------------------------------------------------------------


def test_gathered_rows_keep_their_repetitions() -> None:
    table = tf.ones([5, 2])
    rows = tf.gather(table, [1, 1, 3])
    (g,) = grad(rows, table)
    assert isinstance(g, tf.IndexedSlices) and g.shape == (5, 2)
    values, indices, shape = run(g)
    assert values.tolist() == [[1.0, 1.0]] * 3
    assert (indices.tolist(), shape.tolist()) == ([1, 1, 3], [5, 2])
    both = grad([rows, tf.gather(table, [0])], table)[0]
    assert isinstance(both, tf.IndexedSlices)
    assert run(both).indices.tolist() == [1, 1, 3, 0]
    assert grad([rows, table * 2.0], table)[0].op.type == "AddN"


SPARSE = {
    "identity": (lambda a: tf.identity(a), True),
    "add": (lambda a: a + tf.ones([3, 2]), True),
    "sub": (lambda a: tf.ones([3, 2]) - a, True),
    "neg": (lambda a: -a, True),
    "concat": (lambda a: tf.concat([a, tf.ones([3, 2])], 0), True),
    "cast": (lambda a: tf.cast(a, tf.float64), True),
    "mul": (lambda a: a * 2.0, False),
    "relu": (lambda a: tf.nn.relu(a), False),
    "reshape": (lambda a: tf.reshape(a, [3, 2]), False),
    "transpose": (lambda a: tf.transpose(tf.transpose(a)), False),
}


@pytest.mark.parametrize(("through", "sparse"), SPARSE.values(), ids=SPARSE)
def test_which_rules_keep_slices(through, sparse: bool) -> None:
    a = tf.ones([3, 2])
    (g,) = grad(tf.gather(through(a), [1]), a)
    assert isinstance(g, tf.IndexedSlices) is sparse
    dense = run(tf.convert_to_tensor(g))
    weight = {"sub": -1.0, "neg": -1.0, "mul": 2.0}
    rows = [name for name, row in SPARSE.items() if row[0] is through]
    assert dense.tolist() == [[0.0, 0.0], [weight.get(rows[0], 1.0)] * 2, [0.0, 0.0]]


# --- ties, poles and bounds -----------------------------------------------------------

AT = {
    "reduce_max": (lambda x: tf.reduce_max(x), [0.5, 0.5, 0.0]),
    "maximum, x first": (lambda x: tf.maximum(x, 2.0), [1.0, 1.0, 0.0]),
    "maximum, x second": (lambda x: tf.maximum(2.0, x), [0.0, 0.0, 0.0]),
    "top_k": (lambda x: tf.nn.top_k(x, 1)[0], [1.0, 0.0, 0.0]),
    "max_pool": (
        lambda x: tf.nn.max_pool2d(tf.ones([1, 2, 2, 1]) * x[0], 2, 2, "SAME"),
        [1.0, 0.0, 0.0],
    ),
    "segment_max": (
        lambda x: tf.math.unsorted_segment_max(x, [0, 0, 1], 2),
        [0.5, 0.5, 1.0],
    ),
    "maximum and relu": (lambda x: tf.maximum(x, 0.0) + tf.nn.relu(x), [2.0, 2.0, 2.0]),
}


@pytest.mark.parametrize(("function", "expected"), AT.values(), ids=AT)
def test_ties(function, expected: list[float]) -> None:
    x = tf.constant([2.0, 2.0, 1.0])
    assert lists(grad(function(x), x)) == [expected]


def test_ties_at_zero() -> None:
    z = tf.zeros([1])
    ys = [tf.maximum(z, 0.0), tf.nn.relu(z), tf.maximum(0.0, z)]
    assert lists(grad(ys, z)) == [[1.0]]


def test_the_first_of_equal_pixels_takes_all() -> None:
    image = tf.ones([1, 2, 2, 1])
    (g,) = grad(tf.nn.max_pool2d(image, 2, 2, "SAME"), image)
    assert run(g).ravel().tolist() == [1.0, 0.0, 0.0, 0.0]


def test_powers_of_zero_and_of_negative_numbers() -> None:
    x = tf.constant([0.0, 0.0, 0.0, -2.0])
    p = tf.constant([0.0, 1.0, 2.0, 2.0])
    dx, dp = run(grad(tf.pow(x, p), [x, p]))
    np.testing.assert_array_equal(dx, [np.nan, 1.0, 0.0, -4.0])
    assert dp.tolist() == [0.0] * 4
    assert lists(grad(x**2, x)) == [[0.0, 0.0, 0.0, -4.0]]
    log2 = 0.6931472
    np.testing.assert_allclose(run(grad(2.0**x, x))[0], [log2] * 3 + [log2 / 4])


CHOSEN = {  # the slope of f at 0 is chosen away: 0 from kernels, nan from formulas
    "sqrt": (tf.sqrt, 0.0, 0.5),
    "rsqrt": (tf.math.rsqrt, 0.0, -0.5),
    "reciprocal": (tf.math.reciprocal, 0.0, -1.0),
    "log": (tf.math.log, np.nan, 1.0),
    "division": (lambda t: 1.0 / t, np.nan, -1.0),
    "power": (lambda t: t**0.5, np.nan, 0.5),
}


@pytest.mark.parametrize(("function", "at_0", "at_1"), CHOSEN.values(), ids=CHOSEN)
def test_the_branch_that_was_not_chosen(function, at_0: float, at_1: float) -> None:
    x = tf.constant([0.0, 1.0])
    y = tf.where(x > 0.0, function(x), tf.zeros_like(x))
    np.testing.assert_allclose(run(grad(y, x))[0], [at_0, at_1], rtol=1e-6)


KINKS = {
    "abs": (tf.abs, 0.0),
    "sign": (tf.sign, 0.0),
    "sqrt": (tf.sqrt, np.inf),
    "norm": (tf.norm, np.nan),
    "relu": (tf.nn.relu, 0.0),
    "elu": (tf.nn.elu, 1.0),
    "leaky_relu": (tf.nn.leaky_relu, 0.2),
    "l2_normalize": (tf.math.l2_normalize, 1e6),
    "clip_by_norm": (lambda t: tf.clip_by_norm(t, 1.0), 1.0),
    "euclidean norm": (tf.math.reduce_euclidean_norm, np.nan),
}


@pytest.mark.parametrize(("function", "slope"), KINKS.values(), ids=KINKS)
def test_slopes_at_zero(function, slope: float) -> None:
    z = tf.zeros([2])
    np.testing.assert_allclose(run(grad(function(z), z))[0], [slope] * 2, rtol=1e-6)


def test_bounds_belong_to_clip_by_value_but_not_to_relu6() -> None:
    x = tf.constant([-1.0, 0.0, 1.0, 6.0, 7.0])
    assert lists(grad(tf.clip_by_value(x, 0.0, 6.0), x)) == [[0.0, 1.0, 1.0, 1.0, 0.0]]
    assert lists(grad(tf.nn.relu6(x), x)) == [[0.0, 0.0, 1.0, 0.0, 0.0]]


def test_products_with_zeros() -> None:
    """The true gradient of cumprod; TensorFlow divides by x and gives [1, 0, 0]."""
    x = tf.constant([2.0, 0.0, 3.0])
    assert lists(grad(tf.math.cumprod(x), x)) == [[1.0, 8.0, 0.0]]
    assert lists(grad(tf.reduce_prod(x), x)) == [[0.0, 6.0, 0.0]]


def test_labels_have_a_gradient_unless_version_1() -> None:
    labels = tf.constant([[0.0, 1.0, 0.0]])
    logits = tf.constant([[1.0, 2.0, 3.0]])
    old = v1.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    new = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    assert grad(old, labels) == [None]
    np.testing.assert_allclose(
        run(grad(new, labels))[0], [[2.407606, 1.407606, 0.407606]], rtol=1e-5
    )


# --- names ----------------------------------------------------------------------------


def test_each_call_takes_a_scope_even_one_that_fails() -> None:
    x = tf.constant([1.0, 2.0])
    refused(lambda: grad(tf.unique(x)[0], x), LookupError)
    with v1.name_scope("net"):
        y = tf.square(x, name="sq")
    found = [grad(y, x)[0], grad(y, x, name="g")[0], grad(y, x, name="g")[0]]
    with v1.name_scope("net"):
        found += grad(y, x)
    assert names(found) == [
        "gradients_1/net/sq_grad/Mul_1:0",
        "g/net/sq_grad/Mul_1:0",
        "g_1/net/sq_grad/Mul_1:0",
        "net_1/gradients/net/sq_grad/Mul_1:0",
    ]


def test_case_does_not_tell_names_apart_and_a_scope_is_a_name() -> None:
    with v1.name_scope("s") as scope:
        assert scope == "s/"
    made = [tf.constant(1.0, name=name) for name in ("s", "W", "w", "w_1")]
    assert names(made) == ["s_1:0", "W:0", "w_1:0", "w_1_1:0"]


def test_the_fifth_argument() -> None:
    x = tf.constant(2.0, name="x")
    y = x * x
    assert v1.gradients(y, x, None, "a", True)[0].name == "a/AddN:0"
    assert tf.gradients(y, x, None, "b", True)[0].name == "b/AddN:0"
    made = [op.name for op in x.graph.get_operations() if "tuple" in op.name]
    assert made == [
        "b/mul_grad/tuple/group_deps",
        "b/mul_grad/tuple/control_dependency",
        "b/mul_grad/tuple/control_dependency_1",
    ]


def test_the_gate_stands_where_there_are_two_gradients() -> None:
    x = tf.constant([[1.0, 2.0]])
    w = tf.constant([[1.0], [2.0]])
    found = grad(tf.square(tf.matmul(x, w)), [x, w], gate_gradients=True)
    scope = "gradients/MatMul_grad"
    assert names(found) == [
        f"{scope}/tuple/control_dependency:0",
        f"{scope}/tuple/control_dependency_1:0",
    ]
    (gate,) = found[0].op.control_inputs
    assert gate.name == f"{scope}/tuple/group_deps"
    assert [op.name for op in gate.control_inputs] == [
        f"{scope}/MatMul",
        f"{scope}/MatMul_1",
    ]
    assert not [op for op in x.graph.get_operations() if "Square_grad/tuple" in op.name]


# --- dtypes of what comes in ----------------------------------------------------------


def test_of_grad_ys_only_the_kind_is_checked() -> None:
    x = tf.constant([1.0, 2.0])
    wide = tf.constant([1.0, 3.0], tf.float64)
    assert run(grad(x + x, x, grad_ys=wide)[0]).dtype == np.float64
    refused(
        lambda: grad(x * 2.0, x, grad_ys=wide),
        TypeError,
        "Input 'y' of 'Mul' Op has type float32 that does not match type float64 of "
        "argument 'x'",
    )
    refused(
        lambda: grad(x * 2.0, x, grad_ys=tf.constant([1 + 1j, 1])),
        TypeError,
        "Gradient type complex128 generated for real or integer-valued tensor",
    )
    refused(
        lambda: grad(x * 2.0, x, grad_ys=[3.0]),
        ValueError,
        "Incompatible shapes between op input and calculated input gradient",
    )


def test_complex_gradients_are_conjugated() -> None:
    z = tf.constant([1 + 2j], tf.complex64)
    one = tf.constant([1 + 0j], tf.complex64)
    real = tf.math.real(z * tf.math.conj(z))
    assert lists(grad(z * z, z, grad_ys=one)) == [[2 - 4j]]
    np.testing.assert_allclose(
        run(grad(tf.abs(z), z))[0], [0.4472136 + 0.8944272j], rtol=1e-6
    )
    assert lists(grad(real, z)) == [[2 + 4j]]
    refused(
        lambda: grad(z * z, z),
        TypeError,
        "Gradients of complex tensors (",
        "must set grad_ys (y.dtype = complex64)",
    )


def test_feeds_are_cast() -> None:
    i = v1.placeholder(tf.int32, [])
    b = v1.placeholder(tf.bool, [])
    assert run(i, {i: 1.5}) == run(i, {i: True}) == 1
    assert run(b, {b: "x"})
    assert run(i, {"Placeholder:0": np.float32(3.9)}) == 3
    refused(
        lambda: run(i, {i: 2**40}),
        TypeError,
        "1099511627776 with type <class 'int'> is not compatible with Tensor type",
    )
    refused(
        lambda: run(i, {i: [1]}),
        ValueError,
        "Cannot feed value of shape (1,) for Tensor Placeholder:0, which has shape ()",
    )


# --- choices and loops ----------------------------------------------------------------


def test_a_branch_not_taken_gives_zero_and_no_branch_none() -> None:
    x, z, q = tf.constant(2.0), tf.constant(5.0), tf.constant(7.0)
    p = v1.placeholder_with_default(False, [])
    found = grad(v1.cond(p, lambda: x * x, lambda: z * 3.0), [x, z, q])
    assert found[2] is None
    assert run(found[:2]) == [0.0, 3.0]


def test_what_is_built_outside_a_branch_runs() -> None:
    v = v1.get_variable("v", initializer=1.0)
    bump = v1.assign_add(v, 1.0)
    p = v1.placeholder_with_default(True, [])
    y = v1.cond(p, lambda: tf.constant(0.0), lambda: tf.identity(bump))
    with v1.Session() as session:
        session.run(v.initializer)
        session.run(y)
        assert session.run(v) == 2.0


def test_loops() -> None:
    x, w = tf.constant(2.0), tf.constant(3.0)

    def three(i, *rest):
        return i < 3

    _, y, c = v1.while_loop(
        three,
        lambda i, y, c: (i + 1, y * w, c + 1.0),
        [0, x, tf.constant(5.0)],
    )
    assert run([y, *grad(y, [x, w])]) == [54.0, 27.0, 54.0]
    assert run(grad(c, w)) == [0.0]
    _, y = v1.while_loop(lambda i, y: i < 0, lambda i, y: (i + 1, y * w), [0, x])
    assert run(grad(y, [x, w])) == [1.0, 0.0]
    _, y = v1.while_loop(three, lambda i, y: (i + 1, y * w), [0, x])
    (g,) = grad(y, w)
    assert run([g, *grad(g, w)]) == [54.0, 36.0]


# --- rules of the user's own ----------------------------------------------------------


def test_custom_gradient() -> None:
    @tf.custom_gradient
    def f(a, b):
        return [a * 1.0, b * 1.0], lambda da, db: (da * 10.0, db * 20.0)

    @tf.custom_gradient
    def cube(x):
        return x * x * x, lambda dy: dy * 7.0 * x

    a, b = tf.constant(2.0), tf.constant(3.0)
    used, _ = f(a, b)
    assert run(grad(used, [a, b])) == [10.0, 0.0]  # the other output's is zeros
    (first,) = grad(cube(a), a)
    assert run([first, *grad(first, a)]) == [14.0, 7.0]  # of what the rule built


def test_overrides_mark_ops_when_they_are_made(graph: v1.Graph) -> None:
    @tf.RegisterGradient("ContractTimes7")
    def _times_7(op, dy):
        return dy * 7.0

    x = tf.constant([1.0, 2.0])
    with graph.gradient_override_map({"Identity": "ContractTimes7"}):
        y = tf.identity(x)
    assert lists(grad(tf.identity(y), x)) == [[7.0, 7.0]]
    assert y.op.get_attr("_gradient_op_type") == b"ContractTimes7"


def test_hessians_of_what_is_linear() -> None:
    x = tf.constant([1.0, 2.0])
    refused(
        lambda: v1.hessians(tf.reduce_sum(x * 3.0), x),
        ValueError,
        "None values not supported.",
        x.name,
    )
    (h,) = v1.hessians(tf.reduce_sum(x**3), x, name="unused")
    assert h.name.startswith("Reshape_")
    assert run(h).tolist() == [[6.0, 0.0], [0.0, 12.0]]


# --- functions ------------------------------------------------------------------------


def test_captures_are_xs_but_not_across_a_call() -> None:
    c, w = tf.constant(4.0), tf.Variable(2.0)

    @tf.function
    def f(x):
        return tf.gradients(x * c * w, [x, c, w])

    @tf.function
    def of_arguments(y, x):
        return tf.gradients(y, x)

    assert run(f(tf.constant(3.0))) == [8.0, 6.0, 12.0]
    assert of_arguments(c * c, c) == [None]
