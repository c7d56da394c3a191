"""How the loop makes its transports: the seams of asyncio's selector loop, in C.

A mixin of EventLoop, of methods that asyncio's own code calls once per connection or
server. Servers with TLS accept as asyncio does, in Python; all others have a native
listener. Nothing here runs per packet.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import constants, sslproto
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _native

if TYPE_CHECKING:

    class _Base(_native.Loop, asyncio.SelectorEventLoop):
        """The seams, which asyncio's stubs leave out."""

        _listeners: dict[Any, _native.Listener]

        def _ensure_fd_no_transport(self, file: Any, /) -> None: ...
        def _start_serving(self, *args: Any, **kwargs: Any) -> None: ...
        def _stop_serving(self, sock: Any) -> None: ...
        def _make_read_pipe_transport(self, *args: Any) -> Any: ...

else:
    _Base = object


class Connections(_Base):
    """Transports, listeners and sendfile of the loop."""

    __slots__ = ()

    def _make_socket_transport(
        self,
        sock: Any,
        protocol: Any,
        waiter: Any = None,
        *,
        extra: Any = None,
        server: Any = None,
    ) -> asyncio.Transport:
        self._ensure_fd_no_transport(sock)
        return _native.SocketTransport(self, sock, protocol, waiter, extra, server)

    def _make_datagram_transport(
        self,
        sock: Any,
        protocol: Any,
        address: Any = None,
        waiter: Any = None,
        extra: Any = None,
    ) -> asyncio.DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return _native.DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(
        self,
        rawsock: Any,
        protocol: Any,
        sslcontext: ssl.SSLContext | bool,
        waiter: Any = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: Any = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout: float | None = constants.SSL_SHUTDOWN_TIMEOUT,
    ) -> Any:
        self._ensure_fd_no_transport(rawsock)
        _native.adopt_stream(protocol)  # what is not a stream's is left alone
        ssl_protocol: Any = sslproto.SSLProtocol(
            self,
            protocol,
            sslcontext,  # type: ignore[arg-type]
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,  # type: ignore[arg-type]
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        _native.SocketTransport(self, rawsock, ssl_protocol, None, extra, server)
        return ssl_protocol._app_transport

    def _make_read_pipe_transport(
        self, pipe: Any, protocol: Any, waiter: Any = None, extra: Any = None
    ) -> Any:
        _native.adopt_stream(protocol)
        return super()._make_read_pipe_transport(pipe, protocol, waiter, extra)

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: Any,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        *timeouts: Any,
        **named_timeouts: Any,
    ) -> None:
        if sslcontext is not None:
            super()._start_serving(
                protocol_factory,
                sock,
                sslcontext,
                server,
                backlog,
                *timeouts,
                **named_timeouts,
            )
            return
        listener = _native.Listener(self, sock, protocol_factory, server, backlog)
        listener.start()
        self._listeners[sock] = listener

    def _stop_serving(self, sock: Any) -> None:
        listener = self._listeners.pop(sock, None)
        if listener is not None:
            listener.stop()
        super()._stop_serving(sock)

    async def _sendfile_native(
        self, transp: Any, file: Any, offset: int, count: int | None
    ) -> int:
        resume = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        transp._lend(True)
        try:
            return await self.sock_sendfile(
                transp._sock, file, offset, count, fallback=False
            )
        finally:
            transp._lend(False)
            transp._reset_empty_waiter()
            if resume:
                transp.resume_reading()
