"""Straight-line code on vectors, whose values are given registers.

Values are in static single assignment. They get the 16 registers in one walk, as
Belady (1966) has it: when all are taken, the value whose next use is furthest away
leaves. What lies in memory anyway (a load, a constant) is read again, anything else is
kept in the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from gpugrad.backends.numpy.x86.assembler import (
    WIDEST,
    Assembler,
    Const,
    Far,
    Mem,
    Place,
)

# Names of functions of two arguments whose order does not matter.
_SYMMETRIC: Final = frozenset(
    f"v{name}{kind}" for name in ("add", "mul", "and", "or", "xor")
    for kind in ("ps", "pd")
) | {"vpaddd"}  # fmt: skip
# Functions whose argument cannot be in memory.
_NEVER_MEMORY: Final = (
    "vpslld",
    "vpsrad",
    "vpsrld",
    "vcvtps2pd",
    "vextractf128",
    "upper",
)
REGISTERS: Final = tuple(range(16))


class Value:
    """A vector. ``home``: where it lies in memory, if it does, and how to load it.

    ``pinned``: it has ``reg`` for good, and may change: an accumulator, a mask.
    """

    __slots__ = ("home", "loader", "mask", "pinned", "reg")

    def __init__(
        self,
        home: Place | None = None,
        loader: str = "vmovups",
        mask: Value | None = None,
        pinned: int | None = None,
    ) -> None:
        self.home, self.loader, self.mask = home, loader, mask
        self.pinned = pinned is not None
        self.reg = pinned

    @property
    def foldable(self) -> bool:
        """True when an instruction may read it from memory by itself."""
        return self.home is not None and self.loader == "vmovups"


class _Line(NamedTuple):
    name: str
    result: Value | None
    args: tuple[Value, ...]
    imm: int | None
    target: Mem | Far | None


class Block:
    """Collects lines; ``emit`` writes them.

    ``kind``: "ps" for singles, "pd" for doubles. ``mask``: the lanes that exist in the
    last, shorter vector of a row, or None where all do.
    """

    def __init__(self, kind: str, mask: Value | None = None) -> None:
        self.kind, self.mask = kind, mask
        self._lines: list[_Line] = []
        self._consts: dict[Const, Value] = {}

    # --- writing ----------------------------------------------------------------------

    def op(self, name: str, *args: Value, imm: int | None = None) -> Value:
        """The result of an instruction, given in full: ``op("vaddps", x, y)``."""
        result = Value()
        self._lines.append(_Line(name, result, args, imm, None))
        return result

    def __call__(self, name: str, *args: Value, imm: int | None = None) -> Value:
        """As ``op``, of this block's kind of number: ``block("vadd", x, y)``."""
        return self.op(name + self.kind, *args, imm=imm)

    def into(self, pinned: Value, name: str, *args: Value) -> None:
        """An instruction whose result goes into a pinned value."""
        self._lines.append(_Line(name, pinned, args, None, None))

    def store(
        self, target: Mem | Far, value: Value, name: str = "vmovups", full: bool = False
    ) -> None:
        """Write ``value``: the lanes of it that exist, or ``full``."""
        args: tuple[Value, ...] = (value,)
        if self.mask is not None and name == "vmovups" and not full:
            name, args = f"vmaskmov_store{self.kind}", (value, self.mask)
        self._lines.append(_Line(name, None, args, None, target))

    def load(self, place: Mem | Far) -> Value:
        """The vector there, or the lanes of it that exist and zeros."""
        if self.mask is None:
            return Value(place)
        return Value(place, f"vmaskmov{self.kind}", self.mask)

    def const(self, const: Const) -> Value:
        """A vector of one number."""
        found = self._consts.get(const)
        if found is None:
            found = self._consts[const] = Value(const)
        return found

    # --- registers --------------------------------------------------------------------

    def emit(
        self, asm: Assembler, new_slot: Callable[[], Mem], taken: Iterable[int]
    ) -> None:
        """Write the code. ``new_slot``: a vector of frame; ``taken``: not to use."""
        _Allocation(_needed(self._lines), asm, new_slot, set(taken)).run()
        self._lines = []


def _needed(lines: list[_Line]) -> list[_Line]:
    """Without lines whose results nobody reads."""
    read: set[Value] = set()
    kept = []
    for line in reversed(lines):
        result = line.result
        if result is None or result.pinned or result in read:
            kept.append(line)
            read.update(line.args)
    return kept[::-1]


class _Allocation:
    """One walk over the lines of a block."""

    def __init__(
        self,
        lines: list[_Line],
        asm: Assembler,
        new_slot: Callable[[], Mem],
        taken: set[int],
    ) -> None:
        self._lines, self._asm, self._new_slot = lines, asm, new_slot
        self._free = [r for r in reversed(REGISTERS) if r not in taken]
        self._held: dict[Value, int] = {}
        # Places in the code where each value is read, the next one last.
        self._uses: dict[Value, list[int]] = {}
        for place in reversed(range(len(lines))):
            for arg in lines[place].args:
                self._uses.setdefault(arg, []).append(place)
        self._slots: list[Mem] = []
        self._spilled: dict[Value, Mem] = {}

    def run(self) -> None:
        for line in self._lines:
            if line.target is not None:
                self._store(line, line.target)
            elif "fma" in line.name or "fnma" in line.name:
                self._multiply_add(line)
            else:
                self._line(line)
        for value in self._held:
            value.reg = None

    # --- lines ------------------------------------------------------------------------

    def _store(self, line: _Line, target: Mem | Far) -> None:
        regs = [self._register(a, line.args) for a in line.args]
        if line.name == "vmovups":
            self._asm.vector("vmovups_store", target, b=regs[0])
        elif line.name.startswith("to_bytes"):
            self._asm.to_bytes(target, regs[0], line.name[-2:])
        elif len(regs) == 2:
            self._asm.vector(line.name, target, regs[1], regs[0])
        else:
            self._asm.vector(line.name, target, b=regs[0])
        self._read(line)

    def _line(self, line: _Line) -> None:
        name, args = line.name, line.args
        if name.startswith("vblendv"):
            other, chosen, mask = args
            a = self._register(other, args)
            by = self._register(mask, args)
            b: Place = self._anywhere(chosen, args, name)
            self._read(line)
            self._asm.vector(name, self._result(line), a, b, by << 4)
            return
        if len(args) == 2 and name in _SYMMETRIC:
            x, y = args
            if x.reg is None and (y.reg is not None or not y.foldable):
                args = (y, x)

        if len(args) == 2:
            a = self._register(args[0], args)
            b = self._anywhere(args[1], args, name)
            self._read(line)
            self._asm.vector(name, self._result(line), a, b, line.imm)
            return
        b = self._anywhere(args[0], args, name)
        self._read(line)
        if name == "upper":
            self._upper(self._result(line), b)
        else:
            self._asm.vector(name, self._result(line), b=b, imm=line.imm)

    def _upper(self, target: int, source: Place) -> None:
        """The upper half of a vector."""
        assert isinstance(source, int)
        if self._asm.width == WIDEST:
            self._asm.upper(target, source)
        else:
            self._asm.vector("vextractf128", target, b=source, imm=1)

    def _multiply_add(self, line: _Line) -> None:
        """x * y + z in one of the forms that overwrite an operand that nobody needs."""
        x, y, z = line.args
        kind, name = line.name[-2:], line.name[:-2]
        if self._dies(x, line) and not x.pinned and x is not y and x is not z:
            own = self._register(x, line.args)
            a = self._register(y, line.args)
            b = self._anywhere(z, line.args, name)
            form = f"v{name}dd213{kind}" if name == "fma" else f"vfnmadd213{kind}"
        else:
            a = self._register(x, line.args)
            b = self._anywhere(y, line.args, name)
            form = f"vfmadd231{kind}" if name == "fma" else f"vfnmadd231{kind}"
            if self._dies(z, line) and not z.pinned and z not in (x, y):
                own = self._register(z, line.args)
            else:
                at = self._anywhere(z, line.args, name)
                own = self._take(line.args)
                self._asm.vector("vmovups", own, b=at)
                self._read(line)
                assert line.result is not None
                self._hold(line.result, own)
                self._asm.vector(form, own, a, b)
                return
        self._asm.vector(form, own, a, b)
        dying = x if "213" in form else z
        self._held.pop(dying, None)
        dying.reg = None
        self._read(line)
        assert line.result is not None
        self._hold(line.result, own)

    # --- values -----------------------------------------------------------------------

    def _dies(self, value: Value, line: _Line) -> bool:
        """Is this the last line that reads the value?"""
        return len(self._uses[value]) == line.args.count(value)

    def _read(self, line: _Line) -> None:
        """The line's arguments have been read; those not needed any more go."""
        for arg in line.args:
            self._uses[arg].pop()
        for arg in line.args:
            if not self._uses[arg] and arg in self._held:
                self._free.append(self._held.pop(arg))
                arg.reg = None

    def _anywhere(self, value: Value, keep: tuple[Value, ...], name: str) -> Place:
        """The value's register, or its memory where that is as good."""
        if value.reg is not None:
            return value.reg
        again = len(self._uses[value]) > 1 and bool(self._free)
        home = self._spilled.get(value, value.home)
        folds = value in self._spilled or value.foldable
        good = isinstance(home, Const) or not again
        if home is not None and folds and good and name not in _NEVER_MEMORY:
            return home
        return self._register(value, keep)

    def _register(self, value: Value, keep: tuple[Value, ...]) -> int:
        """The value's register, into which it is loaded if need be."""
        if value.reg is not None:
            return value.reg
        reg = self._take(keep)
        spilled = self._spilled.get(value)
        if spilled is not None:
            self._asm.vector("vmovups", reg, b=spilled)
        else:
            assert value.home is not None
            if value.mask is not None:
                mask = value.mask.reg
                self._asm.vector(value.loader, reg, mask, value.home)
            else:
                self._asm.vector(value.loader, reg, b=value.home)
        self._hold(value, reg)
        return reg

    def _result(self, line: _Line) -> int:
        """A register for what the line computes."""
        assert line.result is not None
        if line.result.pinned:
            assert line.result.reg is not None
            return line.result.reg
        reg = self._take(())
        self._hold(line.result, reg)
        return reg

    def _hold(self, value: Value, reg: int) -> None:
        value.reg = reg
        self._held[value] = reg

    def _take(self, keep: tuple[Value, ...]) -> int:
        """A register: a free one, or that of the value which is needed last."""
        if self._free:
            return self._free.pop()
        last = max(
            (v for v in self._held if v not in keep), key=lambda v: self._uses[v][-1]
        )
        reg = self._held.pop(last)
        last.reg = None
        if last.home is None and last not in self._spilled:
            slot = self._spilled[last] = self._new_slot()
            self._asm.vector("vmovups_store", slot, b=reg)
        return reg
