"""What the NumPy backend promises beyond right numbers."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpugrad import dtypes
from gpugrad.backends.base import StepError
from gpugrad.backends.numpy.backend import NumpyBackend, NumpyExecutable
from gpugrad.backends.numpy.codegen import PART_LINES
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.builder import Builder, Handle
from gpugrad.kir.interpret import evaluate
from gpugrad.kir.program import Program
from gpugrad.kir.scalar import Load
from gpugrad.kir.space import View
from gpugrad.kir.verify import check_program
from tests.backends.programs import feed, finish

# --- errors ---------------------------------------------------------------------------


def _divide(builder: Builder, x: View, y: View, origin: str) -> View:
    builder.origin = origin
    return builder.map(scalar.floordiv, x, y)


@pytest.mark.parametrize("before", [0, 3, PART_LINES - 1, PART_LINES, 3 * PART_LINES])
def test_error_names_its_step(before: int) -> None:
    """Wherever the step is in the generated code, in one function or in several."""
    number = np.array([7], np.int32)
    builder = Builder()
    x, y = feed(builder, number), feed(builder, number)
    builder.origin = "harmless"
    z = x
    for _ in range(before):
        z = builder.map(lambda a: a + 1, z)
    z = _divide(builder, z, y, "the division")
    builder.origin = "later"
    for _ in range(PART_LINES):
        z = builder.map(lambda a: a + 1, z)
    executable = finish(builder, [x, y], [z])
    executable.run([number, number], [], 0)
    with pytest.raises(StepError, match="Integer division by zero") as caught:
        executable.run([number, 0 * number], [], 0)
    assert caught.value.origin == "the division"
    assert isinstance(caught.value.cause, ZeroDivisionError)


def test_error_in_a_call() -> None:
    def fail(xp: Any, outs: tuple[Any, ...], x: Any, depth: int) -> None:
        raise ValueError(f"no good: {depth}")

    values = np.ones(3)
    builder = Builder()
    x = feed(builder, values)
    builder.origin = "the call"
    (out,) = builder.call("fail", fail, [x], [(x.dtype, x.shape)], depth=4)
    builder.origin = None
    executable = finish(builder, [x], [out])
    with pytest.raises(StepError, match="no good: 4") as caught:
        executable.run([values], [], 0)
    assert caught.value.origin == "the call"


def test_negative_power_of_an_integer() -> None:
    values = np.array([2, -1], np.int32)
    builder = Builder()
    x = feed(builder, values)
    executable = finish(builder, [x], [builder.map(scalar.pow_, x, x)])
    with pytest.raises(StepError) as caught:
        executable.run([values], [], 0)
    assert isinstance(caught.value.cause, ValueError)


def test_error_outside_the_steps_is_not_a_step_error() -> None:
    values = np.ones(3)
    builder = Builder()
    x = feed(builder, values)
    executable = finish(builder, [x], [builder.map(scalar.exp, x)])
    with pytest.raises(ValueError, match="reshape"):
        executable.run([np.ones(4)], [], 0)


def _divided_by(divisor: int) -> NumpyExecutable:
    builder = Builder()
    x = builder.new(dtypes.int32, (2,), "input")
    return finish(builder, [x], [builder.map(lambda a: scalar.floordiv(a, divisor), x)])


def test_a_literal_divisor_is_not_looked_at() -> None:
    """It costs a pass over the data each time, to find what is known."""
    values = np.array([7, -7], np.int32)
    executable = _divided_by(2)
    assert executable.run([values], [], 0)[0].tolist() == [3, -4]
    assert executable._module.namespace["floordiv"] is np.floor_divide
    with pytest.raises(StepError, match="division by zero"):
        _divided_by(0).run([values], [], 0)


def test_error_state_is_the_callers() -> None:
    """Overflow is silent within a run, and the caller's settings stay."""
    values = np.array([1e308, 0.0, -1.0])
    builder = Builder()
    x = feed(builder, values)
    results = [builder.map(lambda a: a * 10.0, x), builder.map(scalar.log, x)]
    executable = finish(builder, [x], results)
    with np.errstate(all="raise"):
        executable.run([values], [], 0)
        with pytest.raises(FloatingPointError):
            np.log(values)


# --- results --------------------------------------------------------------------------


def test_outputs_are_the_callers_own() -> None:
    values = np.arange(6.0)
    builder = Builder()
    x = feed(builder, values)
    const = builder.literal(np.arange(6.0), dtypes.float64)
    variable = builder.read(Handle(0, "v", dtypes.float64, (6,)))
    temp = builder.map(scalar.add, x, variable)
    executable = finish(builder, [x], [x, const, variable, temp, temp])
    store: list[Any] = [np.ones(6)]
    first = executable.run([values], store, 0)
    second = executable.run([values], store, 0)
    held = [values, store[0], *first, *second]
    for i, one in enumerate(held):
        for other in held[:i]:
            assert not np.shares_memory(one, other)
    for array in first:
        array[...] = -1
    third = executable.run([values], store, 0)
    for before, after in zip(second, third):
        np.testing.assert_array_equal(after, before)


def test_one_output_twice() -> None:
    values = np.arange(3.0)
    builder = Builder()
    x = feed(builder, values)
    out = builder.copy(x, builder.new(x.dtype, x.shape, "output"))
    program = Program(tuple(builder.steps), (x.buffer,), (), {}, (out, out), ())
    first, second = NumpyBackend().load(program).run([values], [], 0)
    np.testing.assert_array_equal(first, second)
    assert not np.shares_memory(first, second)


def test_read_only_feeds() -> None:
    values = np.arange(6.0).reshape(2, 3)
    values.flags.writeable = False
    builder = Builder()
    x = feed(builder, values)
    turned = builder.map(scalar.neg, x.transpose((1, 0)))
    (found,) = finish(builder, [x], [turned]).run([values], [], 0)
    np.testing.assert_array_equal(found, -values.T)


def test_parts_of_outputs_are_written_in_place() -> None:
    """What concat does: each piece goes where it belongs, backwards or not."""
    left, right = np.arange(4.0).reshape(2, 2), np.arange(4.0, 10.0).reshape(2, 3)
    builder = Builder()
    x, y = feed(builder, left), feed(builder, right)
    out = builder.new(dtypes.float64, (2, 5), "output")
    builder.copy(x, out.slice((0, 0), (2, 2)))
    builder.copy(y, out.slice((0, 4), (2, 3), (1, -1)))
    inputs = (x.buffer, y.buffer)
    program = Program(tuple(builder.steps), inputs, (), {}, (out,), ())
    check_program(program)
    (found,) = NumpyBackend().load(program).run([left, right], [], 0)
    np.testing.assert_array_equal(found, np.concatenate([left, right[:, ::-1]], 1))


def test_strings() -> None:
    words = np.array([[b"a", b"b"], [b"c", b"d"]], object)
    builder = Builder()
    x = builder.new(dtypes.string, (2, 2), "input")
    fill = builder.fill(b"-", dtypes.string, (2,))
    same = builder.map(scalar.equal, x, x.transpose((1, 0)))
    chosen = builder.map(scalar.select, same, x, fill)
    column = builder.copy(x.slice((0, 1), (2, 1)))
    results = finish(builder, [x], [same, chosen, column]).run([words], [], 0)
    assert results[0].tolist() == [[True, False], [False, True]]
    assert results[1].tolist() == [[b"a", b"-"], [b"-", b"d"]]
    assert results[2].tolist() == [[b"b"], [b"d"]]


def test_calls_get_strided_views() -> None:
    def outer(xp: Any, outs: tuple[Any, ...], x: Any, y: Any, scale: float) -> None:
        outs[0][...] = xp.outer(x, y) * scale
        outs[1][...] = x.strides[0]

    values = np.arange(6.0)
    builder = Builder()
    x = feed(builder, values)
    shapes = [(dtypes.float64, (3, 3)), (dtypes.int64, ())]
    even, odd = x.slice((0,), (3,), (2,)), x.slice((5,), (3,), (-2,))
    outs = builder.call("outer", outer, [even, odd], shapes, scale=0.5)
    product_, stride = finish(builder, [x], outs).run([values], [], 0)
    np.testing.assert_array_equal(product_, 0.5 * np.outer(values[::2], values[::-2]))
    assert stride == 16


def test_run_number() -> None:
    builder = Builder()
    number = builder.map(lambda n: n * 2, builder.run_number())
    executable = finish(builder, [], [number])
    assert [executable.run([], [], step)[0].tolist() for step in (3, 4)] == [6, 8]


# --- variables ------------------------------------------------------------------------


def _counter(shape: tuple[int, ...]) -> tuple[Builder, View, View]:
    builder = Builder()
    handle = Handle(1, "v", dtypes.float32, shape)
    before = builder.read(handle)
    after = builder.assign(handle, builder.map(lambda v: v + 1.0, before))
    return builder, before, after


def test_commit_in_place() -> None:
    builder, before, after = _counter((2,))
    executable = finish(builder, [], [before, after], [(1, after)])
    array = np.zeros(2, np.float32)
    store: list[Any] = [None, array]
    for expected in (1, 2):
        old, new = executable.run([], store, 0)
        assert store[1] is array
        assert (old.tolist(), new.tolist()) == ([expected - 1] * 2, [expected] * 2)
        assert array.tolist() == [expected] * 2


@pytest.mark.parametrize(
    "held",
    [None, np.zeros(3, np.float32), np.zeros(2, np.float64), np.zeros((1, 2), "f")],
    ids=["nothing", "another shape", "another type", "another rank"],
)
def test_commit_replaces_what_does_not_fit(held: np.ndarray | None) -> None:
    builder = Builder()
    handle = Handle(0, "v", dtypes.float32, None)
    value = builder.assign(handle, builder.fill(5, dtypes.float32, (2,)))
    executable = finish(builder, [], [], [(0, value)])
    store: list[Any] = [held]
    executable.run([], store, 0)
    stored = store[0]
    assert stored is not held
    np.testing.assert_array_equal(stored, np.array([5, 5], np.float32), strict=True)
    executable.run([], store, 0)
    assert store[0] is stored


def test_commit_of_another_shape_of_one_size() -> None:
    builder = Builder()
    handle = Handle(0, "v", dtypes.float32, (2, 3))
    turned = builder.read(handle).transpose((1, 0))
    value = builder.assign(handle, turned)
    executable = finish(builder, [], [], [(0, value)])
    store: list[Any] = [np.arange(6, dtype=np.float32).reshape(2, 3)]
    executable.run([], store, 0)
    assert store[0].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_swap() -> None:
    builder = Builder()
    a, b = (Handle(i, "v", dtypes.float32, ()) for i in range(2))
    was_a, was_b = builder.read(a), builder.read(b)
    commits = [(0, builder.assign(a, was_b)), (1, builder.assign(b, was_a))]
    store: list[Any] = [np.float32(1)[...], np.float32(2)[...]]
    finish(builder, [], [], commits).run([], store, 0)
    assert [float(v) for v in store] == [2, 1]


def test_failure_leaves_variables_alone() -> None:
    """The failing step comes after the new values have been computed."""
    builder, _, after = _counter((1,))
    x = builder.new(dtypes.int32, (1,), "input")
    quotient = builder.map(scalar.floordiv, x, x)
    executable = finish(builder, [x], [quotient], [(1, after)])
    array = np.zeros(1, np.float32)
    store: list[Any] = [None, array]
    with pytest.raises(StepError):
        executable.run([np.zeros(1, np.int32)], store, 0)
    assert store[1] is array
    assert array.tolist() == [0]
    executable.run([np.ones(1, np.int32)], store, 0)
    assert array.tolist() == [1]


# --- the backend itself ---------------------------------------------------------------


def test_long_programs_become_several_functions() -> None:
    values = np.zeros(2, np.float32)
    builder = Builder()
    x = feed(builder, values)
    z = x
    for _ in range(3 * PART_LINES):
        z = builder.map(scalar.add, z, x)
    values += 1
    executable = finish(builder, [x], [z])
    assert executable.source.count("\ndef part") + 1 >= 3
    (found,) = executable.run([values], [], 0)
    assert found.tolist() == [3 * PART_LINES + 1] * 2


def test_source_has_no_names_of_others() -> None:
    def impl(xp: Any, outs: tuple[Any, ...], x: Any) -> None:
        outs[0][...] = x

    builder = Builder()
    x = builder.new(dtypes.float32, (1,), "input")
    outs = builder.call("evil\nimport os", impl, [x], [(x.dtype, x.shape)])
    assert "evil" not in finish(builder, [x], outs).source


def test_generated_code_leaves_nothing_in_linecache() -> None:
    before = set(linecache.cache)
    builder, _, after = _counter((2,))
    finish(builder, [], [after])
    assert set(linecache.cache) == before


CONVERSIONS: list[tuple[Any, DType, list[Any]]] = [
    ([1, 2], dtypes.float32, [1, 2]),
    (np.arange(4)[::2], dtypes.int64, [0, 2]),
    (3.5, dtypes.float64, 3.5),
    ([b"a", "b"], dtypes.string, [b"a", "b"]),
    (np.array([1, 2], ">i4"), dtypes.int32, [1, 2]),
]


@pytest.mark.parametrize(("value", "dtype", "expected"), CONVERSIONS)
def test_to_device(value: Any, dtype: DType, expected: Any) -> None:
    backend = NumpyBackend()
    array = backend.to_device(value, dtype)
    assert array.dtype == dtype.np_dtype
    assert array.dtype.isnative
    assert array.flags.c_contiguous
    assert array.shape == np.shape(value)
    assert array.tolist() == expected
    assert backend.to_device(array, dtype) is array
    assert backend.to_host(array) is array


class Capsule:
    """An array of another library that speaks DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_to_device_takes_dlpack_without_a_copy() -> None:
    array = np.arange(3.0)
    taken = NumpyBackend().to_device(Capsule(array), dtypes.float64)
    assert np.shares_memory(taken, array)


def test_device_name() -> None:
    assert NumpyBackend().device_name


def test_runs_of_one_executable_do_not_overlap() -> None:
    """Its memory is its own: a second run inside the first is refused."""
    executables: list[NumpyExecutable] = []

    def again(xp: Any, outs: tuple[Any, ...]) -> None:
        executables[0].run([], [], 0)

    builder = Builder()
    outs = builder.call("again", again, [], [(dtypes.float32, ())], pure=False)
    executables.append(finish(builder, [], outs))
    with pytest.raises(StepError) as caught:
        executables[0].run([], [], 0)
    assert isinstance(caught.value.cause, RuntimeError)


FORMS: list[Callable[[scalar.Expr], scalar.Expr]] = [
    lambda x: x * x + x,
    lambda x: scalar.select(scalar.less(x, 0.5), scalar.exp(x), x * x),
    lambda x: scalar.maximum(x, scalar.sqrt(x)) - scalar.exp(x) * x,
]


@pytest.mark.parametrize("form", FORMS)
def test_scratch_is_shared_by_steps(form: Callable[..., Any]) -> None:
    values = np.linspace(0, 1, 5)
    names = []
    for count in (1, 4):
        builder = Builder()
        x = feed(builder, values)
        results = [builder.map(form, x) for _ in range(count)]
        executable = finish(builder, [x], results)
        wanted = evaluate(form(Load(0, dtypes.float64)), [values])
        for found in executable.run([values], [], 0):
            np.testing.assert_allclose(found, wanted, rtol=1e-15)
        bound = executable._module.namespace
        names.append({n for n in bound if n[0] == "s" and n[1:].isdigit()})
    assert names[0] == names[1]
