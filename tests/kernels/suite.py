"""What the virtual machine needs for pytest: the checkout, its packages, a disk.

Everything is taken from this machine and from the environment that runs this, which has
the package's test extra. Used by image.py; never inside.
"""

from __future__ import annotations

import importlib.metadata
import lzma
import re
import shutil
import stat
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from .image import Archive

ROOT = Path(__file__).parents[2]
SOURCES = ("syslet_loop", "pytest_syslet_loop", "tests", "examples", "benchmarks")
SOURCES += ("native", "docs", "pyproject.toml", "README.md")
SUFFIXES = (".py", ".so", ".md", ".toml", ".c", ".h", ".sh", ".pem", ".txt", ".json")
LEFT_OUT = {"matplotlib", "setuptools"}  # large, and of use to nothing that runs there
PROGRAMS = ("sh", "mke2fs", "cat", "echo", "false", "ls", "sleep", "true")
# What Debian's packages write when they are configured, which nothing there is.
ETC = {
    "passwd": "root:x:0:0:root:/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "group": "root:x:0:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\n",
}


def wanted() -> set[str]:
    """The distributions of the test extra, and what those require here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    open_ends = [*project["dependencies"], *extras["test"], *extras["demo"]]
    found: set[str] = set()
    while open_ends:
        requirement = Requirement(open_ends.pop())
        name, marker = requirement.name, requirement.marker
        if name in found | LEFT_OUT or (marker and not marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        open_ends += importlib.metadata.requires(name) or []
    return found


def installed() -> Iterator[tuple[Path, str]]:
    """The files of these distributions, and where they are below site-packages."""
    for name in wanted():
        for path in importlib.metadata.files(name) or []:
            place = Path(str(path.locate()))
            if ".." not in path.parts and place.is_file():
                yield place, str(path)


def checkout() -> Iterator[tuple[Path, str]]:
    """Sources, and what was built of them."""
    for name in SOURCES:
        top = ROOT / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and path.suffix in SUFFIXES:
                yield path, str(path.relative_to(ROOT))


def programs() -> Iterator[Path]:
    """Those of this machine that tests and guest run."""
    for name in PROGRAMS:
        found = shutil.which(name, path="/bin:/usr/bin:/sbin:/usr/sbin")
        if found is None:
            raise OSError(f"{name} is not to be had here")
        yield Path(found)


def module(kernel: Path) -> bytes:
    """The kernel's loop device, which mounts a file; newer ones are packed."""
    place = "lib/modules/*/kernel/drivers/block/loop.ko*"
    top = next(p for p in kernel.parents if p.name.startswith("linux-image-"))
    for path in [*top.glob(place), *top.glob(f"usr/{place}")]:
        data = path.read_bytes()
        return lzma.decompress(data) if path.suffix == ".xz" else data
    raise OSError(f"{top.name} has no loop.ko")


def add(archive: Archive, kernel: Path, plan: bytes) -> set[Path]:
    """Put all of it into the archive; the files whose libraries are needed too."""
    native = set()
    files = [(path, f"app/site/{name}") for path, name in installed()]
    files += [(path, f"app/{name}") for path, name in checkout()]
    files += [(path, f"bin/{path.name}") for path in programs()]
    for path, name in files:
        archive.take(path, name)
        if re.search(r"\.so(\.\d+)*$", name) or name.startswith("bin/"):
            native.add(path)
    for name, text in ETC.items():
        archive.add(f"etc/{name}", stat.S_IFREG | 0o644, text.encode())
    # Not PYTHONPATH, which a Python that is started with -I does not look at.
    site = Path(sysconfig.get_paths()["stdlib"], "site-packages")
    archive.add(f"{site}/app.pth", stat.S_IFREG | 0o644, b"/app\n/app/site\n")
    archive.add("app/loop.ko", stat.S_IFREG | 0o644, module(kernel))
    archive.add("app/plan.json", stat.S_IFREG | 0o644, plan)
    return native
