"""NVIDIA's tools for tests that need no GPU: compiler, disassembler, what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from gpugrad.backends.cupy.compile import OPTIONS, CompileError, nvrtc
from gpugrad.backends.cupy.text import Kernel, module_source

ARCHS = ("sm_80", "sm_90", "sm_100")
_INSTALL = "pip install 'gpugrad[nvrtc]'"
# Starting the disassembler takes half a second, so modules are large.
_MODULE_KERNELS = 128
_THREADS = 2


def require_tools() -> str:
    """The disassembler's path; skips the test, aloud, if a tool is missing."""
    try:
        nvrtc()
    except CompileError as error:
        pytest.skip(str(error))
    found = shutil.which("nvdisasm")
    spec = find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(place).glob("*/bin/nvdisasm"):
            found = found or str(path)
    if found is None:
        pytest.skip(f"nvdisasm was not found; install it with: {_INSTALL}")
    return found


class Report(NamedTuple):
    """What became of one kernel."""

    registers: int
    stack_bytes: int
    spill_bytes: int
    code: str  # its instructions, disassembled

    def count(self, pattern: str) -> int:
        """How many instructions match."""
        return len(re.findall(pattern, self.code))

    @property
    def wide_accesses(self) -> tuple[int, int]:
        """Loads and stores of global memory of 16 bytes or more."""
        width = r"\.E[\w.]*\.(128|256|ENL2\.256)\b"
        return self.count(rf"\bLDG{width}"), self.count(rf"\bSTG{width}")


_PTXAS = re.compile(
    r"Compiling entry function '(?P<name>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<out>\d+) bytes spill stores, "
    r"(?P<back>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def build(source: str, arch: str, nvdisasm: str, folder: Path) -> dict[str, Report]:
    """Compile one module to machine code; a Report for each of its kernels."""
    made = nvrtc().compile(source, arch, OPTIONS)
    path = folder / f"{abs(hash(source))}-{arch}.cubin"
    path.write_bytes(made.cubin)
    done = subprocess.run(
        [nvdisasm, "-c", str(path)], capture_output=True, text=True, check=True
    )
    # One section a kernel: .text.NAME: up to the next section.
    parts = re.split(r"^\s*\.section\s+\.text\.(\w+),.*$", done.stdout, flags=re.M)
    code = {n: _instructions(t) for n, t in zip(parts[1::2], parts[2::2])}
    return {
        m["name"]: Report(
            int(m["registers"]),
            int(m["stack"]),
            int(m["out"]) + int(m["back"]),
            code[m["name"]],
        )
        for m in _PTXAS.finditer(made.log)
    }


def _instructions(section: str) -> str:
    return "\n".join(re.findall(r"/\*[0-9a-f]+\*/\s+(.*?;)", section))


def build_all(
    kernels: Iterable[Kernel], arch: str, nvdisasm: str, folder: Path
) -> dict[str, Report]:
    """Reports of all kernels, compiled a few at a time."""
    todo = sorted({k.name: k for k in kernels}.values())
    size = _MODULE_KERNELS
    pieces = [todo[i : i + size] for i in range(0, len(todo), size)]
    found: dict[str, Report] = {}

    def make(piece: list[Kernel]) -> dict[str, Report]:
        return build(module_source(piece), arch, nvdisasm, folder)

    with ThreadPoolExecutor(_THREADS) as pool:
        for reports in pool.map(make, pieces):
            found.update(reports)
    missing = {k.name for k in todo} - found.keys()
    assert not missing, f"no machine code for {sorted(missing)[:3]}"
    return found


def faults(kernel: Kernel, report: Report, may_keep_a_frame: bool) -> list[str]:
    """What is wrong with a kernel's machine code."""
    found = []
    if report.spill_bytes:
        found.append(f"{report.spill_bytes} bytes of registers spilled")
    local = report.count(r"\b(LDL|STL)\b")
    if (report.stack_bytes or local) and not may_keep_a_frame:
        found.append(f"{report.stack_bytes} bytes of stack, {local} local accesses")
    threads = kernel.block[0] * kernel.block[1] * kernel.block[2]
    if report.registers * threads > 65536:
        found.append(f"{report.registers} registers a thread do not fit a block")
    if kernel.name.startswith("gpugrad_map") and report.count(r"\bBAR\b"):
        found.append("a barrier in an elementwise kernel")
    return found
