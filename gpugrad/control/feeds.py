"""What branches and loops feed their bodies with, and what they save for gradients.

A feed is (i, None), the op's input number i (in a loop, the current value of a loop
variable), or (i, e), element e of what an op saved and gave as its output of dtype
variant, which is input number i here: in a loop, what was saved in the iteration that
stands at the same place. ``_feeds`` go with the first inputs of a body, in order.

An op's ``_saved`` has, for each output beyond its own, the tensors of the body (in an
If or Case, of each body) that the output holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpugrad.control.derivative import Derivative, from_outside
from gpugrad.dtypes import variant
from gpugrad.graph.spec import Input
from gpugrad.graph.tensor import Operation, Tensor
from gpugrad.ops.family import OpFamily
from gpugrad.ops.static import outputs

family = OpFamily()

Feed = tuple[int, int | None]

# Stands for the number of an input that is not there yet: what is saved for this.
_TO_BE_SAVED = -1


class GradientInputs:
    """The inputs of a gradient op, gathered while its bodies are built."""

    def __init__(self, op: Operation, first: Sequence[Tensor]) -> None:
        self.op = op
        self.tensors = list(first)
        self._places: dict[Tensor, int] = {}

    def place(self, tensor: Tensor) -> int:
        """The number of the input that is ``tensor``, added if need be."""
        found = self._places.get(tensor)
        if found is None:
            found = self._places[tensor] = len(self.tensors)
            self.tensors.append(self.op.graph.adopt(tensor))
        return found

    def feeds(
        self,
        derivative: Derivative,
        results: Sequence[Tensor],
        fed: dict[Tensor, Feed],
        kept: int,
    ) -> tuple[list[Tensor], list[Feed], list[Tensor]]:
        """(placeholders, their feeds, tensors to save) of one gradient body.

        ``fed`` are the forward body's feeds; inputs from number ``kept`` on keep their
        value throughout, so they need not be saved.
        """
        placeholders: list[Tensor] = []
        feeds: list[Feed] = []
        saved: list[Tensor] = []
        for tensor, placeholder in derivative.used(results):
            placeholders.append(placeholder)
            index, element = fed.get(tensor, (-1, None))
            outside = from_outside(tensor, fed)
            if index >= kept and element is None:
                feeds.append((self.place(self.op.inputs[index]), None))
            elif outside is not None:
                feeds.append((self.place(outside), None))
            else:
                feeds.append((_TO_BE_SAVED, len(saved)))
                saved.append(tensor)
        for placeholder, tensor in derivative.added:
            if placeholder._consumers:
                placeholders.append(placeholder)
                feeds.append((self.place(tensor), None))
        return placeholders, feeds, saved

    def saved_at(self, node: Operation, saved: Any) -> int:
        """Let ``node`` give what was saved, as one more output; its input number."""
        node.attrs["_saved"].append(saved)
        output = node.graph.add_output(node, variant, ())
        self.tensors.append(self.op.graph.adopt(output))
        return len(self.tensors) - 1


def settled(feeds: Sequence[Feed], place: int) -> tuple[Feed, ...]:
    """Feeds with the number of the input that holds what was saved."""
    return tuple((place, e) if i == _TO_BE_SAVED else (i, e) for i, e in feeds)


def trainable(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those that gradients flow through."""
    return [t for t in tensors if t.dtype.is_trainable]


def element_gradients(
    derivative: Derivative, fed: dict[Tensor, Feed], index: int
) -> list[Tensor]:
    """Gradients of the elements that come from input ``index``, zeros for None."""
    elements = {
        e: p
        for p, (i, e) in fed.items()
        if i == index and e is not None and p.dtype.is_trainable
    }
    found = []
    for _, placeholder in sorted(elements.items(), key=lambda pair: pair[0]):
        gradient = derivative.gradients[placeholder]
        if gradient is None:
            gradient = derivative.zeros(placeholder)
        found.append(derivative.graph.convert(gradient))
    return found


def has_element_gradient(
    derivative: Derivative, fed: dict[Tensor, Feed], index: int
) -> bool:
    """True if an element that comes from input ``index`` has a gradient."""
    return any(
        derivative.gradients.get(p) is not None
        for p, (i, e) in fed.items()
        if i == index and e is not None
    )


# --- ConcatSaved, SplitSaved ----------------------------------------------------------
#
# ConcatSaved joins, for each element of what a loop saved, the tensors of all
# iterations along their first axis. SplitSaved undoes that for the elements that
# gradients flow through: its inputs are what was saved, for the lengths, and rows.


def _concat_saved(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    record = arrays[0]
    found = []
    for e, dtype in enumerate(site.dtypes):
        if record:
            found.append(run.xp.concatenate([tensors[e] for tensors in record]))
        else:
            rest = [n or 0 for n in (site.attrs["_shapes"][e] or ())[1:]]
            found.append(run.xp.zeros((0, *rest), dtype.np_dtype))
    return found


def _split_saved(run: Any, site: Any, arrays: Sequence[Any]) -> list[Any]:
    record, *rows = arrays
    places = site.attrs["_elements"]
    firsts = [0] * len(rows)
    found = []
    for tensors in record:
        parts = []
        for number, (e, whole) in enumerate(zip(places, rows)):
            first = firsts[number]
            firsts[number] = first + len(tensors[e])
            parts.append(whole[first : firsts[number]])
        found.append(parts)
    return [found]


family.op(
    "ConcatSaved",
    [Input("saved", attr=None, dtype=variant)],
    attrs={"_dtypes": ..., "_shapes": ...},
    infer=lambda op: tuple(
        (dtype, None if shape is None else (None, *shape[1:]))
        for dtype, shape in zip(op.attrs["_dtypes"], op.attrs["_shapes"])
    ),
    host=_concat_saved,
    on_device=True,
)
family.op(
    "SplitSaved",
    [
        Input("saved", attr=None, dtype=variant),
        Input("rows", attr=None, number="N"),
    ],
    attrs={"_elements": ...},
    infer=lambda op: ((variant, ()),),
    host=_split_saved,
    on_device=True,
)


@family.gradient("ConcatSaved")
def _concat_saved_grad(op: Operation, *dys: Any) -> Any:
    kinds = op.attrs["_dtypes"]
    elements = [e for e, dtype in enumerate(kinds) if dtype.is_trainable]
    rows = [dys[e] for e in elements]
    saved = op.inputs[0]
    return op.graph.apply("SplitSaved", saved, rows, _elements=elements)


@family.gradient("SplitSaved")
def _split_saved_grad(op: Operation, dy: Tensor) -> Any:
    rows = op.inputs[1:]
    joined = op.graph.apply(
        "ConcatSaved",
        dy,
        _dtypes=[t.dtype for t in rows],
        _shapes=[t._shape for t in rows],
    )
    return [None, *outputs(joined)]
