"""The completion ring: posting, a full ring, waiting, cancelling, given threads."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from abi.atoms import ASYNC, EFAULT, NEGATIVE, Head, Layout, Program
from syslet_loop.abi import address, ffi, lib


def sleeper(layout: Layout, fd: int, count: int = 1) -> Program:
    """Atoms that each wait for a byte from `fd`."""
    program = Program(layout, count)
    buffer = ffi.new("char[8]")
    program.kept.append(buffer)
    for index in range(count):
        program.set(index, "read", fd, address(buffer), 1)
    return program


@pytest.fixture
def pipe() -> object:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_only_what_went_away_is_posted(layout: Layout) -> None:
    head, program = Head(layout), Program(layout, 1)
    program.set(0, "getpid")
    assert head.exec(program) == 0
    head.wait(1)  # nothing is pending: returns at once
    assert head.take() is None
    assert head.ahu.kernel_ring_idx == 0


def test_a_miss_returns_null_and_posts(layout: Layout, pipe: tuple[int, int]) -> None:
    head, program = Head(layout), sleeper(layout, pipe[0])
    assert head.exec(program) is None
    assert head.take() is None
    os.write(pipe[1], b"x")
    head.wait()
    assert head.take() == program.at(0)
    assert program.results[0] == 1


@pytest.mark.parametrize("name", ["write", "writev"])
def test_a_write_goes_on_where_it_was(
    layout: Layout, pipe: tuple[int, int], name: str
) -> None:
    """More than the pipe holds: a part here, the rest away, one result."""
    head, program = Head(layout), Program(layout, 1)
    data = os.urandom(300_000)
    buffer = ffi.from_buffer(data)
    vector = ffi.new("uint64_t[4]")
    vector[0], vector[1] = address(buffer), 100_000
    vector[2], vector[3] = address(buffer) + 100_000, 200_000
    where, size = (
        (address(buffer), 300_000) if name == "write" else (address(vector), 2)
    )
    program.set(0, name, pipe[1], where, size)
    assert head.exec(program) is None
    vector[0] = vector[2] = 8  # they were copied
    found = b""
    while len(found) < 300_000:
        found += os.read(pipe[0], 65536)
    head.wait()
    assert head.take() == program.at(0)
    assert (found == data, program.results[0]) == (True, 300_000)


@pytest.mark.parametrize("name", ["write", "writev"])
def test_nonblocking_descriptors_are_not_waited_for(layout: Layout, name: str) -> None:
    start, finish = os.pipe2(os.O_NONBLOCK)
    head, program = Head(layout), Program(layout, 2)
    buffer = ffi.new("char[]", 300_000)
    vector = ffi.new("uint64_t[2]", [address(buffer), 300_000])
    where, size = (
        (address(buffer), 300_000) if name == "write" else (address(vector), 1)
    )
    program.set(0, name, finish, where, size)
    assert head.exec(program) == 0
    assert 0 < program.results[0] < 300_000
    assert head.exec(program) == 0
    assert program.results[0] == -errno.EAGAIN
    os.set_blocking(start, False)
    program.set(1, "read", start, address(buffer), 300_000)
    assert head.exec(program, 1) == 1
    assert head.exec(program, 1) == 1
    assert program.results[1] == -errno.EAGAIN
    os.close(start)
    os.close(finish)


def test_slots_are_filled_in_turn_and_wrap(layout: Layout) -> None:
    head, program = Head(layout, slots=3), Program(layout, 1)
    program.set(0, "getpid", flags=ASYNC)
    for turn in range(8):
        assert head.exec(program) is None
        head.wait()
        assert head.ahu.kernel_ring_idx == (turn + 1) % 3
        assert head.take() == program.at(0)


def test_a_full_ring_is_an_error_and_loses_nothing(
    layout: Layout, pipe: tuple[int, int]
) -> None:
    head, program = Head(layout, slots=2), sleeper(layout, pipe[0], 3)
    assert head.exec(program, 0) is None
    assert head.exec(program, 1) is None
    for _ in range(2):  # every slot is promised, later every slot is filled
        with pytest.raises(BlockingIOError):
            head.exec(program, 2)
        os.write(pipe[1], b"xx")
        head.wait(2)
    assert program.results[2] == -9999
    found = {program.index_of(head.take() or 0) for _ in range(2)}
    assert found == {0, 1}
    assert head.take() is None
    assert head.exec(program, 2) == 2  # bytes are there, and so are slots


def test_an_end_waits_until_the_program_has_cleared_the_slot(
    layout: Layout, pipe: tuple[int, int]
) -> None:
    """A slot the program itself wrote to is not overwritten; the end comes later."""
    head, program = Head(layout), sleeper(layout, pipe[0])
    assert head.exec(program) is None
    head.ring[0] = 77
    os.write(pipe[1], b"x")
    assert head.unregister() == -errno.EAGAIN
    assert head.ring[0] == 77
    head.ring[0] = 0
    head.wait()
    assert head.take() == program.at(0)


def test_wait_for_several(layout: Layout, pipe: tuple[int, int]) -> None:
    head, program = Head(layout), sleeper(layout, pipe[0], 3)
    for index in range(3):
        assert head.exec(program, index) is None
    woken = threading.Event()

    def wait() -> None:
        head.wait(2)
        woken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    os.write(pipe[1], b"x")
    head.wait(1)
    assert not woken.is_set()
    os.write(pipe[1], b"x")
    waiter.join(10)
    assert woken.is_set()
    os.write(pipe[1], b"x")
    head.wait(3)
    assert sum(head.take() is not None for _ in range(4)) == 3


def test_cancel_interrupts_a_call(layout: Layout, pipe: tuple[int, int]) -> None:
    head, program = Head(layout), sleeper(layout, pipe[0], 2)
    program.atoms[0].flags = 0
    program.poke(0, "next", program.at(1))
    assert head.exec(program) is None
    assert head.cancel(program) == 0
    head.wait()
    assert head.take() == program.at(0)
    assert program.results[0] in (-errno.EINTR, -errno.ECANCELED)
    assert program.results[1] == -9999
    assert head.cancel(program) == -errno.ENOENT


def test_cancel_ends_an_endless_loop(layout: Layout) -> None:
    """Which has left the caller after a while."""
    head, program = Head(layout), Program(layout, 1)
    cell = program.word(0)
    program.set(0, "umem_add", address(cell), 1, next=0)
    assert head.exec(program) is None
    assert head.cancel(program) == 0
    head.wait()
    assert head.take() == program.at(0)
    assert cell[0] > 0


def test_cancel_what_no_thread_has_begun(layout: Layout) -> None:
    lib.syslet_threads_max(0)
    head, program = Head(layout), Program(layout, 1)
    program.set(0, "getpid", flags=ASYNC)
    assert head.exec(program) is None
    assert head.cancel(program) == 0
    assert head.take() == program.at(0)
    assert program.results[0] == -errno.ECANCELED


def test_threads_that_are_allowed_later_come_to_it(layout: Layout) -> None:
    lib.syslet_threads_max(0)
    head, program = Head(layout), Program(layout, 3)
    for index in range(3):
        program.set(index, "getpid", flags=ASYNC)
        assert head.exec(program, index) is None
    assert head.take() is None
    lib.syslet_threads_max(-1)
    head.wait(3)
    assert sum(head.take() is not None for _ in range(4)) == 3


def test_a_thread_of_the_program_serves(layout: Layout) -> None:
    """async_thread posts its event, runs what is pending, and ends with the head."""
    lib.syslet_threads_max(0)
    head, program = Head(layout), Program(layout, 1)
    program.set(0, "getpid", flags=ASYNC)
    results = []
    event = ffi.cast("void *", 0x4242)
    served = threading.Thread(
        target=lambda: results.append(layout.thread(event, head.ahu))
    )
    served.start()
    assert head.exec(program) is None
    head.wait(2)
    while len(results) == 0 and head.ring[1] == 0:
        head.wait(2)
    assert {head.take(), head.take()} == {0x4242, program.at(0)}
    assert program.results[0] == os.getpid()
    assert head.unregister() == 0
    served.join(10)
    assert results == [0]


def test_register_checks_and_unregister_waits(
    layout: Layout, pipe: tuple[int, int]
) -> None:
    head, program = Head(layout), sleeper(layout, pipe[0])
    size = ffi.sizeof(layout.head)
    assert layout.register(head.ahu, size) == 0
    assert layout.register(head.ahu, size - 1) == -errno.EINVAL
    assert layout.unregister(head.ahu, size + 8) == -errno.EINVAL
    assert head.exec(program) is None
    ended = threading.Thread(target=head.unregister)
    ended.start()
    assert ended.is_alive()
    os.write(pipe[1], b"x")
    ended.join(10)
    assert head.take() == program.at(0)


@pytest.mark.parametrize(
    ("ring", "size", "expected"),
    [(0, 64, EFAULT), (64, 64, EFAULT), (-1, 0, -22), (-1, 60, -22), (-1, 4, -22)],
)
def test_a_head_without_a_ring_is_refused(
    layout: Layout, ring: int, size: int, expected: int
) -> None:
    """Ring addresses: none, unreadable, good; sizes: none, no whole slots."""
    head, program = Head(layout), Program(layout, 1)
    program.set(0, "getpid")
    head.point(address(head.ring) if ring == -1 else ring, size)
    with pytest.raises(OSError) as caught:
        head.exec(program)
    assert caught.value.errno == -expected
    assert program.results[0] == -9999


def test_many_threads_each_with_a_head(layout: Layout) -> None:
    """Ends go to the ring of the head they were submitted with, exactly once."""
    rounds, batch = 40, 6
    wrong: list[object] = []

    def work(number: int) -> None:
        head, program = Head(layout), Program(layout, batch)
        for index in range(batch):
            program.set(index, "gettid", flags=ASYNC if index % 3 else 0)
        for _ in range(rounds):
            away = {i for i in range(batch) if head.exec(program, i) is None}
            while away:
                head.wait()
                while (found := head.take()) is not None:
                    away.remove(program.index_of(found))
            if set(program.results) != {threading.get_native_id()}:
                wrong.append(list(program.results))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert wrong == []


def test_many_threads_on_one_head(layout: Layout) -> None:
    head = Head(layout, slots=256)
    programs = [Program(layout, 32) for _ in range(6)]

    def work(program: Program) -> None:
        for index in range(32):
            program.set(index, "getpid", flags=ASYNC | NEGATIVE)
            assert head.exec(program, index) is None

    threads = [threading.Thread(target=work, args=(p,)) for p in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    head.wait(6 * 32)
    found = [head.take() for _ in range(6 * 32)]
    assert sorted(f or 0 for f in found) == sorted(
        program.at(index) for program in programs for index in range(32)
    )
    assert head.take() is None
