"""The cache of machine code: whole entries or none, and not more than its limit."""

from __future__ import annotations

import logging
import os

import pytest

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


@pytest.mark.parametrize("damage", [b"", b"gpugrad cubin 1\nshort", None])
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
