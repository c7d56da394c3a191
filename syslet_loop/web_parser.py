"""From bytes to requests: httptools' parser, with limits around it.

Complete heads become requests in `queue`, in order; a body goes to its request as it
arrives. After something that is no HTTP the queue ends with a status instead of a
request, and nothing more is parsed. web_connection.py feeds it and empties the queue.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING, Any

import httptools

from .web_body import NO_BODY, Body
from .web_errors import HTTPException
from .web_framing import Refused, has_body, refuse_repeated
from .web_request import Request
from .web_wire import NEVER, Reason

if TYPE_CHECKING:
    from .web_connection import Connection

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE")}
_SLICE = 16384  # bytes the parser is given at a time


class Stage(enum.Enum):
    """What of a request is being received."""

    BETWEEN = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    ENDED = enum.auto()  # nothing more is parsed


class Parser:
    """The requests of one connection."""

    __slots__ = (
        "_connection",
        "_fields",
        "_head_bytes",
        "_http",
        "_limits",
        "_refusal",
        "_target",
        "queue",
        "receiving",
        "stage",
        "unparsed",
    )

    def __init__(self, connection: Connection) -> None:
        self.queue: deque[Request | int] = deque()
        self.receiving: Request | None = None  # whose body is not complete
        self.stage = Stage.BETWEEN
        self.unparsed = bytearray()  # while the queue is full
        self._connection = connection
        self._limits = connection.limits
        self._http: Any = httptools.HttpRequestParser(self)  # None once it is closed
        self._target = b""
        self._fields: list[tuple[bytes, bytes]] = []
        # Of a head that came in several pieces, or between two pieces of a body: what
        # is said about chunks, and trailers.
        self._head_bytes = 0
        self._refusal = 400

    def close(self) -> None:
        """Forget everything; the parser and this object know each other."""
        self._http = None
        self.stage = Stage.ENDED
        self.queue.clear()
        self.unparsed.clear()

    def feed(self, data: bytes) -> None:
        """Parse what has arrived, or keep it while enough requests wait."""
        if self.unparsed:
            self.unparsed += data
        elif len(data) <= _SLICE:
            self._parse(data)
        else:
            self._parse_slices(data)

    def parse_more(self) -> None:
        """Parse what was kept: there is room in the queue again."""
        data, self.unparsed = self.unparsed, bytearray()
        self._parse_slices(data)
        if not self.unparsed:
            self._connection.wire.resume(Reason.QUEUE)

    def _parse_slices(self, data: bytes | bytearray) -> None:
        with memoryview(data) as view:
            for at in range(0, len(data), _SLICE):
                if self.stage is Stage.ENDED:
                    return
                if len(self.queue) >= self._limits.pipelined:
                    self.unparsed += view[at:]
                    self._connection.wire.pause(Reason.QUEUE)
                    return
                self._parse(view[at : at + _SLICE])

    def _parse(self, data: bytes | memoryview) -> None:
        if self.stage is not Stage.BETWEEN:
            self._head_bytes += len(data)
        try:
            self._http.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.stage = Stage.ENDED  # nothing here speaks another protocol
        except httptools.HttpParserError:
            self.refuse(self._refusal)
            return
        too_large = self._head_bytes > self._limits.head_bytes
        if too_large and self.stage is Stage.HEAD:
            self.refuse(431 if self._fields else 414)
        elif too_large and self.stage is Stage.BODY:
            self.refuse(400)

    def refuse(self, status: int) -> None:
        """Nothing more is understood; this is the answer to what was being received."""
        if self.stage is Stage.ENDED:
            return
        self.stage = Stage.ENDED
        self._connection.read_by = NEVER
        request, self.receiving = self.receiving, None
        if request is None:
            self.queue.append(status)
        else:
            request.content.fail(HTTPException(status=status))

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields = []
        self._head_bytes = 0
        self.stage = Stage.HEAD
        connection = self._connection
        connection.read_by = connection.server.now + self._limits.head_s

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.stage is Stage.HEAD:  # trailers are not believed
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        try:
            request = self._made()
        except Refused as refused:
            self._refusal = refused.status
            raise
        self.stage = Stage.BODY
        self._head_bytes = 0
        self._connection.read_by = NEVER
        self.queue.append(request)

    def _made(self) -> Request:
        """The request of a complete head. Raises Refused."""
        headers, http = self._fields, self._http
        if self._head_bytes or self._limits.head_bytes < _SLICE:
            self._measure()
        fields = dict(headers)
        if len(fields) != len(headers):
            refuse_repeated(headers)
        version = http.get_http_version()
        follows = has_body(version, fields)
        name = http.get_method()
        method = _METHODS.get(name) or name.decode("ascii")
        keeps = http.should_keep_alive()
        request = Request(
            self._connection, method, self._target, version, headers, fields, keeps
        )
        try:
            request.split_path()
        except ValueError:
            raise Refused(400) from None
        request.content = Body(self._connection) if follows else NO_BODY
        self.receiving = request if follows else None
        return request

    def _measure(self) -> None:
        """The exact size of a head that came in several pieces. Raises Refused."""
        size = len(self._target)
        if size > self._limits.head_bytes:
            raise Refused(414)
        size += sum(len(name) + len(value) + 4 for name, value in self._fields)
        if size > self._limits.head_bytes:
            raise Refused(431)

    def on_body(self, data: bytes) -> None:
        request, connection = self.receiving, self._connection
        self._head_bytes = 0
        if request is None:
            return
        if request.is_answered:  # thrown away
            connection.count_unread(len(data))
            return
        body = request.content
        body.feed(data)
        if body.size > self._limits.buffer_bytes:
            connection.read_by = NEVER
            connection.wire.pause(Reason.BODY)
        elif connection.read_by != NEVER:
            connection.read_by = connection.server.now + self._limits.body_s

    def on_message_complete(self) -> None:
        self.stage = Stage.BETWEEN
        request, self.receiving = self.receiving, None
        if request is not None:
            request.content.end()
        self._connection.message_is_complete()
