"""Stream transports: what they are, what a protocol is told, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from peers import (
    Buffered,
    KeepsOpen,
    Recorder,
    fill,
    on_loop,
    read_all,
    tcp_pair,
    turns,
    until,
    wired,
)


@on_loop
async def test_what_a_transport_is() -> None:
    async with wired() as (transport, protocol, _):
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(transport, asyncio.ReadTransport)
        assert isinstance(transport, asyncio.WriteTransport)
        assert transport.get_protocol() is protocol is not None
        assert protocol.transport is transport
        assert transport.can_write_eof() is True
        assert transport.is_closing() is False
        assert transport.is_reading() is True
        assert transport.get_write_buffer_size() == 0


@on_loop
async def test_extra_info() -> None:
    left, right = tcp_pair()
    number, name, peer = left.fileno(), left.getsockname(), left.getpeername()
    async with wired(sockets=(left, right)) as (transport, _, _):
        sock = transport.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock is transport.get_extra_info("socket")
        assert sock.fileno() == number
        assert sock.family == socket.AF_INET
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("sockname") == name
        assert transport.get_extra_info("peername") == peer
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("no such thing", 5) == 5
        assert transport.get_extra_info("no such thing") is None
        transport.close()
        await turns()
        assert transport.get_extra_info("peername") == peer
        assert transport.get_extra_info("socket") is sock
        assert sock.fileno() == -1


@on_loop
async def test_extra_info_of_an_accepted_connection() -> None:
    made = asyncio.get_running_loop().create_future()

    class Accepted(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.set_result(self)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Accepted, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as client:
        protocol = await made
        info = protocol.transport.get_extra_info
        assert info("peername") == client.getsockname()
        assert info("sockname") == client.getpeername()
    await protocol.lost
    server.close()
    await server.wait_closed()


@on_loop
async def test_extra_info_of_a_nameless_socket() -> None:
    async with wired() as (transport, _, _):
        assert transport.get_extra_info("sockname") == ""
        assert transport.get_extra_info("peername") == ""


@on_loop
async def test_attributes_and_weak_references() -> None:
    async with wired() as (transport, _, _):
        transport.mine = protocol_state = object()
        assert transport.mine is protocol_state
        del transport.mine
        assert not hasattr(transport, "mine")
        assert weakref.ref(transport)() is transport
        assert transport in {transport}
        assert weakref.WeakSet([transport])


@on_loop
async def test_a_transport_is_collected_when_it_is_over() -> None:
    async with wired() as (transport, protocol, _):
        reference = weakref.ref(transport)
    del transport, protocol
    await turns()
    gc.collect()
    assert reference() is None


@on_loop
async def test_repr() -> None:
    async with wired() as (transport, _, _):
        number = transport.get_extra_info("socket").fileno()

        def like(pattern: str) -> bool:
            return bool(re.fullmatch(rf"<\w+ {pattern}>", repr(transport)))

        assert like(rf"fd={number} read=polling write=<idle, bufsize=0>")
        transport.pause_reading()
        assert like(rf"fd={number} read=idle write=<idle, bufsize=0>")
        fill(transport)
        size = transport.get_write_buffer_size()
        assert like(rf"fd={number} read=idle write=<polling, bufsize={size}>")
        transport.close()
        assert like(rf"closing fd={number} read=idle write=<polling, bufsize={size}>")
        transport.abort()
        await turns()
        assert like(rf"closed fd={number}")


@on_loop
async def test_everything_comes_in_order() -> None:
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    left.setblocking(False)
    right.send(b"before")
    right.close()
    _, protocol = await loop.create_connection(Recorder, sock=left)
    assert protocol.told[0] == "made"
    await protocol.lost
    assert protocol.told == ["made", "data", "eof", "lost"]
    assert protocol.data == b"before"
    assert protocol.error is None


@pytest.mark.parametrize("factory", [Recorder, Buffered])
@on_loop
async def test_end_of_file_closes(factory: Any) -> None:
    async with wired(factory) as (transport, protocol, peer):
        peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert protocol.told == ["made", "eof", "lost"]
        assert transport.is_closing()
        assert await read_all(peer) == b""


@on_loop
async def test_eof_received_may_keep_the_connection() -> None:
    async with wired(KeepsOpen) as (transport, protocol, peer):
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in protocol.told)
        assert not transport.is_closing()
        transport.write(b"still here")
        await turns()
        assert peer.recv(100) == b"still here"
        await asyncio.sleep(0.01)
        assert protocol.told == ["made", "eof"]
        transport.close()
        await protocol.lost
        assert protocol.told == ["made", "eof", "lost"]


@on_loop
async def test_data_before_the_end_is_flushed_after_it() -> None:
    """eof_received returns nothing, and what is written by then is still sent."""
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        peer.shutdown(socket.SHUT_WR)
        await until(lambda: "eof" in protocol.told)
        assert not protocol.lost.done()
        assert len(await read_all(peer)) == written
        await protocol.lost
        assert protocol.error is None


@on_loop
async def test_close_tells_later_and_once() -> None:
    async with wired() as (transport, protocol, peer):
        loop = asyncio.get_running_loop()
        after = loop.create_future()
        transport.close()
        loop.call_soon(lambda: after.set_result(protocol.lost.done()))
        assert transport.is_closing()
        assert not transport.is_reading()
        assert protocol.told == ["made"]
        transport.close()
        assert await after, "connection_lost comes in its turn"
        transport.close()
        transport.abort()
        await turns()
        assert protocol.told == ["made", "lost"]
        assert await read_all(peer) == b""
        assert transport.is_closing()


@on_loop
async def test_abort_tells_later_and_once() -> None:
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        transport.abort()
        assert transport.is_closing()
        assert transport.get_write_buffer_size() == 0
        assert not protocol.lost.done()
        transport.abort()
        transport.close()
        await protocol.lost
        await turns()
        assert [each for each in protocol.told if "lost" in each] == ["lost"]
        assert 0 < len(await read_all(peer)) < written


@on_loop
async def test_close_flushes() -> None:
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        transport.write(b"the last")
        transport.close()
        assert transport.is_closing()
        await turns()
        assert not protocol.lost.done()
        data = await read_all(peer)
        assert len(data) == written + 8
        assert data.endswith(b"the last")
        await protocol.lost
        assert protocol.error is None


@on_loop
async def test_abort_after_close_ends_the_flush() -> None:
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        transport.close()
        transport.abort()
        await protocol.lost
        assert len(await read_all(peer)) < written


@on_loop
async def test_nothing_is_received_after_close() -> None:
    async with wired() as (transport, protocol, peer):
        fill(transport)
        transport.close()
        peer.send(b"too late")
        await asyncio.sleep(0.01)
        assert "data" not in protocol.told


@pytest.mark.parametrize("way", ["close", "abort"])
@on_loop
async def test_a_protocol_ends_its_connection_in_data_received(way: str) -> None:
    class Ending(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            getattr(self.transport, way)()
            self.told.append("returned")

    async with wired(Ending) as (transport, protocol, peer):
        peer.send(b"a")
        await protocol.lost
        assert protocol.told == ["made", "data", "returned", "lost"]
        assert protocol.error is None
        assert peer.recv(1) == b""
        assert transport.is_closing()


@pytest.mark.parametrize("way", ["close", "abort"])
@on_loop
async def test_a_protocol_ends_its_connection_at_once(way: str) -> None:
    class Ending(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            getattr(transport, way)()

    left, right = socket.socketpair()
    right.send(b"never read")
    async with wired(Ending, (left, right)) as (transport, protocol, _):
        assert transport.is_closing()
        await protocol.lost
        await turns()
        assert protocol.told == ["made", "lost"]


@on_loop
async def test_what_is_written_in_connection_made_is_sent() -> None:
    class Greeting(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"hello")
            transport.close()

    async with wired(Greeting) as (_, protocol, peer):
        assert await read_all(peer) == b"hello"
        await protocol.lost
        assert protocol.told == ["made", "lost"]


@on_loop
async def test_a_descriptor_in_use_is_refused() -> None:
    async with wired() as (transport, _, _):
        loop = asyncio.get_running_loop()
        sock = transport.get_extra_info("socket")
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(sock.fileno(), print)
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.remove_writer(sock)


@contextlib.contextmanager
def unclosed_transport() -> Iterator[None]:
    """Within, a transport is forgotten; its socket may come to the same end first."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
        gc.collect()
    ours = [each for each in seen if "unclosed transport <" in str(each.message)]
    assert [each.category for each in ours] == [ResourceWarning]


def test_an_unclosed_transport_warns(runner: asyncio.Runner) -> None:
    kept: list[Any] = []

    async def main() -> None:
        left, right = socket.socketpair()
        loop = asyncio.get_running_loop()
        await loop.create_connection(Recorder, sock=left)
        kept.append(right)

    runner.run(main())
    with unclosed_transport():
        runner.close()
    with kept.pop() as right:
        assert right.recv(1) == b"", "its socket was closed"


@on_loop
async def test_a_forgotten_transport_warns_while_the_loop_runs() -> None:
    """One that does not read is held by nobody but its protocol."""
    left, right = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, sock=left)
    transport.pause_reading()
    with unclosed_transport():
        del transport, protocol
    with right:
        assert right.recv(1) == b""
