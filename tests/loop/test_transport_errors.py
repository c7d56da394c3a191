"""Protocols that fail: what the exception handler is told and what becomes of them."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import pytest
from peers import (
    Buffered,
    KeepsOpen,
    Recorder,
    caught,
    fill,
    on_loop,
    read_exactly,
    turns,
    until,
    wired,
)


class Failing(Recorder):
    """Raises `error` in the callback that is named by `where`."""

    where = ""
    error_of: Any = ZeroDivisionError

    def _maybe(self, name: str) -> None:
        if name == self.where:
            raise self.error_of(name)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._maybe("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._maybe("data_received")

    def eof_received(self) -> bool | None:
        super().eof_received()
        self._maybe("eof_received")
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._maybe("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self._maybe("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self._maybe("connection_lost")


def failing(where: str, error: Any = ZeroDivisionError) -> type[Failing]:
    return type("Failing", (Failing,), {"where": where, "error_of": error})


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
@on_loop
async def test_a_failure_while_reading_is_fatal(where: str) -> None:
    async with wired(failing(where)) as (transport, protocol, peer):
        contexts = caught()
        peer.send(b"x")
        if where == "eof_received":
            peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        (context,) = contexts
        assert context.keys() == {"message", "exception", "transport", "protocol"}
        assert context["message"] == f"Fatal error: protocol.{where}() call failed."
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        assert protocol.error is context["exception"]
        assert protocol.told[-1] == "lost ZeroDivisionError"
        assert transport.is_closing()


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
@on_loop
async def test_an_os_error_is_fatal_but_not_reported(where: str) -> None:
    async with wired(failing(where, OSError)) as (_, protocol, peer):
        contexts = caught()
        peer.send(b"x")
        peer.shutdown(socket.SHUT_WR)
        await protocol.lost
        assert contexts == []
        assert type(protocol.error) is OSError


@on_loop
async def test_a_fatal_error_drops_what_waits() -> None:
    async with wired(failing("data_received")) as (transport, protocol, peer):
        caught()
        fill(transport)
        peer.send(b"x")
        await protocol.lost
        assert transport.get_write_buffer_size() == 0


@pytest.mark.parametrize("where", ["pause_writing", "resume_writing"])
@on_loop
async def test_a_failure_of_flow_control_is_only_reported(where: str) -> None:
    async with wired(failing(where)) as (transport, protocol, peer):
        contexts = caught()
        transport.set_write_buffer_limits(0)
        written = fill(transport)
        await read_exactly(peer, written)
        await until(lambda: "resume" in protocol.told)
        (context,) = contexts
        assert context.keys() == {"message", "exception", "transport", "protocol"}
        assert context["message"] == f"protocol.{where}() failed"
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["transport"] is transport
        assert context["protocol"] is protocol
        assert not transport.is_closing()
        peer.send(b"goes on")
        await until(lambda: protocol.data == b"goes on")


@on_loop
async def test_a_failing_connection_made_is_reported_and_reading_begins() -> None:
    contexts = caught()
    async with wired(failing("connection_made")) as (_, protocol, peer):
        (context,) = contexts
        assert context["message"].startswith("Exception in callback ")
        assert "connection_made" in context["message"]
        assert isinstance(context["exception"], ZeroDivisionError)
        peer.send(b"x")
        await until(lambda: protocol.data == b"x")


@on_loop
async def test_a_failing_connection_lost_is_reported_and_the_socket_closed() -> None:
    contexts = caught()
    async with wired(failing("connection_lost")) as (transport, protocol, peer):
        sock = transport.get_extra_info("socket")
        transport.close()
        await protocol.lost
        await turns()
        (context,) = contexts
        assert context["message"].startswith("Exception in callback ")
        assert isinstance(context["exception"], ZeroDivisionError)
        assert sock.fileno() == -1
        assert peer.recv(1) == b""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["connection_made", "data_received", "eof_received"])
def test_what_ends_the_program_comes_out_of_the_loop(
    runner: asyncio.Runner, where: str, error: type[BaseException]
) -> None:
    loop = runner.get_loop()
    left, right = socket.socketpair()
    left.setblocking(False)
    made: list[Any] = []

    async def connect() -> None:
        protocol = failing(where, error)()
        made.append(protocol)
        await loop.create_connection(lambda: protocol, sock=left)

    task = loop.create_task(connect())
    right.send(b"x")
    right.shutdown(socket.SHUT_WR)
    with pytest.raises(error):
        loop.run_forever()
    (protocol,) = made
    protocol.where = ""
    protocol.transport.abort()

    async def end() -> None:
        await asyncio.wait_for(asyncio.gather(task, protocol.lost), 5)

    loop.run_until_complete(end())
    right.close()


@pytest.mark.parametrize("base", [Recorder, Buffered, KeepsOpen])
@on_loop
async def test_all_else_that_is_raised_is_fatal(base: Any) -> None:
    """Even what is no Exception: a cancellation is nobody's but the transport's."""

    class Cancelled(base):
        def data_received(self, data: bytes) -> None:
            raise asyncio.CancelledError

        def buffer_updated(self, nbytes: int) -> None:
            raise asyncio.CancelledError

    async with wired(Cancelled) as (_, protocol, peer):
        contexts = caught()
        peer.send(b"x")
        await protocol.lost
        assert [type(each["exception"]) for each in contexts] == [
            asyncio.CancelledError
        ]
        assert isinstance(protocol.error, asyncio.CancelledError)


@on_loop
async def test_a_failing_exception_handler_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def handler(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        raise KeyError("the handler's own")

    async with wired(failing("data_received")) as (_, protocol, peer):
        asyncio.get_running_loop().set_exception_handler(handler)
        peer.send(b"x")
        await protocol.lost
        assert protocol.told[-1] == "lost ZeroDivisionError"
        assert "Unhandled error in exception handler" in caplog.text


@on_loop
async def test_the_default_handler_logs(caplog: pytest.LogCaptureFixture) -> None:
    async with wired(failing("data_received")) as (transport, protocol, peer):
        peer.send(b"x")
        await protocol.lost
        text = caplog.text
        assert "Fatal error: protocol.data_received() call failed." in text
        assert f"protocol: {protocol!r}" in text
        number = transport.get_extra_info("sockname")
        assert number == ""
        assert "transport: <" in text
        assert "ZeroDivisionError: data_received" in text


@on_loop
async def test_a_failing_factory() -> None:
    loop = asyncio.get_running_loop()

    def factory() -> asyncio.Protocol:
        raise LookupError("no protocol")

    left, right = socket.socketpair()
    with left, right, pytest.raises(LookupError, match="no protocol"):
        await loop.create_connection(factory, sock=left)


@on_loop
async def test_a_failing_factory_of_a_server() -> None:
    """It is reported in debug mode; the connection is dropped, the server goes on."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    messages: list[str] = []
    loop.set_exception_handler(lambda _, context: messages.append(context["message"]))
    made: list[Recorder] = []

    def factory() -> asyncio.Protocol:
        if not messages:
            raise LookupError("no protocol")
        made.append(Recorder())
        return made[0]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    # asyncio leaves the socket to the garbage collector, which warns.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        with socket.create_connection(address):
            await until(lambda: messages)
        gc.collect()
    assert messages == ["Error on transport creation for incoming connection"]
    with socket.create_connection(address):
        await until(lambda: made)
    await made[0].lost
    server.close()
    await server.wait_closed()
