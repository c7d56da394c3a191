"""Entries of directories as the kernel gives them, and what is none of them."""

from __future__ import annotations

import struct

import pytest

from syslet_loop import _native

FOLDER, FILE, LINK, UNKNOWN = 4, 8, 10, 0


def entry(name: bytes, kind: int, inode: int = 7) -> bytes:
    size = (19 + len(name) + 1 + 7) // 8 * 8
    return (struct.pack("<QqHB", inode, 0, size, kind) + name).ljust(size, b"\0")


def test_names_kinds_and_inodes() -> None:
    data = entry(b".", FOLDER) + entry(b"..", FOLDER) + entry(b"a", FILE, 1 << 63)
    data += entry(b"caf\xe9", FOLDER, 3) + entry(b"..a", LINK) + entry(b"...", UNKNOWN)
    found = [(b"a", FILE, 1 << 63), (b"caf\xe9", FOLDER, 3), (b"..a", LINK, 7)]
    assert _native.read_entries(data, False) == [*found, (b"...", UNKNOWN, 7)]
    assert _native.read_entries(data, True)[1] == ("caf\udce9", FOLDER, 3)
    assert _native.read_entries(b"", True) == []


def test_sorted_as_long_as_it_is_clear() -> None:
    folders, others = ["before"], []
    data = entry(b"a", FOLDER) + entry(b"b", FILE) + entry(b"c", 1)
    assert _native.sort_entries(data, True, folders, others) is True
    assert (folders, others) == (["before", "a"], ["b", "c"])
    for kind in (LINK, UNKNOWN):
        assert _native.sort_entries(data + entry(b"d", kind), True, [], []) is False


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_part_of_an_entry(cut: int) -> None:
    data = entry(b"a", FILE) + entry(b"bc", FOLDER)[:cut]
    for call, more in ((_native.read_entries, ()), (_native.sort_entries, ([], []))):
        with pytest.raises(ValueError, match="no list of directory entries"):
            call(data, True, *more)


@pytest.mark.parametrize("length", [0, 1, 19, 20, 25, 4096])
def test_a_length_that_lies(length: int) -> None:
    data = bytearray(entry(b"abcde", FILE))
    struct.pack_into("<H", data, 16, length)
    with pytest.raises(ValueError, match="no list of directory entries"):
        _native.read_entries(bytes(data), True)


def test_wrong_arguments() -> None:
    for call, arguments in (
        (_native.read_entries, ("text", True)),
        (_native.read_entries, (b"",)),
        (_native.sort_entries, (b"", True)),
        (_native.sort_entries, (b"", True, (), [])),
    ):
        with pytest.raises(TypeError):
            call(*arguments)
