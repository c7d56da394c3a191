"""Random sequences of operations, on our files and on io's, by seed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from twins import MODES, RAW, Case, compare

SEEDS = range(8)
LINES = b"".join(b"%d %s\n" % (n, b"x" * (n % 130)) for n in range(400))


@pytest.mark.parametrize("buffering", [-1, 1000, 16])
@pytest.mark.parametrize("mode", MODES)
def test_buffered(
    runner: asyncio.Runner, tmp_path: Path, mode: str, buffering: int
) -> None:
    async def main() -> None:
        for seed in SEEDS:
            options = {"buffering": buffering}
            await compare(Case(seed, mode + "b", LINES, options=options), tmp_path)

    runner.run(main())


@pytest.mark.parametrize("mode", MODES)
def test_raw(runner: asyncio.Runner, tmp_path: Path, mode: str) -> None:
    async def main() -> None:
        for seed in SEEDS:
            case = Case(seed, mode + "b", LINES, options={"buffering": 0}, names=RAW)
            await compare(case, tmp_path)

    runner.run(main())
