"""The README is true: its snippets print what it says, its commands are the tested."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from gpugrad import cli
from tests.readme import blocks

ROOT = blocks.README.parent

SNIPPETS = [
    (code, output)
    for code, output in pairwise([*blocks.blocks(), blocks.Block("", "", 0)])
    if code.language == "python"
]


@pytest.mark.parametrize(
    ("code", "output"), SNIPPETS, ids=[f"line{code.line}" for code, _ in SNIPPETS]
)
def test_snippet_prints_what_stands_below_it(code, output):
    """Each runs alone in a fresh Python, as someone who copies it would run it."""
    assert output.language == "text", f"README line {code.line}: no output follows"
    # Line numbers in a traceback are then the README's.
    script = "\n" * (code.line - 1) + code.text
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == output.text


def test_there_are_snippets():
    assert len(SNIPPETS) >= 6


def test_ci_runs_the_two_main_commands_as_they_stand():
    """CI asks this folder's blocks.py for both; running them here would recurse."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for name in blocks.MAIN_COMMANDS:
        assert f"readme_command {name}" in script
    assert blocks.main_command("test").endswith(".venv/bin/pytest")
    assert blocks.main_command("demo").endswith(".venv/bin/gpugrad demo")


def test_every_extra_that_is_named_exists():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    text = " ".join(blocks.commands())
    named = {
        extra
        for group in re.findall(r"\.\[([\w,]+)\]", text)
        for extra in group.split(",")
    }
    assert named == {"demo", "test", "cuda12", "cuda13"}
    assert named <= extras.keys()


def test_every_gpugrad_command_parses():
    """The subcommands and options that the README gives are the program's."""
    found = 0
    for line in blocks.commands():
        words = shlex.split(line)
        for position, word in enumerate(words):
            if Path(word).name == "gpugrad" and position + 1 < len(words):
                if words[position + 1 : position + 2] == ["."]:
                    continue  # docker build -t gpugrad .
                cli.parser().parse_args(words[position + 1 :])
                found += 1
    assert found == 4


def test_every_linked_file_and_folder_exists():
    text = blocks.README.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    folders = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    paths = links + [name for row in folders for name in re.findall(r"`(.+?)`", row)]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
