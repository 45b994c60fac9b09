"""A Dockerfile read as data: its stages and their instructions."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """What stands between one FROM and the next."""

    base: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The arguments of every ``instruction`` of this stage, in order."""
        return [argument for word, argument in self.steps if word == instruction]


@dataclass
class Dockerfile:
    """The ARGs before the first stage, and the stages."""

    arguments: dict[str, str]
    stages: list[Stage]

    @property
    def final(self) -> Stage:
        return self.stages[-1]


def parse(path: Path) -> Dockerfile:
    """Read ``path``. ARGs are put into FROM lines; elsewhere variables stay."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction, argument in _instructions(path.read_text(encoding="utf-8")):
        if instruction == "FROM":
            match = re.fullmatch(r"(\S+)(?:\s+AS\s+(\S+))?", argument, re.IGNORECASE)
            assert match, argument
            stages.append(Stage(substitute(match[1], arguments), match[2]))
        elif not stages:
            assert instruction == "ARG", f"{instruction} before FROM"
            arguments.update(assignments(argument))
        else:
            stages[-1].steps.append((instruction, argument))
    return Dockerfile(arguments, stages)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not re.match(r"\s*#", line)]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = []
    for line in filter(str.strip, joined.splitlines()):
        instruction, argument = line.split(maxsplit=1)
        assert instruction.isupper(), f"not an instruction: {line}"
        found.append((instruction, argument))
    return found


def assignments(argument: str) -> dict[str, str]:
    """``A=1 B="two words"`` of ARG, ENV or LABEL, as a dict."""
    pairs = re.findall(r'([\w.]+)=("[^"]*"|\S*)', argument)
    return {name: value.strip('"') for name, value in pairs}


def substitute(text: str, values: dict[str, str]) -> str:
    """``text`` with $NAME and ${NAME} replaced, as Docker does it."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: values[match[1]], text)


def exec_form(argument: str) -> list[str]:
    """The words of an ENTRYPOINT or CMD in its JSON form."""
    words = json.loads(argument)
    assert all(isinstance(word, str) for word in words)
    return words
