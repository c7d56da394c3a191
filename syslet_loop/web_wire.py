"""A connection's transport: sending, waiting for room, lending the socket to a syslet.

Reading is paused while there is a reason for it; sending has a time limit that counts
from the last byte the client has acknowledged. Used by web_connection.py and by the
responses; knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import socket
import struct
import types
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .web_server import Server

NEVER = float("inf")
_ACKED = struct.Struct("=Q")
_ACKED_AT = 120  # of tcpi_bytes_acked in struct tcp_info, Linux 4.1
_GONE = "the client went away"


class Reason(enum.Flag):
    """Why nothing is read from the client."""

    NONE = 0
    BODY = enum.auto()  # nobody reads what has arrived of one
    QUEUE = enum.auto()  # enough requests wait
    FLIGHT = enum.auto()  # a syslet has the socket


class Wire:
    """The transport of one connection. Not usable before connection_made."""

    __slots__ = (
        "_acked",
        "_drained",
        "_flying",
        "_limits",
        "_number",
        "_reasons",
        "_server",
        "_sock",
        "is_lost",
        "transport",
        "write_by",
        "writelines",
    )

    def __init__(self, server: Server, transport: Any) -> None:
        self.transport = transport
        self.is_lost = False
        self.write_by = NEVER  # a time of the server's clock
        self.writelines = transport.writelines
        self._server = server
        self._limits = server.limits
        self._reasons = Reason.NONE
        self._drained: asyncio.Future[None] | None = None
        self._flying = False
        self._sock: Any = None
        self._number = -1  # the transport's, until it is lost
        self._acked: int | None = None
        transport.set_write_buffer_limits(self._limits.buffer_bytes)

    # Reading.

    def pause(self, reason: Reason) -> None:
        """Read nothing until `resume` of the same reason."""
        if not self._reasons and not self.is_closing:  # uvloop minds that
            self.transport.pause_reading()
        self._reasons |= reason

    def resume(self, reason: Reason) -> None:
        """Read again, if there is no other reason not to."""
        if self._reasons & reason:
            self._reasons &= ~reason
            if not self._reasons and not self.is_closing:
                self.transport.resume_reading()

    # Sending.

    @property
    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self.is_lost or bool(self.transport.is_closing())

    @property
    def has_sent_all(self) -> bool:
        """Whether the kernel has everything that was written."""
        return not self.transport.get_write_buffer_size()

    @property
    def is_full(self) -> bool:
        """Whether whoever sends should wait."""
        return self._drained is not None or self.is_lost

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or keep until there is room."""
        self.transport.write(data)

    def was_paused(self) -> None:
        """pause_writing."""
        self._drained = self._server.loop.create_future()
        self._expect_progress()

    def was_resumed(self) -> None:
        """resume_writing, or the end."""
        self.write_by = NEVER
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def drain(self) -> None:
        """Wait until there is room. Raises ConnectionResetError if nobody reads."""
        if self._drained is not None:
            await asyncio.shield(self._drained)
        if self.is_closing:
            raise ConnectionResetError(_GONE)

    async def flush(self) -> None:
        """Wait until everything has been handed to the kernel. Raises as drain()."""
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(0)
            try:
                await self.drain()
            finally:
                self.transport.set_write_buffer_limits(self._limits.buffer_bytes)

    # Lending the socket.

    def fileno(self) -> int:
        """The socket's number, for a syslet that is at once given to fly().

        Raises ConnectionResetError when it may belong to another one soon.
        """
        if self.is_closing:
            raise ConnectionResetError(_GONE)
        if self._number < 0:
            self._number = self._socket().fileno()
        return self._number

    def _socket(self) -> Any:
        if self._sock is None:
            self._sock = self.transport.get_extra_info("socket")
        return self._sock

    async def fly(self, flight: Any) -> Any:
        """The result of a syslet that uses the socket.

        While it is in the air nothing else may close the socket: reading is paused, and
        who wants to end the connection shuts it down. Raises what the flight raises.
        """
        try:
            waited = flight.send(None)
        except StopIteration as stop:
            return stop.value
        self._flying = True
        self.pause(Reason.FLIGHT)
        self._expect_progress()
        landing = self._server.loop.create_task(resume(flight, waited))
        try:
            return await asyncio.shield(landing)
        except asyncio.CancelledError:
            self._shut_down()
            await asyncio.wait([landing])
            if not landing.cancelled():
                landing.exception()  # nobody else asks for it
            raise
        finally:
            self._flying = False
            self.write_by = NEVER
            self.resume(Reason.FLIGHT)

    # The end.

    def drop(self) -> None:
        """End the connection now, with whatever is not sent."""
        if self._flying:
            self._shut_down()
        else:
            self.transport.abort()

    def _shut_down(self) -> None:
        # Through a duplicate: uvloop's sockets do not do it.
        with (
            contextlib.suppress(OSError),
            socket.socket(fileno=os.dup(self._number)) as twin,
        ):
            twin.shutdown(socket.SHUT_RDWR)

    def end_writing(self) -> bool:
        """Send the end of the stream; False where that cannot be done alone."""
        if not self.transport.can_write_eof():
            return False
        with contextlib.suppress(OSError):  # the client has gone already
            self.transport.write_eof()
        return True

    # Time.

    def _expect_progress(self) -> None:
        self._acked = None
        self.write_by = self._server.now + self._limits.write_s

    def check_time(self, now: float) -> None:
        """Drop a client that has acknowledged nothing since the last look."""
        if now < self.write_by:
            return
        acked = self._acknowledged()
        if acked is not None and acked == self._acked:
            self.drop()
        self._acked = acked
        self.write_by = now + self._limits.write_s

    def _acknowledged(self) -> int | None:
        """Bytes; None for sockets without such a number."""
        size = _ACKED_AT + _ACKED.size
        try:
            info = self._socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        except OSError:
            return None
        if len(info) < size:
            return None
        acked: int = _ACKED.unpack_from(info, _ACKED_AT)[0]
        return acked


@types.coroutine
def _go_on(work: Any, waited: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            value = yield waited
        except BaseException as error:
            step, argument = work.throw, error
        else:
            step, argument = work.send, value
        try:
            waited = step(argument)
        except StopIteration as stop:
            return stop.value


async def resume(work: Any, waited: Any) -> Any:
    """The rest of a coroutine whose first step gave the future `waited`."""
    return await _go_on(work, waited)
