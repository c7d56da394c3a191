"""TLS over the loop's transports: both sides, upgrades, and handshakes that fail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from certificate import client_context, server_context
from peers import (
    Buffered,
    KeepsOpen,
    Recorder,
    caught,
    on_loop,
    reset,
    turns,
    until,
    wired,
)

NAME = "localhost"


class Echo(Recorder):
    """Sends everything back."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


@contextlib.asynccontextmanager
async def serving(
    factory: Any = Echo, context: Any = None, **options: Any
) -> AsyncIterator[tuple[Any, list[Any]]]:
    """(address, the protocols): a TLS server, or a plain one without a context."""
    loop = asyncio.get_running_loop()
    made: list[Any] = []

    def make() -> Any:
        made.append(factory())
        return made[-1]

    options.setdefault("ssl", context or server_context())
    server = await loop.create_server(make, "127.0.0.1", 0, **options)
    try:
        yield server.sockets[0].getsockname(), made
    finally:
        server.close()
        for protocol in made:
            if protocol.told:
                await protocol.lost
        await asyncio.wait_for(server.wait_closed(), 5)


@contextlib.asynccontextmanager
async def client(
    address: Any, factory: Any = Recorder, **options: Any
) -> AsyncIterator[tuple[Any, Any]]:
    loop = asyncio.get_running_loop()
    options.setdefault("server_hostname", NAME)
    options.setdefault("ssl", client_context())
    transport, protocol = await loop.create_connection(factory, *address, **options)
    try:
        yield transport, protocol
    finally:
        if not protocol.lost.done():
            transport.abort()
        await protocol.lost


@on_loop
async def test_what_a_tls_transport_is() -> None:
    context = client_context()
    async with serving() as (address, made), client(address, ssl=context) as (one, p):
        assert isinstance(one, asyncio.Transport)
        info = one.get_extra_info
        assert info("peername") == address
        assert isinstance(info("socket"), asyncio.trsock.TransportSocket)
        assert info("sslcontext") is context
        assert isinstance(info("ssl_object"), ssl.SSLObject)
        assert info("peercert")["subject"] == ((("commonName", NAME),),)
        assert len(info("cipher")) == 3
        assert one.get_protocol() is p
        assert one.can_write_eof() is False
        assert one.is_reading()
        assert not one.is_closing()
        await until(lambda: made and made[0].told)
        assert made[0].transport.get_extra_info("peername") == info("sockname")


class Viewed(Buffered):
    """Gives a view: of other memory asyncio's TLS would fill a copy."""

    def get_buffer(self, sizehint: int) -> Any:
        return memoryview(self.buffer)


@pytest.mark.parametrize("factory", [Recorder, Viewed])
@on_loop
async def test_much_data(factory: Any) -> None:
    payload = os.urandom(1 << 20)
    async with serving() as (address, _), client(address, factory) as (one, protocol):
        one.write(payload)
        await until(lambda: len(protocol.data) == len(payload))
        assert protocol.data == payload
        one.writelines([b"a", b"b"])
        await until(lambda: protocol.data.endswith(b"ab"))


@on_loop
async def test_pausing_and_flow_control() -> None:
    async with serving(Recorder) as (address, made), client(address) as (one, two):
        await until(lambda: made and made[0].told)
        taker = made[0].transport
        taker.pause_reading()
        size = 0
        while "pause" not in two.told:
            one.write(bytes(100_000))
            size += 100_000
            await asyncio.sleep(0)
        await turns(20)
        received = len(made[0].data)
        await turns(20)
        assert len(made[0].data) == received
        assert "resume" not in two.told
        taker.resume_reading()
        await until(lambda: "resume" in two.told)
        await until(lambda: len(made[0].data) == size)


@on_loop
async def test_ends() -> None:
    """A close is told to the other side as an end of file; all data comes before."""
    async with serving(Recorder) as (address, made), client(address) as (one, two):
        one.write(bytes(500_000))
        one.close()
        assert one.is_closing()
        await two.lost
        assert two.error is None
        await made[0].lost
        assert len(made[0].data) == 500_000
        assert made[0].told[-2:] == ["eof", "lost"]


@on_loop
async def test_an_abort() -> None:
    async with serving(Recorder) as (address, made), client(address) as (one, two):
        await until(lambda: made and made[0].told)
        one.abort()
        await two.lost
        assert two.told == ["made", "lost"]
        await made[0].lost


@on_loop
async def test_an_end_without_a_goodbye() -> None:
    async with serving(Recorder) as (address, made), client(address) as (one, _):
        await until(lambda: made and made[0].told)
        sock = one.get_extra_info("socket")
        sock.shutdown(socket.SHUT_WR)
        await made[0].lost
        assert made[0].told[0] == "made"


@on_loop
async def test_a_certificate_that_is_not_trusted() -> None:
    contexts = caught()
    async with serving() as (address, _):
        with pytest.raises(ssl.SSLCertVerificationError):
            async with client(address, ssl=client_context(trusting=False)):
                pass
        with pytest.raises(ssl.SSLCertVerificationError):
            async with client(address, server_hostname="elsewhere"):
                pass
        async with client(address) as (one, protocol):
            one.write(b"x")
            await until(lambda: protocol.data)
    assert contexts == []


@on_loop
async def test_nonsense_instead_of_a_handshake() -> None:
    contexts = caught()
    loop = asyncio.get_running_loop()
    async with serving() as (address, made):
        for nonsense in (b"GET / HTTP/1.0\r\n\r\n", b"", b"\x16\x03\x01"):
            with socket.create_connection(address) as plain:
                plain.setblocking(False)
                plain.send(nonsense)
                plain.shutdown(socket.SHUT_WR)
                while await loop.sock_recv(plain, 1000):
                    pass
        assert [each.told for each in made] == [[]] * 3
        async with client(address):
            pass
    assert contexts == []


@on_loop
async def test_a_server_that_does_not_speak_tls() -> None:
    class Plain(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.write(b"220 hello, this is something else\r\n")

    async with serving(Plain, ssl=None) as (address, _):
        with pytest.raises(ssl.SSLError):
            async with client(address):
                pass


@on_loop
async def test_handshakes_that_take_too_long() -> None:
    loop = asyncio.get_running_loop()
    async with serving(Recorder, ssl=None) as (address, _):
        with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking"):
            async with client(address, ssl_handshake_timeout=0.05):
                pass
    async with serving(ssl_handshake_timeout=0.05) as (address, made):
        with socket.create_connection(address) as silent:
            silent.setblocking(False)
            assert await loop.sock_recv(silent, 1) == b""
        assert [each.told for each in made] == [[]]


@on_loop
async def test_handshakes_that_are_cut_off() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        for end, errors in (
            (reset, ConnectionResetError),
            (socket.socket.close, (ConnectionError, ssl.SSLError)),
        ):
            accepting = asyncio.create_task(loop.sock_accept(listener))
            connecting = asyncio.create_task(
                loop.create_connection(
                    Recorder,
                    *listener.getsockname(),
                    ssl=client_context(),
                    server_hostname=NAME,
                )
            )
            conn, _ = await accepting
            await loop.sock_recv(conn, 1)
            end(conn)
            with pytest.raises(errors):
                await connecting


@on_loop
async def test_a_handshake_is_cancelled() -> None:
    loop = asyncio.get_running_loop()
    async with serving(Recorder, ssl=None) as (address, made):
        connecting = asyncio.create_task(
            loop.create_connection(
                Recorder, *address, ssl=client_context(), server_hostname=NAME
            )
        )
        await until(lambda: made and made[0].data)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await made[0].lost


@on_loop
async def test_wrong_arguments() -> None:
    loop = asyncio.get_running_loop()
    async with wired() as (transport, protocol, _):
        with pytest.raises(TypeError, match="sslcontext is expected to be an instance"):
            await loop.start_tls(transport, protocol, None)
    for wrong in (0, -1):
        async with wired() as (transport, protocol, _):
            with pytest.raises(ValueError, match="should be a positive number"):
                await loop.start_tls(
                    transport, protocol, client_context(), ssl_handshake_timeout=wrong
                )


@on_loop
async def test_an_upgrade() -> None:
    """Plain words first, then TLS on the same connection, on both sides."""
    loop = asyncio.get_running_loop()

    class Upgrading(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == b"STARTTLS":
                self.transport.write(b"READY")
                self.transport.pause_reading()
                self.data.clear()
                self.task = asyncio.create_task(self.upgrade())

        async def upgrade(self) -> None:
            self.transport = await loop.start_tls(
                self.transport, self, server_context(), server_side=True
            )
            await until(lambda: self.data == b"secret")
            self.transport.write(b"SECRET")

    async with serving(Upgrading, ssl=None) as (address, made):
        plain, protocol = await loop.create_connection(KeepsOpen, *address)
        plain.write(b"STARTTLS")
        await until(lambda: protocol.data == b"READY")
        protocol.data.clear()
        secure = await loop.start_tls(
            plain, protocol, client_context(), server_hostname=NAME
        )
        assert secure is not plain
        assert secure.get_protocol() is protocol
        assert secure.get_extra_info("ssl_object")
        assert secure.get_extra_info("peername") == address
        secure.write(b"secret")
        await until(lambda: protocol.data == b"SECRET")
        assert protocol.told.count("made") == 1
        secure.close()
        await protocol.lost
        await made[0].lost
        await made[0].task


@on_loop
async def test_an_upgrade_of_streams() -> None:
    if not hasattr(asyncio.StreamWriter, "start_tls"):
        pytest.skip("new in Python 3.11")

    async def handle(reader: Any, writer: Any) -> None:
        await reader.readline()
        writer.write(b"ready\n")
        await writer.drain()
        await writer.start_tls(server_context())
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"please\n")
    assert await reader.readline() == b"ready\n"
    await writer.start_tls(client_context(), server_hostname=NAME)
    writer.write(b"secret\n")
    assert await reader.readline() == b"SECRET\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@on_loop
async def test_tls_over_a_unix_socket(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "socket")
    made: list[Any] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[-1]

    server = await loop.create_unix_server(factory, path, ssl=server_context())
    transport, protocol = await loop.create_unix_connection(
        Recorder, path, ssl=client_context(), server_hostname=NAME
    )
    transport.write(b"x")
    await until(lambda: protocol.data)
    transport.close()
    await protocol.lost
    await made[0].lost
    server.close()
    await server.wait_closed()
