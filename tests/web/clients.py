"""Servers under test and their clients: raw sockets in a thread beside the loop.

`ask` runs an application and a client; a client reads with `Client`, which knows where
a response ends and insists on it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import syslet_loop
from syslet_loop import web

TIMEOUT_S = 20


@asynccontextmanager
async def serving(app: web.Application, **options: Any) -> AsyncIterator[Any]:
    """A running server, with `port`; afterwards it has no connection left."""
    server: Any = web.Server(app, **options)
    sockets = web.listen("127.0.0.1", 0)
    server.port = sockets[0].getsockname()[1]
    await server.start(sockets)
    try:
        yield server
    finally:
        await server.stop(5)
        assert not server.connections


def ask(app: web.Application, client: Callable[[int], Any], **options: Any) -> Any:
    """What `client(port)` returns, in a thread beside the server."""

    async def main() -> Any:
        async with serving(app, **options) as server:
            return await asyncio.to_thread(client, server.port)

    return syslet_loop.run(main())


@dataclass
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


class Client:
    """One connection, for `with`."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.received = bytearray()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes | str) -> None:
        """All of it."""
        self.sock.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def get(self, path: str, *headers: str, method: str = "GET") -> Answer:
        """A request without a body, and its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: here", *headers, "", ""]
        self.send("\r\n".join(lines))
        return self.answer(method)

    def post(self, path: str, body: bytes, *headers: str) -> Answer:
        """A request with a body, and its answer."""
        length = f"Content-Length: {len(body)}"
        lines = [f"POST {path} HTTP/1.1", "Host: here", length, *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)
        return self.answer()

    def more(self) -> None:
        """Receive something; ConnectionResetError at the end."""
        data = self.sock.recv(1 << 16)
        if not data:
            raise ConnectionResetError("the server has closed the connection")
        self.received += data

    def until(self, mark: bytes) -> bytes:
        """What comes before a mark."""
        while mark not in self.received:
            self.more()
        found = self.exactly(self.received.index(mark))
        del self.received[: len(mark)]
        return found

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        while len(self.received) < count:
            self.more()
        found = bytes(self.received[:count])
        del self.received[:count]
        return found

    def answer(self, method: str = "GET") -> Answer:
        """The next response, which must be framed as HTTP/1.1 wants it."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), lines
        code = int(status)
        body = b""
        if method != "HEAD" and code not in (204, 304) and code >= 200:
            body = self._body(headers)
        return Answer(code, headers, body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") == "chunked":
            assert "content-length" not in headers
            parts = []
            while size := int(self.until(b"\r\n"), 16):
                parts.append(self.exactly(size))
                assert self.exactly(2) == b"\r\n"
            assert self.until(b"\r\n") == b""
            return b"".join(parts)
        if "content-length" in headers:
            return self.exactly(int(headers["content-length"]))
        assert headers["connection"] == "close"
        return self.rest()

    def rest(self) -> bytes:
        """Everything until the server closes."""
        try:
            while True:
                self.more()
        except ConnectionResetError:
            return self.exactly(len(self.received))

    def is_closed(self) -> bool:
        """Whether the server closes now, without another byte."""
        return self.rest() == b""


def raw(port: int, data: bytes, ends: bool = False) -> bytes:
    """Everything the server says to these bytes until it closes."""
    with Client(port) as client:
        client.send(data)
        if ends:
            client.sock.shutdown(socket.SHUT_WR)
        return client.rest()
