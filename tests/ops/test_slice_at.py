"""Slices whose place only the run knows: one compilation for all places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gpugrad.compat.v1 as tf
from gpugrad.compiler.lower import lower_stage
from gpugrad.kir.program import Call
from gpugrad.runtime import plan

X = np.arange(60.0).reshape(3, 4, 5) ** 1.5


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is compiled, stage by stage."""
    made: list[Any] = []

    def counted(*arguments: Any) -> Any:
        stage = lower_stage(*arguments)
        made.append(stage)
        return stage

    monkeypatch.setattr(plan, "lower_stage", counted)
    return made


PARTS: dict[str, Callable[..., Any]] = {
    "first axis": lambda x, i, j: x[i],
    "two axes": lambda x, i, j: x[i, j],
    "middle axis": lambda x, i, j: x[:, i],
    "last axis": lambda x, i, j: x[..., j],
    "apart": lambda x, i, j: x[i, :, j],
    "with a range": lambda x, i, j: x[i, 1:3],
    "backwards": lambda x, i, j: x[::-1, j, 3:0:-2],
    "new axes": lambda x, i, j: x[None, i, None, ..., j, None],
}
VARIANTS = ([3, 4, 5], [None, 4, None], [None, None, None], None)


def check_places(
    dims: Any, part: Any, numpy_part: Any, derivatives: bool, stages: list[Any]
) -> None:
    """All places with the stages of the first; the value, slope and curvature."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, dims)
        i, j = (tf.placeholder(t, []) for t in (tf.int32, tf.int64))
        y = part(x, i, j)
        slope = tf.gradients(y**3, x)[0]
        curvature = tf.gradients(slope, x)[0]
        fetches = [y, slope, curvature] if derivatives else [y]
        count = None
        for a, b in [(0, 1), (2, 0), (1, 2)]:
            found = session.run(fetches, {x: X, i: a, j: b})
            count = count or len(stages)
            where = np.zeros(X.shape)
            chosen = np.arange(X.size).reshape(X.shape)
            where.reshape(-1)[numpy_part(chosen, a, b)] = 1
            wanted = [numpy_part(X, a, b), 3 * where * X**2, 6 * where * X]
            for one, other in zip(found, wanted):
                np.testing.assert_allclose(one, other, rtol=1e-12)
        assert len(stages) == count


@pytest.mark.parametrize("dims", VARIANTS, ids=str)
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_indices(part: Any, dims: Any, stages: Any) -> None:
    check_places(dims, part, part, True, stages)


@pytest.mark.parametrize("dims", VARIANTS, ids=str)
@pytest.mark.parametrize("size", [[1, 2, 3], [0, 3, 1]], ids=str)
def test_slices(size: Any, dims: Any, stages: Any) -> None:
    """Their gradients are Pads, of which the static shape has to tell the size."""
    p, q, r = size

    def part(x: Any, i: Any, j: Any) -> Any:
        return tf.slice(x, [tf.cast(i, tf.int64), 1, j], size)

    def numpy_part(x: Any, i: Any, j: Any) -> Any:
        return x[i : i + p, 1 : 1 + q, j : j + r]

    check_places(dims, part, numpy_part, dims == [3, 4, 5], stages)


@pytest.mark.parametrize("dtype", [tf.int16, tf.int32, tf.int64])
def test_negative_indices(dtype: Any) -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float64, [None, 4, 5])
        i = tf.placeholder(dtype, [])
        parts = [x[i], x[1, i], x[:, :, i]]
        slopes = tf.gradients(parts, x)
        with tf.Session() as session:
            *found, slope = session.run(parts + slopes, {x: X, i: -2})
    for one, other in zip(found, [X[-2], X[1, -2], X[:, :, -2]]):
        np.testing.assert_array_equal(one, other)
    wanted = np.zeros(X.shape)
    wanted[-2] += 1
    wanted[1, -2] += 1
    wanted[:, :, -2] += 1
    np.testing.assert_array_equal(slope, wanted)


@pytest.mark.parametrize("shape", [[3, 4, 5], None])
@pytest.mark.parametrize(
    ("part", "message"),
    [
        (lambda x, i: x[i], "slice index 7 of dimension 0 out of bounds"),
        (lambda x, i: x[1, i - 13], "slice index -6 of dimension 1 out of bounds"),
        (lambda x, i: x[..., i], "slice index 7 of dimension 2 out of bounds"),
        (lambda x, i: tf.slice(x, [0, i, 0], [1, 1, 1]),
         r"Expected begin\[1\] in \[0, 4\], but got 7"),
        (lambda x, i: tf.slice(x, [0, 0, i - 4], [1, 1, 3]),
         r"Expected size\[2\] in \[0, 2\], but got 3"),
        (lambda x, i: tf.slice(x, [0, 0, i - 8], [1, 1, 3]),
         r"Expected begin\[2\] in \[0, 5\], but got -1"),
    ],
)  # fmt: skip
def test_out_of_range(part: Any, message: str, shape: Any) -> None:
    """An error that names the op; the next run is none the worse for it."""
    with tf.Graph().as_default():
        x, i = tf.placeholder(tf.float64, shape), tf.placeholder(tf.int32, [])
        counter = tf.Variable(0)
        with tf.control_dependencies([tf.assign_add(counter, 1)]):
            y = part(tf.identity(x), i)
        with tf.Session() as session:
            session.run(counter.initializer)
            with pytest.raises(tf.errors.InvalidArgumentError, match=message) as error:
                session.run(y, {x: X, i: 7})
            assert error.value.op is y.op
            assert session.run(counter) == 0
            session.run(tf.identity(x)[i], {x: X, i: 2})


def test_an_axis_without_elements() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x, i = tf.placeholder(tf.float64, None), tf.placeholder(tf.int32, [])
        with pytest.raises(tf.errors.InvalidArgumentError, match="at most 0"):
            session.run(x[i], {x: np.zeros((0, 2)), i: 0})


def test_a_size_that_the_run_decides_is_still_right(stages: Any) -> None:
    """``x[i:j]`` has another shape for other values: each is compiled."""
    with tf.Graph().as_default(), tf.Session() as session:
        x, i = tf.placeholder(tf.float64, [None]), tf.placeholder(tf.int32, [])
        y, slope = x[i : i + 2], tf.gradients(x[i : i + 2] ** 2, x)[0]
        for at in (0, 2, -3, -9, 4):
            found = session.run([y, slope], {x: X[0, 0], i: at})
            np.testing.assert_array_equal(found[0], X[0, 0][at : at + 2])
            wanted = np.zeros(5)
            wanted[at : at + 2] = 2 * X[0, 0][at : at + 2]
            np.testing.assert_array_equal(found[1], wanted)


def test_a_promised_size_is_kept(stages: Any) -> None:
    """What set_shape says of a range makes its size known; a lie is an error."""
    with tf.Graph().as_default(), tf.Session() as session:
        x, i = tf.placeholder(tf.float64, [5]), tf.placeholder(tf.int32, [])
        y = x[i : i + 2]
        y.set_shape([2])
        for at in (0, 2, 3, -4):
            found = session.run(y, {x: X[0, 0], i: at})
            np.testing.assert_array_equal(found, X[0, 0][at : at + 2])
        assert len(stages) == 1
        with pytest.raises(tf.errors.InvalidArgumentError, match="Expected 2 elements"):
            session.run(y, {x: X[0, 0], i: 4})


def test_a_shape_that_is_looked_up() -> None:
    """What is read at a place may decide a shape: then the stage ends after it."""
    with tf.Graph().as_default(), tf.Session() as session:
        x, i = tf.placeholder(tf.float64, None), tf.placeholder(tf.int32, [])
        y = tf.ones([tf.shape(x)[i]])
        for at in range(3):
            assert session.run(y, {x: X, i: at}).shape == (X.shape[at],)


def test_strings_and_booleans() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        i = tf.placeholder(tf.int32, [])
        names = tf.constant([["a", "b"], ["c", "d"]])
        assert session.run(names[i, 1 - i], {i: 1}) == b"c"
        assert not session.run(tf.constant([True, False])[i], {i: 1})


def run_loop(body: Callable[..., Any], x: Any, count: int, state: Any) -> Any:
    return tf.while_loop(
        lambda i, y: i < count, lambda i, y: (i + 1, body(x, i, y)), (0, state)
    )[1]


LOOPS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "rows": (lambda x, i, y: 0.5 * y + x[i] ** 2, lambda x, i: x[i]),
    "columns": (lambda x, i, y: 0.5 * y + x[:, i] ** 2, lambda x, i: x[:, i]),
    "slices": (
        lambda x, i, y: 0.5 * y + tf.slice(x, [i, 0], [1, 2])[0] ** 2,
        lambda x, i: x[i, :2],
    ),
    "neighbours": (
        lambda x, i, y: 0.5 * y + (x[i] + x[i - 1]) ** 2,
        lambda x, i: x[i] + x[i - 1],
    ),
    "parts of rows": (
        lambda x, i, y: 0.5 * y + x[i, 1:, None] ** 2,
        lambda x, i: x[i, 1:, None],
    ),
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "partly"])
def test_loops_compile_once(name: str, static: bool, stages: Any) -> None:
    """2,000 iterations, forwards, back, and back again, in a handful of stages."""
    body, read = LOOPS[name]
    count, rng = 2000, np.random.default_rng(3)
    shape = (2, count) if name == "columns" else (count, 2)
    value = rng.standard_normal(shape)
    where = np.arange(value.size).reshape(shape)
    known = static or name == "slices"  # whose gradient is a Pad
    dims = shape if known else [None if n == count else n for n in shape]
    first = np.zeros(np.shape(read(value, 0)))
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, dims)
        y = run_loop(body, x, count, tf.constant(first))
        slope = tf.gradients(y, x)[0]
        curvature = tf.gradients(slope**2, x)[0]
        assert slope.shape.as_list() == list(dims)
        got, got_slope, got_curvature = session.run([y, slope, curvature], {x: value})
    wanted, wanted_slope, weights = first, np.zeros(shape), np.zeros(shape)
    for i in range(count):
        wanted = 0.5 * wanted + read(value, i) ** 2
        weight = 2 * 0.5 ** (count - 1 - i)
        for place in (i, i - 1) if name == "neighbours" else (i,):
            which = read(where, i) if name != "neighbours" else where[place]
            weights.reshape(-1)[which] += weight
            wanted_slope.reshape(-1)[which] += weight * read(value, i)
    np.testing.assert_allclose(got, wanted, rtol=1e-9)
    np.testing.assert_allclose(got_slope, wanted_slope, rtol=1e-9, atol=1e-12)
    if name != "neighbours":
        wanted_curvature = 2 * weights * wanted_slope
        np.testing.assert_allclose(
            got_curvature, wanted_curvature, rtol=1e-9, atol=1e-12
        )
    assert len(stages) < 30
    # Where the rows of all iterations are kept, none makes zeros of the size of x.
    whole = "put_at" in calls(stages)
    assert whole == (name in ("slices", "parts of rows"))


def calls(stages: list[Any]) -> set[str]:
    """The names of the library calls of all stages."""
    steps = [step for stage in stages for step in stage.program.steps]
    return {step.name for step in steps if isinstance(step, Call)}
