"""What `make kernels` runs in virtual machines, on this kernel; and its archive."""

from __future__ import annotations

import json
import lzma
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kernels import image, run, suite

GUEST = Path(__file__).with_name("guest.py")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What the guest says here, after a round of everything on each backend."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(GUEST), "0"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    line = done.stdout.splitlines()[-1]
    assert line.startswith("RESULT "), done.stdout + done.stderr
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    return result


def test_the_guest_works_here(found: dict[str, Any]) -> None:
    problems = run.problems(found)
    if found["backend"]["active"] != "uring":
        problems = [
            each for each in problems if "io_uring is not to be had" not in each
        ]
    assert problems == []
    assert found["epoll"]["rounds"] == found["epoll"]["foreign"] == 1
    assert found["epoll"]["stats"]["flying"] == 0


def test_a_row_tells_what_failed(found: dict[str, Any]) -> None:
    kernel = run.Kernel("stable", "linux-image-1.2.3-cloud-amd64", Path())
    assert "1 rounds on epoll" in run.row(kernel, found, 3) or run.problems(found)
    broken = {**found, "epoll": {"error": "it broke"}}
    assert run.problems(broken)[-1] == "it broke"
    assert "FAILED" in run.row(kernel, broken, 3)
    assert run.problems({"error": "no word"}) == ["no word"]


def test_kernels_are_told_apart() -> None:
    names = [f"linux-image-6.1{tail}-cloud-amd64" for tail in (".0-9", ".0-10", "2.3")]
    assert [run._line(name) for name in names] == ["6.1", "6.1", "6.12"]


def test_pytest_is_packed_with_its_plan_and_the_kernels_disk(tmp_path: Path) -> None:
    top = tmp_path / "linux-image-1.2-cloud-amd64"
    folder = top / "lib" / "modules" / "1.2" / "kernel" / "drivers" / "block"
    folder.mkdir(parents=True)
    (folder / "loop.ko.xz").write_bytes(lzma.compress(b"a module"))
    assert suite.module(top / "boot" / "vmlinuz-1.2") == b"a module"
    assert {"pytest", "pytest-timeout", "pluggy"} <= suite.wanted()
    assert not suite.wanted() & suite.LEFT_OUT
    sources = {name for _, name in suite.checkout()}
    assert {"pyproject.toml", "tests/conftest.py", "syslet_loop/loop.py"} <= sources
    assert "pytest/__init__.py" in {name for _, name in suite.installed()}


def test_a_kernel_without_a_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"no loop\.ko"):
        suite.module(tmp_path / "linux-image-1.2-cloud-amd64" / "boot" / "vmlinuz")


def test_the_archive_is_one_that_kernels_read(tmp_path: Path) -> None:
    archive = image.Archive()
    archive.add("a/b/file", stat.S_IFREG | 0o644, b"words")
    archive.add("a/b/other", stat.S_IFREG | 0o755, b"")
    archive.write(tmp_path / "cpio")
    data, at, names = (tmp_path / "cpio").read_bytes(), 0, []
    while at < len(data):
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        size, length = fields[6], fields[11]
        names.append(data[at + 110 : at + 109 + length].decode())
        at += (110 + length + 3) // 4 * 4 + (size + 3) // 4 * 4
    assert names == ["a", "a/b", "a/b/file", "a/b/other", "TRAILER!!!"]
