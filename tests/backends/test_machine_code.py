"""Groups as machine code: encodings, functions, loops, and what may be touched."""

from __future__ import annotations

import ctypes
import gc
import itertools
import logging
import math
import mmap
import random
import re
import shutil
import subprocess
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gpugrad as gg
from gpugrad import config, dtypes
from gpugrad.backends.numpy.x86 import native
from gpugrad.backends.numpy.x86.assembler import (
    FORMS,
    R9,
    R11,
    R12,
    R13,
    RAX,
    RBP,
    RCX,
    RDX,
    RSP,
    Assembler,
    Mem,
)
from gpugrad.backends.numpy.x86.groups import Shared, machined
from gpugrad.backends.numpy.x86.stages import Refused
from gpugrad.dtypes import DType
from gpugrad.kir import scalar
from gpugrad.kir.interpret import interpret
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Lit, Load, Reduce, cast
from gpugrad.kir.space import Buffer, Shape, View, contiguous_strides

pytestmark = pytest.mark.skipif(
    native.widest()[0] == 0, reason=f"no machine code: {native.widest()[1]}"
)
WIDTHS = [width for width in (32, 64) if width <= native.widest()[0]]
F, D, B = dtypes.float32, dtypes.float64, dtypes.bool_


@pytest.fixture(autouse=True)
def widest_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment asks for, functions and sessions use machine code."""
    chosen = replace(config.current(), machine_code=None)
    monkeypatch.setattr(config, "_current", chosen)


# --- encodings ------------------------------------------------------------------------

_WITH_NUMBER = ("vcmp", "vround", "vpsl", "vpsr", "vextract", "vpermil")


def _everything(rng: random.Random, width: int) -> Assembler:
    """Each vector instruction with many operands, and each general one."""
    asm = Assembler(width)

    def memory() -> Mem:
        offset = rng.choice([0, 8, -8, 127, 128, 4096])
        if rng.random() < 0.5:
            return Mem(rng.randrange(16), offset)
        index = rng.choice([1, 2, 9, 12, 13, 15])
        return Mem(rng.randrange(16), offset, index, rng.choice([1, 2, 4, 8]))

    for (name, form), trial in itertools.product(FORMS.items(), range(8)):
        operands: list[Any] = [rng.randrange(16) for _ in form.operands]
        shift = form.operands == "ab"
        if "b" in form.operands and not shift and (trial % 2 or "mov" in name):
            operands[form.operands.index("b")] = memory()
        number = rng.randrange(4) if name.startswith(_WITH_NUMBER) else None
        if name.startswith("vblendv"):
            number = rng.randrange(16) << 4
        first, *others = operands
        second = others[0] if len(others) == 2 else None
        asm.vector(name, first, second, others[-1], number)
    asm.load(R9, Mem(RSP, 8))
    asm.store(Mem(R12), RAX)
    asm.number(R13, 1 << 40)
    asm.address(RDX, Mem(RCX, 256))
    asm.add(R13, 70000)
    asm.add(Mem(RSP, 64), 4)
    asm.compare(RCX, 9)
    asm.compare(Mem(R13), 1)
    asm.add_to(RAX, Mem(RBP, 3))
    asm.subtract_from(RDX, R11)
    asm.compare_to(RCX, RDX)
    asm.times(RDX, Mem(RSP, 40), 12)
    asm.push(R12)
    asm.pop(R9)
    if width == 64:
        asm.upper(3, 12)
        asm.lanes(5)
        asm.to_bytes(Mem(R9, 8, 1, 4), 9, "ps")
        asm.to_bytes(Mem(R13), 9, "pd")
    return asm


def _plain(text: str) -> str:
    """Without what two ways of writing differ in."""
    text = re.sub(r"(\w?MM)?[QD]?WORD PTR ", "", text.split("#")[0])
    text = re.sub(r"[xyz]mm", "v", text).replace("vrndscale", "vround")
    text = re.sub(r"0x([0-9a-f]+)", lambda m: str(int(m[1], 16)), text)
    for number, name in enumerate(("eq", "lt", "le", "unord")):
        text = re.sub(rf"vcmp{name}(p[sd]) (.*)$", rf"vcmp\1 \2,{number}", text)
    text = re.sub(r"\s*([,+-])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()
    text = re.sub(r"(vmovsd v\d+),v\d+,", r"\1,", text)
    return text.replace("*1", "").replace("+0]", "]").replace("movabs", "mov")


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs binutils")
@pytest.mark.parametrize("width", [32, 64])
def test_instructions_are_what_a_disassembler_reads(width: int, tmp_path: Path) -> None:
    asm = _everything(random.Random(0), width)
    (tmp_path / "code").write_bytes(asm.finish())
    options = ["-D", "-b", "binary", "-m", "i386:x86-64", "-M", "intel"]
    command = ["objdump", *options, str(tmp_path / "code")]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = [line.split("\t")[2] for line in dump.splitlines() if line.count("\t") > 1]
    assert len(asm.text) > 8 * len(FORMS)
    assert not any("(bad)" in line for line in found)
    lines = iter(found)
    for written in asm.text:
        read = next(lines)
        wide = "zmm" in written
        if wide and re.search("vcmp|vblendv", written):
            masked = next(lines)  # two instructions stand for these
            assert "{k1}" in masked or masked.startswith("vpmovm2")
        elif wide and "maskmov" in written:
            assert "{k7}" in read
        else:
            assert _plain(written) == _plain(read)


# --- functions ------------------------------------------------------------------------

_FUNCTIONS: dict[str, tuple[Callable[..., Any], float]] = {
    # name: (the function in doubles, units in the last place)
    "exp": (np.exp, 1.1),
    "expm1": (np.expm1, 1.75),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 1.75),
    "tanh": (np.tanh, 2.6),
    "erf": (np.vectorize(math.erf, otypes=[np.float64]), 2.0),
    "sqrt": (np.sqrt, 0.5),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.5),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_functions_are_as_exact_as_is_said(name: str, width: int) -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    edges = [0, 1, 1e-45, 1e-8, 0.625, 87.33, 88.7228, 88.723, 103.9, 104, 3e38]
    edges += [np.inf, np.nan, 1.17549435e-38]
    x = np.concatenate(
        [
            bits.view(np.float32),
            np.linspace(-110, 95, 100_001, dtype=np.float32),
            np.linspace(-2, 2, 100_001, dtype=np.float32),
            np.float32(edges),
            -np.float32(edges),
        ]
    )
    (found,) = _run(_group([x], [getattr(scalar, name)(Load(0, F))]), width)
    reference, units = _FUNCTIONS[name]
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
        wanted = exact.astype(np.float32)
        error = np.abs(found - exact) / np.spacing(np.abs(wanted))
    finite = np.isfinite(wanted)
    np.testing.assert_array_equal(found[~finite], wanted[~finite])
    assert np.max(error[finite]) <= units


# --- groups ---------------------------------------------------------------------------


class _Memory:
    """Arrays that end, or begin, where the next byte must not be touched."""

    def __init__(self) -> None:
        self._kept: list[mmap.mmap] = []
        self._libc = ctypes.CDLL(None)

    def array(self, size: int, dtype: Any, at_end: bool) -> np.ndarray:
        page = mmap.PAGESIZE
        count = -(-size * np.dtype(dtype).itemsize // page) * page
        kept = mmap.mmap(-1, count + 2 * page)
        self._kept.append(kept)
        whole = np.frombuffer(kept, np.uint8)
        start = int(whole.ctypes.data)
        for guard in (start, start + page + count):
            assert self._libc.mprotect(ctypes.c_void_p(guard), page, 0) == 0
        inside = whole[page : page + count].view(dtype)
        return inside[inside.size - size :] if at_end else inside[:size]


def _group(arrays: list[np.ndarray], exprs: list[Expr]) -> Any:
    """A group over flat arrays, as ``_run`` takes it."""
    (n,) = arrays[0].shape
    loads = tuple(
        View(Buffer(i, dtypes.of_numpy(a.dtype), n, "temp"), (n,), (1,), 0)
        for i, a in enumerate(arrays)
    )
    stores = tuple(
        Store(View(Buffer(100 + i, e.dtype, n, "temp"), (n,), (1,), 0), e)
        for i, e in enumerate(exprs)
    )
    return Group((n,), (False,), loads, stores), dict(enumerate(arrays))


def _run(
    trial: tuple[Group, dict[int, np.ndarray]],
    width: int,
    share_ns: int = 1 << 60,
    threads: int = 2,
) -> list[np.ndarray]:
    """The arrays that the group's machine code writes."""
    group, given = trial
    memory, arrays = _Memory(), dict[int, np.ndarray]()

    def locate(buffer: Buffer) -> int:
        if buffer.id not in arrays:
            at_end = buffer.id % 2 == 0
            size, dtype = buffer.size, buffer.dtype.np_dtype
            array = arrays[buffer.id] = memory.array(size, dtype, at_end)
            if buffer.id in given:
                array[...] = given[buffer.id]
            elif buffer.dtype is not B:
                array.fill(7)
        return int(arrays[buffer.id].ctypes.data)

    for kernel in machined(group, locate, itertools.count(-1, -1), share_ns, width):
        for node, _, array in kernel.sums:
            fold = {"sum": 0, "max": -np.inf, "min": np.inf}
            array[...] = fold[node.kind]
        (function,) = native.functions([kernel.code])
        if kernel.portions is not None:
            Shared(function, kernel, threads)()
        else:
            function()
        for node, target, array in kernel.sums:
            locate(target.buffer)
            combine = {"sum": np.add, "max": np.maximum, "min": np.minimum}[node.kind]
            _at(arrays[target.buffer.id], target)[...] = combine.reduce(array, 0)
    return [arrays[s.view.buffer.id] for s in group.stores]


def _at(flat: np.ndarray, view: View) -> np.ndarray:
    strides = [s * flat.itemsize for s in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides)


_EXTENTS = st.sampled_from([1, 2, 3, 7, 8, 9, 16, 31, 65, 130, 300])
# Of small whole numbers these give whole numbers, and every sum is exact.
_WHOLE = ("neg", "abs", "sign", "floor", "add", "sub", "maximum", "minimum", "select")
_SMOOTH = ("neg", "add", "sub", "mul", "maximum", "minimum", "exp", "tanh", "sqrt")
_TESTS = ("less", "equal", "greater_equal", "not_equal")


def _function(draw: Any, name: str, pool: list[Expr], dtype: DType) -> Expr:
    x, y, z = (draw(st.sampled_from(pool)) for _ in range(3))
    if name == "select":
        test = getattr(scalar, draw(st.sampled_from(_TESTS)))(x, y)
        inverted = draw(st.booleans())
        test = scalar.logical_not(test) if inverted else test
        return draw(st.sampled_from([scalar.select(test, z, x), z - cast(test, dtype)]))
    if name in ("exp", "sqrt"):  # of what stays small, and away from sqrt's steep end
        x = scalar.maximum(scalar.minimum(x, Lit(2.0, dtype)), Lit(-2.0, dtype))
        return scalar.exp(x) if name == "exp" else scalar.sqrt(scalar.abs_(x) + 1.0)
    if name == "mul":
        return scalar.tanh(x) * y if dtype is F else scalar.minimum(x, 1.0) * 0.5
    op = scalar.OPS[name]
    return op(*(x, y)[: op.arity])


@st.composite
def groups(draw: Any, exact: bool) -> tuple[Group, dict[int, np.ndarray]]:
    """Any group that the printer takes, and what it reads."""
    dtype: DType = draw(st.sampled_from([F, F, F, D]))
    extents = tuple(draw(st.lists(_EXTENTS, min_size=1, max_size=3)))
    while np.prod(extents) > 30_000:
        extents = extents[1:]
    reduced = tuple(draw(st.booleans()) for _ in extents)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    arrays: dict[int, np.ndarray] = {}
    loads: list[View] = []
    for number in range(draw(st.integers(1, 5))):
        kept = [n if draw(st.booleans()) else 1 for n in extents[:-1]]
        kept.append(extents[-1] if draw(st.integers(0, 3)) else 1)
        skip = draw(st.integers(0, 3))
        size = int(np.prod(kept)) + skip
        steps = contiguous_strides(tuple(kept))
        strides = tuple(0 if n == 1 else s for n, s in zip(kept, steps))
        values = rng.integers(-2, 3, size) if exact else rng.normal(size=size)
        arrays[number] = values.astype(dtype.np_dtype)
        buffer = Buffer(number, dtype, size, "temp")
        loads.append(View(buffer, extents, strides, skip))
    pool: list[Expr] = [Load(i, dtype) for i in range(len(loads))]
    pool.append(Lit(draw(st.sampled_from([2.0, -1.0, 3.0])), dtype))
    names = _WHOLE if exact else _SMOOTH
    if dtype is D:
        names = tuple(n for n in names if n not in ("exp", "tanh"))
    if True in reduced:
        names = (*names, "fold", "fold")
    for _ in range(draw(st.integers(1, 12))):
        name = draw(st.sampled_from(names))
        if name == "fold":
            summed = exact and any("sum[" in repr(node) for node in pool)
            kinds = ("max", "min") if summed else ("sum", "max", "min")
            fold = Reduce(draw(st.sampled_from(kinds)), draw(st.sampled_from(pool)))
            pool.append(fold if exact else fold * 0.01)
        else:
            pool.append(_function(draw, name, pool, dtype))
    stores = []
    for number in range(draw(st.integers(1, 3))):
        expr, shape = pool[-1 - number], extents
        if True in reduced and draw(st.booleans()):
            expr = Reduce("sum", expr)
            shape = tuple(1 if r else n for n, r in zip(extents, reduced))
        steps = contiguous_strides(shape)
        strides = tuple(0 if r and n == 1 else s
                        for r, n, s in zip(reduced, shape, steps))  # fmt: skip
        buffer = Buffer(100 + number, dtype, int(np.prod(shape)), "temp")
        stores.append(Store(View(buffer, shape, strides, 0), expr))
    return Group(extents, reduced, tuple(loads), tuple(stores)), arrays


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("share_ns", [1 << 60, 0], ids=["alone", "shared"])
@pytest.mark.parametrize("exact", [True, False], ids=["whole numbers", "any numbers"])
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_groups_equal_the_interpreter(
    exact: bool, share_ns: int, width: int, data: st.DataObject
) -> None:
    group, given = data.draw(groups(exact))
    memory = {key: value.copy() for key, value in given.items()}
    interpret((group,), memory)
    try:
        found = _run((group, given), width, share_ns)
    except Refused as refusal:
        if not str(refusal).startswith("views that lie"):
            raise
        return
    for store, result in zip(group.stores, found):
        wanted = memory[store.view.buffer.id]
        if exact:
            np.testing.assert_array_equal(result, wanted)
            continue
        scale = np.max(np.abs(wanted), initial=1.0)
        bound = (5e-5 if result.dtype == np.float32 else 1e-13) * scale
        np.testing.assert_allclose(result, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("width", WIDTHS)
def test_truth_values_come_and_go(width: int) -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        a = rng.integers(0, 2, 64).astype(bool)
        x = rng.normal(size=64).astype(dtype)
        kind = dtypes.of_numpy(x.dtype)
        value, truth = Load(1, kind), Load(0, B)
        exprs: list[Expr] = [
    scalar.logical_and(
                truth, scalar.less(value, Lit(0.0, kind))
            ),
            scalar.select(truth, value, -value),
        ]  # fmt: skip
        both, chosen = _run(_group([a, x], exprs), width)
        np.testing.assert_array_equal(both, a & (x < 0))
        np.testing.assert_array_equal(chosen, np.where(a, x, -x))


@pytest.mark.parametrize("width", WIDTHS)
def test_more_views_than_registers(width: int) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, (77,)).astype(np.float32) for _ in range(40)]
    loads = [Load(i, F) for i in range(40)]
    total: Expr = loads[0]
    for load in loads[1:]:
        total = total + load
    differences = [total - 2.0 * load for load in loads]
    found = _run(_group(arrays, [total, *differences]), width)
    np.testing.assert_array_equal(found[0], sum(arrays))
    for array, difference in zip(arrays, found[1:]):
        np.testing.assert_array_equal(difference, sum(arrays) - 2 * array)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("size", [5, 333])
def test_more_folds_than_registers(size: int, width: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, size).astype(np.float32)
    view = View(Buffer(0, F, size, "temp"), (size,), (1,), 0)
    stores = []
    for number in range(12):
        shifted = Load(0, F) * float(number)
        fold = Reduce(("sum", "max", "min")[number % 3], shifted)
        out = View(Buffer(100 + number, F, 1, "temp"), (1,), (0,), 0)
        stores.append(Store(out, fold))
    group = Group((size,), (True,), (view,), tuple(stores))
    found = _run((group, {0: x}), width)
    for number, result in enumerate(found):
        wanted = (np.sum, np.max, np.min)[number % 3](x * number)
        assert result == wanted


@pytest.mark.parametrize("shape", [(3_000_001,), (40_000, 7), (7, 40_000), (3, 5, 999)])
def test_sums_of_singles_are_as_exact_as_singles_are(shape: Shape) -> None:
    x = np.random.default_rng(0).random(shape, np.float32)
    exact = x.astype(np.float64)
    axes = [None, *range(len(shape))]
    sums = gg.function(lambda x: [gg.reduce_sum(x * 1.5, axis) for axis in axes])
    for axis, found in zip(axes, sums(x)):
        np.testing.assert_allclose(found.numpy(), 1.5 * exact.sum(axis), rtol=2e-7)


# --- surroundings ---------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_results_do_not_depend_on_threads(width: int) -> None:
    trial = _sum_trial()
    one, two, seven = (_run(trial, width, 0, threads)[0] for threads in (1, 2, 7))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, seven)


def _sum_trial() -> tuple[Group, dict[int, np.ndarray]]:
    x = np.random.default_rng(0).random(100_003, np.float32)
    view = View(Buffer(0, F, x.size, "temp"), x.shape, (1,), 0)
    out = View(Buffer(100, F, 1, "temp"), (1,), (0,), 0)
    total = Reduce("sum", scalar.exp(Load(0, F)))
    return Group(x.shape, (True,), (view,), (Store(out, total),)), {0: x}


def _maps() -> Iterator[tuple[int, int, str]]:
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        place, rights, *_ = line.split()
        low, high = (int(part, 16) for part in place.split("-"))
        yield low, high, rights


def test_code_can_be_run_and_not_written() -> None:
    (function,) = native.functions([b"\xc3"])
    start = int(function.__self__.ctypes.data)
    (rights,) = [r for low, high, r in _maps() if low <= start < high]
    assert rights.startswith("r-x")


def test_code_lives_as_long_as_its_functions() -> None:
    first, second = native.functions([b"\xc3", b"\xc3"])
    memory = weakref.ref(first.__self__)
    del first
    gc.collect()
    assert memory() is not None
    del second
    assert memory() is None


def test_what_has_no_instruction_is_numpy() -> None:
    @gg.function
    def f(x: Any) -> Any:
        return gg.sin(x) * x

    x = np.linspace(-1, 1, 100, dtype=np.float32)
    np.testing.assert_allclose(f(x).numpy(), np.sin(x) * x, rtol=1e-6)
    with gg.Graph().as_default():
        p = gg.placeholder(gg.float32, [100])
        source = str(gg.explain(gg.sin(p) * p, {p: x}))
        assert "machine code" not in source
        assert "groups of NumPy calls: 1, for sin" in source
        assert "vaddps" in str(gg.explain(gg.exp(p) + p, {p: x}))


def test_why_there_is_none_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(native.platform, "machine", lambda: "riscv64")
    native.widest.cache_clear()
    try:
        with caplog.at_level(logging.INFO, "gpugrad"):
            assert native.widest() == (0, "it is written for x86-64, not riscv64")
        assert "not machine code" in caplog.text
        with pytest.raises(ValueError, match="asks for vectors of 32 bytes"):
            native.width(32)
    finally:
        native.widest.cache_clear()
