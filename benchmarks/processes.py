"""Processes under measurement: servers on one processor, their load on another.

Builds the C programs, starts servers and loads, and ends what does not end by itself.
A process that cannot do its row raises RuntimeError with one line about why. Used by
the benchmarks that compare loops.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
START_SECONDS = 15
PYTHON = [sys.executable, "-m"]


def build(folder: str, *names: str) -> None:
    """Compile benchmarks/NAME.c to FOLDER/NAME with the machine's compiler."""
    for name in names:
        source = str(ROOT / "benchmarks" / f"{name}.c")
        command = ["cc", "-std=gnu11", "-O2", source, "-o", str(Path(folder, name))]
        subprocess.run(command, check=True)


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """What is started inside inherits the processor; None stands for all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Server:
    """A server that is running."""

    pid: int
    address: str


class Account(NamedTuple):
    """Nanoseconds of a process' threads: on a processor, and kept from one."""

    ran: int
    waited: int


def account(pid: int) -> Account:
    """The kernel adds them up when a thread stops running, so wait until it has."""
    time.sleep(0.02)
    tasks = Path(f"/proc/{pid}/task").iterdir()
    lines = [(task / "schedstat").read_text().split() for task in tasks]
    return Account(*(sum(int(line[field]) for line in lines) for field in (0, 1)))


def peak_memory(pid: int) -> float:
    """The most resident memory that a process had so far, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    lines = [line.split() for line in text.splitlines()]
    found = [float(line[1]) for line in lines if line[0] == "VmHWM:"]
    if not found:
        raise RuntimeError("ended under load")
    return found[0] * 1024


@contextlib.contextmanager
def server(command: list[str], core: int | None = SERVER_CORE) -> Iterator[Server]:
    """Start it, wait for the line with its address, end it afterwards."""
    with tempfile.TemporaryFile("w+") as errors:
        with on_core(core):
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        try:
            yield Server(process.pid, _address(process, errors))
            if process.poll() is not None:
                raise RuntimeError(f"crashed: {last_line(errors)}")
        except RuntimeError as error:
            if process.poll() in (None, 0):
                raise
            raise RuntimeError(_death(process, last_line(errors))) from error
        finally:
            _end(process)


def _address(process: subprocess.Popen[str], errors: IO[str]) -> str:
    assert process.stdout
    if not select.select([process.stdout], [], [], START_SECONDS)[0]:
        raise RuntimeError("hung at its start")
    line = process.stdout.readline().strip()
    if not line:
        process.wait(START_SECONDS)
        raise RuntimeError("ended at its start")
    return line


def _death(process: subprocess.Popen[str], said: str) -> str:
    code = process.returncode
    return f"killed by signal {-code}" if code < 0 else said or f"exit status {code}"


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin and process.stdout
    process.stdin.close()
    try:
        process.wait(2)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


def last_line(file: IO[str]) -> str:
    """Of what a process wrote, as a traceback's last line says what is wrong."""
    file.seek(0)
    lines = file.read().strip().splitlines()
    return lines[-1][:120] if lines else ""


def output(command: list[str], core: int | None, seconds: float) -> str:
    """What a process prints; RuntimeError if it fails or takes too long."""
    with on_core(core):
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"hung: killed after {seconds:.0f} s") from None
    if process.returncode:
        said = err.strip().splitlines()[-1][:120] if err.strip() else ""
        raise RuntimeError(_death(process, said))
    return out
