"""Ending flights in every state and place, closing engines around them, and limits."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from driver import (
    BUFFER,
    EMIT,
    FD,
    FSYNC,
    NEGATIVE,
    NONE,
    NOP,
    NUMBERS,
    READ,
    Engine,
    Flight,
    Kernel,
    Refused,
    atom,
    lib,
    plan,
)

WAYS = [Flight.cancel, Flight.abandon]
BACKENDS = [lib.BACKEND_URING, lib.BACKEND_EPOLL]


@pytest.fixture(params=BACKENDS, ids=["uring", "epoll"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    kernel = Kernel()
    for fd in range(FD, FD + lib.FAKE_FDS):
        kernel.script(fd, -11, 64)
    engine = Engine(kernel, backend=request.param)
    yield engine
    engine.close()
    assert kernel.is_clean()


def ready(engine: Engine) -> Flight:
    """Cut by its budget: in the ready queue."""
    loop = plan([atom(NOP, 1, next=1)], [0, 1])
    flight = engine.fly(loop)
    assert flight.is_away
    return flight


def waiting(engine: Engine) -> Flight:
    """In the ring, or for readiness; it never comes by itself."""
    if lib.engine_backend(engine.c) == lib.BACKEND_URING:
        flight = engine.fly(plan([atom(READ, 1, 2, 3)], [0, FD, 4096, 64]))
    else:
        sleep = plan([atom(NUMBERS["nanosleep"], 1)], [0, 0, 3600, 0], [(1, 1, 16)])
        flight = engine.fly(sleep)
    engine.turn()
    return flight


def queued(engine: Engine) -> Flight:
    """A job that no worker has begun."""
    return engine.fly(plan([atom(FSYNC, 1)], [0, FD]))


def done(engine: Engine) -> Flight:
    """A worker is done with it; the engine has not looked yet."""
    flight = queued(engine)
    assert engine.work()
    return flight


def paused(engine: Engine) -> Flight:
    flight = Flight(engine, plan([atom(EMIT, 1, next=1)], [0, 1]), {})
    flight.record.pauses = 1
    return flight.launch()


PLACES = [ready, waiting, queued, done, paused]


WHERE = {
    ready: "ready",
    waiting: "waiting",
    queued: "working",
    done: "working",
    paused: "paused",
}


def turns(engine: Engine) -> None:
    for _ in range(4):
        engine.work()
        engine.turn()


@pytest.mark.parametrize("end", WAYS)
@pytest.mark.parametrize("place", PLACES)
def test_it_lands_once_wherever_it_is(engine: Engine, place: Any, end: Any) -> None:
    flight = place(engine)
    assert not flight.has_landed
    end(flight)
    end(flight)
    flight.abandon()
    flight.cancel()
    turns(engine)
    assert flight.record.landed == 1
    assert flight.is_cancelled
    flight.release()
    assert (engine.stats().flying, engine.stats().prepared) == (0, 0)


@pytest.mark.parametrize("end", WAYS)
def test_ending_what_has_not_begun_or_has_landed(engine: Engine, end: Any) -> None:
    flight = Flight(engine, plan([atom(NOP, 1)], [0, 1]), {})
    end(flight)
    assert not flight.launch().is_away
    end(flight)
    assert not flight.is_cancelled
    assert flight.last == (0, 1)
    flight.release()


@pytest.mark.parametrize("place", PLACES)
def test_the_statistics_know_place_and_state(engine: Engine, place: Any) -> None:
    flight = place(engine)
    stats = engine.stats()
    assert [n for n in set(WHERE.values()) if getattr(stats, n)] == [WHERE[place]]
    assert (stats.flying, stats.cancelling, stats.abandoned) == (1, 0, 0)
    flight.cancel()
    stats = engine.stats()
    assert (stats.flying, stats.cancelling, stats.abandoned) == (1, 1, 0)
    flight.abandon()
    stats = engine.stats()
    assert (stats.flying, stats.cancelling, stats.abandoned) == (1, 0, 1)
    turns(engine)
    stats = engine.stats()
    left = [getattr(stats, name) for name in WHERE.values()]
    assert [stats.flying, stats.cancelling, stats.abandoned, *left] == [0] * 8
    flight.release()


def test_release_without_launch(engine: Engine) -> None:
    Flight(engine, plan([atom(NOP, 1)], [0, 1]), {}).release()
    assert engine.stats().prepared == 0


@pytest.mark.parametrize("place", PLACES)
def test_closing_waits_for_every_flight(engine: Engine, place: Any) -> None:
    flight = place(engine)
    assert lib.engine_close(engine.c) == -errno.EBUSY, "the host holds it still"
    assert flight.record.landed == 1
    assert flight.is_cancelled
    flight.release()


def test_a_closing_engine_prepares_nothing(engine: Engine) -> None:
    held = Flight(engine, plan([atom(NOP, 1)], [0, 1]), {})
    assert lib.engine_close(engine.c) == -errno.EBUSY
    with pytest.raises(BlockingIOError):
        Flight(engine, plan([atom(NOP, 1)], [0, 1]), {})
    held.release()


def test_a_landing_that_launches_while_the_engine_closes(engine: Engine) -> None:
    last = Flight(engine, plan([atom(FSYNC, 1)], [0, FD]), {})
    first = queued(engine)
    first.record.launches = last.c
    assert lib.engine_close(engine.c) == -errno.EBUSY
    assert first.record.landed == 1
    assert last.is_cancelled
    assert last.last[0] == NONE
    first.release()
    last.release()


# Limits.


def test_flights_in_the_air_have_a_limit(engine: Engine) -> None:
    made = plan([atom(NOP, 1)], [0, 1])
    flights = [Flight(engine, made, {}) for _ in range(lib.FLIGHTS_MAX)]
    with pytest.raises(BlockingIOError):
        Flight(engine, made, {})
    for flight in flights:
        flight.release()
    Flight(engine, made, {}).release()


def test_fds_of_a_flight_have_a_limit() -> None:
    engine = Engine()
    before = len(os.listdir("/proc/self/fd"))
    atoms = [
        atom(NUMBERS["eventfd2"], 1, 2, ret=3, flags=NEGATIVE, next=2),
        atom(NOP, 1, next=1),
    ]
    flight = engine.fly(plan(atoms, [0, 0, 0, 0]))
    engine.land(flight)
    assert flight.last == (0, -errno.EMFILE)
    assert len(os.listdir("/proc/self/fd")) == before + lib.FDS_OWNED_MAX
    flight.release()
    assert len(os.listdir("/proc/self/fd")) == before
    engine.close()


def test_a_buffer_has_a_limit(engine: Engine) -> None:
    made = plan([atom(BUFFER, 1, 2, ret=5)], [0, 0, 0, 0, 0, 0], buffers=[(0, 0, 3, 4)])
    for size, wanted in (
        (lib.HEAP_BYTES_MAX + 1, -errno.ENOMEM),
        (-1, -errno.EINVAL),
        (100_000, 0),
    ):
        flight = engine.fly(made, {2: size})
        assert flight.last == (0, wanted)
        assert flight.cell(4) == (size if wanted == 0 else 0)
        flight.release()


def test_a_program_has_limits() -> None:
    nop = atom(NOP, 1)
    assert plan([nop] * lib.ATOMS_MAX, [0, 1])
    with pytest.raises(Refused, match="atoms: between"):
        plan([nop] * (lib.ATOMS_MAX + 1), [0, 1])
    with pytest.raises(Refused, match="atoms: between"):
        plan([], [0, 1])
    assert plan([nop], [0] * lib.CELLS_MAX)
    with pytest.raises(Refused, match="cells: between"):
        plan([nop], [0] * (lib.CELLS_MAX + 1))
    buffers = [(16, 0, 2 + i, 0) for i in range(lib.BUFFERS_MAX + 1)]
    relocs = [(2 + i, 3, i) for i in range(lib.BUFFERS_MAX + 1)]
    cells = [0] * (lib.BUFFERS_MAX + 3)
    assert plan([nop], cells, relocs[:-1], buffers[:-1])
    with pytest.raises(Refused, match="buffers: at most"):
        plan([nop], cells, relocs, buffers)
    with pytest.raises(Refused, match="too many relocations"):
        plan([nop], [0] * 9000, [(i + 2, 4, 1) for i in range(lib.RELOCS_MAX + 1)])
    with pytest.raises(Refused, match="too many bounds"):
        plan([nop], [0, 1], bounds=[(0, 0, 1)] * (lib.ATOMS_MAX * 2 + 1))
    with pytest.raises(Refused, match="more than two bounds"):
        plan([atom(READ, 1, 2, 3)], [0, 1, 1, 1], bounds=[(0, i, 3) for i in range(3)])


def test_a_forked_child_can_only_close_it() -> None:
    engine = Engine()
    flight = engine.fly(
        plan([atom(NUMBERS["nanosleep"], 1)], [0, 0, 60, 0], [(1, 1, 16)])
    )
    child = os.fork()
    if child == 0:
        status = 0
        try:
            assert lib.engine_is_forked(engine.c)
            assert lib.engine_due(engine.c) == -1
            assert engine.turn() == -errno.ESRCH
            assert lib.engine_close(engine.c) == 0
        except BaseException:
            status = 1
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    flight.cancel()
    engine.land(flight)
    flight.release()
    engine.close()
