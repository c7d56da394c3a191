"""Runs aiofiles' own tests on our files: a copy of its sources, a process, a summary.

Those sources and pytest-asyncio are in the virtual environment's folder `judge`, where
`make` puts them when there is a network. The tests import aiofiles and get our files
from `replace_aiofiles`; `python tests/files/judge.py aiofiles` runs them on aiofiles'
own for comparison. Root runs them as nobody, and with `… judge.py ours ours uring root`
as itself: one of them fails then, on aiofiles' files as well.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import nobody

FOLDER = Path(sys.prefix) / "judge"
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 200

CONFTEST = """
import asyncio, os, uvloop, syslet_loop
from syslet_loop import files

makers = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
    "ours": syslet_loop.new_event_loop,
}
make = makers[os.environ["JUDGE_LOOP"]]
asyncio.new_event_loop = asyncio.events.new_event_loop = make
if os.environ["JUDGE_FILES"] == "ours":
    files.replace_aiofiles()
"""


@dataclass
class Verdict:
    """What the tests said."""

    passed: int = 0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def sources() -> Path | None:
    """The unpacked sources of aiofiles; None if `make` could not get them."""
    found = sorted(FOLDER.glob("aiofiles-*/tests"))
    return found[0].parent if found else None


def run(
    files: str = "ours", loop: str = "ours", backend: str = "", user: str = "nobody"
) -> Verdict:
    """Run the tests with these files on this loop; only root can choose the user."""
    source = sources()
    assert source is not None
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        shutil.copytree(source / "tests", copy / "tests")
        (copy / "conftest.py").write_text(CONFTEST)
        becomes_nobody = user == "nobody" and nobody.can_be()
        if becomes_nobody:
            give_away(Path(folder))
        paths = [str(ROOT), str(FOLDER / "site")]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths),
            "JUDGE_FILES": files,
            "JUDGE_LOOP": loop,
            "HOME": folder,
        }
        if backend:
            environment["SYSLET_LOOP_BACKEND"] = backend
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-p", "pytest_asyncio", "-o", "asyncio_mode=auto", "tests"]
        command += ["--junit-xml=report.xml", "--rootdir=.", "-c", os.devnull]
        command += ["--timeout=20"]
        done = subprocess.run(
            [*(nobody.command() if becomes_nobody else ()), *command],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        report = copy / "report.xml"
        assert report.exists(), done.stdout + done.stderr
        return read_report(report)


def give_away(folder: Path) -> None:
    """To nobody, with everything in it."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.NOBODY, nobody.NOBODY)


def read_report(path: Path) -> Verdict:
    """The verdict in a report of pytest's."""
    verdict = Verdict()
    for case in ElementTree.parse(path).iter("testcase"):
        problem = case.find("failure")
        problem = case.find("error") if problem is None else problem
        if problem is not None:
            verdict.failed[case.attrib["name"]] = problem.attrib.get("message", "")
        elif case.find("skipped") is not None:
            verdict.skipped += 1
        else:
            verdict.passed += 1
    return verdict


if __name__ == "__main__":
    print(run(*sys.argv[1:]))
