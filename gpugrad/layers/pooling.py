"""Maxima and means of windows, as layers."""

from __future__ import annotations

from typing import Any

from gpugrad.layers.base import Layer, as_function
from gpugrad.layers.convolution import layout, padding_of, sizes
from gpugrad.ops.pool_functions import pool


class Pooling(Layer):
    """The maximum, or the mean, of each window of the inputs.

    Shapes:  inputs [batch, ...axes, channels], or [batch, channels, ...axes] with
             ``data_format="channels_first"``.
    ``pool_size`` and ``strides``: one int, or one an axis. ``padding``: "valid" or
    "same"; a mean leaves out what was padded.
    """

    rank = 0
    kind = ""

    def __init__(
        self,
        pool_size: Any,
        strides: Any,
        padding: str = "valid",
        data_format: str | None = "channels_last",
        name: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, **common)
        self.pool_size = sizes(pool_size, self.rank, "pool_size")
        self.strides = sizes(
            pool_size if strides is None else strides, self.rank, "strides"
        )
        self.padding = padding_of(padding)
        self._layout = layout(data_format, self.rank)

    def call(self, inputs: Any) -> Any:
        """The layer of ``inputs``."""
        name = {"MAX": "MaxPool", "AVG": "AvgPool"}[self.kind]
        return pool(
            inputs,
            self.pool_size,
            self.kind,
            self.padding,
            strides=self.strides,
            data_format=self._layout,
            name=f"{name}3D" if self.rank == 3 else name,
        )


class MaxPooling1D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 1, "MAX"


class MaxPooling2D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 2, "MAX"


class MaxPooling3D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 3, "MAX"


class AveragePooling1D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 1, "AVG"


class AveragePooling2D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 2, "AVG"


class AveragePooling3D(Pooling):
    __doc__ = Pooling.__doc__
    rank, kind = 3, "AVG"


max_pooling1d = as_function(MaxPooling1D)
max_pooling2d = as_function(MaxPooling2D)
max_pooling3d = as_function(MaxPooling3D)
average_pooling1d = as_function(AveragePooling1D)
average_pooling2d = as_function(AveragePooling2D)
average_pooling3d = as_function(AveragePooling3D)
