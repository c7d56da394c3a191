"""Datagrams that come together, many correspondents, and sends that fail or wait.

What test_datagram.py checks one by one is here in numbers: a loop may receive several
at once, keep addresses that it has seen, and must not let any of that be noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from peers import caught, on_loop, turns, until
from test_datagram import HERE, Datagrams, endpoint, filled, unix_socket

BURST = 50
HEADER_BYTES = 8 if sys.version_info >= (3, 13) else 0  # of what waits, each


def send_burst(address: Any, number: int = BURST) -> None:
    """So many datagrams that are in the kernel before the loop can look."""
    family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        for each in range(number):
            sender.sendto(each.to_bytes(2, "big"), address)


def numbers(protocol: Any) -> list[int]:
    return [int.from_bytes(data, "big") for data, _ in protocol.came]


@on_loop
async def test_a_burst() -> None:
    async with endpoint() as (transport, protocol):
        for size in (1, 2, 15, 16, 17, 32, 33, BURST):
            send_burst(transport.get_extra_info("sockname"), size)
            await until(lambda to=size: len(protocol.came) >= to)
            assert numbers(protocol) == list(range(size))
            assert len({address for _, address in protocol.came}) == 1
            protocol.came.clear()


@on_loop
async def test_a_pause_within_a_burst() -> None:
    class Pausing(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            if len(self.came) in (3, BURST):
                self.transport.pause_reading()

    async with endpoint(Pausing) as (transport, protocol):
        here = transport.get_extra_info("sockname")
        send_burst(here)
        await until(lambda: not transport.is_reading())
        await turns()
        assert numbers(protocol) == [0, 1, 2]
        transport.resume_reading()
        await until(lambda: not transport.is_reading())
        assert numbers(protocol) == list(range(BURST))
        send_burst(here, 1)
        await turns()
        assert len(protocol.came) == BURST
        transport.resume_reading()
        await until(lambda: len(protocol.came) == BURST + 1)


@on_loop
async def test_close_while_some_of_a_burst_waits() -> None:
    class Pausing(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            self.transport.pause_reading()

    for end in ("close", "abort"):
        async with endpoint(Pausing) as (transport, protocol):
            send_burst(transport.get_extra_info("sockname"))
            await until(lambda p=protocol: p.came)
            getattr(transport, end)()
            transport.resume_reading()
            await protocol.lost
            assert numbers(protocol) == [0]
            assert protocol.told == ["made", "lost"]


@on_loop
async def test_each_exception_of_a_burst_is_reported() -> None:
    class Failing(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            raise ZeroDivisionError

    contexts = caught()
    async with endpoint(Failing) as (transport, protocol):
        send_burst(transport.get_extra_info("sockname"))
        await until(lambda: len(contexts) == BURST)
        assert numbers(protocol) == list(range(BURST))
        assert {type(each["exception"]) for each in contexts} == {ZeroDivisionError}


def test_what_ends_the_run_loses_no_datagram(runner: asyncio.Runner) -> None:
    class Leaving(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            if len(self.came) == 2:
                raise SystemExit

    loop = runner.get_loop()
    stack = contextlib.AsyncExitStack()
    transport, protocol = runner.run(stack.enter_async_context(endpoint(Leaving)))
    send_burst(transport.get_extra_info("sockname"))
    with pytest.raises(SystemExit):
        loop.run_forever()
    assert numbers(protocol) == [0, 1]
    runner.run(until(lambda: len(protocol.came) == BURST))
    assert numbers(protocol) == list(range(BURST))
    runner.run(stack.aclose())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@on_loop
async def test_many_correspondents(host: str) -> None:
    """Each is answered, at once and later, at its own address."""

    class Answering(Datagrams):
        def datagram_received(self, data: bytes, address: Any) -> None:
            super().datagram_received(data, address)
            self.transport.sendto(data, address)

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    async with endpoint(Answering, local_addr=(host, 0)) as (transport, protocol):
        here = transport.get_extra_info("sockname")
        with contextlib.ExitStack() as stack:
            senders = [
                stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
                for _ in range(150)
            ]
            for _ in range(2):
                protocol.came.clear()
                for number, sender in enumerate(senders):
                    sender.sendto(number.to_bytes(2, "big"), here)
                await until(lambda: len(protocol.came) == len(senders))
                for sender, (data, address) in zip(senders, protocol.came, strict=True):
                    assert address[1] == sender.getsockname()[1]
                    assert len(address) == len(sender.getsockname())
                    transport.sendto(data + b"later", address)
                for number, sender in enumerate(senders):
                    sender.settimeout(5)
                    expected = number.to_bytes(2, "big")
                    assert sender.recvfrom(10) == (expected, here)
                    assert sender.recvfrom(10) == (expected + b"later", here)


@on_loop
async def test_forms_of_addresses() -> None:
    async with (
        endpoint() as (one, first),
        endpoint() as (two, second),
    ):
        port = one.get_extra_info("sockname")[1]
        for host in ("127.0.0.1", "localhost", b"127.0.0.1", bytearray(b"localhost")):
            two.sendto(b"x", (host, port))
            await until(lambda: first.came)
            first.came.clear()
        assert second.told == ["made"]


@on_loop
async def test_unix_addresses(tmp_path: Path) -> None:
    path = str(tmp_path / "one")
    big = bytes(150_000)
    async with (
        endpoint(sock=unix_socket(path)) as (one, first),
        endpoint(sock=unix_socket()) as (two, second),
    ):
        with unix_socket() as abstract:
            abstract.bind("")  # the kernel finds a name
            abstract.sendto(b"x", path)
            await until(lambda: first.came)
            assert first.came.pop() == (b"x", abstract.getsockname())
            one.sendto(b"y", abstract.getsockname())
            assert abstract.recv(10) == b"y"
        for address in (path, path.encode()):
            two.sendto(big, address)
            await until(lambda: first.came)
            assert first.came.pop() == (big, None)
        send_burst(path, 5)
        await until(lambda: len(first.came) == 5)
        assert numbers(first) == list(range(5))
        two.sendto(b"x", str(tmp_path / "nobody"))
        assert [type(each) for each in second.errors] == [FileNotFoundError]


@on_loop
async def test_names_of_arguments() -> None:
    async with endpoint() as (transport, protocol):
        here = transport.get_extra_info("sockname")
        transport.sendto(addr=here, data=b"1")
        transport.sendto(b"2", addr=here)
        for wrong in (
            {"addr": here},
            {"data": b"", "address": here},
        ):
            with pytest.raises(TypeError, match="sendto"):
                transport.sendto(**wrong)
        with pytest.raises(TypeError, match="sendto"):
            transport.sendto(b"x", here, data=b"y")
        with pytest.raises(TypeError, match="sendto"):
            transport.sendto(b"x", here, None)
        await until(lambda: len(protocol.came) == 2)
        assert [data for data, _ in protocol.came] == [b"1", b"2"]


@on_loop
async def test_empty_datagrams_are_sent_from_3_13_on() -> None:
    async with endpoint() as (transport, protocol):
        here = transport.get_extra_info("sockname")
        for empty in (b"", bytearray(), memoryview(b"")):
            transport.sendto(empty, here)
        transport.sendto(b"x", here)
        await until(lambda: protocol.came and protocol.came[-1][0] == b"x")
        sent = 3 if sys.version_info >= (3, 13) else 0
        assert [data for data, _ in protocol.came] == [b""] * sent + [b"x"]


@pytest.mark.parametrize(
    ("data", "address", "expected"),
    [
        (b"no address", None, TypeError),
        (b"not an address", ("127.0.0.1",), TypeError),
        (b"no port", ("127.0.0.1", 1 << 20), OverflowError),
        (memoryview(b"with gaps")[::2], ("127.0.0.1", 1), BufferError),
    ],
)
@on_loop
async def test_what_cannot_be_sent_ends_the_endpoint(
    data: Any, address: Any, expected: type[Exception]
) -> None:
    contexts = caught()
    async with endpoint() as (transport, protocol):
        assert transport.sendto(data, address) is None
        assert transport.is_closing()
        await protocol.lost
        assert isinstance(protocol.error, expected)
        assert [each["message"] for each in contexts] == [
            "Fatal write error on datagram transport"
        ]
        assert contexts[0]["transport"] is transport
        assert contexts[0]["protocol"] is protocol


@on_loop
async def test_the_buffer_counts_headers_from_3_13_on(tmp_path: Path) -> None:
    path = tmp_path / "taker"
    with unix_socket(path), unix_socket(to=path) as sender:
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(b"x")
        async with endpoint(sock=sender) as (transport, _):
            transport.sendto(bytes(100))
            transport.sendto(bytearray(10))
            assert transport.get_write_buffer_size() == 110 + 2 * HEADER_BYTES
            assert "write=<polling, bufsize=" in repr(transport)


@on_loop
async def test_errors_of_what_waited(tmp_path: Path) -> None:
    """Each goes to the protocol; then the writer is done, and so is a closing one."""
    path = tmp_path / "taker"
    taker = unix_socket(path)
    async with endpoint(sock=unix_socket(to=path)) as (transport, protocol):
        filled(transport, protocol)
        size = 1000 + HEADER_BYTES
        waiting, rest = divmod(transport.get_write_buffer_size(), size)
        assert rest == 0
        taker.close()
        transport.close()
        await protocol.lost
        assert len(protocol.errors) == waiting
        assert all(isinstance(each, OSError) for each in protocol.errors)
        assert protocol.told[-1] == "lost"
        assert protocol.error is None


@on_loop
async def test_connection_made_comes_first_even_when_closed_before() -> None:
    loop: Any = asyncio.get_running_loop()
    for end in ("close", "abort"):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.setblocking(False)
        protocol = Datagrams()
        waiter = loop.create_future()
        transport = loop._make_datagram_transport(sock, protocol, None, waiter)
        getattr(transport, end)()
        await waiter
        await protocol.lost
        assert protocol.told == ["made", "lost"]


@on_loop
async def test_the_descriptor_is_the_transports() -> None:
    loop: Any = asyncio.get_running_loop()
    async with endpoint() as (transport, _):
        number = transport.get_extra_info("socket").fileno()
        with pytest.raises(RuntimeError, match="is used by transport"):
            loop.add_reader(number, print)


@on_loop
async def test_streams_only(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with endpoint() as (transport, protocol):
        (tmp_path / "file").write_bytes(b"x")
        with (
            open(tmp_path / "file", "rb") as file,
            pytest.raises(RuntimeError, match="sendfile is not supported"),
        ):
            await loop.sendfile(transport, file)
        with pytest.raises(TypeError, match="is not supported by start_tls"):
            await loop.start_tls(transport, protocol, ssl.create_default_context())


@on_loop
async def test_another_protocol() -> None:
    async with endpoint() as (transport, protocol):
        other = Datagrams()
        transport.set_protocol(other)
        assert transport.get_protocol() is other
        send_burst(transport.get_extra_info("sockname"), 3)
        await until(lambda: len(other.came) == 3)
        assert protocol.came == []
        transport.set_protocol(protocol)
        assert HERE[0] == other.came[0][1][0]
