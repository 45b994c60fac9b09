"""The nodes that gradient rules and composed functions add, by name and type."""

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

# function of x and y (both [2, 3]), the nodes of its rule in order, the results
RULES = [
    ("add", lambda x, y: x + y, "", ["grad_ys_0", "grad_ys_0"]),
    ("sub", lambda x, y: x - y, "Neg", ["grad_ys_0", "sub_grad/Neg"]),
    ("mul", lambda x, y: x * y, "Mul Mul_1", ["mul_grad/Mul", "mul_grad/Mul_1"]),
    ("truediv", lambda x, y: x / y, "RealDiv Neg RealDiv_1 RealDiv_2 mul",
     ["truediv_grad/RealDiv", "truediv_grad/mul"]),
    ("pow", lambda x, y: x**y,
     "mul sub/y sub Pow mul_1 Greater/y Greater ones_like/Shape ones_like/Const "
     "ones_like Select Log zeros_like Select_1 mul_2 mul_3",
     ["pow_grad/mul_1", "pow_grad/mul_3"]),
    ("Maximum", tf.maximum, "zeros_like GreaterEqual SelectV2 SelectV2_1",
     ["Maximum_grad/SelectV2", "Maximum_grad/SelectV2_1"]),
    ("SquaredDifference", tf.squared_difference, "scalar Mul sub mul_1 Neg",
     ["SquaredDifference_grad/mul_1", "SquaredDifference_grad/Neg"]),
    ("Select", lambda x, y: tf.where(MASK, x, y), "zeros_like Select Select_1",
     ["Select_grad/Select", "Select_grad/Select_1"]),
    ("SelectV2", lambda x, y: tf.where_v2(MASK, x, y), "zeros SelectV2 SelectV2_1",
     ["SelectV2_grad/SelectV2", "SelectV2_grad/SelectV2_1"]),
    ("Square", lambda x, y: tf.square(x), "Const Mul Mul_1",
     ["Square_grad/Mul_1", None]),
    ("Sqrt", lambda x, y: tf.sqrt(x), "SqrtGrad", ["Sqrt_grad/SqrtGrad", None]),
    ("Exp", lambda x, y: tf.exp(x), "mul", ["Exp_grad/mul", None]),
    ("Log", lambda x, y: tf.log(x), "Reciprocal mul", ["Log_grad/mul", None]),
    ("Sin", lambda x, y: tf.sin(x), "Cos mul", ["Sin_grad/mul", None]),
    ("Tanh", lambda x, y: tf.tanh(x), "TanhGrad", ["Tanh_grad/TanhGrad", None]),
    ("Sigmoid", lambda x, y: tf.sigmoid(x), "SigmoidGrad",
     ["Sigmoid_grad/SigmoidGrad", None]),
    ("Abs", lambda x, y: tf.abs(x), "Sign mul", ["Abs_grad/mul", None]),
    ("Sign", lambda x, y: tf.sign(x), "zeros_like", ["Sign_grad/zeros_like", None]),
    ("Cast", lambda x, y: tf.cast(x, tf.float64), "Cast", ["Cast_grad/Cast", None]),
]  # fmt: skip
MASK = np.array([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("row", RULES, ids=lambda row: row[0])
def test_gradient_nodes(row):
    name, function, nodes, results = row
    with tf.Graph().as_default() as graph:
        x, y = (tf.placeholder(tf.float32, [2, 3], name=n) for n in "xy")
        gradients = tf.gradients(function(x, y), [x, y])
        scope = f"gradients/{name}_grad/"
        added = [
            op.name.removeprefix(scope)
            for op in graph.get_operations()
            if op.name.startswith(scope)
        ]
    assert added == nodes.split()
    named = [None if g is None else g.name for g in gradients]
    assert named == [None if r is None else f"gradients/{r}:0" for r in results]


def test_what_a_rule_computes_waits_for_the_gradient():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [3])
        tf.gradients(tf.square(x), x)
        names = ["Const", "Mul", "Mul_1"]
        ops = [graph.get_operation_by_name(f"gradients/Square_grad/{n}") for n in names]
    assert [[c.name for c in op.control_inputs] for op in ops] == [
        ["gradients/grad_ys_0"],
        [],
        [],
    ]


# function of x (float32 [2]), the new nodes as name:type
COMPOSED = [
    (lambda x: tf.add(x, 1.0), "Add/y:Const Add:AddV2"),
    (lambda x: tf.divide(x, 2.0), "truediv/y:Const truediv:RealDiv"),
    (lambda x: tf.div(x, 2.0, name="q"), "q/y:Const q:RealDiv"),
    (lambda x: tf.truediv(tf.to_int32(x), 2),
     "ToInt32:Cast truediv/y:Const truediv/Cast:Cast truediv/Cast_1:Cast "
     "truediv:RealDiv"),
    (lambda x: tf.scalar_mul(2, x), "scalar:Const Mul:Mul"),
    (lambda x: tf.cast(x, tf.float32), ""),
    (lambda x: tf.to_double(x), "ToDouble:Cast"),
    (lambda x: tf.clip_by_value(x, 0.0, 1.0),
     "clip_by_value/Minimum/y:Const clip_by_value/Minimum:Minimum "
     "clip_by_value/y:Const clip_by_value:Maximum"),
    (lambda x: tf.logical_xor(x > 0.0, x < 1.0),
     "Greater/y:Const Greater:Greater Less/y:Const Less:Less LogicalOr:LogicalOr "
     "LogicalAnd:LogicalAnd LogicalNot:LogicalNot LogicalXor:LogicalAnd"),
    (lambda x: (x > 0.0) ^ True,
     "Greater/y:Const Greater:Greater xor/LogicalOr/y:Const xor/LogicalOr:LogicalOr "
     "xor/LogicalAnd/y:Const xor/LogicalAnd:LogicalAnd xor/LogicalNot:LogicalNot "
     "xor:LogicalAnd"),
    (lambda x: tf.math.xdivy(x, x), "xdivy/Xdivy:Xdivy"),
    (lambda x: tf.abs(tf.complex(x, x)), "Complex:Complex Abs:ComplexAbs"),
    (lambda x: tf.add_n([x, x]), "AddN:AddN"),
    (lambda x: tf.add_n([x]), ""),
    (lambda x: tf.add_n([x], name="sum"), "sum:Identity"),
    (lambda x: tf.random_normal([2]),
     "random_normal/shape:Const random_normal/mean:Const random_normal/stddev:Const "
     "random_normal/RandomStandardNormal:RandomStandardNormal random_normal/mul:Mul "
     "random_normal:AddV2"),
    (lambda x: tf.random_uniform([2]),
     "random_uniform/shape:Const random_uniform/RandomUniform:RandomUniform"),
    (lambda x: tf.random_uniform([2], maxval=5, dtype=tf.int32),
     "random_uniform/shape:Const random_uniform/min:Const random_uniform/max:Const "
     "random_uniform:RandomUniformInt"),
]  # fmt: skip


@pytest.mark.parametrize("row", COMPOSED, ids=lambda row: row[1].split(":")[0])
def test_composed_nodes(row):
    function, nodes = row
    with tf.Graph().as_default() as graph:
        function(tf.placeholder(tf.float32, [2], name="x"))
        added = [f"{op.name}:{op.type}" for op in graph.get_operations()][1:]
    assert added == nodes.split()


# function, exception, text
MISUSES = [
    (lambda x: tf.add(x, tf.constant(1)), TypeError, "Input 'y' of 'AddV2' Op"),
    (lambda x: tf.add(1, 2.5), TypeError, "Expected int32"),
    (lambda x: x + tf.zeros([3]), ValueError, "must be equal, but are 2 and 3"),
    (lambda x: tf.sqrt(tf.constant(1)), TypeError, "not in list of allowed values"),
    (lambda x: tf.logical_and(x, True), TypeError, "expected type of bool"),
    (lambda x: tf.where(x > 0.0, x), ValueError, "both be non-None"),
    (lambda x: tf.where(x > 0.0, x, tf.zeros([3])), ValueError, "must be equal"),
    (lambda x: tf.add_n([]), ValueError, "at least one Tensor"),
    (lambda x: tf.add_n([x, tf.zeros([3])]), ValueError, "must be equal"),
    (lambda x: tf.accumulate_n([x], shape=[3]), ValueError, "not compatible"),
    (lambda x: tf.scalar_mul(x, x), ValueError, "must be a 0-D value"),
    (lambda x: tf.complex(x, tf.zeros([2], tf.float64)), TypeError, "consistent"),
    (lambda x: tf.global_norm(x), TypeError, "should be a sequence"),
    (lambda x: tf.clip_by_value(x, tf.zeros([3, 2]), 1.0), ValueError, "incompatible"),
    (lambda x: tf.random_uniform([2], dtype=tf.int32), ValueError, "specify maxval"),
    (lambda x: tf.random_uniform([2], dtype=tf.complex64), ValueError, "invalid value"),
    (lambda x: tf.random_normal([-3]), ValueError, ">= 0"),
    (lambda x: tf.gradients(tf.truncatemod(x, 2.0), x), LookupError, "TruncateMod"),
    (lambda x: tf.gradients(tf.is_nan(x), x), LookupError, "IsNan"),
]  # fmt: skip


@pytest.mark.parametrize("row", MISUSES, ids=lambda row: row[2])
def test_misuse(row):
    function, error, text = row
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2], name="x")
        with pytest.raises(error, match=text):
            function(x)
