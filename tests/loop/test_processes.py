"""Who waits for a child: the loop, a thread, or the watcher that a program has set."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
import warnings
from asyncio import events, unix_events
from collections.abc import Iterator
from typing import Any

import pytest

import syslet_loop
from syslet_loop import processes

PATIENCE_S = 20
watchers = pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has none")
PIPE = asyncio.subprocess.PIPE

execute = asyncio.create_subprocess_exec
shell = asyncio.create_subprocess_shell


@pytest.fixture
def runner(ours: asyncio.Runner) -> asyncio.Runner:
    """No other loop than ours."""
    return ours


@pytest.fixture
def policies() -> Iterator[None]:
    """The policy is as it was before, without a watcher of the test's."""
    before = events._event_loop_policy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
    events._event_loop_policy = before


async def codes(*wanted: int) -> None:
    """Children end with these codes, all at once."""
    async with asyncio.timeout(PATIENCE_S):
        children = await asyncio.gather(*(shell(f"exit {code}") for code in wanted))
        assert await asyncio.gather(*(c.wait() for c in children)) == list(wanted)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def refuse(number: int) -> Any:
    def pidfd_open(pid: int, flags: int = 0) -> int:
        raise OSError(number, os.strerror(number))

    return pidfd_open


class Ended:
    """A transport, as far as waiting needs one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def get_pid(self) -> int:
        return self._process.pid

    def get_extra_info(self, name: str) -> Any:
        return self._process

    def _process_exited(self, code: int) -> None:
        raise AssertionError("its loop is closed")


def test_no_thread_and_no_policy(runner: asyncio.Runner) -> None:
    before, policy = threads(), events._event_loop_policy

    async def main() -> None:
        children = [await execute("cat", stdin=PIPE) for _ in range(5)]
        assert threads() == before
        for child in children:
            child.stdin.close()
            assert await child.wait() == 0
        await codes(0, 3, 255)

    runner.run(main())
    assert events._event_loop_policy is policy


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
def test_without_pidfds(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "pidfd_open", refuse(number))

    async def main() -> None:
        child = await execute("cat", stdin=PIPE, stdout=PIPE)
        assert any("waitpid" in name for name in threads())
        assert await child.communicate(b"x") == (b"x", None)
        child = await execute("sleep", "60")
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        await codes(0, 1, 99)

    runner.run(main())


def test_a_thread_outlives_its_loop(caplog: pytest.LogCaptureFixture) -> None:
    loop = syslet_loop.new_event_loop()
    loop.close()
    with subprocess.Popen(["true"]) as child:
        child.wait()
        processes.wait_in_thread(loop, Ended(child))
    assert "that handles pid" in caplog.text
    assert "is closed" in caplog.text


def test_loops_in_several_threads(backend: str) -> None:
    failed: list[BaseException] = []

    def run(first: int) -> None:
        try:
            syslet_loop.run(codes(first, first + 1, first + 2))
        except BaseException as error:
            failed.append(error)

    others = [threading.Thread(target=run, args=(n * 10,)) for n in range(3)]
    for thread in others:
        thread.start()
    syslet_loop.run(codes(200, 201))
    for thread in others:
        thread.join(PATIENCE_S)
    assert failed == []


def test_reaped_by_somebody_else(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        child = await shell("exec sleep 1000")
        os.kill(child.pid, signal.SIGKILL)  # the loop does not see it before we do
        assert os.waitpid(child.pid, 0)[1] == signal.SIGKILL
        assert await child.wait() == 255

    runner.run(main())
    assert "exit status already read" in caplog.text


def test_reaped_by_the_kernel(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = runner.run(execute("true"))
        assert runner.run(child.wait()) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert "exit status already read" in caplog.text


def test_reaped_by_closing(
    runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """The code is the child's own, where asyncio would say 255."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.subprocess_shell(
            asyncio.SubprocessProtocol,
            "exec sleep 1000",
            stdin=None,
            stdout=None,
            stderr=None,
        )
        os.kill(transport.get_pid(), signal.SIGTERM)
        os.waitid(os.P_PID, transport.get_pid(), os.WEXITED | os.WNOWAIT)
        transport.close()
        assert await transport._wait() == -signal.SIGTERM

    runner.run(main())
    assert caplog.text == ""


def test_a_loop_is_closed_before_its_child(backend: str) -> None:
    """The gate of descriptors sees that nothing is left."""
    loop = syslet_loop.new_event_loop()
    child = loop.run_until_complete(execute("cat", stdin=PIPE))
    transport = child._transport
    loop.call_soon(transport.close)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    transport._proc.wait()


def own_watcher() -> Any:
    """A program's own, which notes the children that it is given in `pids`."""

    class Watcher(unix_events.ThreadedChildWatcher):
        def add_child_handler(self, pid: int, callback: Any, *args: Any) -> None:
            self.pids.append(pid)
            super().add_child_handler(pid, callback, *args)

    watcher = Watcher()
    watcher.pids = []
    return watcher


@watchers
def test_a_programs_own_watcher(runner: asyncio.Runner, policies: None) -> None:
    watcher = own_watcher()
    asyncio.set_child_watcher(watcher)
    runner.run(codes(0, 4))
    assert len(watcher.pids) == 2
    asyncio.set_child_watcher(None)
    runner.run(codes(0, 4))
    assert len(watcher.pids) == 2


@watchers
def test_asyncios_own_watcher_is_not_a_choice(
    runner: asyncio.Runner, policies: None
) -> None:
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    assert asyncio.get_child_watcher() is not None
    before = threads()

    async def main() -> None:
        child = await execute("cat", stdin=PIPE)
        assert threads() == before
        child.stdin.close()
        assert await child.wait() == 0

    runner.run(main())


@watchers
def test_a_policys_own_way(runner: asyncio.Runner, policies: None) -> None:
    watcher = own_watcher()

    class Policy(asyncio.DefaultEventLoopPolicy):
        def get_child_watcher(self) -> Any:
            return watcher

    asyncio.set_event_loop_policy(Policy())
    runner.run(codes(2))
    assert len(watcher.pids) == 1


@watchers
def test_a_policy_without_children(runner: asyncio.Runner, policies: None) -> None:
    class Policy(events.BaseDefaultEventLoopPolicy):
        _loop_factory = syslet_loop.new_event_loop

    asyncio.set_event_loop_policy(Policy())
    runner.run(codes(0, 2))
