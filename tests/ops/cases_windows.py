"""Gradient rows of conv.py, pool.py and patches.py."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.ops.harness import Case

IMAGE = ((2, 5, 6, 4), -1, 1)
FILTER = ((3, 2, 4, 2), -1, 1)
GROUPED = ((3, 2, 2, 6), -1, 1)
CHANNELWISE = ((3, 2, 4, 2), -1, 1)
VOLUME = ((1, 3, 4, 3, 2), -1, 1)
VOLUME_FILTER = ((2, 2, 2, 2, 3), -1, 1)

LAYOUTS = [
    ("valid", {"strides": 1, "padding": "VALID"}),
    ("same", {"strides": 1, "padding": "SAME"}),
    ("valid steps", {"strides": [2, 3], "padding": "VALID"}),
    ("same steps", {"strides": 2, "padding": "SAME"}),
    ("gaps", {"strides": 1, "padding": "SAME", "dilations": [2, 1]}),
    (
        "explicit",
        {"strides": 2, "padding": [[0, 0], [3, 0], [1, 2], [0, 0]]},
    ),
]


def apart(shape):
    """Inputs that stay apart under small steps: no two maxima change places."""
    return [(shape, -1, 1)]


def ordered(x, seed):
    """Different whole numbers in a random order, of the shape of ``x``."""
    numbers = np.random.RandomState(seed).permutation(4096).astype(float)
    return tf.reshape(tf.constant(numbers)[: tf.size(x)], tf.shape(x))


def spaced(function):
    """``function`` of the input plus constants that keep its elements apart."""
    return lambda x: function(0.01 * x + ordered(x, 3))


def scattered(x):
    """The input, scaled down, plus numbers so far apart that no sums change places."""
    return 0.01 * x + 10.0 * ordered(x, 4)


def channels_first(function):
    def build(x, *rest):
        return function(tf.transpose(x, [0, 3, 1, 2]), *rest)

    return build


CASES = [
    *(
        Case(
            "Conv2D",
            lambda x, w, a=a: tf.nn.conv2d(x, w, **a),
            [IMAGE, FILTER],
            label=n,
        )
        for n, a in LAYOUTS
    ),
    Case(
        "Conv2D",
        lambda x, w: tf.nn.conv2d(x, w, 2, "SAME"),
        [IMAGE, GROUPED],
        label="groups",
    ),
    Case(
        "Conv2D",
        channels_first(lambda x, w: tf.nn.conv2d(x, w, 2, "SAME", data_format="NCHW")),
        [IMAGE, FILTER],
        label="channels first",
    ),
    Case(
        "Conv2D",
        lambda x, w: tf.nn.conv1d(x, w, 2, "SAME"),
        [((2, 5, 3), -1, 1), ((3, 3, 2), -1, 1)],
        label="conv1d",
    ),
    Case(
        "Conv2DBackpropInput",
        lambda x, w: tf.nn.conv2d_transpose(x, w, [2, 9, 12, 2], 2, "SAME"),
        [((2, 5, 6, 3), -1, 1), ((3, 3, 2, 3), -1, 1)],
    ),
    Case(
        "Conv2DBackpropFilter",
        lambda x, dy: x.graph.apply(
            "Conv2DBackpropFilter", x, [3, 2, 4, 2], dy, strides=(1, 2, 2, 1)
        ),
        [IMAGE, ((2, 2, 3, 2), -1, 1)],
    ),
    *(
        Case(
            "DepthwiseConv2dNative",
            lambda x, w, a=a: tf.nn.depthwise_conv2d(x, w, **a),
            [IMAGE, CHANNELWISE],
            label=n,
        )
        for n, a in LAYOUTS[:5]
    ),
    Case(
        "DepthwiseConv2dNativeBackpropInput",
        lambda w, dy: w.graph.apply(
            "DepthwiseConv2dNativeBackpropInput", [2, 5, 6, 4], w, dy
        ),
        [CHANNELWISE, ((2, 3, 5, 8), -1, 1)],
    ),
    Case(
        "DepthwiseConv2dNativeBackpropFilter",
        lambda x, dy: x.graph.apply(
            "DepthwiseConv2dNativeBackpropFilter", x, [3, 2, 4, 2], dy
        ),
        [IMAGE, ((2, 3, 5, 8), -1, 1)],
    ),
    Case(
        "Conv3D",
        lambda x, w: tf.nn.conv3d(x, w, [1, 2, 1], "SAME"),
        [VOLUME, VOLUME_FILTER],
    ),
    Case(
        "Conv3DBackpropInputV2",
        lambda x, w: tf.nn.conv3d_transpose(x, w, [1, 4, 5, 4, 3], 2, "SAME"),
        [((1, 2, 3, 2, 2), -1, 1), ((2, 2, 3, 3, 2), -1, 1)],
    ),
    Case(
        "Conv3DBackpropFilterV2",
        lambda x, dy: x.graph.apply("Conv3DBackpropFilterV2", x, [2, 2, 2, 2, 3], dy),
        [VOLUME, ((1, 2, 3, 2, 3), -1, 1)],
    ),
    *(
        Case(
            "MaxPool",
            spaced(lambda x, p=p, s=s: tf.nn.max_pool(x, 3, s, p) ** 2.0),
            apart((2, 5, 6, 2)),
            label=f"{p} {s}",
        )
        for p in ("SAME", "VALID")
        for s in (1, 2)
    ),
    Case(
        "MaxPool",
        spaced(
            lambda x: tf.nn.max_pool(
                x, 2, 2, [[0, 0], [1, 0], [0, 1], [0, 0]], data_format="NHWC"
            )
        ),
        apart((2, 5, 6, 2)),
        label="explicit",
    ),
    Case(
        "MaxPool",
        spaced(channels_first(lambda x: tf.nn.max_pool(x, 2, 2, "SAME", "NCHW"))),
        apart((2, 5, 6, 2)),
        label="channels first",
    ),
    Case(
        "MaxPoolGrad",
        spaced(lambda x: tf.gradients(tf.nn.max_pool(x, 3, 2, "SAME") ** 2.0, x)[0]),
        apart((1, 4, 5, 2)),
    ),
    Case(
        "MaxPoolGradGrad",
        spaced(
            lambda x: x.graph.apply(
                "MaxPoolGradGrad",
                tf.stop_gradient(x),
                tf.stop_gradient(tf.nn.max_pool(x, 2, 2, "SAME")),
                x * x,
                ksize=(1, 2, 2, 1),
                strides=(1, 2, 2, 1),
                padding="SAME",
            )
        ),
        apart((1, 4, 5, 2)),
    ),
    Case(
        "MaxPool3D",
        spaced(lambda x: tf.nn.max_pool3d(x, 2, 1, "SAME") ** 2.0),
        [VOLUME],
    ),
    Case(
        "MaxPool3DGrad",
        spaced(lambda x: tf.gradients(tf.nn.max_pool3d(x, 2, 2, "SAME") ** 2.0, x)[0]),
        [VOLUME],
    ),
    Case(
        "MaxPool3DGradGrad",
        spaced(
            lambda x: x.graph.apply(
                "MaxPool3DGradGrad",
                tf.stop_gradient(x),
                tf.stop_gradient(tf.nn.max_pool3d(x, 2, 2, "VALID")),
                x * x,
                ksize=(1, 2, 2, 2, 1),
                strides=(1, 2, 2, 2, 1),
                data_format="NDHWC",
            )
        ),
        [VOLUME],
    ),
    *(
        Case(
            "AvgPool",
            lambda x, p=p, s=s: tf.nn.avg_pool(x, 3, s, p) ** 2.0,
            [IMAGE],
            label=f"{p} {s}",
        )
        for p in ("SAME", "VALID")
        for s in (1, 2)
    ),
    Case(
        "AvgPoolGrad",
        lambda dy: dy.graph.apply(
            "AvgPoolGrad",
            [2, 5, 6, 4],
            dy * dy,
            ksize=(1, 3, 3, 1),
            strides=(1, 2, 2, 1),
            padding="SAME",
        ),
        [((2, 3, 3, 4), -1, 1)],
    ),
    Case("AvgPool3D", lambda x: tf.nn.avg_pool3d(x * x, 2, 2, "SAME"), [VOLUME]),
    Case(
        "AvgPool3DGrad",
        lambda dy: dy.graph.apply(
            "AvgPool3DGrad",
            [1, 3, 4, 3, 2],
            dy * dy,
            ksize=(1, 2, 2, 2, 1),
            strides=(1, 2, 2, 2, 1),
            padding="SAME",
            data_format="NDHWC",
        ),
        [((1, 2, 2, 2, 2), -1, 1)],
    ),
    *(
        Case(
            "ExtractImagePatches",
            lambda x, p=p, s=s: tf.extract_image_patches(
                x * x, [1, 2, 3, 1], [1, s, s, 1], [1, 2, 1, 1], p
            ),
            [IMAGE],
            label=f"{p} {s}",
        )
        for p in ("SAME", "VALID")
        for s in (1, 2)
    ),
    Case(
        "ExtractImagePatchesGrad",
        lambda dy: dy.graph.apply(
            "ExtractImagePatchesGrad",
            [2, 5, 6, 4],
            dy * dy,
            ksizes=(1, 2, 2, 1),
            strides=(1, 2, 2, 1),
            rates=(1, 1, 1, 1),
            padding="SAME",
        ),
        [((2, 3, 3, 16), -1, 1)],
    ),
    *(
        Case(
            "Dilation2D",
            lambda x, w, p=p, f=f: f(scattered(x), w, [1, 2, 1, 1], [1, 1, 2, 1], p),
            [((2, 5, 6, 2), -1, 1), ((3, 2, 2), -1, 1)],
            order=1,
            label=f"{f.__name__} {p}",
        )
        for p in ("SAME", "VALID")
        for f in (tf.nn.dilation2d, tf.nn.erosion2d)
    ),
    *(
        Case(
            "MaxPoolWithArgmax",
            spaced(lambda x, p=p: tf.nn.max_pool_with_argmax(x, 3, 2, p)[0] ** 2.0),
            apart((2, 5, 6, 2)),
            label=p,
        )
        for p in ("SAME", "VALID")
    ),
]
