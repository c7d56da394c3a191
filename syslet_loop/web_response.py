"""Responses: a whole one, and one that is written piece by piece.

A response knows how its message is framed (Content-Length, chunks, or the end of the
connection); where the bytes go is the connection's business. Framing is never taken
from a handler's headers, except a Content-Length, which is then kept to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any

from multidict import CIMultiDict

from .web_headers import BODYLESS, SERVER, checked, encode, status_line

if TYPE_CHECKING:
    from .web_connection import Connection
    from .web_request import Request

_JOINED_BYTES = 1 << 16  # a head and a body up to this are one piece of memory
_OURS = ("Date", "Server")


class StreamResponse:
    """A response whose body is written after its head.

    With `content_length` set before `prepare`, exactly so many bytes must be written;
    without it the body is sent in chunks, or to a client of HTTP/1.0 until the
    connection is closed.
    """

    # What most responses never change.
    status = 200
    reason: str | None = None
    content_length: int | None = None
    body_sent = 0  # bytes, for the access log
    _headers: Any = None
    _closes = False
    _request: Request | None = None
    _chunked = False
    _ended = False

    def __init__(
        self,
        *,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        if headers:
            self._headers = CIMultiDict(headers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status}>"

    # The head.

    @property
    def headers(self) -> Any:
        """The headers, to be changed before they are sent."""
        if self._headers is None:
            self._headers = CIMultiDict()
        return self._headers

    @property
    def content_type(self) -> str:
        """The body's type, without parameters."""
        found: str = self.headers.get("Content-Type", "application/octet-stream")
        return found.partition(";")[0].strip()

    @content_type.setter
    def content_type(self, value: str) -> None:
        self.headers["Content-Type"] = checked(value)

    def force_close(self) -> None:
        """Close the connection after this response."""
        self._closes = True

    def set_cookie(self, name: str, value: str, **options: Any) -> None:
        """Add a cookie; options are http.cookies' (path, max_age, httponly, …)."""
        cookie: SimpleCookie = SimpleCookie()
        cookie[name] = value
        for option, setting in options.items():
            cookie[name][option.replace("_", "-")] = setting
        self.headers.add("Set-Cookie", cookie[name].OutputString())

    def del_cookie(self, name: str, path: str = "/") -> None:
        """Have the client forget a cookie."""
        self.set_cookie(name, "", path=path, max_age=0)

    def _head(self, request: Request, length: int | None, more: bytes = b"") -> bytes:
        """The whole head; `length` None means that only the end says how much.

        Raises ValueError for headers that are none.
        """
        connection, headers = request._connection, self._headers
        tail = connection.server.tail
        if headers:
            tail = self._own_headers(headers, tail)
        first = status_line(self.status, self.reason)
        if length is not None and self.status not in BODYLESS:
            more += b"Content-Length: %d\r\n" % length
        keeps = connection.will_stay(request) and not self._closes
        if not keeps:
            request.keep_alive = False
            more += b"Connection: close\r\n"
        elif request.version == "1.0":
            more += b"Connection: keep-alive\r\n"
        request.is_started = True
        return b"%b%b%b\r\n" % (first, more, tail)

    def _own_headers(self, headers: Any, tail: bytes) -> bytes:
        if "Transfer-Encoding" in headers:
            raise ValueError("Transfer-Encoding is the server's to set")
        if headers.get("Connection", "").lower() == "close":
            self._closes = True
        skipped = ("content-length", "connection")
        fields = [(k, v) for k, v in headers.items() if k.lower() not in skipped]
        if any(name in headers for name in _OURS):
            date = b"" if "Date" in headers else tail.removesuffix(SERVER)
            tail = date + (b"" if "Server" in headers else SERVER)
        return encode(fields) + tail

    # The body.

    async def prepare(self, request: Request) -> None:
        """Send the head. Raises RuntimeError the second time."""
        if self._request is not None or request.is_started:
            raise RuntimeError("a response has been begun already")
        length = self.content_length
        if length is None and self._headers and "Content-Length" in self._headers:
            length = self.content_length = int(self._headers["Content-Length"])
        more = b""
        if length is None and self.status not in BODYLESS:
            if request.version == "1.1":
                self._chunked = True
                more = b"Transfer-Encoding: chunked\r\n"
            else:
                self._closes = True
        head = self._head(request, length, more)
        self._request = request
        connection = request._connection
        connection.wire.write(head)
        await connection.wire.drain()

    def _prepared(self) -> Request:
        if self._request is None:
            raise RuntimeError("call prepare() first")
        if self._ended:
            raise RuntimeError("this response has ended")
        return self._request

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body and wait until there is room for another.

        Raises ConnectionResetError if the client went away, ValueError for more than
        the Content-Length.
        """
        connection = self._count(data)
        if data and connection is not None:
            self._send(connection, data)
            await connection.wire.drain()

    def _count(self, data: Any) -> Connection | None:
        """The connection of a piece; None if this request gets no body."""
        request, size = self._prepared(), memoryview(data).nbytes
        if request.method == "HEAD" or self.status in BODYLESS:
            return None
        limit = self.content_length
        if limit is not None and self.body_sent + size > limit:
            raise ValueError(f"more than the {limit} bytes of the Content-Length")
        self.body_sent += size
        return request._connection

    def _send(self, connection: Connection, data: Any) -> None:
        if self._chunked:
            size = b"%x\r\n" % memoryview(data).nbytes
            connection.wire.writelines((size, data, b"\r\n"))
        else:
            connection.wire.write(data)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the last piece; afterwards nothing can be written.

        A body that is shorter than its Content-Length ends the connection.
        """
        if self._ended:
            return
        connection = self._count(data)
        self._ended = True
        if connection is None:
            return
        if data:
            self._send(connection, data)
        if self._chunked:
            connection.wire.write(b"0\r\n\r\n")
        if self.content_length is not None and self.body_sent < self.content_length:
            connection.wire.drop()
        await connection.wire.drain()

    async def _finish(self, request: Request) -> None:
        """What the connection calls with what a handler returned."""
        if self._request is None:
            await self.prepare(request)
        elif self._request is not request:
            raise RuntimeError("a response belongs to one request")
        await self.write_eof()


class Response(StreamResponse):
    """A response whose body is known: bytes, or text with a charset."""

    def __init__(
        self,
        *,
        body: bytes | bytearray | memoryview | None = None,
        text: str | None = None,
        status: int = 200,
        reason: str | None = None,
        headers: Mapping[str, str] | None = None,
        content_type: str | None = None,
        charset: str | None = None,
    ) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        if text is not None:
            if body is not None:
                raise ValueError("a response has body or text, not both")
            charset = charset or "utf-8"
            body = text.encode(charset)
            content_type = content_type or "text/plain"
        if isinstance(body, memoryview):
            body = bytes(body)  # whose length is its number of bytes
        self.body = b"" if body is None else body
        self._type = _type_line(content_type, charset)
        if content_type and headers and "Content-Type" in self.headers:
            raise ValueError("content_type and a header Content-Type")

    @property
    def text(self) -> str:
        """The body as text, by UTF-8."""
        return bytes(self.body).decode()

    async def _finish(self, request: Request) -> None:
        body, wire = self.body, request._connection.wire
        size = len(body)
        more = self._type
        if not more and size and not (self._headers and "Content-Type" in self.headers):
            more = _OCTETS
        head = self._head(request, size, more)
        if request.method == "HEAD" or self.status in BODYLESS:
            body = b""
        self.body_sent = len(body)
        if size <= _JOINED_BYTES:
            wire.write(head + body)
        else:
            wire.writelines((head, body))
        if wire.is_full:
            await wire.drain()


_OCTETS = b"Content-Type: application/octet-stream\r\n"
_types: dict[tuple[str | None, str | None], bytes] = {}
_TYPES_MAX = 256


def _type_line(content_type: str | None, charset: str | None) -> bytes:
    """The header line of a type. Raises ValueError if it is none."""
    line = _types.get((content_type, charset))
    if line is None:
        value = content_type or ""
        if charset is not None:
            value += f"; charset={charset}"
        line = encode([("Content-Type", value)]) if value else b""
        if len(_types) == _TYPES_MAX:
            _types.clear()
        _types[content_type, charset] = line
    return line


def json_response(
    data: Any,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    dumps: Callable[[Any], str] = json.dumps,
) -> Response:
    """A response with `data` as JSON."""
    body = dumps(data).encode()
    return Response(
        body=body, status=status, headers=headers, content_type="application/json"
    )
