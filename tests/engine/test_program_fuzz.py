"""The fuzzer's harness without the fuzzer: its corpus again, and a few random inputs.

tests/fuzz has a kernel without effects that looks at every byte which a program makes
the engine or the kernel touch. `make fuzz` searches with coverage; here are the inputs
that it kept, and changed ones that are the same every time.
"""

from __future__ import annotations

import random

import pytest
from driver import ffi, lib

from tests.fuzz import seeds

CHANGED = 50_000


def failure_of(data: bytes) -> str:
    """What is wrong with an input; '': nothing."""
    text = lib.fuzz_one(data, len(data))
    return "" if text == ffi.NULL else ffi.string(text).decode()


@pytest.fixture(scope="module")
def inputs() -> list[bytes]:
    return [*seeds.few(), *seeds.corpus()]


def changed(dice: random.Random, inputs: list[bytes]) -> bytes:
    """An input with some bytes changed, or the head of one and the rest of another."""
    data = bytearray(dice.choice(inputs))
    if dice.random() < 0.1:
        cut = dice.randrange(len(data))
        data[cut:] = dice.choice(inputs)[cut:]
    for _ in range(dice.randrange(1, 5)):
        data[dice.randrange(len(data))] = dice.choice((0, 1, 255, dice.randrange(256)))
    return bytes(data)


def test_what_the_fuzzer_kept(inputs: list[bytes]) -> None:
    before = lib.fuzz_accepted()
    for data in inputs:
        assert failure_of(data) == "", data.hex()
    assert lib.fuzz_accepted() - before > len(inputs) / 2, "most are programs"


def test_changed_inputs(inputs: list[bytes]) -> None:
    dice = random.Random(1)
    for _ in range(CHANGED):
        data = changed(dice, inputs)
        assert failure_of(data) == "", data.hex()
