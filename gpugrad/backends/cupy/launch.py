"""Launching kernels: parameters packed once, pointers rewritten, one driver call.

A launch is frozen when a program is loaded. What changes from run to run is a few
pointers, which are written into the packed parameters; no array is made on the way.
Only the driver call itself needs a GPU; it has not been run on one.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from gpugrad.backends.cupy.failure import error_of
from gpugrad.backends.cupy.layout import Argument
from gpugrad.backends.cupy.text import Kernel, Number

_SLOT: Final = 8  # bytes: every parameter has one, whatever its size


class Packed(NamedTuple):
    """Kernel parameters as the driver takes them.

    ``values`` holds one 8-byte slot a parameter; ``pointers`` is the array of the
    slots' addresses. Writing into ``values`` changes the next launch.
    """

    values: Any
    pointers: Any


def pack(arguments: Sequence[Argument | Number], addresses: Sequence[int]) -> Packed:
    """Parameters with ``addresses`` in the places of pointers, in order.

    Numbers are written as they are: the machine is little-endian, so that the first
    bytes of a slot are the number in every width.
    """
    values = (ctypes.c_uint64 * max(len(arguments), 1))()
    left = iter(addresses)
    for place, argument in enumerate(arguments):
        if isinstance(argument, Number):
            values[place] = argument.value & (2**64 - 1)
        else:
            values[place] = next(left)
    base = ctypes.addressof(values)
    slots = [base + _SLOT * place for place in range(len(arguments))]
    return Packed(values, (ctypes.c_void_p * max(len(arguments), 1))(*slots))


class Launch:
    """One kernel launch, frozen but for its pointers."""

    __slots__ = ("_call", "_name", "_packed", "_shape", "_stream", "function")

    def __init__(
        self,
        call: Callable[..., int],
        function: int,
        kernel: Kernel,
        stream: int,
        addresses: Sequence[int],
    ) -> None:
        self._call = call
        self.function = function
        self._name = kernel.name
        self._packed = pack(kernel.arguments, addresses)
        self._shape = (*kernel.grid, *kernel.block, 0)
        self._stream = stream

    @property
    def values(self) -> Any:
        """The parameters' slots, to write pointers into."""
        return self._packed.values

    def __call__(self) -> None:
        """Enqueue it; the host does not wait. See failure.error_of if that fails."""
        status = self._call(
            self.function, *self._shape, self._stream, self._packed.pointers, None
        )
        if status != 0:
            raise error_of(status, f"launching {self._name}")


@cache
def driver_launch() -> Callable[..., int]:
    """cuLaunchKernel of the driver's library."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    function = ctypes.CDLL(name).cuLaunchKernel
    function.argtypes = [
        ctypes.c_void_p,
        *[ctypes.c_uint] * 7,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
    ]
    function.restype = ctypes.c_int
    return function
