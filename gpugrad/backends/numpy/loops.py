"""Large groups: a function for one tile, and the loop that calls it for all."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from gpugrad.backends.numpy.kernel import Plan, TileKernel, Writer
from gpugrad.backends.numpy.pool import pool
from gpugrad.backends.numpy.storage import Scratch, aligned_bytes
from gpugrad.backends.numpy.tiling import Pass
from gpugrad.dtypes import DType
from gpugrad.kir import meaning
from gpugrad.kir.program import Group, Store
from gpugrad.kir.scalar import Expr, Lit, Reduce
from gpugrad.kir.space import Shape, View

# How names of arrays begin that each run has anew: feeds, variables, outputs.
RUN_LOCALS: Final = "ivow"

Box = tuple[tuple[int, int], ...]


class TileCode:
    """Writes the function of one pass; the Writer of its TileKernel.

        def tile7(l0, h0, s, i0, o1):    the tile from l0 to h0 along axis 0
            s0, s1 = s                   scratch of this thread
            i0_at0 = i0[l0:h0]           the tile's part of feed i0

    Arrays that last are global; those of the run are passed on.
    """

    def __init__(self, outer: Writer, name: str, walk: Pass) -> None:
        self._outer = outer
        self._walk = walk
        self.name = name
        self.plans: dict[tuple[Expr, ...], Plan] = outer.plans
        self.in_place = outer.in_place
        self.scratch = Scratch()
        self._looped = [axis for axis, n in enumerate(walk.counts) if n > 1]
        self._slices: dict[str, str] = {}
        self._body: list[str] = []
        self.passed: dict[str, None] = {}
        self.partials: dict[Expr, tuple[str, np.ndarray]] = {}
        for store in walk.group.stores[len(walk.group.stores) - walk.adds :]:
            self._new_partial(store)
        TileKernel(self, self._tile()).write()

    def _tile(self) -> Group:
        """The group as one tile sees it: the same views, as large as a tile."""
        group, lengths = self._walk.group, self._walk.lengths

        def cut(view: View) -> View:
            shape = tuple([min(n, t) for n, t in zip(view.shape, lengths)])
            return View(view.buffer, shape, view.strides, view.offset)

        loads = tuple([cut(load) for load in group.loads])
        stores = tuple([Store(cut(s.view), s.expr) for s in group.stores])
        return Group(lengths, group.reduced, loads, stores)

    # --- what the kernel writes with --------------------------------------------------

    def line(self, text: str) -> None:
        """One line of the function."""
        self._body.append(text)

    def bind(self, value: Any, name: str) -> str:
        """A global name for ``value``."""
        return self._outer.bind(value, name)

    def dtype(self, dtype: DType) -> str:
        """The name of a NumPy type."""
        return self._outer.dtype(dtype)

    def literal(self, literal: Lit) -> str:
        """The name of a literal."""
        return self._outer.literal(literal)

    def indices(self, axis: int, extents: Shape) -> str:
        """The tile's coordinates along an axis."""
        name = self._outer.indices(axis, self._walk.group.extents)
        cut = [i == axis and i in self._looped for i in range(len(extents))]
        return self._part(name, cut)

    def view(self, view: View) -> str:
        """The tile's part of a view: cut along the axes on which tiles follow."""
        extents = self._walk.group.extents
        cut = [False] * len(extents)
        shape = list(view.shape)
        for axis in self._looped:
            if view.strides[axis] or shape[axis] != 1:
                cut[axis], shape[axis] = True, extents[axis]
        whole = View(view.buffer, tuple(shape), view.strides, view.offset)
        return self._part(self._array(whole), cut)

    def partial(self, node: Reduce) -> str | None:
        """The tile's place in the partial folds; None if a tile has all of a fold."""
        found = self.partials.get(node)
        if found is None:
            return None
        kept = [not r and axis in self._looped for axis, r in self._axes()]
        return self._part(found[0], kept, "p, ")

    def _axes(self) -> list[tuple[int, bool]]:
        return list(enumerate(self._walk.group.reduced))

    def _array(self, view: View) -> str:
        name = self._outer.view(view)
        if name[0] in RUN_LOCALS:
            self.passed[name] = None
        return name

    def _part(self, name: str, cut: list[bool], first: str = "") -> str:
        """A local name for ``name[l0:h0, ...]``; no line if nothing is cut."""
        while cut and not cut[-1]:
            cut = cut[:-1]
        index = ", ".join(f"l{i}:h{i}" if c else ":" for i, c in enumerate(cut))
        if not index and not first:
            return name
        local = f"{name}_at{''.join([str(i) for i, c in enumerate(cut) if c])}"
        self._slices[local] = f"{local} = {name}[{first}{index}]"
        return local

    def _new_partial(self, store: Store) -> None:
        """An array of partial folds, one a portion, kept from run to run."""
        node = store.expr
        assert type(node) is Reduce
        kept = [
            1 if r else n for n, (_, r) in zip(self._walk.group.extents, self._axes())
        ]
        wide = meaning.accumulator(node.kind, node.dtype)
        array = np.empty((self._walk.partials, *kept), wide)
        name = f"{self.name}_{node.kind}{len(self.partials)}"
        self.partials[node] = name, array

    # --- the result -------------------------------------------------------------------

    @property
    def coordinates(self) -> list[str]:
        """The parameters that say which tile."""
        places = [name for axis in self._looped for name in (f"l{axis}", f"h{axis}")]
        return (["p"] if self.partials else []) + places

    @property
    def header(self) -> str:
        """The first line of the function."""
        return f"def {self.name}({', '.join([*self.coordinates, 's', *self.passed])}):"

    @property
    def lines(self) -> list[str]:
        """The other lines."""
        names = self.scratch.names
        taken = [f"{', '.join(names)}, = s"] if names else []
        return [*taken, *self._slices.values(), *self._body]

    @property
    def summary(self) -> str:
        """What the loop looks like, for a comment."""
        walk = self._walk
        axes = " ".join(
            f"{n}{'r' if r else ''}"
            for n, r in zip(walk.group.extents, walk.group.reduced)
        )
        tiles = " x ".join(str(n) for n in walk.counts) or "1"
        lengths = " ".join(str(n) for n in walk.lengths)
        folds = f", {walk.partials} partial folds" if walk.adds else ""
        return f"# {tiles} tiles of [{lengths}] over [{axes}]{folds}"

    @property
    def source(self) -> str:
        """All lines, under a comment that says how the tiles cover the group."""
        return "\n".join(
            [self.summary, self.header, *[f"    {line}" for line in self.lines], ""]
        )

    def portions(self) -> list[list[tuple[tuple[int, ...], Shape]]]:
        """The coordinates of every tile and its extents, in portions."""
        found = []
        for number, boxes in enumerate(self._walk.boxes()):
            which = [number if self._walk.partials > 1 else 0] if self.partials else []
            portion = []
            for box in boxes:
                places = [place for axis in self._looped for place in box[axis]]
                extents = tuple(
                    [
                        high - low if axis in self._looped else length
                        for axis, ((low, high), length) in enumerate(
                            zip(box, self._walk.lengths)
                        )
                    ]
                )
                portion.append(((*which, *places), extents))
            found.append(portion)
        return found

    def real(self, extents: Shape) -> Any:
        """What a shape becomes in a tile of ``extents``."""
        lengths = self._walk.lengths

        def shape(nominal: Shape) -> Shape:
            return tuple(
                [
                    e if n == t and n != 1 else n
                    for n, t, e in zip(nominal, lengths, extents)
                ]
            )

        return shape

    def threads(self, most: int, share_ns: int) -> int:
        """How many threads the work pays for."""
        if most == 1 or self._walk.work_ns < share_ns:
            return 1
        return min(most, self._walk.portions)


class TileLoop:
    """Calls a tile's function for all tiles, with the arrays of the run.

    The list of tiles is made at the first call: of what does not fit into memory, and
    so is never called, not even that list might fit.
    """

    __slots__ = ("_code", "_function", "_memory", "_portions", "_scratch", "_threads")

    def __init__(
        self,
        function: Any,
        code: TileCode,
        memory: list[list[np.ndarray]],
        threads: int,
    ) -> None:
        self._function = function
        self._code: TileCode | None = code
        self._memory = memory[:threads]
        self._threads = threads
        self._portions: list[list[tuple[tuple[int, ...], int]]] = []
        # By thread, and by the extents of a tile: those at the end are smaller.
        self._scratch: list[list[list[np.ndarray]]] = []

    def __call__(self, *arrays: np.ndarray) -> None:
        self.prepare()
        if self._threads > 1:
            pool(self._threads).run(
                lambda thread, portion: self._walk(thread, portion, arrays),
                self._portions,
            )
            return
        for portion in self._portions:
            self._walk(0, portion, arrays)

    def prepare(self) -> None:
        """Make the list of tiles and their scratch arrays, unless that is done."""
        code = self._code
        if code is None:
            return
        kinds: dict[Shape, int] = {}
        self._portions = [
            [
                (places, kinds.setdefault(extents, len(kinds)))
                for places, extents in portion
            ]
            for portion in code.portions()
        ]
        self._scratch = [
            [code.scratch.arrays(own, code.real(extents)) for extents in kinds]
            for own in self._memory
        ]
        self._code = None

    def _walk(
        self,
        thread: int,
        portion: list[tuple[tuple[int, ...], int]],
        arrays: tuple[np.ndarray, ...],
    ) -> None:
        function, scratch = self._function, self._scratch[thread]
        for places, kind in portion:
            function(*places, scratch[kind], *arrays)


def thread_memory(codes: list[TileCode], threads: int) -> list[list[np.ndarray]]:
    """For each thread the bytes of each scratch slot, large enough for all loops."""
    sizes: list[int] = []
    for code in codes:
        own = code.scratch.sizes()
        sizes += [0] * (len(own) - len(sizes))
        for slot, size in enumerate(own):
            sizes[slot] = max(sizes[slot], size)
    return [[aligned_bytes(size) for size in sizes] for _ in range(threads)]
