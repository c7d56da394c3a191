"""The servers under load: `python -m benchmarks.servers LOOP KIND [PATH]`.

Listens at a free port of 127.0.0.1, or at the Unix socket PATH, prints a line with the
address and serves until its standard input ends. For TLS, PATH is a folder with
cert.pem and key.pem. Started by network.py and http.py, which also say on which
processor.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import ssl
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.loops import new_event_loop

BACKLOG = 4096
CHUNK = 256 * 1024
HELLO = b"Hello, world!"


class Echo(asyncio.Protocol):
    """Sends back what it receives."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    """The same with one buffer for ever; the copy is the program's, for every loop."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.buffer = bytearray(CHUNK)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self.view

    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.view[:nbytes]))


class Broadcast(asyncio.Protocol):
    """Sends what one connection says to all of them."""

    everybody: set[Any] = set()  # noqa: RUF012 - shared on purpose

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.everybody.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.everybody.discard(self.transport)

    def data_received(self, data: bytes) -> None:
        for transport in self.everybody:
            transport.write(data)


class Datagrams(asyncio.DatagramProtocol):
    """Sends each datagram back."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def stream_echo(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The usual streams loop."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.close()


async def sock_echo(conn: socket.socket) -> None:
    """One connection of the sock_* server."""
    loop = asyncio.get_running_loop()
    with conn:
        while data := await loop.sock_recv(conn, CHUNK):
            await loop.sock_sendall(conn, data)


async def sock_accept(listener: socket.socket) -> None:
    """A task per connection."""
    loop = asyncio.get_running_loop()
    tasks = set()
    while True:
        conn, _ = await loop.sock_accept(listener)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tasks.add(task := loop.create_task(sock_echo(conn)))
        task.add_done_callback(tasks.discard)


def listen() -> tuple[socket.socket, str]:
    """A listening socket and its port.

    asyncio sets TCP_NODELAY only where the socket's protocol says TCP, as it does in
    sockets that create_server makes from a host and a port.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(BACKLOG)
    return listener, str(listener.getsockname()[1])


async def serve_protocol(kind: str, path: str | None) -> str:
    """Everything that is one class of protocol."""
    factory = {"buffered": BufferedEcho, "broadcast": Broadcast}.get(kind, Echo)
    loop = asyncio.get_running_loop()
    if kind == "unix":
        kept.append(await loop.create_unix_server(factory, path, backlog=BACKLOG))
        return str(path)
    context = None
    if kind == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{path}/cert.pem", f"{path}/key.pem")
    listener, address = listen()
    options: dict[str, Any] = {"sock": listener, "backlog": BACKLOG, "ssl": context}
    kept.append(await loop.create_server(factory, **options))
    return address


async def serve_streams(kind: str, path: str | None) -> str:
    listener, address = listen()
    server = await asyncio.start_server(stream_echo, sock=listener, backlog=BACKLOG)
    kept.append(server)
    return address


async def serve_sock(kind: str, path: str | None) -> str:
    listener, address = listen()
    listener.setblocking(False)
    task = asyncio.get_running_loop().create_task(sock_accept(listener))
    kept.append(task)
    return address


async def serve_udp(kind: str, path: str | None) -> str:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    kept.append(transport)
    return str(transport.get_extra_info("sockname")[1])


async def serve_aiohttp(kind: str, path: str | None) -> str:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=HELLO)

    app = web.Application()
    app.router.add_get("/", hello)
    if path is not None:
        app.router.add_static("/files", path)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener, address = listen()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    kept.append(runner)
    return address


async def serve_web(kind: str, path: str | None) -> str:
    from syslet_loop import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=HELLO)

    app = web.Application()
    app.router.add_get("/", hello)
    if path is not None:
        app.router.add_static("/files", path)
    listener, address = listen()
    kept.append(web.Server(app, access_log=None))
    await kept[-1].start([listener])
    return address


async def hello_asgi(scope: Any, receive: Any, send: Any) -> None:
    """The smallest ASGI program."""
    headers = [(b"content-length", str(len(HELLO)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": HELLO})


async def serve_uvicorn(kind: str, path: str | None) -> str:
    import uvicorn

    listener, address = listen()
    options: dict[str, Any] = {"log_level": "warning", "lifespan": "off"}
    server = uvicorn.Server(uvicorn.Config(hello_asgi, loop="none", **options))
    serving = server.serve(sockets=[listener])
    kept.append(asyncio.get_running_loop().create_task(serving))
    while not server.started:
        await asyncio.sleep(0.01)
    return address


kept: list[Any] = []  # what must live as long as the process
KINDS: dict[str, Callable[[str, str | None], Awaitable[str]]] = {
    "protocol": serve_protocol,
    "buffered": serve_protocol,
    "broadcast": serve_protocol,
    "unix": serve_protocol,
    "tls": serve_protocol,
    "streams": serve_streams,
    "sock": serve_sock,
    "udp": serve_udp,
    "aiohttp": serve_aiohttp,
    "uvicorn": serve_uvicorn,
    "web": serve_web,
}


def end_with_input() -> None:
    """In a thread: no loop has to wait for this."""
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """See the head of this file."""
    name, kind, path = (*sys.argv[1:], None)[:3]
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    loop = new_event_loop(str(name))
    asyncio.set_event_loop(loop)
    address = loop.run_until_complete(KINDS[str(kind)](str(kind), path))
    threading.Thread(target=end_with_input, daemon=True).start()
    print(address, flush=True)
    loop.run_forever()


if __name__ == "__main__":
    main()
