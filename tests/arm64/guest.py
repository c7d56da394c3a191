"""What runs as the first process of an AArch64 machine: work and tests on the loop.

First what `make kernels` runs on each kernel, then the C programs of libsyslet, then
pytest for each of the targets in plan.json. Everything goes to the console; one line
that begins with RESULT says in JSON what happened. Used by run.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, "/app/site")
sys.path.insert(0, "/app")

from tests.kernels import guest as machine
from tests.kernels import inside

APP = Path("/app")
PROGRAMS = APP / "programs"
# name: arguments, and what the output begins with (tests/abi/test_abi_programs.py)
ENDS = {
    "hello": ([], "hello, syslet\n14 bytes written\n"),
    "vfs": (["/tmp/five"], "ended at atom 4: open ok, size 5, read 5, close 0\n"),
    "old_v1": (["/tmp/blocks"], "hello from 2007\n100 bytes: " + "a" * 100),
    "old_v3": (["/tmp/blocks"], "0 15\n"),
    "faults": ([], "no crash\n"),
    "signals": (["/tmp/file"], "as promised\n"),
    "stress": ([], "every end once\n"),
    "scarce": ([], "refused and recovered\n"),
}
PROGRAM_S = 600


def run_program(name: str) -> str:
    """What is wrong with it; empty: nothing."""
    arguments, expected = ENDS[name]
    try:
        done = subprocess.run(
            [PROGRAMS / name, *arguments],
            capture_output=True,
            text=True,
            timeout=PROGRAM_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return repr(error)
    if done.returncode == 0 and done.stdout.startswith(expected):
        return ""
    return f"{done.returncode}: {done.stdout}{done.stderr}"


def run_programs() -> dict[str, str]:
    Path("/tmp/five").write_text("12345")
    Path("/tmp/blocks").write_text("".join(chr(97 + i) * 512 for i in range(16)))
    found = {name: run_program(name) for name in ENDS}
    print("PROGRAMS", json.dumps(found), flush=True)
    return found


def result() -> dict[str, Any]:
    """Everything, in order."""
    plan = json.loads((APP / "plan.json").read_text())
    found: dict[str, Any] = {"programs": run_programs()}
    if plan["seconds"]:
        found["machine"] = machine.result(plan["seconds"])
        print("MACHINE", json.dumps(found["machine"]), flush=True)
    found["pytest"] = {
        " ".join(arguments): inside.run_pytest(arguments, APP)
        for arguments in plan["pytest"]
    }
    return found


def main() -> None:
    try:
        os.environ["PATH"] = "/usr/bin:/bin:/usr/sbin:/sbin"
        machine.mount_all()
        machine.mount("devpts", "/dev/pts")
        inside.mount_disk()
        machine.loopback_up()
        os.environ["HOME"] = "/tmp"
        os.chdir(APP)
        os.environ["PYTHONPATH"] = "/app:/app/site"
        print("RESULT", json.dumps(result()), flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        machine.power_off()


if __name__ == "__main__":
    main()
