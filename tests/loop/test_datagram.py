"""Datagram endpoints: addresses, errors, flow control, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import socket
import sys
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers import Noting, caught, on_loop, turns, until

HERE = ("127.0.0.1", 0)


class Datagrams(Noting, asyncio.DatagramProtocol):
    """Keeps what arrives, with its address."""

    def __init__(self) -> None:
        super().__init__()
        self.came: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []

    def datagram_received(self, data: bytes, address: Any) -> None:
        assert type(data) is bytes
        self.came.append((data, address))

    def error_received(self, error: Exception) -> None:
        self.errors.append(error)


@contextlib.asynccontextmanager
async def endpoint(
    factory: Any = Datagrams, **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    """(transport, protocol), aborted afterwards."""
    loop = asyncio.get_running_loop()
    if not options:
        options = {"local_addr": HERE}
    transport, protocol = await loop.create_datagram_endpoint(factory, **options)
    try:
        yield transport, protocol
    finally:
        if not protocol.lost.done():  # asyncio's abort() fails after a flush
            transport.abort()
        await protocol.lost


def unix_socket(path: Path | str = "", to: Path | str = "") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if path:
        sock.bind(str(path))
    if to:
        sock.connect(str(to))
    return sock


@on_loop
async def test_what_an_endpoint_is() -> None:
    async with endpoint() as (transport, protocol):
        assert isinstance(transport, asyncio.BaseTransport)
        if sys.version_info >= (3, 12):
            assert isinstance(transport, asyncio.DatagramTransport)
        assert protocol.transport is transport
        assert transport.get_protocol() is protocol
        assert transport.is_closing() is False
        assert transport.get_write_buffer_size() == 0
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.type == socket.SOCK_DGRAM
        assert transport.get_extra_info("sockname") == sock.getsockname()
        assert transport.get_extra_info("peername") is None
        assert transport.get_extra_info("no such", 1) == 1
        assert weakref.ref(transport)() is transport
        transport.mine = 1
        assert re.match(rf"<\w+ fd={sock.fileno()} read=polling ", repr(transport))
        assert protocol.told == ["made"]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "::1"],
)
@on_loop
async def test_there_and_back(host: str) -> None:
    async with (
        endpoint(local_addr=(host, 0)) as (one, first),
        endpoint(local_addr=(host, 0)) as (two, second),
    ):
        here, there = (each.get_extra_info("sockname") for each in (one, two))
        for data in (b"bytes", bytearray(b"byte array"), memoryview(b"view")[1:3]):
            assert one.sendto(data, there) is None
            await until(lambda: second.came)
            assert second.came.pop() == (bytes(data), here)
        two.sendto(b"back", here)
        await until(lambda: first.came)
        assert first.came == [(b"back", there)]


@on_loop
async def test_a_connected_endpoint() -> None:
    async with endpoint() as (one, first):
        here = one.get_extra_info("sockname")
        async with endpoint(remote_addr=here) as (two, second):
            there = two.get_extra_info("sockname")
            assert two.get_extra_info("peername") == here
            two.sendto(b"without an address")
            two.sendto(b"with None", None)
            two.sendto(b"with its own", here)
            await until(lambda: len(first.came) == 3)
            assert [address for _, address in first.came] == [there] * 3
            with pytest.raises(ValueError, match="Invalid address: must be None or"):
                two.sendto(b"x", ("127.0.0.1", 1))
            one.sendto(b"back", there)
            await until(lambda: second.came)
            assert second.came == [(b"back", here)]


@on_loop
async def test_both_addresses() -> None:
    async with endpoint() as (one, first):
        here = one.get_extra_info("sockname")
        async with endpoint(local_addr=HERE, remote_addr=here) as (two, _):
            two.sendto(b"x")
            await until(lambda: first.came)
            assert first.came == [(b"x", two.get_extra_info("sockname"))]


@on_loop
async def test_options() -> None:
    async with endpoint(local_addr=HERE, allow_broadcast=True) as (transport, _):
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
    async with endpoint(family=socket.AF_INET) as (transport, _):
        sock = transport.get_extra_info("socket")
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
    async with endpoint(local_addr=HERE, reuse_port=True) as (one, _):
        address = one.get_extra_info("sockname")
        async with endpoint(local_addr=address, reuse_port=True):
            pass
        loop = asyncio.get_running_loop()
        with pytest.raises(OSError):
            await loop.create_datagram_endpoint(Datagrams, local_addr=address)


@on_loop
async def test_a_socket_of_ones_own() -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.bind(HERE)
    number = sock.fileno()
    async with endpoint(sock=sock) as (transport, _):
        assert transport.get_extra_info("socket").fileno() == number
        assert sock.gettimeout() == 0
        with pytest.raises(ValueError, match="when sock is specified"):
            await loop.create_datagram_endpoint(Datagrams, HERE, sock=sock)
    assert sock.fileno() == -1
    with (
        socket.socket() as stream,
        pytest.raises(ValueError, match=r"(UDP|datagram) [Ss]ocket"),
    ):
        await loop.create_datagram_endpoint(Datagrams, sock=stream)
    with pytest.raises(ValueError, match="unexpected address family"):
        await loop.create_datagram_endpoint(Datagrams)


@on_loop
async def test_types_that_are_refused() -> None:
    async with endpoint() as (transport, protocol):
        here = transport.get_extra_info("sockname")
        for wrong in ("text", None, 5):
            with pytest.raises(TypeError) as refusal:
                transport.sendto(wrong, here)
            assert str(refusal.value) == (
                "data argument must be a bytes-like object, "
                f"not {type(wrong).__name__!r}"
            )
        transport.sendto(b"goes on", here)
        await until(lambda: protocol.came)


@on_loop
async def test_sizes_and_order() -> None:
    async with endpoint() as (one, _), endpoint() as (two, protocol):
        there = two.get_extra_info("sockname")
        sizes = [1, 60_000, 5, 65_507, 0x1000, 2]
        for number, size in enumerate(sizes):
            one.sendto(bytes([number]) * size, there)
            await until(lambda to=number + 1: len(protocol.came) == to)
        assert [len(data) for data, _ in protocol.came] == sizes
        assert all(set(data) == {n} for n, (data, _) in enumerate(protocol.came))


@on_loop
async def test_empty_datagrams_arrive() -> None:
    async with endpoint() as (transport, protocol):
        with socket.socket(type=socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", transport.get_extra_info("sockname"))
            sender.sendto(b"x", transport.get_extra_info("sockname"))
        await until(lambda: len(protocol.came) == 2)
        assert [data for data, _ in protocol.came] == [b"", b"x"]
        assert protocol.told == ["made"]


@on_loop
async def test_errors_of_sending_go_to_the_protocol() -> None:
    async with endpoint() as (transport, protocol):
        here = transport.get_extra_info("sockname")
        transport.sendto(bytes(70_000), here)
        assert len(protocol.errors) == 1, "too long: told within sendto()"
        assert isinstance(protocol.errors[0], OSError)
        assert not transport.is_closing()
        transport.sendto(b"goes on", here)
        await until(lambda: protocol.came)


@on_loop
async def test_a_refused_datagram_is_an_error_received() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as nobody:
        nobody.bind(HERE)
        address = nobody.getsockname()
    async with endpoint(remote_addr=address) as (transport, protocol):
        transport.sendto(b"is anybody there?")
        await until(lambda: protocol.errors)
        assert isinstance(protocol.errors[0], ConnectionRefusedError)
        assert not transport.is_closing()
        with socket.socket(type=socket.SOCK_DGRAM) as somebody:
            somebody.bind(address)
            transport.sendto(b"now?")
            transport.sendto(b"now?")  # one may meet the former refusal
            somebody.settimeout(5)
            assert somebody.recv(10) == b"now?"
        assert protocol.told == ["made"]


@on_loop
async def test_a_failing_protocol() -> None:
    """It is reported, and the endpoint goes on."""

    class Failing(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            raise ZeroDivisionError

    contexts = caught()
    async with endpoint(Failing) as (transport, protocol):
        for number in range(1, 3):
            transport.sendto(b"x", transport.get_extra_info("sockname"))
            await until(lambda to=number: len(contexts) == to)
        assert isinstance(contexts[0]["exception"], ZeroDivisionError)
        assert len(protocol.came) == 2
        assert not transport.is_closing()


@on_loop
async def test_unix_endpoints(tmp_path: Path) -> None:
    taker = str(tmp_path / "taker")
    async with (
        endpoint(local_addr=taker, family=socket.AF_UNIX) as (one, first),
        endpoint(remote_addr=taker, family=socket.AF_UNIX) as (two, _),
    ):
        assert one.get_extra_info("sockname") == taker
        two.sendto(b"nameless")
        await until(lambda: first.came)
        assert first.came[0][0] == b"nameless"


def filled(transport: Any, protocol: Any) -> int:
    """Send until the protocol is told to pause; the number of datagrams."""
    number = 0
    while "pause" not in protocol.told:
        transport.sendto(number.to_bytes(2, "big") * 500)
        number += 1
    return number


async def received(sock: socket.socket, number: int) -> list[int]:
    """The numbers of so many datagrams."""
    loop = asyncio.get_running_loop()
    data = [await loop.sock_recv(sock, 2000) for _ in range(number)]
    return [int.from_bytes(each[:2], "big") for each in data]


@on_loop
async def test_flow_control(tmp_path: Path) -> None:
    path = tmp_path / "taker"
    with unix_socket(path) as taker:
        async with endpoint(sock=unix_socket(to=path)) as (transport, protocol):
            transport.set_write_buffer_limits(high=8000, low=3000)
            assert transport.get_write_buffer_limits() == (3000, 8000)
            number = filled(transport, protocol)
            assert transport.get_write_buffer_size() > 8000
            transport.sendto(number.to_bytes(2, "big") * 500)
            assert protocol.told == ["made", "pause"]
            assert await received(taker, number + 1) == list(range(number + 1))
            await until(lambda: "resume" in protocol.told)
            assert protocol.told == ["made", "pause", "resume"]
            transport.sendto(b"again")
            assert await asyncio.get_running_loop().sock_recv(taker, 10) == b"again"


@on_loop
async def test_close_flushes(tmp_path: Path) -> None:
    path = tmp_path / "taker"
    with unix_socket(path) as taker:
        async with endpoint(sock=unix_socket(to=path)) as (transport, protocol):
            number = filled(transport, protocol)
            transport.close()
            assert transport.is_closing()
            await turns()
            assert not protocol.lost.done()
            assert await received(taker, number) == list(range(number))
            await protocol.lost
            assert protocol.error is None


@on_loop
async def test_abort_does_not_flush(tmp_path: Path) -> None:
    path = tmp_path / "taker"
    with unix_socket(path) as taker:
        async with endpoint(sock=unix_socket(to=path)) as (transport, protocol):
            number = filled(transport, protocol)
            transport.abort()
            transport.abort()
            assert not protocol.lost.done()
            await protocol.lost
            count = 0
            with contextlib.suppress(BlockingIOError):
                while taker.recv(2000):
                    count += 1
            assert count < number


@on_loop
async def test_what_waits_is_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "taker"
    with unix_socket(path) as taker:
        async with endpoint(sock=unix_socket(to=path)) as (transport, protocol):
            number = filled(transport, protocol)
            data = bytearray(b"\xff\xffbefore")
            transport.sendto(data)
            data[:] = b"\x00\x00after!"
            assert (await received(taker, number + 1))[-1] == 0xFFFF


@on_loop
async def test_closing(caplog: pytest.LogCaptureFixture) -> None:
    async with endpoint() as (other, _):
        there = other.get_extra_info("sockname")
        async with endpoint(remote_addr=there) as (transport, protocol):
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert not protocol.lost.done()
            await protocol.lost
            assert protocol.told == ["made", "lost"]
            for _ in range(4):
                transport.sendto(b"dropped")
            warned = [r for r in caplog.records if r.levelno == logging.WARNING]
            assert warned == []
            transport.sendto(b"dropped")
            assert "socket.send() raised exception." in caplog.text
            assert transport.get_extra_info("socket").fileno() == -1


@on_loop
async def test_a_protocol_closes_within_datagram_received() -> None:
    class Once(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            self.transport.close()

    async with endpoint(Once) as (transport, protocol):
        here = transport.get_extra_info("sockname")
        for _ in range(3):
            transport.sendto(b"x", here)
        await protocol.lost
        await turns()
        assert len(protocol.came) == 1
        assert protocol.told == ["made", "lost"]
