"""Families of sockets whose addresses only the socket module can show.

Netlink is there everywhere; vsock is tested where the machine has a loopback of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct

import pytest
from peers import Recorder, caught, on_loop, turns, until
from test_datagram import endpoint


def netlink() -> socket.socket:
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
    except OSError as error:
        pytest.skip(f"no netlink here: {error}")
    sock.bind((0, 0))
    sock.setblocking(False)
    return sock


def message(kind: int, flags: int = 1, body: bytes = b"") -> bytes:
    """One message for the kernel."""
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 7, 0) + body


LIST_LINKS = message(18, 0x301, bytes(4))
NONSENSE = message(99, 5)


@on_loop
async def test_an_endpoint_of_another_family() -> None:
    sock = netlink()
    name = sock.getsockname()
    contexts = caught()
    async with endpoint(sock=sock) as (transport, protocol):
        assert transport.get_extra_info("sockname") == name
        assert transport.get_extra_info("peername") == (0, 0)
        for _ in range(3):
            protocol.came.clear()
            transport.sendto(LIST_LINKS)
            await until(lambda: protocol.came and done(protocol.came[-1][0]))
            assert {address for _, address in protocol.came} == {(0, 0)}
        transport.pause_reading()
        transport.sendto(LIST_LINKS)
        protocol.came.clear()
        await turns()
        assert protocol.came == []
        transport.resume_reading()
        await until(lambda: protocol.came and done(protocol.came[-1][0]))
    assert protocol.errors == contexts == []


def done(data: bytes) -> bool:
    """The last message of a dump."""
    kind = 0
    while data:
        size, kind = struct.unpack_from("=IH", data)
        data = data[(size + 3) & ~3 :]
    return kind == 3


@on_loop
async def test_an_error_of_another_family() -> None:
    """Messages of the kernel that find no room."""
    with netlink() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        async with endpoint(sock=sock) as (transport, protocol):
            transport.pause_reading()
            for _ in range(100):
                transport.sendto(LIST_LINKS)
                transport.sendto(NONSENSE)
            transport.resume_reading()
            await until(lambda: protocol.errors)
            assert isinstance(protocol.errors[0], OSError)


def vsock(stack: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """A listener, and a client that is connected to it within this machine."""
    listener, client = (
        stack.enter_context(socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
        for _ in range(2)
    )
    listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    listener.listen()
    client.settimeout(0.2)  # there is no answer where there is no loopback
    client.connect((1, listener.getsockname()[1]))
    return listener, client


@functools.cache
def vsock_works() -> bool:
    with contextlib.ExitStack() as stack:
        try:
            vsock(stack)
        except OSError:
            return False
        return True


@on_loop
async def test_streams_of_another_family() -> None:
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    if not vsock_works():
        pytest.skip("there is no loopback of vsock here")
    with contextlib.ExitStack() as stack:
        listener, client = vsock(stack)
        server = await loop.create_server(factory, sock=listener)
        await until(lambda: made and "made" in made[0].told)
        transport = made[0].transport
        assert transport.get_extra_info("peername") == client.getsockname()
        assert transport.get_extra_info("sockname") == client.getpeername()
        client.send(b"data")
        await until(lambda: made[0].data == b"data")
        client.close()
        await made[0].lost
        server.close()
        await server.wait_closed()
