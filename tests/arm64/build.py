"""A root for AArch64: Debian's Python, wheels of the test extra, this package.

Everything lies in a cache outside of the checkout, and comes from the archive that apt
uses here and from the package index that pip uses here. The package is what setup.py
builds, with Debian's cross compiler and the headers and settings of the other Python.
Used by run.py.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.kernels import image
from tests.kernels.run import Apt, archive, output
from tests.kernels.suite import ETC

ROOT = Path(__file__).parents[2]
TRIPLET = "aarch64-linux-gnu"
PACKAGES = ("python3.11", "libpython3.11-dev", "dash", "coreutils", "procps")
PACKAGES += ("netbase", "e2fsprogs")
KERNELS = r"^linux-image-[0-9][0-9.]*[^ ]*-cloud-arm64$"
SUFFIX = f".cpython-311-{TRIPLET}.so"
PLATFORMS = ("manylinux_2_17", "manylinux2014", "manylinux_2_28", "manylinux_2_34")
LEFT_OUT = {"matplotlib", "setuptools"}  # large, and of use to nothing that runs there
SOURCES = ("native", "syslet_loop", "pytest_syslet_loop", "tests", "examples")
SOURCES += ("benchmarks", "docs", "pyproject.toml", "setup.py", "README.md", "LICENSE")
STRICT = ("-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror")
OLD = ("-std=gnu89", "-Wall", "-Werror", "-Wno-sign-compare")


class Packages(Apt):
    """apt for the other architecture, without a change to this machine's dpkg."""

    def __init__(self, cache: Path, site: str, suite: str) -> None:
        super().__init__(cache, site, suite)
        (self.folder / "archives" / "partial").mkdir(parents=True, exist_ok=True)
        self.options += ["-o", "APT::Architecture=arm64"]
        self.options += ["-o", "APT::Architectures=arm64"]

    def unpack_all(self, target: Path) -> None:
        """PACKAGES and what they need, unpacked and not configured."""
        output("apt-get", *self.options, "update")
        install = ("--yes", "--download-only", "--no-install-recommends", "install")
        output("apt-get", *self.options, *install, *PACKAGES)
        for found in sorted((self.folder / "archives").glob("*.deb")):
            output("dpkg-deb", "-x", str(found), str(target))

    def kernel(self, target: Path) -> Path:
        """The newest kernel for virtual machines."""
        names = self.search(KERNELS)
        if not names:
            raise OSError("the archive has no kernel for arm64")
        return self.fetch(names[-1], target / names[-1])


def prepare(cache: Path) -> Path:
    """Root, wheels and kernel, downloaded once; the kernel's file."""
    apt = Packages(cache, *archive())
    if not (cache / "root").exists():
        shutil.rmtree(cache / "root.tmp", ignore_errors=True)
        apt.unpack_all(cache / "root.tmp")
        (cache / "root.tmp").rename(cache / "root")
    if not (cache / "site").exists():
        shutil.rmtree(cache / "site.tmp", ignore_errors=True)
        download_wheels(cache / "site.tmp")
        (cache / "site.tmp").rename(cache / "site")
    return apt.kernel(cache / "kernels")


def download_wheels(target: Path) -> None:
    """What the tests import, for the other machine, as pip finds it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["demo"]]
    wanted = [each for each in wanted if re.split(r"\W", each)[0] not in LEFT_OUT]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target"]
    command += [str(target), "--only-binary=:all:", "--python-version=3.11"]
    command += [f"--platform={each}_aarch64" for each in PLATFORMS]
    output(*command, "--implementation=cp", "--disable-pip-version-check", *wanted)


# --- cross-building


def settings(cache: Path) -> dict[str, str]:
    """The environment in which this Python builds for the other one."""
    library = cache / "root" / "usr" / "lib" / "python3.11"
    data = f"_sysconfigdata__{TRIPLET}"
    where = cache / "sysconfig"
    where.mkdir(exist_ok=True)
    shutil.copy(library / f"{data}.py", where)
    return {
        **os.environ,
        "_PYTHON_SYSCONFIGDATA_NAME": data,
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        "PYTHONPATH": str(where),
        "CFLAGS": f"-I{headers(cache)} -Werror",
    }


def headers(cache: Path) -> Path:
    """The other Python's headers in one folder, without the C library's."""
    include = cache / "root" / "usr" / "include"
    target = cache / "include"
    if not target.exists():
        shutil.copytree(include / "python3.11", target)
        shutil.copy(include / TRIPLET / "python3.11" / "pyconfig.h", target)
    return target


def copy_sources(target: Path) -> None:
    """The checkout without what was built in it."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    built = shutil.ignore_patterns("*.so", "*.o", "_driver*.c", "__pycache__", "_build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=built)
        else:
            shutil.copy(ROOT / name, target)


def build(cache: Path) -> Path:
    """Sources, extension modules, driver and C programs, as they lie in the machine."""
    app = cache / "app"
    copy_sources(app)
    output(
        *(sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"),
        *("--build-temp", str(cache / "objects")),
        cwd=app,
        env=settings(cache),
    )
    build_driver(app, cache)
    build_programs(app, cache / "library")
    return app


def build_driver(app: Path, cache: Path) -> None:
    """The engine's test driver, of what driver_build.py says."""
    from tests.engine import driver_build

    ffi = driver_build.make()
    source = cache / "_driver.c"
    ffi.emit_c_code(str(source))
    _, _, _, options = ffi._assigned_source  # type: ignore[attr-defined]
    output(
        *(f"{TRIPLET}-gcc", "-shared", "-fPIC", f"-I{headers(cache)}"),
        *options["extra_compile_args"],
        *(str(source), *options["sources"]),
        *("-o", str(app / "tests" / "engine" / f"_driver{SUFFIX}")),
        *options["extra_link_args"],
    )


def build_programs(app: Path, library: Path) -> None:
    """The C programs of the tests and examples, with the static library."""
    tools = [f"CC={TRIPLET}-gcc", f"AR={TRIPLET}-ar", f"OBJCOPY={TRIPLET}-objcopy"]
    place = [f"LIB={library / 'build'}", f"PREFIX={library}"]
    flags = "LIB_CFLAGS=-O2 -g -Werror"
    output("make", "--silent", "install-lib", *place, *tools, flags, cwd=ROOT)
    (app / "programs").mkdir()
    for source in c_programs():
        output(
            *(f"{TRIPLET}-gcc", "-O1", "-pthread", "-rdynamic"),
            *(OLD if source.stem.startswith("old_") else STRICT),
            *(f"-I{library}/include", f"-I{ROOT}/tests/abi/programs", str(source)),
            *("-o", str(app / "programs" / source.stem)),
            *(str(library / "lib" / "libsyslet.a"), "-ldl"),
        )


def c_programs() -> list[Path]:
    folders = (ROOT / "tests" / "abi" / "programs", ROOT / "examples" / "abi")
    return [path for folder in folders for path in sorted(folder.glob("*.c"))]


# --- the archive that the kernel unpacks


def pieces(cache: Path) -> Iterator[tuple[Path, str]]:
    """Files and links of the machine, and where they are there."""
    for top, place in (("root", ""), ("site", "app/site/"), ("app", "app/")):
        for folder, folders, names in os.walk(cache / top):
            folders[:] = [
                name
                for name in folders
                if name not in ("include", "doc", "man", "locale", "__pycache__")
            ]
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in [*names, *links]:
                path = Path(folder, name)
                yield path, place + str(path.relative_to(cache / top))


def write_image(cache: Path, kernel: Path, plan: bytes, target: Path) -> None:
    """The initramfs, with the plan for guest.py and the one module that it needs."""
    archive = image.Archive()
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=os.makedev(5, 1))
    for path, name in pieces(cache):
        if path.is_symlink():
            link = os.readlink(path).encode()
            archive.add(name, stat.S_IFLNK | 0o777, link)
        elif path.is_file() and path.suffix not in (".a", ".deb"):
            archive.take(path, name)
    for name, text in ETC.items():
        archive.add(f"etc/{name}", stat.S_IFREG | 0o644, text.encode())
    archive.add("bin/sh", stat.S_IFLNK | 0o777, b"dash")
    archive.add("usr/bin/python3", stat.S_IFLNK | 0o777, b"python3.11")
    module = next(kernel.parents[1].glob("lib/modules/*/kernel/drivers/block/loop.ko"))
    archive.take(module, "app/loop.ko")
    archive.add("app/plan.json", stat.S_IFREG | 0o644, plan)
    guest = b"#!/usr/bin/python3.11 -sSB\n"
    guest += (ROOT / "tests" / "arm64" / "guest.py").read_bytes()
    archive.add("init", stat.S_IFREG | 0o755, guest)
    archive.write(target)
