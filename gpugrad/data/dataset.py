"""Dataset: where elements come from, and what is done to them on the way."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from gpugrad import dtypes
from gpugrad.data import elements
from gpugrad.data.elements import Elements, Pass, Spec
from gpugrad.data.iterator import (
    Iterator as DatasetIterator,
)
from gpugrad.data.iterator import make_initializable_iterator, make_one_shot_iterator
from gpugrad.errors import InvalidArgumentError
from gpugrad.graph import build, constant, nest
from gpugrad.graph.graph import Graph
from gpugrad.graph.tensor import Tensor
from gpugrad.runtime.session import ConfigProto, Session

Element = list[np.ndarray]
_END: Final = object()


_Begin = Callable[[Pass], Iterator[Element]]


class Dataset:
    """A sequence of elements: structures (tuples, dicts) of arrays of one dtype each.

    A dataset is a description; an iterator over it runs it on the host, in Python and
    NumPy, one element after the other. ``output_types`` and ``output_shapes`` are what
    is known of the elements.
    """

    def __init__(
        self, begin: _Begin, kind: Elements, tensors: Sequence[Tensor]
    ) -> None:
        self._begin = begin
        self._kind = kind
        # Graph tensors whose values an initializer has to give.
        self._tensors = list(tensors)

    @property
    def output_types(self) -> Any:
        """The dtypes, in the structure of an element."""
        return self._kind.types

    @property
    def output_shapes(self) -> Any:
        """The static shapes, in the structure of an element."""
        return self._kind.shapes

    @property
    def output_classes(self) -> Any:
        """Tensor, in the structure of an element."""
        return self._kind.rebuild([Tensor] * len(self._kind.specs))

    def __repr__(self) -> str:
        return f"<Dataset shapes: {self.output_shapes}, types: {self.output_types}>"

    # --- sources ----------------------------------------------------------------------

    @staticmethod
    def from_tensors(tensors: Any, name: str | None = None) -> Dataset:
        """One element: ``tensors`` as they are."""
        leaves, rebuild = _leaves(tensors)
        kind = Elements([elements.spec_of(leaf) for leaf in leaves], rebuild)

        def begin(run: Pass) -> Iterator[Element]:
            yield [_value(leaf, run) for leaf in leaves]

        return Dataset(begin, kind, _tensors(leaves))

    @staticmethod
    def from_tensor_slices(tensors: Any, name: str | None = None) -> Dataset:
        """One element a row of ``tensors``, which all have as many rows.

        With graph tensors (placeholders) the values are given when the iterator's
        initializer runs. ValueError for scalars and different numbers of rows.
        """
        leaves, rebuild = _leaves(tensors)
        specs = []
        for leaf in leaves:
            dtype, shape = elements.spec_of(leaf)
            if shape == ():
                raise ValueError("Unbatching a tensor is only supported for rank >= 1")
            specs.append(Spec(dtype, None if shape is None else shape[1:]))

        def begin(run: Pass) -> Iterator[Element]:
            arrays = [_value(leaf, run) for leaf in leaves]
            _same_length(arrays)
            for index in range(len(arrays[0])):
                yield [np.asarray(a[index], a.dtype) for a in arrays]

        if not _tensors(leaves):
            _same_length(leaves)
        return Dataset(begin, Elements(specs, rebuild), _tensors(leaves))

    @staticmethod
    def from_generator(
        generator: Callable[..., Any],
        output_types: Any,
        output_shapes: Any = None,
        args: Sequence[Any] | None = None,
        name: str | None = None,
    ) -> Dataset:
        """What ``generator(*args)``, called anew for each pass, gives."""
        if not callable(generator):
            raise TypeError("`generator` must be a callable.")
        types, rebuild = nest.flatten(output_types)
        kinds = [dtypes.as_dtype(t) for t in types]
        known = (
            [None] * len(kinds)
            if output_shapes is None
            else elements.flat_shapes(output_shapes)
        )
        specs = [Spec(dtype, shape) for dtype, shape in zip(kinds, known, strict=True)]
        given = tuple(args or ())

        def begin(run: Pass) -> Iterator[Element]:
            for value in generator(*given):
                parts = [value] if len(specs) == 1 else elements.flat(value)[0]
                if len(specs) == 1 and isinstance(value, tuple):
                    parts = list(value)
                if len(parts) != len(specs):
                    raise InvalidArgumentError(
                        None,
                        None,
                        f"The generator gave {len(parts)} values, not {len(specs)}.",
                    )
                yield [
                    elements.checked(part, spec, "The generator")
                    for part, spec in zip(parts, specs)
                ]

        return Dataset(begin, Elements(specs, rebuild), ())

    @staticmethod
    def range(*args: int, **kwargs: Any) -> Dataset:
        """Whole numbers (int64), as Python's range gives them."""
        numbers = range(*[int(a) for a in args])

        def begin(run: Pass) -> Iterator[Element]:
            for number in numbers:
                yield [np.array(number, np.int64)]

        return Dataset(begin, elements.one(Spec(dtypes.int64, ())), ())

    @staticmethod
    def zip(datasets: Any, name: str | None = None) -> Dataset:
        """Elements of several datasets side by side, as long as all have some."""
        parts, rebuild = nest.flatten(datasets)
        sizes = [len(d._kind.specs) for d in parts]

        def put_together(leaves: Sequence[Any]) -> Any:
            groups, start = [], 0
            for dataset, size in zip(parts, sizes):
                groups.append(dataset._kind.rebuild(leaves[start : start + size]))
                start += size
            return rebuild(groups)

        def begin(run: Pass) -> Iterator[Element]:
            for row in zip(*[d._begin(run) for d in parts]):
                yield [array for element in row for array in element]

        specs = [spec for d in parts for spec in d._kind.specs]
        return Dataset(begin, Elements(specs, put_together), _union(parts))

    # --- on the way -------------------------------------------------------------------

    def _changed(self, begin: _Begin, kind: Elements | None = None) -> Dataset:
        return Dataset(begin, kind or self._kind, self._tensors)

    def batch(
        self,
        batch_size: int,
        drop_remainder: bool = False,
        num_parallel_calls: Any = None,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """``batch_size`` elements as one, along a new first axis; the last batch is
        smaller unless ``drop_remainder``.
        """
        size = _positive(batch_size, "batch_size")
        first = size if drop_remainder else None
        kind = self._with_axis(first)

        def begin(run: Pass) -> Iterator[Element]:
            source = self._begin(run)
            while rows := list(itertools.islice(source, size)):
                if len(rows) == size or not drop_remainder:
                    yield elements.stacked(rows)

        return self._changed(begin, kind)

    def _with_axis(self, size: int | None) -> Elements:
        specs = [
            Spec(dtype, None if shape is None else (size, *shape))
            for dtype, shape in self._kind.specs
        ]
        return Elements(specs, self._kind.rebuild)

    def shuffle(
        self,
        buffer_size: int,
        seed: int | None = None,
        reshuffle_each_iteration: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """Elements in random order: each drawn from the next ``buffer_size``.

        With ``seed`` (or one of the graph) the order is the same in every process, and,
        unless ``reshuffle_each_iteration`` is False, another in every repetition. The
        order is not TensorFlow's.
        """
        size = _positive(buffer_size, "buffer_size")
        if seed is None:
            seed = build.get_default_graph().seed
        first = np.random.SeedSequence(seed)
        again = reshuffle_each_iteration is not False

        def begin(run: Pass) -> Iterator[Element]:
            repetition = run.count(begin) if again else 0
            key = np.append(first.generate_state(4), np.uint32(repetition))
            rng = np.random.default_rng(key)
            source = self._begin(run)
            held = list(itertools.islice(source, size))
            for element in source:
                place = rng.integers(len(held))
                yield held[place]
                held[place] = element
            rng.shuffle(held)
            yield from held

        return self._changed(begin)

    def repeat(self, count: int | None = None, name: str | None = None) -> Dataset:
        """The elements ``count`` times over; without end for None or -1."""
        endless = count is None or count < 0

        def begin(run: Pass) -> Iterator[Element]:
            done = 0
            while endless or done < (count or 0):
                empty = True
                for element in self._begin(run):
                    empty = False
                    yield element
                if empty:
                    return  # an endless repetition of nothing ends
                done += 1

        return self._changed(begin)

    def take(self, count: int, name: str | None = None) -> Dataset:
        """The first ``count`` elements; all for -1."""
        stop = None if count < 0 else int(count)
        return self._changed(lambda run: itertools.islice(self._begin(run), stop))

    def skip(self, count: int, name: str | None = None) -> Dataset:
        """All but the first ``count`` elements; none for -1."""
        if count < 0:
            return self.take(0)
        start = int(count)
        return self._changed(
            lambda run: itertools.islice(self._begin(run), start, None)
        )

    def concatenate(self, dataset: Dataset, name: str | None = None) -> Dataset:
        """These elements, then those of ``dataset``. TypeError for other dtypes."""
        if dataset.output_types != self.output_types:
            raise TypeError(
                f"Two datasets to concatenate have different types "
                f"{self.output_types} and {dataset.output_types}."
            )
        pairs = zip(self._kind.specs, dataset._kind.specs)
        specs = [Spec(a.dtype, a.shape if a == b else None) for a, b in pairs]

        def begin(run: Pass) -> Iterator[Element]:
            yield from self._begin(run)
            yield from dataset._begin(run)

        kind = Elements(specs, self._kind.rebuild)
        return Dataset(begin, kind, _union([self, dataset]))

    def cache(self, filename: str = "", name: str | None = None) -> Dataset:
        """Keep the elements of the first whole pass in memory."""
        if filename:
            raise ValueError("gpugrad caches in memory only: leave the filename out.")
        kept: list[Element] = []
        whole = False

        def begin(run: Pass) -> Iterator[Element]:
            nonlocal kept, whole
            if whole:
                yield from kept
                return
            seen: list[Element] = []
            for element in self._begin(run):
                seen.append(element)
                yield element
            kept, whole = seen, True

        return self._changed(begin)

    def prefetch(self, buffer_size: int, name: str | None = None) -> Dataset:
        """Work up to ``buffer_size`` elements ahead, in a thread of its own."""
        size = 1 if buffer_size < 0 else int(buffer_size)  # -1: as tf.data thinks best
        if size == 0:
            return self
        return self._changed(lambda run: _ahead(self._begin(run), size))

    def map(
        self,
        map_func: Callable[..., Any],
        num_parallel_calls: Any = None,
        deterministic: bool | None = None,
        name: str | None = None,
    ) -> Dataset:
        """``map_func`` of each element: a function of tensors, built once as a graph
        and run on the CPU. It takes a tuple's parts as arguments of its own, and cannot
        use tensors or variables of other graphs.
        """
        function = _Function(map_func, self._kind)

        def begin(run: Pass) -> Iterator[Element]:
            for element in self._begin(run):
                yield function(element)

        return self._changed(begin, function.kind)

    def filter(self, predicate: Callable[..., Any], name: str | None = None) -> Dataset:
        """The elements for which ``predicate``, a function as for map(), is true."""
        function = _Function(predicate, self._kind)
        if [spec.dtype for spec in function.kind.specs] != [dtypes.bool_]:
            raise ValueError("`predicate` return type must be one scalar boolean.")

        def begin(run: Pass) -> Iterator[Element]:
            return (e for e in self._begin(run) if bool(function(e)[0]))

        return self._changed(begin)

    def apply(self, transformation_func: Callable[[Dataset], Dataset]) -> Dataset:
        """``transformation_func`` of this dataset."""
        return transformation_func(self)

    # --- its elements in a graph ------------------------------------------------------

    def make_one_shot_iterator(self) -> DatasetIterator:
        """An iterator that goes through the dataset once, without an initializer."""
        return make_one_shot_iterator(self)

    def make_initializable_iterator(
        self, shared_name: str | None = None
    ) -> DatasetIterator:
        """An iterator that starts, and starts again, when its initializer is run."""
        return make_initializable_iterator(self)


class _Function:
    """A function of elements: a graph of its own, and a session that runs it."""

    def __init__(self, function: Callable[..., Any], kind: Elements) -> None:
        graph = Graph()
        with graph.as_default():
            inputs = [
                graph.apply("Placeholder", dtype=s.dtype, shape=s.shape)
                for s in kind.specs
            ]
            argument = kind.rebuild(inputs)
            spread = isinstance(argument, tuple) and not hasattr(argument, "_fields")
            result = function(*argument) if spread else function(argument)
            leaves, rebuild = elements.flat(
                tuple(result) if isinstance(result, list) else result
            )
            outputs = [graph.convert(leaf) for leaf in leaves]
        self.kind = Elements([elements.spec_of(t) for t in outputs], rebuild)
        session = Session(graph=graph, config=ConfigProto(backend="numpy"))
        self._run = session.make_callable(outputs, inputs)

    def __call__(self, element: Element) -> Element:
        return [np.asarray(array) for array in self._run(*element)]


def _ahead(source: Iterator[Element], size: int) -> Iterator[Element]:
    """What ``source`` gives, read by a thread that is up to ``size`` elements ahead.

    The thread ends with the source, or soon after nobody wants its elements any more.
    """
    made: queue.Queue[Any] = queue.Queue(size)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for element in source:
                if not put((element, None)):
                    return
            put((_END, None))
        except Exception as error:  # noqa: BLE001 - it is raised where it is read
            put((_END, error))

    thread = threading.Thread(target=work, name="gpugrad prefetch", daemon=True)
    thread.start()
    try:
        while True:
            element, error = made.get()
            if error is not None:
                raise error
            if element is _END:
                return
            yield element
    finally:
        stop.set()


# --- helpers --------------------------------------------------------------------------


def _leaves(tensors: Any) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """Graph tensors and arrays, copies of the caller's."""
    leaves, rebuild = elements.flat(tensors)
    found = []
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            leaf = constant.to_array(leaf).copy()
        found.append(leaf)
    return found, rebuild


def _tensors(leaves: Sequence[Any]) -> list[Tensor]:
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _value(leaf: Any, run: Pass) -> np.ndarray:
    return run.values[leaf] if isinstance(leaf, Tensor) else leaf


def _union(datasets: Sequence[Dataset]) -> list[Tensor]:
    return list(dict.fromkeys(t for d in datasets for t in d._tensors))


def _same_length(arrays: Sequence[np.ndarray]) -> None:
    if len({len(a) for a in arrays}) > 1:
        raise ValueError(
            "The components have different numbers of rows: "
            f"{[list(a.shape) for a in arrays]}."
        )


def _positive(value: Any, what: str) -> int:
    if isinstance(value, Tensor):
        raise TypeError(f"{what} must be a number that is known now, not {value!r}.")
    if int(value) <= 0:
        raise ValueError(f"{what} must be greater than zero, not {value}.")
    return int(value)
