"""pytest in a virtual machine: a disk to write to, the run, and what hangs in it.

Imported by the first processes of machines, guest.py and tests/arm64/guest.py; never on
the machine that starts them.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import re
import select
import subprocess
import sys
from pathlib import Path

from tests.kernels import guest as machine

SILENCE_S = 120
FINIT_MODULE = {"x86_64": 313, "aarch64": 273}  # a system call
LOOP_SET_FD = 0x4C00
DISK_BYTES = 1 << 30  # taken when written to


def mount_disk() -> None:
    """An ext4 file system for what the tests write: tmpfs cannot do all of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = FINIT_MODULE[platform.machine()]
    with open("/app/loop.ko", "rb") as module:
        if libc.syscall(number, module.fileno(), b"", 0) != 0:
            raise OSError(ctypes.get_errno(), "loop.ko")
    with open("/disk", "w+b") as disk, open("/dev/loop0", "r+b", buffering=0) as device:
        disk.truncate(DISK_BYTES)
        subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "/disk"], check=True)
        fcntl.ioctl(device, LOOP_SET_FD, disk.fileno())
        machine.mount("ext4", "/tmp", "/dev/loop0")
    os.chmod("/tmp", 0o1777)


def show_tasks() -> None:
    """What the kernel says of every thread of a program: something hangs."""
    for task in Path("/proc").glob("[0-9]*/task/[0-9]*"):
        with contextlib.suppress(OSError):
            if (task / "cmdline").read_bytes():
                for name in ("comm", "wchan", "syscall", "stack"):
                    print(task, name, (task / name).read_text().strip())
    sys.stdout.flush()


def run_pytest(arguments: list[str], folder: Path) -> str:
    """The last line of a run, which counts; the others go to the console."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    ) as process:
        assert process.stdout is not None
        last = ""
        while True:
            if not select.select([process.stdout], [], [], SILENCE_S)[0]:
                show_tasks()
                continue
            line = process.stdout.readline()
            if not line:
                break
            print(line, end="", flush=True)
            last = line if re.search(r"\d+ (passed|failed|error)", line) else last
    last = last.strip(" =\n")
    return f"{last} (exit status {process.returncode})"
