"""The announcement's flags: stops, skips, loops, ASYNC, SYNC, NO_COMPLETE."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from driver import (
    ADD,
    ASYNC,
    EMIT,
    FD,
    NEGATIVE,
    NO_COMPLETE,
    NON_POSITIVE,
    NONZERO,
    NOP,
    NUMBERS,
    READ,
    SKIP,
    SYNC,
    ZERO,
    Engine,
    Flight,
    Kernel,
    Refused,
    atom,
    lib,
    plan,
)

STOPS = {
    0: lambda n: False,
    NONZERO: lambda n: n != 0,
    ZERO: lambda n: n == 0,
    NEGATIVE: lambda n: n < 0,
    NON_POSITIVE: lambda n: n <= 0,
    NONZERO | ZERO: lambda n: True,
    ZERO | NEGATIVE: lambda n: n <= 0,
}


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(Kernel())
    yield engine
    engine.close()


@pytest.mark.parametrize("skips", [0, SKIP])
@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("value", [-5, -1, 0, 1, 5])
def test_where_a_result_leads(
    engine: Engine, value: int, stop: int, skips: int
) -> None:
    """Atom 0 gives `value`; its next is atom 2; a stop ends it or skips to atom 1."""
    atoms = [
        atom(NOP, 1, flags=stop | skips, ret=2, next=3),
        atom(NOP, 1, ret=3),
        atom(NOP, 1, ret=4),
    ]
    flight = engine.fly(plan(atoms, [0, value, 99, 99, 99]))
    stopped = STOPS[stop](value)
    ran = [0] if stopped and not skips else [0, 1] if stopped else [0, 2]
    assert flight.ran() == ran
    assert flight.last == (ran[-1], value)
    assert flight.cell(2) == value
    flight.release()


def test_a_loop_runs_backwards_until_its_counter_is_zero(engine: Engine) -> None:
    atoms = [
        atom(ADD, 3, 2, ret=4, next=2),  # a sum of the rounds
        atom(ADD, 5, 1, ret=6, flags=NON_POSITIVE, next=1),
    ]
    cells = [0, -1, 10, 0, 0, 0, 0, 7, 5]
    flight = engine.fly(plan(atoms, cells, [(3, 1, 7 * 8), (5, 1, 8 * 8)]))
    assert flight.cell(7) == 57
    assert flight.cell(8) == 0
    assert flight.last == (1, 0)
    flight.release()


@pytest.mark.parametrize("flags", [ASYNC, ASYNC | NEGATIVE])
def test_async_skips_the_attempt(engine: Engine, flags: int) -> None:
    kernel = engine.kernel
    assert kernel is not None
    kernel.script(FD, 64)
    made = plan([atom(READ, 1, 2, 3, flags=flags)], [0, FD, 4096, 64])
    flight = engine.fly(made)
    engine.turn()
    assert kernel.pending() == [FD]
    assert kernel.c.scripts[0].attempts == 0
    kernel.answer(FD, 64)
    engine.turn()
    assert flight.record.landed == 1
    assert lib.flight_path_taken(flight.c) == 1
    flight.release()


def test_sync_never_misses(engine: Engine) -> None:
    kernel = engine.kernel
    assert kernel is not None
    kernel.script(FD, -11, 33)
    made = plan([atom(READ, 1, 2, 3, flags=SYNC)], [0, FD, 4096, 64])
    flight = engine.fly(made)
    assert not flight.is_away
    assert flight.last == (0, 33)
    assert (kernel.c.scripts[0].attempts, kernel.c.scripts[0].plains) == (0, 1)
    flight.release()


def test_no_complete_is_the_hosts_to_read(engine: Engine) -> None:
    """It says what a host reports; the engine runs the atom as any other."""
    made = plan([atom(NOP, 1, flags=NO_COMPLETE, ret=2)], [0, 5, 0])
    flight = engine.fly(made)
    last, result = flight.last
    assert result == 5
    assert lib.plan_atom(made, last).flags & NO_COMPLETE
    flight.release()


def test_async_and_sync_exclude_each_other() -> None:
    with pytest.raises(Refused, match="exclude each other"):
        plan([atom(READ, 1, 2, 3, flags=ASYNC | SYNC)], [0, 1, 1, 1])


def test_emit_pauses_and_goes_on(engine: Engine) -> None:
    atoms = [
        atom(EMIT, 1, next=2),
        atom(EMIT, 2, next=3),
        atom(NUMBERS["getppid"], ret=3),
    ]
    flight = Flight(engine, plan(atoms, [0, 11, 22, 0]), {})
    flight.record.pauses = 1
    flight.launch()
    assert (flight.is_away, flight.record.emitted, flight.record.report) == (
        True,
        1,
        11,
    )
    engine.turn()
    assert flight.record.emitted == 1, "it waits for flight_resume"
    lib.flight_resume(flight.c)
    engine.turn()
    assert flight.record.report == 22
    flight.record.pauses = 0
    lib.flight_resume(flight.c)
    lib.flight_resume(flight.c)  # not paused: to no effect
    engine.turn()
    assert flight.record.landed == 1
    assert flight.ran() == [0, 1, 2]
    flight.release()


def test_a_long_loop_is_cut_and_goes_on(engine: Engine) -> None:
    atoms = [atom(ADD, 2, 1, flags=NON_POSITIVE, next=1)]
    flight = engine.fly(plan(atoms, [0, -1, 0, 3000], [(2, 1, 24)]))
    assert flight.is_away
    turns = 0
    while not flight.has_landed:
        engine.turn()
        turns += 1
    assert flight.cell(3) == 0
    assert turns >= 3000 // 256 - 1
    assert engine.stats().budget_cuts >= turns - 1
    flight.release()
