"""Writes that wait a moment, and ends: of the process, the connection, the callback.

asyncio is the judge, but for when what was written leaves; see test_gathered_writes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
from gathering import habitual, keeps_back_in
from peers import Recorder, fill, on_loop, reset, tcp_pair, wired


def test_system_exit_after_writing(runner: asyncio.Runner) -> None:
    async def main() -> tuple[Any, socket.socket, Any]:
        manager = habitual()
        transport, _, peer = await manager.__aenter__()
        return transport, peer, manager

    async def end(manager: Any) -> None:
        await manager.__aexit__(None, None, None)

    transport, peer, manager = runner.run(main())
    loop = runner.get_loop()

    def leave() -> None:
        transport.write(b"1")
        transport.write(b"2")
        raise SystemExit(5)

    loop.call_soon(leave)
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert peer.recv(100) == b"12"
    runner.run(end(manager))


def test_a_child_does_not_send_them_again(runner: asyncio.Runner) -> None:
    if runner.get_loop().__class__.__module__.startswith("asyncio"):
        pytest.skip("a forked child of asyncio's loop goes on running it")
    parent = os.getpid()

    async def main() -> bytes:
        async with habitual() as (transport, _, peer):
            transport.write(b"1")
            transport.write(b"2")
            child = os.fork()
            await asyncio.sleep(0)  # where the child's loop ends
            assert os.waitpid(child, 0)[0] == child
            return peer.recv(100)

    try:
        received = runner.run(main())
    finally:
        if os.getpid() != parent:
            os._exit(0)
    assert received == b"12"


def test_what_a_child_writes_is_its_own(runner: asyncio.Runner) -> None:
    """It is sent, and what its parent had written is not."""
    parent = os.getpid()

    async def main() -> bytes:
        async with habitual() as (transport, _, peer):
            transport.write(b"parent")
            child = os.fork()
            if child == 0:
                transport.write(b"child")
                os._exit(0)
            assert os.waitpid(child, 0)[0] == child
            transport.write(b"s")
            await asyncio.sleep(0)
            return peer.recv(100)

    try:
        received = runner.run(main())
    finally:
        if os.getpid() != parent:
            os._exit(1)
    expected = b"childparents" if keeps_back_in(runner) else b"parentchilds"
    assert received == expected


@on_loop
async def test_a_closing_transport_whose_protocol_writes_when_resumed() -> None:
    """It ends when the last byte has left."""

    class Late(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            if self.transport.is_closing():
                self.transport.write(b"late")

    async with habitual(Late) as (transport, recorder, peer):
        fill(transport)
        transport.close()
        while not recorder.lost.done():
            try:
                peer.recv(1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0)
        assert recorder.told[-1] == "lost"


@on_loop
async def test_a_reset_is_told_as_one() -> None:
    """Also when something waits to be sent as it is found out."""
    left, right = tcp_pair()
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(wired()) for _ in range(5)]
        transport, recorder, _ = await stack.enter_async_context(
            wired(sockets=(left, right))
        )
        for _ in range(3):
            await asyncio.sleep(0)
            for each, _, _ in wires:
                each.write(b"x")
        reset(right)
        transport.write(b"unheard")
        await recorder.lost
        assert isinstance(recorder.error, ConnectionError)


def test_a_slow_callback_whose_report_fails(runner: asyncio.Runner) -> None:
    """What it wrote has left all the same."""

    async def main() -> tuple[Any, Any, socket.socket]:
        manager = habitual()
        transport, _, peer = await manager.__aenter__()
        return manager, transport, peer

    async def end(manager: Any) -> None:
        await manager.__aexit__(None, None, None)

    manager, transport, peer = runner.run(main())
    loop = runner.get_loop()
    clock = loop.time

    def fails() -> float:
        raise SystemExit(3)

    def write() -> None:
        transport.write(b"1")
        transport.write(b"2")
        loop.time = fails

    loop.set_debug(True)
    loop.call_soon(write)
    with pytest.raises(SystemExit):
        loop.run_forever()
    loop.time = clock
    loop.set_debug(False)
    assert peer.recv(100) == b"12"
    runner.run(end(manager))
