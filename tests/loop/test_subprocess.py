"""Children: their pipes, ends and signals, from any thread, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from peers import on_loop

PIPE = asyncio.subprocess.PIPE
DEVNULL = asyncio.subprocess.DEVNULL
SLEEP = ("sleep", "60")

execute = asyncio.create_subprocess_exec
shell = asyncio.create_subprocess_shell


@pytest.mark.parametrize("code", [0, 1, 3, 127, 255])
@on_loop
async def test_exit_codes(code: int) -> None:
    child = await shell(f"exit {code}")
    assert child.returncode is None or child.returncode == code
    assert await child.wait() == code
    assert child.returncode == code
    assert await child.wait() == code


@pytest.mark.parametrize(
    ("way", "number"),
    [("kill", signal.SIGKILL), ("terminate", signal.SIGTERM), (None, signal.SIGUSR1)],
)
@on_loop
async def test_signals(way: str | None, number: int) -> None:
    child = await execute(*SLEEP)
    assert child.returncode is None
    os.kill(child.pid, 0)
    if way:
        getattr(child, way)()
    else:
        child.send_signal(number)
    assert await child.wait() == -number
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@on_loop
async def test_communicate() -> None:
    child = await execute("cat", stdin=PIPE, stdout=PIPE)
    payload = os.urandom(1 << 20)
    out, err = await child.communicate(payload)
    assert out == payload
    assert err is None
    assert child.returncode == 0
    child = await shell("echo out; echo err >&2", stdout=PIPE, stderr=PIPE)
    assert await child.communicate() == (b"out\n", b"err\n")
    child = await shell(
        "echo out; echo err >&2", stdout=PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert await child.communicate() == (b"out\nerr\n", None)


@on_loop
async def test_a_conversation() -> None:
    child = await execute("cat", stdin=PIPE, stdout=PIPE)
    assert child.stdin and child.stdout and child.stderr is None
    for number in range(20):
        child.stdin.write(b"%d\n" % number)
        await child.stdin.drain()
        assert await child.stdout.readline() == b"%d\n" % number
    child.stdin.close()
    assert await child.stdout.read() == b""
    assert await child.wait() == 0


@on_loop
async def test_a_child_that_does_not_read() -> None:
    child = await shell("exit 5", stdin=PIPE)
    assert await child.communicate(bytes(1 << 20)) == (None, None)
    assert child.returncode == 5


@on_loop
async def test_options(tmp_path: Path) -> None:
    child = await shell(
        'echo "$NAME"; pwd', stdout=PIPE, env={"NAME": "value"}, cwd=tmp_path
    )
    out, _ = await child.communicate()
    assert out.decode().split() == ["value", str(tmp_path.resolve())]
    reading, writing = os.pipe()
    child = await shell(f"echo x > /dev/fd/{writing}", pass_fds=(writing,))
    os.close(writing)
    assert os.read(reading, 10) == b"x\n"
    os.close(reading)
    assert await child.wait() == 0
    child = await execute(*SLEEP, start_new_session=True, stdin=DEVNULL)
    assert os.getsid(child.pid) == child.pid
    os.killpg(child.pid, signal.SIGKILL)
    assert await child.wait() == -signal.SIGKILL


@on_loop
async def test_what_is_refused() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(FileNotFoundError):
        await execute("there is no such program", stdin=PIPE, stdout=PIPE)
    with pytest.raises(ValueError, match="universal_newlines must be False"):
        await execute("true", universal_newlines=True)
    with pytest.raises(ValueError, match="text must be False"):
        await execute("true", text=True)
    with pytest.raises(ValueError, match="bufsize must be 0"):
        await execute("true", bufsize=100)
    with pytest.raises(ValueError, match="shell must be True"):
        await shell("true", shell=False)
    with pytest.raises(ValueError, match="cmd must be a string"):
        await loop.subprocess_shell(asyncio.SubprocessProtocol, ["true"])


@on_loop
async def test_many_at_once() -> None:
    before = len(os.listdir("/proc/self/task"))  # some may just be ending
    children = await asyncio.gather(*(execute("cat", stdin=PIPE) for _ in range(20)))
    if sys.version_info >= (3, 12):
        assert len(os.listdir("/proc/self/task")) <= before, "no thread for a child"
    for child in children:
        child.stdin.close()
    assert await asyncio.gather(*(child.wait() for child in children)) == [0] * 20
    codes = [number % 200 for number in range(30)]
    children = await asyncio.gather(*(shell(f"exit {code}") for code in codes))
    assert await asyncio.gather(*(child.wait() for child in children)) == codes


@on_loop
async def test_several_wait_for_one_child() -> None:
    child = await execute(*SLEEP)
    waiting = [asyncio.create_task(child.wait()) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    child.kill()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert done[1:] == [-signal.SIGKILL] * 4


@on_loop
async def test_a_wait_is_cancelled() -> None:
    """The child lives on and can be waited for again."""
    child = await execute(*SLEEP, stdout=PIPE)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await child.wait()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await child.communicate()
    assert child.returncode is None
    child.kill()
    assert await child.wait() == -signal.SIGKILL


@on_loop
async def test_starting_is_cancelled() -> None:
    """At whatever turn: nothing is left of it, which the gate of descriptors sees."""
    for number in range(4):
        task = asyncio.create_task(execute("cat", stdin=PIPE, stdout=PIPE))
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            child = await task
            child.kill()
            await child.wait()


class Told(asyncio.SubprocessProtocol):
    """Notes what it is told of a child."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.told.append("made")

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.told.append((fd, bytes(data)))

    def pipe_connection_lost(self, fd: int, error: Exception | None) -> None:
        self.told.append((fd, error))

    def process_exited(self) -> None:
        self.told.append(("exited", self.transport.get_returncode()))

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(("lost", error))
        self.lost.set_result(None)


@on_loop
async def test_what_a_protocol_is_told() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_shell(
        Told, "echo a; echo b >&2; exit 4"
    )
    assert isinstance(transport, asyncio.SubprocessTransport)
    assert isinstance(transport.get_extra_info("subprocess"), subprocess.Popen)
    assert transport.get_pid() == transport.get_extra_info("subprocess").pid
    assert isinstance(transport.get_pipe_transport(0), asyncio.WriteTransport)
    assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
    assert transport.get_pipe_transport(7) is None
    await protocol.lost
    told = protocol.told
    assert told[0] == "made"
    assert told[-1] == ("lost", None)
    expected = [(1, b"a\n"), (2, b"b\n"), (1, None), (2, None), ("exited", 4)]
    assert all(each in told for each in expected)
    assert told.index((1, b"a\n")) < told.index((1, None))
    assert transport.get_returncode() == 4
    transport.close()
    assert transport.is_closing()


@on_loop
async def test_closing_a_transport_ends_the_child() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(Told, *SLEEP)
    pid = transport.get_pid()
    transport.close()
    await protocol.lost
    assert ("exited", -signal.SIGKILL) in protocol.told
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@on_loop
async def test_a_slow_loop_misses_nothing() -> None:
    """Children that ended while the loop was busy."""
    children = [await shell(f"echo {n}; exit {n}", stdout=PIPE) for n in range(5)]
    time.sleep(0.05)
    for number, child in enumerate(children):
        out, _ = await child.communicate()
        assert (out, child.returncode) == (b"%d\n" % number, number)


@on_loop
async def test_the_handler_of_the_signal_is_nobodys() -> None:
    before = signal.getsignal(signal.SIGCHLD)
    child = await execute("true")
    assert signal.getsignal(signal.SIGCHLD) is before
    assert await child.wait() == 0
    assert signal.getsignal(signal.SIGCHLD) is before


@on_loop
async def test_beside_children_of_others() -> None:
    """Those of subprocess.run stay its own."""
    child = await execute("cat", stdin=PIPE)
    done = await asyncio.to_thread(subprocess.run, ["sh", "-c", "exit 9"], check=False)
    assert done.returncode == 9
    assert subprocess.run(["sh", "-c", "exit 8"], check=False).returncode == 8
    child.stdin.close()
    assert await child.wait() == 0


def test_a_loop_in_another_thread(runner: asyncio.Runner) -> None:
    seen: list[Any] = []

    async def main() -> None:
        children = await asyncio.gather(
            *(shell(f"cat; exit {n}", stdin=PIPE, stdout=PIPE) for n in range(5))
        )
        for number, child in enumerate(children):
            out, _ = await child.communicate(b"%d" % number)
            seen.append((out, child.returncode))

    def run() -> None:
        try:
            runner.run(main())
        finally:
            runner.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert seen == [(b"%d" % n, n) for n in range(5)]


@on_loop
async def test_data_outlives_its_child() -> None:
    child = await shell("head -c 50000 /dev/zero", stdout=PIPE)
    assert await child.wait() == 0
    assert await child.stdout.read() == bytes(50_000)
