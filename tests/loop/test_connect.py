"""create_connection and create_unix_connection: addresses, races, and failures."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers import Recorder, on_loop, turns, until

all_errors = pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")


@contextlib.contextmanager
def listening(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listener:
        listener.settimeout(5)
        yield listener


@contextlib.contextmanager
def black_hole() -> Iterator[Any]:
    """The address of a listener whose queue is full: to connect takes for ever."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.listen(0)
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.05)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()


def refusing(number: int = 1) -> Any:
    """An address where nobody listens; another number is another address."""
    with listening(f"127.0.0.{number}") as listener:
        return listener.getsockname()


def resolve(monkeypatch: pytest.MonkeyPatch, *addresses: Any) -> list[Any]:
    """Let every name have these addresses; what was asked for is in the list."""
    asked: list[Any] = []

    async def getaddrinfo(host: Any, port: Any, **_: Any) -> list[Any]:
        asked.append((host, port))
        return [
            (
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                address,
            )
            for address in addresses
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


@contextlib.asynccontextmanager
async def connected(*args: Any, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Recorder, *args, **options)
    try:
        yield transport, protocol
    finally:
        transport.abort()
        await protocol.lost


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_loop
async def test_a_connection(host: str) -> None:
    with listening(host) as listener:
        port = listener.getsockname()[1]
        async with connected(host, port) as (transport, protocol):
            conn, address = listener.accept()
            with conn:
                assert transport.get_extra_info("sockname") == address
                assert transport.get_extra_info("peername") == conn.getsockname()
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert protocol.told == ["made"]
                conn.send(b"x")
                await until(lambda: protocol.data)


@on_loop
async def test_a_local_address() -> None:
    with listening() as listener:
        host, port = listener.getsockname()
        async with connected(host, port, local_addr=("127.0.0.1", 0)) as (one, _):
            assert one.get_extra_info("sockname")[0] == "127.0.0.1"
        with pytest.raises(OSError, match="error while attempting to bind on address"):
            await asyncio.get_running_loop().create_connection(
                Recorder, host, port, local_addr=(host, port)
            )


@on_loop
async def test_numbers_need_no_resolving(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        asked = resolve(monkeypatch, listener.getsockname())
        async with connected(*listener.getsockname()):
            assert asked == []
        async with connected("a.name", 5):
            assert asked == [("a.name", 5)]


@on_loop
async def test_the_next_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as listener:
        resolve(monkeypatch, refusing(), refusing(), listener.getsockname())
        async with connected("a.name", 5) as (transport, _):
            assert transport.get_extra_info("peername") == listener.getsockname()


@on_loop
async def test_a_refusal() -> None:
    made: list[int] = []
    loop = asyncio.get_running_loop()
    address = refusing()
    with pytest.raises(ConnectionRefusedError) as refusal:
        await loop.create_connection(lambda: made.append(1), *address)
    assert str(refusal.value) == f"[Errno 111] Connect call failed {address}"
    assert made == [], "no protocol is made for it"


@on_loop
async def test_several_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = refusing(1), refusing(2)
    resolve(monkeypatch, one, two)
    with pytest.raises(OSError, match="Multiple exceptions: ") as refusal:
        await asyncio.get_running_loop().create_connection(Recorder, "a.name", 5)
    for address in (one, two):
        assert f"Connect call failed {address}" in str(refusal.value)


@all_errors
@on_loop
async def test_all_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch, refusing(), refusing())
    with pytest.raises(ExceptionGroup, match="create_connection failed") as refusal:
        await asyncio.get_running_loop().create_connection(
            Recorder, "a.name", 5, all_errors=True
        )
    kinds = [type(each) for each in refusal.value.exceptions]
    assert kinds == [ConnectionRefusedError] * 2


@on_loop
async def test_interleaving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families take turns."""
    sixth = [("::1", refusing()[1], 0, 0) for _ in range(2)]
    fourth = [refusing(1), refusing(2)]
    resolve(monkeypatch, *sixth, *fourth)
    with pytest.raises(OSError) as refusal:
        await asyncio.get_running_loop().create_connection(
            Recorder, "a.name", 5, interleave=1
        )
    text = str(refusal.value)
    order = [sixth[0], fourth[0], sixth[1], fourth[1]]
    places = [text.index(str(address[:2])[:-1]) for address in order]
    assert places == sorted(places)


@on_loop
async def test_happy_eyeballs(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that does not answer is overtaken by the next."""
    with black_hole() as hole, listening() as listener:
        resolve(monkeypatch, hole, listener.getsockname())
        async with connected("a.name", 5, happy_eyeballs_delay=0.02) as (one, _):
            assert one.get_extra_info("peername") == listener.getsockname()
        resolve(monkeypatch, listener.getsockname(), hole)
        async with connected("a.name", 5, happy_eyeballs_delay=5) as (one, _):
            assert one.get_extra_info("peername") == listener.getsockname()
        resolve(monkeypatch, refusing(), listener.getsockname())
        async with connected("a.name", 5, happy_eyeballs_delay=10) as (one, _):
            assert one.get_extra_info("peername") == listener.getsockname()


@pytest.mark.parametrize("delay", [None, 0.01])
@on_loop
async def test_a_timeout(monkeypatch: pytest.MonkeyPatch, delay: float | None) -> None:
    with black_hole() as hole:
        resolve(monkeypatch, hole, hole)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.get_running_loop().create_connection(
                    Recorder, "a.name", 5, happy_eyeballs_delay=delay
                )


@on_loop
async def test_cancelling_at_every_turn() -> None:
    """Whenever it comes, no descriptor is left; the connection is made or not."""
    loop = asyncio.get_running_loop()
    with listening() as listener:
        for number in range(12):
            made: list[Recorder] = []

            def factory(made: list[Recorder] = made) -> Recorder:
                made.append(Recorder())
                return made[0]

            task = asyncio.create_task(
                loop.create_connection(factory, *listener.getsockname())
            )
            await turns(number)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                transport, _ = await task
                transport.close()
            if made:
                await made[0].lost
                assert made[0].told in (["made", "lost"], ["lost"])


@on_loop
async def test_a_socket_of_ones_own() -> None:
    with listening() as listener:
        sock = socket.create_connection(listener.getsockname())
        async with connected(sock=sock) as (transport, _):
            assert sock.gettimeout() == 0
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
        assert sock.fileno() == -1


@on_loop
async def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    create = asyncio.get_running_loop().create_connection
    with socket.socket() as sock, pytest.raises(ValueError, match="at the same time"):
        await create(Recorder, "127.0.0.1", 5, sock=sock)
    with pytest.raises(ValueError, match="no sock specified"):
        await create(Recorder)
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="A Stream Socket was expected"),
    ):
        await create(Recorder, sock=sock)
    with pytest.raises(ValueError, match="only meaningful with ssl"):
        await create(Recorder, "127.0.0.1", 5, server_hostname="localhost")
    with pytest.raises(ValueError, match="only meaningful with ssl"):
        await create(Recorder, "127.0.0.1", 5, ssl_handshake_timeout=5)
    with socket.socket() as sock, pytest.raises(ValueError, match="server_hostname"):
        await create(Recorder, sock=sock, ssl=True)
    resolve(monkeypatch)
    with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
        await create(Recorder, "a.name", 5)


@on_loop
async def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        await asyncio.get_running_loop().create_connection(Recorder, "a.name", 5)


@on_loop
async def test_many_at_once() -> None:
    loop = asyncio.get_running_loop()
    with listening() as listener:
        listener.listen(200)
        pairs = await asyncio.gather(
            *(
                loop.create_connection(Recorder, *listener.getsockname())
                for _ in range(100)
            )
        )
        ports = {each.get_extra_info("sockname")[1] for each, _ in pairs}
        assert len(ports) == 100
        for transport, protocol in pairs:
            transport.abort()
            await protocol.lost


@on_loop
async def test_unix_connections(tmp_path: Path) -> None:
    create = asyncio.get_running_loop().create_unix_connection
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        with pytest.raises(ConnectionRefusedError):
            await create(Recorder, str(path))
        listener.listen()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(path))
        for how in ({"path": str(path)}, {"sock": sock}):
            transport, protocol = await create(Recorder, **how)
            assert transport.get_extra_info("peername") == str(path)
            transport.close()
            await protocol.lost
    with pytest.raises(FileNotFoundError):
        await create(Recorder, str(tmp_path / "none"))
    with pytest.raises(ValueError, match="no path and sock were specified"):
        await create(Recorder)
    with socket.socket() as wrong, pytest.raises(ValueError, match="UNIX Domain"):
        await create(Recorder, sock=wrong)


@on_loop
async def test_many_unix_connections_at_once(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(50)
        pairs = await asyncio.gather(
            *(loop.create_unix_connection(Recorder, path) for _ in range(40))
        )
        for transport, protocol in pairs:
            transport.abort()
            await protocol.lost
