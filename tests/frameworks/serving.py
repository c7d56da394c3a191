"""Examples that serve, in processes of their own, and questions to them; no tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "frameworks"
LOOP = "syslet_loop.loop.EventLoop"
LIMIT_S = 60
# What a server says on its way down may not be one of these.
COMPLAINTS = ("Traceback", "never awaited", "never retrieved", "Warning:")


def command(name: str, *arguments: str) -> list[str]:
    """How an example is run."""
    return [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]


def run(*argv: str) -> str:
    """What a program that ends by itself prints; it must end well."""
    done = subprocess.run(
        argv,
        cwd=EXAMPLES,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stdout
    assert not any(word in done.stdout for word in COMPLAINTS), done.stdout
    return done.stdout


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _port(output: IO[str], said: list[str]) -> int:
    """The port that a server says it listens on."""
    for line in output:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
            return int(found[1])
    raise AssertionError("it ended: " + "".join(said))


@contextlib.contextmanager
def serving(*argv: str) -> Iterator[int]:
    """A server that is asked to end afterwards, and does so without complaint."""
    said: list[str] = []
    with subprocess.Popen(
        argv,
        cwd=EXAMPLES,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield _port(process.stdout, said)
            process.send_signal(signal.SIGTERM)
            said.append(process.communicate(timeout=LIMIT_S)[0])
        finally:
            process.kill()
    # uvicorn ends by the signal that it was sent.
    assert process.returncode in (0, -signal.SIGTERM), "".join(said)
    assert not any(word in "".join(said) for word in COMPLAINTS), "".join(said)


def _connected(port: int) -> HTTPConnection:
    """A connection; uvicorn's workers listen a moment after their parent says so."""
    end = time.monotonic() + LIMIT_S
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
        try:
            connection.connect()
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return connection


def ask(
    port: int,
    path: str = "/",
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, bytes]:
    """Status and body of one answer."""
    connection = _connected(port)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def source(name: str) -> bytes:
    """The text of an example, which the examples serve."""
    return (EXAMPLES / f"{name}.py").read_bytes()


def greeting(name: str) -> bytes:
    """What the ASGI examples answer."""
    return f"{LOOP} {len(source(name))}\n".encode()
