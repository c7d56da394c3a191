"""Writing to stream transports: what is taken, what is refused, when it waits."""

from __future__ import annotations

import array
import asyncio
import logging
from typing import Any

import pytest
from peers import (
    Recorder,
    caught,
    fill,
    on_loop,
    read_all,
    read_exactly,
    reset,
    tcp_pair,
    turns,
    until,
    wired,
)

LOST = "socket.send() raised exception."


@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"byte array"),
        memoryview(b"view"),
        memoryview(bytearray(b"part of it"))[2:6],
        memoryview(array.array("I", [1, 2, 3])),
        type("Sub", (bytes,), {})(b"subclass"),
    ],
)
@on_loop
async def test_small_writes_are_sent_at_once(data: Any) -> None:
    """They need no turn of the loop; nothing is kept of them."""
    async with wired() as (transport, _, peer):
        assert transport.write(data) is None
        assert transport.get_write_buffer_size() == 0
        assert peer.recv(100) == bytes(data)


@on_loop
async def test_nothing_is_nothing() -> None:
    async with wired() as (transport, protocol, peer):
        for empty in (b"", bytearray(), memoryview(b"")):
            transport.write(empty)
        transport.writelines([])
        await turns()
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        assert protocol.told == ["made"]


@pytest.mark.parametrize("data", ["text", None, 5, [b"list"], array.array("b", [1])])
@on_loop
async def test_other_types_are_refused(data: Any) -> None:
    async with wired() as (transport, _, peer):
        with pytest.raises(TypeError) as refusal:
            transport.write(data)
        assert str(refusal.value) == (
            f"data argument must be a bytes-like object, not {type(data).__name__!r}"
        )
        transport.write(b"goes on")
        assert peer.recv(100) == b"goes on"


@on_loop
async def test_a_view_with_gaps_is_fatal() -> None:
    async with wired() as (transport, protocol, _):
        contexts = caught()
        transport.write(memoryview(b"abcdef")[::2])
        assert transport.is_closing()
        await protocol.lost
        assert isinstance(protocol.error, BufferError)
        (context,) = contexts
        assert context["message"] == "Fatal write error on socket transport"
        assert context["exception"] is protocol.error
        assert context["transport"] is transport
        assert context["protocol"] is protocol


@on_loop
async def test_writelines() -> None:
    async with wired() as (transport, _, peer):
        transport.writelines([b"one ", bytearray(b"two "), memoryview(b"three ")])
        transport.writelines(each for each in (b"four ", b"", b"five"))
        assert peer.recv(100) == b"one two three four five"
        assert transport.get_write_buffer_size() == 0
        with pytest.raises(TypeError):
            transport.writelines(["text"])
        with pytest.raises(TypeError):
            transport.writelines(5)


@on_loop
async def test_writelines_of_many_large_pieces() -> None:
    """More pieces than one call takes, and more bytes than any buffer."""
    pieces = [bytes([number % 256]) * (1 + number % 900) for number in range(3000)]
    async with wired() as (transport, _, peer):
        transport.write(b"first")
        transport.writelines(pieces)
        transport.writelines(pieces[:10])
        transport.write(b"last")
        transport.write_eof()
        expected = b"".join((b"first", *pieces, *pieces[:10], b"last"))
        assert await read_all(peer) == expected


@on_loop
async def test_nothing_is_lost_or_changes_places() -> None:
    async with wired() as (transport, _, peer):
        expected = bytearray()
        for number in range(4000):
            piece = number.to_bytes(2, "big") * (number % 500)
            expected += piece
            transport.write(piece if number % 2 else memoryview(piece))
        assert transport.get_write_buffer_size() > 0
        transport.write_eof()
        assert await read_all(peer) == expected


@on_loop
async def test_write_eof_closes_one_direction() -> None:
    async with wired() as (transport, protocol, peer):
        transport.write(b"question")
        transport.write_eof()
        assert peer.recv(100) == b"question"
        assert peer.recv(100) == b""
        assert not transport.is_closing()
        transport.write_eof()
        for late in (b"more", b""):
            with pytest.raises(RuntimeError, match=r"write\(\) after write_eof"):
                transport.write(late)
        with pytest.raises(RuntimeError, match="after write_eof"):
            transport.writelines([b"more"])
        with pytest.raises(TypeError):
            transport.write("the type comes first")
        peer.send(b"answer")
        await until(lambda: protocol.data == b"answer")
        peer.close()
        await protocol.lost
        assert protocol.told == ["made", "data", "eof", "lost"]


@on_loop
async def test_write_eof_waits_for_what_was_written() -> None:
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        transport.write_eof()
        await turns()
        assert len(await read_all(peer)) == written
        assert transport.get_write_buffer_size() == 0
        assert not transport.is_closing()
        peer.send(b"x")
        await until(lambda: protocol.data)


@on_loop
async def test_close_after_write_eof_flushes() -> None:
    async with wired() as (transport, protocol, peer):
        written = fill(transport)
        transport.write_eof()
        transport.close()
        assert len(await read_all(peer)) == written
        await protocol.lost
        assert protocol.error is None


@on_loop
async def test_write_eof_after_close_is_nothing() -> None:
    async with wired() as (transport, protocol, peer):
        transport.close()
        transport.write_eof()
        transport.write(b"no error either")
        await protocol.lost
        transport.write_eof()
        transport.write(b"still none")
        assert await read_all(peer) == b""


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [each for each in caplog.records if each.name == "asyncio"]
    return [each.getMessage() for each in found if each.levelno == logging.WARNING]


@pytest.mark.parametrize("way", ["close", "abort"])
@on_loop
async def test_writes_after_close_are_dropped(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The fifth and later ones are logged; none raises."""
    async with wired() as (transport, protocol, peer):
        getattr(transport, way)()
        for _ in range(4):
            transport.write(b"dropped")
        assert warnings_of(caplog) == []
        transport.write(b"dropped")
        assert warnings_of(caplog) == [LOST]
        await protocol.lost
        transport.write(b"dropped")
        assert warnings_of(caplog) == [LOST] * 2
        transport.write(b"")
        assert warnings_of(caplog) == [LOST] * 2
        assert transport.get_write_buffer_size() == 0
        assert await read_all(peer) == b""


@on_loop
async def test_writes_after_a_reset(caplog: pytest.LogCaptureFixture) -> None:
    async with wired(sockets=tcp_pair()) as (transport, protocol, peer):
        contexts = caught()
        transport.pause_reading()
        reset(peer)
        await turns()
        assert not transport.is_closing()
        transport.write(b"refused by the kernel")
        assert transport.is_closing()
        assert protocol.told == ["made"]
        await protocol.lost
        assert isinstance(protocol.error, ConnectionResetError)
        for _ in range(4):
            transport.write(b"dropped")
        assert warnings_of(caplog) == []
        transport.write(b"dropped")
        assert warnings_of(caplog) == [LOST]
        assert contexts == [], "an OSError is nothing for the exception handler"


@on_loop
async def test_a_closed_pipe_is_no_signal() -> None:
    async with wired() as (transport, protocol, peer):
        transport.pause_reading()
        peer.close()
        transport.write(b"x")
        await protocol.lost
        assert isinstance(protocol.error, BrokenPipeError)


@on_loop
async def test_a_buffered_write_meets_a_closed_peer() -> None:
    async with wired() as (transport, protocol, peer):
        contexts = caught()
        transport.pause_reading()
        fill(transport)
        peer.close()
        await protocol.lost
        assert isinstance(protocol.error, BrokenPipeError | ConnectionResetError)
        assert transport.get_write_buffer_size() == 0
        assert contexts == []


@on_loop
async def test_limits() -> None:
    async with wired() as (transport, _, _):
        limits = transport.get_write_buffer_limits
        assert limits() == (16384, 65536)
        transport.set_write_buffer_limits(high=1000)
        assert limits() == (250, 1000)
        transport.set_write_buffer_limits(low=100)
        assert limits() == (100, 400)
        transport.set_write_buffer_limits(high=7, low=7)
        assert limits() == (7, 7)
        transport.set_write_buffer_limits(0)
        assert limits() == (0, 0)
        transport.set_write_buffer_limits(50, 20)
        assert limits() == (20, 50)
        for high, low in ((10, 20), (10, -1), (-1, None)):
            with pytest.raises(ValueError, match=r"must be >= low \(.*\) must be >= 0"):
                transport.set_write_buffer_limits(high, low)
        with pytest.raises(ValueError) as refusal:
            transport.set_write_buffer_limits(high=10, low=20)
        assert str(refusal.value) == "high (10) must be >= low (20) must be >= 0"
        assert limits() == (20, 50)
        transport.set_write_buffer_limits()
        assert limits() == (16384, 65536)


class Marks(Recorder):
    """Notes how much is buffered when it is told to pause and to resume."""

    def __init__(self) -> None:
        super().__init__()
        self.paused: list[int] = []
        self.resumed: list[int] = []

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused.append(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self.resumed.append(self.transport.get_write_buffer_size())


@on_loop
async def test_pauses_are_exactly_at_the_marks() -> None:
    async with wired(Marks) as (transport, protocol, peer):
        transport.set_write_buffer_limits(high=1 << 30)
        written = fill(transport)
        size = transport.get_write_buffer_size()
        transport.set_write_buffer_limits(high=size + 100, low=size - 1000)
        transport.write(bytes(100))
        assert transport.get_write_buffer_size() == size + 100
        assert protocol.paused == [], "as much as `high` is not yet too much"
        transport.write(b"x")
        assert protocol.paused == [size + 101], "told within write()"
        transport.write(b"x")
        assert len(protocol.paused) == 1, "told once"
        assert protocol.resumed == []
        await read_exactly(peer, written + 102)
        await until(lambda: protocol.resumed)
        assert protocol.resumed[0] <= size - 1000
        await turns()
        assert protocol.told == ["made", "pause", "resume"]


@on_loop
async def test_without_limits_every_waiting_byte_pauses() -> None:
    async with wired(Marks) as (transport, protocol, peer):
        transport.set_write_buffer_limits(0)
        transport.write(b"sent at once")
        assert protocol.told == ["made"]
        written = fill(transport)
        assert protocol.told == ["made", "pause"]
        await read_exactly(peer, written + 12)
        await until(lambda: protocol.resumed)
        assert protocol.resumed == [0]


@on_loop
async def test_new_limits_pause_at_once() -> None:
    async with wired(Marks) as (transport, protocol, _):
        transport.set_write_buffer_limits(high=1 << 30)
        fill(transport)
        assert protocol.paused == []
        transport.set_write_buffer_limits(high=0)
        assert len(protocol.paused) == 1


@on_loop
async def test_a_protocol_writes_on_when_it_is_resumed() -> None:
    class Source(Recorder):
        left = 40

        def resume_writing(self) -> None:
            super().resume_writing()
            while self.left and not self.transport.get_write_buffer_size():
                self.left -= 1
                self.transport.write(bytes([self.left]) * 50_000)
            if not self.left:
                asyncio.get_running_loop().call_soon(self.transport.close)

    async with wired(Source) as (transport, protocol, peer):
        transport.set_write_buffer_limits(0)
        first = fill(transport)
        data = await read_all(peer)
        await protocol.lost
        assert protocol.left == 0
        expected = b"".join(bytes([n]) * 50_000 for n in reversed(range(40)))
        assert data == bytes(first) + expected


@on_loop
async def test_an_abort_or_loss_while_paused_resumes_nothing() -> None:
    async with wired(Marks) as (transport, protocol, _):
        transport.set_write_buffer_limits(0)
        fill(transport)
        transport.abort()
        await protocol.lost
        assert protocol.told == ["made", "pause", "lost"]
