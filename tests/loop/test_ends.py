"""The end: of the interpreter with a loop at work, of a run by an interrupt, of a loop
that nobody closes. Each in a Python of its own; and other processes started meanwhile.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import check_process, in_process

HEAD = """
import asyncio, gc, os, signal, socket, sys, threading, warnings
import syslet_loop
from syslet_loop import calls

async def echo(reader, writer):
    while data := await reader.read(1000):
        writer.write(data)
    writer.close()

class Closed(asyncio.Protocol):
    def data_received(self, data):
        pass

async def busy():
    \"\"\"Transports of all kinds that send and receive, timers, readers, flights.\"\"\"
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    left, right = socket.socketpair()
    left.setblocking(False)
    loop.add_reader(left, left.recv, 100)
    made = [await asyncio.open_connection(*address) for _ in range(5)]
    stuck, _ = await loop.create_connection(Closed, *address)
    stuck.pause_reading()
    stuck.write(bytes(10_000_000))
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    udp, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    for _, writer in made:
        writer.write(bytes(100_000))
    flights = [asyncio.ensure_future(calls.recv(right.fileno(), bytearray(5)))]
    flights += [asyncio.ensure_future(calls.timeout(60)) for _ in range(5)]
    loop.call_later(60, print, "late")
    for _ in range(20):
        await asyncio.sleep(0.001)
        process.stdin.write(b"x")
    return locals()
"""


def without_a_crash(script: str, backend: str, code: int = 0, output: str = "") -> str:
    """What it wrote to stderr: warnings of what was left open are as they should be."""
    done = in_process(HEAD + script, backend)
    assert (done.returncode, done.stdout) == (code, output), done.stderr
    for word in ("Fatal", "Segmentation", "assert", "Traceback (most"):
        assert word not in done.stderr, done.stderr
    return done.stderr


QUIET = 'warnings.simplefilter("ignore")\n'
QUIET += "sys.unraisablehook = id  # asyncio's own transports complain about the end\n"
QUIET += "asyncio.log.logger.disabled = True\n"


def test_the_interpreter_ends_with_everything_open(backend: str) -> None:
    script = """
loop = syslet_loop.new_event_loop()
kept = loop.run_until_complete(busy())
print("end")
"""
    without_a_crash(QUIET + script, backend, output="end\n")


def test_the_interpreter_ends_inside_the_loop(backend: str) -> None:
    script = """
async def main():
    global kept
    kept = await busy()
    sys.exit(3)

loop = syslet_loop.new_event_loop()
loop.run_until_complete(main())
"""
    without_a_crash(QUIET + script, backend, code=3)


def test_daemon_threads_run_loops_at_the_end(backend: str) -> None:
    script = """
started = [threading.Event() for _ in range(3)]

async def main(event):
    kept = await busy()
    event.set()
    reader, writer = kept["made"][0]
    while True:
        writer.write(b"more")
        await reader.read(100)

for event in started:
    threading.Thread(target=syslet_loop.run, args=(main(event),), daemon=True).start()
for event in started:
    event.wait()
print("end")
"""
    for _ in range(3):
        done = in_process(HEAD + QUIET + script, backend)
        assert (done.returncode, done.stdout) == (0, "end\n"), done
        assert "Fatal" not in done.stderr, done


def test_a_loop_that_nobody_closes(backend: str) -> None:
    """It is collected with all that it has, and gives everything back."""
    script = """
def fds():
    return len(os.listdir("/proc/self/fd"))

def once():
    loop = syslet_loop.new_event_loop()
    kept = loop.run_until_complete(busy())
    for flight in kept["flights"]:  # a flight keeps its loop until it has landed
        flight.cancel()
    kept["process"].kill()
    loop.run_until_complete(kept["process"].wait())  # asyncio keeps a pidfd till then
    while loop.stats()["flying"]:
        loop.run_until_complete(asyncio.sleep(0))

def collect():
    for _ in range(4):
        gc.collect()

once()
collect()
before = fds()
for _ in range(5):
    once()
    collect()
assert fds() <= before, (before, fds())
"""
    without_a_crash(QUIET + script, backend)


def test_interrupts_end_a_tick_and_lose_nothing(backend: str) -> None:
    """KeyboardInterrupt in the middle of a tick: the next run goes on where it was."""
    script = """
async def echo_back(writer, reader, number):
    writer.write(b"%04d" % number)
    return await reader.readexactly(4)

async def start():
    global server, pairs
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    pairs = [await asyncio.open_connection(*address) for _ in range(10)]

async def talk():
    for number in range(200):
        for (reader, writer) in pairs:
            writer.write(b"%04d" % number)
        for (reader, writer) in pairs:
            assert await reader.readexactly(4) == b"%04d" % number
        if number % 10 == 0:
            loop.call_soon(signal.raise_signal, signal.SIGINT)

async def stop():
    for (_, writer) in pairs:
        writer.close()
        await writer.wait_closed()
    server.close()
    for _ in range(20):
        await asyncio.sleep(0)  # the server's ends

loop = syslet_loop.new_event_loop()
loop.run_until_complete(start())
task = loop.create_task(talk())
interrupts = 0
while not task.done():
    try:
        task.add_done_callback(lambda _: loop.stop())
        loop.run_forever()
    except KeyboardInterrupt:
        interrupts += 1
task.result()
assert interrupts == 20, interrupts
loop.run_until_complete(stop())
loop.close()
"""
    check_process(HEAD + script, backend)


def test_an_interrupt_during_a_flight_of_a_worker(backend: str) -> None:
    script = """
import fcntl, tempfile
from syslet_loop import syslet

@syslet
def lock(s, path):
    fd = s.openat(path, os.O_RDWR)
    s.flock(fd, fcntl.LOCK_EX)

async def main():
    loop.call_later(0.02, signal.raise_signal, signal.SIGINT)
    await lock(file.name)

file = tempfile.NamedTemporaryFile()
fcntl.flock(file, fcntl.LOCK_EX)
loop = syslet_loop.new_event_loop()
try:
    loop.run_until_complete(main())
except KeyboardInterrupt:
    print("interrupted")
loop.close()
file.close()
"""
    output = in_process(HEAD + QUIET + script, backend)
    assert (output.returncode, output.stdout) == (0, "interrupted\n"), output


def test_faulthandler_prints_the_stack_of_a_wait(backend: str) -> None:
    script = """
import faulthandler, subprocess

async def wait_here():
    faulthandler.register(signal.SIGUSR2)
    command = f"sleep 0.05; kill -USR2 {os.getpid()}"  # by nobody whose stack moves
    with subprocess.Popen(["sh", "-c", command]):
        await asyncio.sleep(0.1)

syslet_loop.run(wait_here())
"""
    done = in_process(HEAD + script, backend)
    assert done.returncode == 0 and "run_forever" in done.stderr, done


def test_a_crash_is_told_with_its_stack(backend: str) -> None:
    script = """
async def main():
    os.abort()

syslet_loop.run(main())
"""
    done = in_process(HEAD + script, backend)
    assert done.returncode == -6 and "in main" in done.stderr, done


# Other processes.

POOL = """
import concurrent.futures, multiprocessing
warnings.simplefilter("ignore", DeprecationWarning)

def work(number):
    return number * syslet_loop.run(one())

async def one():
    reader, writer = await asyncio.open_connection(*(await serve()))
    writer.write(b"word")
    assert await reader.readexactly(4) == b"word"
    writer.close()
    await calls.timeout(0.0001)
    return 1

async def serve():
    global server
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server.sockets[0].getsockname()

async def main():
    loop = asyncio.get_running_loop()
    address = await serve()
    reader, writer = await asyncio.open_connection(*address)
    context = multiprocessing.get_context("METHOD")
    with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
        jobs = [loop.run_in_executor(pool, work, number) for number in range(6)]
        for number in range(50):
            writer.write(b"%04d" % number)
            assert await reader.readexactly(4) == b"%04d" % number
        assert await asyncio.gather(*jobs) == list(range(6))
    process = context.Process(target=work, args=(1,))
    process.start()
    await loop.run_in_executor(None, process.join)
    assert process.exitcode == 0
    writer.write(b"last")
    assert await reader.readexactly(4) == b"last"
    writer.close()
    await writer.wait_closed()

if __name__ == "__main__":
    syslet_loop.run(main())
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(backend: str, method: str, tmp_path: Path) -> None:
    """Its children import the script, so it is a file."""
    path = tmp_path / "started.py"
    path.write_text(HEAD + QUIET + POOL.replace("METHOD", method))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env={**os.environ, "SYSLET_LOOP_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_subprocesses_of_loops_in_several_threads(backend: str) -> None:
    script = """
import sys

async def children():
    for number in range(5):
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f"cat; exit {number}", stdin=-1, stdout=-1
        )
        output, _ = await process.communicate(b"word")
        assert (output, process.returncode) == (b"word", number)

def run():
    try:
        syslet_loop.run(asyncio.wait_for(children(), 30))
    except BaseException:
        failures.append(sys.exc_info())
        raise

failures = []
if sys.version_info < (3, 12):
    warnings.simplefilter("ignore")
threads = [threading.Thread(target=run) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not failures
"""
    check_process(HEAD + script, backend)
