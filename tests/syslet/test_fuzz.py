"""Random programs: the engine must do what plain system calls do, and never crash.

Valid scripts run twice, by the engine and by the oracle (tests/model.py), in two equal
worlds: same result or same exception, same files, same bytes left in pipe and sockets.
Garbage programs must be refused when they are built, or run to an end or a
cancellation. A failure prints the seed; the seed is the reproduction.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import model
import scripts

from syslet_loop.language import Atom, Cell, Memory, Param, address, program
from syslet_loop.plan import Compiled, compile_function, make_syslet

SEEDS = 250
GARBAGE = 3000


def outcome_of(world: scripts.World, error: BaseException) -> tuple[Any, ...]:
    """An exception, without the name of the world's folder."""
    name = getattr(error, "filename", None)
    name = os.path.basename(name) if isinstance(name, str) else name
    return type(error), getattr(error, "errno", None), name


def by_oracle(compiled: Compiled, world: scripts.World) -> Any:
    try:
        return model.run(compiled, *world.arguments())
    except OSError as error:
        return outcome_of(world, error)


async def by_engine(compiled: Compiled, world: scripts.World) -> Any:
    try:
        return await make_syslet(compiled, None)(*world.arguments())
    except OSError as error:
        return outcome_of(world, error)


async def agree(seed: int, folder: Path) -> None:
    """One seed, both ways."""
    script = scripts.make_script(seed)
    compiled = compile_function(scripts.build(script))
    worlds = [
        scripts.World(folder / f"{seed}-{who}", seed) for who in ("model", "engine")
    ]
    try:
        expected = by_oracle(compiled, worlds[0])
        assert await by_engine(compiled, worlds[1]) == expected, f"seed {seed}"
        contents = [world.contents() for world in worlds]
        assert contents[0] == contents[1], f"seed {seed}"
    finally:
        for world in worlds:
            world.close()


def test_random_syslets_do_what_plain_calls_do(
    runner: asyncio.Runner, tmp_path: Path
) -> None:
    async def main() -> None:
        for seed in range(SEEDS):
            await agree(seed, tmp_path)

    runner.run(main())


# Garbage. No operation here can hurt the process: numbers are never addresses.

NAMES = (
    "nop",
    "umem_add",
    "getppid",
    "read",
    "write",
    "openat",
    "lseek",
    "fstat",
    "pipe2",
    "getrandom",
    "load",
    "no_such_call",
    57,
    60,
    9999,
    39,
)


def garbage_operand(dice: random.Random, cells: list[Cell], memory: Memory) -> Any:
    choices: list[Any] = [
        dice.choice(cells),
        address(dice.choice(cells)),
        memory,
        -1,
        5000,
        1 << 40,
        b"bytes",
        "/dev/null",
        None,
        1.5,
        Param("path"),
        1 << 70,
    ]
    return dice.choice(choices)


def garbage(dice: random.Random) -> Any:
    """A random program; building it may raise TypeError or ValueError."""
    cells = [Cell(dice.choice((-3, -2, -1, 5000))) for _ in range(3)]
    memory = Memory(dice.choice((1, 8, 4096)))
    atoms = []
    for _ in range(dice.randint(1, 5)):
        operands = [
            garbage_operand(dice, cells, memory) for _ in range(dice.randint(0, 4))
        ]
        options: dict[str, Any] = {
            "flags": dice.choice((0, 0, 1, 8, 0x20, 0xA0, 0x300))
        }
        if dice.random() < 0.5:
            options["ret"] = dice.choice(cells)
        if dice.random() < 0.3:
            options["next"] = dice.randint(-2, 6)
        atoms.append(Atom(dice.choice(NAMES), *operands, **options))
    return program(atoms, params=["path"], returns=(cells[0], cells[1]))


def arguments(syslet: Any, folder: Path) -> tuple[Any, ...]:
    """Something that fits what the program made of its parameter."""
    fitting = {
        "int": 0,
        "fd": 0,
        "readable": b"bytes" * 20,
        "writable": bytearray(5000),
    }
    kind = syslet.info.params[0][0]
    return (fitting.get(kind, str(folder / "none")),)


def test_garbage_is_refused_or_harmless(runner: asyncio.Runner, tmp_path: Path) -> None:
    built = 0

    async def main() -> None:
        nonlocal built
        for seed in range(GARBAGE):
            try:
                syslet = garbage(random.Random(seed))
            except (TypeError, ValueError):
                continue
            built += 1
            try:
                async with asyncio.timeout(0.02):
                    await syslet(*arguments(syslet, tmp_path))
            except (OSError, TimeoutError, ValueError):  # ValueError: memory too small
                pass

    runner.run(main())
    assert built > GARBAGE // 300
