"""A file server whose system calls run in chains: routes, handlers, static files.

    python examples/file_server.py [directory] [port]

In the style of a small aiohttp application. Accepting is one syslet that reports each
connection; reading a request, opening a file and sending it are one syslet each. What
is between them, the handlers, are ordinary coroutines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import syslet_loop
from syslet_loop import syslet

HEAD_BYTES_MAX = 16384
RESOLVE_BENEATH = 0x08  # linux/openat2.h: the kernel refuses paths that lead out
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


@syslet
def accept_all(s, listener):
    """Reports every connection; the receiver of the fd owns it."""
    with s.loop():
        conn = s.accept(listener)
        s.setsockopt(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.emit(conn)


@syslet
def receive(s, conn):
    """What has arrived, b'' at the end."""
    return s.recv(conn, HEAD_BYTES_MAX)


@syslet
def open_file(s, folder, path):
    """A file below the folder: its fd, its size in bytes and its mode."""
    flags = os.O_RDONLY | os.O_NONBLOCK
    fd = s.openat2(path, flags, resolve=RESOLVE_BENEATH, dir_fd=folder)
    st = s.fstat(fd)
    return fd, st.size, st.mode


@syslet
def send_file(s, conn, head, fd, size):
    """The head and the whole file, without a copy through this process."""
    s.send(conn, head, socket.MSG_MORE)
    s.sendfile(conn, fd, None, size)


@syslet
def send_all(s, conn, data):
    """Everything, however little the socket takes at a time."""
    s.send(conn, data)


@dataclass
class Request:
    """What a handler is given."""

    method: str
    path: str
    keeps_alive: bool


@dataclass
class Response:
    """What a handler returns."""

    status: int = 200
    body: bytes = b""

    def head(self, size: int, keeps_alive: bool) -> bytes:
        """The status line and the headers, with the empty line."""
        return (
            f"HTTP/1.1 {self.status} {REASONS[self.status]}\r\n"
            f"Content-Length: {size}\r\n"
            f"Connection: {'keep-alive' if keeps_alive else 'close'}\r\n\r\n"
        ).encode()


Handler = Callable[[Request], Awaitable[Response]]


class App:
    """Routes and the loop that serves them."""

    def __init__(self) -> None:
        self.routes: dict[str, Handler] = {}
        self.folders: dict[str, int] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def get(self, path: str) -> Callable[[Handler], Handler]:
        """Register the handler of one path."""

        def register(handler: Handler) -> Handler:
            self.routes[path] = handler
            return handler

        return register

    def static(self, prefix: str, folder: str | Path) -> None:
        """Serve the files below `folder` under `prefix`."""
        flags = os.O_PATH | os.O_DIRECTORY
        self.folders[prefix.rstrip("/") + "/"] = os.open(folder, flags)

    def close(self) -> None:
        """Close the static folders."""
        while self.folders:
            os.close(self.folders.popitem()[1])

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled; connections end with the server."""
        try:
            async for conn in accept_all.events(listener):
                task = asyncio.create_task(self.talk(socket.socket(fileno=conn)))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
        finally:
            tasks = list(self.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def talk(self, conn: socket.socket) -> None:
        """Requests and responses of one connection, in turn."""
        received = b""
        with conn, contextlib.suppress(ConnectionError):
            while True:
                head, found, rest = received.partition(b"\r\n\r\n")
                if found or len(received) > HEAD_BYTES_MAX:
                    request = parse(head) if found else None
                    received = rest
                    await self.respond(conn, request)
                    if request is None or not request.keeps_alive:
                        return
                elif more := await receive(conn):
                    received += more
                else:
                    return

    async def respond(self, conn: socket.socket, request: Request | None) -> None:
        """Answer with an error, a route's response, or a file."""
        if request is None:
            await send_response(conn, request, Response(400))
        elif request.method not in ("GET", "HEAD"):
            request.keeps_alive = False  # it may have a body, which nobody reads
            await send_response(conn, request, Response(405))
        elif request.path in self.routes:
            response = await self.routes[request.path](request)
            await send_response(conn, request, response)
        else:
            await self.respond_file(conn, request)

    async def respond_file(self, conn: socket.socket, request: Request) -> None:
        """A file of a static folder, or 404."""
        for prefix, folder in self.folders.items():
            if request.path.startswith(prefix) and "\0" not in request.path:
                try:
                    file = await open_file(folder, request.path.removeprefix(prefix))
                except OSError:
                    break
                await send_opened(conn, request, *file)
                return
        await send_response(conn, request, Response(404))


def parse(head: bytes) -> Request | None:
    """The head of a request; None if it is none."""
    line, *headers = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    wishes = {header.lower().replace(" ", "") for header in headers}
    keeps_alive = "connection:keep-alive" in wishes or (
        words[2] == "HTTP/1.1" and "connection:close" not in wishes
    )
    return Request(words[0], unquote(words[1].partition("?")[0]), keeps_alive)


async def send_response(
    conn: socket.socket, request: Request | None, response: Response
) -> None:
    """Head and body; HEAD asks for no body."""
    keeps_alive = request is not None and request.keeps_alive
    data = response.head(len(response.body), keeps_alive)
    if request is None or request.method != "HEAD":
        data += response.body
    await send_all(conn, data)


async def send_opened(
    conn: socket.socket, request: Request, fd: int, size: int, mode: int
) -> None:
    """A file that was just opened, and close it; 404 for what is no regular file."""
    try:
        head = Response().head(size, request.keeps_alive)
        if not stat.S_ISREG(mode):
            await send_response(conn, request, Response(404))
        elif request.method == "HEAD":
            await send_all(conn, head)
        else:
            await send_file(conn, head, fd, size)
    finally:
        os.close(fd)


def make_app(folder: str | Path) -> App:
    """The example's application: one route and one folder."""
    app = App()
    app.static("/files", folder)

    @app.get("/ping")
    async def ping(request: Request) -> Response:
        return Response(body=b"pong")

    return app


def main() -> None:
    """Serve a directory until interrupted."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "."
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 8080
    app = make_app(folder)
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        listener.setblocking(False)
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/files/", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            syslet_loop.run(app.serve(listener))
    app.close()


if __name__ == "__main__":
    main()
