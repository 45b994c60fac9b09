"""Iterator: a dataset's elements as tensors of a graph."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpugrad import dtypes
from gpugrad.data import elements
from gpugrad.data.elements import Elements, Pass, Spec
from gpugrad.errors import FailedPreconditionError, OutOfRangeError
from gpugrad.graph import build, nest
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

if TYPE_CHECKING:
    from gpugrad.data.dataset import Dataset

family = OpFamily()


class _State:
    """Where an iterator is. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._source: Any = None

    def start(self, dataset: Dataset, values: Sequence[np.ndarray]) -> None:
        """Begin a dataset anew."""
        given = {t: v.copy() for t, v in zip(dataset._tensors, values)}
        with self._lock:
            self._source = dataset._begin(Pass(given))

    def next(self) -> list[np.ndarray]:
        """The next element; OutOfRangeError at the end, and from then on."""
        with self._lock:
            if self._source is None:
                raise FailedPreconditionError(
                    None,
                    None,
                    "The iterator has not been initialized. Run its initializer.",
                )
            element: list[np.ndarray] | None = next(self._source, None)
        if element is None:
            raise OutOfRangeError(None, None, "End of sequence")
        return element


# --- MakeIterator ---------------------------------------------------------------------


def _make(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    site.attrs["state"].start(site.attrs["dataset"], arrays)
    return []


family.op(
    "MakeIterator",
    [Input("components", attr=None, number="N")],
    attrs={"state": ..., "dataset": ...},
    infer=lambda op: (),
    host=_make,
    stateful=True,
)

# --- IteratorGetNext ------------------------------------------------------------------


def _infer_next(op: Operation) -> Any:
    return tuple(zip(op.attrs["output_types"], op.attrs["output_shapes"]))


def _next(run: Any, site: Any, arrays: Sequence[Any]) -> list[np.ndarray]:
    return [array.copy() for array in site.attrs["state"].next()]


family.op(
    "IteratorGetNext",
    attrs={"state": ..., "output_types": ..., "output_shapes": ...},
    infer=_infer_next,
    host=_next,
    stateful=True,
)
family.no_gradient("MakeIterator", "IteratorGetNext")


class Iterator:
    """Gives a dataset's elements, one a run of get_next()'s tensors.

    Where it stands belongs to the iterator, not to a session: sessions that share an
    iterator share its elements. A run that fails has used up its element.
    """

    def __init__(self, dataset: Dataset | None, kind: Elements) -> None:
        self._state = _State()
        self._kind = kind
        self._initializer = None if dataset is None else self._start(dataset, None)

    def _start(self, dataset: Dataset, name: str | None) -> Operation:
        graph = build.graph_of(*dataset._tensors)
        op: Operation = graph.apply(
            "MakeIterator",
            dataset._tensors,
            name=name,
            state=self._state,
            dataset=dataset,
        )
        return op

    @staticmethod
    def from_structure(
        output_types: Any,
        output_shapes: Any = None,
        shared_name: str | None = None,
        output_classes: Any = None,
    ) -> Iterator:
        """An iterator without a dataset; make_initializer() gives it one."""
        types, rebuild = nest.flatten(output_types)
        shapes = [None] * len(types)
        if output_shapes is not None:
            shapes = elements.flat_shapes(output_shapes)
        specs = [
            Spec(dtypes.as_dtype(t), s) for t, s in zip(types, shapes, strict=True)
        ]
        return Iterator(None, Elements(specs, rebuild))

    def make_initializer(self, dataset: Dataset, name: str | None = None) -> Operation:
        """An op that begins ``dataset`` anew. TypeError for other dtypes."""
        if dataset.output_types != self.output_types:
            raise TypeError(
                f"Expected output types {self.output_types!r} but got dataset with "
                f"output types {dataset.output_types!r}."
            )
        return self._start(dataset, name)

    @property
    def initializer(self) -> Operation:
        """The op that begins the dataset anew; ValueError if there is none."""
        if self._initializer is None:
            raise ValueError(
                "This iterator has no initializer: it is a one-shot iterator, or one "
                "made by from_structure(), which takes make_initializer()."
            )
        return self._initializer

    def get_next(self, name: str | None = None) -> Any:
        """Tensors that are the next element in each run; OutOfRangeError at the end.

        Call it once, before the loop: every call adds an op.
        """
        found = build.get_default_graph().apply(
            "IteratorGetNext",
            name=name,
            state=self._state,
            output_types=[spec.dtype for spec in self._kind.specs],
            output_shapes=[spec.shape for spec in self._kind.specs],
        )
        return self._kind.rebuild(outputs(found))

    @property
    def output_types(self) -> Any:
        """The dtypes, in the structure of an element."""
        return self._kind.types

    @property
    def output_shapes(self) -> Any:
        """The static shapes, in the structure of an element."""
        return self._kind.shapes


def make_initializable_iterator(
    dataset: Dataset, shared_name: str | None = None
) -> Iterator:
    """An iterator that starts, and starts again, when its ``initializer`` is run."""
    return Iterator(dataset, dataset._kind)


def make_one_shot_iterator(dataset: Dataset) -> Iterator:
    """An iterator that goes through the dataset once, without an initializer.

    ValueError for a dataset that is made from tensors of a graph.
    """
    if dataset._tensors:
        raise ValueError(
            "Failed to create a one-shot iterator for a dataset: it is made from "
            f"{dataset._tensors}. Use make_initializable_iterator(dataset) instead."
        )
    iterator = Iterator(None, dataset._kind)
    iterator._state.start(dataset, ())
    return iterator


def get_output_types(dataset_or_iterator: Any) -> Any:
    """The dtypes of the elements, in their structure."""
    return dataset_or_iterator.output_types


def get_output_shapes(dataset_or_iterator: Any) -> Any:
    """The static shapes of the elements, in their structure."""
    return dataset_or_iterator.output_shapes
