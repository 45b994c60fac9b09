"""Segment sums of rows that indices pick: sparse_segment_sum and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpugrad import dtypes
from gpugrad.graph.build import apply_op, convert_to_tensor, name_scope
from gpugrad.graph.tensor import Tensor
from gpugrad.ops.gather import gather
from gpugrad.ops.static import rank_of, shape_of


def _segments(
    kind: str, text: str
) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """TensorFlow 1's function, and 2's, which has its arguments in another order."""

    def function(
        data: Any,
        indices: Any,
        segment_ids: Any,
        name: str | None = None,
        num_segments: Any = None,
        sparse_gradient: bool = False,
    ) -> Tensor:
        with name_scope(name, f"sparse_segment_{kind}", [data, indices, segment_ids]):
            data = convert_to_tensor(data, name="data")
            ids = convert_to_tensor(
                segment_ids, dtype_hint=dtypes.int32, name="segment_ids"
            )
            rows = gather(data, indices)
            if num_segments is None:
                total = apply_op("SegmentSum", rows, ids)
                count = shape_of(total)[0]
            else:
                count = num_segments
                total = apply_op("UnsortedSegmentSum", rows, ids, count)
            if kind == "sum":
                return total
            ones = apply_op("OnesLike", ids)
            number = apply_op("UnsortedSegmentSum", ones, ids, count)
            number = apply_op("Cast", apply_op("Maximum", number, 1), DstT=data.dtype)
            if kind == "sqrt_n":
                number = apply_op("Sqrt", number)
            around = apply_op("Fill", apply_op("Pack", [rank_of(total) - 1], axis=0), 1)
            column = apply_op("ConcatV2", [[-1], around], 0, name="concat")
            return total / apply_op("Reshape", number, column)

    def function_v2(
        data: Any,
        indices: Any,
        segment_ids: Any,
        num_segments: Any = None,
        name: str | None = None,
        sparse_gradient: bool = False,
    ) -> Tensor:
        return function(data, indices, segment_ids, name, num_segments, sparse_gradient)

    for made in (function, function_v2):
        made.__name__ = made.__qualname__ = f"sparse_segment_{kind}"
        made.__doc__ = text
    return function, function_v2


_SHAPES = """

    Shapes:  data [rows, ...], indices and segment_ids [n]; the result [segments, ...].
    ``segment_ids`` are sorted; with ``num_segments`` they may leave segments out at
    the end, which are 0. The gradient of data is IndexedSlices, whatever
    ``sparse_gradient`` says.
    """
sparse_segment_sum, sparse_segment_sum_v2 = _segments(
    "sum", f"The sums of the rows ``data[indices]`` that share a segment.{_SHAPES}"
)
sparse_segment_mean, sparse_segment_mean_v2 = _segments(
    "mean", f"The means of the rows ``data[indices]`` that share a segment.{_SHAPES}"
)
sparse_segment_sqrt_n, sparse_segment_sqrt_n_v2 = _segments(
    "sqrt_n",
    f"Sums of ``data[indices]`` by segment, over the square root of how many.{_SHAPES}",
)
