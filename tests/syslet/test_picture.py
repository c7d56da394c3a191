"""Syslets as pictures: every atom is there, and every way from it."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from syslet_loop import picture
from syslet_loop.plan import Compiled, compile_function

SVG = "{http://www.w3.org/2000/svg}"


def drawn(compiled: Compiled) -> ElementTree.Element:
    return ElementTree.fromstring(compiled.explain("svg"))


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(each.itertext()) for each in root.iter(f"{SVG}text")]


def paths(root: ElementTree.Element) -> list[tuple[str, bool]]:
    """Every line, and whether it is dashed."""
    lines = [each for each in root.iter(f"{SVG}path") if each.get("marker-end")]
    return [(each.get("d", ""), "stroke-dasharray" in each.attrib) for each in lines]


def serve(s: Any, listener: Any, remaining: Any) -> None:
    buf = s.buffer(4096)
    with s.loop():
        conn = s.accept(listener)
        with s.loop():
            n = s.recv(conn, buf)
            s.break_if(n <= 0)
        s.close(conn)
        left = s.umem_add(remaining, -1)
        s.break_if(left <= 0)


def test_every_atom_and_every_way() -> None:
    compiled = compile_function(serve)
    found = drawn(compiled)
    assert texts(found) == [
        "serve(listener, remaining)",
        "accept(listener, 0, 0, SOCK_CLOEXEC) -> conn",
        "recv(conn, buf, 4096) -> n",
        "test(n)",
        "dashed if not positive",
        "close(conn)",
        "umem_add(remaining, -1) -> left",
        "dashed if not positive",
    ]
    # accept, recv, test twice, close, umem_add twice.
    ways = paths(found)
    assert [dashed for _, dashed in ways].count(True) == 2
    assert len(ways) == 7
    back = [d for d, _ in ways if re.fullmatch(r"M(\d+),\S+ H\S+ V\S+ H\1", d)]
    assert len(back) == 2  # both loops, on the left


def test_an_error_that_is_raised_is_not_drawn() -> None:
    def read(s: Any, path: Any) -> Any:
        return s.read(s.openat(path, os.O_RDONLY), 10)

    assert [dashed for _, dashed in paths(drawn(compile_function(read)))] == [False] * 2


def test_jumps_that_overlap_have_lanes_of_their_own() -> None:
    def ways(s: Any, a: int, b: int) -> None:
        with s.if_(a == 0):
            with s.if_(b == 0):
                s.getpid()
            s.getppid()
        s.gettid()

    lines = [d for d, _ in paths(drawn(compile_function(ways)))]
    lanes = [re.search(r" H(\S+) V", d) for d in lines]
    places = [lane[1] for lane in lanes if lane]
    assert len(places) == len(set(places)) >= 2


def test_names_are_escaped_and_long_ones_cut() -> None:
    def long(s: Any, fd: Any) -> None:
        s.write(fd, b"<&>" * 3)
        s.writev(fd, [b"0123456789"] * 8)

    root = drawn(compile_function(long))
    assert any("<&>" in text for text in texts(root))
    assert max(map(len, texts(root))) <= picture._LONG


def test_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="'svg', not 'html'"):
        compile_function(serve).explain("html")
