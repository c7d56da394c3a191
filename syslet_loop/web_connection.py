"""One connection: requests are answered one after the other, in the order they came.

An asyncio protocol between a parser (what arrives) and a wire (what is sent). Made by
web_server.py, which also looks for connections whose time is up.

Handlers run in tasks. A folder's requests need none unless they have to wait: what is
cached and fits into the socket is answered inside data_received.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from .web_body import Body
from .web_errors import HTTPException, HTTPRequestTimeout
from .web_framing import check_expectation
from .web_headers import CONTINUE
from .web_parser import Parser, Stage
from .web_request import Request
from .web_response import StreamResponse
from .web_wire import NEVER, Reason, Wire, resume

if TYPE_CHECKING:
    from .web_server import Server

_EAGER = sys.version_info >= (3, 12)
_eager: Any = functools.partial(cast(Any, asyncio.Task), eager_start=True)
_UNREAD_MAX = 1 << 16  # of a body that its handler left: read to keep the connection
_FRESH_S = 1.0  # what a connection without a request has when the server stops
_LINGER_MAX = 1 << 20  # bytes that are thrown away before a connection is closed


class Life(enum.Enum):
    """What happens to what arrives."""

    OPEN = enum.auto()  # it is parsed
    LAST = enum.auto()  # what is known is answered, then the connection is closed
    LINGERING = enum.auto()  # all is answered: thrown away until the client ends
    GONE = enum.auto()


class Connection(asyncio.Protocol):
    """The protocol; `server` has the application, the limits and the clock."""

    __slots__ = (
        "_driving",
        "_is_fresh",
        "_life",
        "_peer_ended",
        "_task",
        "_thrown_away",
        "app",
        "current",
        "is_tls",
        "limits",
        "parser",
        "read_by",
        "remote",
        "server",
        "wire",
    )
    wire: Wire

    def __init__(self, server: Server) -> None:
        self.server = server
        self.app = server.app
        self.limits = server.limits
        self.parser = Parser(self)
        self.current: Request | None = None  # the one that is being answered
        self.read_by = NEVER  # a time of the server's clock
        self._life = Life.OPEN
        self._task: asyncio.Task[None] | None = None
        self._driving = False
        self._thrown_away = 0
        self._peer_ended = False
        self._is_fresh = True  # nothing was answered yet

    # The transport.

    def connection_made(self, transport: Any) -> None:
        self.wire = Wire(self.server, transport)
        self.is_tls = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        self.remote: str | None = peer[0] if isinstance(peer, tuple) else None
        self.read_by = self.server.now + self.limits.head_s
        self.server.connections.add(self)
        if self.server.is_stopping:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._life = Life.GONE
        self.wire.is_lost = True
        self.wire.was_resumed()
        gone = ConnectionResetError("the client went away")
        for request in (self.current, self.parser.receiving):
            if request is not None:
                request.content.fail(gone)
        self.parser.close()
        self.server.forget(self)

    def eof_received(self) -> bool:
        """A client may end its half and still read: what is known is answered."""
        parser = self.parser
        self._peer_ended = True
        if self._life is Life.LINGERING or not (self.current or parser.queue):
            return False
        if parser.receiving is not None:
            parser.receiving.content.fail(HTTPException(status=400))
        self._life = Life.LAST
        return not self.is_tls

    def pause_writing(self) -> None:
        self.wire.was_paused()

    def resume_writing(self) -> None:
        self.wire.was_resumed()

    def data_received(self, data: bytes) -> None:
        parser = self.parser
        if self._life is Life.LINGERING:
            self.count_unread(len(data))
        elif parser.stage is not Stage.ENDED:
            parser.feed(data)
        if self.current is None:
            self._drive()

    # For parser and body.

    def message_is_complete(self) -> None:
        """A request has been received to its end."""
        self._thrown_away = 0
        if self.current is None and not self.parser.queue:
            self._rest()
        else:
            self.read_by = NEVER

    def body_is_wanted(self, body: Body) -> asyncio.Future[None]:
        """A handler waits for more of it."""
        request = self.current
        if request is not None and request.content is body:
            expected = request.fields.pop(b"expect", None)
            if expected is not None and not request.is_started:
                self.wire.write(CONTINUE)
        self.read_by = self.server.now + self.limits.body_s
        self.wire.resume(Reason.BODY)
        return self.server.loop.create_future()

    def body_was_read(self, body: Body) -> None:
        """A handler took some of it."""
        if body.size <= self.limits.buffer_bytes // 2:
            self.wire.resume(Reason.BODY)

    def count_unread(self, count: int) -> None:
        """Bytes that nobody wants: so many and no more."""
        self._thrown_away += count
        if self._thrown_away > _LINGER_MAX:
            self.wire.drop()

    # Answering.

    def _drive(self) -> None:
        """Answer what waits, one after the other, until one has to be waited for."""
        if self._driving:
            return
        self._driving = True
        parser = self.parser
        try:
            while self.current is None and self._life is not Life.GONE:
                if parser.queue:
                    self._start(parser.queue.popleft())
                elif parser.unparsed and self._life is Life.OPEN:
                    parser.parse_more()
                else:
                    break
        finally:
            self._driving = False
        is_last = self._life is Life.LAST or parser.stage is Stage.ENDED
        if is_last and self.current is None and not parser.queue:
            self._linger()

    def _start(self, request: Request | int) -> None:
        if isinstance(request, int):
            self._answer_refusal(request)
            return
        self.current = request
        handler, is_ours = self.app.find(request)
        work = self._answer(request, handler)
        if is_ours:
            self._run(work)
        elif _EAGER:
            self._task = _eager(work, loop=self.server.loop)
        else:
            self._task = self.server.loop.create_task(work)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Our own code: a task is made only when it waits."""
        try:
            waited = work.send(None)
        except StopIteration:
            return
        self._task = self.server.loop.create_task(resume(work, waited))

    async def _answer(self, request: Request, handler: Any) -> None:
        """Have a response sent; without one the connection is of no more use."""
        response: StreamResponse | None = None
        try:
            try:
                if b"expect" in request.fields:
                    check_expectation(request)
                made = await handler(request)
                if not isinstance(made, StreamResponse):
                    raise TypeError(f"a handler returned {made!r}, no response")
                await made._finish(request)
                response = made
            except HTTPException as error:
                response = await self._say(request, error)
            except Exception as error:
                response = await self._say_failed(request, error)
        finally:
            if response is None:
                self.wire.drop()
            self._end(request, response)

    async def _say(
        self, request: Request, answer: HTTPException
    ) -> HTTPException | None:
        """Send what was raised, unless half of another response was sent."""
        if request.is_started:
            return None
        try:
            await answer._finish(request)
        except ConnectionError:
            return None
        except Exception as error:  # a header that is none
            return await self._say_failed(request, error)
        return answer

    async def _say_failed(
        self, request: Request, error: Exception
    ) -> HTTPException | None:
        if self.wire.is_closing and isinstance(error, ConnectionError):
            return None
        self.server.report(request, error)
        return await self._say(request, HTTPException(status=500))

    def _answer_refusal(self, status: int) -> None:
        self._life = Life.LAST
        if not self.wire.is_closing:
            self.wire.write(self.server.refusal(self, status))

    def _end(self, request: Request, response: StreamResponse | None) -> None:
        """The response has been sent, or never will be."""
        self.current = self._task = None
        request.is_answered = True
        self._is_fresh = False
        parser = self.parser
        if self.server.access_log is not None:
            self.server.log(self, request, response)
        if self._life is Life.GONE:
            return
        if not request.keep_alive or self.wire.is_closing:
            self._life = Life.LAST
            parser.queue.clear()
        elif parser.receiving is request:  # its body is thrown away as it comes
            request.content.forget()
            self.read_by = self.server.now + self.limits.body_s
            self.wire.resume(Reason.BODY)
        elif parser.stage is Stage.BETWEEN and not parser.queue:
            self._rest()
        if not self._driving:
            self._drive()

    def _rest(self) -> None:
        """Nothing to do until the next request."""
        self.read_by = self.server.now + self.limits.keep_alive_s
        if self.server.is_stopping:
            self._life = Life.LAST

    def will_stay(self, request: Request) -> bool:
        """Whether another request may follow this one's response."""
        parser = self.parser
        if not request.keep_alive or self.server.is_stopping:
            return False
        if self._life is not Life.OPEN or parser.stage is Stage.ENDED:
            return bool(parser.queue)
        if parser.receiving is not request:
            return True
        if b"expect" in request.fields:
            return False  # it may or may not send its body now
        return int(request.fields.get(b"content-length", b"0")) <= _UNREAD_MAX

    # The end.

    def close(self) -> None:
        """Let what runs be answered, and end the connection then; at once if idle.

        A client that has just connected is about to ask, and cannot know that it should
        ask again elsewhere: it has a moment.
        """
        parser = self.parser
        is_idle = self.current is None and not parser.queue and not parser.unparsed
        if not is_idle or parser.stage is not Stage.BETWEEN:
            return
        if self._is_fresh:
            self.read_by = min(self.read_by, self.server.now + _FRESH_S)
        else:
            self._life = Life.LAST
            self.wire.transport.close()

    def cancel(self) -> None:
        """End the connection and what runs for it."""
        self.wire.drop()
        if self._task is not None:
            self._task.cancel()

    def _linger(self) -> None:
        """Everything is answered. What is still on its way here must not reset it."""
        if self._life in (Life.LINGERING, Life.GONE) or self.wire.is_closing:
            return
        parser = self.parser
        is_clean = parser.receiving is None and parser.stage is Stage.BETWEEN
        is_clean = (is_clean and not parser.unparsed) or self._peer_ended
        self._life = Life.LINGERING
        self._thrown_away = 0
        if is_clean or not self.wire.end_writing():
            self.wire.transport.close()
            return
        self.read_by = self.server.now + self.limits.linger_s
        parser.unparsed.clear()
        self.wire.resume(Reason.BODY | Reason.QUEUE)

    def check_time(self, now: float) -> None:
        """What the server calls now and then."""
        if now >= self.read_by:
            self.read_by = NEVER
            self._too_slow()
        self.wire.check_time(now)

    def _too_slow(self) -> None:
        parser = self.parser
        if self._life is Life.LINGERING:
            if self.wire.has_sent_all:
                self.wire.drop()
            else:  # the last response comes first, as long as it is read
                self.read_by = self.server.now + self.limits.linger_s
        elif parser.stage is Stage.HEAD:
            parser.refuse(408)
            if self.current is None:
                self._drive()
        elif parser.receiving is not None and parser.receiving is self.current:
            self.current.keep_alive = False
            self.current.content.fail(HTTPRequestTimeout())
        elif self.current is None and not parser.queue:
            self.wire.transport.close()
