"""Debug mode: slow callbacks, the switch itself, and what it logs."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import time

import pytest
from peers import on_loop, turns, until, wired

from syslet_loop import _native


def slow() -> None:
    time.sleep(0.02)


def said(caplog: pytest.LogCaptureFixture, of: str = "") -> list[str]:
    """The warnings of asyncio that mention something.

    On a busy machine anything may be slow, so others may be there too.
    """
    texts = [
        each.getMessage()
        for each in caplog.records
        if each.name == "asyncio" and each.levelno == logging.WARNING
    ]
    return [text for text in texts if of in text]


@on_loop
async def test_the_switch() -> None:
    loop = asyncio.get_running_loop()
    assert loop.get_debug() is False
    assert loop.slow_callback_duration == 0.1
    loop.set_debug(True)
    assert loop.get_debug() is True
    assert sys.get_coroutine_origin_tracking_depth() > 0 or await tracking()
    loop.set_debug(False)
    await turns()
    assert sys.get_coroutine_origin_tracking_depth() == 0


async def tracking() -> bool:
    """It is set by the loop in its next turn."""
    await turns()
    return sys.get_coroutine_origin_tracking_depth() > 0


@on_loop
async def test_a_slow_callback(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_soon(slow)
    await turns()
    (text,) = said(caplog, "slow()")
    here = re.escape(__file__)
    assert re.fullmatch(
        rf"Executing <\w*Handle slow\(\) at {here}:\d+ created at {here}:\d+> "
        r"took 0\.\d{3} seconds",
        text,
    )


@on_loop
async def test_a_slow_timer(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    loop.call_later(0, slow)
    await turns()
    (text,) = said(caplog, "slow()")
    assert re.match(r"Executing <\w*TimerHandle when=[\d.]+ slow\(\) at ", text)


@on_loop
async def test_a_slow_step_of_a_task(caplog: pytest.LogCaptureFixture) -> None:
    """The task is named rather than its handle."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    async def sluggish() -> None:
        await asyncio.sleep(0)
        slow()
        await asyncio.sleep(0)

    await asyncio.create_task(sluggish(), name="snail")
    (text,) = said(caplog, "'snail'")
    assert re.match(r"Executing <Task (pending|finished) name='snail' coro=<", text)
    assert re.search(r" took 0\.\d{3} seconds$", text)


@on_loop
async def test_a_slow_reader_and_protocol(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    async with wired() as (_, protocol, peer):
        loop.slow_callback_duration = 0.01
        called: list[int] = []

        def received(_: bytes) -> None:
            called.append(1)
            slow()

        protocol.data_received = received
        peer.send(b"x")
        await until(lambda: called)
        await turns()
        assert said(caplog)
        loop.slow_callback_duration = 10


@on_loop
async def test_quick_ones_and_high_limits(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 5
    loop.call_soon(slow)
    await turns()
    loop.set_debug(False)
    await turns()
    loop.slow_callback_duration = 0
    loop.call_soon(slow)
    await turns()
    assert said(caplog) == []


@on_loop
async def test_every_callback_is_too_slow_for_no_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(int)
    await turns()
    loop.set_debug(False)
    assert any("int" in text for text in said(caplog))


@on_loop
async def test_a_failing_callback_is_timed_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    def failing() -> None:
        slow()
        raise ZeroDivisionError

    loop.call_soon(failing)
    await turns()
    assert len(said(caplog, "failing()")) == 1
    assert "Exception in callback" in caplog.text


@on_loop
async def test_a_factory_that_fails_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def factory() -> asyncio.Protocol:
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    if not isinstance(loop, _native.Loop):
        pytest.skip("asyncio leaves the accepted socket open")
    loop.set_debug(True)
    server = await loop.create_server(factory, "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await until(lambda: "ZeroDivisionError" in caplog.text)
    assert "Error on transport creation" in caplog.text
    assert "default exception handler" not in caplog.text
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


def test_debug_mode_is_asked_for(runner: asyncio.Runner) -> None:
    """asyncio.Runner sets it with set_debug()."""

    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    runner.get_loop().set_debug(True)
    assert runner.run(main()) is True


def test_a_closed_loop_keeps_its_mode(runner: asyncio.Runner) -> None:
    loop = runner.get_loop()
    loop.set_debug(True)
    runner.close()
    assert loop.get_debug() is True
    assert "closed=True" in repr(loop)
    assert "debug=True" in repr(loop)
    assert "running=False" in repr(loop)
