"""An initramfs with this Python, the package as it is built here, and guest.py.

Nothing is installed in it: the interpreter, its standard library, the extension modules
and the shared libraries they need are taken from this machine, to the same places.
Used by run.py.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import _cffi_backend

from . import suite

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).with_name("guest.py")
LEFT_OUT = {"test", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo"}
LEFT_OUT |= {"site-packages", "pydoc_data", "__phello__"}


class Archive:
    """A cpio archive of the kind that kernels read ('newc')."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.names: set[str] = set()

    def add(
        self, name: str, mode: int, data: bytes = b"", device: int = 0, time: int = 0
    ) -> None:
        """A file, a folder, a link or a device, after the folders it lies in."""
        name = name.strip("/")
        if name in self.names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0], stat.S_IFDIR | 0o755)
        self.names.add(name)
        self._entry(name, mode, data, device, time)

    def _entry(
        self, name: str, mode: int, data: bytes, device: int = 0, time: int = 0
    ) -> None:
        fields = (len(self.names), mode, 0, 0, 1, time, len(data), 0, 0)
        fields += (os.major(device), os.minor(device), len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields)
        head += name.encode() + b"\0"
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def write(self, path: Path) -> None:
        self._entry("TRAILER!!!", 0, b"")
        path.write_bytes(b"".join(self.parts))

    def take(self, path: Path, name: str = "") -> None:
        """A file of this machine, with what a link points to, as old as it is: else
        what Python has compiled of it would not count."""
        mode = stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)
        time = int(path.stat().st_mtime)
        self.add(name or str(path), mode, path.read_bytes(), time=time)


def libraries(paths: set[Path]) -> set[Path]:
    """The shared libraries that these need, as ldd finds them."""
    found: set[Path] = set()
    for path in paths:
        done = subprocess.run(["ldd", str(path)], capture_output=True, text=True)
        found |= {Path(name) for name in re.findall(r"(/[^ ]+) \(0x", done.stdout)}
    return found


def standard_library() -> Iterator[Path]:
    """Its modules, and what is compiled of them: compiling takes long there."""
    top = Path(sysconfig.get_paths()["stdlib"])
    for folder, folders, names in os.walk(top):
        folders[:] = [
            name
            for name in folders
            if name not in LEFT_OUT and not name.startswith("config-")
        ]
        tag = f".{sys.implementation.cache_tag}.pyc"
        for name in names:
            if name.endswith((".py", ".so", tag)) and "opt-" not in name:
                yield Path(folder, name)


def build(target: Path, kernel: Path | None = None, plan: bytes = b"") -> None:
    """Write the archive; the kernel runs /init in it. With a plan, which goes to
    guest.py, and the kernel that it is for: also what pytest needs."""
    archive = Archive()
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=os.makedev(5, 1))
    python = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
    native = {python.resolve(), Path(_cffi_backend.__file__)}
    for path in standard_library():
        archive.take(path)
        native |= {path} if path.suffix == ".so" else set()
    if kernel is not None:
        native |= suite.add(archive, kernel, plan)
    for path in (ROOT / "syslet_loop").rglob("*"):
        if path.suffix in (".py", ".so"):
            archive.take(path, f"app/{path.relative_to(ROOT)}")
            native |= {path} if path.suffix == ".so" else set()
    archive.take(
        Path(_cffi_backend.__file__), f"app/{Path(_cffi_backend.__file__).name}"
    )
    for path in libraries(native):
        archive.take(path)
    archive.take(python)
    script = f"#!{python} -sSB\n".encode() + GUEST.read_bytes()
    archive.add("init", stat.S_IFREG | 0o755, script)
    archive.write(target)
