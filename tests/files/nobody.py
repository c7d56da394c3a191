"""Runs a command as the user nobody, for what root is allowed and others are not.

`python tests/files/nobody.py command …` by root. Where Python or the checkout lies
below a folder that only root may enter, they are mounted at the same place in a mount
namespace of the command's own. Nothing outside of it changes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
IN_NAMESPACE = "SYSLET_TESTS_NAMESPACE"
ROOT = Path(__file__).parents[2]


def needed() -> list[Path]:
    """What the command reads: the interpreter, the environment, the checkout."""
    return [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT.resolve()]


def shut(path: Path) -> Path | None:
    """The topmost folder on the way that others may not enter."""
    for folder in (*reversed(path.parents), path):
        if not folder.stat().st_mode & 1:
            return folder
    return None


def can_be(user: int = NOBODY) -> bool:
    """Whether this process may run commands as another user, with all they need."""
    if os.geteuid() != 0:
        return False
    done = subprocess.run([*command(), "true"], capture_output=True, check=False)
    return done.returncode == 0


def command() -> list[str]:
    """What comes before a command."""
    return [sys.executable, __file__]


def open_the_way() -> None:
    """Mount what is needed over the folders that are shut."""
    hidden = {path: way for path in needed() if (way := shut(path)) is not None}
    fds = {path: os.open(path, os.O_PATH) for path in hidden}
    for way in set(hidden.values()):
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(way))
    for path, fd in fds.items():
        path.mkdir(parents=True, exist_ok=True)
        # Not what the link says, which is hidden by now, but where it leads.
        mount("-c", "--bind", f"/proc/self/fd/{fd}", str(path), fds=(fd,))
        os.close(fd)


def mount(*arguments: str, fds: tuple[int, ...] = ()) -> None:
    subprocess.run(["mount", *arguments], check=True, pass_fds=fds)


def main(arguments: list[str]) -> None:
    if any(map(shut, needed())) and IN_NAMESPACE not in os.environ:
        before = ["unshare", "--mount", "--propagation", "private"]
        environment = os.environ | {IN_NAMESPACE: "1"}
        os.execvpe("unshare", [*before, *command(), *arguments], environment)
    os.environ.pop(IN_NAMESPACE, None)
    open_the_way()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    os.execvp(arguments[0], arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
