"""CUDA C++ text -> machine code, by NVRTC; no GPU, no driver and no CuPy are needed."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from gpugrad.backends.cupy.cache import CubinCache
from gpugrad.backends.cupy.source import headers, headers_digest

# Denormals are kept and division is exact, NVRTC's default: what NumPy computes is what
# we compute. 177: a generated kernel may declare a coordinate that it does not use.
OPTIONS: Final = (
    "-std=c++17",
    "-default-device",
    "--ptxas-options=-v",
    "-diag-suppress=177",
)
_INSTALL: Final = "pip install 'gpugrad[nvrtc]'"


class CompileError(RuntimeError):
    """NVRTC refused a generated kernel: a fault of gpugrad's, with the line shown.

    ``kernels``: the names of those that it complains of.
    """

    def __init__(self, message: str, kernels: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kernels = tuple(kernels)


class Compiled(NamedTuple):
    """Machine code, and what the assembler said of registers and spills."""

    cubin: bytes
    log: str


class Nvrtc:
    """NVRTC's library. Its functions release the interpreter lock."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def _check(self, status: int, doing: str) -> None:
        if status != 0:
            reason = self._library.nvrtcGetErrorString(status).decode()
            raise CompileError(f"NVRTC failed to {doing}: {reason}")

    @property
    def version(self) -> tuple[int, int]:
        """NVRTC's version, (13, 0) for example."""
        major, minor = ctypes.c_int(), ctypes.c_int()
        status = self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        self._check(status, "tell its version")
        return major.value, minor.value

    def compile(self, source: str, arch: str, options: Sequence[str]) -> Compiled:
        """``source`` as machine code of ``arch``, "sm_90" for example.

        Raises CompileError with the lines that NVRTC complains of.
        """
        library, program = self._library, ctypes.c_void_p()
        texts = headers()
        names = (ctypes.c_char_p * len(texts))(*[n.encode() for n in texts])
        contents = (ctypes.c_char_p * len(texts))(*[t.encode() for t in texts.values()])
        status = library.nvrtcCreateProgram(
            ctypes.byref(program),
            source.encode(),
            b"gpugrad.cu",
            len(texts),
            contents,
            names,
        )
        self._check(status, "take the source")
        try:
            flags = [o.encode() for o in (*options, f"-arch={arch}")]
            argv = (ctypes.c_char_p * len(flags))(*flags)
            status = library.nvrtcCompileProgram(program, len(flags), argv)
            raw = self._result(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")
            log = raw.rstrip(b"\0").decode("utf-8", "replace")
            if status != 0:
                raise CompileError(explain_log(log, arch), blamed(log, source))
            cubin = self._result(program, "nvrtcGetCUBINSize", "nvrtcGetCUBIN")
            return Compiled(cubin, log)
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _result(self, program: ctypes.c_void_p, sizer: str, getter: str) -> bytes:
        size = ctypes.c_size_t()
        status = getattr(self._library, sizer)(program, ctypes.byref(size))
        self._check(status, "size its result")
        buffer = ctypes.create_string_buffer(size.value)
        status = getattr(self._library, getter)(program, buffer)
        self._check(status, "give its result")
        return buffer.raw[: size.value]


# NVRTC names the line itself, or the one that a header's template is used in.
_LINE: Final = re.compile(
    r"^gpugrad\.cu\((\d+)\): (?:catastrophic )?error|at line (\d+) of gpugrad\.cu", re.M
)
_KERNEL: Final = re.compile(r"^(?:.*\s)?(\w+)\(.*\) \{$")


def blamed(log: str, source: str) -> list[str]:
    """The kernels of a module's ``source`` in which the lines of errors are."""
    lines, names = source.splitlines(), []
    for match in _LINE.finditer(log):
        number = int(match[1] or match[2])
        heads = (_KERNEL.match(line) for line in reversed(lines[:number]))
        name = next((h[1] for h in heads if h and h[1].startswith("gpugrad_")), None)
        if name is not None and name not in names:
            names.append(name)
    return names


def explain_log(log: str, arch: str) -> str:
    """NVRTC's messages, which show the generated line that each is about."""
    return (
        f"NVRTC could not compile a generated kernel for {arch}.\n{log}\n"
        "This is a fault of gpugrad: please report it with the lines above."
    )


# --- finding the library ----------------------------------------------------------


def _candidates() -> Iterator[str]:
    """Where NVRTC may be: NVIDIA's wheels, the CUDA toolkit, the system's paths."""
    pattern = "nvrtc64_*.dll" if sys.platform == "win32" else "libnvrtc.so.*"
    spec = find_spec("nvidia")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        # nvidia/cu13/lib in CUDA 13's wheels, nvidia/cuda_nvrtc/lib in CUDA 12's.
        found = [p for p in Path(place).glob(f"*/*/{pattern}") if ".alt" not in p.name]
        yield from map(str, sorted(found, reverse=True))
    for variable in ("CUDA_PATH", "CUDA_HOME"):
        if root := os.environ.get(variable):
            yield from map(str, sorted(Path(root).glob(f"lib64/{pattern}")))
            yield from map(str, sorted(Path(root).glob(f"bin/{pattern}")))
    yield from ("libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12")


@cache
def nvrtc() -> Nvrtc:
    """NVRTC; raises CompileError if it is not installed."""
    for name in _candidates():
        try:
            return Nvrtc(ctypes.CDLL(name))
        except OSError:
            continue
    raise CompileError(
        f"NVRTC, CUDA's run-time compiler, was not found. Install it with: {_INSTALL} "
        "(CUDA 13), or pip install nvidia-cuda-nvrtc-cu12 (CUDA 12)."
    )


# --- compiling --------------------------------------------------------------------


def cache_key(source: str, arch: str, version: tuple[int, int]) -> str:
    """A digest of all that decides the machine code."""
    parts = (source, headers_digest(), arch, *OPTIONS, *map(str, version))
    return sha256("\0".join(parts).encode()).hexdigest()


def compile_modules(
    sources: Iterable[str], arch: str, cubins: CubinCache | None = None
) -> list[Compiled]:
    """Machine code of each source, from ``cubins`` where it is there, else by NVRTC.

    Several sources are compiled at a time.
    """
    compiler = nvrtc()

    def make(source: str) -> Compiled:
        key = cache_key(source, arch, compiler.version)
        known = cubins.get(key) if cubins else None
        if known is not None:
            return Compiled(known, "")
        made = compiler.compile(source, arch, OPTIONS)
        if cubins:
            cubins.put(key, made.cubin)
        return made

    todo = list(sources)
    if len(todo) < 2:
        return [make(source) for source in todo]
    with ThreadPoolExecutor(min(len(todo), os.cpu_count() or 1, 8)) as pool:
        return list(pool.map(make, todo))
