"""Runs generated kernels on the CPU: g++ compiles the very text that NVRTC gets."""

from __future__ import annotations

import ctypes
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
from gpugrad.backends.cupy.text import Kernel, Lowered, module_source
from gpugrad.kir.program import Call, Group
from gpugrad.kir.space import Buffer

SHIM = Path(__file__).with_name("shim.hpp")
# No fused multiply-add, as NumPy rounds each operation.
FLAGS = ("-std=c++17", "-O1", "-shared", "-fPIC", "-w", "-fno-strict-aliasing")
# A kernel that joins threads without such a word in its text fails, aloud.
JOINING = ("fold_", "__syncthreads", "sort_", "product_tile", "depthwise_to_filter")
GUARD = 64  # elements on each side of a buffer that a kernel must not touch


def compiler() -> str | None:
    """A C++ compiler, if there is one."""
    return shutil.which("g++")


class Machine:
    """Kernels compiled for the CPU, launched like those of a GPU."""

    def __init__(self, kernels: Iterable[Kernel], folder: Path, parts: int = 8) -> None:
        self._functions: dict[str, Any] = {}
        todo = sorted({k.name: k for k in kernels}.values())
        pieces = [todo[i::parts] for i in range(parts) if todo[i::parts]]
        with ThreadPoolExecutor(2) as pool:
            numbered = enumerate(pieces)
            paths = list(pool.map(lambda p: _build(folder, *p), numbered))
        for path, piece in zip(paths, pieces):
            library = ctypes.CDLL(str(path))
            for kernel in piece:
                self._functions[kernel.name] = library[f"launch_{kernel.name}"]

    def launch(self, kernel: Kernel, values: Sequence[int], backwards: bool) -> None:
        """Run all blocks, one after the other; ``values`` fill the parameters."""
        packed = pack(kernel.arguments, values)
        self.launch_packed(kernel, packed.pointers, backwards)

    def launch_packed(self, kernel: Kernel, pointers: Any, backwards: bool) -> None:
        """The same with parameters as the driver takes them."""
        joins = any(word in kernel.text for word in JOINING)
        status = self._functions[kernel.name](
            (ctypes.c_uint * 3)(*kernel.grid),
            (ctypes.c_uint * 3)(*kernel.block),
            int(joins),
            int(backwards),
            pointers,
        )
        assert status == 0, f"{kernel.name}: threads that join do not all arrive"


def _build(folder: Path, number: int, kernels: list[Kernel]) -> Path:
    source = folder / f"kernels{number}.cpp"
    exports = "".join(
        f'extern "C" int launch_{k.name}(const unsigned* grid, const unsigned* block, '
        "int fibers, int reversed, void** values) {\n"
        f"  return launch({k.name}, grid, block, fibers, reversed, values);\n}}\n"
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


class Guarded:
    """Memory of ``size`` elements on a 16-byte boundary, with guards around it."""

    def __init__(self, buffer: Buffer) -> None:
        dtype = buffer.dtype.np_dtype
        assert dtype is not None
        total = (buffer.size + 2 * GUARD) * dtype.itemsize + 16
        self._bytes = np.full(total, 0xA5, np.uint8)
        start = GUARD * dtype.itemsize
        start += -(self._bytes.ctypes.data + start) % 16
        self._inside = slice(start, start + buffer.size * dtype.itemsize)
        self.flat = self._bytes[self._inside].view(dtype)

    @property
    def address(self) -> int:
        """Of the first element."""
        return self._bytes.ctypes.data + self._inside.start

    @property
    def is_intact(self) -> bool:
        """False if something wrote around the buffer."""
        outside = np.delete(self._bytes, np.s_[self._inside])
        return bool((outside == 0xA5).all())


def run_step(
    machine: Machine,
    lowered: Lowered,
    step: Group | Call,
    memory: dict[int, np.ndarray],
    backwards: bool = False,
) -> dict[int, np.ndarray]:
    """Every stored buffer's elements after running a step on copied operands."""
    reads, writes = step.reads, step.writes
    buffers = {v.buffer.id: Guarded(v.buffer) for v in (*reads, *writes)}
    for number, data in memory.items():
        if number in buffers:
            buffers[number].flat[...] = data
    # Poisoned: kernels must not count on what scratch memory holds.
    scratch = [np.full(size, 0xFF, np.uint8) for size in lowered.scratch]

    def address(argument: Argument) -> int:
        if argument.kind == "scratch":
            return scratch[argument.number].ctypes.data
        views = writes if argument.kind == "store" else reads
        view = views[argument.number]
        return buffers[view.buffer.id].address + view.offset * view.dtype.itemsize

    for kernel in lowered.kernels:
        pointers = [a for a in kernel.arguments if isinstance(a, Argument)]
        machine.launch(kernel, [address(a) for a in pointers], backwards)
    for number, buffer in buffers.items():
        assert buffer.is_intact, f"buffer {number} was overrun"
    return {v.buffer.id: buffers[v.buffer.id].flat for v in writes}
