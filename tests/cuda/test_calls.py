"""Kernels of library calls run on the CPU, and agree with what the calls mean."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

from gpugrad import config, dtypes
from gpugrad.backends.cupy.calls import CALLS
from gpugrad.backends.cupy.text import Kernel, Lowered
from gpugrad.kir.builder import Builder
from gpugrad.ops import slice_at
from tests.cuda import calls
from tests.cuda.cpu import ORDERS, Machine, compiler, run_step

# Sums of a few hundred terms of either sign, in another order.
RTOL = {"float16": 4e-3, "float32": 3e-5, "float64": 1e-11, "complex64": 1e-4}


def lower(case: calls.Case) -> Lowered:
    lowered = CALLS[case.call.name](case.call)
    assert lowered is not None, f"{case.name} has no kernel"
    return lowered


def run(machine: Machine, case: calls.Case, lowered: Lowered, order: int = 0):
    memory = {
        view.buffer.id: array.reshape(-1)
        for view, array in zip(case.call.args, case.arguments)
    }
    found = run_step(machine, lowered, case.call, memory, order)
    return [found[v.buffer.id].reshape(v.shape) for v in case.call.outs]


def check(case: calls.Case, found: list[np.ndarray]) -> None:
    for got, want in zip(found, case.expected()):
        rtol = RTOL.get(want.dtype.name)
        if rtol is None:
            np.testing.assert_array_equal(got, want, case.name)
        else:
            scale = float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want)))
            np.testing.assert_allclose(
                got, want, rtol=rtol, atol=rtol * scale, err_msg=case.name
            )


@pytest.fixture(scope="module", params=calls.FAMILIES)
def family(request, tmp_path_factory):
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    cases = [(c, lower(c)) for c in calls.FAMILIES[request.param]()]
    kernels = [k for _, lowered in cases for k in lowered.kernels]
    return Machine(kernels, tmp_path_factory.mktemp(request.param)), cases


def test_kernels_do_what_the_calls_mean(family):
    """Bit by bit the same, whatever the order in which threads and blocks run."""
    machine, cases = family
    for case, lowered in cases:
        first, *others = [run(machine, case, lowered, order) for order in ORDERS]
        check(case, first)
        for other in others:
            for a, b in zip(first, other):
                assert a.tobytes() == b.tobytes(), case.name


def test_every_call_with_kernels_has_cases():
    named = {c.call.name for family in calls.FAMILIES.values() for c in family()}
    assert named == CALLS.keys()


def test_a_place_that_is_out_of_range(tmp_path):
    """Gathered as zeros, and dropped by scatters: no memory is touched."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    gathered = next(c for c in calls.gathers() if c.name == "gather-float32-8")
    dropped = next(c for c in calls.combinations() if "scatter-add-float32" in c.name)
    lowered = {c.name: lower(c) for c in (gathered, dropped)}
    machine = Machine([k for low in lowered.values() for k in low.kernels], tmp_path, 1)
    table, index = gathered.arguments
    index = index.copy()
    index[0, :2] = -1, table.shape[2]
    wild = gathered._replace(arguments=(table, index))
    (found,) = run(machine, wild, lowered[wild.name])
    assert not found[:, :, :2].any()
    assert found[:, :, 2:].all()
    base, ids, rows = dropped.arguments
    ids = ids.copy()
    ids[:2] = -7, len(base)
    wild = dropped._replace(arguments=(base, ids, rows))
    (found,) = run(machine, wild, lowered[wild.name])
    kept = dropped._replace(arguments=(base, ids[2:], rows[2:]))
    np.testing.assert_allclose(found, kept.expected()[0], rtol=1e-5)


def test_views_that_move_and_starts_out_of_range(tmp_path):
    """Strides of any kind; and the nearest place, as the impl takes it on a device."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    device = SimpleNamespace(
        __name__="device", arange=np.arange, where=np.where, clip=np.clip, ix_=np.ix_
    )
    whole = np.arange(2.0 * 6 * 10).reshape(2, 6, 10)
    cases = []
    for index in (-50, -3, 0, 2, 50):
        for part in (
            lambda v: v.slice((0, 0, 0), (2, 6, 4), (1, 1, 2)),
            lambda v: v.slice((1, 5, 2), (1, 6, 8), (1, -1, 1)),
            lambda v: v.transpose((2, 0, 1)),
            lambda v: v.slice((0, 0, 3), (2, 6, 1)).broadcast((2, 6, 4)),
        ):
            for kind in ("index", "part"):
                for name, impl in (
                    ("slice_at", slice_at._slice_at),
                    ("put_at", slice_at._put_at),
                ):
                    b = Builder()
                    x = part(b.new(dtypes.float64, whole.shape))
                    start = b.new(dtypes.int32, ())
                    shape = (x.shape[0], 1, x.shape[2])
                    if name == "put_at":
                        shape = (x.shape[0], x.shape[1] + 3, x.shape[2])
                    (out,) = b.call(
                        name, impl, [x, start], [(dtypes.float64, shape)],
                        axes=(1,), kinds=(kind,),
                    )  # fmt: skip
                    cases.append((b.steps[0], x, start, out, index))
    lowered = [CALLS[step.name](step) for step, *_ in cases]
    machine = Machine([k for low in lowered for k in low.kernels], tmp_path, 2)
    for low, (step, x, start, out, index) in zip(lowered, cases):
        given = np.array([index], np.int32)
        memory = {x.buffer.id: whole.reshape(-1), start.buffer.id: given}
        found = run_step(machine, low, step, memory)[out.buffer.id]
        strides = [8 * s for s in x.strides]
        view = as_strided(whole.reshape(-1)[x.offset :], x.shape, strides)
        wanted = np.full(out.shape, np.nan)
        step.impl(device, (wanted,), view, given[0], **dict(step.attrs))
        np.testing.assert_array_equal(found.reshape(out.shape), wanted)


@pytest.mark.parametrize(
    ("family", "kernel", "right", "wrong"),
    [
        ("combine", "fold_rows", "JoinSum, MeetJoin", "JoinProduct, MeetJoin"),
        ("slice_at", "slice_at", "start_inside<true>(in1", "start_inside<false>(in1"),
        ("scan", "scan_write", "true, false);", "false, false);"),
        ("convolution", "conv", "return a == 0 ? 6 : (5)", "return a == 0 ? 5 : (5)"),
    ],
)
def test_the_comparison_notices(tmp_path, family, kernel, right, wrong):
    """A planted mistake in a kernel's text is found by the same comparison."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    for case in calls.FAMILIES[family]():
        lowered = lower(case)
        broken = tuple(
            Kernel(k.name, k.text.replace(right, wrong), *k[2:])
            for k in lowered.kernels
        )
        if broken != lowered.kernels and case.call.args[0].size > 30:
            machine = Machine(broken, tmp_path, 1)
            wild = lowered._replace(kernels=broken)
            with pytest.raises(AssertionError):
                check(case, run(machine, case, wild))
            return
    pytest.fail(f"no kernel has {right!r}")


def test_sums_by_atomics(tmp_path, monkeypatch):
    """An option: no sort, the same sums but for the order of the additions."""
    if compiler() is None:
        pytest.skip("g++ was not found; install it with: apt-get install g++")
    settings = replace(config.current(), atomics=True)
    monkeypatch.setattr(config, "_current", settings)
    kinds = ("segments-sum-", "scatter_nd-", "scatter-subtract-", "tensor_scatter-sub-")
    cases = [
        (c, lower(c))
        for c in calls.combinations()
        if c.name.startswith(kinds)
        and c.call.outs[0].dtype.name in ("float32", "int32")
    ]
    assert all(
        [k.name.split("_")[1] for k in low.kernels] == ["start", "add"]
        for _, low in cases
    )
    machine = Machine([k for _, low in cases for k in low.kernels], tmp_path, 2)
    for case, low in cases:
        for backwards in (False, True):
            check(case, run(machine, case, low, backwards))
