"""The doctor, in processes that may use io_uring, may not, or have hardly anything.

Filters and limits are put on the child before the loop is imported there.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
from typing import Any

import pytest
from processes import in_process
from seccomp import ENTER, REGISTER, SETUP

from syslet_loop import _native

DOCTOR = """
import sys
from syslet_loop.__main__ import main
sys.exit(main(["doctor", "--json"]))
"""
CHECKS = 7
DEVICE = os.path.exists("/dev/syslet")


def ring_works() -> bool:
    engine = _native.Engine()
    try:
        return engine.backend == "uring"
    finally:
        engine.close()


needs_ring = pytest.mark.skipif(not ring_works(), reason="no io_uring here")


def examined(first: str = "", backend: str = "") -> tuple[int, dict[str, Any]]:
    """Exit status and report of a doctor's visit, after the script `first`."""
    done = in_process(f"import errno, resource, seccomp\n{first}\n{DOCTOR}", backend)
    if "NOFILE" not in first:  # then asyncio complains
        assert done.stderr == "", done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, report


def passed(report: dict[str, Any], backend: str) -> list[str]:
    tests = [test for test in report["tests"] if test["backend"] == backend]
    return [test["name"] for test in tests if not test["error"]]


@needs_ring
def test_a_healthy_process() -> None:
    code, report = examined()
    assert code == 0 and report["status"] == "healthy"
    assert report["backend"] == {"asked": "any", "active": "uring", "cause": None}
    assert len(passed(report, "uring")) == len(passed(report, "epoll")) == CHECKS
    assert report["operations"]["recvfrom"]["miss"] == "ring (RING_RECV)"
    assert report["operations"]["getcwd"] == {"inline": "", "miss": "worker"}
    assert report["operations"]["getppid"] == {"inline": "plain", "miss": ""}
    assert report["limits"]["engine"] == _native.limits()
    assert {"release", "machine", "seccomp"} <= report["kernel"].keys()


def test_a_process_that_asked_for_epoll() -> None:
    code, report = examined(backend="epoll")
    assert code == 0 and report["status"] == "healthy"
    assert report["backend"]["active"] == "epoll"
    assert report["backend"]["cause"]["name"] == "asked"
    assert len(report["tests"]) == CHECKS == len(passed(report, "epoll"))
    assert report["operations"]["recvfrom"]["miss"] == "wait for readiness"
    assert report["operations"]["read"]["miss"] == "wait for readiness"
    assert report["operations"]["openat"]["miss"] == "worker"


@pytest.mark.parametrize("numbers", [(SETUP,), (ENTER,), (SETUP, ENTER, REGISTER)])
@pytest.mark.parametrize("name", ["EPERM", "ENOSYS"])
def test_a_filter(numbers: tuple[int, ...], name: str) -> None:
    code, report = examined(f"seccomp.forbid({numbers}, errno.{name})")
    assert code == 1 and report["status"] == "degraded"
    assert report["backend"]["active"] == "epoll"
    cause = report["backend"]["cause"]
    assert cause["name"] == "seccomp" and cause["errno"] == getattr(errno, name)
    assert name in cause["text"] and "profile" in cause["remedy"]
    assert report["kernel"]["seccomp"] == "filter"
    assert len(passed(report, "epoll")) == CHECKS == len(report["tests"])


@pytest.mark.parametrize(
    ("name", "cause"),
    [("ENOMEM", "memory"), ("EMFILE", "descriptors"), ("EACCES", "seccomp")],
)
def test_other_errors(name: str, cause: str) -> None:
    code, report = examined(f"seccomp.forbid([seccomp.SETUP], errno.{name})")
    assert (code, report["status"]) == (1, "degraded")
    assert report["backend"]["cause"]["name"] == cause
    assert report["backend"]["cause"]["errno"] == getattr(errno, name)
    assert len(passed(report, "epoll")) == CHECKS


@pytest.mark.parametrize("backend", ["", "uring"])
def test_a_policy_that_kills(backend: str) -> None:
    """Found out in a child, so that the doctor lives to tell."""
    code, report = examined("seccomp.kill()", backend)
    assert (code, report["status"]) == (1, "failing")
    assert report["backend"]["cause"]["name"] == "killed"
    assert "SYSLET_LOOP_BACKEND=epoll" in report["backend"]["cause"]["remedy"]
    assert report["backend"]["active"] == ""
    assert len(passed(report, "epoll")) == CHECKS, "and that remedy works"


def test_a_policy_that_kills_and_a_process_that_does_not_try() -> None:
    code, report = examined("seccomp.kill()", "epoll")
    assert (code, report["status"]) == (0, "healthy")
    assert len(passed(report, "epoll")) == CHECKS


def test_uring_is_asked_for_and_forbidden() -> None:
    code, report = examined("seccomp.forbid([seccomp.SETUP], errno.EPERM)", "uring")
    assert (code, report["status"]) == (1, "failing")
    assert report["backend"]["active"] == ""
    assert report["backend"]["cause"]["name"] == "seccomp"
    assert len(passed(report, "epoll")) == CHECKS


def limit(name: str, value: str) -> str:
    return f"""
hard = resource.getrlimit(resource.{name})[1]
import concurrent.futures.thread, json, platform, shutil, subprocess, traceback
import syslet_loop.__main__, syslet_loop.reports
resource.setrlimit(resource.{name}, ({value}, hard))
"""


@needs_ring
def test_no_memory_may_be_locked() -> None:
    """From Linux 5.12 on a ring does not count."""
    code, report = examined(limit("RLIMIT_MEMLOCK", "0"))
    assert report["limits"]["RLIMIT_MEMLOCK"][0] == 0
    assert (code, report["status"]) == (0, "healthy")


@pytest.mark.parametrize("free", [0, 1, 2, 3])
def test_hardly_any_descriptors(free: int) -> None:
    """Whatever does not work is said, and nothing hangs or crashes."""
    used = "max(int(name) for name in __import__('os').listdir('/proc/self/fd'))"
    code, report = examined(limit("RLIMIT_NOFILE", f"{used} + {free}"))
    assert (code, report["status"]) == (1, "failing")
    errors = [test["error"] for test in report["tests"] if test["error"]]
    if not report["backend"]["active"]:
        assert report["backend"]["cause"]["name"] == "descriptors"
        assert "ulimit -n" in report["backend"]["cause"]["remedy"]
    assert any("Too many open files" in error for error in errors), errors


def test_a_wrong_backend_is_named() -> None:
    done = in_process(DOCTOR, "best")
    assert (done.returncode, done.stdout) == (1, "")
    assert "SYSLET_LOOP_BACKEND is 'best'" in done.stderr


@needs_ring
@pytest.mark.skipif(DEVICE, reason="this kernel executes syslets")
def test_a_kernel_that_executes_no_syslets() -> None:
    code, report = examined(backend="kernel")
    assert (code, report["status"]) == (1, "failing")
    assert report["backend"]["cause"]["name"] == "no-syslets"
    assert report["backend"]["cause"]["errno"] == errno.ENOENT
    assert "uring" in report["backend"]["cause"]["remedy"]


@pytest.mark.skipif(not DEVICE, reason="this kernel executes no syslets")
def test_a_kernel_that_executes_syslets() -> None:
    for backend in ("", "kernel"):
        code, report = examined(backend=backend)
        assert (code, report["status"]) == (0, "healthy")
        assert report["backend"]["active"] == "kernel"
        assert len(passed(report, "kernel")) == CHECKS
    assert report["operations"]["fsync"]["miss"] == "worker of the kernel"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os
    import sys

    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "syslet_loop", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_text() -> None:
    done = run("doctor", SYSLET_LOOP_BACKEND="epoll")
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("healthy", "backend     epoll", "remedy", "self-test", "openat"):
        assert word in done.stdout, done.stdout


def test_the_command_line() -> None:
    assert run().returncode == 2
    assert run("nurse").returncode == 2
    done = run("doctor", "--help")
    assert done.returncode == 0 and "--json" in done.stdout
