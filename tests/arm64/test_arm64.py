"""All C compiles for AArch64, a little of it runs there; what run.py makes of results.

Only the cross compiler is needed, and for running a program QEMU's user mode, which has
no io_uring. `make arm64` runs the tests on an AArch64 kernel.
"""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.arm64 import build, run

ROOT = Path(__file__).parents[2]
COMPILER = shutil.which(f"{build.TRIPLET}-gcc")
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
SHARED = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1")
FLAGS = {
    "native/engine": SHARED,
    "native/abi": SHARED,
    "native/python": (*SHARED, f"-isystem{sysconfig.get_paths()['include']}"),
    "tests/engine": (*SHARED, f"-iquote{ROOT}/native/engine"),
    "tests/fuzz": (
        *SHARED,
        f"-iquote{ROOT}/native/engine",
        f"-iquote{ROOT}/tests/engine",
    ),
    "tests/abi/programs": (*build.STRICT, "-O1", f"-I{ROOT}/native/abi"),
    "examples/abi": (*build.STRICT, "-O1", f"-I{ROOT}/native/abi"),
}

needs_compiler = pytest.mark.skipif(
    COMPILER is None, reason=f"needs {build.TRIPLET}-gcc (gcc-aarch64-linux-gnu)"
)


def compile_for_it(*arguments: object) -> None:
    command = [str(COMPILER), *(str(each) for each in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


@needs_compiler
@pytest.mark.parametrize("folder", FLAGS)
def test_everything_compiles(folder: str, tmp_path: Path) -> None:
    sources = [
        path
        for path in sorted((ROOT / folder).glob("*.c"))
        if not path.stem.startswith(("_driver", "_abi", "_memory"))
    ]
    assert sources
    for path in sources:
        old = path.stem.startswith("old_")
        flags = (*build.OLD, f"-I{ROOT}/native/abi") if old else FLAGS[folder]
        compile_for_it(*flags, "-c", path, "-o", tmp_path / "object")


@needs_compiler
@pytest.mark.skipif(EMULATOR is None, reason="needs qemu-aarch64 (qemu-user-static)")
def test_programs_run_without_io_uring(tmp_path: Path) -> None:
    """The calls, guarded access and the threads of the library, by its own programs."""
    objects = []
    for folder in ("native/engine", "native/abi"):
        for path in (ROOT / folder).glob("*.c"):
            objects.append(tmp_path / f"{path.parent.name}_{path.stem}.o")
            compile_for_it(*SHARED, "-c", path, "-o", objects[-1])
    expected = {"faults": "no crash\n", "stress": "every end once\n"}
    for name, text in expected.items():
        source = ROOT / "tests" / "abi" / "programs" / f"{name}.c"
        flags = ("-O1", "-static", "-pthread", f"-I{ROOT}/native/abi")
        compile_for_it(*flags, source, *objects, "-o", tmp_path / name)
        done = subprocess.run(
            [str(EMULATOR), tmp_path / name],
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert (done.returncode, done.stdout) == (0, text), done.stderr


def found(**changes: Any) -> dict[str, Any]:
    """What a machine says if all is well, but for the changes."""
    fine = {
        "programs": {"hello": ""},
        "machine": {"failing": [], "uring": {"rounds": 1}, "epoll": {"rounds": 1}},
        "pytest": {"-q tests": "3 passed in 1 s (exit status 0)"},
    }
    return {**fine, **changes}


def test_what_failed_there_is_told() -> None:
    assert run.failures(found()) == []
    assert run.failures({"error": "it said nothing"}) == ["it said nothing"]
    assert run.failures(found(programs={"hello": "1: no"})) == ["hello: 1: no"]
    broken = {"failing": [], "uring": {"error": "no ring"}, "epoll": {"rounds": 1}}
    assert run.failures(found(machine=broken)) == ["no ring"]
    end = "1 failed in 1 s (exit status 1)"
    assert run.failures(found(pytest={"tests": end})) == [f"pytest tests: {end}"]


def test_the_header_files_of_the_other_python_are_its_own(tmp_path: Path) -> None:
    include = tmp_path / "root" / "usr" / "include"
    for folder, text in ((include / build.TRIPLET, "right"), (include, "wrong")):
        (folder / "python3.11").mkdir(parents=True)
        (folder / "python3.11" / "pyconfig.h").write_text(text)
    assert (build.headers(tmp_path) / "pyconfig.h").read_text() == "right"
