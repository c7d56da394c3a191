"""Loops, handles and transports in cycles are collected; what is left open warns."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import Recorder, on_loop, turns, wired

import syslet_loop
from syslet_loop import _native, calls


class Held:
    """Something to see the end of."""

    def method(self, *_: Any) -> None:
        pass


def collected(reference: weakref.ref[Any]) -> bool:
    """Whether the garbage collector ends it."""
    for _ in range(3):
        if reference() is not None:
            gc.collect()
    return reference() is None


def remake(runner: asyncio.Runner) -> Any:
    """Another loop of the same kind; it is the caller's."""
    return runner._loop_factory()  # type: ignore[attr-defined]


def test_a_closed_loop_is_collected(runner: asyncio.Runner) -> None:
    loop = remake(runner)
    loop.run_until_complete(turns())
    loop.close()
    reference = weakref.ref(loop)
    del loop
    assert collected(reference)


def tied_in_knots(loop: Any, sock: socket.socket) -> None:
    """Let everything that a loop can keep refer to the loop."""
    loop.itself = loop
    loop.set_exception_handler(lambda *_: loop.close())
    loop.set_task_factory(lambda _, coro, **kw: asyncio.Task(coro, loop=loop, **kw))
    loop.add_reader(sock, loop.remove_reader, sock)
    loop.add_writer(sock, lambda: loop.remove_writer(sock))
    loop.call_later(1000, loop.stop)
    loop.call_soon(loop.get_debug)


def test_a_closed_loop_in_cycles_is_collected(runner: asyncio.Runner) -> None:
    loop = remake(runner)
    with make_pair() as (left, _):
        tied_in_knots(loop, left)
        loop.run_until_complete(turns(1))
        tied_in_knots(loop, left)
        loop.call_soon_threadsafe(loop.stop)
        loop.close()
    reference = weakref.ref(loop)
    del loop
    assert collected(reference)


def test_a_loop_with_a_flight_in_the_air_stays(backend: str) -> None:
    """Nobody may free what the kernel writes to; closed, it is collected."""
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        loop = syslet_loop.new_event_loop()
        task = loop.create_task(one_byte(left.fileno()))
        loop.run_until_complete(turns())
        reference = weakref.ref(loop)
        del loop, task
        assert not collected(reference)
        found: Any = reference()
        right.send(b"x")
        while found.stats()["flying"]:
            found.run_until_complete(turns())
        found.close()
        del found
        assert collected(reference)


async def one_byte(fd: int) -> bytes:
    data: bytes = await calls.recv(fd, 1)
    return data


def test_an_unclosed_loop_warns(runner: asyncio.Runner) -> None:
    loop = remake(runner)
    loop.run_until_complete(turns())
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        reference = weakref.ref(loop)
        del loop
        assert collected(reference)
    texts = [str(each.message) for each in seen]
    assert sum(text.startswith("unclosed event loop <") for text in texts) == 1
    assert {each.category for each in seen} == {ResourceWarning}


@pytest.mark.parametrize("way", ["call_soon", "call_later", "call_soon_threadsafe"])
@on_loop
async def test_a_handle_in_a_cycle_is_collected(way: str) -> None:
    loop = asyncio.get_running_loop()
    held = Held()
    if way == "call_later":
        held.handle = loop.call_later(0, held.method, held)
    else:
        held.handle = getattr(loop, way)(held.method, held)
    reference = weakref.ref(held)
    await turns()
    del held
    assert collected(reference)


def test_what_waits_in_a_closed_loop_is_collected(runner: asyncio.Runner) -> None:
    loop = remake(runner)
    held = Held()
    held.loop = loop
    held.handles = [
        loop.call_soon(held.method),
        loop.call_later(1000, held.method),
        loop.call_soon_threadsafe(held.method),
    ]
    references = [weakref.ref(held), weakref.ref(held.handles[1]), weakref.ref(loop)]
    loop.close()
    del held, loop
    assert all(collected(reference) for reference in references)


@on_loop
async def test_removed_readers_let_go() -> None:
    loop = asyncio.get_running_loop()
    held = Held()
    reference = weakref.ref(held)
    with make_pair() as (left, right):
        loop.add_reader(left, held.method, right)
        loop.add_writer(left, held.method, right)
        await turns()
        loop.remove_reader(left)
        loop.remove_writer(left)
        await turns()
        del held
        assert collected(reference)


@on_loop
async def test_replaced_readers_let_go() -> None:
    loop = asyncio.get_running_loop()
    held = Held()
    reference = weakref.ref(held)
    with make_pair() as (left, _):
        loop.add_reader(left, held.method)
        loop.add_reader(left, print)
        del held
        assert collected(reference)
        loop.remove_reader(left)


@on_loop
async def test_a_closed_transport_in_a_cycle_is_collected() -> None:
    references = []
    async with wired() as (transport, protocol, _):
        transport.back = protocol
        protocol.held = Held()
        protocol.held.transport = transport
        references = [weakref.ref(transport), weakref.ref(protocol)]
    del transport, protocol, _
    await turns()
    assert all(collected(reference) for reference in references)


@pytest.mark.parametrize("way", ["data", "lost"])
@on_loop
async def test_a_failed_transport_is_collected(way: str) -> None:
    """Its exception, which knows its frames, is nobody's any more."""
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            if way == "data":
                raise ZeroDivisionError
            self.transport.close()

        def connection_lost(self, error: Exception | None) -> None:
            self.lost.set_result(None)
            if way == "lost":
                raise ZeroDivisionError

    async with wired(Failing) as (transport, protocol, peer):
        peer.send(b"x")
        await protocol.lost
        await turns()
        references = [weakref.ref(transport), weakref.ref(protocol)]
    del transport, protocol, peer
    await turns()
    assert all(collected(reference) for reference in references)


@on_loop
async def test_written_data_is_let_go() -> None:
    class Data(bytearray):
        pass

    async with wired() as (transport, _, peer):
        data = Data(1000)
        reference = weakref.ref(data)
        transport.write(data)
        del data
        await turns()
        assert collected(reference)
        assert len(peer.recv(2000)) == 1000


async def knotted_server() -> list[weakref.ref[Any]]:
    """A server that was closed; its factory refers to it."""
    held = Held()

    def factory() -> Recorder:
        held.method()
        return Recorder()

    loop = asyncio.get_running_loop()
    held.server = await loop.create_server(factory, "127.0.0.1", 0)
    held.server.close()
    await held.server.wait_closed()
    return [weakref.ref(held), weakref.ref(held.server)]


@on_loop
async def test_a_closed_server_is_collected() -> None:
    references = await knotted_server()
    await turns()
    assert all(collected(reference) for reference in references)


@on_loop
async def test_cancelled_waits_let_go() -> None:
    loop = asyncio.get_running_loop()

    class Socket(socket.socket):
        pass

    with make_pair() as (left, right):
        sock = Socket(fileno=left.detach())
        sock.setblocking(False)
        for call in (loop.sock_recv(sock, 1), loop.sock_recv_into(sock, bytearray(1))):
            task = asyncio.create_task(call)
            await turns()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        del task, call
        await turns()
        reference = weakref.ref(sock)
        sock.close()
        del sock
        assert collected(reference)
        assert right.recv(1) == b""


@contextlib.contextmanager
def no_growth(allowed: int) -> Iterator[None]:
    """Within, the number of objects that the collector knows hardly grows."""
    gc.collect()
    before = len(gc.get_objects())
    yield
    gc.collect()
    grown = len(gc.get_objects()) - before
    assert grown < allowed, f"{grown} objects more"


@on_loop
async def test_nothing_grows() -> None:
    """A few hundred of everything leave as many objects as there were."""
    loop = asyncio.get_running_loop()

    async def everything() -> None:
        async with wired() as (transport, _, peer):
            peer.send(b"x")
            transport.write(b"y")
            await loop.sock_recv(peer, 1)
            transport.pause_reading()
            transport.resume_reading()
        with make_pair() as (left, right):
            loop.add_reader(left, print)
            loop.add_writer(right, print)
            loop.remove_writer(right)
            loop.remove_reader(left)
            task = asyncio.create_task(loop.sock_recv(left, 1))
            await turns(1)
            right.send(b"x")
            await task
        loop.call_later(1000, print).cancel()
        loop.call_soon(int)
        loop.call_soon_threadsafe(int)
        await asyncio.sleep(0)

    for _ in range(120):
        await everything()
    with no_growth(250):
        for _ in range(200):
            await everything()


def test_the_collector_closes_an_engine_that_is_asked() -> None:
    """Python 3.11 may collect inside of any allocation, and run any code."""
    engine = _native.Engine()
    ask = engine.misses

    def close(phase: str, _: object) -> None:
        if phase == "start":
            engine.close()

    gc.collect()
    gc.disable()
    kept: list[Any] = [[] for _ in range(gc.get_threshold()[0] + 1)]
    kept.append([{} for _ in range(200)])  # none is left to be used again
    gc.callbacks.append(close)
    try:
        with contextlib.suppress(RuntimeError):  # "the engine is closed"
            gc.enable()
            assert ask() == {}
        if sys.version_info < (3, 12):
            assert engine.closed
    finally:
        gc.callbacks.remove(close)
        gc.enable()
        engine.close()
