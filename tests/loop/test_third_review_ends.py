"""Ends and beginnings that a third reading of the native loop found wrong.

An end of file that is told to a handler of signals only, descriptors that nobody may
use any more, the parent's callbacks in a child, many connections that end together.
asyncio's loop is the judge where it can be.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from loop.sockets import make_pair
from peers import PATIENCE_S, KeepsOpen, Recorder, on_loop, until, wired
from processes import check_process
from test_datagram import endpoint

ours = pytest.mark.parametrize("runner", ("plain", "uring", "epoll"), indirect=True)


# The end of file.


class Interrupted(Recorder):
    """Learns of the end of file only when it is told a second time."""

    def eof_received(self) -> bool | None:
        if "interrupted" not in self.told:
            self.told.append("interrupted")
            raise KeyboardInterrupt
        return super().eof_received()


class InterruptedOpen(Interrupted, KeepsOpen):
    """The same, and it writes on afterwards."""


@pytest.mark.parametrize("factory", [Interrupted, InterruptedOpen])
@pytest.mark.parametrize("debug", [False, True])
def test_an_interrupt_at_the_end_of_file(
    runner: asyncio.Runner, factory: Any, debug: bool
) -> None:
    """The protocol is told again when the loop runs again."""
    loop = runner.get_loop()
    loop.set_debug(debug)

    async def main() -> None:
        async with wired(factory) as (transport, protocol, peer):
            peer.send(b"data")
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "eof" in protocol.told)
            assert protocol.told[:4] == ["made", "data", "interrupted", "eof"]
            assert transport.is_closing() == (factory is Interrupted)

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    loop.run_until_complete(asyncio.wait_for(task, PATIENCE_S))


# Descriptors of what is closing.


@pytest.mark.parametrize("end", ["close", "abort"])
@on_loop
async def test_the_descriptor_of_a_closing_transport(end: str) -> None:
    """It may be asked for, and watched, until it is closed."""
    loop = asyncio.get_running_loop()
    async with wired() as (transport, _, _), endpoint() as (other, _):
        for each in (transport, other):
            number = each.get_extra_info("socket").fileno()
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.remove_reader(number)
            getattr(each, end)()
            assert loop.remove_reader(number) is False
            assert loop.remove_writer(number) is False
            loop.add_writer(number, print)
            assert loop.remove_writer(number) is True


class Socket(socket.socket):
    """A program may have a class of its own."""


@ours
@on_loop
async def test_a_closed_socket_of_another_class() -> None:
    """Its number is not used, as with any socket that is closed under its transport."""
    left, right = socket.socketpair()
    mine = Socket(fileno=left.detach())
    async with wired(sockets=(mine, right)) as (transport, protocol, _):
        number = mine.fileno()
        mine.close()
        with make_pair() as (new, other):
            assert new.fileno() == number
            other.send(b"of another")
            transport.write(b"for the peer")
            await protocol.lost
            assert new.recv(100) == b"of another"
            with pytest.raises(BlockingIOError):
                other.recv(100)
    assert protocol.data == b""


# Files of add_reader.


class File:
    """A file that, at its end, has the loop forget the number that it had."""

    def __init__(self, sock: socket.socket) -> None:
        self.number = sock.fileno()
        self.loop = asyncio.get_running_loop()

    def fileno(self) -> int:
        return self.number

    def __del__(self) -> None:
        self.loop.remove_reader(self.number)


@on_loop
async def test_the_end_of_a_file_removes_what_came_after_it() -> None:
    loop = asyncio.get_running_loop()
    with make_pair() as (left, _):
        for _ in range(3):
            loop.add_reader(File(left), print)
            loop.add_reader(left, print)
        loop.remove_reader(left)
        assert loop.remove_reader(left) is False


# Loops of the parent in a child.

CHILD = """
import asyncio, gc, os, warnings
import syslet_loop

def child():
    warnings.simplefilter("ignore")
    loop.close()
    gc.collect()
    loop.call_soon_threadsafe

loop = syslet_loop.new_event_loop()
loop.run_until_complete(asyncio.sleep(0.001))
for _ in range(WAITING):
    loop.call_soon(print, "in the parent")
pid = os.fork()
if pid == 0:
    child()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
loop.run_until_complete(asyncio.sleep(0))
loop.close()
"""


@pytest.mark.parametrize("waiting", [0, 1, 1000])
def test_a_child_closes_a_loop_with_callbacks_that_wait(
    backend: str, waiting: int
) -> None:
    """They are dropped, and collecting the loop looks for no others."""
    script = CHILD.replace("WAITING", str(waiting))
    assert check_process(script, backend) == "in the parent\n" * waiting


# Many ends at once.

MANY = """
import asyncio, resource, socket, warnings
import syslet_loop

NUMBER = 2600  # the kernel has two things to say of each: more than have room
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
warnings.simplefilter("ignore", ResourceWarning)

async def endpoint(loop):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.setblocking(False)
    made = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
    made[0].pause_reading()  # so that the loop does not keep it
    return made[0]

async def main():
    loop = asyncio.get_running_loop()
    transports = [await endpoint(loop) for _ in range(NUMBER)]
    await asyncio.sleep(0.001)
    before = loop.stats()["enters"]
    transports.clear()
    await asyncio.sleep(0)
    print(loop.stats()["enters"] - before < 20 * NUMBER)

if hard != resource.RLIM_INFINITY and hard < NUMBER + 100:
    print("too few descriptors")
else:
    syslet_loop.run(main())
"""


def test_many_transports_are_forgotten_together(backend: str) -> None:
    """The kernel is not entered again and again while its answers find no room."""
    said = check_process(MANY, backend)
    if said == "too few descriptors\n":
        pytest.skip(said)
    assert said == "True\n"
