"""Rows of neural-network functions: softmax and losses, windows, normalization."""

from __future__ import annotations

from tests.oracle.draw import Drawing, Row, Skip, Value

LOSSES = (
    "tf.losses.mean_squared_error({a}, {b})", "tf.losses.huber_loss({a}, {b})",
    "tf.losses.absolute_difference({a}, {b}, weights=0.5)",
    "tf.losses.log_loss(tf.sigmoid({a}), tf.sigmoid({b}))",
    "tf.losses.sigmoid_cross_entropy(tf.sigmoid({a}), {b})",
    "tf.losses.hinge_loss(tf.cast({a} > 0, tf.float32), {b})",
    "tf.losses.cosine_distance({a}, {b}, axis=-1)",
    "tf.losses.mean_squared_error({a}, {b}, reduction='none')",
    "tf.losses.softmax_cross_entropy(tf.nn.softmax({a}), {b}, label_smoothing=0.1)",
)  # fmt: skip
PAIRS = (
    "tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax({a}), logits={b})",
    "tf.nn.softmax_cross_entropy_with_logits_v2(labels=tf.nn.softmax({a}), logits={b})",
    "tf.nn.softmax_cross_entropy_with_logits_v2(labels={a}, logits={b}, axis={i})",
    "tf.nn.sigmoid_cross_entropy_with_logits(None, tf.sigmoid({a}), {b})",
    "tf.nn.weighted_cross_entropy_with_logits(tf.sigmoid({a}), {b}, pos_weight=1.5)",
    "tf.nn.log_poisson_loss(tf.abs({a}), {b})",
    "tf.nn.log_poisson_loss(2 + tf.abs({a}), {b}, compute_full_loss=True)",
)  # fmt: skip


def _softmax(d: Drawing) -> str:
    a = d.tensor(least=1)
    axis = d.choose(["", f", axis={d.below(a.rank, -a.rank)}"])
    return f"tf.nn.{d.choose(['softmax', 'log_softmax'])}({a}{axis})"


def _loss(d: Drawing) -> str:
    a = d.tensor(least=1, most=3)
    b = d.like(a)
    if d.chance(0.25):
        if not a.shape[-1]:
            raise Skip
        count = 1
        for n in a.shape[:-1]:
            count *= n
        labels = [d.below(a.shape[-1]) for _ in range(count)]
        ids = f"np.array({labels}, 'int64').reshape({a.shape[:-1]})"
        return (
            f"tf.nn.sparse_softmax_cross_entropy_with_logits(labels={ids}, logits={a})"
        )
    rows = LOSSES if a.dtype == "float32" and d.chance(0.5) else PAIRS
    return d.choose(rows).format(a=a, b=b, i=d.below(a.rank, -a.rank))


def _bias(d: Drawing) -> str:
    a = d.tensor(least=2)
    if d.chance(0.3):
        return f"tf.nn.bias_add({a}, {d.like(a, a.shape[1:2])}, data_format='NCHW')"
    if a.rank == 2 and d.chance(0.4):
        n = d.extent()
        w, b = d.like(a, (a.shape[1], n)), d.like(a, (n,))
        return f"tf.nn.{d.choose(['xw_plus_b', 'relu_layer'])}({a}, {w}, {b})"
    return f"tf.nn.bias_add({a}, {d.like(a, a.shape[-1:])})"


def _image(d: Drawing, spatial: int, channels: int) -> Value:
    shape = (d.below(3, 1), *(d.below(6, 3) for _ in range(spatial)), channels)
    dtype = d.some_dtype("f")
    if dtype in ("float16", "bfloat16"):
        raise Skip
    found = [
        v
        for v in d.values.values()
        if v.dtype == dtype
        and v.rank == spatial + 2
        and v.shape[-1] == channels
        and min(v.shape[1:-1]) > 1
    ]
    if found and d.chance(0.5):
        return d.choose(found)
    return d.input(*d.numbers(dtype, shape))


def _convolution(d: Drawing) -> str:
    if d.style == "wild":  # whether 0 * inf is met depends on the kernel
        raise Skip
    spatial = d.choose([1, 2, 2, 2, 3])
    channels, out = d.below(3, 1), d.below(3, 1)
    a = _image(d, spatial, channels)
    window = tuple(d.below(4, 1) for _ in range(spatial))
    kernel = d.like(a, (*window, channels, out))
    padding = d.choose(["SAME", "VALID"])
    step = d.below(3, 1)
    if spatial == 1:
        return f"tf.nn.conv1d({a}, {kernel}, {step}, '{padding}')"
    strides = [1, *[step] * spatial, 1]
    if spatial == 3:
        return f"tf.nn.conv3d({a}, {kernel}, {strides}, '{padding}')"
    how = d.below(6)
    if how == 0:
        k = d.like(a, (*window, channels, out))
        return f"tf.nn.depthwise_conv2d({a}, {k}, {strides}, '{padding}')"
    if how == 1:
        k = d.like(a, (1, 1, channels * out, 2))
        return f"tf.nn.separable_conv2d({a}, {kernel}, {k}, {strides}, '{padding}')"
    if how == 2:
        back = d.like(a, (*window, out, channels))
        n, h, w, _ = a.shape
        grown = [h * step, w * step]
        if padding == "VALID":
            grown = [n * step + max(k - step, 0) for n, k in zip((h, w), window)]
        size = [n, *grown, out]
        return f"tf.nn.conv2d_transpose({a}, {back}, {size}, {strides}, '{padding}')"
    if how == 3:
        return f"tf.nn.atrous_conv2d({a}, {kernel}, 2, '{padding}')"
    if how == 4 and padding == "VALID":
        pads = [[0, 0], [d.below(2), 1], [1, d.below(2)], [0, 0]]
        return f"tf.nn.conv2d({a}, {kernel}, strides={strides}, padding={pads})"
    spread = ", dilations=[1, 2, 1, 1]" if step == 1 and d.chance(0.3) else ""
    return f"tf.nn.conv2d({a}, {kernel}, {strides}, '{padding}'{spread})"


def _pool(d: Drawing) -> str:
    if d.style == "wild":  # a maximum with NaN depends on the kernel
        raise Skip
    spatial = d.choose([1, 2, 2, 2, 3])
    a = _image(d, spatial, d.below(3, 1))
    padding = d.choose(["SAME", "VALID"])
    size = [1, *(d.below(4, 1) for _ in range(spatial)), 1]
    step = [1, *(d.below(3, 1) for _ in range(spatial)), 1]
    name = d.choose(["avg_pool", "max_pool"])
    if spatial == 2:
        return f"tf.nn.{name}({a}, {size}, {step}, '{padding}')"
    return f"tf.nn.{name}{spatial}d({a}, {size}, {step}, '{padding}')"


def _window(d: Drawing) -> tuple[str, int] | str:
    if d.style == "wild":
        raise Skip
    a = _image(d, 2, d.below(3, 1))
    size = [1, d.below(4, 1), d.below(4, 1), 1]
    step = [1, d.below(3, 1), d.below(3, 1), 1]
    padding = d.choose(["SAME", "VALID"])
    how = d.below(4)
    if how == 0:
        return f"tf.image.extract_patches({a}, {size}, {step}, [1] * 4, '{padding}')"
    if how == 1:
        f = d.like(a, (*size[1:3], a.shape[-1]))
        return f"tf.nn.dilation2d({a}, {f}, {step}, [1] * 4, '{padding}')"
    if how == 2:
        return f"tf.nn.max_pool_with_argmax({a}, {size}, {step}, '{padding}')", 2
    return f"tf.nn.lrn({a}, depth_radius=1, bias=1.0, alpha=0.5, beta=0.5)"


def _normalize(d: Drawing) -> tuple[str, int] | str:
    if d.chance(0.5):
        a = d.tensor(least=2)
        mean, scale = d.like(a, a.shape[-1:]), d.like(a, a.shape[-1:])
        return (
            f"tf.nn.batch_normalization({a}, {mean}, tf.abs({scale}) + 0.5, "
            f"{d.choose([str(mean), 'None'])}, {d.choose([str(scale), 'None'])}, 1e-3)"
        )
    a = _image(d, 2, 2)
    if a.dtype != "float32":
        raise Skip
    b, c = d.like(a, (2,)), d.like(a, (2,))
    if d.chance(0.5):
        return f"tf.nn.fused_batch_norm({a}, {b}, {c})", 3
    more = f"mean={c}, variance=tf.abs({b}) + 0.5, is_training=False"
    return f"tf.nn.fused_batch_norm({a}, {b}, {c}, {more})[0]"


ROWS: list[tuple[float, Row]] = [
    (4, _softmax), (5, _loss), (2, _bias), (4, _convolution), (3, _pool),
    (1.5, _normalize), (1.5, _window),
]  # fmt: skip
