"""The generated code of a Program, compiled, and where each line of it came from."""

from __future__ import annotations

from itertools import count
from types import CodeType, FunctionType
from typing import Any

_serial = count()


class Part:
    """One function of the generated code: its lines, and the step of each line."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.steps: list[int | None] = []
        # Locals of the run that the lines use, in the order of their first use.
        self.locals: dict[str, None] = {}


class Module:
    """The generated code: text, compiled functions, and where each line came from."""

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.namespace = namespace
        # Not in the namespace: each function refers to that, and a cycle would keep
        # the arrays in it until Python's collector comes by.
        self.functions: dict[str, Any] = {}
        self._serial = next(_serial)
        self._texts: list[str] = []
        self._steps: dict[str, list[int | None]] = {}
        # Text that is shown before that of the functions.
        self.listings: list[str] = []

    def add(self, header: str, lines: list[str], steps: list[int | None]) -> None:
        """Compile one function; ``run`` can call those before it."""
        name = f"<gpugrad program {self._serial}, part {len(self._texts)}>"
        text = "\n    ".join((header, *lines)) + "\n"
        code: CodeType = compile(text, name, "exec", dont_inherit=True)
        defined: dict[str, Any] = {}
        last = header.startswith("def run(") and self.functions
        scope = {**self.namespace, **self.functions} if last else self.namespace
        exec(code, scope, defined)
        self.functions.update(defined)
        self._texts.append(text)
        self._steps[name] = [None, *steps]

    def step_of(self, error: BaseException) -> int | None:
        """The number of the step in whose line of generated code ``error`` arose."""
        trace = error.__traceback__
        while trace is not None:
            steps = self._steps.get(trace.tb_frame.f_code.co_filename)
            number = None if steps is None else steps[trace.tb_lineno - 1]
            if number is not None:
                return number
            trace = trace.tb_next
        return None

    def add_tile(self, text: str, step: int | None) -> Any:
        """Compile the function of one tile, and return it.

        It sees the arrays that it names and no more: the namespace refers to it.
        """
        name = f"<gpugrad program {self._serial}, part {len(self._texts)}>"
        module: CodeType = compile(text, name, "exec", dont_inherit=True)
        (code,) = [c for c in module.co_consts if isinstance(c, CodeType)]
        known = self.namespace
        scope = {n: known[n] for n in code.co_names if n in known}
        self._texts.append(text)
        self._steps[name] = [step] * (text.count("\n") + 1)
        return FunctionType(code, scope)

    @property
    def source(self) -> str:
        """The text of all functions, after a list of the literals in it."""
        literals = [
            f"# {name} = {value.dtype} {value!s}"
            for name, value in self.namespace.items()
            if name[0] == "k" and name[1:].isdigit()
        ]
        heading = ["\n".join(literals) + "\n"] if literals else []
        return "\n".join(heading + self.listings + self._texts)
