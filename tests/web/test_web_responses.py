"""Responses: what is none, whose headers are sent, what is written too much."""

from __future__ import annotations

from typing import Any

import pytest
from clients import Answer, Client, ask

from syslet_loop import web

RETURNS: dict[str, Any] = {
    "none": None,
    "injected": web.Response(headers={"X-A": "b\r\nX-C: d"}),
    "name": web.Response(headers={"X A": "b"}),
    "framing": web.Response(headers={"Transfer-Encoding": "chunked"}),
    "status": web.Response(status=7),
}


def answered(handler: Any) -> Answer:
    """The answer of an application with this handler."""
    app = web.Application()
    app.router.add_get("/", handler)

    def client(port: int) -> Answer:
        with Client(port) as conn:
            return conn.get("/")

    answer: Answer = ask(app, client)
    return answer


@pytest.mark.parametrize("what", list(RETURNS))
def test_what_is_no_response(what: str, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: web.Request) -> Any:
        return RETURNS[what]

    answer = answered(handler)
    assert answer.status == 500
    assert "x-c" not in answer.headers
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Date": "today"}, {"Server": "me"}, {"Date": "today", "Server": "me"}],
)
def test_headers_of_ours_may_be_others(headers: dict[str, str]) -> None:
    async def handler(request: web.Request) -> web.Response:
        view = memoryview(bytes(8)).cast("I")
        return web.Response(body=view, headers={**headers, "Content-Length": "999"})

    answer = answered(handler)
    assert answer.body == bytes(8)
    for name in ("Date", "Server"):
        found = answer.headers[name.lower()]
        assert found == headers[name] if name in headers else len(found) > 5


def test_a_response_is_begun_once_and_ended_once() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response, other = web.StreamResponse(), web.StreamResponse()
        with pytest.raises(RuntimeError, match="prepare"):
            await response.write(b"early")
        await response.prepare(request)
        for each in (response, other):
            with pytest.raises(RuntimeError, match="begun already"):
                await each.prepare(request)
        await response.write_eof(b"all")
        with pytest.raises(RuntimeError, match="ended"):
            await response.write(b"late")
        return response

    assert answered(handler).body == b"all"


def test_a_body_that_is_shorter_than_promised_ends_the_connection() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"short")
        return response

    with pytest.raises(ConnectionResetError):
        answered(handler)
