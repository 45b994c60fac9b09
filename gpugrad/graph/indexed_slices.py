"""IndexedSlices: a gradient that is zero but for some rows."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

from gpugrad.dtypes import DType
from gpugrad.errors import GraphError, GraphTypeError
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.shapes import TensorShape

IndexedSlicesValue = namedtuple(
    "IndexedSlicesValue", ["values", "indices", "dense_shape"]
)


class IndexedSlices:
    """Rows ``values[i]`` at ``indices[i]`` of a tensor that is zero elsewhere.

    Shapes:  values [n, ...], indices [n], dense_shape a vector or None. An index
             may stand more than once: its rows add up.
    Becomes a dense tensor wherever one is required, if dense_shape is known.
    """

    def __init__(
        self, values: Tensor, indices: Tensor, dense_shape: Tensor | None = None
    ) -> None:
        self._values = values
        self._indices = indices
        self._dense_shape = dense_shape

    @property
    def values(self) -> Tensor:
        """The rows."""
        return self._values

    @property
    def indices(self) -> Tensor:
        """Where the rows stand."""
        return self._indices

    @property
    def dense_shape(self) -> Tensor | None:
        """The shape of the dense tensor, None when unknown."""
        return self._dense_shape

    @property
    def shape(self) -> TensorShape:
        """The static shape of the dense tensor."""
        from gpugrad.graph.constant import sizes

        if self._dense_shape is None:
            return TensorShape(None)
        return TensorShape(sizes(self._dense_shape))

    def get_shape(self) -> TensorShape:
        """The static shape of the dense tensor."""
        return self.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the rows."""
        return self._values.dtype

    @property
    def name(self) -> str:
        """The name of ``values``."""
        return self._values.name

    @property
    def op(self) -> Operation:
        """The operation of ``values``."""
        return self._values.op

    @property
    def device(self) -> str:
        """The device of ``values``."""
        return self._values.device

    @property
    def graph(self) -> Graph:
        """The graph of ``values``."""
        return self._values.graph

    def consumers(self) -> list[Operation]:
        """The operations that take ``values``."""
        return self._values.consumers()

    def __neg__(self) -> IndexedSlices:
        return IndexedSlices(-self._values, self._indices, self._dense_shape)

    def __tensor__(self, graph: Graph, dtype: DType | None, name: str | None) -> Tensor:
        """The dense tensor: rows of equal index summed, zeros elsewhere."""
        if dtype is not None and dtype is not self.dtype:
            raise GraphTypeError(
                f"Tensor conversion requested dtype {dtype.name} for IndexedSlices "
                f"with dtype {self.dtype.name}."
            )
        if self._dense_shape is None:
            raise GraphError(
                "Tensor conversion requested for IndexedSlices for argument "
                f"{name or self.name!r} without dense_shape: {self}. Give it a "
                "dense_shape."
            )
        # As an operand of an op it is built in that op's scope.
        around = name.rstrip("/").rpartition("/")[0] if name and name[-1] == "/" else ""
        with graph.name_scope(around + "/" if around else graph._here.scope):
            rows = self._dense_shape[0]
        dense = graph.apply(
            "UnsortedSegmentSum", self._values, self._indices, rows, name=name
        )
        dense.set_shape(self.shape)
        return dense

    def __parts__(self) -> tuple[list[Any], Any]:
        """The tensors that make it up, and how to make another of such."""
        return [self._values, self._indices, self._dense_shape], IndexedSlices

    def __str__(self) -> str:
        dense = (
            "" if self._dense_shape is None else f", dense_shape={self._dense_shape}"
        )
        return f"IndexedSlices(indices={self._indices}, values={self._values}{dense})"

    __repr__ = __str__


def densify(value: Any) -> Any:
    """The dense tensor of an IndexedSlices; anything else as it is."""
    if isinstance(value, IndexedSlices):
        return value.graph.convert(value)
    return value
