"""The image: rules that its Dockerfile keeps, and its build stage really run.

No container engine is needed: the build stage is plain shell in a folder, so it is run
here with other paths and, for want of a GPU, without the CUDA wheels.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging import dockerfile

ROOT = Path(__file__).resolve().parents[2]

KERNELS = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "kernels").rglob("*")
    if path.is_file()
}


@pytest.fixture(scope="module")
def image():
    return dockerfile.parse(ROOT / "Dockerfile")


# --- rules ----------------------------------------------------------------------------


def test_bases_are_pinned_and_slim(image):
    for stage in image.stages:
        assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", stage.base), stage.base


def test_base_is_a_python_that_the_package_supports(image):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.match(r"python:(3\.\d+)", image.final.base)[1]
    assert f"Python :: {version}" in text


def test_two_stages_and_only_the_environment_crosses(image):
    build, final = image.stages
    assert build.name == "build"
    assert final.all("COPY") == ["--from=build /opt/gpugrad /opt/gpugrad"]
    assert "ADD" not in {word for word, _ in [*build.steps, *final.steps]}


def test_no_build_tool_is_left(image):
    """No package manager runs in the final stage, and pip itself is removed."""
    final = "\n".join(image.final.all("RUN"))
    assert not re.search(r"\b(apt|apt-get|apk|gcc|g\+\+|make|nvcc)\b", final)
    assert not re.search(r"\bpip (install|download|wheel)\b", final)
    assert "pip uninstall --yes" in final
    assert "venv --without-pip" in "\n".join(image.stages[0].all("RUN"))


def test_user_is_not_root(image):
    user = image.final.all("USER")[-1]
    assert user.isdigit()
    assert int(user) > 0
    words = [word for word, _ in image.final.steps]
    last_run = len(words) - 1 - words[::-1].index("RUN")
    assert last_run < words.index("USER"), "a RUN after USER would not be root's"


def test_gpu_is_asked_for(image):
    environment = environment_of(image.final)
    assert environment["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert environment["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_caches_are_on_the_volume(image):
    assert image.final.all("VOLUME") == ["/cache"]
    environment = environment_of(image.final)
    for name in ("GPUGRAD_CACHE_DIR", "CUPY_CACHE_DIR", "MPLCONFIGDIR"):
        assert environment[name].startswith("/cache/")


def test_entry_point_is_the_console_script(image):
    assert dockerfile.exec_form(image.final.all("ENTRYPOINT")[0]) == ["gpugrad"]
    assert dockerfile.exec_form(image.final.all("CMD")[0]) == ["info"]
    assert "/opt/gpugrad/bin:" in environment_of(image.final)["PATH"]


def test_context_is_what_the_build_needs():
    """.dockerignore lets in the package, its kernels and their description alone."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert context_names(rules) == {
        "LICENSE",
        "README.md",
        "gpugrad",
        "kernels",
        "pyproject.toml",
    }


@pytest.mark.parametrize(
    "broken",
    [
        ("USER 1000", "USER 0"),
        ("slim-bookworm", "latest"),
        ("RUN python -m pip uninstall", "RUN apt-get install gcc && pip uninstall"),
    ],
)
def test_the_rules_can_fail(broken, tmp_path):
    old, new = broken
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "Dockerfile").write_text(text.replace(old, new), encoding="utf-8")
    image = dockerfile.parse(tmp_path / "Dockerfile")
    with pytest.raises(AssertionError):
        test_user_is_not_root(image)
        test_bases_are_pinned_and_slim(image)
        test_no_build_tool_is_left(image)


def environment_of(stage):
    values = {}
    for argument in stage.all("ENV"):
        values.update(dockerfile.assignments(argument))
    return values


def context_names(rules):
    return {rule[1:] for rule in rules if rule.startswith("!")}


# --- the build stage, run -------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(image, tmp_path_factory):
    """The folder that the build stage leaves, made by its own steps."""
    top = tmp_path_factory.mktemp("image")
    source, target = top / "src", top / "opt" / "gpugrad"
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    environment = {**os.environ, "PATH": python_first(top), "PYTHONPATH": ""}
    (build, _) = image.stages
    for instruction, argument in build.steps:
        match instruction:
            case "ARG" | "ENV":
                environment.update(dockerfile.assignments(argument))
                environment["EXTRAS"] = "demo"
            case "WORKDIR":
                assert argument == "/src"
                source.mkdir()
            case "COPY":
                assert argument == ". ."
                copy_context(source, context_names(rules))
            case "RUN":
                command = argument.replace("/opt/gpugrad", str(target))
                subprocess.run(
                    ["sh", "-euc", command], cwd=source, env=environment, check=True
                )
            case _:
                raise AssertionError(f"{instruction} cannot be run here")
    return target


def python_first(top):
    """A PATH on which ``python`` is this one, as in the base image."""
    folder = top / "bin"
    folder.mkdir()
    base = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    (folder / "python").symlink_to(base)
    return f"{folder}:{os.environ['PATH']}"


def copy_context(target, names):
    for name in names:
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, target / name)


def run(installed, *arguments, cwd):
    """The image's ENTRYPOINT with ``arguments``, far from the checkout."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd)}
    return subprocess.run(
        [installed / "bin" / "gpugrad", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        check=True,
    ).stdout


@pytest.mark.slow
def test_wheel_holds_kernels_data_and_types(installed):
    (package,) = installed.glob("lib/python3.*/site-packages/gpugrad")
    assert (package / "py.typed").is_file()
    assert (package / "demo" / "data" / "digits.csv.gz").is_file()
    assert (package / "demo" / "data" / "README.md").is_file()
    assert KERNELS
    assert [name for name in KERNELS if not (package / name).is_file()] == []
    licences = package.parent.glob("gpugrad-*.dist-info/licenses/LICENSE")
    assert len(list(licences)) == 1


@pytest.mark.slow
def test_environment_has_no_pip(installed):
    assert not list(installed.glob("bin/pip*"))
    assert not list(installed.glob("lib/python3.*/site-packages/hatchling"))


@pytest.mark.slow
def test_installed_info(installed, tmp_path):
    text = run(installed, "info", cwd=tmp_path)
    assert str(installed) in text.splitlines()[0]
    assert "pip install 'gpugrad[cuda" in text


@pytest.mark.slow
def test_installed_demo(installed, tmp_path):
    text = run(installed, "demo", "--steps", "300", cwd=tmp_path)
    accuracy = re.search(r"held-out accuracy: ([\d.]+)%", text)
    assert float(accuracy[1]) > 90
    assert (tmp_path / "gpugrad-demo.png").stat().st_size > 10_000
