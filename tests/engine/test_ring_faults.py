"""What a ring can do wrong: not exist, take little, answer late, twice."""

from __future__ import annotations

import errno

import pytest
from driver import ECANCELED, FD, READ, Engine, Kernel, atom, lib, plan

TAG_FLIGHT = 1


def read_plan() -> object:
    return plan(
        [atom(READ, 1, 2, 3, ret=4, flags=lib.SYSLET_ASYNC)], [0, 0, 4096, 64, 0]
    )


SETUP = [
    "ENOSYS",
    "EPERM",
    "EOPNOTSUPP",
    "EINVAL",
    "ENOMEM",
    "EMFILE",
    "ENFILE",
    "EACCES",
]


@pytest.mark.parametrize("name", SETUP)
@pytest.mark.parametrize("where", ["setup_error", "probe_error", "enter"])
def test_no_ring_means_epoll_or_an_error(kernel: Kernel, name: str, where: str) -> None:
    number = getattr(errno, name)

    def break_it() -> None:
        if where == "enter":
            for i in range(lib.FAKE_ERRORS_MAX):
                kernel.c.enter_errors[i] = number
            kernel.c.enter_errors_count = lib.FAKE_ERRORS_MAX
        else:
            setattr(kernel.c, where, number)

    break_it()
    engine = Engine(kernel)
    assert lib.engine_backend(engine.c) == lib.BACKEND_EPOLL
    assert lib.engine_backend_errno(engine.c) == number
    engine.close()
    break_it()
    with pytest.raises(OSError) as caught:
        Engine(kernel, backend=lib.BACKEND_URING)
    assert caught.value.errno == number


def test_a_probe_that_does_not_come_back(kernel: Kernel) -> None:
    kernel.c.take_most = 0
    engine = Engine(kernel)
    assert lib.engine_backend(engine.c) == lib.BACKEND_EPOLL
    assert lib.engine_backend_errno(engine.c) == errno.ETIME
    engine.close()


@pytest.mark.parametrize("allowed", [0, 1])
def test_maps_that_fail(kernel: Kernel, allowed: int) -> None:
    kernel.c.maps_allowed = allowed
    engine = Engine(kernel)
    assert lib.engine_backend_errno(engine.c) == errno.ENOMEM
    engine.close()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EBUSY, errno.EINTR])
def test_an_enter_that_fails_is_done_again(kernel: Kernel, number: int) -> None:
    engine = Engine(kernel)
    flight = engine.fly(read_plan(), {1: FD})
    kernel.c.enter_errors[0] = kernel.c.enter_errors[1] = number
    kernel.c.enter_errors_count = 2
    wanted = -number if number == errno.EINTR else 0
    assert [engine.turn(), engine.turn()] == [wanted, wanted]
    assert kernel.pending() == []
    assert engine.turn() == 0
    kernel.answer(FD, 64)
    engine.turn()
    assert flight.last == (0, 64)
    flight.release()
    engine.close()


def test_a_kernel_that_takes_one_entry_at_a_time(kernel: Kernel) -> None:
    engine = Engine(kernel)
    kernel.c.take_most = 1
    flights = [engine.fly(read_plan(), {1: FD + i}) for i in range(16)]
    for _ in range(20):
        assert engine.turn() == 0
    assert sorted(kernel.pending()) == [FD + i for i in range(16)]
    for i in reversed(range(16)):
        kernel.answer(FD + i, i + 1)
    engine.turn()
    for i, flight in enumerate(flights):
        assert flight.last == (0, i + 1)
        flight.release()
    engine.close()


@pytest.mark.parametrize("entries", [1, 2, 4])
def test_more_flights_than_the_queue_has_room(kernel: Kernel, entries: int) -> None:
    engine = Engine(kernel, sq_entries=entries)
    flights = [engine.fly(read_plan(), {1: FD + i}) for i in range(40)]
    for _ in range(50):
        assert engine.turn() == 0
    assert len(kernel.pending()) == 40
    for i in range(0, 40, 3):
        kernel.answer(FD + i, i + 1)
    for _ in range(3):
        engine.turn()
    for flight in flights:
        flight.cancel()
    for _ in range(60):
        engine.turn()
    for i, flight in enumerate(flights):
        assert flight.record.landed == 1
        assert flight.last == (0, i + 1 if i % 3 == 0 else -ECANCELED)
        flight.release()
    engine.close()


def test_stale_and_double_completions_reach_nobody(kernel: Kernel) -> None:
    engine = Engine(kernel)
    first = engine.fly(read_plan(), {1: FD})
    engine.turn()
    data = kernel.c.pending[0].user_data
    kernel.answer(FD, 64)
    lib.fake_post(kernel.c, data, 64, 0)  # the same answer again
    engine.turn()
    assert first.record.landed == 1
    assert engine.stats().stale == 1
    first.release()
    second = engine.fly(read_plan(), {1: FD + 1})  # it has the slot now
    engine.turn()
    lib.fake_post(kernel.c, data, 5, 0)
    lib.fake_post(kernel.c, TAG_FLIGHT | 0xFFFFF << 4, 5, 0)  # no such slot
    engine.turn()
    assert second.record.landed == 0
    assert engine.stats().stale == 3
    kernel.answer(FD + 1, 9)
    engine.turn()
    assert second.last == (0, 9)
    second.release()
    engine.close()


@pytest.mark.parametrize("result", [-errno.EINTR, -errno.EAGAIN, -errno.EINVAL])
def test_answers_that_are_none_go_to_a_worker(kernel: Kernel, result: int) -> None:
    engine = Engine(kernel)
    flight = engine.fly(read_plan(), {1: FD})
    engine.turn()
    kernel.answer(FD, result)
    engine.turn()
    assert engine.work()
    engine.turn()
    assert flight.last == (0, 64)
    flight.release()
    engine.close()


def test_a_cancellation_that_finds_nothing(kernel: Kernel) -> None:
    """The answer comes all the same, and only then is the memory given back."""
    engine = Engine(kernel)
    kernel.c.cancels_fail = 1
    flight = engine.fly(read_plan(), {1: FD})
    engine.turn()
    flight.abandon()
    for _ in range(3):
        engine.turn()
    assert flight.record.landed == 0
    kernel.answer(FD, 64)
    engine.turn()
    assert flight.record.landed == 1
    assert flight.is_cancelled
    flight.release()
    engine.close()


def test_overflow_is_counted_and_nothing_is_lost(kernel: Kernel) -> None:
    engine = Engine(kernel)
    flight = engine.fly(read_plan(), {1: FD})
    engine.turn()
    lib.fake_overflow(kernel.c, True)
    kernel.answer(FD, 64)
    engine.turn()
    lib.fake_overflow(kernel.c, False)
    assert engine.stats().overflows >= 1
    assert flight.last == (0, 64)
    flight.release()
    engine.close()


def test_a_foreign_loop_is_told_or_gets_an_error(kernel: Kernel) -> None:
    engine = Engine(kernel)
    assert lib.engine_fd(engine.c) == -1
    kernel.c.notify_error = errno.ENOMEM
    assert lib.engine_make_pollable(engine.c) == -errno.ENOMEM
    assert lib.engine_fd(engine.c) == -1
    kernel.c.notify_error = 0
    assert lib.engine_make_pollable(engine.c) == 0
    assert lib.engine_fd(engine.c) >= 0
    assert lib.engine_due(engine.c) == 0, "the workers' eventfd is not watched yet"
    engine.turn()
    assert lib.engine_due(engine.c) == -1
    flight = engine.fly(read_plan(), {1: FD})
    assert lib.engine_due(engine.c) == 0, "a request waits to be submitted"
    engine.turn()
    assert lib.engine_due(engine.c) == -1
    kernel.answer(FD, 1)
    engine.turn()
    flight.release()
    kernel.c.notify_error = errno.ENOMEM
    lib.engine_wake(engine.c)
    engine.turn()
    assert lib.engine_due(engine.c) == 0, "the ring would not be told again"
    kernel.c.notify_error = 0
    engine.turn()
    assert lib.engine_due(engine.c) == -1
    engine.close()


def test_draining_gives_up_on_a_kernel_that_refuses(kernel: Kernel) -> None:
    """Somebody closed the ring's descriptor: an error, not a loop for ever."""
    engine = Engine(kernel)
    flight = engine.fly(read_plan(), {1: FD})
    engine.turn()
    kernel.c.enter_always = errno.EBADF
    assert lib.engine_close(engine.c) == -errno.EBADF
    kernel.c.enter_always = 0
    engine.turn()
    assert flight.record.landed == 1
    flight.release()
    engine.close()
