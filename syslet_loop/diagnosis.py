"""Why a backend is not to be had: the error that the kernel gave, and what explains it.

Used by doctor.py only. `gather` reads what the kernel says about this process,
`why_not` and `why_no_device` decide, and touch nothing. No decision of the loop depends
on anything here: the loop falls back on any error, whatever its cause.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_CAP_SYS_ADMIN = 21
_SECCOMP_FILTER = 2
_OURS = (6, 1)  # the first kernel with all that the ring backend needs
_UNCHARGED = (5, 12)  # the first whose rings are not locked memory
_SYSCTL = "kernel.io_uring_disabled"
_EITHER = (
    "Nothing has to be done, the epoll backend gives the same results; "
    "SYSLET_LOOP_BACKEND=epoll makes it the choice and not the fallback."
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the kernel says about itself and about this process."""

    release: str = ""
    version: str = ""
    disabled: int | None = None  # the sysctl; None: this kernel has none
    in_group: bool = False  # of those that the sysctl's value 1 allows
    is_admin: bool = False  # CAP_SYS_ADMIN
    seccomp: int = 0  # the mode: 0 none, 1 strict, 2 filter
    memlock: int = -1  # soft limits; -1: none
    nofile: int = -1

    @property
    def numbers(self) -> tuple[int, int]:
        """Major and minor number of the kernel; (0, 0) if they cannot be read."""
        parts = self.release.split(".")
        if len(parts) < 2 or not (parts[0] + parts[1]).isdigit():
            return (0, 0)
        return (int(parts[0]), int(parts[1]))

    @property
    def is_gvisor(self) -> bool:
        """gVisor says so, or has the release and build that it always shows."""
        fixed = self.release.startswith("4.4.0") and "Jan 10 15:06:54 PST 2016" in (
            self.version
        )
        return fixed or "gvisor" in self.version.lower()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it is not io_uring, in a word, in a sentence, and what to do."""

    name: str
    text: str
    remedy: str


def _read(path: str) -> str:
    with contextlib.suppress(OSError, ValueError):
        return Path(path).read_text(errors="replace")
    return ""


def _status() -> dict[str, str]:
    lines = _read("/proc/self/status").splitlines()
    return {name: value.strip() for name, _, value in (x.partition(":") for x in lines)}


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def gather() -> Facts:
    """The facts about this process, here and now."""
    status = _status()
    group = _number(_read("/proc/sys/kernel/io_uring_group"))
    capabilities = int(status.get("CapEff", "0"), 16)
    return Facts(
        release=platform.release(),
        version=platform.version() + " " + _read("/proc/version").strip(),
        disabled=_number(_read("/proc/sys/kernel/io_uring_disabled")),
        in_group=group is not None and group in (os.getegid(), *os.getgroups()),
        is_admin=bool(capabilities >> _CAP_SYS_ADMIN & 1),
        seccomp=int(status.get("Seccomp", "0")),
        memlock=resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        nofile=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    )


def asked_for() -> Cause:
    """It is not io_uring because somebody said so."""
    text = "SYSLET_LOOP_BACKEND=epoll: io_uring was not tried"
    return Cause("asked", text, "Unset the variable to have io_uring tried.")


def killed(number: int) -> Cause:
    """A process that tried was ended by this signal."""
    name = signal.Signals(number).name
    text = f"a process that tries io_uring is killed here ({name})"
    if number == signal.SIGSYS:
        text += ", by a seccomp policy"
    return Cause(
        "killed",
        text,
        "Set SYSLET_LOOP_BACKEND=epoll: io_uring is then never tried. Without it, "
        "programs on this loop end as the try did.",
    )


def why_not(error: int, facts: Facts) -> Cause:
    """What explains that setting up a ring gave this errno."""
    filtered = facts.seccomp == _SECCOMP_FILTER
    if facts.is_gvisor:
        return _gvisor()
    if error in (errno.EPERM, errno.EACCES):
        return _forbidden(error, facts)
    if error == errno.ENOSYS:
        known = facts.disabled is not None or facts.numbers >= _OURS
        return _seccomp(error) if filtered and known else _missing(facts)
    if error == errno.ENOMEM:
        return _memory(facts)
    if error in (errno.EMFILE, errno.ENFILE):
        return _descriptors(error, facts)
    if error in (errno.EINVAL, errno.EOPNOTSUPP) and (0, 0) < facts.numbers < _OURS:
        return _old(facts)
    if error == errno.ETIME:
        text = "a ring could be made, but a request in it did not come back"
        return Cause("silent", text, f"Look into the kernel's log. {_EITHER}")
    if filtered:
        return _seccomp(error)
    return Cause("unknown", f"setting up a ring gave {_named(error)}", _EITHER)


def why_no_device(error: int, facts: Facts) -> Cause:
    """What explains that /dev/syslet gave this errno, where the ring works."""
    remedy = (
        "Unset SYSLET_LOOP_BACKEND, or set it to uring: the results are the same. "
        "docs/kernel.md has the kernel."
    )
    if error in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        text = f"this kernel ({facts.release}) executes no syslets: no /dev/syslet"
        return Cause("no-syslets", text, remedy)
    if error == errno.EACCES:
        text = "this user may not open /dev/syslet"
    elif error == errno.EPERM:
        text = (
            "the kernel executes no syslets for this process: its system calls are "
            "filtered (seccomp), traced or audited"
        )
    elif error == errno.ENOTSUP:
        text = "/dev/syslet is of another version than this package's"
    else:
        text = f"/dev/syslet gave {_named(error)}"
    return Cause("device", text, remedy)


def _named(error: int) -> str:
    return f"{errno.errorcode.get(error, error)} ({os.strerror(error)})"


def _gvisor() -> Cause:
    return Cause(
        "gvisor",
        "this is gVisor, whose kernel has no io_uring that could be used",
        f"Run the container with runc to have io_uring. {_EITHER}",
    )


def _forbidden(error: int, facts: Facts) -> Cause:
    value = facts.disabled or 0
    if value >= 2 or (value == 1 and not (facts.is_admin or facts.in_group)):
        who = "for everybody" if value >= 2 else "for processes without privileges"
        more = " (or run in the group kernel.io_uring_group)" if value == 1 else ""
        return Cause(
            "sysctl",
            f"{_SYSCTL} is {value}: io_uring is switched off {who}",
            f"sysctl -w {_SYSCTL}=0{more}, if that is yours to decide. {_EITHER}",
        )
    if facts.seccomp == _SECCOMP_FILTER:
        return _seccomp(error)
    return Cause(
        "policy",
        f"setting up a ring gave {_named(error)}, and neither seccomp nor {_SYSCTL} "
        "explains it: a security module, most likely",
        f"Look for denials of SELinux or AppArmor in the kernel's log. {_EITHER}",
    )


def _seccomp(error: int) -> Cause:
    return Cause(
        "seccomp",
        f"a seccomp filter answers io_uring's calls with {_named(error)}; the default "
        "profiles of Docker and Kubernetes do",
        "Allow io_uring_setup, io_uring_enter and io_uring_register in the container's "
        "profile (docker run --security-opt seccomp=profile.json), after reading "
        f"docs/security.md. {_EITHER}",
    )


def _missing(facts: Facts) -> Cause:
    return Cause(
        "missing",
        f"this kernel ({facts.release}) was built without io_uring or is older than it",
        f"A kernel from 6.1 on, with CONFIG_IO_URING. {_EITHER}",
    )


def _old(facts: Facts) -> Cause:
    return Cause(
        "old",
        f"this kernel ({facts.release}) lacks parts of io_uring that are needed",
        f"A kernel from 6.1 on. {_EITHER}",
    )


def _memory(facts: Facts) -> Cause:
    if (0, 0) < facts.numbers < _UNCHARGED and facts.memlock >= 0:
        return Cause(
            "memlock",
            f"RLIMIT_MEMLOCK is {facts.memlock} bytes, and before Linux 5.12 a ring "
            "counts as locked memory",
            f"Raise it (ulimit -l, LimitMEMLOCK=, --ulimit memlock=). {_EITHER}",
        )
    return Cause(
        "memory",
        "there was no memory for a ring"
        + (f" (RLIMIT_MEMLOCK is {facts.memlock} bytes)" if facts.memlock >= 0 else ""),
        f"Raise the memory limit of the container or cgroup. {_EITHER}",
    )


def _descriptors(error: int, facts: Facts) -> Cause:
    if error == errno.ENFILE:
        text, remedy = "the system's table of open files is full", "Raise fs.file-max."
    else:
        text = f"RLIMIT_NOFILE is {facts.nofile}: there is no descriptor left"
        remedy = "Raise it (ulimit -n, LimitNOFILE=, --ulimit nofile=): a loop needs 4."
    return Cause("descriptors", text, remedy)
