"""Several processes: real ones, told by real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from clients import Client

ROOT = Path(__file__).parents[2]
APP = """
import asyncio, os
from syslet_loop import web

async def who(request):
    return web.Response(text=f"{VERSION} {os.getpid()}")

async def begun(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun")
    return response

async def slow(request):
    response = await begun(request)
    await request.app["stopping"].wait()
    await response.write(b"ended")
    return response

async def endless(request):
    await begun(request)
    await asyncio.Event().wait()

async def tell(app):
    app["stopping"].set()

async def die(request):
    os._exit(1)

def make():
    app = web.Application()
    app["stopping"] = asyncio.Event()
    app.on_shutdown.append(tell)
    for handler in (slow, endless, die):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_get("/", who)
    return app

async def make_async():
    return make()

app = make()
"""
MAIN = """
import logging, sys
import syslet_loop

logging.basicConfig(level=logging.WARNING, format="%(message)s")
syslet_loop.serve({app}, port=0, ready=lambda port: print(port, flush=True), {options})
"""


class Parent:
    """A program that serves, in a folder with its module."""

    def __init__(self, folder: Path, app: str, options: str) -> None:
        self.module = folder / "served.py"
        self.version = 0
        self.write()
        main = folder / "main.py"
        code = MAIN.format(app=app, options=options)
        main.write_text(("import served\n" if "served." in app else "") + code)
        env = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}
        env["PYTHONDONTWRITEBYTECODE"] = "1"  # the module changes within a second
        self.errors: IO[str] = (folder / "errors").open("w+")
        self.child = subprocess.Popen(
            [sys.executable, "-W", "error", str(main)],
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=env,
            text=True,
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            self.child.wait(20)
            said = self.said()
            self.close()
            raise RuntimeError(said)
        self.port = int(line)

    def write(self, extra: str = "") -> None:
        """Another version of the module."""
        self.version += 1
        self.module.write_text(f"VERSION = {self.version}\n{extra}\n{APP}")

    def ask(self) -> tuple[int, int]:
        """Version and process that answer a new connection."""
        with Client(self.port) as conn:
            version, pid = conn.get("/").body.split()
            return int(version), int(pid)

    def workers(self) -> set[int]:
        """The processes that exist."""
        path = f"/proc/{self.child.pid}/task/{self.child.pid}/children"
        return set(map(int, Path(path).read_text().split()))

    def until(self, what: object) -> None:
        """Wait until `what()` is true."""
        end = time.monotonic() + 20
        while not what():  # type: ignore[operator]
            assert time.monotonic() < end, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        """What it wrote as errors."""
        self.errors.flush()
        self.errors.seek(0)
        return self.errors.read()

    def close(self) -> None:
        """End it, whatever it does."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()
        self.errors.close()


def begin(conn: Client, path: str) -> None:
    """Ask for something that takes its time; returns when its answer has begun."""
    conn.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
    conn.until(b"begun")


def has_ended(conn: Client) -> bool:
    """Whether that answer comes to its end, and the connection with it."""
    return conn.rest().endswith(b"ended\r\n0\r\n\r\n")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where a program lies; afterwards no process of it is left."""
    yield tmp_path
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(tmp_path).encode() not in each.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def started(folder: Path, app: str = "'served:app'", options: str = "") -> Parent:
    return Parent(folder, app, options or "workers=2")


@pytest.mark.parametrize(
    ("app", "reuse_port"),
    [
        ("'served:app'", True),
        ("'served:make'", False),
        ("served.app", False),
        ("served.make_async", True),
    ],
)
def test_workers_serve_and_end(folder: Path, app: str, reuse_port: bool) -> None:
    parent = started(folder, app, f"workers=2, reuse_port={reuse_port}")
    try:
        workers = parent.workers()
        assert len(workers) == 2
        assert {parent.ask()[1] for _ in range(20)} <= workers
        parent.child.send_signal(signal.SIGTERM)
        assert parent.child.wait(20) == 0
        assert parent.said() == ""
    finally:
        parent.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_are_finished(folder: Path, number: int) -> None:
    parent = started(folder)
    try:
        with Client(parent.port) as conn:
            begin(conn, "/slow")
            parent.child.send_signal(number)
            assert has_ended(conn)
        assert parent.child.wait(20) == 0
    finally:
        parent.close()


def test_the_terminal_interrupts_everybody_at_once(folder: Path) -> None:
    parent = started(folder)
    try:
        with Client(parent.port) as conn:
            begin(conn, "/slow")
            for pid in (*parent.workers(), parent.child.pid):
                os.kill(pid, signal.SIGINT)
            assert has_ended(conn)
        assert parent.child.wait(20) == 0
    finally:
        parent.close()


def test_what_takes_too_long_is_cut_off(folder: Path) -> None:
    parent = started(folder, options="workers=1, grace_s=0.2")
    try:
        with Client(parent.port) as conn:
            begin(conn, "/endless")
            parent.child.send_signal(signal.SIGTERM)
            assert conn.rest() == b"\r\n"  # of what had begun
        assert parent.child.wait(20) == 0
    finally:
        parent.close()


def test_hangup_replaces_the_workers_and_loses_no_request(folder: Path) -> None:
    parent = started(folder)
    try:
        old = parent.workers()
        with Client(parent.port) as conn:
            begin(conn, "/slow")
            parent.write()
            parent.child.send_signal(signal.SIGHUP)
            versions = []
            parent.until(lambda: versions.append(parent.ask()[0]) or versions[-1] == 2)
            assert has_ended(conn)
        parent.until(lambda: not parent.workers() & old)
        assert {parent.ask()[0] for _ in range(20)} == {2}
        assert versions == sorted(versions) or set(versions) == {1, 2}
        parent.child.send_signal(signal.SIGTERM)
        assert parent.child.wait(20) == 0
    finally:
        parent.close()


def test_a_version_that_does_not_start_leaves_the_old_one(folder: Path) -> None:
    parent = started(folder)
    try:
        old = parent.workers()
        parent.write("raise ZeroDivisionError")
        parent.child.send_signal(signal.SIGHUP)
        parent.until(lambda: parent.said().count("did not start") == 2)
        assert parent.workers() == old
        assert parent.ask()[0] == 1
    finally:
        parent.child.send_signal(signal.SIGTERM)
        parent.child.wait(20)
        parent.close()


@pytest.mark.parametrize("way", ["exit", "kill"])
def test_a_worker_that_dies_is_replaced(folder: Path, way: str) -> None:
    parent = started(folder, options="workers=1")
    try:
        (old,) = parent.workers()
        if way == "kill":
            os.kill(old, signal.SIGKILL)
        else:
            with Client(parent.port) as conn:
                conn.send(b"GET /die HTTP/1.1\r\nHost: a\r\n\r\n")
                assert conn.rest() == b""
        parent.until(lambda: parent.workers() and parent.workers() != {old})
        assert parent.ask()[1] != old
        assert "again in 0 s" in parent.said()
        (second,) = parent.workers()
        os.kill(second, signal.SIGKILL)
        parent.until(lambda: "again in 0.5 s" in parent.said())
        assert parent.ask()[1] != second
    finally:
        parent.child.send_signal(signal.SIGTERM)
        parent.child.wait(20)
        parent.close()


def test_workers_end_with_their_parent(folder: Path) -> None:
    parent = started(folder)
    workers = parent.workers()
    parent.child.kill()
    parent.close()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{pid}/cmdline").exists() for pid in workers):
        if all(_is_zombie(pid) for pid in workers):
            break
        assert time.monotonic() < end
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    except OSError:
        return True


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("'served:nothing'", "AttributeError"),
        ("'nonsense'", "is not 'module:name'"),
        ("lambda: 7", "neither an application nor a server: 7"),
        ("lambda: 1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_never_starts_is_an_error(folder: Path, app: str, why: str) -> None:
    with pytest.raises(RuntimeError, match="a worker did not start") as caught:
        started(folder, app)
    assert why in str(caught.value)


def test_another_server_can_be_served(folder: Path) -> None:
    (folder / "other.py").write_text(
        textwrap.dedent(
            """
            import asyncio, os

            class Other:
                async def start(self, sockets):
                    self.server = await asyncio.start_server(self.talk, sock=sockets[0])

                async def stop(self, seconds):
                    self.server.close()

                async def talk(self, reader, writer):
                    await reader.readuntil(b"\\r\\n\\r\\n")
                    text = b"1 %d" % os.getpid()
                    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n"
                    writer.write(head % len(text) + text)
                    writer.close()
            """
        )
    )
    parent = started(folder, "'other:Other'")
    try:
        assert {parent.ask()[1] for _ in range(20)} <= parent.workers()
        parent.child.send_signal(signal.SIGTERM)
        assert parent.child.wait(20) == 0
    finally:
        parent.close()
