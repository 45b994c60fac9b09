"""A program over the op set, as data, and the source text that runs it.

The text asks for one module, ``tf``; it is the same for gpugrad and for TensorFlow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

_NAME = re.compile(r"\b[xv]\d+\b")

# The second derivative is that of the squared length of all first derivatives: one
# number that moves with each of them, whatever their dtypes.
_SECOND = """\
terms = [
    tf.reduce_sum(tf.square(tf.cast(tf.abs(tf.convert_to_tensor(g)), tf.float64)))
    for g in first
    if g is not None and (g.dtype.is_floating or g.dtype.is_complex)
]
second = tf.gradients(tf.add_n(terms), xs) if terms else []
"""


@dataclass(frozen=True)
class Input:
    """A value from outside: "placeholder", "constant" or "variable".

    ``shape`` is the static one: None for an unknown rank, None in it for an unknown
    extent; ``value`` nested lists of numbers, ``extents`` its true shape.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | None, ...] | None
    value: Any
    extents: tuple[int, ...]

    @property
    def literal(self) -> str:
        """The value as source."""
        if 0 in self.extents:
            return f"np.zeros({self.extents})"
        return _literal(self.value)

    @property
    def text(self) -> str:
        """The line that makes it."""
        dtype = f"tf.{self.dtype}"
        if self.kind == "placeholder":
            shape = None if self.shape is None else list(self.shape)
            return f"{self.name} = tf.placeholder({dtype}, {shape})"
        constant = f"tf.constant({self.literal}, {dtype})"
        if self.kind == "constant":
            return f"{self.name} = {constant}"
        return f"{self.name} = tf.get_variable({self.name!r}, initializer={constant})"


@dataclass(frozen=True)
class Line:
    """``targets = text``, where text is an expression of earlier names."""

    targets: tuple[str, ...]
    text: str

    @property
    def reads(self) -> set[str]:
        """The names in the expression."""
        return set(_NAME.findall(self.text))


@dataclass(frozen=True)
class Program:
    """Lines, and what is differentiated: ``options`` is the rest of the call."""

    inputs: tuple[Input, ...]
    lines: tuple[Line, ...]
    ys: tuple[str, ...]
    xs: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def made(self) -> tuple[str, ...]:
        """What the lines make."""
        return tuple(t for line in self.lines for t in line.targets)

    def pruned(self) -> Program:
        """Without lines and inputs that nothing reads."""
        wanted = {*self.ys, *self.xs, *_NAME.findall(" ".join(self.options))}
        lines = []
        for line in reversed(self.lines):
            if wanted.intersection(line.targets):
                lines.append(line)
                wanted |= line.reads
        inputs = tuple(i for i in self.inputs if i.name in wanted)
        return replace(self, inputs=inputs, lines=tuple(reversed(lines)))

    @property
    def forward(self) -> str:
        """The source of the values."""
        made = [f"{', '.join(line.targets)} = {line.text}" for line in self.lines]
        return "\n".join([*(i.text for i in self.inputs), *made, ""])

    @property
    def first(self) -> str:
        """The source of the first derivatives."""
        ys, xs = ", ".join(self.ys), ", ".join(self.xs)
        call = ", ".join(["ys", "xs", *self.options])
        return f"ys = [{ys}]\nxs = [{xs}]\nfirst = tf.gradients({call})\n"

    @property
    def second(self) -> str:
        """The source of the second derivatives."""
        return _SECOND

    @property
    def feeds(self) -> str:
        """The source of the feed dictionary."""
        fed = [i for i in self.inputs if i.kind == "placeholder"]
        return "{" + ", ".join(f"{i.name}: {i.literal}" for i in fed) + "}"

    def script(self, module: str = "gpugrad.compat.v1") -> str:
        """The whole as a file that runs by itself and prints what it finds."""
        body = (
            f"{self.forward}{self.first}{self.second}"
            "known = [g for g in first + second if g is not None]\n"
            "session.run(tf.global_variables_initializer())\n"
            "print(first, second, sep='\\n')\n"
            f"for value in session.run([*ys, *known], {self.feeds}):\n"
            "    print(value)\n"
        )
        return (
            f"import {module} as tf\nimport numpy as np\nfrom numpy import inf, nan\n\n"
            "with tf.Graph().as_default(), tf.Session() as session:\n"
            + "".join(f"    {line}\n" for line in body.splitlines())
        )


def _literal(value: Any) -> str:
    """Nested lists as source; Python's own text of an infinite complex is none."""
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, complex) and not np.isfinite(value):
        return f"complex({value.real}, {value.imag})"
    return repr(value)


def as_input(name: str, dtype: str, array: np.ndarray) -> Input:
    """A fed value in the place of what was computed."""
    wide = {"b": bool, "i": int, "u": int, "c": complex}.get(array.dtype.kind, float)
    value = array.astype(wide).tolist()
    return Input(name, "placeholder", dtype, array.shape, value, array.shape)
