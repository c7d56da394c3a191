"""create_server and its Server: addresses, states, closing, and accepted sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers import Recorder, on_loop, turns, until

WAITS_FOR_CLIENTS = sys.version_info >= (3, 12, 1)  # wait_closed() does
NEW = sys.version_info >= (3, 13)

new_in_313 = pytest.mark.skipif(not NEW, reason="new in Python 3.13")


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[Any, list[Recorder]]]:
    """(server, the protocols of its connections); everything is ended afterwards."""
    loop = asyncio.get_running_loop()
    made: list[Recorder] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    if not options.keys() & {"sock", "host"}:
        options["host"], options["port"] = "127.0.0.1", 0
    server = await loop.create_server(factory, **options)
    try:
        yield server, made
    finally:
        server.close()
        for protocol in made:
            if not protocol.lost.done() and protocol.told:
                protocol.transport.abort()
            await protocol.lost
        await asyncio.wait_for(server.wait_closed(), 5)


def client_of(server: Any) -> socket.socket:
    client = socket.create_connection(server.sockets[0].getsockname())
    client.setblocking(False)
    return client


@on_loop
async def test_what_a_server_is() -> None:
    async with serving() as (server, made):
        assert isinstance(server, asyncio.AbstractServer)
        assert server.get_loop() is asyncio.get_running_loop()
        assert server.is_serving() is True
        assert isinstance(server.sockets, tuple)
        (sock,) = server.sockets
        assert isinstance(sock, asyncio.trsock.TransportSocket)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert not os.get_inheritable(sock.fileno())
        assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket fd=")
        with client_of(server) as client:
            await until(lambda: made and made[0].told)
            transport = made[0].transport
            accepted = transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert transport.get_extra_info("peername") == client.getsockname()
        server.close()
        assert server.is_serving() is False
        assert server.sockets == ()
        server.close()
        assert repr(server) == "<Server sockets=()>"


@on_loop
async def test_several_hosts() -> None:
    async with serving(host=["127.0.0.1", "::1"], port=0) as (server, made):
        families = {each.family for each in server.sockets}
        assert families == {socket.AF_INET, socket.AF_INET6}
        for each in server.sockets:
            socket.create_connection(each.getsockname()[:2]).close()
        await until(lambda: len(made) == 2)
    async with serving(host=["127.0.0.1", "127.0.0.1"], port=0) as (server, _):
        assert len(server.sockets) == 1
    async with serving(host="", port=0) as (server, made):
        for each in server.sockets:
            host = "127.0.0.1" if each.family == socket.AF_INET else "::1"
            socket.create_connection((host, each.getsockname()[1])).close()
        await until(lambda: len(made) == len(server.sockets))


@on_loop
async def test_ports_in_use() -> None:
    async with serving(reuse_port=True) as (server, _):
        host, port = server.sockets[0].getsockname()
        async with serving(host=host, port=port, reuse_port=True):
            pass
        with pytest.raises(OSError) as refusal:
            await server.get_loop().create_server(Recorder, host, port)
        assert refusal.value.errno == errno.EADDRINUSE
        assert "error while attempting to bind on address" in str(refusal.value)
    async with serving(host=host, port=port):
        pass


@on_loop
async def test_a_listening_socket_of_ones_own() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with serving(sock=sock, backlog=1) as (server, made):
        assert server.sockets[0].fileno() == sock.fileno()
        client_of(server).close()
        await until(lambda: made)
    assert sock.fileno() == -1, "it is the server's"


@on_loop
async def test_what_is_refused() -> None:
    create = asyncio.get_running_loop().create_server
    with socket.socket() as sock, pytest.raises(ValueError, match="at the same time"):
        await create(Recorder, "127.0.0.1", 0, sock=sock)
    with pytest.raises(ValueError, match="Neither host/port nor sock"):
        await create(Recorder)
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="A Stream Socket was expected"),
    ):
        await create(Recorder, sock=sock)
    with pytest.raises(TypeError, match="ssl argument must be an SSLContext"):
        await create(Recorder, "127.0.0.1", 0, ssl=True)
    with pytest.raises(ValueError, match="only meaningful with ssl"):
        await create(Recorder, "127.0.0.1", 0, ssl_handshake_timeout=1)


@on_loop
async def test_serving_starts_when_it_is_asked_to() -> None:
    async with serving(start_serving=False) as (server, made):
        assert not server.is_serving()
        (sock,) = server.sockets
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(sock.getsockname())
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        client_of(server).close()
        await until(lambda: made)


@on_loop
async def test_serving_forever() -> None:
    async with serving(start_serving=False) as (server, _):
        address = server.sockets[0].getsockname()
        task = asyncio.create_task(server.serve_forever())
        await turns()
        assert server.is_serving()
        with pytest.raises(RuntimeError, match="already being awaited"):
            await server.serve_forever()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        with pytest.raises(RuntimeError, match="is closed"):
            await server.serve_forever()


@on_loop
async def test_closing_ends_serve_forever() -> None:
    async with serving() as (server, _):
        task = asyncio.create_task(server.serve_forever())
        await turns()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task


@on_loop
async def test_a_server_is_a_context_manager() -> None:
    async with serving() as (server, _):
        async with server as same:
            assert same is server
            assert server.is_serving()
        assert not server.is_serving()
        assert server.sockets == ()


@on_loop
async def test_connections_outlive_their_server() -> None:
    async with serving() as (server, made):
        with client_of(server) as client:
            await until(lambda: made and made[0].told)
            server.close()
            closed = asyncio.create_task(server.wait_closed())
            await turns()
            client.send(b"still there?")
            await until(lambda: made[0].data)
            assert closed.done() is not WAITS_FOR_CLIENTS
        await made[0].lost
        await asyncio.wait_for(closed, 5)
        await server.wait_closed()


@on_loop
async def test_wait_closed_waits_for_close() -> None:
    async with serving() as (server, _):
        closed = asyncio.create_task(server.wait_closed())
        await turns()
        if sys.version_info < (3, 12) or WAITS_FOR_CLIENTS:
            assert not closed.done()
        server.close()
        await asyncio.wait_for(closed, 5)


@new_in_313
@pytest.mark.parametrize("way", ["close_clients", "abort_clients"])
@on_loop
async def test_ending_the_clients(way: str) -> None:
    async with serving() as (server, made):
        with client_of(server) as one, client_of(server) as two:
            await until(lambda: len(made) == 2 and all(p.told for p in made))
            server.close()
            getattr(server, way)()
            await server.wait_closed()
            for client in (one, two):
                assert await server.get_loop().sock_recv(client, 1) == b""
            assert [each.told for each in made] == [["made", "lost"]] * 2
            getattr(server, way)()


@new_in_313
@on_loop
async def test_close_clients_flushes_and_abort_clients_does_not() -> None:
    for way in ("close_clients", "abort_clients"):
        async with serving() as (server, made):
            loop = server.get_loop()
            with client_of(server) as client:
                await until(lambda m=made: m and m[0].told)
                payload = bytes(8 << 20)
                made[0].transport.write(payload)
                getattr(server, way)()
                size = 0
                while data := await loop.sock_recv(client, 1 << 20):
                    size += len(data)
                assert (size == len(payload)) is (way == "close_clients")


@on_loop
async def test_connections_that_wait_when_the_server_closes() -> None:
    """Those that nobody accepted yet are refused or reset, not served."""
    async with serving() as (server, made):
        client = client_of(server)
        server.close()
        await turns()
        assert made == []
        with client, pytest.raises(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(client, 1)


@on_loop
async def test_a_server_closes_itself_in_connection_made() -> None:
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    class Last(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)
            server.close()

    server = await loop.create_server(Last, "127.0.0.1", 0)
    with client_of(server) as client:
        await until(lambda: made)
        client.send(b"the only one")
        await until(lambda: made[0].data)
        assert not server.is_serving()
    await made[0].lost
    await server.wait_closed()


@on_loop
async def test_an_accepted_socket_is_handed_over() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        conn, _ = listener.accept()
    transport, protocol = await loop.connect_accepted_socket(Recorder, conn)
    assert isinstance(protocol, Recorder)
    assert protocol.told == ["made"]
    assert conn.gettimeout() == 0
    assert transport.get_extra_info("peername") == client.getsockname()
    client.send(b"x")
    await until(lambda: protocol.data)
    client.close()
    await protocol.lost
    with (
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        pytest.raises(ValueError, match="A Stream Socket was expected"),
    ):
        await loop.connect_accepted_socket(Recorder, datagrams)


# Unix sockets.


@on_loop
async def test_a_unix_server(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = tmp_path / "socket"
    made: list[Any] = []

    def factory() -> Recorder:
        made.append(Recorder())
        return made[-1]

    server = await loop.create_unix_server(factory, path)
    assert server.sockets[0].getsockname() == str(path)
    transport, protocol = await loop.create_unix_connection(Recorder, str(path))
    assert transport.get_extra_info("peername") == str(path)
    transport.write(b"x")
    await until(lambda: made and made[0].data)
    assert made[0].transport.get_extra_info("sockname") == str(path)
    transport.close()
    await protocol.lost
    await made[0].lost
    server.close()
    await server.wait_closed()
    assert path.exists() is not NEW, "3.13 removes it"
    with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
        await loop.create_unix_connection(Recorder, str(path))


@on_loop
async def test_old_sockets_and_other_files(tmp_path: Path) -> None:
    create = asyncio.get_running_loop().create_unix_server
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    server = await create(Recorder, path)
    server.close()
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(OSError) as refusal:
        await create(Recorder, file)
    assert refusal.value.errno == errno.EADDRINUSE
    assert str(refusal.value).endswith(f"Address {str(file)!r} is already in use")
    with pytest.raises(ValueError, match="no sock specified"):
        await create(Recorder)
    with socket.socket() as sock, pytest.raises(ValueError, match="UNIX Domain"):
        await create(Recorder, sock=sock)
    abstract = await create(Recorder, f"\0{path}")
    abstract.close()


@new_in_313
@on_loop
async def test_cleaning_up(tmp_path: Path) -> None:
    create = asyncio.get_running_loop().create_unix_server
    path = tmp_path / "socket"
    server = await create(Recorder, path, cleanup_socket=False)
    server.close()
    assert path.exists()
    server = await create(Recorder, path)
    path.unlink()
    path.write_text("somebody else's")
    server.close()
    assert path.read_text() == "somebody else's"
    path.unlink()
    server = await create(Recorder, path)
    path.unlink()
    server.close()
