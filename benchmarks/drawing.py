"""Question: the announcement's drawing as a server, against the same loop in asyncio.

accept, setsockopt, a read loop until the peer closes, umem_add, back to accept: 10 000
connections with no Python between two of them, against the same steps written with
loop.sock_accept and loop.sock_recv on uvloop. The client is a separate process.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import socket

import uvloop

import syslet_loop
from benchmarks.measure import Row, interleave, table
from syslet_loop import syslet

CONNECTIONS = 10_000
MESSAGE = b"x" * 64


@syslet
def serve(s, listener, remaining):
    buf = s.buffer(4096)
    with s.loop():
        conn = s.accept(listener)
        s.setsockopt(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with s.loop():
            n = s.recv(conn, buf)
            s.break_if(n <= 0)
        s.close(conn)
        left = s.umem_add(remaining, -1)
        s.break_if(left <= 0)


async def with_syslet(listener: socket.socket, count: int) -> None:
    remaining = ctypes.c_int64(count)
    await serve(listener, remaining)


async def with_asyncio(listener: socket.socket, count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        conn, _ = await loop.sock_accept(listener)
        conn.setblocking(False)
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while await loop.sock_recv(conn, 4096):
            pass
        conn.close()


def connect_many(pipe, port: int) -> None:
    """The client process: on each number it receives, makes that many connections.

    Each waits until the server has closed it: a client that runs ahead would fill the
    backlog, and what is measured then is how long the kernel waits to try again.
    """
    while count := pipe.recv():
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(MESSAGE)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)
        pipe.send(count)


def report(quick: bool) -> str:
    """Connections per second as Markdown."""
    count = CONNECTIONS // 10 if quick else CONNECTIONS
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as theirs,
    ):
        listener.setblocking(False)
        mine, peer = multiprocessing.get_context("spawn").Pipe()
        client = multiprocessing.get_context("spawn").Process(
            target=connect_many, args=(peer, listener.getsockname()[1])
        )
        client.start()

        def contender(runner, work):
            def run():
                mine.send(count)
                runner.run(work(listener, count))
                mine.recv()

            return run

        rows = [
            Row("asyncio sock_* on uvloop", contender(theirs, with_asyncio)),
            Row("one syslet", contender(ours, with_syslet)),
        ]
        results = interleave(rows, 2 if quick else 7, count)
        mine.send(0)
        client.join()
    rates = ", ".join(f"{r.name}: {1e9 / r.unit_ns:.0f} per second" for r in results)
    return "\n".join(
        ["## The drawing as a server", "", table(results, "connection"), "", rates]
    )
