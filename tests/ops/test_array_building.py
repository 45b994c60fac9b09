"""Names, static shapes and errors of the array ops, as TensorFlow 2.21 has them."""

from __future__ import annotations

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

ONE = np.float32(1)


def ones(*shape):
    return tf.constant(np.ones(shape, np.float32))


def x(*shape, dtype=tf.float32, name="x"):
    return tf.placeholder(dtype, shape, name=name)


def names(prefix=""):
    """The ops made so far, without constants: name, and type where it differs."""
    made = []
    for op in tf.get_default_graph().get_operations():
        if op.type not in ("Const", "Placeholder") and op.name.startswith(prefix):
            name = op.name[len(prefix) :]
            made.append(name if name == op.type else f"{name}:{op.type}")
    return " ".join(made)


# (how to build it, the ops that it makes)
FORWARD = [
    (lambda: tf.concat([x(2), x(2)], 0), "concat:ConcatV2"),
    (lambda: tf.concat([x(2)], 0), "concat/concat:Identity"),
    (lambda: tf.stack([x(), x()]), "stack:Pack"),
    (lambda: tf.stack([x(), 1.0]), "stack:Pack"),
    (lambda: tf.stack([x(2), x(2)], 1), "stack:Pack"),
    (lambda: tf.unstack(x(2)), "unstack:Unpack"),
    (lambda: tf.split(x(4), 2), "split:Split"),
    (lambda: tf.split(x(4), [1, 3]), "split:SplitV"),
    (lambda: x(2)[0], "strided_slice:StridedSlice"),
    (lambda: x(2)[x(dtype=tf.int32)], "add:AddV2 strided_slice/stack:Pack "
     "strided_slice/stack_1:Pack strided_slice:StridedSlice"),
    (lambda: tf.slice(x(2), [0], [1]), "Slice"),
    (lambda: tf.reshape(x(2), [1, 2]), "Reshape"),
    (lambda: tf.reshape(x(2), [1, tf.shape(x(None))[0]]), "Shape "
     "strided_slice:StridedSlice Reshape/shape:Pack Reshape"),
    (lambda: tf.transpose(x(2, 3)), "transpose:Transpose"),
    (lambda: tf.expand_dims(x(2), 0), "ExpandDims"),
    (lambda: tf.squeeze(x(1, 2)), "Squeeze"),
    (lambda: tf.tile(x(2), [2]), "Tile"),
    (lambda: tf.pad(x(2), [[1, 1]]), "Pad"),
    (lambda: tf.pad(x(2), [[1, 1]], constant_values=2.0), "PadV2"),
    (lambda: tf.gather(x(2), [1]), "GatherV2"),
    (lambda: tf.zeros([2]), ""),
    (lambda: tf.zeros([999]), ""),
    (lambda: tf.zeros([1000]), "zeros:Fill"),
    (lambda: tf.ones([2, tf.size(x(None))]), "Size ones/packed:Pack ones:Fill"),
    (lambda: tf.zeros_like(x(2)), ""),
    (lambda: tf.zeros_like(x(None)), "zeros_like:ZerosLike"),
    (lambda: tf.ones_like(x(2)), "ones_like:Fill"),
    (lambda: tf.ones_like(x(None)), "ones_like/Shape:Shape ones_like:Fill"),
    (lambda: tf.fill([2], x()), "Fill"),
    (lambda: tf.range(3), "range:Range"),
    (lambda: tf.range(2.0, 5), "range/Cast:Cast range/Cast_1:Cast range:Range"),
    (lambda: tf.one_hot([1], 3), "one_hot:OneHot"),
    (lambda: tf.where(x(2, dtype=tf.bool)), "Where"),
    (lambda: tf.eye(2), "eye/diag:MatrixDiagV3"),
    (lambda: tf.matrix_diag(x(2)), "diag:MatrixDiagV3"),
    (lambda: tf.identity(x()), "Identity"),
    (lambda: tf.stop_gradient(x()), "StopGradient"),
    (lambda: tf.shape(x(2)), ""),
    (lambda: tf.shape(x(None)), "Shape"),
    (lambda: tf.no_op(), "NoOp"),
    (lambda: tf.group(x(), x()), "group_deps:NoOp"),
    (lambda: tf.boolean_mask(x(3, 4), [True, False, True]),
     "boolean_mask/strided_slice:StridedSlice boolean_mask/Prod:Prod "
     "boolean_mask/strided_slice_1:StridedSlice "
     "boolean_mask/strided_slice_2:StridedSlice boolean_mask/concat/values_1:Pack "
     "boolean_mask/concat:ConcatV2 boolean_mask/Reshape:Reshape "
     "boolean_mask/Reshape_1:Reshape boolean_mask/Where:Where "
     "boolean_mask/Squeeze:Squeeze boolean_mask/GatherV2:GatherV2"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "expected"), FORWARD, ids=[e for _, e in FORWARD])
def test_names(build, expected):
    with tf.Graph().as_default():
        build()
        assert names() == expected


# (forward, the ops of its gradient, the result)
GRADIENTS = [
    (lambda a: tf.reshape(a, [6]), "Reshape", "Reshape"),
    (lambda a: tf.transpose(a), "InvertPermutation transpose:Transpose", "transpose"),
    (lambda a: tf.expand_dims(a, 0), "Reshape", "Reshape"),
    (lambda a: tf.concat([a, x(1, 3)], 0),
     "mod:FloorMod ConcatOffset Slice Slice_1:Slice", "Slice"),
    (lambda a: tf.stack([a, x(2, 3)]), "unstack:Unpack", "unstack"),
    (lambda a: tf.unstack(a), "stack:Pack", "stack"),
    (lambda a: tf.split(a, 3, 1), "concat:ConcatV2", "concat"),
    (lambda a: a[0], "StridedSliceGrad", "StridedSliceGrad"),
    (lambda a: tf.slice(a, [0, 0], [1, 2]), "stack:Pack Reshape sub:Sub sub_1:Sub "
     "Reshape_1:Reshape concat:ConcatV2 Pad", "Pad"),
    (lambda a: tf.tile(a, [1, 2]), "stack:Pack transpose:Transpose Reshape range:Range "
     "Reshape_1:Reshape Sum", "Sum"),
    (lambda a: tf.pad(a, [[1, 1], [0, 0]]), "stack:Pack Slice Reshape Slice_1:Slice",
     "Slice_1"),
    (lambda a: tf.gather(a, [0]),
     "ExpandDims strided_slice:StridedSlice concat:ConcatV2 Reshape Reshape_1:Reshape",
     "Reshape"),
    (lambda a: tf.broadcast_to(a, [2, 2, 3]), "BroadcastGradientArgs Sum Reshape",
     "Reshape"),
    (lambda a: tf.identity(a), "", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("build", "expected", "result"), GRADIENTS, ids=[e for _, e, _ in GRADIENTS]
)
def test_names_of_gradients(build, expected, result):
    with tf.Graph().as_default():
        a = x(2, 3)
        y = build(a)
        scope = f"gradients/{(y[0] if isinstance(y, list) else y).op.name}_grad/"
        (grad,) = tf.gradients(y, a)
        assert names(scope) == expected
        if result is not None:
            assert grad.name == f"{scope}{result}:0"


# (how to build it, static shape)
SHAPES = [
    (lambda: tf.reshape(x(None, 3), [-1]), [None]),
    (lambda: tf.reshape(x(2, 3), [tf.shape(x(None))[0], 3]), [2, 3]),
    (lambda: tf.reshape(x(2, 6), tf.concat([[2], [-1, 3]], 0)), [2, 2, 3]),
    (lambda: tf.reshape(x(4), tf.shape(x(None, 2))), [2, 2]),
    (lambda: tf.concat([x(None, 3), x(2, None)], 0), [None, 3]),
    (lambda: tf.concat([x(None, 3), x(2, None)], 1), [2, None]),
    (lambda: tf.stack([x(None, 3), x(2, None)], 1), [2, 2, 3]),
    (lambda: tf.tile(x(None, 3), [2, 2]), [None, 6]),
    (lambda: tf.pad(x(None, 3), [[1, 1], [0, 2]]), [None, 5]),
    (lambda: tf.split(x(None, 5), [2, -1], 1)[1], [None, 3]),
    (lambda: x(None, 3, 4)[:, -1:, None, 0], [None, 1, 1]),
    (lambda: x(None, 3)[2], [3]),
    (lambda: tf.gather(x(5, 3), x(None, dtype=tf.int32)), [None, 3]),
    (lambda: tf.gather_nd(x(5, 3), x(7, 1, dtype=tf.int32)), [7, 3]),
    (lambda: tf.zeros(tf.shape(x(None, 2))), [None, 2]),
    (lambda: tf.zeros(tf.stack([tf.shape(x(None, 2))[1], 3])), [2, 3]),
    (lambda: tf.range(tf.shape(x(None, 2))[1]), [2]),
    (lambda: tf.range(tf.size(x(3, 2)) * 2), [12]),
    (lambda: tf.broadcast_to(x(1, 2), tf.shape(x(None, 2))), [None, 2]),
    (lambda: tf.boolean_mask(x(3, 4), x(3, dtype=tf.bool)), [None, 4]),
    (lambda: tf.where(x(3, 4, dtype=tf.bool)), [None, 2]),
    (lambda: tf.one_hot(x(None, dtype=tf.int32), 3), [None, 3]),
    (lambda: tf.unsorted_segment_sum(x(4, 5), x(4, dtype=tf.int32), 3), [3, 5]),
    (lambda: tf.matrix_diag_part(x(None, 3, 4)), [None, 3]),
    (lambda: tf.space_to_depth(x(None, 4, 4, 1), 2), [None, 2, 2, 4]),
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), SHAPES)
def test_static_shapes(build, shape):
    with tf.Graph().as_default():
        assert build().shape.as_list() == shape


def test_shapes_through_many_equal_terms_are_found_at_once():
    with tf.Graph().as_default():
        n = tf.size(x(1))
        for _ in range(60):
            n = n + n
        tf.reshape(x(None), [n])  # 2 ** 60 paths lead to the first n


# (what is wrong, the exception, a part of its message)
REFUSED = [
    (lambda: ones(3)[3], ValueError, "slice index 3 of dimension 0 out of bounds"),
    (lambda: ones(3)[-4], ValueError, "slice index -4 of dimension 0 out of bounds"),
    (lambda: ones(3)[0, 0], ValueError, "input has only 1 dims"),
    (lambda: ones(3)[1.5], TypeError, "valid indices, got 1.5"),
    (lambda: ones(3)["a"], TypeError, "valid indices, got 'a'"),
    (lambda: ones(3)[True], TypeError, "valid indices, got True"),
    (lambda: ones(3)[tf.constant(1.0)], TypeError, "valid indices"),
    (lambda: ones(3)[np.array([0, 1])], TypeError, "valid indices"),
    (lambda: ones(3)[::0], ValueError, "strides[0] must be non-zero"),
    (lambda: ones(3)[..., ...], ValueError, "Multiple ellipses"),
    (lambda: tf.reshape(ones(2, 3), [4]), ValueError,
     "Cannot reshape a tensor with 6 elements to shape [4] (4 elements)"),
    (lambda: tf.reshape(ones(2, 3), [-1, 4]), ValueError, "evenly divisible by 4"),
    (lambda: tf.reshape(ones(2, 3), None), ValueError, "None values not supported"),
    (lambda: tf.reshape(ones(2, 3), [2.5]), TypeError, "int32"),
    (lambda: tf.transpose(ones(2, 3), [0]), ValueError, "Dimension must be 2 but is 1"),
    (lambda: tf.expand_dims(ones(2)), ValueError, "Must specify an axis"),
    (lambda: tf.squeeze(ones(2, 3), [0]), ValueError, "Can not squeeze dim[0]"),
    (lambda: tf.concat([ones(2, 3), ones(2, 4)], 0), ValueError, "3 and 4"),
    (lambda: tf.concat([ones(2), tf.constant([1])], 0), TypeError, "int32"),
    (lambda: tf.concat([ones(), ones()], 0), ValueError, "concatenate scalars"),
    (lambda: tf.concat([], 0), ValueError, "at least one"),
    (lambda: tf.stack([ones(2), ones(3)]), ValueError, "[2] and [3]"),
    (lambda: tf.unstack(x(None)), ValueError, "Cannot infer argument `num`"),
    (lambda: tf.split(ones(5), 2), ValueError, "evenly divisible by 2 but is 5"),
    (lambda: tf.split(ones(5), [2, 2]), ValueError, "they add up to 4"),
    (lambda: tf.slice(ones(3), [1], [3]), ValueError, "size[0] in [0, 2], but got 3"),
    (lambda: tf.pad(ones(2), [[1, 1]], "WRAP"), ValueError, "'WRAP'"),
    (lambda: tf.fill([-1], 1.0), ValueError, "must be >= 0"),
    (lambda: tf.range(0, 5, 0), ValueError, "delta != 0"),
    (lambda: tf.placeholder(None), TypeError, "dtype"),
    (lambda: tf.constant(1.5, tf.int32), TypeError, "Expected int32, but got 1.5"),
    (lambda: tf.constant([1, 2, 3], shape=[2]), ValueError,
     "Takes at most 2, but got 3"),
    (lambda: tf.constant(ones(2)), TypeError, "not symbolic tensors"),
    (lambda: tf.group(1), TypeError, "not int: 1"),
    (lambda: tf.tuple([None]), ValueError, "at least one that is not None"),
    (lambda: tf.boolean_mask(ones(3), [True, False]), ValueError, "incompatible"),
    (lambda: tf.where([True], ones(1)), ValueError, "both be non-None"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "kind", "text"), REFUSED)
def test_refused_while_building(build, kind, text):
    with tf.Graph().as_default(), pytest.raises(kind) as caught:
        build()
    assert text in str(caught.value)


# (the op, of a fed tensor; what is fed; a part of the message)
REFUSED_WHEN_RUN = [
    (lambda t: tf.gather(ones(5), t), [7], "indices[0] = 7 is not in [0, 5)"),
    (lambda t: tf.gather(ones(5), t), [[0], [-1]],
     "indices[1,0] = -1 is not in [0, 5)"),
    (lambda t: tf.gather_nd(ones(2, 2), t), [[0, 2]],
     "indices[0] = [0, 2] does not index into shape [2, 2]"),
    (lambda t: tf.unsorted_segment_sum(ones(2), t, 2), [0, 5],
     "segment_ids[1] = 5 is out of range [0, 2)"),
    (lambda t: tf.segment_sum(ones(2), t), [1, 0], "not increasing"),
    (lambda t: tf.reshape(ones(2, 3), t), [4], "tensor with 6 values"),
    (lambda t: tf.range(0, 5, t[0]), [0], "delta != 0"),
    (lambda t: ones(3)[t[0]], [3], "slice index 3 of dimension 0 out of bounds"),
    (lambda t: tf.ensure_shape(t, [3]), [1, 2], "not compatible with expected shape"),
    (lambda t: tf.dynamic_partition(ones(2), t, 2), [0, 3], "partitions[1] = 3"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "value", "text"), REFUSED_WHEN_RUN)
def test_refused_when_run(build, value, text):
    with tf.Graph().as_default(), tf.Session() as session:
        t = tf.placeholder(tf.int32, None)
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            session.run(build(t), {t: np.array(value, np.int32)})
    assert text in str(caught.value)
    assert "test_array_building.py" in str(caught.value)


def test_check_numerics():
    with tf.Graph().as_default(), tf.Session() as session:
        t = tf.placeholder(tf.float32, [2])
        y = tf.check_numerics(t, "of t")
        np.testing.assert_array_equal(session.run(y, {t: [1, 2]}), [1, 2])
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="of t : Tensor had NaN"
        ):
            session.run(y, {t: [1, np.nan]})


def test_prevent_gradient():
    with tf.Graph().as_default():
        t = x(2)
        y = tf.raw_ops.PreventGradient(input=t, message="because")
        text = "Gradient explicitly disabled. Reason: b'because'"
        with pytest.raises(LookupError, match=text):
            tf.gradients(y, t)


# --- order ---------------------------------------------------------------------------


def test_tuple_waits_for_all():
    with tf.Graph().as_default(), tf.Session() as session:
        a, b = x(2, name="a"), x(name="b")
        first, none, second = tf.tuple([a * 2.0, None, b + 1.0])
        assert none is None
        assert first.name == "tuple/control_dependency:0"
        assert second.name == "tuple/control_dependency_1:0"
        (gate,) = first.op.control_inputs
        assert (gate.name, gate.type) == ("tuple/group_deps", "NoOp")
        assert [op.name for op in gate.control_inputs] == ["mul", "add"]
        assert first.op.colocation_groups() == [b"loc:@mul"]
        got = session.run([first, second], {a: [1, 2], b: 3})
        np.testing.assert_array_equal(got[0], [2, 4])
        assert got[1] == 4


def test_a_fed_placeholder_can_be_waited_for():
    with tf.Graph().as_default(), tf.Session() as session:
        a = x(2)
        with tf.control_dependencies([a]):
            y = tf.constant(1.0)
        assert session.run([y, tf.group(a)], {a: [1, 2]}) == [1, None]


def test_group_makes_one_op_a_device():
    with tf.Graph().as_default():
        with tf.device("/cpu:0"):
            a = tf.constant(1.0, name="a")
        b = tf.constant(1.0, name="b")
        done = tf.group(a, [b])
        assert done.name == "group_deps"
        parts = {op.name: op.device for op in done.control_inputs}
        assert parts == {"group_deps/NoOp": "", "group_deps/NoOp_1": "/device:CPU:0"}


# --- NumPy's functions ----------------------------------------------------------------

A = np.arange(6, dtype=np.float32).reshape(2, 3)

NUMPY = {
    "reshape": lambda a: np.reshape(a, (3, 2)),
    "ravel": lambda a: np.ravel(a),
    "transpose": lambda a: np.transpose(a, (1, 0)),
    "swapaxes": lambda a: np.swapaxes(a, 0, 1),
    "moveaxis": lambda a: np.moveaxis(a, 0, -1),
    "concatenate": lambda a: np.concatenate([a, a], axis=1),
    "concatenate flat": lambda a: np.concatenate([a, a], axis=None),
    "stack": lambda a: np.stack([a, a], axis=1),
    "vstack": lambda a: np.vstack([a, a]),
    "hstack": lambda a: np.hstack([a, a]),
    "split": lambda a: np.split(a, [1], axis=1)[1],
    "expand_dims": lambda a: np.expand_dims(a, (0, 3)),
    "squeeze": lambda a: np.squeeze(np.expand_dims(a, 0)),
    "tile": lambda a: np.tile(a, (2, 1, 2)),
    "repeat": lambda a: np.repeat(a, [2, 0], axis=0),
    "pad": lambda a: np.pad(a, 1, mode="reflect"),
    "where": lambda a: np.where(a > 2, a, 0.0),
    "zeros_like": lambda a: np.zeros_like(a),
    "full_like": lambda a: np.full_like(a, 7),
    "broadcast_to": lambda a: np.broadcast_to(a, (4, 2, 3)),
    "flip": lambda a: np.flip(a),
    "roll": lambda a: np.roll(a, 1, axis=1),
    "take": lambda a: np.take(a, [4, 0]),
    "diagonal": lambda a: np.diagonal(a, 1),
    "tril": lambda a: np.tril(a),
    "sort": lambda a: np.sort(-a, axis=0),
    "T": lambda a: a.T,
}


@pytest.mark.parametrize("name", NUMPY)
def test_numpy_functions(name):
    function = NUMPY[name]
    with tf.Graph().as_default(), tf.Session() as session:
        t = tf.placeholder(tf.float32, A.shape)
        y = function(t)
        got = session.run(y, {t: A})
    np.testing.assert_array_equal(got, function(A))


def test_numpy_asks_for_shapes():
    with tf.Graph().as_default():
        t = x(2, None)
        assert np.shape(t) == (2, None)
        assert np.ndim(t) == 2


def test_one_size_of_a_partial_shape() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    known = tf.zeros([tf.gather(tf.shape(x), 1)])
    unknown = tf.zeros([tf.gather(tf.shape(x), 0)])
    assert (known.shape.as_list(), unknown.shape.as_list()) == ([3], [None])
    with tf.Session() as session:
        assert session.run(unknown, {x: np.zeros((2, 3))}).tolist() == [0.0, 0.0]
