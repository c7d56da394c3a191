"""Question: from how many calls on does a chain beat separate awaits?

n cheap atoms (getppid) in one syslet, against n awaits of one call each and n plain
os.getppid() calls.
"""

from __future__ import annotations

import asyncio
import os

import syslet_loop
from benchmarks.measure import Row, interleave
from syslet_loop import calls, syslet

LENGTHS = (1, 2, 4, 8, 32)
REPEATS = 2000


def chain_of(length: int):
    """A syslet of `length` getppid atoms."""

    @syslet
    def chain(s):
        for _ in range(length):
            parent = s.getppid()
        return parent

    return chain


async def in_one(chain) -> None:
    for _ in range(REPEATS):
        await chain()


async def separate(length: int) -> None:
    for _ in range(REPEATS):
        for _ in range(length):
            await calls.getppid()


def plain(length: int) -> None:
    for _ in range(REPEATS):
        for _ in range(length):
            os.getppid()


def report(quick: bool) -> str:
    """The curve as Markdown."""
    lines = [
        "## A chain of n getppid atoms",
        "",
        "| n | one syslet, ns | n awaits, ns | n os.getppid(), ns "
        "| speed against n awaits | against os |",
        "|---|---|---|---|---|---|",
    ]
    with asyncio.Runner(loop_factory=syslet_loop.new_event_loop) as ours:
        for length in LENGTHS:
            chain = chain_of(length)
            rows = [
                Row("one syslet", lambda c=chain: ours.run(in_one(c))),
                Row("separate", lambda n=length: ours.run(separate(n))),
                Row("os", lambda n=length: plain(n)),
            ]
            one, many, calls_ = interleave(rows, 3 if quick else 15, REPEATS)
            lines.append(
                f"| {length} | {one.unit_ns:.0f} | {many.unit_ns:.0f} "
                f"| {calls_.unit_ns:.0f} | {1 / many.speed:.2f} "
                f"| {1 / calls_.speed:.2f} |"
            )
    return "\n".join(lines)
