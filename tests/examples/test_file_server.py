"""The file server: a small application whose answers are checked byte by byte."""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import syslet_loop

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import file_server

CONTENT = os.urandom(3_000_000)


@pytest.fixture(params=["", "epoll"])
def folder(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Path:
    """What is served; beside it is a file that must not be."""
    monkeypatch.setenv("SYSLET_LOOP_BACKEND", request.param)
    served = tmp_path / "served"
    (served / "below").mkdir(parents=True)
    (served / "small.txt").write_text("small\n")
    (served / "below" / "large").write_bytes(CONTENT)
    (served / "empty").touch()
    (served / "out").symlink_to("../secret")
    (tmp_path / "secret").write_text("secret")
    return served


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[int]:
    """The port of a running server."""
    app = file_server.make_app(folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        server = asyncio.create_task(app.serve(listener))
        try:
            yield listener.getsockname()[1]
        finally:
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)
            app.close()


def ask(folder: Path, client: Callable[[int], Any]) -> Any:
    """What `client(port)` returns, run in a thread beside the server."""

    async def main() -> Any:
        async with serving(folder) as port:
            return await asyncio.to_thread(client, port)

    return syslet_loop.run(main())


def answers(port: int, *requests: tuple[str, str]) -> list[tuple[int, bytes]]:
    """Status and body of requests on one connection."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    found = []
    for method, path in requests:
        client.request(method, path)
        response = client.getresponse()
        found.append((response.status, response.read()))
    client.close()
    return found


def raw(port: int, data: bytes) -> bytes:
    """Everything the server says to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while more := client.recv(1 << 16):
            received += more
        return received


def test_files_and_routes_on_one_connection(folder: Path) -> None:
    requests = [
        ("GET", "/ping"),
        ("GET", "/files/small.txt"),
        ("GET", "/files/below/large"),
        ("GET", "/files/empty?query=1"),
        ("HEAD", "/files/below/large"),
        ("GET", "/ping"),
    ]
    assert ask(folder, lambda port: answers(port, *requests)) == [
        (200, b"pong"),
        (200, b"small\n"),
        (200, CONTENT),
        (200, b""),
        (200, b""),
        (200, b"pong"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/files/missing",
        "/files/below",
        "/files/../secret",
        "/files/below/../../secret",
        "/files/%2e%2e/secret",
        "/files//etc/passwd",
        "/files/out",
        "/files/small.txt%00",
    ],
)
def test_what_is_not_there_or_not_served_is_404(folder: Path, path: str) -> None:
    requests = [("GET", path), ("GET", "/ping")]
    found = ask(folder, lambda port: answers(port, *requests))
    assert found == [(404, b""), (200, b"pong")]


def test_other_methods_are_405(folder: Path) -> None:
    assert ask(folder, lambda port: answers(port, ("POST", "/ping"))) == [(405, b"")]


@pytest.mark.parametrize(
    "data", [b"nonsense\r\n\r\n", b"GET / SPDY/1\r\n\r\n", b"x" * 20000]
)
def test_what_is_no_request_is_400(folder: Path, data: bytes) -> None:
    assert ask(folder, lambda port: raw(port, data)).startswith(b"HTTP/1.1 400 ")


def test_half_a_request_is_no_request(folder: Path) -> None:
    assert ask(folder, lambda port: raw(port, b"GET /ping HTT")) == b""


def test_requests_sent_at_once_are_answered_in_turn(folder: Path) -> None:
    data = b"GET /ping HTTP/1.1\r\n\r\n" * 3 + b"GET /ping HTTP/1.0\r\n\r\n"
    received = ask(folder, lambda port: raw(port, data))
    assert received.count(b"pong") == 4
    assert received.count(b"keep-alive") == 3
    assert received.endswith(b"Connection: close\r\n\r\npong")


def test_a_client_that_goes_away_hurts_nobody(folder: Path) -> None:
    def client(port: int) -> list[tuple[int, bytes]]:
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(b"GET /files/below/large HTTP/1.1\r\n\r\n")
            rude.recv(100)
        return answers(port, ("GET", "/ping"))

    assert ask(folder, client) == [(200, b"pong")]
