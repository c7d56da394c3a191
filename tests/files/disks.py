"""Small file systems, for tests of what happens when they are full or a quota is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(path: Path, size: str = "1m") -> Iterator[Path]:
    """A tmpfs; the test is skipped where mounting is not allowed."""
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
    except FileNotFoundError:
        pytest.skip("there is no mount")
    if done.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True, timeout=30)


def _run(*command: str) -> bool:
    """Whether a command could be run, and ended well."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        return False
    return done.returncode == 0


@contextmanager
def with_quota(path: Path) -> Iterator[Path]:
    """A folder on a btrfs of its own that may have one megabyte, of root as well.

    Skips without mkfs.btrfs (Debian's btrfs-progs), root and a loop device.
    """
    image, top = str(path / "image"), path / "top"
    top.mkdir()
    with open(image, "wb") as file:
        file.truncate(128 << 20)
    if not _run("mkfs.btrfs", "-q", image):
        pytest.skip("there is no mkfs.btrfs")
    if not _run("mount", "-o", "loop", image, str(top)):
        pytest.skip("mounting is not allowed here, or btrfs is unknown")
    try:
        limited = top / "limited"
        assert _run("btrfs", "quota", "enable", str(top))
        assert _run("btrfs", "subvolume", "create", str(limited))
        assert _run("btrfs", "qgroup", "limit", "1M", str(limited))
        yield limited
    finally:
        subprocess.run(["umount", str(top)], check=True, timeout=30)
