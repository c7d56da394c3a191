"""Socket calls that have to wait: woken, cancelled, left behind, many at once."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import socket
import struct
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loop.sockets import Pair, bound, loop_now, make_pair, waiting

import syslet_loop

FULL = 8 << 20  # more than any socket's buffer takes


async def begun(call: Awaitable[Any]) -> asyncio.Task[Any]:
    """A task that has begun to wait for this call."""
    task = asyncio.ensure_future(call)
    await waiting(task)
    assert not task.done()
    return task  # type: ignore[return-value]


async def drain(sock: socket.socket, size: int) -> bytes:
    """Everything up to this size, received as it comes."""
    parts = []
    while size > 0:
        parts.append(await loop_now().sock_recv(sock, 1 << 16))
        size -= len(parts[-1])
        assert parts[-1]
    return b"".join(parts)


# Woken.

BUFFER = bytearray(8)
READS: dict[str, tuple[Callable[[Any, socket.socket], Any], Any]] = {
    "recv": (lambda loop, sock: loop.sock_recv(sock, 9), b"late"),
    "large recv": (lambda loop, sock: loop.sock_recv(sock, 1 << 20), b"late"),
    "recv_into": (lambda loop, sock: loop.sock_recv_into(sock, BUFFER), 4),
    "recvfrom": (lambda loop, sock: loop.sock_recvfrom(sock, 9), (b"late", None)),
    "recvfrom_into": (lambda loop, sock: loop.sock_recvfrom_into(sock, BUFFER), None),
}


@pytest.mark.parametrize("name", READS)
def test_data_that_comes_later(runner: asyncio.Runner, pair: Pair, name: str) -> None:
    make, wanted = READS[name]

    async def main() -> None:
        for _ in range(3):
            task = await begun(make(loop_now(), pair[0]))
            pair[1].send(b"late")
            assert await task == (wanted or (4, None))

    runner.run(main())


def test_the_loop_runs_a_call_by_itself(runner: asyncio.Runner, pair: Pair) -> None:
    loop: Any = runner.get_loop()
    loop.call_soon(pair[1].send, b"x")
    assert loop.run_until_complete(loop.sock_recv(pair[0], 9)) == b"x"


def test_a_connection_that_comes_later(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with bound(socket.AF_INET, None, socket.SOCK_STREAM) as listener:
            listener.listen()
            task = await begun(loop_now().sock_accept(listener))
            with socket.socket() as client:
                client.connect(listener.getsockname())
                made, peer = await task
                made.close()
                assert peer == client.getsockname()

    runner.run(main())


def test_large_sends_wait_for_room(runner: asyncio.Runner, pair: Pair) -> None:
    data = os.urandom(FULL)

    async def main() -> None:
        for each in (data, bytearray(data), memoryview(data)):
            task = await begun(loop_now().sock_sendall(pair[0], each))
            assert await drain(pair[1], FULL) == data
            assert await task is None

    runner.run(main())


def test_datagrams_wait_for_room(runner: asyncio.Runner, tmp_path: Any) -> None:
    async def main() -> None:
        loop, name = loop_now(), str(tmp_path / "receiver")
        with bound(socket.AF_UNIX, name) as receiver, bound(socket.AF_UNIX) as sender:
            sent = 0
            while True:  # Linux queues some ten datagrams
                task = asyncio.ensure_future(loop.sock_sendto(sender, b"abc", name))
                await waiting(task)
                if not task.done():
                    break
                sent += task.result()
            for _ in range(sent // 3):
                assert await loop.sock_recv(receiver, 9) == b"abc"
            assert await task == 3
            assert await loop.sock_recv(receiver, 9) == b"abc"

    runner.run(main())


def test_both_directions_of_one_socket(runner: asyncio.Runner, pair: Pair) -> None:
    data = os.urandom(FULL)

    async def main() -> None:
        loop = loop_now()
        ends = [(pair[0], pair[1]), (pair[1], pair[0])]
        sends = [loop.sock_sendall(one, data) for one, _ in ends]
        received = [drain(one, FULL) for one, _ in ends]
        results = await asyncio.gather(*sends, *received)
        assert results == [None, None, data, data]

    runner.run(main())


def test_many_at_once(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop, count = loop_now(), 100
        pairs = [socket.socketpair() for _ in range(count)]
        for sock in [sock for each in pairs for sock in each]:
            sock.setblocking(False)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop.sock_recv(one, 9)) for one, _ in pairs]
            await waiting(*tasks)
            for number, (_, other) in enumerate(pairs):
                group.create_task(loop.sock_sendall(other, b"%d" % number))
        assert [task.result() for task in tasks] == [b"%d" % n for n in range(count)]
        for sock in [sock for each in pairs for sock in each]:
            sock.close()

    runner.run(main())


def test_two_on_one_socket_both_end(ours: asyncio.Runner, pair: Pair) -> None:
    """asyncio loses the first one."""

    async def main() -> None:
        tasks = [await begun(loop_now().sock_recv(pair[0], 1)) for _ in range(2)]
        pair[1].send(b"a")
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        pair[1].send(b"b")
        assert sorted(await asyncio.gather(*tasks)) == [b"a", b"b"]

    ours.run(main())


def test_errors_while_it_waits(runner: asyncio.Runner) -> None:
    async def main() -> None:
        with bound(socket.AF_INET, None, socket.SOCK_STREAM) as listener:
            listener.listen()
            client = socket.create_connection(listener.getsockname())
            made, _ = await loop_now().sock_accept(listener)
            with made:
                task = await begun(loop_now().sock_recv(made, 9))
                linger = struct.pack("ii", 1, 0)  # the end is a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()
                with pytest.raises(ConnectionResetError):
                    await task

    runner.run(main())


# Cancelled, and other ends.


def test_a_cancelled_call_takes_nothing(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        task = await begun(loop.sock_recv(a, 9))
        task.cancel()
        b.send(b"for the next")  # seen in the tick of the cancellation
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await loop.sock_recv(a, 99) == b"for the next"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(a, 9), 0.01)
        b.send(b"again")
        assert await asyncio.wait_for(loop.sock_recv(a, 99), 60) == b"again"

    runner.run(main())


def test_a_number_that_is_used_again(runner: asyncio.Runner) -> None:
    async def main() -> None:
        for _ in range(20):
            with make_pair() as (a, b):
                number = a.fileno()
                task = await begun(loop_now().sock_recv(a, 9))
                task.cancel()
                await asyncio.wait([task])
            with make_pair() as (a, b):
                assert a.fileno() == number
                task = await begun(loop_now().sock_recv(a, 9))
                b.send(b"new")
                assert await task == b"new"

    runner.run(main())


def test_a_socket_that_is_closed_meanwhile(ours: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        task = await begun(loop_now().sock_recv(pair[0], 9))
        pair[0].close()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    ours.run(main())


def test_memory_is_lent_until_the_end(ours: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop, room, data = loop_now(), bytearray(4), bytearray(FULL)
        for buffer, call in (
            (room, loop.sock_recv_into(pair[0], room)),
            (data, loop.sock_sendall(pair[0], data)),
        ):
            task = await begun(call)
            with pytest.raises(BufferError):
                buffer.append(1)
            task.cancel()
            await asyncio.wait([task])
            buffer.append(1)

    ours.run(main())


def test_a_transports_descriptor_is_left_to_it(
    runner: asyncio.Runner, pair: Pair
) -> None:
    async def main() -> None:
        loop = loop_now()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=pair[0])
        number = transport.get_extra_info("socket").fileno()
        text = re.escape(f"File descriptor {number} is used by transport <")
        with pytest.raises(RuntimeError, match=text):
            await loop.sock_recv(pair[0], 9)
        await loop.sock_sendall(pair[0], b"but this need not wait")
        transport.abort()
        await asyncio.sleep(0)

    runner.run(main())


def test_a_closed_loop(backend: str, pair: Pair) -> None:
    for factory in (asyncio.SelectorEventLoop, syslet_loop.new_event_loop):
        loop: Any = factory()
        waits, ready = loop.sock_recv(pair[0], 9), loop.sock_recv(pair[0], 9)
        loop.close()
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            waits.send(None)
        pair[1].send(b"x")
        with pytest.raises(StopIteration) as caught:
            ready.send(None)
        assert caught.value.value == b"x"


# Left behind.


def test_a_loop_closed_under_it(backend: str, pair: Pair) -> None:
    loop: Any = syslet_loop.new_event_loop()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    task = loop.create_task(loop.sock_recv(pair[0], 9))
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    future = task._fut_waiter
    loop.close()
    assert not future.done()
    assert not task.done()
    watched = weakref.ref(task)
    del task, future
    gc.collect()
    assert watched() is None
    assert [each["message"] for each in contexts] == [
        "Task was destroyed but it is pending!"
    ]


def test_by_hand(ours: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop = loop_now()
        for end in ("throw", "close", "drop"):
            call = loop.sock_recv(pair[0], 9)
            future = call.send(None)
            assert asyncio.isfuture(future)
            assert repr(call).endswith(", waiting>")
            with pytest.raises(RuntimeError, match="being awaited already"):
                await call
            if end == "throw":
                with pytest.raises(ZeroDivisionError):
                    call.throw(ZeroDivisionError())
            elif end == "close":
                call.close()
            del call
            pair[1].send(b"x")
            if end == "drop":
                await asyncio.wait([future])  # the loop has kept it
            assert await loop.sock_recv(pair[0], 9) == b"x"
            assert future.done() == (end == "drop")

    ours.run(main())


def test_a_child_touches_nothing(ours: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        task = await begun(loop_now().sock_recv(pair[0], 9))
        child = os.fork()
        if child == 0:
            task.get_coro().close()  # type: ignore[union-attr]
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        pair[1].send(b"x")
        assert await task == b"x"

    ours.run(main())


def test_nothing_is_kept(ours: asyncio.Runner, pair: Pair) -> None:
    data, room = b"some data that nobody else has", bytearray(4)

    def counts() -> list[int]:
        things = (*pair, data, room, ours.get_loop())
        return [sys.getrefcount(thing) for thing in things]

    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        for _ in range(50):
            await loop.sock_sendall(a, data)
            await loop.sock_recv_into(b, room)
            await loop.sock_recv(b, 99)
            task = await begun(loop.sock_recv_into(b, room))
            await loop.sock_sendall(a, data)
            await task
            await loop.sock_recvfrom(b, 99)
            task = await begun(loop.sock_recvfrom_into(b, room))
            task.cancel()
            await asyncio.wait([task])
            loop.sock_sendall(b, data).close()
            with pytest.raises(TypeError):
                await loop.sock_sendall(b, 5)

    ours.run(main())
    before = counts()
    ours.run(main())
    assert counts() == before
