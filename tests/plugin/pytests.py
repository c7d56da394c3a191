"""Suites that the plugin's tests run in a pytest of their own; no tests.

Each runs in another process, with the packages that are installed, or with one of the
old versions of pytest-asyncio that the Makefile keeps beside them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OLD = Path(sys.prefix) / "plugins"
VERSIONS = ("installed", "1.3", "0.26")
LIMIT_S = 100


class Suites:
    """Writes files of tests and runs them."""

    def __init__(self, pytester: pytest.Pytester, path: list[Path]) -> None:
        self._pytester = pytester
        self._path = path

    def write(self, **files: str) -> None:
        """Python files by their names without suffix."""
        self._pytester.makepyfile(**files)

    def run(self, *options: str) -> pytest.RunResult:
        """Run what was written, with warnings as errors."""
        search = [*map(str, self._path), str(ROOT)]
        os.environ["PYTHONPATH"] = os.pathsep.join(search)
        always = ["-W", "error", "-p", "no:cacheprovider", "-p", "no:timeout"]
        if "no:asyncio" not in options:  # without it pytest-asyncio warns
            always += ["-o", "asyncio_default_fixture_loop_scope=function"]
        return self._pytester.runpytest_subprocess(*always, *options, timeout=LIMIT_S)


def version_path(version: str) -> list[Path]:
    """Where a version of pytest-asyncio is; skips the test if it is not here."""
    if version == "installed":
        pytest.importorskip("pytest_asyncio")
        return []
    folder = OLD / version
    if not folder.exists():
        pytest.skip(f"make test keeps pytest-asyncio {version} in {folder}")
    return [folder]
