"""Who may import whom, that nothing imports in a circle, and where op types stand."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpugrad
from gpugrad.graph.spec import REGISTRY

PACKAGE = Path(gpugrad.__file__).resolve().parent
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {
    "errors",
    "dtypes",
    "shapes",
    "config",
    "collector",
    "nearest",
    "files",
    "messages",
}
ALLOWED: dict[str, set[str]] = {
    "base": {"base"},
    "graph": {"base", "graph"},
    "kir": {"base", "kir"},
    "ops": {"base", "graph", "kir", "ops"},
    "autodiff": {"base", "graph", "autodiff"},
    "compiler": {"base", "graph", "kir", "compiler"},
    "backends": {"base", "kir", "backends"},
    "runtime": {"base", "graph", "kir", "compiler", "backends", "runtime"},
    "control": {"base", "graph", "kir", "ops", "autodiff", "control"},
    "data": {"base", "graph", "ops", "runtime", "data"},
    "checkpoint": {"base", "checkpoint"},
    "train": {"base", "graph", "autodiff", "ops", "checkpoint", "train"},
    "layers": {"base", "graph", "ops", "control", "layers"},
    "rnn": {"base", "graph", "ops", "control", "layers", "rnn"},
}


def layer(path: Path) -> str:
    """The layer that a file belongs to; "top" for what may import anything."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    if parts[0] in ALLOWED:
        return parts[0]
    return "base" if parts[0] in BASE else "top"


def module_name(path: Path) -> str:
    """gpugrad.ops.math, gpugrad.ops (for its __init__)."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every (module, line) that a file imports: inside functions and ifs too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in MODULES else node.module or ""), node.lineno


def violations(path: Path) -> list[str]:
    """Imports of ``path`` that its layer does not allow."""
    own = layer(path)
    if own == "top":
        return []
    found = []
    for name, line in imports(path):
        if name in MODULES and name != "gpugrad":
            other = layer(MODULES[name])
            if other not in ALLOWED[own]:
                found.append(f"{path}:{line}: {own} imports {name} ({other})")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_layering(path: Path) -> None:
    assert violations(path) == []


def test_a_wrong_import_is_found(tmp_path: Path) -> None:
    """The check above can fail: an import hidden in a function is seen."""
    path = PACKAGE / "kir" / "space.py"
    tree = path.read_text() + "\ndef f():\n    import gpugrad.graph.graph\n"
    fake = PACKAGE / "kir" / "_planted_for_test.py"
    fake.write_text(tree)
    try:
        assert violations(fake) != []
    finally:
        fake.unlink()


def test_no_cycle() -> None:
    """Modules import each other in one direction, TYPE_CHECKING imports aside."""
    graph = {}
    for name, path in MODULES.items():
        runtime = {m for m, _ in imports(path) if m in MODULES and m != name}
        graph[name] = runtime - typing_only(path) - {"gpugrad"}
    tuple(graphlib.TopologicalSorter(graph).static_order())


def typing_only(path: Path) -> set[str]:
    """Modules that a file imports for type checkers alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module:
                    found.add(inner.module)
                    found |= {f"{inner.module}.{a.name}" for a in inner.names}
    return found


def strings(path: Path) -> set[str]:
    """String literals of a file, docstrings aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docs
    }


# The runtime makes placeholders for the values that it works on at once.
NAMED_ON_PURPOSE = {"runtime": {"Placeholder", "Const", "Equal", "NotEqual"}}


@pytest.mark.parametrize("name", ["compiler", "backends", "runtime"])
def test_no_op_type_below_the_graph(name: str) -> None:
    types = {spec.type for spec in REGISTRY} - NAMED_ON_PURPOSE.get(name, set())
    for path in sorted((PACKAGE / name).rglob("*.py")):
        assert strings(path) & types == set(), path


NUMERIC = re.compile(r"^(numpy|cupy)(\.|$)")


def test_array_libraries_stay_below_the_backend_line() -> None:
    """cupy only in backends/cupy and where devices are looked for."""
    for path in FILES:
        for name, line in imports(path):
            if name.split(".")[0] == "cupy":
                where = path.relative_to(PACKAGE).as_posix()
                assert where.startswith("backends/cupy/") or where in (
                    "runtime/devices.py",
                    "cli.py",
                ), f"{where}:{line}"


def test_peers_are_never_imported() -> None:
    for path in FILES:
        for name, line in imports(path):
            assert name.split(".")[0] not in {"tensorflow", "jax", "torch"}, (
                path,
                line,
            )


def test_import_brings_no_cupy() -> None:
    code = "import sys, gpugrad, gpugrad.compat.v1; print('cupy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
