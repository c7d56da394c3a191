"""The loop on AArch64: cross-built, in a virtual machine with Debian's arm64 kernel.

`python -m tests.arm64.run` (or `make arm64`) downloads an arm64 root and kernel from
the archive that apt uses here and wheels for it, builds the package with Debian's cross
compiler, boots all of it in QEMU without acceleration, runs guest.py there and prints
what came out. Exit status 1 if something did not work. Nothing is installed here. Needs
apt, dpkg-deb, gcc-aarch64-linux-gnu, make and qemu-system-aarch64; takes hours for all
tests, minutes with arguments (`… tests/binding`), which are pytest's.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.kernels.run import cache_folder, problems

from . import build

NEEDED = ("apt-get", "apt-cache", "dpkg-deb", "make", "qemu-system-aarch64")
NEEDED += ("aarch64-linux-gnu-gcc",)
LIMIT_S = 6 * 3600
TARGETS = ("syslet", "binding", "engine", "abi", "doctor", "files", "loop")
# Without acceleration all is slow: a test may take longer before it counts as hanging.
OPTIONS = ["-q", "-rs", "-o", "timeout=900", "-o", "faulthandler_timeout=600"]
CPU = "neoverse-n1"  # 8.2: atomic instructions, as of this decade's servers


def boot(kernel: Path, initramfs: Path, memory: int, cpus: int) -> dict[str, Any]:
    """What guest.py says; its console is shown meanwhile."""
    command = ["qemu-system-aarch64", "-machine", "virt", "-accel", "tcg,thread=multi"]
    command += ["-cpu", CPU, "-m", str(memory), "-smp", str(cpus), "-nographic"]
    command += ["-no-reboot", "-nic", "none", "-kernel", str(kernel)]
    command += ["-initrd", str(initramfs), "-append"]
    command += ["console=ttyAMA0 quiet panic=-1 random.trust_cpu=on"]
    found: dict[str, Any] = {"error": "the machine said nothing"}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if line.startswith("RESULT {"):
                found = json.loads(line.removeprefix("RESULT "))
    return found


def failures(found: dict[str, Any]) -> list[str]:
    """What did not work."""
    if "error" in found:
        return [found["error"]]
    wrong = [f"{name}: {text}" for name, text in found["programs"].items() if text]
    wrong += problems(found["machine"]) if "machine" in found else []
    return wrong + [
        f"pytest {name}: {text}"
        for name, text in found["pytest"].items()
        if not text.endswith("(exit status 0)")
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=cache_folder() / "arm64")
    parser.add_argument("--memory", type=int, default=3072, help="MiB of the machine")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10, help="of mixed work; 0")
    parser.add_argument("tests", nargs="*", help="arguments of one pytest there")
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        print(f"not to be had here: {', '.join(missing)}")
        return 1
    cache: Path = arguments.cache
    kernel = build.prepare(cache)
    build.build(cache)
    runs = [[*OPTIONS, f"tests/{name}"] for name in TARGETS]
    if arguments.tests:
        runs = [[*OPTIONS, *shlex.split(each)] for each in arguments.tests]
    plan = {"seconds": arguments.seconds, "pytest": runs}
    initramfs = cache / "initramfs.cpio"
    build.write_image(cache, kernel, json.dumps(plan).encode(), initramfs)
    found = boot(kernel, initramfs, arguments.memory, arguments.cpus)
    for name, text in found.get("pytest", {}).items():
        print(f"{name.removeprefix(' '.join(OPTIONS)).strip()}: {text}")
    wrong = failures(found)
    print("\n".join(wrong))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
