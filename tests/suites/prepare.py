"""Makes the room a suite runs in: virtual environment, sources, packages.

Used by run.py. A room that is ready is used again, so that a suite can be run many
times; nothing here runs tests, and nothing is written into the checkout except below
the folder that the caller names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .projects import COMMON, Suite

ROOT = Path(__file__).parents[2]
PROJECT = (
    *("native", "syslet_loop", "pytest_syslet_loop", "setup.py", "pyproject.toml"),
    *("README.md", "LICENSE"),
)
CFFI = "cffi>=1.17,<3"  # what a linked checkout needs
STEP_TIMEOUT = 1200
PIP = ("-m", "pip", "-qq", "--disable-pip-version-check", "--no-input")


@dataclass(frozen=True)
class Room:
    """Where one suite lives for one Python."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"

    @property
    def sources(self) -> Path:
        return self.folder / "sources"


def clean_environment() -> dict[str, str]:
    """This process's environment without what changes a Python or pytest."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTEST", "INJECTED_", "SYSLET_"))
    }


def step(*command: str | Path) -> None:
    """Run one command of the preparation; CalledProcessError if it fails."""
    subprocess.run(command, check=True, timeout=STEP_TIMEOUT, env=clean_environment())


def prepare(suite: Suite, folder: Path, python: str) -> Room:
    """The room of `suite` below `folder`, made if it is not there."""
    tag = subprocess.run(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.strip()
    room = Room(folder.resolve() / f"{suite.name}-{tag}")
    ready = room.folder / "ready"
    if not ready.exists():
        room.folder.mkdir(parents=True, exist_ok=True)
        step(python, "-m", "venv", "--clear", room.folder / "venv")
        version = unpack(suite, room)
        packages = [*COMMON, *suite.requires, f"{suite.name}=={version}", CFFI]
        step(room.python, *PIP, "install", *packages)
        ready.write_text(f"{suite.name} {version}\n")
    return room


def unpack(suite: Suite, room: Room) -> str:
    """Download and unpack the source distribution; returns its version."""
    download = room.folder / "download"
    shutil.rmtree(download, ignore_errors=True)
    # The option with :all: would also compile what is only needed to build.
    where = ("--no-deps", "--no-binary", suite.name, "--dest", download)
    step(room.python, *PIP, "download", *where, suite.name)
    (archive,) = download.glob("*.tar.gz")
    shutil.rmtree(room.sources, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(download, filter="data")
    stem = archive.name.removesuffix(".tar.gz")
    (download / stem).rename(room.sources)
    for name in suite.hides:
        shutil.rmtree(room.sources / name)
    return stem.rpartition("-")[2]


def install(room: Room) -> Path:
    """Build a copy of this checkout; the folder for PYTHONPATH it is installed in.

    It is not in the virtual environment since some tests start a Python that does not
    know that it belongs to one.
    """
    copy, target = room.folder / "project", room.folder / "installed"
    for folder in (copy, target):
        shutil.rmtree(folder, ignore_errors=True)
    copy.mkdir()
    for name in PROJECT:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("*.so", "__pycache__", "_memory.c")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)
    step(room.python, *PIP, "install", "--target", target, copy)
    return target


def link(room: Room, checkout: Path) -> Path:
    """A folder for PYTHONPATH with the package of another checkout and nothing else."""
    folder = room.folder / "linked"
    folder.mkdir(exist_ok=True)
    package = folder / "syslet_loop"
    package.unlink(missing_ok=True)
    target = checkout.resolve() / "syslet_loop"
    if not any(target.glob("_native*.so")):
        raise SystemExit(f"{target} has no built extension: make .venv/built there")
    package.symlink_to(target)
    return folder
