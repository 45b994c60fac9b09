"""What gradients() gives: surprising cases, and arguments of all kinds."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from gpugrad.graph.spec import REGISTRY


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as graph:
        yield graph


def run(fetches, feed=None):
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


# --- kinds of arguments ---------------------------------------------------------------


def test_the_result_is_a_list_as_long_as_xs() -> None:
    x, w = tf.constant(1.0), tf.constant(2.0)
    y = x * w
    assert type(tf.gradients(y, x)) is list
    assert len(tf.gradients((y,), (x, w))) == 2
    assert tf.gradients(y, []) == []
    assert tf.gradients([], [x, w]) == [None, None]


def test_values_among_ys_and_xs() -> None:
    x = tf.constant([1.0, 2.0])
    assert run(tf.gradients([x * 2.0, [x, x], 7.0], x))[0].tolist() == [4.0, 4.0]
    assert tf.gradients(x * 2.0, [2.0, np.ones(3), "x:0"]) == [None] * 3
    names = [op.name for op in x.graph.get_operations()]
    assert "gradients/y_2" in names and "gradients_1/x_1" in names


def test_fifth_argument_of_both_signatures() -> None:
    x = tf.constant(2.0, name="x")
    y = x * x
    tf.gradients(y, x, None, "a", True)
    gg.gradients(y, x, None, "b", True)
    names = [op.name for op in x.graph.get_operations() if "tuple" in op.name]
    assert names == [
        "b/mul_grad/tuple/group_deps",
        "b/mul_grad/tuple/control_dependency",
        "b/mul_grad/tuple/control_dependency_1",
    ]


def test_several_ys_and_dependent_xs() -> None:
    x = tf.constant(3.0)
    y = x * x
    z = 2.0 * y
    assert run(tf.gradients([y, z], [x])) == [18.0]
    assert run(tf.gradients([y, z], [x, y])) == [18.0, 3.0]
    assert run(tf.gradients(z, [x, y])) == [12.0, 2.0]
    assert run(tf.gradients(y, y)) == [1.0]
    assert tf.gradients(x, y) == [None]


def test_repeated_ys_and_xs() -> None:
    x = tf.constant(3.0)
    y = x * x
    twice = tf.gradients([y, y], [x, x])
    assert twice[0] is twice[1]
    assert run(twice) == [12.0, 12.0]
    assert run(tf.gradients([x, y], x)) == [7.0]
    assert run(tf.gradients([y, y * 2.0], [y])) == [3.0]


def test_grad_ys() -> None:
    x = tf.constant([3.0, 1.0])
    ys = [tf.reduce_sum(x), tf.reduce_sum(x * x)]
    assert run(tf.gradients(ys, x, grad_ys=[2.0, 10.0]))[0].tolist() == [62.0, 22.0]
    assert run(tf.gradients(ys, x, grad_ys=[None, 10.0]))[0].tolist() == [61.0, 21.0]
    one = tf.gradients(x, x, grad_ys=tf.constant([7.0]))[0]
    assert (one.name, one.shape.as_list()) == ("gradients_2/grad_ys_0:0", [1])
    weights = tf.constant([1.0, 3.0], tf.float64)
    assert tf.gradients(x + x, x, grad_ys=weights)[0].dtype == tf.float64


def test_the_seed_itself_can_be_the_result() -> None:
    x = tf.constant([1.0, 2.0])
    assert tf.gradients(x + x[0], x[0]) == [None]
    assert tf.gradients(x + tf.exp(x), x)[0].op.type == "AddN"
    assert tf.gradients(x + 1.0, x)[0].name == "gradients_2/grad_ys_0:0"


def test_tensors_of_another_graph_decide_where_to_build(graph) -> None:
    x = tf.constant(3.0)
    y = x * x
    with tf.Graph().as_default() as other:
        gradient = tf.gradients(y, x, unconnected_gradients="zero")[0]
        none = tf.gradients(y, x * 1.0, unconnected_gradients="zero")[0]
    assert gradient.graph is graph and none.graph is graph
    assert other.get_operations() == []
    assert run(gradient) == 6.0


# --- dtypes ---------------------------------------------------------------------------


def test_integers_pass_no_gradient() -> None:
    i = tf.constant([1, 2])
    x = tf.constant([1.5, 2.5])
    assert tf.gradients(i * 3, i) == [None]
    assert run(tf.gradients(i, i))[0].tolist() == [1, 1]
    assert tf.gradients(tf.cast(tf.cast(x, tf.int32), tf.float32), x) == [None]
    zero = tf.gradients(i * 3, i, unconnected_gradients="zero")[0]
    assert (zero.dtype, run(zero).tolist()) == (tf.int32, [0, 0])
    flag = tf.constant([True, False])
    assert run(tf.gradients(flag, flag))[0].tolist() == [True, True]


def test_complex_holomorphic_and_real() -> None:
    z = tf.constant([1 + 2j], tf.complex64)
    one = tf.constant([1 + 0j], tf.complex64)
    assert run(tf.gradients(z * z, z, grad_ys=one))[0] == [2 - 4j]
    modulus = run(tf.gradients(tf.abs(z), z))[0]
    assert modulus == pytest.approx([0.4472136 + 0.8944272j])


# --- stopping -------------------------------------------------------------------------


def test_stop_gradients_on_x_and_on_y() -> None:
    a = tf.constant(2.0)
    b = a * 3.0
    c = b * b
    assert run(tf.gradients(c, a, stop_gradients=[a])) == [36.0]
    assert tf.gradients(c, a, stop_gradients=[c]) == [None]
    first, second = tf.gradients(c, [a, b], stop_gradients=[b])
    assert first is None and run(second) == 12.0
    assert run(tf.gradients(c, [a, b, c])) == [36.0, 12.0, 1.0]


def test_stop_gradients_stops_ops_not_tensors() -> None:
    a = tf.constant([1.0, 2.0, 3.0, 4.0])
    u, v = tf.split(a, 2)
    assert tf.gradients([u * 3.0, v * 5.0], [a], stop_gradients=[u]) == [None]


def test_partial_derivatives() -> None:
    a = tf.constant(0.0)
    b = 2 * a
    assert run(tf.gradients(a + b, [a, b], stop_gradients=[a, b])) == [1.0, 1.0]
    assert run(tf.gradients(a + b, [a, b])) == [3.0, 1.0]


def test_stop_gradient_op() -> None:
    x = tf.constant(3.0)
    z = x * x
    y = tf.identity(tf.stop_gradient(z) * x)
    assert run(tf.gradients(y, x)) == [9.0]
    assert tf.gradients(tf.stop_gradient(z), x) == [None]


# --- None and zeros -------------------------------------------------------------------


def test_sibling_output_is_none_or_zeros() -> None:
    a = tf.constant([1.0, 2.0, 3.0, 4.0])
    u, v = tf.split(a, 2)
    y = u * 3.0
    assert tf.gradients(y, [v]) == [None]
    both = tf.gradients(y, [a, v])
    assert [t.name for t in both] == [
        "gradients_1/split_grad/concat:0",
        "gradients_1/zeros_like:0",
    ]
    assert [r.tolist() for r in run(both)] == [[3.0, 3.0, 0.0, 0.0], [0.0, 0.0]]


def test_zeros_stand_outside_the_scope() -> None:
    a = tf.ones([1, 2])
    b = tf.constant([True, False])
    x = tf.constant(1.5)
    zeros = tf.gradients(tf.constant(1.0), [a, b], unconnected_gradients="zero")
    zeros += tf.gradients(tf.floor(x), x, unconnected_gradients="zero")
    assert [t.name for t in zeros] == [
        "zeros_like:0",
        "zeros_like_1:0",
        "zeros_like_2:0",
    ]
    assert [r.tolist() for r in run(zeros)] == [[[0.0, 0.0]], [False, False], 0.0]


def test_zeros_of_every_dtype() -> None:
    y = tf.constant(1.0)
    xs = [tf.constant("a"), tf.constant(1 + 1j), tf.zeros([2000], tf.float64)]
    zeros = run(tf.gradients(y, xs, unconnected_gradients="zero"))
    assert zeros[0] == b"" and zeros[1] == 0 and zeros[2].sum() == 0
    dynamic = tf.placeholder(tf.float32, [None])
    zero = tf.gradients(y, dynamic, unconnected_gradients="zero")[0]
    assert zero.op.type == "ZerosLike"
    assert run(zero, {dynamic: [1.0, 2.0]}).tolist() == [0.0, 0.0]


def test_zeros_pass_through_to_second_derivatives() -> None:
    x = tf.constant(3.0)
    first = tf.gradients(2.0 * x, x)[0]
    assert tf.gradients(first, x) == [None]
    assert run(tf.gradients(first, x, unconnected_gradients="zero")) == [0.0]


def test_control_dependencies_carry_no_gradient() -> None:
    x = tf.constant([1.0, 2.0])
    with tf.control_dependencies([x]):
        z = tf.constant([3.0])
    assert tf.gradients(z * 2.0, x) == [None]


# --- gating and sums ------------------------------------------------------------------


def test_gating_wraps_only_ops_with_two_gradients() -> None:
    x = tf.constant([[1.0, 2.0]])
    w = tf.constant([[1.0], [2.0]])
    y = tf.square(tf.matmul(x, w))
    g = tf.gradients(y, [x, w], gate_gradients=True)
    assert [t.name for t in g] == [
        "gradients/MatMul_grad/tuple/control_dependency:0",
        "gradients/MatMul_grad/tuple/control_dependency_1:0",
    ]
    (deps,) = g[0].op.control_inputs
    assert deps.name == "gradients/MatMul_grad/tuple/group_deps"
    assert [op.name for op in deps.control_inputs] == [
        "gradients/MatMul_grad/MatMul",
        "gradients/MatMul_grad/MatMul_1",
    ]
    plain = tf.gradients(y, [x, w])
    for gated, free in zip(run(g), run(plain)):
        assert gated.tolist() == free.tolist()


@pytest.mark.parametrize("gated", [False, True])
def test_no_gradient_of_an_op_is_read_before_all_exist(gated) -> None:
    """Whatever reads one of two gradients waits, by edges, for the other, too."""
    x = tf.placeholder(tf.float32, [2])
    w = tf.placeholder(tf.float32, [2])
    y = tf.multiply(tf.tanh(x), tf.sin(w), name="product")
    g = tf.gradients(y, [x, w], gate_gradients=gated)

    def awaited(op):
        seen, stack = {op}, [op]
        while stack:
            op = stack.pop()
            for before in [t.op for t in op.inputs] + list(op.control_inputs):
                if before not in seen:
                    seen.add(before)
                    stack.append(before)
        return seen

    parts = {
        x.graph.get_operation_by_name(f"gradients/product_grad/{name}")
        for name in ("Mul", "Mul_1")
    }
    assert [parts <= awaited(t.op) for t in g] == [gated, gated]


def test_slices_stay_slices_where_the_rules_allow_it() -> None:
    a = tf.ones([3, 2])
    b = tf.ones([3, 2])
    rows = {
        "identity": (tf.identity(a), True),
        "add": (a + b, True),
        "subtract": (b - a, True),
        "negative": (-a, True),
        "concat": (tf.concat([a, b], 0), True),
        "multiply": (a * 2.0, False),
        "relu": (tf.nn.relu(a), False),
        "reshape": (tf.reshape(a, [3, 2]), False),
        "cast": (tf.cast(a, tf.float64), True),
    }
    kinds = {
        name: isinstance(tf.gradients(tf.gather(t, [1]), a)[0], tf.IndexedSlices)
        for name, (t, _) in rows.items()
    }
    assert kinds == {name: sparse for name, (_, sparse) in rows.items()}


def test_repeated_rows_are_kept_and_mixtures_are_dense() -> None:
    v = tf.ones([5, 2])
    e = tf.gather(v, [1, 1, 3])
    g = tf.gradients(e, v)[0]
    assert g.shape.as_list() == [5, 2]
    assert run(g).indices.tolist() == [1, 1, 3]
    rows = tf.gradients([e, tf.gather(v, [0])], v)[0]
    assert run(rows).indices.tolist() == [1, 1, 3, 0]
    mixed = tf.gradients([e, v * 2.0], v)[0]
    assert mixed.op.type == "AddN"
    assert run(mixed)[:, 0].tolist() == [2.0, 4.0, 2.0, 3.0, 2.0]


def test_slices_without_dense_shape_have_no_sum() -> None:
    x = tf.ones([3])
    rows = tf.IndexedSlices(tf.constant([5.0]), tf.constant([1]))
    with pytest.raises(TypeError, match="without dense_shape"):
        tf.gradients([x, x], x, grad_ys=[rows, None])


# --- rules ----------------------------------------------------------------------------


def test_a_rule_is_looked_up_only_where_a_gradient_arrives() -> None:
    x = tf.constant([1.0, 2.0])
    nan = tf.is_nan(x)
    with pytest.raises(LookupError, match="No gradient defined for operation'IsNan'"):
        tf.gradients(nan, x)
    assert tf.gradients(tf.cast(nan, tf.float32), x) == [None]
    assert tf.gradients(tf.equal(x, 1.0), x) == [None]


def test_a_frontier_x_needs_no_rule() -> None:
    a = tf.constant([1.0, 2.0])
    with a.graph.gradient_override_map({"Identity": "Registered by nobody"}):
        x = tf.identity(a)
    assert run(tf.gradients(x * x, x))[0].tolist() == [2.0, 4.0]
    with pytest.raises(LookupError, match=r"Registered by nobody"):
        tf.gradients(x * x, [a, x])
    assert tf.gradients(x * x, a, stop_gradients=[x]) == [None]
    assert tf.gradients(tf.stop_gradient(x), a) == [None]


def test_a_failed_call_takes_its_scope() -> None:
    x = tf.constant([1.0, 2.0])
    with x.graph.gradient_override_map({"Exp": "Registered by nobody"}):
        bad = tf.exp(x)
    with pytest.raises(LookupError):
        tf.gradients(bad, x)
    with tf.name_scope("net"):
        y = tf.square(x, name="sq")
    got = [
        tf.gradients(y, x)[0].name,
        tf.gradients(y, x, name="g")[0].name,
        tf.gradients(y, x, name="g")[0].name,
    ]
    with tf.name_scope("net"):
        got.append(tf.gradients(y, x)[0].name)
    assert got == [
        "gradients_1/net/sq_grad/Mul_1:0",
        "g/net/sq_grad/Mul_1:0",
        "g_1/net/sq_grad/Mul_1:0",
        "net_1/gradients/net/sq_grad/Mul_1:0",
    ]
    assert x.graph.get_name_scope() == ""


def test_scope_names() -> None:
    x = tf.constant([1.0, 2.0])
    y = tf.square(x)
    assert tf.gradients(y, x, name="a/b")[0].name == "a/b/Square_grad/Mul_1:0"
    assert tf.gradients(y, x, name="")[0].name == "Square_grad/Mul_1:0"
    assert tf.gradients(y, x, name=None)[0].name == "gradients/Square_grad/Mul_1:0"
    assert tf.gradients(y, x, name="a/")[0].name == "a/Square_grad/Mul_1:0"
    assert tf.gradients(y, x, name="a/")[0].name == "a/Square_grad_1/Mul_1:0"
    assert x.graph.unique_name("a/uid") == "a/uid_2"


@pytest.fixture
def registered():
    """A name for a rule of this test; it is forgotten afterwards."""
    names = []

    def register(rule, name="RuleOfATest"):
        names.append(name)
        tf.RegisterGradient(name)(rule)
        return name

    yield register
    for name in names:
        REGISTRY._gradients.pop(name, None)


def test_gradient_override_map(registered) -> None:
    x = tf.constant([1.0, 2.0])
    name = registered(lambda op, dy: dy * 7.0)
    with x.graph.gradient_override_map({"Identity": name}):
        y = tf.identity(x)
    assert run(tf.gradients(tf.identity(y), x))[0].tolist() == [7.0, 7.0]
    assert y.op.get_attr("_gradient_op_type") == name.encode()


def test_a_users_rule_for_an_elementwise_op_reduces_for_itself(registered) -> None:
    x = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    b = tf.constant([10.0, 20.0])
    name = registered(lambda op, dy: [dy, tf.reduce_sum(dy, 0) * 5.0])
    with x.graph.gradient_override_map({"Mul": name}):
        y = x * b
    assert run(tf.gradients(y, b))[0].tolist() == [10.0, 10.0]


RULES = {
    "a string": (lambda op, dy: "gradient", TypeError, "returned 'gradient'"),
    "an array": (lambda op, dy: np.ones(2), TypeError, "a ndarray"),
    "two": (lambda op, dy: [dy, dy], ValueError, "Num gradients 2 generated for op"),
    "none at all": (lambda op, dy: [], ValueError, "Num gradients 0"),
    "a wrong shape": (
        lambda op, dy: tf.zeros([3]),
        ValueError,
        "Incompatible shapes between op input and calculated input gradient",
    ),
}


@pytest.mark.parametrize(("rule", "error", "text"), RULES.values(), ids=RULES)
def test_what_a_rule_may_not_return(registered, rule, error, text) -> None:
    x = tf.constant([1.0, 2.0])
    with x.graph.gradient_override_map({"Identity": registered(rule)}):
        y = tf.identity(x)
    with pytest.raises(error, match=text) as caught:
        tf.gradients(y, x)
    assert "Identity" in str(caught.value) and __file__ in str(caught.value)


def test_a_bare_none_is_right_for_one_input(registered) -> None:
    x = tf.constant([1.0, 2.0])
    with x.graph.gradient_override_map({"Identity": registered(lambda op, dy: None)}):
        y = tf.identity(x)
    assert tf.gradients(y, x) == [None]


def test_registration_errors(registered) -> None:
    registered(lambda op, dy: dy)
    with pytest.raises(KeyError, match="Registering two gradient with name"):
        tf.RegisterGradient("RuleOfATest")(lambda op, dy: dy)
    with pytest.raises(KeyError, match="Registering two gradient with name"):
        tf.no_gradient("RuleOfATest")
    with pytest.raises(TypeError, match="op_type must be a string"):
        tf.RegisterGradient(7)
    with pytest.raises(TypeError, match="op_type must be a string"):
        tf.NotDifferentiable(None)
    assert tf.NoGradient is tf.NotDifferentiable


# --- feeding, and the lines that nodes come from --------------------------------------


def test_feeding_an_intermediate_changes_the_gradient() -> None:
    x = tf.placeholder(tf.float32, [3])
    y = tf.exp(x)
    g = tf.gradients(tf.square(y), x)[0]
    assert run(g, {x: [0.0] * 3}).tolist() == [2.0] * 3
    assert run(g, {x: [0.0] * 3, y: [10.0] * 3}).tolist() == [200.0] * 3
    x = tf.placeholder(tf.float32)
    y = x * x
    assert run(tf.gradients(y * y, x)[0], {x: 2.0, y: 10.0}) == 80.0


def test_nodes_carry_the_line_of_the_call() -> None:
    x = tf.placeholder(tf.float32, [2])
    y = tf.exp(x) * x
    before = x.graph.version
    tf.gradients(y, x)
    made = x.graph.get_operations()[before:]
    (line,) = {op.created_at() for op in made}
    assert line.startswith(__file__) and line != y.op.created_at()


# --- size -----------------------------------------------------------------------------


def test_a_deep_chain_needs_no_recursion() -> None:
    x = tf.placeholder(tf.float32, [1])
    y = x
    for _ in range(20_000):
        y = tf.negative(y)
    assert len(tf.gradients(y, x)) == 1


def test_many_terms_for_one_tensor() -> None:
    x = tf.constant(2.0)
    g = tf.gradients([x * 1.0 for _ in range(50)], x)[0]
    assert len(g.op.inputs) == 50
    assert run(g) == 50.0


@pytest.mark.parametrize("threshold", [(500, 5, 5), (0, 5, 5)])
def test_the_collector_is_left_as_it_was(threshold, registered) -> None:
    seen = []

    def rule(op, dy):
        seen.append(gc.get_threshold()[0])
        return tf.gradients(tf.square(op.inputs[0]), op.inputs[0])[0]

    before = gc.get_threshold()
    gc.set_threshold(*threshold)
    try:
        x = tf.constant([1.0, 2.0])
        with x.graph.gradient_override_map({"Identity": registered(rule)}):
            y = tf.identity(x)
        assert run(tf.gradients(y, x))[0].tolist() == [2.0, 4.0]
        with pytest.raises(LookupError):
            tf.gradients(tf.is_nan(x), x)
        assert gc.get_threshold() == threshold
        assert (seen[0] == 0) == (threshold[0] == 0) and seen[0] != 500
    finally:
        gc.set_threshold(*before)
