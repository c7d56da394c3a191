"""loop.sock_*: cancelled waits leave nothing, and what is refused at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import on_loop, read_exactly, stuff, turns, wired

Call = Callable[[Any, socket.socket], Any]

# Those that wait on a stream socket to which nothing comes, or on a listener.
RECEIVING: dict[str, Call] = {
    "sock_recv": lambda loop, sock: loop.sock_recv(sock, 10),
    "sock_recv_into": lambda loop, sock: loop.sock_recv_into(sock, bytearray(10)),
    "sock_recvfrom": lambda loop, sock: loop.sock_recvfrom(sock, 10),
    "sock_recvfrom_into": lambda loop, sock: loop.sock_recvfrom_into(
        sock, bytearray(10)
    ),
}
OTHERS: dict[str, Call] = {
    "sock_sendall": lambda loop, sock: loop.sock_sendall(sock, b"x"),
    "sock_sendto": lambda loop, sock: loop.sock_sendto(sock, b"x", ("127.0.0.1", 1)),
    "sock_accept": lambda loop, sock: loop.sock_accept(sock),
    "sock_connect": lambda loop, sock: loop.sock_connect(sock, ("127.0.0.1", 1)),
}
EVERY = {**RECEIVING, **OTHERS}
receiving = pytest.mark.parametrize("call", RECEIVING.values(), ids=RECEIVING)
every = pytest.mark.parametrize("call", EVERY.values(), ids=EVERY)


@receiving
@on_loop
async def test_a_cancelled_wait_leaves_nothing(call: Call) -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        for _ in range(3):
            waiting = asyncio.create_task(call(loop, left))
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not loop.remove_reader(left)
        right.send(b"data")
        await turns()
        assert left.recv(10) == b"data", "nobody reads any more"
        left.close()
        assert await loop.sock_recv(right, 1) == b""


@on_loop
async def test_a_cancelled_send_leaves_nothing() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        taken = stuff(left)
        waiting = asyncio.create_task(loop.sock_sendall(left, b"never"))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not loop.remove_writer(left)
        await read_exactly(right, taken)
        await turns()
        with pytest.raises(BlockingIOError):
            right.recv(1)
        await loop.sock_sendall(left, b"goes on")
        assert await loop.sock_recv(right, 10) == b"goes on"


@on_loop
async def test_a_cancelled_accept_and_connect_leave_nothing() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        waiting = asyncio.create_task(loop.sock_accept(listener))
        await turns()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not loop.remove_reader(listener)
        with socket.socket() as client:
            client.setblocking(False)
            connecting = asyncio.create_task(
                loop.sock_connect(client, listener.getsockname())
            )
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert not loop.remove_writer(client)
        with socket.create_connection(listener.getsockname()):
            conn, _ = await loop.sock_accept(listener)
            conn.close()


@on_loop
async def test_timeouts_take_no_data() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        for number in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    await loop.sock_recv(left, 10)
            right.send(b"%d" % number)
            assert await loop.sock_recv(left, 10) == b"%d" % number


@on_loop
async def test_receiving_and_sending_at_once() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        taken = stuff(left)
        receiving = asyncio.create_task(loop.sock_recv(left, 10))
        sending = asyncio.create_task(loop.sock_sendall(left, b"sent"))
        await turns()
        right.send(b"received")
        assert await receiving == b"received"
        assert not sending.done()
        data = await read_exactly(right, taken + 4)
        assert data.endswith(b"sent")
        await sending


@on_loop
async def test_two_waits_for_one_socket_lose_nothing() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, right):
        both = [asyncio.create_task(loop.sock_recv(left, 10)) for _ in range(2)]
        await turns()
        right.send(b"ab")
        done, pending = await asyncio.wait(both, return_when="FIRST_COMPLETED")
        await turns()
        for each in pending:
            each.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        assert b"".join(each.result() for each in done) == b"ab"
        right.send(b"c")
        assert await loop.sock_recv(left, 10) == b"c"


@every
@on_loop
async def test_a_blocking_socket_is_refused_in_debug_mode(call: Call) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await call(loop, sock)
        sock.settimeout(5)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await call(loop, sock)


@every
@on_loop
async def test_an_ssl_socket_is_refused(call: Call) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context()
    with context.wrap_socket(
        socket.socket(), do_handshake_on_connect=False, server_hostname="localhost"
    ) as sock:
        sock.setblocking(False)
        with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
            await call(loop, sock)


@every
@on_loop
async def test_a_closed_socket_is_refused(call: Call) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    sock.setblocking(False)
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        await call(loop, sock)


@receiving
@on_loop
async def test_a_transports_socket_is_refused(call: Call) -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    async with wired(sockets=(left, right)) as (transport, _, _):
        transport.pause_reading()
        with pytest.raises(RuntimeError, match="is used by transport"):
            await call(loop, left)
