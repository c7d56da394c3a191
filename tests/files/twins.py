"""The same random operations on a file of ours and on one of io's; io is the judge.

`compare` opens both on equal files and runs a sequence that a seed decides. What each
operation gives, or the error it raises, must be equal, and so must the files at the
end. Positions that a text file's tell() gave are kept in pairs, one for each.
"""

from __future__ import annotations

import inspect
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syslet_loop import files

# Operations and what makes their arguments; weights by repetition.
COMMON = ["read", "read", "readline", "readline", "readlines", "write", "write"]
COMMON += ["seek", "seek", "tell", "tell", "truncate", "flush", "writelines"]
BINARY = [*COMMON, "readinto", "read1", "peek", "readinto1"]
RAW = [*COMMON, "readinto", "readall"]
MODES = ("r", "w", "a", "x", "r+", "w+", "a+", "x+")
FLUSHES = sys.version_info >= (3, 13)
SIZES = (0, 1, 2, 3, 5, 7, 50, 100, 1000, 5000, 20000)


@dataclass
class Case:
    """One comparison: how to open, what with, and what happened."""

    seed: int
    mode: str
    content: bytes
    alphabet: str = "ab\n"
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 40
    checks_position: bool = True
    names: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


@dataclass
class Outcome:
    """What an operation gave."""

    value: Any = None
    error: BaseException | None = None

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Outcome)
        if self.error is None or other.error is None:
            return self.error is other.error and self.value == other.value
        mine, theirs = type(self.error), type(other.error)
        return mine is theirs and str(self.error) == str(other.error)

    @property
    def is_cookie(self) -> bool:
        """Whether it is a text file's position that is more than a number of bytes."""
        return isinstance(self.value, int) and self.value >= 1 << 64


async def outcome_of(call: Any, *args: Any) -> Outcome:
    """Call it, await it if that is needed, and note what came of it."""
    try:
        value = call(*args)
        if inspect.isawaitable(value):
            value = await value
    except Exception as error:
        return Outcome(error=error)
    return Outcome(value)


def data_for(case: Case, rng: random.Random, size: int) -> Any:
    text = "".join(rng.choices(case.alphabet, k=size))
    return text.encode() if "b" in case.mode else text


def arguments(
    case: Case, name: str, rng: random.Random, cookies: list[tuple[int, int]]
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The arguments of an operation, for ours and for io's."""
    size = rng.choice(SIZES)
    same: tuple[Any, ...] = ()
    if name in ("read", "read1", "peek"):
        same = rng.choice([(size,), (size,), (size,), ()])
    elif name == "readline":
        same = rng.choice([(), (), (size,)])
    elif name == "readlines":
        # Stopping before the end leaves io's text file without tell() ever after.
        same = (rng.choice([1, 100, 3000]),) if "b" in case.mode else ()
    elif name == "write":
        same = (data_for(case, rng, size),)
    elif name == "writelines":
        same = ([data_for(case, rng, n) for n in rng.choices(SIZES[:8], k=3)],)
    elif name == "truncate":
        same = rng.choice([(), (size,)])
    elif name == "readinto" or name == "readinto1":
        return (bytearray(size),), (bytearray(size),)
    elif name == "seek":
        if "b" not in case.mode:
            pair = rng.choice([*cookies, (0, 0)])
            return rng.choice([((pair[0],), (pair[1],)), ((0, 2), (0, 2))])
        whence = rng.choice([0, 0, 1, 2])
        same = (size if whence == 0 else rng.choice([-size, -3, 0, 2]), whence)
    return same, same


async def compare(case: Case, folder: Path) -> None:
    """Run the sequence on both. Raises AssertionError at the first difference."""
    rng = random.Random(case.seed)
    paths = [folder / "ours", folder / "theirs"]
    for path in paths:
        path.unlink(missing_ok=True)
        if "x" not in case.mode:
            path.write_bytes(case.content)
    ours = await files.open(paths[0], case.mode, **case.options)
    names = case.names or (BINARY if "b" in case.mode else COMMON)
    cookies: list[tuple[int, int]] = []
    with open(paths[1], case.mode, **case.options) as theirs:
        for _ in range(case.steps):
            name = rng.choice(names)
            if not hasattr(theirs, name):
                continue
            if name in ("readline", "readlines") and not theirs.readable():
                continue  # io does not ask for line 0, and forbids tell() after both
            mine, yours = arguments(case, name, rng, cookies)
            case.log.append(f"{name}{mine!r}"[:100])
            got = await outcome_of(getattr(ours, name), *mine)
            wanted = await outcome_of(getattr(theirs, name), *yours)
            if "write" in name and ("a+" if FLUSHES else "+") in case.mode:
                # Whether io notices that the position jumped depends on its buffer;
                # before 3.13 its read1 forgot what was still to be written.
                await ours.flush()
                theirs.flush()
            where = f"{case.mode} {case.options} seed {case.seed}: {case.log}"
            if name == "peek" and got.error is None:
                assert got.value[:1] == wanted.value[:1], where
            elif not (got.is_cookie and wanted.is_cookie):
                assert got == wanted, f"{where}: {got} instead of {wanted}"
            assert mine == yours or name == "seek", where
            if isinstance(wanted.error, UnicodeDecodeError):
                return (
                    await ours.close()
                )  # io forgets what it had decoded, ours gives it again
            if name == "tell" and got.error is None and wanted.error is None:
                cookies.append((got.value, wanted.value))
        await ours.close()
    assert paths[0].read_bytes() == paths[1].read_bytes(), f"{case.seed} {case.log}"
