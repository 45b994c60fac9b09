"""An assembler for the few instructions of x86-64 that kernels need.

Vectors have 32 bytes (AVX2 and FMA) or 64 (AVX-512 F and DQ). Instructions have the
names of the former; where the latter has masks of its own, two stand for one.

Encodings are of Intel's Software Developer's Manual, volume 2. Every instruction is
kept as text too, for explain().
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

import numpy as np

# Numbers of general registers.
RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI = range(8)
R8, R9, R10, R11, R12, R13, R14, R15 = range(8, 16)
_NAMES: Final = (
    *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
    *(f"r{n}" for n in range(8, 16)),
)
# Bytes of the longest vector; places for one and constants have as many.
WIDEST: Final = 64


class Mem(NamedTuple):
    """The memory at ``base + by * scale + offset``."""

    base: int
    offset: int = 0
    by: int | None = None
    scale: int = 1

    def __str__(self) -> str:
        index = "" if self.by is None else f" + {_NAMES[self.by]}*{self.scale}"
        offset = f" {'-' if self.offset < 0 else '+'} {abs(self.offset)}"
        return f"[{_NAMES[self.base]}{index}{offset if self.offset else ''}]"


class Const(NamedTuple):
    """A vector in the pool behind the code: the bytes of all its lanes."""

    data: bytes
    text: str

    def __str__(self) -> str:
        return f"[{self.text}]"


class Far(NamedTuple):
    """The memory at ``by * scale + offset`` from the address that ``pointer`` holds."""

    pointer: Mem
    offset: int = 0
    by: int | None = None
    scale: int = 1


Place = int | Mem | Far | Const


class _Form(NamedTuple):
    """How a vector instruction is encoded, see volume 2, section 2.3."""

    prefix: int  # 0 none, 1 66, 2 F3, 3 F2
    table: int  # 1 0F, 2 0F38, 3 0F3A
    opcode: int
    wide: int = 0  # the W bit
    long: int = 1  # 256 bits, not 128
    operands: str = "dab"  # d: reg field, a: vvvv field, b: r/m field
    extension: int = 0  # what the reg field holds where no operand does
    wide2: int = 0  # the W bit of the form on 64 bytes; 2 if there is none


def _forms() -> dict[str, _Form]:
    """The instructions by name; arithmetic on singles (ps) and doubles (pd)."""
    forms: dict[str, _Form] = {}
    arithmetic = {
        "vadd": 0x58, "vmul": 0x59, "vsub": 0x5C, "vmin": 0x5D, "vdiv": 0x5E,
        "vmax": 0x5F, "vand": 0x54, "vor": 0x56, "vxor": 0x57,
        "vcmp": 0xC2,
    }  # fmt: skip
    for prefix, kind in enumerate(("ps", "pd")):
        for name, opcode in arithmetic.items():
            forms[name + kind] = _Form(prefix, 1, opcode, wide2=prefix)
        forms["vsqrt" + kind] = _Form(prefix, 1, 0x51, operands="db", wide2=prefix)
        forms["vround" + kind] = _Form(1, 3, 8 + prefix, operands="db", wide2=prefix)
        forms["vblendv" + kind] = _Form(1, 3, 0x4A + prefix)
        for name, opcode in {"madd213": 0xA8, "madd231": 0xB8}.items():
            forms[f"vf{name}{kind}"] = _Form(1, 2, opcode, prefix, wide2=prefix)
            forms[f"vfn{name}{kind}"] = _Form(1, 2, opcode + 4, prefix, wide2=prefix)
        forms["vmaskmov" + kind] = _Form(1, 2, 0x2C + prefix)
        forms["vmaskmov_store" + kind] = _Form(1, 2, 0x2E + prefix, operands="bad")
    for name, opcode in {"vpaddd": 0xFE, "vpsubd": 0xFA}.items():
        forms[name] = _Form(1, 1, opcode)
    forms |= {
        "vmovups": _Form(0, 1, 0x10, operands="db"),
        "vmovups_store": _Form(0, 1, 0x11, operands="bd"),
        "vmovaps": _Form(0, 1, 0x28, operands="db"),
        "vbroadcastss": _Form(1, 2, 0x18, operands="db"),
        "vbroadcastsd": _Form(1, 2, 0x19, operands="db", wide2=1),
        "vpsubq": _Form(1, 1, 0xFB, wide2=1),
        "vmovss_store": _Form(2, 1, 0x11, long=0, operands="bd"),
        "vmovsd_store": _Form(3, 1, 0x11, long=0, operands="bd"),
        "vmovsd": _Form(3, 1, 0x10, long=0, operands="db"),
        "vaddsd": _Form(3, 1, 0x58, long=0),
        "vcvtps2dq": _Form(1, 1, 0x5B, operands="db"),
        "vcvtdq2ps": _Form(0, 1, 0x5B, operands="db"),
        "vcvtps2pd": _Form(0, 1, 0x5A, operands="db"),
        "vcvtsd2ss": _Form(3, 1, 0x5A, long=0),
        "vpslld": _Form(1, 1, 0x72, operands="ab", extension=6),
        "vpsrad": _Form(1, 1, 0x72, operands="ab", extension=4),
        "vpsrld": _Form(1, 1, 0x72, operands="ab", extension=2),
        "vextractf128": _Form(1, 3, 0x19, operands="bd", wide2=2),
        "vpermilps": _Form(1, 3, 0x04, operands="db", wide2=2),
        "vpermilpd": _Form(1, 3, 0x05, operands="db", wide2=2),
        "vpmovsxbd": _Form(1, 2, 0x21, operands="db"),
        "vpmovsxbq": _Form(1, 2, 0x22, operands="db"),
        "vpacksswb": _Form(1, 1, 0x63, long=0),
        "vpackssdw": _Form(1, 1, 0x6B, long=0),
        "vpabsb": _Form(1, 2, 0x1C, long=0, operands="db"),
        "vpabsd": _Form(1, 2, 0x1E, operands="db"),
        "vmovq_store": _Form(1, 1, 0xD6, long=0, operands="bd"),
        "vmovd_store": _Form(1, 1, 0x7E, long=0, operands="bd"),
    }
    return forms


FORMS: Final = _forms()
# What 64 bytes have besides, by kind: from a vector to a mask register and back, the
# choice by a mask register, the upper half, and truth values as bytes.
_WIDE: Final = {
    "to_mask": {"ps": _Form(2, 2, 0x39), "pd": _Form(2, 2, 0x39, wide2=1)},
    "from_mask": {"ps": _Form(2, 2, 0x38), "pd": _Form(2, 2, 0x38, wide2=1)},
    "choose": {"ps": _Form(1, 2, 0x65), "pd": _Form(1, 2, 0x65, wide2=1)},
}
_UPPER: Final = _Form(1, 3, 0x1B, operands="bd", wide2=1)
_TO_BYTES: Final = {"ps": _Form(2, 2, 0x31), "pd": _Form(2, 2, 0x32)}
# The mask registers for what an instruction of AVX2 does with a vector, and for the
# lanes that exist.
_K1, _K7 = 1, 7
_JUMPS: Final = {"jmp": 0, "jl": 0x8C, "jge": 0x8D, "jle": 0x8E, "jne": 0x85}


class Assembler:
    """Instructions, one after the other; ``finish`` gives the bytes."""

    def __init__(self, width: int = 32) -> None:
        self.width = width
        self._code = bytearray()
        self.text: list[str] = []
        self._labels: dict[str, int] = {}
        # (where 4 bytes of a distance are, what they lead to, bytes behind them)
        self._jumps: list[tuple[int, str]] = []
        self._consts: list[tuple[int, Const, int]] = []

    # --- vectors ----------------------------------------------------------------------

    def vector(
        self, name: str, d: Place, a: int | None = None, b: Place | None = None,
        imm: int | None = None,
    ) -> None:  # fmt: skip
        """An instruction with 1 to 3 operands in the order of the manual."""
        form = FORMS[name]
        given: list[Place] = [x for x in (d, a, b) if x is not None]
        assert len(given) == len(form.operands), name
        given = [self._near(x) if isinstance(x, Far) else x for x in given]
        if self.width == WIDEST and form.long and form.wide2 != 2:
            self._on_64_bytes(name, form, given, imm)
            return
        by = dict(zip(form.operands, given))
        reg = by.get("d", form.extension)
        vvvv, rm = by.get("a", 0), by["b"]
        assert isinstance(reg, int)
        assert isinstance(vvvv, int)
        base, index = self._parts(rm)
        code = self._code
        code.append(0xC4)
        code.append(
            (~reg >> 3 & 1) << 7 | (~index >> 3 & 1) << 6 | (~base >> 3 & 1) << 5
            | form.table
        )  # fmt: skip
        code.append(form.wide << 7 | (~vvvv & 15) << 3 | form.long << 2 | form.prefix)
        code.append(form.opcode)
        self._operand(reg, rm, 0 if imm is None else 1)
        if imm is not None:
            code.append(imm)
        short = name.replace("_store", "")
        kind = "ymm" if form.long else "xmm"
        parts = [f"{kind}{x}" if isinstance(x, int) else str(x) for x in given]
        if imm is not None:
            blend = short.startswith("vblendv")
            parts.append(f"{kind}{imm >> 4}" if blend else f"{imm}")
        self.text.append(f"    {short} {', '.join(parts)}")

    # --- vectors of 64 bytes ----------------------------------------------------------

    def _on_64_bytes(
        self, name: str, form: _Form, given: list[Place], imm: int | None
    ) -> None:
        """The same with AVX-512: its comparisons and choices take mask registers."""
        kind = name[-2:]
        if name.startswith("vcmp"):
            d, a, b = given
            self._evex(form, [_K1, a, b], imm)
            self._evex(_WIDE["from_mask"][kind], [d, 0, _K1])
        elif name.startswith("vblendv"):
            assert imm is not None
            self._evex(_WIDE["to_mask"][kind], [_K1, 0, imm >> 4])
            self._evex(_WIDE["choose"][kind], given, mask=_K1)
        elif name.startswith("vmaskmov_store"):
            self._evex(FORMS["vmovups_store"], [given[0], given[2]], mask=_K7)
        elif name.startswith("vmaskmov"):
            move = FORMS["vmovups"]
            self._evex(move, [given[0], given[2]], mask=_K7, zeroing=True)
        else:
            self._evex(form, given, imm)
        parts = [f"zmm{x}" if isinstance(x, int) else str(x) for x in given]
        if imm is not None:
            parts.append(f"zmm{imm >> 4}" if name.startswith("vblendv") else f"{imm}")
        self.text.append(f"    {name.replace('_store', '')} {', '.join(parts)}")

    def upper(self, d: int, b: int) -> None:
        """The upper half of a vector of 64 bytes."""
        self._evex(_UPPER, [d, b], 1)
        self.text.append(f"    vextractf64x4 ymm{d}, zmm{b}, 1")

    def to_bytes(self, place: Mem | Far, b: int, kind: str) -> None:
        """The lowest byte of every lane of 64 bytes, side by side."""
        place = self._near(place) if isinstance(place, Far) else place
        self._evex(_TO_BYTES[kind]._replace(operands="bd"), [place, b])
        self.text.append(f"    vpmov{'d' if kind == 'ps' else 'q'}b {place}, zmm{b}")

    def lanes(self, count: int) -> None:
        """For masked moves of 64 bytes: the first ``count`` times 4 bytes exist."""
        number = struct.pack("<i", (1 << count) - 1)
        self.raw(b"\xb8" + number, f"mov eax, {(1 << count) - 1}")
        self.raw(b"\xc5\xf8\x92\xf8", "kmovw k7, eax")

    def _evex(
        self,
        form: _Form,
        given: list[Place],
        imm: int | None = None,
        mask: int = 0,
        zeroing: bool = False,
    ) -> None:
        """The encoding of volume 2, section 2.7, for registers up to 15."""
        operands = form.operands if len(given) == len(form.operands) else "db"
        by = dict(zip(operands, given))
        reg, vvvv, rm = by.get("d", form.extension), by.get("a", 0), by["b"]
        assert isinstance(reg, int)
        assert isinstance(vvvv, int)
        base, index = self._parts(rm)
        code = self._code
        code.append(0x62)
        code.append(
            (~reg >> 3 & 1) << 7 | (~index >> 3 & 1) << 6 | (~base >> 3 & 1) << 5
            | 0x10 | form.table
        )  # fmt: skip
        code.append(form.wide2 << 7 | (~vvvv & 15) << 3 | 4 | form.prefix)
        code.append(zeroing << 7 | 0x48 | mask)
        code.append(form.opcode)
        self._operand(reg, rm, 0 if imm is None else 1, far=True)
        if imm is not None:
            code.append(imm)

    def _near(self, place: Far) -> Mem:
        """The same memory; rax takes the address."""
        self.load(RAX, place.pointer)
        return Mem(RAX, *place[1:])

    @staticmethod
    def _parts(place: Place) -> tuple[int, int]:
        """The base and the index register of an operand, for the prefix."""
        if isinstance(place, int):
            return place, 0
        if isinstance(place, Const):
            return 0, 0
        assert isinstance(place, Mem)
        return place.base, place.by or 0

    def _operand(self, reg: int, place: Place, behind: int, far: bool = False) -> None:
        """The ModRM byte, and what follows it; ``behind``: bytes of an immediate.

        ``far``: offsets always have 4 bytes.
        """
        code, field = self._code, (reg & 7) << 3
        if isinstance(place, int):
            code.append(0xC0 | field | place & 7)
            return
        if isinstance(place, Const):
            code.append(field | 5)
            self._consts.append((len(code), place, behind))
            code.extend(b"\0\0\0\0")
            return
        assert isinstance(place, Mem)
        small = -128 <= place.offset < 128 and not far
        mode = 0x40 if small else 0x80
        if place.by is not None or place.base & 7 == RSP:
            index = RSP if place.by is None else place.by
            code.append(mode | field | 4)
            scale = place.scale.bit_length() - 1
            code.append(scale << 6 | (index & 7) << 3 | place.base & 7)
        else:
            code.append(mode | field | place.base & 7)
        code.extend(struct.pack("<b" if small else "<i", place.offset))

    # --- whole numbers and addresses --------------------------------------------------

    def _general(
        self, opcode: int, reg: int, place: int | Mem, behind: int = 0
    ) -> None:
        base, index = self._parts(place)
        self._code.append(0x48 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3)
        self._code.append(opcode)
        self._operand(reg, place, behind)

    def load(self, reg: int, place: int | Mem) -> None:
        """``reg = place``, 8 bytes."""
        self._general(0x8B, reg, place)
        self.text.append(f"    mov {_NAMES[reg]}, {self._shown(place)}")

    def store(self, place: Mem, reg: int) -> None:
        """``place = reg``, 8 bytes."""
        self._general(0x89, reg, place)
        self.text.append(f"    mov {place}, {_NAMES[reg]}")

    def number(self, reg: int, value: int) -> None:
        """``reg = value``, any 64 bits."""
        self._code.append(0x48 | reg >> 3)
        self._code.append(0xB8 | reg & 7)
        self._code.extend(struct.pack("<q", value))
        self.text.append(f"    mov {_NAMES[reg]}, {value}")

    def address(self, reg: int, place: Mem) -> None:
        """``reg`` = the address of ``place``."""
        self._general(0x8D, reg, place)
        self.text.append(f"    lea {_NAMES[reg]}, {place}")

    def add(self, place: int | Mem, value: int) -> None:
        """``place += value``."""
        self._immediate("add", 0, place, value)

    def compare(self, place: int | Mem, value: int) -> None:
        """For the next jump: ``place`` against ``value``."""
        self._immediate("cmp", 7, place, value)

    def _immediate(self, name: str, field: int, place: int | Mem, value: int) -> None:
        self._general(0x81, field, place, 4)
        self._code.extend(struct.pack("<i", value))
        self.text.append(f"    {name} {self._shown(place)}, {value}")

    def add_to(self, reg: int, place: int | Mem) -> None:
        """``reg += place``."""
        self._general(0x03, reg, place)
        self.text.append(f"    add {_NAMES[reg]}, {self._shown(place)}")

    def subtract_from(self, reg: int, place: int | Mem) -> None:
        """``reg -= place``."""
        self._general(0x2B, reg, place)
        self.text.append(f"    sub {_NAMES[reg]}, {self._shown(place)}")

    def compare_to(self, reg: int, place: int | Mem) -> None:
        """For the next jump: ``reg`` against ``place``."""
        self._general(0x3B, reg, place)
        self.text.append(f"    cmp {_NAMES[reg]}, {self._shown(place)}")

    def times(self, reg: int, place: int | Mem, value: int) -> None:
        """``reg = place * value``."""
        self._general(0x69, reg, place, 4)
        self._code.extend(struct.pack("<i", value))
        self.text.append(f"    imul {_NAMES[reg]}, {self._shown(place)}, {value}")

    def reserve(self) -> int:
        """Make room on the stack; ``fill`` says later how much."""
        self.raw(b"\x48\x81\xec\0\0\0\0", "sub rsp, frame")
        return len(self._code) - 4

    def fill(self, at: int, value: int) -> None:
        """Write the number that was left open."""
        struct.pack_into("<i", self._code, at, value)

    def raw(self, code: bytes, text: str) -> None:
        """Any instruction."""
        self._code.extend(code)
        self.text.append(f"    {text}")

    def push(self, reg: int) -> None:
        """Save a register."""
        self.raw(bytes([0x41] * (reg >> 3) + [0x50 | reg & 7]), f"push {_NAMES[reg]}")

    def pop(self, reg: int) -> None:
        """Restore a register."""
        self.raw(bytes([0x41] * (reg >> 3) + [0x58 | reg & 7]), f"pop {_NAMES[reg]}")

    def call(self, address: int) -> None:
        """Call the C function at ``address``; rax is lost, as are its arguments."""
        self.number(RAX, address)
        self.raw(b"\xff\xd0", "call rax")

    # --- labels -----------------------------------------------------------------------

    def label(self, name: str) -> None:
        """Here is ``name``."""
        self._labels[name] = len(self._code)
        self.text.append(f"{name}:")

    def jump(self, name: str, label: str) -> None:
        """Go to ``label``, always (jmp) or if the comparison says so."""
        opcode = _JUMPS[name]
        self._code.extend([0x0F, opcode] if opcode else [0xE9])
        self._jumps.append((len(self._code), label))
        self._code.extend(b"\0\0\0\0")
        self.text.append(f"    {name} {label}")

    @staticmethod
    def _shown(place: int | Mem) -> str:
        return _NAMES[place] if isinstance(place, int) else str(place)

    # --- the result -------------------------------------------------------------------

    def finish(self) -> bytes:
        """The code, and the pool of constants behind it."""
        code = bytearray(self._code)
        for at, label in self._jumps:
            struct.pack_into("<i", code, at, self._labels[label] - at - 4)
        code.extend(b"\xcc" * (-len(code) % WIDEST))
        places: dict[bytes, int] = {}
        for at, const, behind in self._consts:
            place = places.get(const.data)
            if place is None:
                place = places[const.data] = len(code)
                code.extend(const.data)
            struct.pack_into("<i", code, at, place - at - 4 - behind)
        return bytes(code)


def const(value: float, kind: str) -> Const:
    """A vector of one number: "ps", "pd", or "dw" for 32-bit whole numbers."""
    dtype = {"ps": np.float32, "pd": np.float64, "dw": np.int32}[kind]
    item = np.asarray(value).astype(dtype)
    data = item.tobytes()
    return Const(data * (WIDEST // len(data)), repr(item.item()))
