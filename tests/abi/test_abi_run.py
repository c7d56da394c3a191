"""syslet_loop.abi.run: C structures as one awaitable, on our loop and asyncio's."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import re
import signal
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import syslet_loop
from abi.atoms import ASYNC, V6, Head, Program
from syslet_loop import abi, memory
from syslet_loop.abi import address, ffi, lib, run

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "ours": syslet_loop.new_event_loop,
    "asyncio": asyncio.new_event_loop,
}
try:
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
    uvloop.new_event_loop().close()  # it keeps a pipe from its first loop on
except ImportError:
    pass


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest) -> Any:
    def call(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(main)

    return call


def reader(fd: int) -> Program:
    program = Program(V6, 2)
    buffer = ffi.new("char[8]")
    program.kept.append(buffer)
    program.set(0, "read", fd, address(buffer), 1, next=1)
    program.set(1, "getpid")
    return program


def test_what_does_not_wait_does_not_wait(on_loop: Any) -> None:
    program = Program(V6, 1)
    program.set(0, "getppid")

    async def main() -> Any:
        running = run(program.atoms, program)
        with pytest.raises(StopIteration) as ended:
            running.send(None)
        return ended.value.value

    assert on_loop(main()) == ffi.cast("struct syslet_uatom *", program.at(0))
    assert program.results[0] == os.getppid()


def test_what_waits_is_awaited(on_loop: Any) -> None:
    start, finish = os.pipe()
    programs = [reader(start) for _ in range(20)]

    async def main() -> list[Any]:
        tasks = [asyncio.ensure_future(run(p.atoms, p)) for p in programs]
        await asyncio.sleep(0)
        os.write(finish, b"x" * 20)
        return await asyncio.gather(*tasks)

    lasts = on_loop(main())
    ended_at = [p.index_of(last) for p, last in zip(programs, lasts, strict=True)]
    assert ended_at == [1] * 20
    assert all(list(p.results) == [1, os.getpid()] for p in programs)
    os.close(start)
    os.close(finish)


def test_cancelling_waits_until_the_memory_is_free(on_loop: Any) -> None:
    start, finish = os.pipe()
    program = reader(start)

    async def main() -> None:
        task = asyncio.ensure_future(run(program.atoms, program))
        await asyncio.sleep(0)
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert program.results[0] in (-errno.EINTR, -errno.ECANCELED)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run(program.atoms, program), 0.01)
        os.write(finish, b"x")  # nobody reads it any more
        assert await asyncio.wait_for(run(program.atoms, program), 10)

    on_loop(main())
    assert list(program.results) == [1, os.getpid()]
    os.close(start)
    os.close(finish)


@pytest.mark.parametrize("name", LOOPS)
def test_closing_the_loop_ends_what_is_pending(name: str) -> None:
    start, finish = os.pipe()
    program = reader(start)
    loop = LOOPS[name]()

    async def main() -> Any:
        task = asyncio.ensure_future(run(program.atoms, program))
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(main())
    loop.close()
    assert program.results[0] in (-errno.EINTR, -errno.ECANCELED)
    task._log_destroy_pending = False
    del task
    gc.collect()
    os.close(start)
    os.close(finish)


def test_memory_lives_until_nothing_uses_it(on_loop: Any) -> None:
    start, finish = os.pipe()

    async def main() -> None:
        program = reader(start)
        alive = weakref.ref(program)
        running = run(program.atoms, program)
        waits = running.send(None)  # it is away, and nobody will wait for it
        waits._asyncio_future_blocking = False
        running.close()
        del program, running, waits
        gc.collect()
        assert alive() is not None
        os.write(finish, b"x")
        while alive() is not None:
            await asyncio.sleep(0)
            gc.collect()

    on_loop(main())
    os.close(start)
    os.close(finish)


def test_an_exception_at_the_moment_it_goes_away(on_loop: Any) -> None:
    """As of Control-C: its memory is still kept, its end is still collected."""
    start, finish = os.pipe()

    class Interrupt(BaseException):
        pass

    def raises(number: int, frame: object) -> None:
        raise Interrupt

    async def main() -> None:
        await run(still.atoms, still)  # the loop's hub is there now
        program = reader(start)
        program.set(0, "kill", os.getpid(), signal.SIGUSR1, next=1)
        program.set(1, "read", start, address(program.kept[0]), 1)
        alive = weakref.ref(program)
        running = run(program.atoms, program)
        before = signal.signal(signal.SIGUSR1, raises)
        with pytest.raises(Interrupt) as caught:
            running.send(None)
        signal.signal(signal.SIGUSR1, before)
        del program, running, caught
        gc.collect()
        assert alive() is not None
        os.write(finish, b"x")
        while alive() is not None:
            await asyncio.sleep(0)
            gc.collect()

    still = Program(V6, 1)
    still.set(0, "getpid")
    on_loop(main())
    os.close(start)
    os.close(finish)


def test_a_child_gives_up_what_is_the_parents() -> None:
    """Cancelled in a forked child it ends there at once: nothing runs there."""
    start, finish = os.pipe()
    program = reader(start)

    async def main() -> Any:
        running = run(program.atoms, program)
        waits = running.send(None)
        waits._asyncio_future_blocking = False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork
            child = os.fork()
        if child == 0:
            os._exit(not (waits.cancel() and waits.cancelled()))
        os.write(finish, b"x")
        with pytest.raises(StopIteration):
            await waits
            running.send(None)
        return os.waitpid(child, 0)[1]

    with asyncio.Runner(loop_factory=LOOPS["asyncio"]) as runner:
        assert runner.run(main()) == 0
    assert list(program.results) == [1, os.getpid()]
    os.close(start)
    os.close(finish)


def test_errors(on_loop: Any) -> None:
    program = Program(V6, 1)
    program.set(0, "getpid")
    program.poke(0, "next", 8)

    async def main() -> None:
        for flags in (0, ASYNC):
            program.atoms[0].flags = flags
            with pytest.raises(OSError, match="Bad address") as caught:
                await run(program.atoms)
            assert caught.value.errno == errno.EFAULT

    on_loop(main())


def test_without_a_loop() -> None:
    program = Program(V6, 1)
    program.set(0, "getpid")
    with pytest.raises(RuntimeError):
        run(program.atoms).send(None)


def test_atoms_of_the_other_door(on_loop: Any) -> None:
    """memory.new makes the same structure, with another cffi object."""
    number = memory.new("int64_t *")
    atom = memory.new("struct syslet_uatom *")
    atom.nr = abi.lib.SYSLET_NR_UMEM_ADD
    atom.ret_ptr = address(number)
    words = memory.new("uint64_t[2]", [address(number), 42])
    atom.arg_ptr[0], atom.arg_ptr[1] = address(words), address(words) + 8

    async def main() -> Any:
        return address(await run(atom, number, words))

    assert on_loop(main()) == address(atom)
    assert number[0] == 42


def test_runs_and_rings_do_not_mix(on_loop: Any) -> None:
    head, posted, awaited = Head(V6), Program(V6, 1), Program(V6, 1)
    posted.set(0, "getpid", flags=ASYNC)
    awaited.set(0, "getppid", flags=ASYNC)

    async def main() -> Any:
        assert head.exec(posted) is None
        return await run(awaited.atoms, awaited)

    assert awaited.index_of(on_loop(main())) == 0
    head.wait()
    assert head.take() == posted.at(0)
    assert head.take() is None


def test_faults_were_chosen_at_import() -> None:
    assert lib.syslet_faults(lib.SYSLET_FAULTS_SIGNALS) in (
        lib.SYSLET_FAULTS_PROBES,
        -errno.EBUSY,
    )
    lib.syslet_faults(lib.SYSLET_FAULTS_PROBES)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "libsyslet.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    script = tmp_path / "block.py"
    script.write_text(block)
    subprocess.run([sys.executable, "-W", "error", str(script)], check=True, timeout=60)
