"""The machine code of one Program: its kernels, their calls, and their functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from gpugrad.backends.numpy.kernel import Writer
from gpugrad.backends.numpy.module import Module
from gpugrad.backends.numpy.pool import available
from gpugrad.backends.numpy.x86.groups import SHARE_NS, Machined, Shared, machined
from gpugrad.backends.numpy.x86.native import functions, width
from gpugrad.backends.numpy.x86.stages import Refused
from gpugrad.config import Config
from gpugrad.dtypes import of_numpy
from gpugrad.kir import meaning
from gpugrad.kir.program import Group
from gpugrad.kir.scalar import Lit
from gpugrad.kir.space import Buffer, whole


class ProgramWriter(Writer, Protocol):
    """What calls of machine code need of the code generator."""

    namespace: dict[str, Any]

    def of_run(self, buffer: Buffer) -> str | None:
        """The local that holds a buffer of the run; None for what stays."""
        ...


class MachineCode:
    """Collects kernels. ``same``: by buffer of the run, that whose memory it takes."""

    def __init__(self, writer: ProgramWriter, settings: Config) -> None:
        self._writer = writer
        self._width = width(settings.machine_code)
        share = settings.share_ns
        self._share_ns = SHARE_NS if share is None else share
        self._threads = settings.num_threads or available()
        self._kernels: list[Machined] = []
        # How many groups are NumPy calls, by what stands against machine code.
        self._refused: dict[str, int] = {}
        self.same: dict[int, int] = {}

    def write(self, group: Group, numbers: Iterator[int]) -> bool:
        """The calls that do a group; False if it has to be done otherwise."""
        if not self._width:
            return False
        limits = self._share_ns, self._width
        try:
            kernels = machined(group, self._locate, numbers, *limits, self.same)
        except Refused as reason:
            self._refused[str(reason)] = self._refused.get(str(reason), 0) + 1
            return False
        for kernel in kernels:
            self._call(kernel)
        return True

    def _locate(self, buffer: Buffer) -> int | None:
        """The address of what stays from run to run."""
        if self._writer.of_run(buffer) is not None:
            return None
        name = self._writer.view(whole(buffer, (buffer.size,)))
        return int(self._writer.namespace[name].ctypes.data)

    def _call(self, kernel: Machined) -> None:
        """The call of a kernel, and the last additions of its folds."""
        writer, number = self._writer, len(self._kernels)
        self._kernels.append(kernel)
        kept = []
        for place, (node, _, array) in enumerate(kernel.sums):
            name = f"m{number}_{node.kind}{place}"
            writer.namespace[name] = array
            kept.append(name)
            dtype = of_numpy(array.dtype)
            nothing = Lit(meaning.identity(node.kind, dtype), dtype)
            writer.line(f"{name}[...] = {writer.literal(nothing)}")
        names = [str(writer.of_run(buffer)) for buffer in kernel.arguments]
        writer.line(f"m{number}({', '.join(names)})")
        for name, (node, target, array) in zip(kept, kernel.sums):
            value = f"{name}_0"
            if len(array) == 1:
                writer.namespace[value] = array[0]
            else:
                fold = meaning.REDUCTION[node.kind].reduce
                value = f"{writer.bind(fold, f'reduce_{node.kind}')}({name}, 0)"
            writer.line(f"{writer.view(target)}[...] = {value}")

    def compile(self, module: Module) -> None:
        """Bind the functions to the names by which they are called."""
        for reason, count in self._refused.items():
            module.listings.append(f"# groups of NumPy calls: {count}, for {reason}\n")
        if not self._kernels:
            return
        made = functions([kernel.code for kernel in self._kernels])
        for number, (kernel, function) in enumerate(zip(self._kernels, made)):
            call: Any = function
            if kernel.portions is not None:
                call = Shared(function, kernel, self._threads)
            self._writer.namespace[f"m{number}"] = call
            lines = [f"m{number}: machine code over {kernel.summary}", *kernel.text]
            module.listings.append("".join(f"# {line}\n" for line in lines))
