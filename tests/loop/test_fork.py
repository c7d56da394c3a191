"""Fork with a loop of ours about: the child's copy of it touches nothing of the parent.

Each test runs in a Python of its own. The parent has everything that a loop can have in
the kernel (connections, readers, signal handlers, a child), and uses it after the child
has done its worst.
"""

from __future__ import annotations

import pytest
from processes import check_process

HEAD = """
import asyncio, gc, os, signal, socket, sys, threading, warnings
import syslet_loop
from syslet_loop import calls

warnings.simplefilter("ignore", DeprecationWarning)  # of fork with threads about
asyncio.log.logger.setLevel("ERROR")  # a busy machine makes slow callbacks

def refused(use, *args):
    try:
        use(*args)
    except RuntimeError as error:
        assert "parent process" in str(error), error
    else:
        raise AssertionError(f"{use} was not refused")

def forked(work):
    \"\"\"Run `work` in a child, which must end well.\"\"\"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

class World:
    \"\"\"All that a loop can have, and whether it still works.\"\"\"

    async def start(self):
        self.loop = asyncio.get_running_loop()
        self.signals = 0
        self.loop.add_signal_handler(signal.SIGUSR1, self.note_signal)
        self.server = await self.loop.create_server(Echo, "127.0.0.1", 0)
        self.address = self.server.sockets[0].getsockname()
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        self.left, self.right = socket.socketpair()
        self.left.setblocking(False)
        self.readable = asyncio.Event()
        self.loop.add_reader(self.left, self.readable.set)
        self.process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        await self.check()

    def note_signal(self):
        self.signals += 1

    async def echo(self, reader, writer):
        writer.write(b"word")
        assert await reader.readexactly(4) == b"word"

    async def check(self):
        async with asyncio.timeout(20):
            await self.echo(self.reader, self.writer)
            await self.echo(self.process.stdout, self.process.stdin)
            reader, writer = await asyncio.open_connection(*self.address)
            await self.echo(reader, writer)
            writer.close()
            await writer.wait_closed()
            self.right.send(b"x")
            await self.readable.wait()
            assert self.left.recv(9) == b"x"
            self.readable.clear()
            before = self.signals
            signal.raise_signal(signal.SIGUSR1)
            while self.signals == before:
                await asyncio.sleep(0)
            await calls.timeout(0.001)
            assert await calls.getpid() == os.getpid()

    async def stop(self):
        self.process.stdin.close()
        assert await self.process.wait() == 0
        self.writer.close()
        await self.writer.wait_closed()
        self.loop.remove_reader(self.left)
        self.left.close()
        self.right.close()
        self.loop.remove_signal_handler(signal.SIGUSR1)
        self.server.close()

world = World()
"""


@pytest.mark.parametrize("debug", [False, True])
def test_a_child_of_a_running_loop(backend: str, debug: bool) -> None:
    """Every use is refused, and a loop of the child's own has all that it needs."""
    script = """
async def own():
    await World.start(other := World())
    await other.check()
    await other.stop()

def child():
    loop = world.loop
    loop._thread_id = None  # as its copy, which does not run here
    for use in (
        lambda: loop.backend,
        loop.stats,
        lambda: loop.engine,
        loop.run_forever,
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.add_reader(world.right, print),
        lambda: loop.add_writer(world.left, print),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.sock_recv(world.left, 1).send(None),
        lambda: loop._run_once(),
    ):
        refused(use)
    coroutine = own()
    refused(loop.run_until_complete, coroutine)
    refused(loop.create_task, coroutine)
    coroutine.close()
    syslet_loop.run(own())
    asyncio.run(own(), loop_factory=None) if sys.version_info >= (3, 12) else None

async def main():
    await world.start()
    forked(child)
    await world.check()
    await world.stop()

syslet_loop.run(main(), debug=DEBUG)
"""
    check_process(HEAD + script.replace("DEBUG", str(debug)), backend)


def test_a_child_that_closes_the_parents_loop(backend: str) -> None:
    """Between two runs; what the loop had is collected in the child."""
    script = """
def be_quiet():
    warnings.simplefilter("ignore")
    sys.unraisablehook = id  # asyncio's pipes, on a closed loop

def child():
    be_quiet()
    loop.remove_reader(world.left)
    refused(loop.run_until_complete, loop.create_future())
    world.server.close()
    loop.close()
    assert loop.is_closed()
    world.__dict__.clear()
    gc.collect()
    syslet_loop.run(asyncio.sleep(0.001))

def forgetful_child():
    global loop
    be_quiet()
    world.__dict__.clear()
    loop = None
    for _ in range(3):
        gc.collect()
    syslet_loop.run(asyncio.sleep(0.001))

loop = syslet_loop.new_event_loop()
loop.run_until_complete(world.start())
forked(child)
loop.run_until_complete(world.check())
forked(forgetful_child)
loop.run_until_complete(world.check())
loop.run_until_complete(world.stop())
loop.close()
"""
    check_process(HEAD + script, backend)


@pytest.mark.parametrize("end", ["raise SystemExit(0)", "return", "loop.stop()"])
def test_what_is_ready_runs_once(backend: str, end: str) -> None:
    """Callbacks and connections that were ready at the fork are the parent's."""
    script = f"""
def fork():
    pid = os.fork()
    if pid == 0:
        global in_child
        in_child = True
        {end}
    else:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

async def main():
    await world.start()
    left, right = socket.socketpair()
    with left, right:
        world.writer.write(b"abcd")  # ready when the next tick begins
        loop.call_soon(fork)
        for number in range(10):
            loop.call_soon(right.send, b"%d" % number)
        assert await world.reader.readexactly(4) == b"abcd"
        assert left.recv(100) == b"0123456789"
    await world.check()
    await world.stop()

in_child = False
loop = syslet_loop.new_event_loop()
try:
    loop.run_until_complete(main())
except RuntimeError as error:
    assert in_child, error
    os._exit(0 if "parent process" in str(error) or "stopped" in str(error) else 1)
finally:
    if in_child:
        os._exit(0)
loop.close()
"""
    check_process(HEAD + script, backend)


def test_a_loop_that_has_touched_nothing_is_the_childs_too(backend: str) -> None:
    script = """
async def main():
    await world.start()
    await world.check()
    await world.stop()

loop = syslet_loop.new_event_loop()
loop.call_soon(os.write, 1, b"ran\\n")
forked(lambda: loop.run_until_complete(main()))
loop.run_until_complete(main())
loop.close()
"""
    assert check_process(HEAD + script, backend) == "ran\nran\n"


def test_a_loop_that_runs_but_never_waited(backend: str) -> None:
    script = """
async def main():
    forked(lambda: refused(loop._run_once))
    pid = os.fork()
    if pid == 0:
        await asyncio.sleep(0)
    os.waitpid(pid, 0)
    await world.start()
    await world.stop()

loop = syslet_loop.new_event_loop()
parent = os.getpid()
try:
    loop.run_until_complete(main())
except RuntimeError as error:
    assert os.getpid() != parent and "parent process" in str(error), error
    os._exit(0)
loop.close()
"""
    check_process(HEAD + script, backend)


def test_fork_in_another_thread(backend: str) -> None:
    """The loop sleeps in its wait meanwhile, and is not woken by the child."""
    script = """
def child():
    refused(world.loop.call_soon_threadsafe, print)
    refused(asyncio.run_coroutine_threadsafe, asyncio.sleep(0), world.loop)
    syslet_loop.run(asyncio.sleep(0.001))

def call():
    try:
        forked(child)
    finally:
        world.loop.call_soon_threadsafe(ended.set)

async def main():
    global ended
    await world.start()
    ended = asyncio.Event()
    threading.Thread(target=call).start()
    await ended.wait()
    await world.check()
    await world.stop()

warnings.filterwarnings("ignore", "coroutine .* was never awaited")
syslet_loop.run(main())
"""
    check_process(HEAD + script, backend)


def test_a_signal_of_the_child_is_not_the_parents(backend: str) -> None:
    script = """
async def main():
    await world.start()
    before = world.signals
    forked(lambda: signal.raise_signal(signal.SIGUSR1))
    for _ in range(10):
        await asyncio.sleep(0.001)
    assert world.signals == before
    await world.check()
    await world.stop()

syslet_loop.run(main())
"""
    check_process(HEAD + script, backend)


def test_children_of_children(backend: str) -> None:
    script = """
async def grandchild():
    await World.start(other := World())
    await other.stop()

async def child():
    await World.start(other := World())
    forked(lambda: (refused(world.loop.stats), syslet_loop.run(grandchild())))
    await other.check()
    await other.stop()

async def main():
    await world.start()
    forked(lambda: syslet_loop.run(child()))
    await world.check()
    await world.stop()

syslet_loop.run(main())
"""
    check_process(HEAD + script, backend)


def test_fork_and_exec(backend: str) -> None:
    """None of the loop's descriptors gets past an exec."""
    script = """
async def main():
    await world.start()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(write, 1)
        os.execvp("ls", ["ls", "/proc/self/fd"])
    os.close(write)
    with open(read) as listing:
        assert set(listing.read().split()) <= {"0", "1", "2", "3"}
    os.waitpid(pid, 0)
    await world.check()
    await world.stop()

syslet_loop.run(main())
"""
    check_process(HEAD + script, backend)
