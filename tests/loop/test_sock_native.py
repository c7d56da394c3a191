"""The socket calls of the loop: values, errors and their texts, next to asyncio's.

What is compared runs on asyncio's loop as well; what only ours promises runs on its
backends. test_sock_waiting.py has the calls that wait.
"""

from __future__ import annotations

import array
import asyncio
import collections.abc
import errno
import gc
import inspect
import os
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from loop.sockets import Pair, bound, loop_now

import syslet_loop

Call = Callable[[Any, socket.socket], Awaitable[Any]]


# Values.


def test_send_and_receive(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        assert await loop.sock_sendall(a, b"hello world") is None
        assert await loop.sock_recv(b, 5) == b"hello"
        buffer = bytearray(4)
        assert await loop.sock_recv_into(b, buffer) == 4
        assert buffer == b" wor"
        assert await loop.sock_recvfrom(b, 100) == (b"ld", None)
        assert await loop.sock_recv(b, 0) == b""
        assert await loop.sock_recv_into(b, bytearray()) == 0
        a.close()
        assert await loop.sock_recv(b, 100) == b""
        assert await loop.sock_recv_into(b, buffer) == 0

    runner.run(main())


@pytest.mark.parametrize(
    "data",
    [b"", b"bytes", bytearray(b"array"), memoryview(b"view"), array.array("B", b"ab")],
    ids=lambda data: type(data).__name__,
)
def test_data_of_every_kind(runner: asyncio.Runner, pair: Pair, data: Any) -> None:
    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        assert await loop.sock_sendall(a, data) is None
        await loop.sock_sendall(a, b"!")
        assert await loop.sock_recv(b, 100) == bytes(data) + b"!"

    runner.run(main())


def test_keywords(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        await loop.sock_sendall(sock=a, data=b"abcdef")
        assert await loop.sock_recv(b, n=2) == b"ab"
        buffer = bytearray(3)
        assert await loop.sock_recvfrom_into(b, buffer, nbytes=2) == (2, None)
        assert await loop.sock_recvfrom_into(b, buf=buffer) == (2, None)
        assert buffer == b"ef\0"

    runner.run(main())


@pytest.mark.parametrize(
    "family, address",
    [
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_INET6, ("::1", 0)),
        (socket.AF_UNIX, "path"),
        (socket.AF_UNIX, b"\0syslet_loop-test"),
    ],
    ids=["ipv4", "ipv6", "path", "abstract"],
)
def test_datagrams(
    runner: asyncio.Runner, family: int, address: Any, tmp_path: Any
) -> None:
    if address == "path":
        address = str(tmp_path / "päth")

    async def main() -> None:
        loop = loop_now()
        with bound(family, address) as receiver, bound(family) as sender:
            to, buffer = receiver.getsockname(), bytearray(10)
            assert await loop.sock_sendto(sender, b"one", to) == 3
            assert await loop.sock_sendto(sender, bytearray(b"two"), to) == 3
            assert await loop.sock_sendto(sender, b"", to) == 0
            source = sender.getsockname() or None
            assert await loop.sock_recvfrom(receiver, 100) == (b"one", source)
            assert await loop.sock_recvfrom_into(receiver, buffer, 2) == (2, source)
            assert buffer[:3] == b"tw\0"
            assert await loop.sock_recvfrom(receiver, 0) == (b"", source)

    runner.run(main())


NAMES: list[Any] = [b"\0", b"\0abstract \xff\0x", "path", "\udcff\xe4", "n" * 107]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_of_unix_sockets(
    backend: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, name: Any
) -> None:
    """As the socket module shows and takes them."""
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        loop = loop_now()
        with bound(socket.AF_UNIX, name) as one:
            own = one.getsockname()
            for to in (own, os.fsencode(own)):
                await loop.sock_sendto(one, b"a", to)
                await loop.sock_sendto(one, b"b", to)
                wanted = one.recvfrom(9)[1]
                assert await loop.sock_recvfrom(one, 9) == (b"b", wanted)
                assert type(wanted) is type(own)

    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        runner.run(main())


def test_host_names_are_the_sockets_business(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = loop_now()
        with bound(socket.AF_INET, ("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
            assert await loop.sock_sendto(one, b"abc", ("localhost", port)) == 3
            assert await loop.sock_recv(one, 10) == b"abc"
            assert await loop.sock_sendto(one, b"abc", (b"127.0.0.1", port)) == 3

    runner.run(main())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_accept(runner: asyncio.Runner, family: int, tmp_path: Any) -> None:
    async def main() -> None:
        loop, name = loop_now(), str(tmp_path / "listener")
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        address = name if family == socket.AF_UNIX else (host, 0)
        with bound(family, address, socket.SOCK_STREAM) as listener:
            listener.listen()
            with socket.socket(family) as client:
                client.connect(listener.getsockname())
                made, peer = await loop.sock_accept(listener)
                with made:
                    assert type(made) is socket.socket
                    assert peer == client.getsockname() == made.getpeername()
                    assert made.gettimeout() == 0.0
                    assert not made.get_inheritable()
                    assert not os.get_blocking(made.fileno())
                    kinds = (made.family, made.type, made.proto)
                    assert kinds == (family, listener.type, listener.proto)
                    client.send(b"hi")
                    assert await loop.sock_recv(made, 10) == b"hi"

    runner.run(main())


# Errors, as asyncio and the socket module word them.


async def failure(make: Callable[[], Awaitable[Any]]) -> tuple[type, str]:
    """What a call raises."""
    try:
        result = await make()
    except Exception as error:
        return type(error), str(error)
    return type(None), f"no exception, but {result!r}"


MISTAKES: dict[str, Call] = {
    "negative": lambda loop, sock: loop.sock_recv(sock, -1),
    "no number": lambda loop, sock: loop.sock_recv(sock, "5"),
    "a float": lambda loop, sock: loop.sock_recv(sock, 5.0),
    "too large": lambda loop, sock: loop.sock_recv(sock, 1 << 70),
    "negative from": lambda loop, sock: loop.sock_recvfrom(sock, -1),
    "read-only": lambda loop, sock: loop.sock_recv_into(sock, b"abc"),
    "no memory": lambda loop, sock: loop.sock_recv_into(sock, 7),
    "read-only from": lambda loop, sock: loop.sock_recvfrom_into(sock, b"abc"),
    "no memory from": lambda loop, sock: loop.sock_recvfrom_into(sock, 7),
    "too many": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(2), 3),
    "negative into": lambda loop, sock: loop.sock_recvfrom_into(sock, bytearray(2), -3),
    "text": lambda loop, sock: loop.sock_sendall(sock, "text"),
    "strided": lambda loop, sock: loop.sock_sendall(sock, memoryview(b"abcd")[::2]),
    "no address": lambda loop, sock: loop.sock_sendto(sock, b"a", 7),
    "connected": lambda loop, sock: loop.sock_sendto(sock, b"a", "/nothing"),
    "no listener": lambda loop, sock: loop.sock_accept(sock),
    "no socket": lambda loop, sock: loop.sock_recv(7, 7),
    "nothing": lambda loop, sock: loop.sock_sendall(None, b"a"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_worded_as_asyncio_does(
    backend: str, pair: Pair, name: str
) -> None:
    make, found = MISTAKES[name], []
    for factory in (asyncio.SelectorEventLoop, syslet_loop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            loop = runner.get_loop()
            found.append(runner.run(failure(lambda at=loop: make(at, pair[0]))))
    assert found[0] == found[1]
    assert found[0][0] is not type(None)


def test_ports_and_families_that_do_not_fit(backend: str) -> None:
    wrong: list[Any] = [("127.0.0.1", 70000), ("127.0.0.1",), ("::1", 1), "path"]
    wrong += [("127.0.0.1", "1"), ["127.0.0.1", 1], ("127.0.0.1", -1), ("1\0", 1)]
    with bound(socket.AF_INET) as sock:
        for address in wrong:
            found = []
            for factory in (asyncio.SelectorEventLoop, syslet_loop.new_event_loop):
                with asyncio.Runner(loop_factory=factory) as runner:
                    send = runner.get_loop().sock_sendto
                    found.append(
                        runner.run(failure(lambda s=send, a=address: s(sock, b"", a)))
                    )
            assert found[0] == found[1], address


def test_arguments_are_counted_when_it_is_called(backend: str, pair: Pair) -> None:
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as runner:
        loop: Any = runner.get_loop()
        for call in (
            lambda: loop.sock_recv(),
            lambda: loop.sock_recv(pair[0]),
            lambda: loop.sock_recv(pair[0], 1, 2),
            lambda: loop.sock_recv(pair[0], 1, n=2),
            lambda: loop.sock_recv(pair[0], size=2),
            lambda: loop.sock_accept(),
            lambda: loop.sock_sendto(pair[0], b""),
        ):
            with pytest.raises(TypeError, match=r"EventLoop\.sock_"):
                call()


def test_closed_sockets(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop, sock = loop_now(), socket.socket()
        sock.close()
        for make in (
            lambda: loop.sock_recv(sock, 1),
            lambda: loop.sock_recv_into(sock, bytearray(1)),
            lambda: loop.sock_recvfrom(sock, 1),
            lambda: loop.sock_recvfrom_into(sock, bytearray(1)),
            lambda: loop.sock_sendall(sock, b"a"),
            lambda: loop.sock_sendto(sock, b"a", ("127.0.0.1", 1)),
            lambda: loop.sock_accept(sock),
        ):
            with pytest.raises(OSError) as caught:
                await make()
            assert caught.value.errno == errno.EBADF
            assert str(caught.value) == "[Errno 9] Bad file descriptor"

    runner.run(main())


def test_the_peers_errors(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop, (a, b) = loop_now(), pair
        b.close()
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(a, b"x")
        with bound(socket.AF_INET) as sock, pytest.raises(PermissionError):
            await loop.sock_sendto(sock, b"x", ("255.255.255.255", 9))

    runner.run(main())


def test_tls_sockets_are_refused(runner: asyncio.Runner, pair: Pair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sock = context.wrap_socket(pair[0], do_handshake_on_connect=False)

    async def main() -> None:
        with pytest.raises(TypeError, match=r"^Socket cannot be of type SSLSocket$"):
            await loop_now().sock_recv(sock, 1)

    with sock:
        runner.run(main())


def test_blocking_sockets_are_refused_in_debug_mode(
    runner: asyncio.Runner, pair: Pair
) -> None:
    runner.get_loop().set_debug(True)
    pair[0].setblocking(True)

    async def main() -> None:
        with pytest.raises(ValueError, match=r"^the socket must be non-blocking$"):
            await loop_now().sock_recv(pair[0], 1)

    runner.run(main())


# Sockets that are something else.


class Counting(socket.socket):
    """A socket whose methods are its own."""

    calls = 0

    def recv(self, *args: Any) -> bytes:
        self.calls += 1
        return super().recv(*args)

    def send(self, *args: Any) -> int:
        self.calls += 1
        return super().send(*args)


def test_methods_of_a_subclass_are_called(runner: asyncio.Runner, pair: Pair) -> None:
    async def main() -> None:
        loop = loop_now()
        with Counting(fileno=os.dup(pair[0].fileno())) as sock:
            sock.setblocking(False)
            await loop.sock_sendall(sock, b"abc")
            pair[1].send(b"def")
            assert await loop.sock_recv(sock, 10) == b"def"
            assert sock.calls == 2

    runner.run(main())
    assert pair[1].recv(10) == b"abc"


# The object.


def test_it_is_a_coroutine_to_asyncio(backend: str, pair: Pair) -> None:
    loop: Any = syslet_loop.new_event_loop()
    call = loop.sock_recv(pair[0], 5)
    assert isinstance(call, collections.abc.Coroutine)
    assert asyncio.iscoroutine(call)
    assert inspect.isawaitable(call)
    assert not asyncio.isfuture(call)
    assert (call.__name__, call.__qualname__) == ("sock_recv", "EventLoop.sock_recv")
    assert repr(call) == "<coroutine EventLoop.sock_recv, not awaited>"
    call.close()
    assert repr(call) == "<coroutine EventLoop.sock_recv, done>"
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        call.send(None)
    pair[1].send(b"12345")
    assert loop.run_until_complete(loop.sock_recv(pair[0], 9)) == b"12345"
    loop.close()


def test_nothing_happens_before_it_is_awaited(backend: str, pair: Pair) -> None:
    loop: Any = syslet_loop.new_event_loop()
    text = "coroutine 'EventLoop.sock_sendall' was never awaited"
    with pytest.warns(RuntimeWarning, match=text):
        loop.sock_sendall(pair[0], b"x")
    with pytest.raises(BlockingIOError):
        pair[1].recv(1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ring: list[Any] = [loop.sock_recv(pair[0], 5)]
        ring.append(ring)
        del ring
        gc.collect()
    assert [str(each.message)[-17:] for each in caught] == ["was never awaited"]
    loop.close()
