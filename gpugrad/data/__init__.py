"""Input pipelines: tf.data's basics, worked on the host ahead of the step."""

from gpugrad.data.dataset import Dataset
from gpugrad.data.iterator import (
    Iterator,
    get_output_shapes,
    get_output_types,
    make_initializable_iterator,
    make_one_shot_iterator,
)

__all__ = [
    "Dataset",
    "Iterator",
    "get_output_shapes",
    "get_output_types",
    "make_initializable_iterator",
    "make_one_shot_iterator",
]
