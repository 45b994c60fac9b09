"""Gradient rows of nn.py, nn_loss.py, layers.py, normalization.py and the like."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

X = ((2, 3), -2, 2)
G = ((2, 3), -2, 2)
ABOVE = ((2, 3), 0.3, 2)
BELOW = ((2, 3), -2, -0.3)
IMAGE = ((2, 2, 3, 2), -2, 2)
CHANNELS = ((2,), 0.5, 2)


def raw(op_type, **attrs):
    """A function of tensors that adds one op of this type."""
    return lambda *xs: xs[0].graph.apply(op_type, *xs, **attrs)


DEEP = ((1, 2, 2, 5), -2, 2)
# weights, biases and inputs of a layer of 5 classes
NETWORK = [((5, 2), -1, 1), ((5,), -1, 1), ((2, 2), -1, 1)]


def sampled(loss):
    """A loss of a layer on samples that are given."""

    def build(weights, biases, inputs):
        values = [3, 0], np.array([[0.5], [0.25]]), np.array([0.3, 0.2])
        return loss(weights, biases, [[3], [1]], inputs, 2, 5, sampled_values=values)

    return build


def both_sides(op, function, **kwargs):
    """A row on each side of a kink at 0."""
    return [
        Case(op, function, [side], label=label, **kwargs)
        for side, label in ((ABOVE, "above"), (BELOW, "below"))
    ]


def fused(training):
    def build(x, scale, offset, mean, variance):
        return tf.nn.fused_batch_norm(
            x, scale, offset, mean, variance, epsilon=0.1, is_training=training
        )[0]

    return build


def fused_channels_first(x, scale, offset):
    return tf.nn.fused_batch_norm(
        tf.transpose(x, [0, 3, 1, 2]), scale, offset, data_format="NCHW"
    )[0]


CASES = [
    *both_sides("Relu", lambda x: tf.nn.relu(x) * x),
    *both_sides("ReluGrad", lambda x: raw("ReluGrad")(x * x, x)),
    *both_sides("Relu6", lambda x: tf.nn.relu6(x) * x),
    *both_sides("Relu6Grad", lambda x: raw("Relu6Grad")(x * x, x)),
    *both_sides("LeakyRelu", lambda x: tf.nn.leaky_relu(x, 0.3) * x),
    *both_sides("LeakyReluGrad", lambda x: raw("LeakyReluGrad", alpha=0.3)(x * x, x)),
    *both_sides("Elu", tf.nn.elu),
    *both_sides("EluGrad", lambda x: raw("EluGrad")(x * x, x)),
    *both_sides("Selu", tf.nn.selu),
    *both_sides("SeluGrad", lambda x: raw("SeluGrad")(x * x, x)),
    Case("Softplus", tf.nn.softplus, [X]),
    Case("SoftplusGrad", raw("SoftplusGrad"), [G, X]),
    *both_sides("Softsign", tf.nn.softsign, order=1),
    *both_sides("Relu", lambda x: tf.nn.crelu(x) ** 2.0),
    Case("Sigmoid", lambda x: tf.nn.swish(x, 1.5), [X], label="swish"),
    Case("Softplus", tf.log_sigmoid, [X], label="log_sigmoid"),
    Case("Erfc", tf.nn.gelu, [X], label="gelu"),
    Case("Tanh", lambda x: tf.nn.gelu(x, approximate=True), [X], label="gelu", order=1),
    Case("Softmax", tf.nn.softmax, [X]),
    Case("Softmax", lambda x: tf.nn.softmax(x, axis=0), [X], label="axis 0"),
    Case("LogSoftmax", tf.nn.log_softmax, [X]),
    Case("LogSoftmax", lambda x: tf.nn.log_softmax(x, axis=-2), [X], label="axis -2"),
    Case("BiasAdd", lambda x, b: tf.nn.bias_add(x * x, b * b), [X, ((3,), -2, 2)]),
    Case(
        "BiasAdd",
        lambda x, b: tf.nn.bias_add(x * x, b * b, "NCHW"),
        [IMAGE, CHANNELS],
        label="channels first",
    ),
    Case("BiasAddGrad", lambda x: raw("BiasAddGrad")(x * x), [IMAGE]),
    Case(
        "BiasAddGrad",
        lambda x: raw("BiasAddGrad", data_format="NCHW")(x * x),
        [IMAGE],
        label="channels first",
    ),
    # Labels that do not sum to 1 get TensorFlow's gradient, which is not the slope.
    Case(
        "SoftmaxCrossEntropyWithLogits",
        lambda z, x: tf.nn.softmax_cross_entropy_with_logits_v2(tf.nn.softmax(z), x),
        [X, X],
    ),
    Case(
        "SoftmaxCrossEntropyWithLogits",
        lambda z, x: tf.nn.softmax_cross_entropy_with_logits_v2(
            tf.nn.softmax(z, axis=1), x, axis=1
        ),
        [((2, 3, 2), -2, 2), ((2, 3, 2), -2, 2)],
        label="rank 3, axis 1",
    ),
    Case(
        "SparseSoftmaxCrossEntropyWithLogits",
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=np.array([2, 0]), logits=x
        ),
        [X],
    ),
    *both_sides(
        "Log1p",
        lambda x: tf.nn.sigmoid_cross_entropy_with_logits(labels=x * x, logits=x),
    ),
    *both_sides(
        "Log1p",
        lambda x: tf.nn.weighted_cross_entropy_with_logits(x * x, x, 1.5),
    ),
    Case(
        "Exp",
        lambda z, c: tf.nn.log_poisson_loss(z, c, compute_full_loss=True),
        [((2, 3), 1.5, 4), X],
        label="log_poisson_loss",
    ),
    Case(
        "BiasAdd", tf.nn.xw_plus_b, [X, ((3, 2), -2, 2), ((2,), -2, 2)], label="dense"
    ),
    Case(
        "Rsqrt",
        lambda x, m, v, b, g: tf.nn.batch_normalization(x, m, v, b, g, 0.01),
        [X, ((3,), -1, 1), ((3,), 0.5, 2), ((3,), -1, 1), ((3,), -1, 1)],
        label="batch_normalization",
    ),
    Case(
        "FusedBatchNormV3",
        fused(True),
        [IMAGE, CHANNELS, CHANNELS, CHANNELS, CHANNELS],
        label="training",
    ),
    # The mean and variance given for inference get no gradient.
    Case(
        "FusedBatchNormGradV3",
        lambda x, s, o: fused(False)(
            x, s, o, np.array([0.1, 0.2]), np.array([1.0, 2.0])
        ),
        [IMAGE, CHANNELS, CHANNELS],
        label="inference",
    ),
    Case(
        "FusedBatchNormGradV3",
        fused_channels_first,
        [IMAGE, CHANNELS, CHANNELS],
        label="channels first",
    ),
    Case("LRN", lambda x: tf.nn.lrn(x, 1, 0.7, 0.3, 0.75), [DEEP], order=1),
    Case("LRN", lambda x: tf.nn.lrn(x, 7), [DEEP], order=1, label="wide"),
    Case("GatherV2", sampled(tf.nn.nce_loss), NETWORK, order=1, label="nce"),
    Case(
        "GatherV2",
        sampled(tf.nn.sampled_softmax_loss),
        NETWORK,
        order=1,
        label="sampled softmax",
    ),
]
