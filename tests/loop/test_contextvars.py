"""Every kind of callback runs in the context of whoever asked for it."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import (
    Buffered,
    Recorder,
    caught,
    fill,
    on_loop,
    read_exactly,
    turns,
    until,
    wired,
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


class Seeing:
    """Notes the variable in each callback of a protocol."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def see(self, where: str) -> None:
        self.seen[where] = variable.get("none")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.see("made")
        variable.set("set in connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]
        self.see("data")

    def get_buffer(self, sizehint: int) -> Any:
        self.see("buffer")
        return super().get_buffer(sizehint)  # type: ignore[misc]

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)  # type: ignore[misc]
        self.see("data")

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.see("data")

    def eof_received(self) -> None:
        super().eof_received()  # type: ignore[misc]
        self.see("eof")

    def resume_writing(self) -> None:
        super().resume_writing()  # type: ignore[misc]
        self.see("resume")

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)  # type: ignore[misc]
        self.see("lost")


class SeeingRecorder(Seeing, Recorder):
    """Gets bytes."""


class SeeingBuffered(Seeing, Buffered):
    """Gets its own buffer filled."""


class SeeingDatagrams(Seeing, Recorder, asyncio.DatagramProtocol):
    """Gets datagrams."""


@pytest.mark.parametrize("factory", [SeeingRecorder, SeeingBuffered])
@on_loop
async def test_a_protocol_of_a_client(factory: Any) -> None:
    """It sees what the one who connected saw, and changes nothing for it."""
    variable.set("the client's")
    async with wired(factory) as (_, protocol, peer):
        assert variable.get() == "the client's"
        variable.set("something else")
        peer.send(b"x")
        await until(lambda: protocol.data)
        peer.close()
        await protocol.lost
        expected = {"made", "data", "eof", "lost"}
        if factory is SeeingBuffered:
            expected.add("buffer")
        assert protocol.seen == dict.fromkeys(expected, "the client's")
        assert variable.get() == "something else"


@on_loop
async def test_a_protocol_after_a_pause() -> None:
    """Who resumes the reading gives the context of what is read then."""
    variable.set("the client's")
    async with wired(SeeingRecorder) as (transport, protocol, peer):
        transport.pause_reading()
        variable.set("of resume_reading")
        transport.resume_reading()
        variable.set("something else")
        peer.send(b"x")
        await until(lambda: protocol.data)
        assert protocol.seen["data"] == "of resume_reading"


@on_loop
async def test_a_protocol_that_is_resumed_or_closed() -> None:
    async with wired(SeeingRecorder) as (transport, protocol, peer):
        variable.set("of write")
        transport.set_write_buffer_limits(0)
        written = fill(transport)
        variable.set("something else")
        await read_exactly(peer, written)
        await until(lambda: "resume" in protocol.seen)
        assert protocol.seen["resume"] == "of write"
        variable.set("of close")
        transport.close()
        variable.set("something else")
        await protocol.lost
        assert protocol.seen["lost"] == "of close"


@on_loop
async def test_protocols_of_a_server() -> None:
    """They see what the one who started the server saw, each a copy of its own."""
    loop = asyncio.get_running_loop()
    made: list[SeeingRecorder] = []
    factories: list[str] = []

    def factory() -> SeeingRecorder:
        factories.append(variable.get())
        made.append(SeeingRecorder())
        return made[-1]

    variable.set("the server's")
    server = await loop.create_server(factory, "127.0.0.1", 0)
    variable.set("something else")
    for number in range(2):
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            client.send(b"x")
            await until(lambda to=number: len(made) > to and made[to].data)
        await made[number].lost
    keys = ("made", "data", "eof", "lost")
    assert [each.seen for each in made] == [dict.fromkeys(keys, "the server's")] * 2
    assert factories == ["the server's"] * 2
    server.close()
    await server.wait_closed()


@on_loop
async def test_a_protocol_of_datagrams() -> None:
    loop = asyncio.get_running_loop()
    variable.set("the endpoint's")
    transport, protocol = await loop.create_datagram_endpoint(
        SeeingDatagrams, ("127.0.0.1", 0)
    )
    variable.set("something else")
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await until(lambda: "data" in protocol.seen)
    assert protocol.seen == dict.fromkeys(("made", "data"), "the endpoint's")
    transport.close()
    await protocol.lost


@on_loop
async def test_protocols_of_pipes() -> None:
    loop = asyncio.get_running_loop()
    reading, writing = os.pipe()
    variable.set("the pipe's")
    transport, protocol = await loop.connect_read_pipe(
        SeeingRecorder, os.fdopen(reading, "rb", 0)
    )
    variable.set("something else")
    os.write(writing, b"x")
    await until(lambda: protocol.data)
    os.close(writing)
    await protocol.lost
    keys = ("made", "data", "eof", "lost")
    assert protocol.seen == dict.fromkeys(keys, "the pipe's")
    assert transport.is_closing()


def given(loop: Any, kind: str, callback: Callable[[], None], sock: Any) -> None:
    """Ask for a callback in one of the ways there are."""
    if kind == "reader":
        loop.add_reader(sock, callback)
    elif kind == "writer":
        loop.add_writer(sock, callback)
    elif kind == "signal":
        loop.add_signal_handler(signal.SIGUSR1, callback)
    elif kind in ("call_later", "call_at"):
        getattr(loop, kind)(0, callback)
    elif kind == "future":
        future = loop.create_future()
        future.add_done_callback(lambda _: callback())
        loop.call_soon(future.set_result, None)
    else:
        getattr(loop, kind)(callback)


KINDS = ("call_soon", "call_soon_threadsafe", "call_later", "call_at", "future")


@pytest.mark.parametrize("kind", [*KINDS, "reader", "writer", "signal"])
@on_loop
async def test_callbacks(kind: str) -> None:
    loop = asyncio.get_running_loop()
    seen: list[str] = []

    def callback() -> None:
        seen.append(variable.get())
        variable.set("set by the callback")

    with make_pair() as (left, right):
        variable.set("of the one who asked")
        given(loop, kind, callback, left)
        variable.set("something else")
        if kind == "reader":
            right.send(b"x")
        elif kind == "signal":
            signal.raise_signal(signal.SIGUSR1)
        await until(lambda: seen)
        loop.remove_reader(left)
        loop.remove_writer(left)
        if kind == "signal":
            loop.remove_signal_handler(signal.SIGUSR1)
    assert seen[0] == "of the one who asked"
    assert variable.get() == "something else"


@on_loop
async def test_a_thread_brings_its_own() -> None:
    loop = asyncio.get_running_loop()
    variable.set("the loop's")
    seen: list[str] = []

    def call() -> None:
        variable.set("the thread's")
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()))
        variable.set("something else")

    thread = threading.Thread(target=call)
    thread.start()
    await until(lambda: seen)
    thread.join()
    assert seen == ["the thread's"]
    assert await asyncio.to_thread(variable.get) == "the loop's"


@on_loop
async def test_tasks_keep_theirs_while_they_wait() -> None:
    """Whatever they wait for: sockets, timers, each other."""
    loop = asyncio.get_running_loop()

    async def worker(number: int) -> None:
        variable.set(f"worker {number}")
        with make_pair() as (left, right):
            for _ in range(5):
                receiving = asyncio.create_task(loop.sock_recv(left, 10))
                await asyncio.sleep(0.0001)
                await loop.sock_sendall(right, b"x")
                assert await receiving == b"x"
                assert variable.get() == f"worker {number}"
            fut = loop.create_future()
            loop.call_later(0, fut.set_result, None)
            await fut
            assert variable.get() == f"worker {number}"

    variable.set("main")
    await asyncio.gather(*(worker(number) for number in range(10)))
    assert variable.get() == "main"


@on_loop
async def test_handlers_of_streams() -> None:
    seen: list[str] = []

    async def handle(reader: Any, writer: Any) -> None:
        seen.append(variable.get())
        variable.set("the handler's")
        await reader.read()
        seen.append(variable.get())
        writer.close()
        await writer.wait_closed()

    variable.set("the server's")
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    variable.set("something else")
    with socket.create_connection(server.sockets[0].getsockname()):
        await until(lambda: seen)
    await until(lambda: len(seen) == 2)
    assert seen == ["the server's", "the handler's"]
    server.close()
    await server.wait_closed()


@on_loop
async def test_nothing_leaks_into_a_later_callback() -> None:
    loop = asyncio.get_running_loop()
    contexts = caught()
    fresh = contextvars.Context()
    seen: list[str] = []

    def failing() -> None:
        variable.set("left behind")
        raise ZeroDivisionError

    fresh.run(loop.call_soon, failing)
    fresh.run(loop.call_soon, lambda: seen.append(variable.get("none")))
    await turns()
    assert seen == ["none"]
    assert len(contexts) == 1
