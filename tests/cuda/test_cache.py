"""The cache of machine code: whole entries or none, and not more than its limit."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpugrad.backends.cupy import cache
from gpugrad.backends.cupy import compile as compiling
from gpugrad.backends.cupy.cache import CubinCache, default_folder
from gpugrad.backends.cupy.compile import Compiled, cache_key, compile_modules


@pytest.fixture
def compiler(monkeypatch):
    """In place of NVRTC: counts, and gives the source back."""

    class Fake:
        version = (13, 0)
        calls: list[str] = []  # noqa: RUF012

        def compile(self, source, arch, options):
            self.calls.append(source)
            return Compiled(f"{arch}:{source}".encode(), "log")

    fake = Fake()
    fake.calls = []
    monkeypatch.setattr(compiling, "nvrtc", lambda: fake)
    return fake


def test_what_was_compiled_is_not_compiled_again(tmp_path, compiler):
    cubins = CubinCache(tmp_path / "new" / "folder")
    first = compile_modules(["a", "b", "c"], "sm_90", cubins)
    second = compile_modules(
        ["a", "b", "c"], "sm_90", CubinCache(tmp_path / "new/folder")
    )
    assert [m.cubin for m in first] == [m.cubin for m in second]
    assert sorted(compiler.calls) == ["a", "b", "c"]


def test_the_key_is_all_that_decides():
    keys = {
        cache_key("a", "sm_90", (13, 0)),
        cache_key("b", "sm_90", (13, 0)),
        cache_key("a", "sm_80", (13, 0)),
        cache_key("a", "sm_90", (12, 9)),
    }
    assert len(keys) == 4


def test_options_and_headers_are_in_the_key(monkeypatch):
    keys = {cache_key("a", "sm_90", (13, 0))}
    monkeypatch.setattr(compiling, "headers_digest", lambda: "others")
    keys.add(cache_key("a", "sm_90", (13, 0)))
    monkeypatch.setattr(compiling, "OPTIONS", (*compiling.OPTIONS, "--fmad=false"))
    keys.add(cache_key("a", "sm_90", (13, 0)))
    assert len(keys) == 3


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"gpugrad cubin 1\nshort",
        b"gpugrad cubin 1\n" + bytes(32) + b"sm_90:a",
        None,
    ],
    ids=["empty", "truncated", "wrong checksum", "wrong content"],
)
def test_a_damaged_entry_is_made_again(tmp_path, compiler, damage, caplog):
    cubins = CubinCache(tmp_path)
    compile_modules(["a"], "sm_90", cubins)
    (entry,) = tmp_path.iterdir()
    data = entry.read_bytes()
    entry.write_bytes(data[:-1] + b"?" if damage is None else damage)
    with caplog.at_level(logging.WARNING, "gpugrad"):
        (made,) = compile_modules(["a"], "sm_90", cubins)
    assert made.cubin == b"sm_90:a"
    assert compiler.calls == ["a", "a"]
    assert "damaged" in caplog.text
    assert entry.read_bytes() == data


def test_the_oldest_entries_go_first(tmp_path):
    cubins = CubinCache(tmp_path, limit_bytes=3500)
    for number, key in enumerate(("one", "two", "three")):
        cubins.put(key, bytes(1000))
        os.utime(tmp_path / f"{key}.cubin", (number, number))
    assert cubins.get("one") is not None  # which makes it the newest
    cubins.put("four", bytes(1000))
    left = {p.stem for p in tmp_path.iterdir()}
    assert "two" not in left
    assert {"one", "four"} <= left


def test_no_partial_file_is_left(tmp_path):
    cubins = CubinCache(tmp_path)
    cubins.put("one", b"x" * 100)
    assert [p.name for p in tmp_path.iterdir()] == ["one.cubin"]


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cubins = CubinCache(tmp_path / "file" / "cubins")
    with caplog.at_level(logging.WARNING, "gpugrad"):
        cubins.put("one", b"x")
        cubins.put("two", b"x")
    assert caplog.text.count("GPUGRAD_CACHE_DIR") == 1
    assert cubins.get("one") is None


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "gpugrad" / "cubins"


def test_what_a_killed_process_left_is_removed(tmp_path):
    for name, age in (("old.part", 7200), ("new.part", 10)):
        (tmp_path / name).write_bytes(b"x")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))
    CubinCache(tmp_path).put("one", b"x")
    assert {p.name for p in tmp_path.iterdir()} == {"new.part", "one.cubin"}


def test_a_folder_that_can_only_be_read_serves_what_it_has(
    tmp_path, compiler, monkeypatch, caplog
):
    compile_modules(["a", "b"], "sm_90", CubinCache(tmp_path))
    damaged = tmp_path / (cache_key("b", "sm_90", (13, 0)) + ".cubin")
    damaged.write_bytes(b"damaged")

    def refuse(*rest, **named):
        raise PermissionError(30, "Read-only file system")

    for owner, name in ((os, "utime"), (os, "replace"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, refuse)
    monkeypatch.setattr(cache, "write_whole", refuse)
    cubins = CubinCache(tmp_path)
    with caplog.at_level(logging.WARNING, "gpugrad"):
        made = compile_modules(["a", "b", "c"], "sm_90", cubins)
    assert [m.cubin for m in made] == [b"sm_90:a", b"sm_90:b", b"sm_90:c"]
    assert sorted(compiler.calls) == ["a", "b", "b", "c"]
    assert caplog.text.count("GPUGRAD_CACHE_DIR") == 1


_WRITER = """
import logging, sys
from pathlib import Path
from gpugrad.backends.cupy import cache
from gpugrad.backends.cupy.cache import CubinCache
logging.basicConfig(level=logging.WARNING)
cubins = CubinCache(Path(sys.argv[1]), limit_bytes=40_000)
for turn in range(150):
    key = f"k{turn % 12}"
    found = cubins.get(key)
    assert found in (None, key.encode() * 2000), key
    cubins.put(key, key.encode() * 2000)
"""


def test_two_processes_may_write_at_once(tmp_path):
    """The same keys, with room for two thirds of them."""
    command = [sys.executable, "-c", _WRITER, str(tmp_path)]
    running = [
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in running:
        assert process.communicate()[1] == ""  # nothing damaged, nothing refused
        assert process.returncode == 0
    left = list(tmp_path.iterdir())
    assert left and {p.suffix for p in left} == {".cubin"}
    assert sum(p.stat().st_size for p in left) <= 40_000 + 8_000
    for path in left:
        assert CubinCache(tmp_path).get(path.stem) == path.stem.encode() * 2000
