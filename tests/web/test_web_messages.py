"""Messages on the wire: keep-alive, pipelining, chunks, 100-continue, HTTP/1.0."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clients import Client, ask, raw

from syslet_loop import web

routes = web.RouteTableDef()
GET = b"GET %b HTTP/1.1\r\nHost: here\r\n\r\n"
CHUNKED = b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECTS = (
    b"POST %b HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n"
    b"Expect: 100-continue\r\n\r\n"
)


@routes.get("/number/{n}")
async def number(request: web.Request) -> web.Response:
    if request.query.get("slow"):
        await asyncio.sleep(0.01)
    return web.Response(body=request.match_info["n"].encode())


@routes.post("/echo")
async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


@routes.post("/ignore")
async def ignore(request: web.Request) -> web.Response:
    return web.Response(body=b"ignored")


@routes.post("/mirror")
async def mirror(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    async for part in request.content:
        await response.write(part)
    return response


@routes.get("/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"streamed")
    return response


@routes.get("/large")
async def large(request: web.Request) -> web.Response:
    return web.Response(body=bytes(3_000_000))


def made(**limits: Any) -> web.Application:
    app = web.Application(limits=web.Limits(**limits))
    app.add_routes(routes)
    return app


def bodies(data: bytes, count: int, step: int | None = None) -> list[bytes]:
    """The bodies of so many answers to these bytes, sent in pieces of `step` bytes."""

    def client(port: int) -> list[bytes]:
        with Client(port) as conn:
            for at in range(0, len(data), step or len(data)):
                conn.send(data[at : at + (step or len(data))])
            return [conn.answer().body for _ in range(count)]

    found: list[bytes] = ask(made(), client)
    return found


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("slow", ["", "?slow=1"])
def test_pipelined_requests_are_answered_in_order(step: int | None, slow: str) -> None:
    paths = [f"/number/{n}{slow if n % 3 == 0 else ''}".encode() for n in range(10)]
    data = b"".join(GET % path for path in paths)
    assert bodies(data, 10, step) == [b"%d" % n for n in range(10)]


def test_more_pipelined_requests_than_may_wait(backend: str) -> None:
    data = b"".join(GET % b"/number/%d?slow=1" % n for n in range(3))
    data += b"".join(GET % b"/number/%d" % n for n in range(3, 3000))
    assert bodies(data, 3000) == [b"%d" % n for n in range(3000)]


def test_pipelined_bodies() -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 3\r\n\r\n"
    chunks = b"3;ext=1\r\nxyz\r\n2\r\n!!\r\n0\r\nTrailer: a\r\n\r\n"
    data = post + b"abc" + CHUNKED + chunks + GET % b"/number/5" + post + b"def"
    for step in (None, 1):
        assert bodies(data, 4, step) == [b"abc", b"xyz!!", b"5", b"def"]


@pytest.mark.parametrize("size", [1, 1000, 200_000, 1_000_000])
def test_large_bodies_in_both_directions(backend: str, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)

    def client(port: int) -> bytes:
        with Client(port) as conn:
            head = b"POST /mirror HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
            conn.send(head % len(body) + body[: len(body) // 2])
            conn.send(body[len(body) // 2 :])
            return conn.answer().body

    assert ask(made(), client) == body


def test_a_body_that_nobody_reads_is_skipped() -> None:
    post = b"POST /ignore HTTP/1.1\r\nHost: here\r\nContent-Length: 50000\r\n\r\n"
    data = (post + bytes(50_000) + GET % b"/number/1") * 2
    assert bodies(data, 4) == [b"ignored", b"1"] * 2


def test_a_large_body_that_nobody_reads_ends_the_connection() -> None:
    def client(port: int) -> tuple[str, bool]:
        with Client(port) as conn:
            size = 1 << 19
            conn.send(
                b"POST /ignore HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size
            )
            conn.send(bytes(size // 2))
            answer = conn.answer()
            return answer.headers["connection"], conn.is_closed()

    assert ask(made(), client) == ("close", True)


def test_expect_100_continue() -> None:
    def client(port: int) -> list[bytes]:
        with Client(port) as conn:
            conn.send(EXPECTS % b"/echo")
            first = conn.until(b"\r\n\r\n")
            conn.send(b"abc")
            return [first, conn.answer().body, conn.get("/number/7").body]

    assert ask(made(), client) == [b"HTTP/1.1 100 Continue", b"abc", b"7"]


def test_a_body_that_is_not_wanted_is_not_asked_for() -> None:
    def client(port: int) -> tuple[bytes, str, bool]:
        with Client(port) as conn:
            conn.send(EXPECTS % b"/ignore")
            answer = conn.answer()
            return answer.body, answer.headers["connection"], conn.is_closed()

    assert ask(made(), client) == (b"ignored", "close", True)


def test_another_expectation_is_refused() -> None:
    data = (EXPECTS % b"/echo").replace(b"100-continue", b"miracles")
    assert ask(made(), lambda port: raw(port, data)).startswith(b"HTTP/1.1 417 ")


@pytest.mark.parametrize(
    ("headers", "stays"),
    [("", False), ("Connection: keep-alive\r\n", True)],
)
def test_http_1_0(headers: str, stays: bool) -> None:
    def client(port: int) -> list[Any]:
        with Client(port) as conn:
            conn.send(f"GET /number/3 HTTP/1.0\r\n{headers}\r\n")
            answer = conn.answer()
            if not stays:
                return [answer.body, answer.headers["connection"], conn.is_closed()]
            found = [answer.body, answer.headers["connection"]]
            conn.send(f"GET /stream HTTP/1.0\r\n{headers}\r\n")
            return [*found, conn.answer().body]  # until the end of the connection

    last = b"streamed" if stays else True
    assert ask(made(), client) == [b"3", "keep-alive" if stays else "close", last]


def test_connection_close_is_obeyed_and_what_follows_ignored() -> None:
    data = (
        b"GET /number/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        + GET % b"/number/2"
    )
    found = ask(made(), lambda port: raw(port, data))
    assert found.endswith(b"\r\n\r\n1")
    assert b"Connection: close\r\n" in found


def test_a_client_that_ends_its_half_is_answered() -> None:
    data = GET % b"/number/1?slow=1" + GET % b"/large"
    found = ask(made(), lambda port: raw(port, data, ends=True))
    assert found.count(b"HTTP/1.1 200 OK") == 2
    assert found.endswith(bytes(3_000_000))


def test_a_client_that_ends_in_the_middle_of_a_body() -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
    assert ask(made(), lambda port: raw(port, data, ends=True)).startswith(
        b"HTTP/1.1 400 "
    )


def test_trailers_are_no_headers() -> None:
    async def handler(request: web.Request) -> web.Response:
        body = await request.read()
        assert (body, request.headers.get("Trailer-Field")) == (b"abc", None)
        return web.Response(text=str(len(request.raw_headers)))

    app = web.Application()
    app.router.add_post("/echo", handler)
    data = CHUNKED + b"3\r\nabc\r\n0\r\nTrailer-Field: a\r\n\r\n"

    def client(port: int) -> bytes:
        with Client(port) as conn:
            conn.send(data)
            return conn.answer().body

    assert ask(app, client) == b"2"


def test_an_upgrade_is_not_made() -> None:
    data = (
        b"GET /number/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\n\r\n\x81\x01x"
    )
    found = ask(made(), lambda port: raw(port, data))
    assert found.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in found


def test_options_of_everything() -> None:
    def client(port: int) -> int:
        with Client(port) as conn:
            return conn.get("*", method="OPTIONS").status

    assert ask(made(), client) == 404
