"""Runs generated kernels on the CPU: g++ compiles the very text that NVRTC gets.

Buffers lie against pages that may not be touched, so that a kernel that reads or writes
outside of them fails, with the block and the thread that did it.
"""

from __future__ import annotations

import ctypes
import mmap
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gpugrad.backends.cupy.launch import pack
from gpugrad.backends.cupy.layout import Argument
from gpugrad.backends.cupy.source import KERNELS_DIR
from gpugrad.backends.cupy.text import Kernel, Lowered, module_source, pointer
from gpugrad.kir.program import Call, Group
from gpugrad.kir.space import Buffer

SHIM = Path(__file__).with_name("shim.hpp")
# No fused multiply-add, as NumPy rounds each operation. Fibers jump between stacks,
# which the checks of fortified builds take for an error.
FLAGS = (
    "-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-fno-strict-aliasing",
    "-U_FORTIFY_SOURCE",
)  # fmt: skip
# A kernel that joins threads without such a word in its text fails, aloud.
JOINING = ("fold_", "__syncthreads", "sort_", "product_tile", "depthwise_to_filter")
# Of blocks and threads: forwards, backwards, shuffled with a seed (shim.hpp).
ORDERS = (0, 1, 2)
_OUTCOMES = {1: "threads that join do not all arrive", 2: "JOINING misses a word of it"}
_FAULTED = 3
_PAGE = mmap.PAGESIZE
_POISON = 0xA5


class Fault(ctypes.Structure):
    """The first access to memory that may not be touched."""

    _fields_ = (
        ("address", ctypes.c_uint64),
        ("block", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3),
        ("writes", ctypes.c_int),
    )


def compiler() -> str | None:
    """A C++ compiler, if there is one."""
    return shutil.which("g++")


class Machine:
    """Kernels compiled for the CPU, launched like those of a GPU."""

    def __init__(self, kernels: Iterable[Kernel], folder: Path, parts: int = 2) -> None:
        self._functions: dict[str, Any] = {}
        self._faults: dict[str, Fault] = {}
        todo = sorted({k.name: k for k in kernels}.values())
        pieces = [todo[i::parts] for i in range(parts) if todo[i::parts]]
        with ThreadPoolExecutor(2) as pool:
            numbered = enumerate(pieces)
            paths = list(pool.map(lambda p: _build(folder, *p), numbered))
        for path, piece in zip(paths, pieces):
            library = ctypes.CDLL(str(path))
            for kernel in piece:
                self._functions[kernel.name] = library[f"launch_{kernel.name}"]
                self._faults[kernel.name] = Fault.in_dll(library, "fault")

    def launch(self, kernel: Kernel, values: Sequence[int], order: int) -> None:
        """Run all blocks, one after the other; ``values`` fill the parameters."""
        packed = pack(kernel.arguments, values)
        self.launch_packed(kernel, packed.pointers, order)

    def launch_packed(self, kernel: Kernel, pointers: Any, order: int) -> None:
        """The same with parameters as the driver takes them."""
        joins = any(word in kernel.text for word in JOINING)
        status = self._functions[kernel.name](
            (ctypes.c_uint * 3)(*kernel.grid),
            (ctypes.c_uint * 3)(*kernel.block),
            int(joins),
            order,
            pointers,
        )
        if status == _FAULTED:
            raise AssertionError(_explain(kernel, self._faults[kernel.name], pointers))
        assert status == 0, f"{kernel.name}: {_OUTCOMES[status]}"


def _explain(kernel: Kernel, fault: Fault, pointers: Any) -> str:
    """Which thread did what, and where in relation to the nearest parameter."""
    slots = ctypes.cast(pointers, ctypes.POINTER(ctypes.POINTER(ctypes.c_uint64)))
    near = []
    for place, argument in enumerate(kernel.arguments):
        if isinstance(argument, Argument):
            distance = fault.address - slots[place][0]
            near.append((abs(distance), distance, pointer(argument)))
    _, distance, name = min(near)
    what = "writes" if fault.writes else "reads"
    return (
        f"{kernel.name}: block {tuple(fault.block)}, thread {tuple(fault.thread)} "
        f"{what} where it may not: byte {distance} of {name}"
    )


def _build(folder: Path, number: int, kernels: list[Kernel]) -> Path:
    source = folder / f"kernels{number}.cpp"
    exports = "".join(
        f'extern "C" int launch_{k.name}(const unsigned* grid, const unsigned* block, '
        "int fibers, unsigned order, void** values) {\n"
        f"  return launch({k.name}, grid, block, fibers, order, values);\n}}\n"
        for k in kernels
    )
    text = f'#include "{SHIM}"\n{module_source(kernels)}\n{exports}'
    source.write_text(text, "utf-8")
    path = source.with_suffix(".so")
    command = [compiler() or "g++", *FLAGS, f"-I{KERNELS_DIR}", str(source)]
    done = subprocess.run(
        [*command, "-o", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[:4000]
    return path


def between_guards(size: int) -> np.ndarray:
    """Whole poisoned pages of ``size`` bytes or more; nothing beside can be touched."""
    inside = -(-max(size, 1) // _PAGE) * _PAGE
    mapped = mmap.mmap(-1, inside + 2 * _PAGE)
    pages = np.frombuffer(mapped, np.uint8)
    for start in (0, inside + _PAGE):
        place = ctypes.c_void_p(pages.ctypes.data + start)
        failed = ctypes.CDLL(None).mprotect(place, ctypes.c_size_t(_PAGE), 0)
        assert not failed, "pages cannot be protected here"
    found = pages[_PAGE:-_PAGE]
    found[...] = _POISON
    return found


class Guarded:
    """Memory of ``size`` bytes on a 16-byte boundary, against one of the guards.

    Up to 15 bytes that the boundary costs, and the rest of the pages, can be touched:
    there only writes are found.
    """

    def __init__(self, size: int, at_end: bool) -> None:
        self._bytes = between_guards(size)
        start = (self._bytes.size - size) // 16 * 16 if at_end else 0
        self._inside = slice(start, start + size)
        self.address: int = self._bytes.ctypes.data + start
        self.bytes = self._bytes[self._inside]

    @property
    def is_intact(self) -> bool:
        """False if something wrote around the buffer."""
        before = self._bytes[: self._inside.start]
        after = self._bytes[self._inside.stop :]
        return bool((before == _POISON).all() and (after == _POISON).all())


def run_step(
    machine: Machine,
    lowered: Lowered,
    step: Group | Call,
    memory: dict[int, np.ndarray],
    order: int = 0,
) -> dict[int, np.ndarray]:
    """Every stored buffer's elements after running a step on copied operands."""
    reads, writes = step.reads, step.writes
    at_end = order != 1  # so that both sides are guarded once
    buffers = {v.buffer.id: _memory_of(v.buffer, at_end) for v in (*reads, *writes)}
    for number, data in memory.items():
        if number in buffers:
            buffers[number].bytes.view(data.dtype)[...] = data
    scratch = [Guarded(size, at_end) for size in lowered.scratch]
    for room in scratch:
        room.bytes[...] = 0xFF  # kernels must not count on what scratch memory holds

    def address(argument: Argument) -> int:
        if argument.kind == "scratch":
            return scratch[argument.number].address
        views = writes if argument.kind == "store" else reads
        view = views[argument.number]
        return buffers[view.buffer.id].address + view.offset * view.dtype.itemsize

    for kernel in lowered.kernels:
        pointers = [a for a in kernel.arguments if isinstance(a, Argument)]
        machine.launch(kernel, [address(a) for a in pointers], order)
    for number, buffer in buffers.items():
        assert buffer.is_intact, f"buffer {number} was overrun"
    assert all(room.is_intact for room in scratch), "scratch memory was overrun"
    return {
        v.buffer.id: buffers[v.buffer.id].bytes.view(v.buffer.dtype.np_dtype)
        for v in writes
    }


def _memory_of(buffer: Buffer, at_end: bool) -> Guarded:
    return Guarded(buffer.size * buffer.dtype.itemsize, at_end)
