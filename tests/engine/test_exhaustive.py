"""Every small program, every failing atom, every kind of failure, every order.

Programs of one to four atoms, serial, branching and looping; each atom ends inline, in
the ring or on a worker; one of them fails in each way there is; and two flights of a
program complete in every order that is possible. The kernel is a fake, so each case is
the same each time. What must come out is computed by `expected`, which knows nothing of
the engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from driver import (
    ADD,
    ECANCELED,
    EIO,
    FD,
    FSYNC,
    NEGATIVE,
    NON_POSITIVE,
    NONE,
    READ,
    SKIP,
    Engine,
    Flight,
    Kernel,
    atom,
    ffi,
    plan,
)

LENGTH = 64
MEMORY = ffi.new("char[]", LENGTH)
FIRST_RET = 10  # atom i stores its result in this cell plus i
FIRST_FD = 20
COUNTER = 30
PATHS = "iro"  # inline, ring, worker (of another thread)
SHAPES = ("serial", "branch", "loop")
ROUNDS = 2
ADDS = "+"  # the counter of a loop, which runs wherever the flight is


@dataclass(frozen=True)
class Shape:
    """A program: how its atoms are connected and where each one is executed."""

    kind: str
    paths: str

    def next_of(self, index: int) -> tuple[int, int]:
        """(`next`, flags) of system call atom `index`."""
        count = len(self.paths)
        if self.kind == "branch" and index == 0:
            return 3, NEGATIVE | SKIP  # over the following atom, unless it fails
        last = count if self.kind == "loop" else count - 1
        return (index + 2 if index < last else 0), NEGATIVE


def shapes() -> Iterator[Shape]:
    """All programs of one to four atoms."""
    for kind in SHAPES:
        for count in range(1, 5):
            calls = count - 1 if kind == "loop" else count
            if calls == 0 or (kind == "branch" and count < 3):
                continue
            for paths in itertools.product(PATHS, repeat=calls):
                yield Shape(kind, "".join(paths))


def build(shape: Shape) -> object:
    """The plan; an fd per atom is in its cell, which each flight fills."""
    cells = [0] * 32
    cells[1], cells[2], cells[3] = int(ffi.cast("uintptr_t", MEMORY)), LENGTH, -1
    cells[COUNTER] = ROUNDS
    atoms = []
    for index, path in enumerate(shape.paths):
        after, flags = shape.next_of(index)
        ret, fd = FIRST_RET + index, FIRST_FD + index
        if path == "o":
            made = atom(FSYNC, fd, flags=flags, ret=ret, next=after)
        else:
            made = atom(READ, fd, 1, 2, flags=flags, ret=ret, next=after)
        atoms.append(made)
    relocs = []
    if shape.kind == "loop":
        cells[4] = 0
        relocs = [(4, 1, COUNTER * 8)]
        atoms.append(atom(ADD, 4, 3, flags=NON_POSITIVE, next=1))
    return plan(atoms, cells, relocs)


def expected(shape: Shape, results: list[int]) -> tuple[list[int], int, int]:
    """(atoms in the order they run, last atom, its result) of an uncancelled flight."""
    order: list[int] = []
    at, left = 0, ROUNDS
    while True:
        order.append(at)
        if at == len(results):  # the loop's counter
            left -= 1
            if left <= 0:
                return order, at, left
            at = 0
            continue
        after, flags = shape.next_of(at)
        if results[at] < 0:
            if not flags & SKIP:
                return order, at, results[at]
            at += 1
        elif after == 0:
            return order, at, results[at]
        else:
            at = after - 1


def departures(shape: Shape, results: list[int]) -> list[int]:
    """The atoms at which it leaves the engine's thread. A worker goes on with the rest
    of a flight until an atom that the ring does better."""
    found = []
    is_on_worker = False
    for index in expected(shape, results)[0]:
        path = shape.paths[index] if index < len(results) else ADDS
        if path == "r" or (path == "o" and not is_on_worker):
            found.append(index)
        if path != ADDS:
            is_on_worker = path == "o"
    return found


def good(path: str) -> int:
    """What an atom answers that does not fail."""
    return 0 if path == "o" else LENGTH


def fds_of(shape: Shape, which: int) -> list[int]:
    return [FD + which * 8 + index for index in range(len(shape.paths))]


class Case:
    """One flight of a program on the fake kernel."""

    def __init__(
        self, engine: Engine, shape: Shape, made: object, results: list[int], which: int
    ) -> None:
        self.engine, self.shape, self.results = engine, shape, results
        self.kernel = engine.kernel
        assert self.kernel is not None
        self.fds = fds_of(shape, which)
        for path, fd, result in zip(shape.paths, self.fds, results, strict=True):
            self.kernel.script(fd, result if path == "i" else -11, result)
        cells = {FIRST_FD + index: fd for index, fd in enumerate(self.fds)}
        self.flight = Flight(engine, made, cells)
        self.steps = iter(departures(shape, results))

    def is_in_ring(self) -> int | None:
        """The atom whose request is out."""
        assert self.kernel is not None
        waiting = set(self.kernel.pending())
        return next((i for i, fd in enumerate(self.fds) if fd in waiting), None)

    def check(self) -> None:
        """It landed by itself, with the right word from everywhere."""
        order, last, result = expected(self.shape, self.results)
        flight = self.flight
        assert flight.has_landed
        assert not flight.is_cancelled
        assert flight.record.landed == flight.is_away
        assert flight.last == (last, result)
        assert flight.ran() == sorted(set(order))
        for index in set(order) - {len(self.results)}:
            assert flight.cell(FIRST_RET + index) == self.results[index]
        flight.release()


def settle(engine: Engine) -> None:
    """One turn to run what came back, one to submit what that asked for."""
    assert engine.turn() == 0
    assert engine.turn() == 0


def advance(case: Case) -> None:
    """The next atom of a flight that is away gets its answer."""
    index = next(case.steps)
    assert case.kernel is not None
    if case.shape.paths[index] == "r":
        case.kernel.answer(case.fds[index], case.results[index])
    else:
        assert case.engine.work()
    settle(case.engine)


def failures(shape: Shape) -> Iterator[list[int]]:
    """The results of every run: nothing fails; each atom fails in each way."""
    fine = [good(path) for path in shape.paths]
    yield fine
    for index, path in enumerate(shape.paths):
        for result in (-EIO, 7 if path == "o" else 0):  # an error, an odd success
            yield [*fine[:index], result, *fine[index + 1 :]]


def run_alone(engine: Engine, shape: Shape, made: object, results: list[int]) -> None:
    case = Case(engine, shape, made, results, 0)
    case.flight.launch()
    assert engine.turn() == 0
    while not case.flight.has_landed:
        advance(case)
    case.check()


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    kernel = Kernel()
    engine = Engine(kernel)
    yield engine
    stats = engine.stats()
    assert (stats.flying, stats.prepared, stats.stale) == (0, 0, 0)
    assert stats.launched == stats.landed > 0
    engine.close()
    assert kernel.is_clean()


@pytest.mark.parametrize("kind", SHAPES)
def test_each_atom_fails_in_each_way(engine: Engine, kind: str) -> None:
    for shape in shapes():
        if shape.kind == kind:
            made = build(shape)
            for results in failures(shape):
                run_alone(engine, shape, made, results)


def end_early(engine: Engine, shape: Shape, made: object, point: int, how: str) -> None:
    """Cancel or abandon at the `point`th time the flight is away."""
    kernel = engine.kernel
    assert kernel is not None
    fine = [good(path) for path in shape.paths]
    case = Case(engine, shape, made, fine, 0)
    flight = case.flight.launch()
    engine.turn()
    for _ in range(point):
        advance(case)
    before = list(flight.ran())
    index = next(case.steps)
    calls = [kernel.c.scripts[fd - FD].plains for fd in case.fds]
    if how == "answered":  # the answer is there and has not been seen
        if shape.paths[index] == "r":
            kernel.answer(case.fds[index], fine[index])
        else:
            engine.work()
    if how == "ignored":  # the kernel takes its time
        kernel.c.cancels_ignored = 1
    flight.abandon() if how == "abandoned" else flight.cancel()
    flight.cancel()  # again, to no effect
    engine.turn()
    if how == "ignored" and shape.paths[index] == "r":
        assert not flight.has_landed, "what was lent is still out"
        kernel.answer(case.fds[index], fine[index])
        engine.turn()
    kernel.c.cancels_ignored = 0
    engine.turn()
    assert flight.record.landed == 1
    assert flight.is_cancelled
    assert case.is_in_ring() is None
    job = {i for i in range(5) if shape.paths[i : i + 1] in ("o", "")}
    allowed = {*before, index, *(job if how == "answered" else ())}
    assert set(flight.ran()) <= allowed, "a further atom ran"
    if how != "answered":
        assert [kernel.c.scripts[fd - FD].plains for fd in case.fds] == calls
    if shape.paths[index] == "r" and how in ("cancelled", "abandoned"):
        assert flight.last == (index, -ECANCELED)
    elif how in ("answered", "ignored") and shape.paths[index] == "r":
        assert flight.last == (index, fine[index])
    elif not before and how != "answered":
        assert flight.last[0] == NONE
    assert not engine.work(), "a job was left"
    flight.release()


@pytest.mark.parametrize("how", ["cancelled", "abandoned", "answered", "ignored"])
def test_each_flight_ends_early_everywhere(engine: Engine, how: str) -> None:
    for shape in shapes():
        made = build(shape)
        fine = [good(path) for path in shape.paths]
        for point in range(len(departures(shape, fine))):
            end_early(engine, shape, made, point, how)


def completion_orders(shape: Shape, results: list[list[int]]) -> list[tuple[int, ...]]:
    """Every order of two flights' completions: which of them goes on, each time."""
    counts = [len(departures(shape, each)) for each in results]
    places = itertools.combinations(range(sum(counts)), counts[0])
    return [
        tuple(0 if at in chosen else 1 for at in range(sum(counts)))
        for chosen in map(set, places)
    ]


def run_both(
    engine: Engine,
    shape: Shape,
    made: object,
    results: list[list[int]],
    order: tuple[int, ...],
) -> None:
    """Two flights; jobs of workers are taken first in, first out, whoever is named."""
    cases = [Case(engine, shape, made, each, n) for n, each in enumerate(results)]
    for case in cases:
        case.flight.launch()
    engine.turn()
    for which in order:
        step(engine, cases, which)
    for case in cases:
        case.check()


def step(engine: Engine, cases: list[Case], which: int) -> None:
    """Answer the named flight's request, or the other's, or run the oldest job."""
    kernel = engine.kernel
    assert kernel is not None
    for case in (cases[which], cases[1 - which]):
        index = case.is_in_ring()
        if index is not None:
            kernel.answer(case.fds[index], case.results[index])
            break
    else:
        engine.work()
    settle(engine)


@pytest.mark.parametrize("kind", SHAPES)
def test_two_flights_complete_in_each_order(engine: Engine, kind: str) -> None:
    for shape in shapes():
        if shape.kind != kind:
            continue
        made = build(shape)
        fine = [good(path) for path in shape.paths]
        for failing in failures(shape):
            both = [fine, failing]
            for order in completion_orders(shape, both):
                run_both(engine, shape, made, both, order)
