"""Writes that wait a moment: the same bytes and calls, whenever they leave.

A transport that writes several times per callback again and again keeps writes back
until the callback ends; in a loop with many writes per tick, tasks write until the tick
ends. Everything but that moment is asyncio's, which is the judge.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from gathering import LEARNT, habitual, is_empty, keeps_back
from peers import (
    Recorder,
    caught,
    on_loop,
    read_all,
    read_exactly,
    turns,
    until,
    wired,
)


@on_loop
async def test_they_leave_together_when_the_callback_ends() -> None:
    async with habitual() as (transport, _, peer):
        transport.write(b"head ")
        transport.write(b"body")
        assert is_empty(peer) == keeps_back()
        await asyncio.sleep(0)
        assert peer.recv(100) == b"head body"


@on_loop
async def test_who_writes_once_again_sends_at_once_again() -> None:
    async with habitual() as (transport, _, peer):
        for number in range(20):
            await asyncio.sleep(0)
            transport.write(b"x")
            if number > 10:
                assert not is_empty(peer)
            await asyncio.sleep(0)
            assert peer.recv(100) == b"x"


@pytest.mark.parametrize("size", [1, 1000, 10_000, 100_000, 1_000_000])
@on_loop
async def test_no_byte_is_lost_or_moved(size: int) -> None:
    """Small and large writes, of all types; what was sent whole may be changed."""
    async with habitual() as (transport, _, peer):
        part = bytearray(os.urandom(size))
        expected = b""
        for turn in range(3):
            for data in (bytes(part), part, memoryview(part)):
                expected += b"<" + bytes(data) + b">"
                transport.write(b"<")
                transport.write(data)
                transport.write(b">")
                if size <= 1000:
                    part[turn % size] ^= 255
        transport.writelines([b"a", b"b"])
        same = await read_exactly(peer, len(expected) + 2) == expected + b"ab"
        assert same  # the bytes are too many to show


@on_loop
async def test_many_small_ones() -> None:
    async with habitual() as (transport, _, peer):
        for number in range(1000):
            transport.write(bytes([number % 256]))
        await asyncio.sleep(0)
        expected = bytes(number % 256 for number in range(1000))
        assert await read_exactly(peer, 1000) == expected


ENDS: list[tuple[str, Callable[[Any], Any]]] = [
    ("close", lambda transport: transport.close()),
    ("abort", lambda transport: transport.abort()),
    ("write_eof", lambda transport: transport.write_eof()),
]


@pytest.mark.parametrize(("name", "end"), ENDS)
@on_loop
async def test_ends_come_after_what_was_written(
    name: str, end: Callable[[Any], Any]
) -> None:
    async with habitual() as (transport, _, peer):
        transport.write(b"one")
        transport.write(b"two")
        end(transport)
        assert await read_all(peer) == b"onetwo"


LOOKS: list[tuple[Callable[[Any], Any], Any]] = [
    (lambda transport: transport.get_write_buffer_size(), 0),
    (lambda transport: transport.get_extra_info("socket") is None, False),
    (lambda transport: transport.set_write_buffer_limits(high=1000), None),
    (lambda transport: transport.set_protocol(transport.get_protocol()), None),
]


@pytest.mark.parametrize(("look", "seen"), LOOKS)
@on_loop
async def test_who_looks_finds_them_sent(look: Callable[[Any], Any], seen: Any) -> None:
    async with habitual() as (transport, _, peer):
        transport.write(b"one")
        transport.write(b"two")
        assert look(transport) == seen
        assert peer.recv(100) == b"onetwo"


@on_loop
async def test_the_protocol_is_paused_inside_of_write() -> None:
    """A loop that writes until it is told to pause ends."""
    async with habitual() as (transport, recorder, peer):
        written = 0
        while "pause" not in recorder.told:
            transport.write(bytes(500))
            written += 500
            assert written < 50_000_000
        assert transport.get_write_buffer_size() > 64 * 1024
        got = 0
        while got < written:
            got += len(await read_exactly(peer, min(written - got, 1 << 16)))
        await until(lambda: "resume" in recorder.told)


@on_loop
async def test_a_high_water_mark_of_zero() -> None:
    async with habitual() as (transport, recorder, peer):
        transport.set_write_buffer_limits(high=0)
        for _ in range(3):
            transport.write(b"1")
            transport.write(b"2")
        assert "pause" not in recorder.told
        assert peer.recv(100) == b"121212"


@on_loop
async def test_pausing_runs_in_the_context_of_the_writer() -> None:
    variable = contextvars.ContextVar("variable", default="none")
    seen = []

    class Protocol(Recorder):
        def pause_writing(self) -> None:
            seen.append(variable.get())
            super().pause_writing()

    async with habitual(Protocol) as (transport, _, peer):

        async def writer() -> None:
            variable.set("writer")
            while not seen:
                transport.write(bytes(9000))
                transport.write(bytes(9000))
                await asyncio.sleep(0)

        await asyncio.create_task(writer())
        assert seen == ["writer"]
        transport.abort()
        await turns()
        await read_all(peer)


@on_loop
async def test_a_callback_that_raises_has_written() -> None:
    contexts = caught()
    async with habitual() as (transport, _, peer):

        def fails() -> None:
            transport.write(b"1")
            transport.write(b"2")
            raise ZeroDivisionError

        asyncio.get_running_loop().call_soon(fails)
        await turns()
        assert peer.recv(100) == b"12"
    assert isinstance(contexts[0]["exception"], ZeroDivisionError)


@on_loop
async def test_a_peer_that_is_gone() -> None:
    """The connection ends, whichever write finds it out."""
    async with habitual() as (transport, recorder, peer):
        peer.close()
        for _ in range(4):
            transport.write(b"1")
            transport.write(b"2")
            await turns()
        await until(lambda: recorder.told[-1].startswith("lost"))
        assert transport.is_closing()


@on_loop
async def test_streams_that_write_twice_and_drain() -> None:
    one, other = socket.socketpair()
    other.setblocking(False)
    with other:
        _, writer = await asyncio.open_connection(sock=one)
        for _ in range(LEARNT + 2):
            writer.write(b"1")
            writer.write(b"2")
            await writer.drain()
            await asyncio.sleep(0)
            assert other.recv(100) == b"12"
        writer.close()
        await writer.wait_closed()


@on_loop
async def test_two_transports_send_in_order() -> None:
    async with habitual() as (one, _, first), habitual() as (two, _, second):
        one.write(b"1")
        two.write(b"2")
        one.write(b"3")
        two.write(b"4")
        await asyncio.sleep(0)
        assert (first.recv(9), second.recv(9)) == (b"13", b"24")


@on_loop
async def test_a_busy_loop_sends_when_the_tick_ends() -> None:
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired()) for _ in range(10)]
        for number in range(5):
            await asyncio.sleep(0)
            for transport, _, _ in wires:
                transport.write(bytes([number]))
        await asyncio.sleep(0)
        for _, _, peer in wires:
            assert peer.recv(100) == bytes(range(5))
        seen = []
        loop = asyncio.get_running_loop()
        for transport, _, _ in wires:
            loop.call_soon(transport.write, b"x")
        for _, _, peer in wires:
            loop.call_soon(lambda peer=peer: seen.append(is_empty(peer)))
        await asyncio.sleep(0)
        assert seen == [keeps_back()] * 10
        await asyncio.sleep(0)
        for _, _, peer in wires:
            assert peer.recv(100) == b"x"


@on_loop
async def test_a_busy_loop_answers_at_once_from_a_protocol() -> None:
    """What data_received writes does not wait for other callbacks."""

    class Echo(Recorder):
        def data_received(self, data: bytes) -> None:
            self.transport.write(data)
            seen.append(is_empty(self.peer))

    seen: list[bool] = []
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired(Echo)) for _ in range(10)]
        for _ in range(3):
            await asyncio.sleep(0)
            for transport, _, _ in wires:
                transport.write(b".")
        await asyncio.sleep(0)
        for _, protocol, peer in wires:
            assert peer.recv(100) == b"..."
            protocol.peer = peer
            peer.send(b"x")
        await until(lambda: len(seen) == 10)
        assert not any(seen)
