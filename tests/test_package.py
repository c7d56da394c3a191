"""What a release consists of: sources, metadata, and types that are true.

Cheap checks; `make wheel-test` builds wheels and runs the tests with them. The sources
that git knows are copied first, so that nothing here writes into the checkout.
"""

from __future__ import annotations

import email
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import syslet_loop

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What a checkout has and a distribution does not need.
NOT_SHIPPED = {".gitignore", ".ci/run"}
MADE = {"PKG-INFO", "setup.cfg"}
needs_mypy = pytest.mark.skipif(
    not importlib.util.find_spec("mypy"), reason="needs mypy: make check installs it"
)


def run(*command: str, where: Path = ROOT) -> str:
    """What a command prints; the test fails with what it said if that fails."""
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked() -> list[str]:
    """The files that git knows and that are there."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode or not done.stdout:
        pytest.skip("not a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).exists()]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


def backend(call: str, where: Path) -> str:
    """The last line of what a hook of the build backend returns."""
    code = f"import setuptools.build_meta as backend; print(backend.{call})"
    return run(sys.executable, "-c", code, where=where).splitlines()[-1]


def test_the_source_distribution_is_complete(copy: Path) -> None:
    name = backend("build_sdist('out')", copy)
    with tarfile.open(copy / "out" / name) as archive:
        files = {member.name for member in archive.getmembers() if member.isfile()}
    shipped = {file.partition("/")[2] for file in files}
    wanted = set(tracked()) - NOT_SHIPPED
    assert wanted - shipped == set()
    extra = {file for file in shipped - wanted - MADE if ".egg-info/" not in file}
    assert extra == set()


def test_metadata(copy: Path) -> None:
    folder = copy / "out"
    name = backend(f"prepare_metadata_for_build_wheel({str(folder)!r})", copy)
    found = email.message_from_string((folder / name / "METADATA").read_text())
    assert (found["Name"], found["Version"]) == ("syslet_loop", syslet_loop.__version__)
    assert found["Requires-Python"] == PROJECT["requires-python"]
    assert (found["License-Expression"], found["License-File"]) == ("MIT", "LICENSE")
    needed = [text for text in found.get_all("Requires-Dist", []) if ";" not in text]
    assert len(needed) == len(PROJECT["dependencies"]) == 1
    assert set(found.get_all("Provides-Extra", [])) >= {"test", "bench", "docs"}
    assert found.get_payload().startswith("# syslet_loop")


def test_the_package_has_its_types(copy: Path) -> None:
    run(sys.executable, "setup.py", "-q", "build_py", "-d", "built", where=copy)
    built = {str(path.relative_to(copy / "built")) for path in copy.rglob("built/**/*")}
    wanted = {name for name in tracked() if name.startswith("syslet_loop/")}
    assert wanted <= built
    assert {"syslet_loop/py.typed", "syslet_loop/_native.pyi"} <= wanted


@needs_mypy
def test_the_stubs_agree_with_the_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "syslet_loop._native"]
    options = ["--concise", "--ignore-disjoint-bases"]
    allowed = [ROOT / "tests" / "stubtest.allow"]
    if sys.version_info < (3, 12):  # then what gives memory has no method for it
        allowed.append(tmp_path / "allow")
        allowed[-1].write_text(r"syslet_loop\._native\.FixedMemory\.__buffer__")
    options += [word for file in allowed for word in ("--allowlist", str(file))]
    run(*command, *options)


@needs_mypy
def test_a_program_with_strict_types() -> None:
    program = str(ROOT / "tests" / "typed_program.py")
    run(sys.executable, "-m", "mypy", "--strict", "--config-file=", program)


def test_that_program_runs() -> None:
    program = str(ROOT / "tests" / "typed_program.py")
    assert "/proc/uptime b'" in run(sys.executable, "-W", "error", program)
