"""The server: its end, its log, TLS, other loops, clients of other projects."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from clients import Client, ask, serving

import syslet_loop
from syslet_loop import web

ROOT = Path(__file__).parents[2]


def made(folder: Path | None = None, started: Any = None) -> web.Application:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="hello")

    async def later(request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        return web.Response(text="later")

    async def stop(app: web.Application) -> None:
        stopping.set()

    async def at_stop(request: web.Request) -> web.Response:
        started.set()
        await stopping.wait()
        return web.Response(text="at stop")

    async def never(request: web.Request) -> web.Response:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("who should have set it?")

    stopping = asyncio.Event()
    app = web.Application()
    app.on_shutdown.append(stop)
    app.add_routes([web.get("/", hello), web.get("/later", later)])
    app.add_routes([web.get("/at_stop", at_stop), web.get("/never", never)])
    if folder is not None:
        app.router.add_static("/files", folder)
    return app


async def stopped_while(request: str, grace_s: float) -> Any:
    """What a client gets whose request runs when the server is stopped."""
    started = asyncio.Event()
    server: Any = web.Server(made(started=started))
    sockets = web.listen("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await server.start(sockets)

    def client() -> Any:
        with Client(port) as conn, Client(port) as idle:
            idle.get("/")
            conn.send(f"GET {request} HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                answer = conn.answer()
            except ConnectionResetError:
                return None
            assert conn.is_closed() and idle.is_closed()
            return answer.status, answer.headers["connection"]

    asking = asyncio.create_task(asyncio.to_thread(client))
    await started.wait()
    await server.stop(grace_s)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    return await asking


@pytest.mark.parametrize("asks", [True, False])
def test_who_has_just_connected_has_a_moment(asks: bool) -> None:
    """A client may ask on a connection that the server took before it was stopped."""

    async def main() -> Any:
        app = made()
        stopping = asyncio.Event()

        async def note(app: web.Application) -> None:
            stopping.set()

        app.on_shutdown.append(note)
        server: Any = web.Server(app)
        sockets = web.listen("127.0.0.1", 0)
        await server.start(sockets)
        with Client(sockets[0].getsockname()[1]) as conn:
            while not server.connections:
                await asyncio.sleep(0)
            end = asyncio.create_task(server.stop(10))
            await stopping.wait()
            await asyncio.sleep(0)
            if asks:
                answer = await asyncio.to_thread(conn.get, "/")
                assert answer.headers["connection"] == "close"
                return answer.body, await asyncio.to_thread(conn.is_closed), await end
            return b"", await asyncio.to_thread(conn.is_closed), await end

    assert syslet_loop.run(main()) == (b"hello" if asks else b"", True, None)


def test_requests_that_run_are_finished() -> None:
    found = syslet_loop.run(stopped_while("/at_stop", 60))
    assert found == (200, "close")


def test_requests_that_take_too_long_are_cut_off() -> None:
    assert syslet_loop.run(stopped_while("/never", 0.1)) is None


def test_the_access_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a").write_text("12345")
    caplog.set_level(logging.INFO, "syslet_loop.access")

    def client(port: int) -> None:
        with Client(port) as conn:
            conn.get("/files/a")
            conn.get("/none")
            conn.get('/"%0d%0a\\', method="HEAD")
            conn.send(b"nonsense\r\n\r\n")
            conn.rest()

    ask(made(tmp_path), client)
    found = [record.getMessage() for record in caplog.records]
    when = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\]"
    assert len(found) == 4
    assert re.fullmatch(
        rf'127\.0\.0\.1 - - {when} "GET /files/a HTTP/1\.1" 200 5', found[0]
    )
    assert re.fullmatch(
        rf'127\.0\.0\.1 - - {when} "GET /none HTTP/1\.1" 404 14', found[1]
    )
    assert r'"HEAD /\"%0d%0a\\ HTTP/1.1" 404 -' in found[2]
    assert found[3].endswith('"-" 400 16')


FACTORIES: dict[str, Callable[[], Any]] = {
    "ours": syslet_loop.new_event_loop,
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}
uvloop.new_event_loop().close()  # it keeps two descriptors from its first loop on


@pytest.mark.parametrize("kind", FACTORIES)
def test_on_other_loops(kind: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 20_000)

    def client(port: int) -> list[int]:
        with Client(port) as conn:
            paths = ["/", "/files/large", "/files/none", "/files/large", "/later"]
            return [len(conn.get(path).body) for path in paths]

    async def main() -> Any:
        async with serving(made(tmp_path)) as server:
            return await asyncio.to_thread(client, server.port)

    with asyncio.Runner(loop_factory=FACTORIES[kind]) as runner:
        assert runner.run(main()) == [5, 5_120_000, 14, 5_120_000, 5]


@pytest.mark.parametrize("kind", FACTORIES)
def test_on_other_loops_a_client_must_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(20_000_000))
    app = web.Application(limits=web.Limits(write_s=0.2))
    app.router.add_static("/files", tmp_path)

    async def main() -> None:
        async with serving(app) as server:
            with Client(server.port) as conn:
                conn.send(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n")
                while not server.connections:
                    await asyncio.sleep(0.01)
                while server.connections:
                    await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=FACTORIES[kind]) as runner:
        runner.run(main())


def test_a_unix_socket(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 20_000)
    path = str(tmp_path / "socket")

    async def who(request: web.Request) -> web.Response:
        return web.Response(text=str(request.remote))

    app = made(tmp_path)
    app.router.add_get("/who", who)

    def client() -> list[bytes]:
        conn = Client.__new__(Client)
        conn.received = bytearray()
        conn.sock = socket.socket(socket.AF_UNIX)
        with conn:
            conn.sock.connect(path)
            return [conn.get("/who").body, conn.get("/files/large").body]

    async def main() -> list[bytes]:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        server = web.Server(app)
        await server.start([listener])
        try:
            return await asyncio.to_thread(client)
        finally:
            await server.stop()

    found = syslet_loop.run(main())
    assert found == [b"None", bytes(range(256)) * 20_000]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-keyout", str(key), "-out", str(cert), "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(cert)
    return server, client


def test_tls(
    certificate: tuple[ssl.SSLContext, ssl.SSLContext], tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(range(256)) * 4000)

    def client(port: int) -> list[bytes]:
        with Client(port) as conn:
            conn.sock = certificate[1].wrap_socket(conn.sock)
            found = [conn.get("/").body, conn.get("/files/large").body]
            part = conn.get("/files/large", "Range: bytes=1-3").body
            return [*found, part, conn.get("/files/none").body]

    found = ask(made(tmp_path), client, ssl_context=certificate[0])
    assert found == [b"hello", bytes(range(256)) * 4000, b"\1\2\3", b"404: Not Found"]


PROGRAM = """
from syslet_loop import web

async def hello(request):
    return web.Response(text="hello")

app = web.Application()
app.router.add_get("/", hello)
web.run_app(app, port=0)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_program_of_one_process(number: int) -> None:
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=ROOT, text=True
    ) as child:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        with Client(int(address.rstrip("/").rpartition(":")[2])) as conn:
            assert conn.get("/").body == b"hello"
        child.send_signal(number)
        assert child.wait(20) == 0


WITHOUT_OPENAT2 = """
import sys
from seccomp import forbid
from syslet_loop import web

forbid([437], int(sys.argv[1]))
app = web.Application()
app.router.add_static("/", sys.argv[2])
web.run_app(app, port=0)
"""


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EPERM])
def test_where_openat2_is_forbidden(tmp_path: Path, error: int) -> None:
    served = tmp_path / "served"
    (served / "below").mkdir(parents=True)
    (served / "below" / "file").write_text("content")
    (served / "link").symlink_to("..")
    (tmp_path / "secret").write_text("secret")
    command = [sys.executable, "-W", "error", "-c", WITHOUT_OPENAT2, str(error)]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    with subprocess.Popen(
        [*command, str(served)], stdout=subprocess.PIPE, env=env, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline().strip().rstrip("/").rpartition(":")[2])
        with Client(port) as conn:
            paths = ["/below/file", "/link/secret", "/below/file", "/none/file"]
            assert [conn.get(path).status for path in paths] == [200, 404, 200, 404]
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0


def test_an_application_that_does_not_start_leaves_nothing() -> None:
    async def fails(app: web.Application) -> None:
        raise ZeroDivisionError

    app = made()
    app.on_startup.append(fails)

    async def main() -> None:
        sockets = web.listen("127.0.0.1", 0)
        try:
            await web.Server(app).start(sockets)
        finally:
            sockets[0].close()

    with pytest.raises(ZeroDivisionError):
        syslet_loop.run(main())


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
def test_wrk(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(102_400))

    def client(port: int) -> str:
        out = ""
        for path in ("/", "/files/file"):
            url = f"http://127.0.0.1:{port}{path}"
            command = ["wrk", "-t1", "-c50", "-d1", url]
            out += subprocess.run(command, capture_output=True, text=True).stdout
        return out

    out = ask(made(tmp_path), client)
    assert out.count("Requests/sec") == 2
    assert "Non-2xx" not in out and "Socket errors" not in out
