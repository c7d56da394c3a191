"""Clients that are broken, slow, greedy or hostile: a correct status or a clean close.

Each test ends with a request on a new connection, and `serving` checks that the server
has none left.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest
from clients import Client, ask, raw

from syslet_loop import web
from syslet_loop.web_connection import Connection

QUICK: dict[str, float] = {
    "head_s": 0.2,
    "body_s": 0.2,
    "write_s": 0.4,
    "keep_alive_s": 0.4,
    "linger_s": 0.2,
}
CONTENT = os.urandom(20_000_000)


def made(folder: Path | None = None, **limits: Any) -> web.Application:
    app = web.Application(limits=web.Limits(**limits))

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response(text="slow")

    app.add_routes([web.post("/echo", echo), web.get("/flood", flood)])
    app.add_routes([web.get("/slow", slow), web.route("*", "/ok", slow)])
    if folder is not None:
        app.router.add_static("/files", folder)
    return app


def said(data: bytes, ends: bool = False, **limits: Any) -> bytes:
    """What the server says to these bytes; the next connection must be served."""

    def client(port: int) -> bytes:
        found = raw(port, data, ends)
        with Client(port) as conn:
            assert conn.post("/echo", b"next").body == b"next"
        return found

    found: bytes = ask(made(**limits), client)
    return found


def status(answer: bytes) -> int:
    """The status of the only response, after which the connection is closed."""
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close\r\n" in answer
    return int(answer.split(b" ")[1])


MALFORMED = [
    b"nonsense\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /ok\r\n\r\n",
    b"GET /ok HTTP/1.1\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\nBad Name: b\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\nA\x00B: c\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n",
    b"GET /ok HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
    b"GET ok HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET ftp://here/ok HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ok HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /ok SPDY/1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
]


@pytest.mark.parametrize("data", MALFORMED)
def test_what_is_no_request(data: bytes) -> None:
    assert status(said(data)) in (400, 404, 505)


POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"
SMUGGLED = b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLING = [
    POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    POST + b"Content-Length: +4\r\n\r\nabcd",
    POST + b"Content-Length: 0x4\r\n\r\nabcd",
    POST + b"Content-Length: 4 4\r\n\r\nabcd",
    POST + b"Content-Length:\r\n\r\n",
    POST + b"Content-Length : 4\r\n\r\nabcd",
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: identity\r\n\r\n",
    POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"X: a\r\n Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
    b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("data", SMUGGLING)
def test_a_request_hidden_in_another_is_not_answered(data: bytes) -> None:
    assert status(said(data + SMUGGLED)) in (400, 501)


HEADS = [
    (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (b"GET /ok HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    (b"GET /ok HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 9000 + b"\r\n", 431),
    (b"GET /ok HTTP/1.1\r\nHost: a\r\nA: " + b"x" * 900_000, 431),
    (b"GET /" + b"x" * 900_000, 414),
]


@pytest.mark.parametrize(("data", "wanted"), HEADS, ids=lambda p: str(p)[:20])
def test_heads_that_are_too_large(data: bytes, wanted: int) -> None:
    assert status(said(data)) == wanted


def test_who_goes_on_sending_is_dropped() -> None:
    """What is thrown away after an answer has a bound; the next one is served."""

    def client(port: int) -> None:
        with Client(port) as conn, pytest.raises(ConnectionError):
            conn.send(b"GET /" + b"x" * 30_000_000)
        with Client(port) as conn:
            assert conn.post("/echo", b"next").body == b"next"

    ask(made(), client)


@pytest.mark.parametrize(
    "data",
    [
        b"3\r\nabc\r\n0\r\nA: " + b"x" * 1_000_000,
        b"3\r\nabc\r\n0\r\n" + b"A: b\r\n" * 100_000,
        b"3;a=" + b"x" * 1_000_000,
    ],
    ids=["trailer", "trailers", "extension"],
)
def test_what_is_around_a_body_is_limited(data: bytes) -> None:
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(said(head + data)) == 400


def test_a_large_answer_to_an_unread_body_is_sent_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that begins to read only when the server has lingered long enough."""
    app = made(linger_s=0.1)
    looks: list[float] = []  # at the connection while it answers, by the server's clock
    has_waited = threading.Event()
    check_time = Connection.check_time

    def noted(connection: Connection, now: float) -> None:
        check_time(connection, now)
        if connection.current is not None:
            looks.append(now)
            if now - looks[0] > 2 * app.limits.linger_s:
                has_waited.set()

    monkeypatch.setattr(Connection, "check_time", noted)

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(20_000_000))

    app.router.add_post("/large", large)

    def client(port: int) -> int:
        with Client(port) as conn:
            conn.send(
                b"POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n"
            )
            assert has_waited.wait(20)
            return len(conn.answer().body)

    assert ask(app, client) == 20_000_000


def test_a_smaller_limit_of_heads() -> None:
    data = b"GET /ok HTTP/1.1\r\nHost: a\r\nConnection: close\r\nA: %b\r\n\r\n"
    assert status(said(data % (b"x" * 100), head_bytes=300)) == 200
    assert status(said(data % (b"x" * 300), head_bytes=300)) == 431


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b"GET /ok HTT", b"HTTP/1.1 408 "),
        (b"GET /ok HTTP/1.1\r\nHost: a\r\nA: b", b"HTTP/1.1 408 "),
        (POST + b"Content-Length: 5\r\n\r\nabc", b"HTTP/1.1 408 "),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab", b"HTTP/1.1 408 "),
    ],
)
def test_a_client_that_stops_in_the_middle(data: bytes, wanted: bytes) -> None:
    found = said(data, **QUICK)
    assert found.startswith(wanted) and bool(found) == bool(wanted)


def test_a_client_that_sends_a_byte_now_and_then() -> None:
    def client(port: int) -> bytes:
        with Client(port) as conn:
            conn.sock.settimeout(0.05)
            for byte in b"GET /ok HTTP/1.1\r\n" + b"A: b\r\n" * 1000:
                try:
                    conn.sock.send(bytes([byte]))
                    conn.more()
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            return bytes(conn.received)

    assert ask(made(**QUICK), client).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed() -> None:
    def client(port: int) -> bool:
        with Client(port) as conn:
            assert conn.post("/echo", b"x").body == b"x"
            return conn.is_closed()

    assert ask(made(**QUICK), client)


@pytest.mark.parametrize("path", ["/flood", "/files/large"])
def test_a_client_that_does_not_read(backend: str, tmp_path: Path, path: str) -> None:
    (tmp_path / "large").write_bytes(CONTENT)

    def client(port: int) -> bool:
        with Client(port) as conn:
            conn.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            poll = Client(port)  # until the server has given up
            with poll:
                assert poll.is_closed()
            conn.sock.settimeout(20)
            size = 0
            try:
                while data := conn.sock.recv(1 << 20):
                    size += len(data)
            except ConnectionError:
                pass
            return size < len(CONTENT)

    limits = {**QUICK, "head_s": 1.5}
    assert ask(made(tmp_path, **limits), client)


def test_a_client_that_reads_slowly_gets_everything(
    backend: str, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(CONTENT[:4_000_000])

    def client(port: int) -> bytes:
        with Client(port) as conn:
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            conn.send(b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n")
            conn.until(b"\r\n\r\n")
            return conn.exactly(4_000_000)

    assert ask(made(tmp_path, **QUICK), client) == CONTENT[:4_000_000]


def reset(conn: Client) -> None:
    """Go away without a word."""
    conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


VANISHING = [
    b"",
    b"GET /sl",
    b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 5,
    b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /files/large HTTP/1.1\r\nHost: a\r\n\r\n" * 5,
    POST + b"Content-Length: 100000\r\n\r\n" + bytes(50_000),
    POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
]


@pytest.mark.parametrize("data", VANISHING, ids=lambda data: str(data[:30]))
def test_clients_that_vanish(
    backend: str, tmp_path: Path, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "large").write_bytes(CONTENT)

    def client(port: int) -> bytes:
        for number in range(12):
            with Client(port) as conn:
                if number % 2:
                    reset(conn)
                conn.send(data)
                if number % 3 == 0 and b"files" in data:
                    conn.sock.recv(1000)
        with Client(port) as conn:
            return conn.post("/echo", b"next").body

    assert ask(made(tmp_path, linger_s=0.2), client) == b"next"
    assert not caplog.records


def test_a_refusal_waits_for_the_answers_before_it() -> None:
    data = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + b"nonsense\r\n\r\n"
    found = said(data)
    assert [int(part[:3]) for part in found.split(b"HTTP/1.1 ")[1:]] == [200, 200, 400]


def test_what_is_sent_behind_a_refusal_does_not_reset_it() -> None:
    data = b"nonsense\r\n\r\n" + bytes(500_000)
    assert status(said(data)) == 400


def test_a_client_that_never_stops_after_its_refusal() -> None:
    def client(port: int) -> bool:
        with Client(port) as conn:
            conn.send(b"nonsense\r\n\r\n")
            try:
                for _ in range(10_000):
                    conn.send(bytes(100_000))
            except ConnectionError:
                return True
        return False

    assert ask(made(), client)
