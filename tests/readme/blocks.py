"""The code blocks of README.md. As a script: print one of its two main commands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

README = Path(__file__).resolve().parents[2] / "README.md"

# How the line ends that is meant by each name.
MAIN_COMMANDS = {"demo": "gpugrad demo", "test": "pytest"}


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line where the text starts."""

    language: str
    text: str
    line: int


def blocks() -> list[Block]:
    """Every fenced block of the README, in order."""
    text = README.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        Block(match[1], match[2], text[: match.start(2)].count("\n") + 1)
        for match in found
    ]


def commands() -> list[str]:
    """Every command line of the README."""
    return [
        line
        for block in blocks()
        if block.language == "bash"
        for line in block.text.splitlines()
    ]


def main_command(name: str) -> str:
    """The one line that sets up a fresh clone and then runs "demo" or "test"."""
    ending = MAIN_COMMANDS[name]
    (command,) = (
        line
        for line in commands()
        if line.startswith("python3 -m venv") and line.endswith(ending)
    )
    return command


if __name__ == "__main__":
    print(main_command(sys.argv[1]))
