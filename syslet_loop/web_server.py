"""The server: listening sockets, its connections, its clock, its end.

`Server` runs an application on a running loop, ours or another one; `run_app` is a
program of one process. Several processes are workers.py's business. Every server looks
at its connections once per `sweep_s` and closes those whose time is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Sequence
from time import time
from typing import TYPE_CHECKING, Any

from . import policy
from .listening import BACKLOG, listen
from .stopping import GRACE_S, serve_until_stopped
from .web_access import line
from .web_app import Application
from .web_connection import Connection
from .web_errors import HTTPException
from .web_headers import SERVER, http_date, status_line

if TYPE_CHECKING:
    from .web_request import Request
    from .web_response import StreamResponse

ACCESS = "syslet_loop.access"
_errors = logging.getLogger("syslet_loop.web")


class Server:
    """An application being served. `start` once, `stop` once.

    access_log: the logger that gets a line per request at level INFO, None for none; by
    default the logger "syslet_loop.access", if it is enabled when the server starts.
    """

    def __init__(
        self,
        app: Application,
        *,
        ssl_context: ssl.SSLContext | None = None,
        access_log: logging.Logger | str | None = ACCESS,
    ) -> None:
        self.app = app
        self.limits = app.limits
        self.connections: set[Connection] = set()
        self.is_stopping = False
        self.now = 0.0  # of the loop's clock, at the last sweep
        self.tail = b""  # headers that end every head
        if isinstance(access_log, str):
            access_log = logging.getLogger(access_log)
        self.access_log = access_log
        self._ssl = ssl_context
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None
        self._is_started = False

    # Life.

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Begin to accept on these listening sockets, which are the server's now.

        Raises what the application's start raises.
        """
        if self._is_started:
            raise RuntimeError("a server is started once")
        self._is_started = True
        self.loop = asyncio.get_running_loop()
        log = self.access_log
        if log is not None and not log.isEnabledFor(logging.INFO):
            self.access_log = None
        await self.app.startup()
        self._sweep()
        try:
            for each in sockets:
                options: dict[str, Any] = {"sock": each, "backlog": BACKLOG}
                server = await self.loop.create_server(
                    lambda: Connection(self), ssl=self._ssl, **options
                )
                self._servers.append(server)
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, seconds: float = GRACE_S) -> None:
        """Accept nothing more, let requests end that run, then clean up.

        What still runs after `seconds` is cancelled. Raises what the clean-up raises.
        """
        self.is_stopping = True
        for server in self._servers:
            server.close()
        try:
            await self.app.shutdown()
            await self._let_end(seconds)
        finally:
            self._end_sweeps()
            await self.app.cleanup()

    async def _let_end(self, seconds: float) -> None:
        for each in list(self.connections):
            each.close()
        self._empty = asyncio.Event()
        if not await self._is_empty_within(seconds):
            for each in list(self.connections):
                each.cancel()
            await self._is_empty_within(1)

    async def _is_empty_within(self, seconds: float) -> bool:
        assert self._empty is not None
        if self.connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
        return not self.connections

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if self._empty is not None and not self.connections:
            self._empty.set()

    # Time.

    def _sweep(self) -> None:
        now = self.now = self.loop.time()
        date = f"Date: {http_date(int(time()))}\r\n".encode()
        self.tail = date + SERVER
        self._sweeping = self.loop.call_later(self.limits.sweep_s, self._sweep)
        for each in list(self.connections):
            each.check_time(now)

    def _end_sweeps(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    # What is said.

    def refusal(self, connection: Connection, status: int) -> bytes:
        """The whole answer to something that is no request."""
        answer = HTTPException(status=status)
        size = len(answer.body)
        if self.access_log is not None:
            self.access_log.info(line(connection.remote, None, status, size))
        return b"%b%bContent-Length: %d\r\nConnection: close\r\n%b\r\n%b" % (
            status_line(status),
            b"Content-Type: text/plain; charset=utf-8\r\n",
            size,
            self.tail,
            bytes(answer.body),
        )

    def log(
        self,
        connection: Connection,
        request: Request,
        response: StreamResponse | None,
    ) -> None:
        """A line about a request that has been answered, or was cut off (499)."""
        assert self.access_log is not None
        status = 499 if response is None else response.status
        size = 0 if response is None else response.body_sent
        self.access_log.info(line(connection.remote, request, status, size))

    def report(self, request: Request, error: Exception) -> None:
        """An exception that a handler should have caught."""
        _errors.error("%s %s", request.method, request.path_qs, exc_info=error)


def run_app(
    app: Application,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    ssl_context: ssl.SSLContext | None = None,
    grace_s: float = GRACE_S,
) -> None:
    """Serve in this process, on our loop, until SIGTERM or SIGINT.

    Prints the address. `grace_s` is how many seconds running requests have to end.
    Raises OSError if the address cannot be had.
    """
    sockets = listen(host, port)
    number = sockets[0].getsockname()[1]
    scheme = "http" if ssl_context is None else "https"

    def started() -> None:
        print(f"{scheme}://{host}:{number}/", flush=True)

    try:
        policy.run(
            serve_until_stopped(
                Server(app, ssl_context=ssl_context), sockets, started, grace_s
            )
        )
    finally:
        for sock in sockets:
            sock.close()
