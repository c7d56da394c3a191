"""The Python side of the program format and the operations table against the C side."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from syslet_loop import op_words, ops, program_format

ENGINE = Path(__file__).parents[2] / "native" / "engine"


def test_structures_have_the_sizes_of_program_h() -> None:
    sizes = (
        program_format.ATOM,
        program_format.RELOC,
        program_format.BUFFER,
        program_format.BOUND,
    )
    assert [each.size for each in sizes] == [80, 16, 16, 16]


def test_flags_and_pseudo_numbers_are_those_of_program_h() -> None:
    text = (ENGINE / "program.h").read_text()
    for name, value in re.findall(r"SYSLET_(\w+) = (0x[0-9a-f]+)", text):
        assert getattr(program_format, name) == int(value, 16), name
    for name, value in re.findall(r"PSEUDO_(\w+) = (0x[0-9a-f]+)", text):
        if name not in ("FIRST", "LAST"):
            assert ops.BY_NAME[name.lower()].nr == int(value, 16)
    for name, value in re.findall(r"(RELOC_\w+) = (\d+)", text):
        assert getattr(program_format, name) == int(value)


def test_limits_are_those_of_limits_h() -> None:
    text = (ENGINE / "limits.h").read_text()
    values = {}
    for name, base, shift in re.findall(
        r"(\w+(?:_MAX|_ENTRIES)) = (\d+)(?: << (\d+))?,", text
    ):
        values[name] = int(base) << int(shift or 0)
    assert {
        name: values[name] for name in program_format.LIMITS
    } == program_format.LIMITS


def test_rows_are_those_of_ops_c() -> None:
    text = (ENGINE / "ops.c").read_text()
    row = r'(?:ROW|QUICK|SLOW)\("(\w+)",\s*\w+,\s*"(\w*)",\s*\'(.)\',\s*(\d)'
    there = re.findall(row, text[: text.index("op_any")])
    here = [(op.name, op.args, op.result, str(op.least)) for op in ops.OPS]
    assert sorted(there) == sorted(here)


HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def numbers_of(header: Path) -> dict[str, int]:
    """Every system call of a header; some names there stand for others."""
    text = header.read_text()
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)
    numbers = {name: int(number) for name, number in found}
    for name, other in re.findall(r"#define __NR_(\w+) __NR3264_(\w+)", text):
        numbers[name] = numbers.get(other, -1)  # -1: of 32-bit machines only
    return numbers


def table_of(machine: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ops.py says on that machine."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    return runpy.run_path(str(ops.__file__))


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_those_of_the_system_headers(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("no header to compare with")
    numbers = numbers_of(HEADERS[machine])
    if machine == "x86_64":
        numbers.setdefault("uretprobe", 335)  # Linux 6.11
    table = table_of(machine, monkeypatch)
    for op in table["OPS"]:
        if not op.is_pseudo:
            assert op.nr == numbers[op.name], op.name
    refused = {numbers[name] for name in ops.REFUSED_NAMES if name in numbers}
    assert refused == set(table["REFUSED"])
    missing = set(ops.REFUSED_NAMES) - set(numbers)
    elsewhere = {"fork", "vfork", "uretprobe"}
    assert missing == (set() if machine == "x86_64" else elsewhere)


def test_rows_are_consistent() -> None:
    for op in ops.OPS:
        assert len(op.names) == len(op.args) <= program_format.ARGS_MAX
        assert op.least <= len(op.args)
        assert set(op.args) <= set("fdpsioOrwnvVcmMaALtTz")
        assert op.result in "infPD0"
    assert len(ops.BY_NAME) == len(ops.BY_TITLE) == len(ops.BY_NUMBER) == len(ops.OPS)
    assert not set(ops.BY_NUMBER) & set(ops.REFUSED)


def test_words() -> None:
    assert program_format.word(-1) == 2**64 - 1
    assert program_format.signed(program_format.word(-5)) == -5
    for value in (2**64, -(2**63) - 1):
        with pytest.raises(ValueError, match="64 bits"):
            program_format.word(value)


def test_every_operation_says_what_it_does() -> None:
    from syslet_loop.methods import Builder

    assert op_words.SAYS.keys() <= ops.BY_NAME.keys()
    for op in ops.OPS:
        said = getattr(Builder, op.title, Builder).__doc__
        assert said and not said.startswith("The system call"), op.name
        if op.name in op_words.SAYS:
            assert said == op_words.SAYS[op.name], op.name
