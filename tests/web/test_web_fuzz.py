"""Random bytes over the wire, by seed: good requests, broken, cut and put together.

For every one: each answer is well formed and has a status that HTTP knows, the
connection ends or stays usable, nothing leaks, and the next connection is served.
WEB_FUZZ_SEEDS=1000:2000 runs other seeds.
"""

from __future__ import annotations

import os
import random
import re
import socket
from pathlib import Path

import pytest
from clients import Client, ask

from syslet_loop import web

FIRST, LAST = map(int, os.environ.get("WEB_FUZZ_SEEDS", "0:6").split(":"))
ROUNDS = 60
STATUSES = {200, 204, 206, 301, 304, 400, 404, 405, 408, 412, 413, 414, 416, 417, 431}
STATUSES |= {501, 505}
METHODS = [b"GET", b"HEAD", b"POST", b"PUT", b"OPTIONS", b"DELETE", b"get", b"\xff"]
PATHS = [
    b"/echo",
    b"/stream",
    b"/files/small",
    b"/files/large",
    b"/files/../x",
    b"/files/%2e%2e/%00",
    b"/files/",
    b"/%",
    b"*",
    b"http://a/echo?x=1",
    b"/echo?%%%&&==",
]
HEADERS = [
    b"Host: a",
    b"Host: b",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 99999999",
    b"Content-Length: x",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b"Expect: 100-continue",
    b"Expect: nothing",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Connection: Upgrade\r\nUpgrade: h2c",
    b"Range: bytes=1-3",
    b"Range: bytes=-0",
    b"Range: bytes=5-1,,",
    b"If-None-Match: *",
    b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT",
    b"If-Range: \xff",
    b"Cookie: a=b; \x80",
    b"Content-Type: application/x-www-form-urlencoded; charset=nonsense",
    b" folded",
    b"A:" + b"b" * 5000,
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"g\r\n",
    bytes(70_000),
]


def request(rng: random.Random) -> bytes:
    """A request that may be one."""
    version = rng.choice([b"1.1"] * 6 + [b"1.0", b"2.0", b"1.1 "])
    lines = [rng.choice(METHODS[:5] * 3 + METHODS) + b" " + rng.choice(PATHS)]
    lines[0] += b" HTTP/" + version
    if rng.random() < 0.8:
        lines.append(b"Host: here")
    lines += rng.choices(HEADERS, k=rng.choice([0, 0, 1, 1, 2, 3, 6]))
    end = rng.choice([b"\r\n"] * 9 + [b"\n"])
    return end.join([*lines, b"", b""]) + rng.choice(BODIES)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The same with a few bytes changed, lost, doubled, or its end cut off."""
    found = bytearray(data)
    for _ in range(rng.choice([0, 0, 0, 1, 2, 8])):
        at = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0:
                found[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del found[at : at + rng.randrange(1, 20)]
            case 2:
                found[at:at] = found[at : at + rng.randrange(1, 50)]
            case 3:
                found[at:at] = rng.choice([b"\r\n", b"\0", b"\r", b"\n\n", b": "])
    return bytes(
        found[: rng.randrange(len(found) + 1)] if rng.random() < 0.1 else found
    )


def statuses(received: bytes) -> set[int]:
    """The statuses in what the server said; it says nothing that is not a response."""
    assert not received or received.startswith(b"HTTP/1.1 "), received[:100]
    return {int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)}


def converse(port: int, rng: random.Random) -> bytes:
    """A few requests in random pieces, then the end of the stream, or a reset."""
    data = b"".join(mutated(request(rng), rng) for _ in range(rng.choice([1, 1, 2, 5])))
    with Client(port) as conn:
        at = 0
        try:
            while at < len(data):
                step = rng.choice([1, 10, 1000, len(data)])
                conn.send(data[at : at + step])
                at += step
            if rng.random() < 0.15:
                return b""  # gone, with whatever the server still wants to say
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused in the middle
        try:
            return conn.rest()
        except ConnectionResetError:
            return b""


def made(folder: Path) -> web.Application:
    app = web.Application(limits=web.Limits(head_s=2, body_s=2, linger_s=0.2))

    async def echo(request: web.Request) -> web.Response:
        await request.post()
        assert [request.cookies, request.query, request.headers]
        return web.Response(body=await request.read())

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for part in request.content:
            await response.write(part)
        return response

    app.router.add_route("*", "/echo", echo)
    app.router.add_route("*", "/stream", stream)
    app.router.add_static("/files", folder, show_index=True)
    return app


@pytest.mark.parametrize("seed", range(FIRST, LAST))
def test_whatever_comes(
    seed: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "large").write_bytes(bytes(300_000))

    def client(port: int) -> None:
        rng = random.Random(seed)
        for number in range(ROUNDS):
            found = statuses(converse(port, rng))
            assert found <= STATUSES, (seed, number, found)
            with Client(port) as conn:
                assert conn.get("/files/small").body == b"small", (seed, number)

    ask(made(tmp_path), client)
    assert not caplog.records, caplog.text
