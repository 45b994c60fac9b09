"""The C text that all generated kernels share: values, coordinates, accesses, names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

from gpugrad.backends.cupy import scalar
from gpugrad.backends.cupy.layout import Argument, Nest, Operand, access_width
from gpugrad.backends.cupy.literals import computed, literal, storage
from gpugrad.kir.scalar import Apply, Expr, Index, Lit, Load, children

_POINTERS: Final = {"load": "in", "store": "out", "scratch": "scratch"}
_NAME: Final = "@name@"
# From this cost (scalar.cost) on a kernel may fill the registers.
DEAR: Final = 1000
# Of a multiprocessor.
_REGISTERS: Final = 65536


class Kernel(NamedTuple):
    """One kernel and how it is launched.

    ``text`` is its definition, without the headers. ``arguments`` are its parameters
    in order: pointers, or numbers that are passed by value.
    """

    name: str
    text: str
    headers: tuple[str, ...]
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Argument | Number, ...]


class Number(NamedTuple):
    """A parameter passed by value: ``ctype`` is "u32" or "i64"."""

    ctype: str
    value: int


class Lowered(NamedTuple):
    """Kernels to launch one after the other, and the scratch memory they share.

    ``scratch``: bytes of each scratch buffer.
    """

    kernels: tuple[Kernel, ...]
    scratch: tuple[int, ...] = ()


class Body:
    """Lines of C, indented by depth."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._depth = 1

    def add(self, *lines: str) -> None:
        """Append lines; a trailing brace opens a block and a leading one closes it."""
        for line in lines:
            if line.startswith("}"):
                self._depth -= 1
            self._lines.append("  " * self._depth + line)
            if line.endswith("{"):
                self._depth += 1

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self._lines)


# --- values -----------------------------------------------------------------------


def order(roots: Iterable[Expr], stops: Collection[Expr]) -> Iterator[Expr]:
    """Arguments before users, and nothing below what has its value."""
    seen: set[Expr] = set()
    stack = [(root, False) for root in reversed(list(roots))]
    while stack:
        expr, ready = stack.pop()
        if expr in seen:
            continue
        if ready or expr in stops:
            seen.add(expr)
            yield expr
        else:
            stack.append((expr, True))
            stack.extend((c, False) for c in reversed(children(expr)))


def values(
    roots: Sequence[Expr],
    load: Callable[[int], str],
    index: Callable[[int], str],
    known: Mapping[Expr, str],
    prefix: str = "v",
    first: int = 0,
) -> tuple[list[str], list[str]]:
    """The lines that compute ``roots`` at one point, and the name of each value.

    ``load`` gives the C text of a load's element in memory, ``index`` that of a
    coordinate, ``known`` the names of values that need no line, all folds among them.
    New names are ``prefix`` and a number from ``first`` on.
    """
    lines: list[str] = []
    names: dict[Expr, str] = {}
    for expr in order(roots, known):
        if expr in known:
            names[expr] = known[expr]
            continue
        if type(expr) is Lit:
            names[expr] = literal(expr.value, expr.dtype)
            continue
        if type(expr) is Load:
            text = f"widen({load(expr.slot)})"
        elif type(expr) is Index:
            text = f"(i64)({index(expr.axis)})"
        else:
            assert type(expr) is Apply
            text = scalar.text(expr, [names[a] for a in expr.args])
        name = f"{prefix}{first + len(lines)}"
        names[expr] = name
        lines.append(f"const {computed(expr.dtype)} {name} = {text};")
    return lines, [names[r] for r in roots]


def used_slots(roots: Iterable[Expr], known: Collection[Expr]) -> list[int]:
    """The loads that ``roots`` need when the values of ``known`` are."""
    return sorted(e.slot for e in order(roots, known) if type(e) is Load)


def price(roots: Iterable[Expr]) -> int:
    """What an element costs (scalar.cost)."""
    return sum(scalar.cost(e) for e in order(roots, {}) if type(e) is Apply)


def needed_headers(roots: Iterable[Expr], extra: Iterable[str] = ()) -> tuple[str, ...]:
    """The headers that the expressions' functions are in."""
    found = {"types.cuh", "index.cuh", *extra}
    for expr in order(roots, {}):
        if expr.dtype.is_complex:
            found.add("complex.cuh")
        if type(expr) is Apply:
            found.update(scalar.headers(expr))
    return tuple(sorted(found))


# --- coordinates and accesses -----------------------------------------------------


class Indexing(NamedTuple):
    """How wide indices are: 32 bits where they reach, 64 where they must."""

    wide: bool

    @property
    def linear(self) -> str:
        """The unsigned type that counts points."""
        return "u64" if self.wide else "u32"

    @property
    def signed(self) -> str:
        """The signed type of coordinates and offsets."""
        return "i64" if self.wide else "i32"

    def number(self, value: int) -> str:
        """A point count as a literal."""
        return f"{value}ull" if self.wide else f"{value}u"

    def step(self, value: int) -> str:
        """A stride as a literal."""
        text = f"{value}ll" if self.wide else str(value)
        return f"({text})" if value < 0 else text


def coordinates(
    linear: str, axes: Sequence[int], nest: Nest, indexing: Indexing
) -> list[str]:
    """Lines that take point number ``linear`` over ``axes`` apart into c0, c1, ..."""
    lines = []
    for axis in reversed(axes[1:]):
        extent = indexing.number(nest.extents[axis])
        lines.append(f"const {indexing.linear} q{axis} = {linear} / {extent};")
        lines.append(
            f"const {indexing.signed} c{axis} = "
            f"({indexing.signed})({linear} - q{axis} * {extent});"
        )
        linear = f"q{axis}"
    if axes:
        lines.append(
            f"const {indexing.signed} c{axes[0]} = ({indexing.signed}){linear};"
        )
    return lines


def pointer(argument: Argument) -> str:
    """The name of the kernel parameter."""
    return f"{_POINTERS[argument.kind]}{argument.number}"


def address(
    operand: Operand, axes: Iterable[int], indexing: Indexing, extra: str = ""
) -> str:
    """The address of the element at the coordinates c0, c1, ... of ``axes``."""
    terms = [pointer(operand.argument)]
    for axis in axes:
        stride = operand.strides[axis]
        if stride == 1:
            terms.append(f"c{axis}")
        elif stride:
            terms.append(f"c{axis} * {indexing.step(stride)}")
    return " + ".join(terms) + extra


class Run(NamedTuple):
    """``length`` neighbours along axis ``inner``, which a thread takes at a time.

    A run of one point may have no axis at all (``inner`` is -1).
    """

    inner: int
    length: int

    def varies(self, operand: Operand) -> bool:
        """False where all points of the run have one element."""
        return self.length > 1 and operand.strides[self.inner] != 0


def declare(name: str, operand: Operand, run: Run, before: str = "") -> str:
    """The registers of a run; ``before`` is one more dimension."""
    size = f"[{run.length}]" if run.varies(operand) else ""
    return f"{storage(operand.dtype)} {name}{before}{size};"


def read(
    name: str, operand: Operand, run: Run, axes: Iterable[int], indexing: Indexing
) -> str:
    """The line that reads a run into registers that have been declared."""
    where = address(operand, axes, indexing)
    if not run.varies(operand):
        # One access also where an element alone fills it (complex128).
        return f"load<1, 1>({where}, &{name});"
    stride = operand.strides[run.inner]
    if stride == 1:
        width = access_width(operand, run.inner, run.length)
        return f"load<{run.length}, {width}>({where}, {name});"
    return f"load_strided<{run.length}>({where}, {indexing.step(stride)}, {name});"


def write(
    name: str, operand: Operand, run: Run, axes: Iterable[int], indexing: Indexing
) -> str:
    """The line that writes a run of registers."""
    where = address(operand, axes, indexing)
    if run.length == 1:
        return f"store<1, 1>({where}, {name});"
    stride = operand.strides[run.inner]
    if stride == 1:
        width = access_width(operand, run.inner, run.length)
        return f"store<{run.length}, {width}>({where}, {name});"
    return f"store_strided<{run.length}>({where}, {indexing.step(stride)}, {name});"


def element(name: str, operand: Operand, run: Run) -> str:
    """Point ``e`` of a run in registers."""
    return f"{name}[e]" if run.varies(operand) else name


def point_values(
    body: Body,
    nest: Nest,
    run: Run,
    roots: Sequence[Expr],
    folds: Mapping[Expr, str],
    axes: Sequence[int],
    indexing: Indexing,
) -> tuple[list[str], list[str]]:
    """Read what ``roots`` need into x0, x1, ...; then as values(), for point e."""
    for slot in used_slots(roots, folds):
        operand = nest.loads[slot]
        body.add(
            declare(f"x{slot}", operand, run),
            read(f"x{slot}", operand, run, axes, indexing),
        )

    def load(slot: int) -> str:
        return element(f"x{slot}", nest.loads[slot], run)

    return values(roots, load, coordinate(run), folds)


def coordinate(run: Run) -> Callable[[int], str]:
    """The C text of point e's coordinate along an axis."""
    return lambda axis: f"c{axis} + e" if axis == run.inner else f"c{axis}"


# --- kernels ----------------------------------------------------------------------


def make_kernel(
    kind: str,
    body: str,
    arguments: Sequence[tuple[Argument, str]],
    roots: Sequence[Expr],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    headers: Iterable[str] = (),
    partial: bool = False,
    registers: int = 64,
    one: Collection[Argument] = (),
) -> Kernel:
    """A kernel that computes ``roots``.

    ``arguments`` have their element's type. Only what a kernel does not write is
    declared const, and read through the read-only cache; ``partial`` results go to
    scratch memory. ``headers``: beyond those of the expressions. ``registers``: how
    many a thread may have. ``one``: those that may be the same memory, which
    __restrict__ would deny.
    """
    headers = needed_headers(roots, headers)
    written = {"store"} | ({"scratch"} if partial else set())
    parameters = ", ".join(
        f"{'' if a.kind in written else 'const '}{ctype}* "
        f"{'' if a in one else '__restrict__ '}{pointer(a)}"
        for a, ctype in arguments
    )
    threads = block[0] * block[1] * block[2]
    # Without a number of blocks the assembler keeps to 32 registers and rather spills.
    blocks = 1 if price(roots) >= DEAR else max(1, _REGISTERS // registers // threads)
    bounds = f"__launch_bounds__({threads}, {blocks})"
    pointers = tuple(a for a, _ in arguments)
    return named_kernel(kind, headers, bounds, parameters, body, grid, block, pointers)


def named_kernel(
    kind: str,
    headers: Sequence[str],
    bounds: str,
    parameters: str,
    body: str,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    arguments: tuple[Argument | Number, ...],
) -> Kernel:
    """A kernel under a name of its content."""
    text = (
        f'extern "C" __global__ void {bounds}\n{_NAME}({parameters}) {{\n{body}\n}}\n'
    )
    digest = sha256("\n".join((*headers, text)).encode()).hexdigest()[:16]
    name = f"gpugrad_{kind}_{digest}"
    text = text.replace(_NAME, name)
    return Kernel(name, text, tuple(headers), grid, block, arguments)


def module_source(kernels: Iterable[Kernel]) -> str:
    """The text of a module that holds ``kernels``."""
    by_name = {k.name: k for k in kernels}
    headers = sorted({h for k in by_name.values() for h in k.headers})
    includes = "".join(f'#include "{h}"\n' for h in headers)
    return includes + "\n" + "\n".join(by_name[n].text for n in sorted(by_name))
