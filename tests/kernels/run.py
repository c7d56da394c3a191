"""The loop on Debian's kernels, each in a virtual machine without acceleration.

`python -m tests.kernels.run` (or `make kernels`): asks apt which kernels this machine's
archive has for the release that is installed, its backports and what comes after it,
downloads and unpacks one of each into a cache, runs tests/kernels/guest.py on it as the
first process, and prints a table. Exit status 1 if something did not work on a kernel
that has all that the ring backend needs. Needs apt, dpkg-deb and qemu-system-x86_64.

With arguments (`… --kernel 6.1 tests/binding`), which are pytest's, the machines run
these tests instead, with a disk of ext4 and a folder of tmpfs, /dev/shm, to write to.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import image

NEEDED = ("apt-get", "apt-cache", "dpkg-deb", "qemu-system-x86_64")
# A test may take longer there before it counts as hanging.
OPTIONS = ["-q", "-rs", "-o", "timeout=300", "-o", "faulthandler_timeout=200"]
LIMIT_S = 600  # of one machine; without acceleration all is slow
# QEMU 7.2 leaves wrong flags behind cmpxchg16b: kernels do without it.
CPU = "max,-cx16,-la57"
PATTERN = r"^linux-image-[0-9][0-9.]*[^ ]*-cloud-amd64$"


@dataclass(frozen=True)
class Kernel:
    """A kernel of the archive, and where it was unpacked."""

    suite: str
    package: str
    path: Path


def cache_folder() -> Path:
    """Outside of the project; nothing in it is precious."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "syslet_loop", "kernels")


def output(*command: str, **more: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command[:2])}: {done.stderr.strip()[-300:]}")
    return done.stdout


def archive() -> tuple[str, str]:
    """The address of the archive that this machine uses, and its release's name."""
    lines = output("apt-get", "indextargets", "--format", "$(SITE) $(CODENAME)")
    for line in lines.splitlines():
        site, _, name = line.partition(" ")
        if "-" not in name and "debian" in site and "security" not in site:
            return site, name
    raise OSError("apt knows no archive of Debian")


class Apt:
    """apt with lists of its own in the cache, of one suite."""

    def __init__(self, cache: Path, site: str, suite: str) -> None:
        self.folder = cache / "apt" / suite
        (self.folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        sources = self.folder / "sources.list"
        sources.write_text(f"deb {site} {suite} main\n")
        self.options = [
            "-o", f"Dir::Etc::SourceList={sources}",
            "-o", "Dir::Etc::SourceParts=-",
            "-o", f"Dir::State::Lists={self.folder / 'lists'}",
            "-o", f"Dir::Cache={self.folder}",
            "-o", "Dir::State::status=/dev/null",
        ]  # fmt: skip

    def kernels(self) -> list[str]:
        """Packages with kernels for virtual machines, newest last."""
        output("apt-get", *self.options, "update")
        return self.search(PATTERN)

    def search(self, pattern: str) -> list[str]:
        """Packages with such a name, newest last."""
        lines = output("apt-cache", *self.options, "search", "--names-only", pattern)
        names = [line.split(" ")[0] for line in lines.splitlines()]
        return sorted(
            names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)]
        )

    def fetch(self, package: str, target: Path) -> Path:
        """Download and unpack it; the kernel's file."""
        binary = package.replace("linux-image", "linux-binary")  # apart in newer ones
        for name in (package, binary):
            if not _images(target):
                self._unpack(name, target)
        if not _images(target):
            raise OSError(f"no kernel in {package}")
        return _images(target)[0]

    def _unpack(self, package: str, target: Path) -> None:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as folder:
            output("apt-get", *self.options, "download", package, cwd=folder)
            for found in Path(folder).glob("*.deb"):
                output("dpkg-deb", "-x", str(found), str(target))


def _images(folder: Path) -> list[Path]:
    places = ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz", "lib/modules/*/vmlinuz")
    return [path for place in places for path in folder.glob(place)]


def _line(package: str) -> str:
    """The first two numbers of a kernel's version."""
    return ".".join(re.findall(r"\d+", package)[:2])


def find_kernels(cache: Path) -> list[Kernel]:
    """The newest kernel of each suite, one of each 6.1, 6.12, …; what cannot be had is
    said and left out."""
    site, release = archive()
    found: dict[str, Kernel] = {}
    for suite in (release, f"{release}-backports", "stable", "testing", "unstable"):
        try:
            apt = Apt(cache, site, suite)
            names = apt.kernels()
            if names and (line := _line(names[-1])) not in found:
                path = apt.fetch(names[-1], cache / "kernels" / names[-1])
                found[line] = Kernel(suite, names[-1], path)
        except OSError as error:
            print(f"left out: {suite}: {error}", flush=True)
    return list(found.values())


def command(kernel: Path, initramfs: Path, memory: int) -> list[str]:
    """What starts the machine; its console is what the program writes."""
    command = ["qemu-system-x86_64", "-accel", "tcg", "-cpu", CPU, "-m", str(memory)]
    command += ["-smp", "2", "-nographic", "-no-reboot", "-nic", "none"]
    command += ["-kernel", str(kernel), "-initrd", str(initramfs)]
    command += ["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"]
    return command


def boot(kernel: Path, initramfs: Path) -> dict[str, Any]:
    """What guest.py says on this kernel; 'error' if it says nothing."""
    try:
        done = subprocess.run(
            command(kernel, initramfs, 1024),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
        )
        text = done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        text = (late.stdout or b"").decode(errors="replace")
    for line in text.splitlines():
        if "RESULT {" in line:
            found: dict[str, Any] = json.loads(line[line.index("{") :])
            return found
    return {"error": text[-3000:]}


def problems(found: dict[str, Any]) -> list[str]:
    """What did not work."""
    if "error" in found:
        return [found["error"]]
    wrong = [
        f"{each['backend']} {each['name']}: {each['error']}"
        for each in found["failing"]
    ]
    return wrong + [
        found[backend]["error"]
        for backend in ("uring", "epoll")
        if "error" in found[backend]
    ]


def row(kernel: Kernel, found: dict[str, Any], seconds: float) -> str:
    head = f"{found.get('release', kernel.package):<32}{kernel.suite:<22}"
    if problems(found):
        return f"{head}FAILED after {seconds:.0f} s"
    parts = [found["backend"]["active"], f"{len(found['misses'])} in the ring"]
    parts += [
        f"{found[each]['rounds']} rounds on {each}" for each in ("uring", "epoll")
    ]
    return f"{head}{', '.join(parts)} ({seconds:.0f} s)"


def boot_tests(kernel: Path, initramfs: Path) -> dict[str, Any]:
    """The same of pytest; the console is shown meanwhile, as this may take long."""
    found: dict[str, Any] = {"error": "the machine said nothing"}
    with subprocess.Popen(
        command(kernel, initramfs, 3072),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("RESULT {"):
                found = json.loads(line.removeprefix("RESULT "))
    return found


def run_tests(kernels: list[Kernel], initramfs: Path, tests: list[str]) -> int:
    """pytest on each of these kernels; exit status."""
    plan = json.dumps([[*OPTIONS, *shlex.split(each)] for each in tests]).encode()
    rows, failed = [], not kernels
    for kernel in kernels:
        image.build(initramfs, kernel.path, plan)
        found = boot_tests(kernel.path, initramfs)
        for name, text in found.get("pytest", {"": found.get("error")}).items():
            name = name.removeprefix(" ".join(OPTIONS)).strip()
            rows.append(f"{kernel.package} {name}: {text}")
            failed |= not str(text).endswith("(exit status 0)")
    print("\n".join(rows))
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--kernel", help="only this one: 6.1")
    parser.add_argument("tests", nargs="*", help="each the arguments of one pytest")
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        print(f"not to be had here: {', '.join(missing)}")
        return 1
    kernels = [
        kernel
        for kernel in find_kernels(arguments.cache)
        if arguments.kernel in (None, _line(kernel.package))
    ]
    initramfs = arguments.cache / "initramfs.cpio"
    if arguments.tests:
        return run_tests(kernels, initramfs, arguments.tests)
    image.build(initramfs)
    rows, failed = [], not kernels
    for kernel in kernels:
        print(f"{kernel.package} ({kernel.suite}) boots", flush=True)
        start = time.monotonic()
        found = boot(kernel.path, initramfs)
        rows.append(row(kernel, found, time.monotonic() - start))
        for problem in problems(found):
            failed = True
            print(problem, flush=True)
    print("\n".join(rows))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
