"""Every example runs, and the short ones stay short."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
LARGE = ("demo", "file_server")
LINES_MAX = 60


def run(name: str, folder: Path, *args: str) -> str:
    """The output of an example that ends well."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *args],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def test_word_count(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text("one two three\n" * number)
    assert run("word_count", tmp_path, ".") == "570 words in 20 files\n"


def test_foreign_loop(tmp_path: Path) -> None:
    assert "10 bytes saved" in run("foreign_loop", tmp_path)
    assert os.listdir(tmp_path) == []


def test_drawing(tmp_path: Path) -> None:
    assert run("drawing", tmp_path) == "served 100 connections, 0 left\n"


@pytest.mark.parametrize("backend", ["", "epoll"])
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    pytest.importorskip("aiofiles")
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", backend)
    out = run("demo", tmp_path)
    assert "every byte as expected" in out
    assert re.search(r"^\.map +[\d.]+ +[\d.]+ ", out, re.M)
    assert f"backend: {backend}" in out


def test_each_example_is_tried_here() -> None:
    folders = (ROOT / "tests" / "examples", ROOT / "tests" / "frameworks")
    tests = (path for folder in folders for path in folder.glob("test_*.py"))
    text = "".join(path.read_text() for path in tests)
    for path in EXAMPLES.rglob("*.py"):
        assert path.stem in text, f"{path.name} is never run"
        lines = len(path.read_text().splitlines())
        assert path.stem in LARGE or lines <= LINES_MAX, f"{path.name}: {lines} lines"
