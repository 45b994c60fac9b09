"""Layers: what values from TensorFlow do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf


@pytest.fixture(autouse=True)
def graph():
    with tf.Graph().as_default() as made:
        yield made


def values(fetches: Any, feed: Any = None) -> Any:
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feed)


def test_dropout_keeps_the_mean_and_scales_what_is_left() -> None:
    training = tf.placeholder(tf.bool, [])
    y = tf.layers.dropout(tf.ones([1000, 50]), 0.2, training=training, seed=3)
    (slope,) = tf.gradients(y, [tf.constant(0.0)])
    assert slope is None
    kept = values(y, {training: True})
    assert set(np.unique(kept)) == {np.float32(0.0), np.float32(1.25)}
    assert kept.mean() == pytest.approx(1.0, abs=0.02)
    assert (values(y, {training: False}) == 1).all()


def test_update_ops_move_the_averages_with_the_training_step() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.layers.batch_normalization(x, training=True, momentum=0.5)
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    assert [op.name for op in updates] == [
        "batch_normalization/AssignMovingAvg",
        "batch_normalization/AssignMovingAvg_1",
    ]
    with tf.control_dependencies(updates):
        train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y * y))
    mean, variance = tf.global_variables("batch_normalization/moving")
    batch = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(2):
            session.run(train, {x: batch})
        found = session.run([mean, variance])
    np.testing.assert_allclose(found[0], [1.5, 3.0])
    np.testing.assert_allclose(found[1], [0.25 + 0.75 * 1, 0.25 + 0.75 * 4])


def test_float16_is_normalized_with_float32_parameters() -> None:
    x = tf.constant(np.linspace(-1, 1, 24).reshape(4, 6), tf.float16)
    y = tf.layers.batch_normalization(x, training=True)
    assert y.dtype is tf.float16
    assert {v.dtype for v in tf.global_variables()} == {tf.float32}
    found = values(y).astype(np.float64)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)


def test_constraint_reaches_the_optimizer() -> None:
    y = tf.layers.dense(tf.ones([1, 2]), 1, kernel_constraint=lambda w: w * 0)
    train = tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y))
    (kernel,) = tf.global_variables("dense/kernel")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        assert session.run(kernel).any()
        session.run(train)
        assert not session.run(kernel).any()


def test_a_layer_knows_its_variables() -> None:
    layer = tf.layers.Dense(3, kernel_regularizer=lambda w: tf.reduce_sum(w))
    assert (layer.name, layer.built, layer.dtype) == ("dense", False, None)
    with pytest.raises(ValueError, match="before its first call"):
        layer.scope_name  # noqa: B018
    with tf.variable_scope("net"):
        layer(tf.ones([2, 4], tf.float64))
    assert layer.scope_name == "net/dense"
    assert [v.name for v in layer.variables] == [
        "net/dense/kernel:0",
        "net/dense/bias:0",
    ]
    assert layer.trainable_weights == layer.weights == layer.variables
    assert layer.kernel is layer.variables[0] and layer.bias is layer.variables[1]
    assert layer.dtype is tf.float64
    assert layer.count_params() == 15
    assert layer.losses == tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES)
    assert len(layer.losses) == 1


def test_a_layer_that_is_not_trained() -> None:
    layer = tf.layers.Conv2D(2, 3, trainable=False)
    layer(tf.ones([1, 4, 4, 1]))
    assert tf.trainable_variables() == layer.trainable_variables == []
    assert len(layer.non_trainable_variables) == 2


def test_a_layer_of_ones_own() -> None:
    class Scaled(tf.layers.Layer):
        def build(self, input_shape):
            self.scale = self.add_variable(
                "scale", [int(input_shape[-1])], initializer=tf.ones_initializer()
            )
            super().build(input_shape)

        def call(self, inputs):
            return inputs * self.scale

    layer = Scaled()
    first, second = layer(tf.ones([2, 3])), layer.apply(tf.zeros([2, 3]))
    assert [v.name for v in tf.global_variables()] == ["scaled/scale:0"]
    assert (first.name, second.name) == ("scaled/mul:0", "scaled/mul_1:0")
    assert values(first).tolist() == [[1.0] * 3] * 2


def test_names_count_up_and_classes_make_theirs_unique() -> None:
    x = tf.ones([1, 2])
    for _ in range(2):
        tf.layers.dense(x, 1, use_bias=False)
        tf.layers.Dense(1, use_bias=False, name="own")(x)
    assert [v.name for v in tf.global_variables()] == [
        "dense/kernel:0", "own/kernel:0", "dense_1/kernel:0", "own_1/kernel:0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: [tf.layers.dense(tf.ones([1, 2]), 1, name="a") for _ in range(2)],
            ValueError,
            "a/kernel already exists",
        ),
        (
            lambda: tf.layers.dense(tf.placeholder(tf.float32, [1, None]), 1),
            ValueError,
            r"axis -1 is known.*\(1, \?\)|axis -1 is known.*\(1, None\)",
        ),
        (
            lambda: tf.layers.conv2d(tf.ones([1, 2, 2]), 1, 1),
            ValueError,
            "expected ndim=4, found ndim=3",
        ),
        (
            lambda: tf.layers.conv2d(tf.ones([1, 2, 2, 1]), 1, 1, padding="full"),
            ValueError,
            "'valid', 'same'",
        ),
        (
            lambda: tf.layers.conv2d(tf.ones([1, 2, 2, 1]), 1, (1, 2, 3)),
            ValueError,
            "kernel_size",
        ),
        (
            lambda: tf.layers.conv2d(tf.ones([1, 2, 2, 1]), 1, 1, data_format="NHWC"),
            ValueError,
            "channels_last",
        ),
        (
            lambda: tf.layers.Conv2D(1, 1, strides=2, dilation_rate=2),
            ValueError,
            "not supported in conjunction",
        ),
        (
            lambda: tf.layers.dense(tf.ones([1, 2]), 1, activation="rellu"),
            ValueError,
            "Unknown activation 'rellu'",
        ),
        (
            lambda: tf.layers.dense(tf.ones([1, 2]), 1, kernel_initialiser=None),
            TypeError,
            "kernel_initialiser",
        ),
        (
            lambda: tf.layers.batch_normalization(tf.ones([1, 2]), renorm=True),
            ValueError,
            "renorm",
        ),
        (
            lambda: tf.layers.batch_normalization(tf.ones([1, 2]), fused=True),
            ValueError,
            "four axes",
        ),
    ],
)
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()


# --- tf.contrib.layers ----------------------------------------------------------------


def test_fully_connected() -> None:
    contrib = tf.contrib.layers
    x = tf.ones([2, 3])
    y = contrib.fully_connected(
        contrib.fully_connected(x, 4, scope="a"),
        2,
        activation_fn=None,
        weights_regularizer=contrib.l2_regularizer(0.5),
        biases_initializer=None,
        weights_initializer=tf.constant_initializer(0.5),
        outputs_collections="outs",
    )
    names = [v.name for v in tf.global_variables()]
    assert names == ["a/weights:0", "a/biases:0", "fully_connected/weights:0"]
    assert tf.model_variables() == tf.global_variables()
    assert tf.get_collection("outs") == [y]
    assert y.op.type == "MatMul"
    (penalty,) = tf.losses.get_regularization_losses()
    assert values(penalty) == pytest.approx(0.5 * 0.5 * 8 * 0.25)
    first = values(tf.get_default_graph().get_tensor_by_name("a/Relu:0"))
    assert first.min() >= 0


def test_fully_connected_with_a_normalizer_has_no_biases() -> None:
    tf.contrib.layers.fully_connected(
        tf.ones([2, 3]),
        4,
        normalizer_fn=tf.layers.batch_normalization,
        normalizer_params={"training": True},
        scope="n",
    )
    names = [v.name for v in tf.trainable_variables()]
    assert names == [
        "n/weights:0",
        "n/batch_normalization/gamma:0",
        "n/batch_normalization/beta:0",
    ]


def test_contrib_conv2d_and_flatten() -> None:
    x = tf.ones([2, 5, 5, 3])
    y = tf.contrib.layers.flatten(tf.contrib.layers.conv2d(x, 4, [3, 3], stride=2))
    assert [v.name for v in tf.global_variables()] == [
        "Conv/weights:0",
        "Conv/biases:0",
    ]
    assert y.shape.as_list() == [2, 3 * 3 * 4]
    assert y.name == "Flatten/Reshape:0"


def test_contrib_batch_norm() -> None:
    contrib = tf.contrib.layers
    x = tf.placeholder(tf.float32, [None, 2])
    training = tf.placeholder(tf.bool, [])
    y = contrib.batch_norm(
        x, decay=0.5, scale=True, is_training=training, updates_collections=None,
        param_initializers={"gamma": tf.constant_initializer(2.0)},
    )  # fmt: skip
    assert {v.name for v in tf.model_variables()} == {
        "BatchNorm/gamma:0", "BatchNorm/beta:0",
        "BatchNorm/moving_mean:0", "BatchNorm/moving_variance:0",
    }  # fmt: skip
    assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []
    batch = np.array([[1.0, 2.0], [3.0, 6.0]])
    mean, variance = tf.global_variables("BatchNorm/moving")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        found = session.run(y, {x: batch, training: True})
        np.testing.assert_allclose(found, [[-2, -2], [2, 2]], rtol=2e-3)
        np.testing.assert_allclose(session.run(mean), [1.0, 2.0])
        np.testing.assert_allclose(session.run(variance), [1.0, 2.5])
        session.run(y, {x: batch, training: False})
        np.testing.assert_allclose(session.run(mean), [1.0, 2.0])


def test_contrib_batch_norm_as_a_normalizer_and_its_updates() -> None:
    contrib = tf.contrib.layers
    contrib.fully_connected(
        tf.ones([2, 3]), 4, normalizer_fn=contrib.batch_norm, scope="f",
        normalizer_params={"updates_collections": "mine"},
    )  # fmt: skip
    assert len(tf.get_collection("mine")) == 2
    assert tf.get_collection(tf.GraphKeys.UPDATE_OPS) == []
    assert [v.name for v in tf.trainable_variables()] == [
        "f/weights:0", "f/BatchNorm/beta:0",
    ]  # fmt: skip


def test_contrib_pooling_and_dropout() -> None:
    x = tf.constant(np.arange(16.0).reshape(1, 4, 4, 1))
    pooled = tf.contrib.layers.max_pool2d(x, [2, 2])
    assert pooled.name == "MaxPool2D/MaxPool:0"
    assert values(pooled).ravel().tolist() == [5, 7, 13, 15]
    ones = tf.ones([100, 100])
    kept = values(tf.contrib.layers.dropout(ones, 0.8, seed=1))
    assert (kept != 0).mean() == pytest.approx(0.8, abs=0.02)
    assert (values(tf.contrib.layers.dropout(ones, is_training=False)) == 1).all()


def test_regularizers() -> None:
    w = tf.constant([[1.0, -2.0], [3.0, 0.0]])
    contrib = tf.contrib.layers
    both = contrib.l1_l2_regularizer(0.1, 0.01)
    found = values(
        [contrib.l1_regularizer(0.5)(w), contrib.l2_regularizer(0.5)(w), both(w)]
    )
    assert found == pytest.approx([3.0, 3.5, 0.6 + 0.07])
    assert contrib.l1_regularizer(0.0)(w) is None
    assert contrib.l1_l2_regularizer(0.0, 0.0)(w) is None
    total = contrib.apply_regularization(contrib.l2_regularizer(1.0), [w, 2 * w])
    assert values(total) == pytest.approx(7.0 + 28.0)
    assert tf.losses.get_regularization_losses() == [total]
    with pytest.raises(ValueError, match="float"):
        contrib.l2_regularizer(1)
    with pytest.raises(ValueError, match="negative"):
        contrib.l1_regularizer(-0.5)


def test_xavier_initializer_has_the_limits_of_glorot() -> None:
    drawn = values(tf.contrib.layers.xavier_initializer()([300, 100]))
    limit = np.sqrt(6 / 400)
    assert abs(drawn).max() <= limit
    assert abs(drawn).max() == pytest.approx(limit, rel=1e-2)
    normal = values(tf.contrib.layers.xavier_initializer(uniform=False)([300, 100]))
    assert normal.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)


# --- channels first -------------------------------------------------------------------

CHANNELS_FIRST = {
    "conv1d": (1, lambda x, f: tf.layers.conv1d(x, 4, 3, 2, data_format=f)),
    "causal": (1, lambda x, f: tf.layers.conv1d(x, 4, 3, padding="causal",
                                                data_format=f)),
    "conv2d": (2, lambda x, f: tf.layers.conv2d(x, 4, 3, 2, "same", f)),
    "conv3d": (3, lambda x, f: tf.layers.conv3d(x, 4, 2, data_format=f)),
    "transpose": (2, lambda x, f: tf.layers.conv2d_transpose(x, 4, 3, 2, "same", f)),
    "separable": (2, lambda x, f: tf.layers.separable_conv2d(x, 4, 3, 1, "same", f)),
    "max1": (1, lambda x, f: tf.layers.max_pooling1d(x, 2, 2, "same", f)),
    "max2": (2, lambda x, f: tf.layers.max_pooling2d(x, 2, 2, data_format=f)),
    "mean3": (3, lambda x, f: tf.layers.average_pooling3d(x, 2, 1, "same", f)),
    "flatten": (2, lambda x, f: tf.layers.flatten(x, data_format=f)),
    "normalized": (2, lambda x, f: tf.layers.batch_normalization(
        x, axis=1 if f == "channels_first" else 3, training=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANNELS_FIRST)
def test_channels_first_is_channels_last_moved(name: str) -> None:
    """Values, and gradients of the inputs and of all variables."""
    rank, layer = CHANNELS_FIRST[name]
    shape = (2, 7, 6, 5)[: rank + 1]
    images = np.random.default_rng(0).normal(size=(*shape, 3)).astype(np.float32)
    to_first = (0, rank + 1, *range(1, rank + 1))
    to_last = (0, *range(2, rank + 2), 1)
    last = tf.constant(images)
    first = tf.constant(images.transpose(to_first))
    with tf.variable_scope("net", initializer=tf.constant_initializer(0.3)):
        y_last = layer(last, "channels_last")
    with tf.variable_scope("net", reuse=True):
        y_first = layer(first, "channels_first")
    variables = tf.trainable_variables()
    found = []
    for x, y in ((last, y_last), (first, y_first)):
        if len(y.shape) > 2:
            y = tf.transpose(y, to_last) if x is first else y
        weights = tf.sin(tf.cast(tf.range(tf.size(y)), tf.float32))
        loss = tf.reduce_sum(tf.reshape(y, [-1]) * weights)
        dx, *slopes = tf.gradients(loss, [x, *variables])
        found.append([y, tf.transpose(dx, to_last) if x is first else dx, *slopes])
    one, other = values(found)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
