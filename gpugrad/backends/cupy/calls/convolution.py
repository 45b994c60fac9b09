"""Convolutions and their gradients by implicit GEMM (kernels/convolution.cuh)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Final

from gpugrad.backends.cupy.calls.kernel import (
    COUNT_LIMIT,
    THREADS,
    Parameter,
    Rule,
    all_contiguous,
    blocks,
    headers,
    load,
    make,
    scratch,
    store,
)
from gpugrad.backends.cupy.literals import computed, storage
from gpugrad.backends.cupy.text import Lowered
from gpugrad.kir.program import Call

_TILE: Final = 64
# A sum over the places of a whole batch is cut, so that there are blocks enough.
_DEPTH: Final = 1024
_SPLITS: Final = 64
_BLOCKS: Final = 256


def _constants(g: Any, batch: int) -> str:
    """The geometry as the struct G of convolution.cuh."""

    def of_axis(name: str, values: Sequence[int]) -> str:
        text = str(values[-1])
        for axis in reversed(range(len(values) - 1)):
            text = f"a == {axis} ? {values[axis]} : ({text})"
        return f"  static __device__ constexpr int {name}(int a) {{ return {text}; }}"

    lines = [
        f"  enum : int {{ rank = {len(g.window)} }};",
        f"  enum : u64 {{ batch = {batch}, groups = {g.groups}, inner = {g.inner}, "
        f"outer = {g.outer} }};",
        of_axis("size", g.sizes),
        of_axis("positions", g.positions),
        of_axis("window", g.window),
        of_axis("stride", g.strides),
        of_axis("dilation", g.dilations),
        of_axis("pad", [before for before, _ in g.pads]),
    ]
    return "\n".join(["struct G {", *lines, "};"])


def _geometry(call: Call) -> tuple[Any, int] | None:
    """The geometry and the batch, if kernels can count what there is."""
    views = (*call.args, *call.outs)
    g: Any = dict(call.attrs)["geometry"]
    if not all_contiguous(*views) or any(v.size >= COUNT_LIMIT for v in views):
        return None
    part = call.name.rpartition("_")[2]
    images = call.args[0] if part in ("forward", "filter") else call.outs[0]
    return g, images.shape[0]


def _product(kind: str) -> Rule:
    def rule(call: Call) -> Lowered | None:
        found = _geometry(call)
        if found is None:
            return None
        g, batch = found
        if call.outs[0].size == 0:
            return Lowered(())
        places, cells = prod(g.positions), prod(g.sizes)
        rows, columns, depth = {
            "Forward": (batch * places, g.outer, g.taps * g.inner),
            "ToInput": (batch * cells, g.inner, g.taps * g.outer),
            "ToFilter": (g.taps * g.inner, g.outer, batch * places),
        }[kind]
        dtype = call.outs[0].dtype
        element, value = storage(dtype), computed(dtype)
        tiles = (-(-rows // _TILE), -(-columns // _TILE))
        splits = 1
        if prod(tiles) * g.groups < _BLOCKS:
            splits = max(1, min(_SPLITS, depth // _DEPTH))
        setup = (
            f"{_constants(g, batch)}\n"
            f"typedef {kind}<G, {element}, {value}> Product;\n"
            f"const Product product = {{in0, in1, out0}};\n"
        )
        operands: list[Parameter] = [
            store(0, element), load(0, element), load(1, element)
        ]  # fmt: skip
        partial = [scratch(0, value)] if splits > 1 else []
        kernels = [
            make(
                "conv",
                f"{setup}__shared__ TileShared<{value}> shared;\n"
                f"product_tile<{splits}, Product, {value}>(product, "
                f"{'scratch0' if splits > 1 else 'nullptr'}, {g.groups}u, shared);",
                [*operands, *partial],
                headers("convolution.cuh", dtype),
                (*tiles, g.groups * splits),
            )
        ]
        scratch_sizes: tuple[int, ...] = ()
        if splits > 1:
            size = g.groups * rows * columns
            scratch_sizes = (splits * size * max(dtype.itemsize, 4),)
            kernels.append(
                make(
                    "conv_join",
                    setup + f"join_parts<{splits}, Product, {value}>(product, scratch0,"
                    f" {g.groups}u);",
                    [*operands, scratch(0, value, False)],
                    headers("convolution.cuh", dtype),
                    blocks(size),
                )
            )
        return Lowered(tuple(kernels), scratch_sizes)

    return rule


def _depthwise(part: str) -> Rule:
    def rule(call: Call) -> Lowered | None:
        found = _geometry(call)
        if found is None:
            return None
        g, batch = found
        (out,) = call.outs
        if out.size == 0:
            return Lowered(())
        element, value = storage(out.dtype), computed(out.dtype)
        joins = part == "to_filter"
        shared = f"__shared__ {value} shared[{THREADS // 32}];\n" if joins else ""
        kernel = make(
            f"depthwise_{part}",
            f"{_constants(g, batch)}\n{shared}"
            f"depthwise_{part}<G, {element}, {value}>"
            f"(out0, in0, in1{', shared' if joins else ''});",
            (store(0, element), load(0, element), load(1, element)),
            headers("convolution.cuh", out.dtype),
            (out.size, 1, 1) if joins else blocks(out.size),
            (THREADS, 1, 1),
        )
        return Lowered((kernel,))

    return rule


RULES: Final[dict[str, Rule]] = {
    "conv_forward": _product("Forward"),
    "conv_to_input": _product("ToInput"),
    "conv_to_filter": _product("ToFilter"),
    **{
        f"conv_depthwise_{part}": _depthwise(part)
        for part in ("forward", "to_input", "to_filter")
    },
}
