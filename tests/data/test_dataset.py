"""Datasets and their iterators."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf

Dataset = tf.data.Dataset


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as fresh:
        yield fresh


def drain(element: Any, session: Any) -> list[Any]:
    """All values until the end, which comes again and again."""
    found = []
    with pytest.raises(tf.errors.OutOfRangeError, match="End of sequence"):
        while True:
            found.append(session.run(element))
    with pytest.raises(tf.errors.OutOfRangeError):
        session.run(element)
    return found


def values(dataset: Any) -> list[Any]:
    element = tf.data.make_one_shot_iterator(dataset).get_next()
    with tf.Session() as session:
        return [np.asarray(v).tolist() for v in drain(element, session)]


# --- what comes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "wanted"),
    [
        (lambda: Dataset.range(3), [0, 1, 2]),
        (lambda: Dataset.range(5, 0, -2), [5, 3, 1]),
        (lambda: Dataset.from_tensors([1, 2]), [[1, 2]]),
        (lambda: Dataset.from_tensor_slices([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (lambda: Dataset.range(5).batch(2), [[0, 1], [2, 3], [4]]),
        (lambda: Dataset.range(5).batch(2, drop_remainder=True), [[0, 1], [2, 3]]),
        (lambda: Dataset.range(2).repeat(2), [0, 1, 0, 1]),
        (lambda: Dataset.range(2).repeat(0), []),
        (lambda: Dataset.range(2).repeat().take(5), [0, 1, 0, 1, 0]),
        (lambda: Dataset.range(0).repeat(), []),
        (lambda: Dataset.range(5).skip(3), [3, 4]),
        (lambda: Dataset.range(5).skip(-1), []),
        (lambda: Dataset.range(2).take(-1), [0, 1]),
        (lambda: Dataset.range(2).concatenate(Dataset.range(7, 8)), [0, 1, 7]),
        (lambda: Dataset.range(4).map(lambda x: x * x + 1), [1, 2, 5, 10]),
        (lambda: Dataset.range(5).filter(lambda x: tf.equal(x % 2, 0)), [0, 2, 4]),
        (lambda: Dataset.range(5).prefetch(2), [0, 1, 2, 3, 4]),
        (lambda: Dataset.range(5).prefetch(-1).prefetch(0), [0, 1, 2, 3, 4]),
        (lambda: Dataset.range(3).cache().repeat(2), [0, 1, 2, 0, 1, 2]),
        (lambda: Dataset.range(2).apply(lambda d: d.repeat(2)), [0, 1, 0, 1]),
        (lambda: Dataset.from_tensor_slices(["a", "b"]).batch(2), [[b"a", b"b"]]),
    ],
)
def test_elements(make: Any, wanted: Any) -> None:
    assert values(make()) == wanted


def test_structures() -> None:
    Pair = collections.namedtuple("Pair", "a b")
    source = {"x": np.arange(4.0), "y": (np.arange(4), np.ones((4, 2), np.float32))}
    dataset = Dataset.from_tensor_slices(source).batch(3)
    assert dataset.output_types == {"x": tf.float64, "y": (tf.int64, tf.float32)}
    assert dataset.output_shapes["y"][1].as_list() == [None, 2]
    assert dataset.output_classes["x"] is tf.Tensor
    element = dataset.make_one_shot_iterator().get_next()
    assert element["x"].shape.as_list() == [None] and element["y"][0].dtype is tf.int64
    with tf.Session() as session:
        first = session.run(element)
    assert first["x"].tolist() == [0, 1, 2] and first["y"][1].shape == (3, 2)
    pairs = Dataset.zip(Pair(Dataset.range(5), Dataset.range(10, 13)))
    pair = pairs.make_one_shot_iterator().get_next()
    assert isinstance(pair, Pair)
    with tf.Session() as session:
        found = drain(pair, session)
    assert [(p.a, p.b) for p in found] == [(0, 10), (1, 11), (2, 12)]
    both = pairs.map(lambda p: (p.a + p.b, {"n": p.a}))
    assert both.output_types == (tf.int64, {"n": tf.int64})
    (total, rest) = both.make_one_shot_iterator().get_next()
    with tf.Session() as session:
        assert session.run([total, rest["n"]]) == [10, 0]


def test_the_caller_may_change_the_array_afterwards() -> None:
    array = np.arange(3)
    dataset = Dataset.from_tensor_slices(array)
    array[:] = 9
    assert values(dataset) == [0, 1, 2]


def test_generators() -> None:
    def pairs(stop: int) -> Iterator[Any]:
        for n in range(stop):
            yield n, [float(n)] * n

    dataset = Dataset.from_generator(
        pairs,
        (tf.int32, tf.float32),
        (tf.TensorShape([]), tf.TensorShape([None])),
        (3,),
    )
    assert dataset.output_shapes[1].as_list() == [None]
    n, row = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as session:
        found = drain([n, tf.reduce_sum(row)], session)
    assert found == [[0, 0.0], [1, 1.0], [2, 4.0]]
    single = Dataset.from_generator(lambda: iter([1, 2]), tf.int64, [])
    assert values(single) == [1, 2]
    for wrong, text in (
        (Dataset.from_generator(lambda: iter([1.5]), tf.int64), "not int64"),
        (Dataset.from_generator(lambda: iter([[1]]), tf.int64, []), "of shape"),
        (Dataset.from_generator(lambda: iter([(1,)]), (tf.int64, tf.int64)), "1 val"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=text):
            values(wrong)


# --- shuffling ------------------------------------------------------------------------


def test_shuffle() -> None:
    once = values(Dataset.range(50).shuffle(10, seed=3))
    assert sorted(once) == list(range(50)) and once != list(range(50))
    assert once == values(Dataset.range(50).shuffle(10, seed=3))
    assert once != values(Dataset.range(50).shuffle(10, seed=4))
    assert all(place >= value - 9 for place, value in enumerate(once))
    assert values(Dataset.range(5).shuffle(1)) == list(range(5))
    twice = values(Dataset.range(50).shuffle(50, seed=3).repeat(2))
    assert sorted(twice[:50]) == list(range(50)) and twice[:50] != twice[50:]
    same = Dataset.range(50).shuffle(50, seed=3, reshuffle_each_iteration=False)
    both = values(same.repeat(2))
    assert both[:50] == both[50:]
    tf.set_random_seed(5)
    assert values(Dataset.range(20).shuffle(20)) == values(
        Dataset.range(20).shuffle(20)
    )


# --- iterators ------------------------------------------------------------------------


def test_placeholders_are_fed_to_the_initializer() -> None:
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.placeholder(tf.int32, [None])
    dataset = Dataset.from_tensor_slices((x, y)).batch(2)
    with pytest.raises(ValueError, match="make_initializable_iterator"):
        dataset.make_one_shot_iterator()
    iterator = dataset.make_initializable_iterator()
    a, b = iterator.get_next()
    assert a.shape.as_list() == [None, 2]
    with tf.Session() as session:
        with pytest.raises(tf.errors.FailedPreconditionError, match="initializer"):
            session.run(a)
        for rows in (3, 1):
            array = np.full((rows, 2), rows, np.float32)
            session.run(iterator.initializer, {x: array, y: np.arange(rows)})
            array[:] = -1.0
            found = drain([tf.reduce_sum(a), b], session)
            assert sum(v for v, _ in found) == rows * rows * 2
        with pytest.raises(tf.errors.InvalidArgumentError, match="numbers of rows"):
            session.run(iterator.initializer, {x: np.zeros((2, 2)), y: [1]})
            session.run(a)


def test_one_iterator_for_two_datasets() -> None:
    train, test = Dataset.range(3), Dataset.range(10, 12)
    iterator = tf.data.Iterator.from_structure(train.output_types, train.output_shapes)
    element = iterator.get_next()
    starts = iterator.make_initializer(train), iterator.make_initializer(test)
    with tf.Session() as session:
        for start, wanted in zip(starts, ([0, 1, 2], [10, 11])):
            session.run(start)
            assert drain(element, session) == wanted
    with pytest.raises(TypeError, match="Expected output types"):
        iterator.make_initializer(Dataset.from_tensors(1.0))
    with pytest.raises(ValueError, match="has no initializer"):
        _ = iterator.initializer


def test_training_on_a_dataset() -> None:
    rng = np.random.default_rng(0)
    xs = rng.standard_normal((64, 3)).astype(np.float32)
    ys = xs @ np.array([1.0, -2.0, 0.5], np.float32)
    dataset = Dataset.from_tensor_slices((xs, ys)).shuffle(64, seed=1).repeat(40)
    x, y = dataset.batch(16).prefetch(2).make_one_shot_iterator().get_next()
    w = tf.get_variable("w", initializer=np.zeros((3, 1), np.float32))
    loss = tf.reduce_mean(tf.square(tf.squeeze(tf.matmul(x, w), [1]) - y))
    step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        steps = drain([step, loss], session)
        found = session.run(w)
    assert len(steps) == 160
    np.testing.assert_allclose(found[:, 0], [1.0, -2.0, 0.5], atol=1e-3)


def test_threads_share_an_iterator() -> None:
    element = Dataset.range(200).make_one_shot_iterator().get_next()

    def work(_: int) -> list[int]:
        with tf.Session(graph=element.graph) as session:
            return [session.run(element) for _ in range(50)]

    with ThreadPoolExecutor() as pool:
        found = [v for part in pool.map(work, range(4)) for v in part]
    assert sorted(found) == list(range(200))


def test_prefetch_works_ahead_and_its_thread_ends() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for n in range(100):
            made.append(n)
            yield n

    dataset = Dataset.from_generator(numbers, tf.int64, []).prefetch(3)
    iterator = dataset.make_initializable_iterator()
    element = iterator.get_next()
    with tf.Session() as session:
        session.run(iterator.initializer)
        assert session.run(element) == 0
        until = time.monotonic() + 10.0
        while len(made) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(made) == 5  # one taken, three wait, one in the hand
        session.run(iterator.initializer)  # gives up the first thread
        assert session.run(element) == 0
        session.run(tf.data.Iterator.from_structure(tf.int64).make_initializer(dataset))
    iterator._state._source.close()
    until = time.monotonic() + 10.0
    while _prefetching() and time.monotonic() < until:
        time.sleep(0.05)
    assert not _prefetching()


def _prefetching() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "gpugrad prefetch"]


def test_an_error_ahead_comes_where_it_is_read() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise ValueError("broken file")

    dataset = Dataset.from_generator(numbers, tf.int64, []).prefetch(2)
    element = dataset.make_one_shot_iterator().get_next()
    with tf.Session() as session:
        assert session.run(element) == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="broken file"):
            session.run(element)


# --- errors ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: Dataset.from_tensor_slices(1.0), ValueError, "rank >= 1"),
        (
            lambda: Dataset.from_tensor_slices(([1, 2], [1])),
            ValueError,
            "different numbers of rows",
        ),
        (lambda: Dataset.range(3).batch(0), ValueError, "greater than zero"),
        (
            lambda: Dataset.range(3).batch(tf.placeholder(tf.int64)),
            TypeError,
            "known now",
        ),
        (
            lambda: Dataset.range(3).concatenate(Dataset.from_tensors(1.0)),
            TypeError,
            "different types",
        ),
        (lambda: Dataset.range(3).filter(lambda x: x), ValueError, "scalar boolean"),
        (lambda: Dataset.from_generator([1], tf.int64), TypeError, "be a callable"),
        (lambda: Dataset.range(3).cache("file"), ValueError, "in memory only"),
        (
            lambda: values(Dataset.from_generator(lambda: ([0] * n for n in (1, 2)),
                                                tf.int64).batch(2)),
            tf.errors.InvalidArgumentError,
            "Cannot batch tensors with different shapes",
        ),
    ],
)  # fmt: skip
def test_errors(call: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        call()
