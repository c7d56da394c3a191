"""Fork, the end of the interpreter, and processes that may not use io_uring.

Each in a Python of its own with warnings as errors, which must end well and say nothing
on stderr unless the test expects it.
"""

from __future__ import annotations

import os
import signal
import sys

import pytest
from flights import check_process, in_process
from seccomp import ENTER, REGISTER, SETUP

HEAD = """
import asyncio, os, socket, sys, threading, warnings
import syslet_loop
from syslet_loop import calls, syslet

@syslet
def receive(s, fd):
    made = s.eventfd(0)
    s.recv(fd, 100)
    return made

@syslet
def ticking(s, fd):
    with s.loop():
        s.emit(s.recv(fd, 100))

ends = socket.socketpair()
ends[0].setblocking(False)
left, right = [end.detach() for end in ends]

async def flying(count):
    loop = asyncio.get_running_loop()
    while loop.stats()["flying"] != count:
        await asyncio.sleep(0)
"""

FORBID = "from seccomp import forbid"


def uring_works() -> bool:
    script = "from syslet_loop import _native; e = _native.Engine('uring'); e.close()"
    return in_process(script).returncode == 0


URING_WORKS = uring_works()


@pytest.fixture(params=["uring", "epoll"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend, for a process of its own."""
    name: str = request.param
    if name == "uring" and not URING_WORKS:
        pytest.skip("this process may not use io_uring")
    return name


# Fork.


def test_the_parents_loop_is_refused_in_a_child(backend: str) -> None:
    script = """
warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads about

def child(engine, flight):
    for use in (lambda: engine.turn(0), engine.stats, engine.wake, engine.fileno):
        try:
            use()
        except RuntimeError as error:
            assert "parent" in str(error), error
        else:
            raise AssertionError("the parent's engine was used")
    try:
        calls.getppid().send(None)
    except RuntimeError:
        pass
    flight.close()
    asyncio._set_running_loop(None)
    assert syslet_loop.run(own()) == os.getppid()
    engine.close()

async def own():
    for _ in range(10):
        await calls.timeout(0.001)
    return await calls.getppid()

async def main():
    engine = asyncio.get_running_loop().engine
    flight = receive(left)
    flight.send(None)
    await flying(1)
    task = asyncio.create_task(receive(left))
    await flying(2)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(engine, flight)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.write(right, b"x")
    await flying(1)
    os.write(right, b"y")
    os.close(await task)
    flight.close()
    await flying(0)

syslet_loop.run(main())
"""
    check_process(HEAD + script, backend)


def test_a_child_that_ends_as_usual(backend: str) -> None:
    """Its copy of the loop goes with it, through the interpreter's normal end."""
    script = """
warnings.simplefilter("ignore")

async def main():
    task = asyncio.create_task(receive(left))
    await flying(1)
    pid = os.fork()
    if pid == 0:
        os.environ["CHILD"] = "yes"
        raise SystemExit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    os.write(right, b"x")
    os.close(await task)

loop = syslet_loop.new_event_loop()
try:
    loop.run_until_complete(main())
finally:
    if not os.environ.get("CHILD"):
        loop.close()
"""
    done = in_process(HEAD + script, backend)
    assert done.returncode == 0, done


def test_a_loop_made_in_a_child_of_multiprocessing(backend: str) -> None:
    script = """
import multiprocessing
warnings.simplefilter("ignore", DeprecationWarning)

def work(number):
    return syslet_loop.run(calls.getpid())

if __name__ == "__main__":
    syslet_loop.run(calls.getppid())
    context = multiprocessing.get_context("fork")
    with context.Pool(3) as pool:
        assert os.getpid() not in pool.map(work, range(20))
    syslet_loop.run(calls.getppid())
"""
    check_process(HEAD + script, backend)


# The end of the interpreter.


def test_an_end_with_flights_in_the_air(backend: str) -> None:
    """Nobody closes the loop, and everything is still referenced."""
    script = """
async def main():
    global kept
    kept = [asyncio.create_task(receive(left)) for _ in range(10)]
    target = bytearray(5)
    kept.append(asyncio.create_task(calls.recv(left, target)))
    kept.append(anext(ticking.events(left)))
    kept[-1].send(None)
    kept.append(anext(receive.map([left] * 5)))
    kept[-1].send(None)
    await flying(17)

loop = syslet_loop.new_event_loop()
loop.run_until_complete(main())
print("end")
"""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stdout) == (0, "end\n"), done
    assert "Fatal" not in done.stderr and "Segmentation" not in done.stderr


@pytest.mark.parametrize("end", ["sys.exit(3)", "os._exit(3)", "raise SystemExit(3)"])
def test_an_end_inside_the_loop(backend: str, end: str) -> None:
    script = f"""
async def main():
    task = asyncio.create_task(receive(left))
    await flying(1)
    {end}

syslet_loop.run(main())
"""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stderr) == (3, ""), done


def test_an_end_while_a_daemon_thread_runs_a_loop(backend: str) -> None:
    script = """
import time
started = threading.Event()

@syslet
def echo(s, number: int):
    return s.nop(number)

async def main():
    waiting = [asyncio.create_task(receive(left)) for _ in range(5)]
    asyncio.get_running_loop().call_later(0.005, started.set)
    while True:
        await calls.timeout(0.0001)
        async for _ in echo.map(range(50)):
            pass

threading.Thread(target=syslet_loop.run, args=(main(),), daemon=True).start()
started.wait()
print("end")
"""
    for _ in range(5):
        done = in_process(HEAD + script, backend)
        assert (done.returncode, done.stdout) == (0, "end\n"), done
        assert "Fatal" not in done.stderr, done


def test_an_end_while_a_daemon_thread_waits(backend: str) -> None:
    """The thread is in the kernel, without the lock, when the interpreter goes."""
    script = """
started = threading.Event()

async def main():
    asyncio.get_running_loop().call_soon(started.set)
    await receive(left)

threading.Thread(target=syslet_loop.run, args=(main(),), daemon=True).start()
started.wait()
import time
time.sleep(0.01)
print("end")
"""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", ""), done


def test_an_end_while_workers_wait(backend: str) -> None:
    script = """
import fcntl, tempfile

@syslet
def lock(s, path):
    fd = s.openat(path, os.O_RDWR)
    s.flock(fd, fcntl.LOCK_EX)

async def main():
    global kept
    kept = [asyncio.create_task(lock(file.name)) for _ in range(10)]
    await flying(10)

file = tempfile.NamedTemporaryFile()
fcntl.flock(file, fcntl.LOCK_EX)
loop = syslet_loop.new_event_loop()
loop.run_until_complete(main())
print("end")
"""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stdout) == (0, "end\n"), done
    assert "Fatal" not in done.stderr, done


def test_flights_that_outlive_modules(backend: str) -> None:
    """Awaitables that are let go while the interpreter takes itself apart."""
    script = """
class Late:
    def __init__(self, *kept):
        self.kept = kept

    def __del__(self):
        self.kept = None

async def main():
    flight = receive(left)
    flight.send(None)
    sys.late = Late(flight)
    await flying(1)

loop = syslet_loop.new_event_loop()
loop.run_until_complete(main())
print("end")
"""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stdout) == (0, "end\n"), done


def test_an_interrupt_from_a_terminal(backend: str) -> None:
    script = """
import signal
main_thread = threading.get_ident()

async def main():
    threading.Timer(0.02, signal.pthread_kill, (main_thread, signal.SIGINT)).start()
    try:
        await receive(left)
    finally:
        print("cleaned up", flush=True)

syslet_loop.run(main())
"""
    done = in_process(HEAD + script, backend)
    assert done.stdout == "cleaned up\n"
    assert done.returncode == -signal.SIGINT, done
    assert done.stderr.strip().endswith("KeyboardInterrupt")


# Without io_uring.

USE = """
@syslet
def read_file(s, path):
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, 65536)
    s.close(fd)
    return data

async def main():
    os.write(right, b"x")
    os.close(await receive(left))
    await calls.timeout(0.001)
    assert await read_file("/proc/self/comm")
    return asyncio.get_running_loop().backend

print(syslet_loop.run(main()))
"""


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ((SETUP,), 1),  # EPERM: Docker's and Kubernetes' profiles
        ((SETUP,), 38),  # ENOSYS: an old kernel, gVisor
        ((SETUP,), 12),  # ENOMEM: locked memory
        ((REGISTER,), 1),
        ((ENTER,), 1),  # setting up works, using it does not
        ((SETUP, ENTER, REGISTER), 38),
    ],
)
def test_epoll_takes_over_without_a_word(numbers: tuple[int, ...], error: int) -> None:
    script = f"{FORBID}\nforbid({numbers}, {error})\n{HEAD}{USE}"
    output = check_process(script)
    assert output in ("epoll\n", "uring\n")
    if numbers != (REGISTER,):
        assert output == "epoll\n"


@pytest.mark.parametrize(("number", "error"), [(SETUP, 1), (SETUP, 38), (ENTER, 1)])
def test_forced_it_is_an_error_that_says_why(number: int, error: int) -> None:
    done = in_process(f"{FORBID}\nforbid({(number,)}, {error})\n{HEAD}{USE}", "uring")
    assert done.returncode == 1, done
    last = done.stderr.strip().splitlines()[-1]
    assert "SYSLET_LOOP_BACKEND=uring, but io_uring is not to be had here" in last
    assert os.strerror(error) in last
    assert "never awaited" not in done.stderr


def test_forced_on_a_foreign_loop() -> None:
    script = """
async def main():
    try:
        await calls.getppid()
    except OSError as error:
        print(type(error).__name__, error.errno)

asyncio.run(main())
"""
    source = f"{FORBID}\nforbid({(SETUP,)}, 1)\n{HEAD}{script}"
    assert check_process(source, "uring") == "PermissionError 1\n"


def test_without_descriptors_for_an_engine() -> None:
    """The limit on open files is reached: an error, and all is well afterwards."""
    script = """
import resource

async def main():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd")))
    for more in range(8):
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + more, hard))
        try:
            await calls.getppid()
        except OSError as error:
            assert error.errno == 24, error
        else:
            break
    else:
        raise AssertionError("no engine at all")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert more > 0
    await calls.timeout(0.001)
    print("fine")

syslet_loop.run(main())
"""
    assert check_process(HEAD + script) == "fine\n"


def test_an_unknown_backend_is_named() -> None:
    done = in_process(HEAD + USE, "best")
    assert done.returncode == 1
    assert "SYSLET_LOOP_BACKEND is 'best'" in done.stderr


def test_optimised_python_and_development_mode(backend: str) -> None:
    import subprocess

    environ = {**os.environ, "SYSLET_LOOP_BACKEND": backend}
    for options in (["-OO"], ["-X", "dev"], ["-I"]):
        done = subprocess.run(
            [sys.executable, *options, "-W", "error", "-c", HEAD + USE],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, ""), done
