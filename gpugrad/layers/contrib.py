"""tf.contrib.layers: layers with other names and defaults than tf.layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, get_default_graph
from gpugrad.graph.function_graph import outermost
from gpugrad.graph.variable import GraphKeys
from gpugrad.layers.base import Layer, WeightedLayer
from gpugrad.layers.convolution import Conv2D
from gpugrad.layers.core import Dense, Dropout, Flatten
from gpugrad.layers.normalization import BatchNormalization
from gpugrad.layers.pooling import MaxPooling2D
from gpugrad.layers.regularizers import Regularizer
from gpugrad.ops.initializers import Initializer, VarianceScaling, Zeros
from gpugrad.ops.nn import relu
from gpugrad.ops.variable_scope import variable_scope

_ZEROS = Zeros()


def xavier_initializer(
    uniform: bool = True, seed: int | None = None, dtype: Any = dtypes.float32
) -> Initializer:
    """Random values whose variance is 2 / (inputs + outputs): Glorot's."""
    kind = "uniform" if uniform else "truncated_normal"
    return VarianceScaling(1.0, "fan_avg", kind, seed, dtype)


def variance_scaling_initializer(
    factor: float = 2.0,
    mode: str = "FAN_IN",
    uniform: bool = False,
    seed: int | None = None,
    dtype: Any = dtypes.float32,
) -> Initializer:
    """Random values whose variance is ``factor`` divided by the inputs ("FAN_IN"), the
    outputs ("FAN_OUT") or their mean ("FAN_AVG").
    """
    kind = "uniform" if uniform else "truncated_normal"
    return VarianceScaling(factor, mode.lower(), kind, seed, dtype)


def fully_connected(
    inputs: Any,
    num_outputs: int,
    activation_fn: Callable[..., Any] | None = relu,
    normalizer_fn: Callable[..., Any] | None = None,
    normalizer_params: dict[str, Any] | None = None,
    weights_initializer: Any = None,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Regularizer | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """A dense layer with the variables ``weights`` and ``biases``, and relu.

    The weights start from xavier_initializer(). ``normalizer_fn`` stands in the place
    of the biases; ``biases_initializer=None`` leaves them out.
    """

    def layer(**named: Any) -> WeightedLayer:
        return Dense(num_outputs, **named)

    return _called(
        layer, "fully_connected", inputs, activation_fn, normalizer_fn,
        normalizer_params, weights_initializer, weights_regularizer, biases_initializer,
        biases_regularizer, reuse, variables_collections, outputs_collections,
        trainable, scope,
    )  # fmt: skip


def conv2d(
    inputs: Any,
    num_outputs: int,
    kernel_size: Any,
    stride: Any = 1,
    padding: str = "SAME",
    data_format: str | None = None,
    rate: Any = 1,
    activation_fn: Callable[..., Any] | None = relu,
    normalizer_fn: Callable[..., Any] | None = None,
    normalizer_params: dict[str, Any] | None = None,
    weights_initializer: Any = None,
    weights_regularizer: Regularizer | None = None,
    biases_initializer: Any = _ZEROS,
    biases_regularizer: Regularizer | None = None,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    scope: Any = None,
) -> Any:
    """A convolution with the variables ``weights`` and ``biases``, and relu.

    The remaining arguments are those of fully_connected.
    """
    last = data_format is None or data_format == "NHWC"
    layout = "channels_last" if last else "channels_first"

    def layer(**named: Any) -> WeightedLayer:
        return Conv2D(num_outputs, kernel_size, stride, padding, layout, rate, **named)

    return _called(
        layer, "Conv", inputs, activation_fn, normalizer_fn, normalizer_params,
        weights_initializer, weights_regularizer, biases_initializer,
        biases_regularizer, reuse, variables_collections, outputs_collections,
        trainable, scope,
    )  # fmt: skip


class _Recorded(BatchNormalization):
    """Keeps its updates to itself."""

    def add_update(self, updates: Any) -> None:
        """Note an op; it goes into no collection."""
        self._updates.append(updates)


def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Callable[..., Any] | None = None,
    param_initializers: dict[str, Any] | None = None,
    param_regularizers: dict[str, Any] | None = None,
    updates_collections: Any = GraphKeys.UPDATE_OPS,
    is_training: Any = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    fused: bool | None = None,
    data_format: str = "NHWC",
    scope: Any = None,
) -> Any:
    """Batch normalization with the variables beta, gamma (if ``scale``), moving_mean
    and moving_variance.

    With ``updates_collections=None`` the moving averages change whenever the result is
    computed while training; else their updates stand in these collections. See
    layers.BatchNormalization. The ``param_...`` dicts go by the variables' names.
    """
    initial, penalty = param_initializers or {}, param_regularizers or {}
    with variable_scope(scope, "BatchNorm", [inputs], reuse=reuse) as opened:
        inputs = convert_to_tensor(inputs)
        layer = _Recorded(
            axis=1 if data_format.startswith("NC") else -1,
            momentum=decay,
            epsilon=epsilon,
            center=center,
            scale=scale,
            trainable=trainable,
            fused=fused,
            beta_regularizer=penalty.get("beta"),
            gamma_regularizer=penalty.get("gamma"),
            _scope=opened,
            _reuse=reuse,
            **{f"{name}_initializer": value for name, value in initial.items()},
        )
        outputs = layer(inputs, training=is_training)
        graph = get_default_graph()
        if updates_collections is None:
            with graph.control_dependencies(layer.updates):
                outputs = apply_op("Identity", outputs)
        else:
            for update in layer.updates:
                graph.add_to_collections(_collections(updates_collections), update)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
    return _kept(layer, outputs, variables_collections, outputs_collections)


def max_pool2d(
    inputs: Any,
    kernel_size: Any,
    stride: Any = 2,
    padding: str = "VALID",
    data_format: str = "NHWC",
    outputs_collections: Any = None,
    scope: Any = None,
) -> Any:
    """The maximum of each window."""
    layout = "channels_last" if data_format == "NHWC" else "channels_first"
    with variable_scope(scope, "MaxPool2D", [inputs]) as opened:
        layer = MaxPooling2D(kernel_size, stride, padding, layout, _scope=opened)
        return _kept(layer, layer(inputs), None, outputs_collections)


def dropout(
    inputs: Any,
    keep_prob: Any = 0.5,
    noise_shape: Any = None,
    is_training: Any = True,
    outputs_collections: Any = None,
    scope: Any = None,
    seed: int | None = None,
) -> Any:
    """Dropout while training; ``keep_prob`` is the share that is kept."""
    with variable_scope(scope, "Dropout", [inputs]) as opened:
        layer = Dropout(1 - keep_prob, noise_shape, seed, _scope=opened)
        outputs = layer(inputs, training=is_training)
        return _kept(layer, outputs, None, outputs_collections)


def _called(
    layer_of: Callable[..., WeightedLayer],
    default: str,
    inputs: Any,
    activation_fn: Callable[..., Any] | None,
    normalizer_fn: Callable[..., Any] | None,
    normalizer_params: dict[str, Any] | None,
    weights_initializer: Any,
    weights_regularizer: Regularizer | None,
    biases_initializer: Any,
    biases_regularizer: Regularizer | None,
    reuse: Any,
    variables_collections: Any,
    outputs_collections: Any,
    trainable: bool,
    scope: Any,
) -> Any:
    """What fully_connected and conv2d do once they know their layer."""
    with variable_scope(scope, default, [inputs], reuse=reuse) as opened:
        layer = layer_of(
            use_bias=normalizer_fn is None and biases_initializer is not None,
            kernel_initializer=weights_initializer or xavier_initializer(),
            bias_initializer=biases_initializer,
            kernel_regularizer=weights_regularizer,
            bias_regularizer=biases_regularizer,
            trainable=trainable,
            _scope=opened,
            _reuse=reuse,
        )
        layer.weight_names = ("weights", "biases")
        outputs = layer(inputs)
        if normalizer_fn is not None:
            outputs = normalizer_fn(outputs, **(normalizer_params or {}))
        if activation_fn is not None:
            outputs = activation_fn(outputs)
    return _kept(layer, outputs, variables_collections, outputs_collections)


def _kept(
    layer: Layer, outputs: Any, variables_collections: Any, outputs_collections: Any
) -> Any:
    """``outputs``, once the variables and they stand in their collections."""
    graph = outermost(get_default_graph())
    for variable in layer.variables:
        if variable not in graph.get_collection(GraphKeys.MODEL_VARIABLES):
            kept = _collections(variables_collections, variable)
            graph.add_to_collections([GraphKeys.MODEL_VARIABLES, *kept], variable)
    graph.add_to_collections(_collections(outputs_collections), outputs)
    return outputs


def _collections(given: Any, variable: Any = None) -> Any:
    """A list of names; a dict says which for the weights and which for the biases."""
    if isinstance(given, dict):
        given = given.get(variable.op.name.rpartition("/")[2])
    if given is None:
        return []
    return given if isinstance(given, (list, tuple)) else [given]


def flatten(inputs: Any, outputs_collections: Any = None, scope: Any = None) -> Any:
    """[batch, ...] as [batch, n]."""
    with variable_scope(scope, "Flatten", [inputs]) as opened:
        layer = Flatten(_scope=opened)
        return _kept(layer, layer(inputs), None, outputs_collections)
