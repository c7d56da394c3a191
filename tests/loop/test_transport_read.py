"""Reading from stream transports: pausing, and both kinds of protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from typing import Any

import pytest
from peers import (
    Buffered,
    Recorder,
    caught,
    on_loop,
    reset,
    tcp_pair,
    turns,
    until,
    wired,
)


@on_loop
async def test_pausing_and_resuming() -> None:
    async with wired() as (transport, protocol, peer):
        for _ in range(2):
            transport.pause_reading()
            assert transport.is_reading() is False
        peer.send(b"x")
        await asyncio.sleep(0.01)
        assert protocol.told == ["made"]
        for _ in range(2):
            transport.resume_reading()
            assert transport.is_reading() is True
        await until(lambda: protocol.data == b"x")
        await turns()
        assert protocol.told == ["made", "data"]


@on_loop
async def test_pausing_after_close_is_nothing() -> None:
    async with wired() as (transport, protocol, _):
        transport.close()
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        await protocol.lost
        transport.pause_reading()
        transport.resume_reading()
        assert not transport.is_reading()
        assert protocol.told == ["made", "lost"]


@on_loop
async def test_a_paused_transport_learns_of_the_end_when_it_resumes() -> None:
    async with wired() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"last words")
        peer.close()
        await asyncio.sleep(0.01)
        assert protocol.told == ["made"]
        assert not transport.is_closing()
        transport.resume_reading()
        await protocol.lost
        assert protocol.data == b"last words"


@on_loop
async def test_a_paused_transport_can_be_closed() -> None:
    async with wired() as (transport, protocol, peer):
        transport.pause_reading()
        peer.send(b"x")
        transport.close()
        await protocol.lost
        assert protocol.told == ["made", "lost"]


@on_loop
async def test_pausing_in_connection_made() -> None:
    class Paused(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.pause_reading()

    left, right = socket.socketpair()
    right.send(b"early")
    async with wired(Paused, (left, right)) as (transport, protocol, _):
        await asyncio.sleep(0.01)
        assert protocol.told == ["made"]
        transport.resume_reading()
        await until(lambda: protocol.data == b"early")


@on_loop
async def test_pausing_in_data_received() -> None:
    """After it nothing more comes, whatever is there already."""

    class OneByOne(Recorder):
        def data_received(self, data: bytes) -> None:
            assert self.transport.is_reading()
            super().data_received(data)
            self.transport.pause_reading()

    async with wired(OneByOne) as (transport, protocol, peer):
        for number in range(1, 10):
            peer.send(b"a")
            await until(lambda: not transport.is_reading())
            peer.send(b"b" * number)
            await turns()
            size = len(protocol.data)
            transport.resume_reading()
            assert len(protocol.data) == size, "resume_reading() itself tells nothing"
            await until(lambda to=size + number: len(protocol.data) == to)
            await turns()
            transport.resume_reading()


@pytest.mark.parametrize("factory", [Recorder, Buffered])
@on_loop
async def test_no_byte_is_lost_by_pausing(factory: Any) -> None:
    payload = os.urandom(1 << 20)

    async with wired(factory) as (transport, protocol, peer):
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(loop.sock_sendall(peer, payload))
        while len(protocol.data) < len(payload):
            transport.pause_reading()
            size = len(protocol.data)
            await turns(2)
            assert len(protocol.data) == size
            transport.resume_reading()
            await turns(4)
        await sending
        assert protocol.data == payload


@on_loop
async def test_pausing_and_resuming_at_once_changes_nothing() -> None:
    async with wired() as (transport, protocol, peer):
        for number in range(20):
            peer.send(bytes([number]))
            transport.pause_reading()
            transport.resume_reading()
            if number % 3 == 0:
                await asyncio.sleep(0)
        await until(lambda: len(protocol.data) == 20)
        assert protocol.data == bytes(range(20))


@on_loop
async def test_data_is_bytes_of_any_size() -> None:
    sizes: list[int] = []

    class Sizes(Recorder):
        def data_received(self, data: bytes) -> None:
            assert type(data) is bytes
            sizes.append(len(data))
            super().data_received(data)

    async with wired(Sizes) as (transport, protocol, peer):
        transport.pause_reading()
        sent = peer.send(bytes(100_000))
        transport.resume_reading()
        await until(lambda: len(protocol.data) == sent)
        assert max(sizes) > 10_000, "what has arrived comes in large pieces"


@on_loop
async def test_a_buffer_is_asked_for_each_time() -> None:
    async with wired(Buffered) as (_, protocol, peer):
        for size in (1, 1000, 2500):
            before = len(protocol.data)
            peer.send(bytes(size))
            await until(lambda to=before + size: len(protocol.data) == to)
        assert set(protocol.hints) == {-1}
        assert len(protocol.hints) >= 5
        peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert protocol.told[-2:] == ["eof", "lost"]


@on_loop
async def test_parts_of_a_buffer() -> None:
    class Filling(Buffered):
        def get_buffer(self, sizehint: int) -> Any:
            return memoryview(self.buffer)[len(self.data) :]

        def buffer_updated(self, nbytes: int) -> None:
            at = len(self.data)
            self.data += self.buffer[at : at + nbytes]

    async with wired(Filling) as (_, protocol, peer):
        for number in range(10):
            peer.send(b"%d" % number * 50)
            await turns()
        await until(lambda: len(protocol.data) == 500)
        assert protocol.data == b"".join(b"%d" % n * 50 for n in range(10))
        assert protocol.buffer[:500] == protocol.data
        assert not any(protocol.buffer[500:])


class Wrong(Buffered):
    """Gives a buffer that is none, or fails."""

    gives: Any = None

    def get_buffer(self, sizehint: int) -> Any:
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives


GET_BUFFER = "Fatal error: protocol.get_buffer() call failed."
# Which check comes first is nobody's concern for what is no writable memory.
EITHER = "Fatal "


@pytest.mark.parametrize(
    ("gives", "error", "message"),
    [
        (bytearray(), RuntimeError, GET_BUFFER),
        (None, TypeError, GET_BUFFER),
        (KeyError(1), KeyError, GET_BUFFER),
        (b"read only", (TypeError, BufferError), EITHER),
        ([1, 2], TypeError, EITHER),
    ],
)
@on_loop
async def test_wrong_buffers(gives: Any, error: Any, message: str) -> None:
    async with wired(Wrong) as (transport, protocol, peer):
        contexts = caught()
        protocol.gives = gives
        peer.send(b"x")
        await protocol.lost
        (context,) = contexts
        assert context["message"].startswith(message)
        assert isinstance(context["exception"], error)
        assert context["exception"] is protocol.error
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        if error is RuntimeError:
            assert str(protocol.error) == "get_buffer() returned an empty buffer"
        assert protocol.told == ["made", f"lost {type(protocol.error).__name__}"]


@on_loop
async def test_a_failing_buffer_updated() -> None:
    class Failing(Buffered):
        def buffer_updated(self, nbytes: int) -> None:
            raise ZeroDivisionError

    async with wired(Failing) as (transport, protocol, peer):
        contexts = caught()
        peer.send(b"x")
        await protocol.lost
        (context,) = contexts
        message = "Fatal error: protocol.buffer_updated() call failed."
        assert context["message"] == message
        assert context["exception"] is protocol.error
        assert context["transport"] is transport
        assert context["protocol"] is protocol


@on_loop
async def test_protocols_can_be_exchanged() -> None:
    async with wired() as (transport, first, peer):
        peer.send(b"1")
        await until(lambda: first.data == b"1")
        others = [Buffered(), Recorder(), Buffered()]
        for number, other in enumerate(others):
            transport.set_protocol(other)
            assert transport.get_protocol() is other
            peer.send(b"%d" % number)
            await until(lambda o=other: o.data)
            assert other.data == b"%d" % number
        transport.close()
        await others[-1].lost
        assert first.told == ["made", "data"]
        assert [each.told for each in others] == [["data"], ["data"], ["data", "lost"]]
        first.lost.set_result(None)


@on_loop
async def test_a_protocol_is_exchanged_while_it_is_told() -> None:
    """What comes next goes to the new one: so an upgrade loses nothing."""
    buffered = Buffered()

    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.set_protocol(buffered)

    async with wired(Upgrading) as (transport, protocol, peer):
        peer.send(b"old")
        await until(lambda: protocol.data)
        peer.send(b"new")
        await until(lambda: buffered.data)
        assert (protocol.data, buffered.data) == (b"old", b"new")
        transport.close()
        await buffered.lost
        protocol.lost.set_result(None)


@on_loop
async def test_a_protocol_that_is_no_protocol_by_class() -> None:
    """Only BufferedProtocol is recognised by its class."""

    class Plain:
        def __init__(self) -> None:
            self.lost = asyncio.get_running_loop().create_future()

        def connection_made(self, transport: Any) -> None:
            pass

        def data_received(self, data: bytes) -> None:
            self.data = data

        def connection_lost(self, error: Exception | None) -> None:
            self.lost.set_result(None)

    async with wired(Plain) as (_, protocol, peer):
        peer.send(b"duck")
        await until(lambda: hasattr(protocol, "data"))
        assert protocol.data == b"duck"


@on_loop
async def test_a_reset_while_reading(caplog: pytest.LogCaptureFixture) -> None:
    async with wired(sockets=tcp_pair()) as (_, protocol, peer):
        contexts = caught()
        reset(peer)
        await protocol.lost
        assert protocol.told == ["made", "lost ConnectionResetError"]
        assert contexts == []
        assert not [each for each in caplog.records if each.levelno > logging.DEBUG]
