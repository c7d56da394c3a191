"""Programs and how they are shown: the compiler's output, written down."""

import os
from socket import IPPROTO_TCP, TCP_NODELAY
from textwrap import dedent
from typing import Any

import pytest

from syslet_loop.plan import Compiled, compile_function

# fmt: off


def text(function: Any) -> str:
    shown = compile_function(function).explain()
    return "\n".join(line.rstrip() for line in shown.splitlines())


def same(shown: str, expected: str) -> None:
    assert shown == dedent(expected).strip("\n")


def read_file(s: Any, path: Any, size: int = 65536) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def serve(s: Any, listener: Any, remaining: Any) -> None:
    buf = s.buffer(4096)
    with s.loop():
        conn = s.accept(listener)
        s.setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, 1)
        with s.loop():
            n = s.recv(conn, buf)
            s.break_if(n <= 0)
        s.close(conn)
        left = s.umem_add(remaining, -1)
        s.break_if(left <= 0)


def test_read_file() -> None:
    same(text(read_file), """
        read_file(path, size=65536)
          0  openat(AT_FDCWD, path, O_RDONLY|O_CLOEXEC, 0o666) -> fd   stop if negative; then 1
          1  buffer(0, size)                                           stop if negative; then 2
          2  read(fd, data, size(data)) -> len(data)                   stop if negative; then 3
          3  close(fd)                                                 stop if negative; then end
    """)  # noqa: E501


def test_the_announcements_drawing() -> None:
    same(text(serve), """
        serve(listener, remaining)
          0  accept(listener, 0, 0, SOCK_CLOEXEC) -> conn     stop if negative; then 1
          1  setsockopt(conn, 6, 1, b'\\x01\\x00\\x00\\x00', 4)   stop if negative; then 2
          2  recv(conn, buf, 4096) -> n                       stop if negative; then 3
          3  test(n)                                          if not positive then 4; then 2 ↺
          4  close(conn)                                      stop if negative; then 5
          5  umem_add(remaining, -1) -> left                  stop if not positive; then 0 ↺
    """)  # noqa: E501


def test_one_line() -> None:
    assert compile_function(read_file).describe("read_file") == (
        "<syslet read_file(path, size=65536): openat → read → close>"
    )
    assert compile_function(serve).describe("serve") == (
        "<syslet serve(listener, remaining): "
        "accept → setsockopt → recv ↺ recv → close → umem_add ↺ accept>"
    )


def test_dot() -> None:
    def two(s: Any) -> Any:
        n = s.getpid()
        s.stop_if(n < 0)
        s.getppid()

    same(compile_function(two).explain("dot"), """
        digraph "two" {
          node [shape=box, fontname=monospace];
          a0 [label="getpid() -> n"];
          a1 [label="test(n)"];
          a2 [label="getppid()"];
          end [shape=doublecircle, label=""];
          a0 -> a1;
          a0 -> end [label="negative", style=dashed];
          a1 -> a2;
          a1 -> end [label="negative", style=dashed];
          a2 -> end;
          a2 -> end [label="negative", style=dashed];
        }
    """)
    with pytest.raises(ValueError, match="'text', 'dot' or 'svg'"):
        compile_function(two).explain("html")


def test_branches() -> None:
    def branches(s: Any, fd: Any, flag: int) -> Any:
        with s.if_(flag == 0):
            s.fsync(fd)
        with s.otherwise():
            s.fdatasync(fd)
        s.close(fd)

    same(text(branches), """
        branches(fd, flag)
          0  test(flag)      if zero then 1; then 2
          1  fsync(fd)       stop if negative; then 3
          2  fdatasync(fd)   stop if negative; then 3
          3  close(fd)       stop if negative; then end
    """)


def test_all_conditions() -> None:
    def signs(s: Any, a: int) -> None:
        for condition in (a < 0, a <= 0, a == 0, a != 0, a > 0, a >= 0):
            with s.if_(condition):
                s.getpid()
        s.getppid()

    compiled = compile_function(signs)
    for value, expected in ((-1, 3), (0, 3), (1, 3)):
        from model import Model

        model = Model(compiled, (value,))
        model.run()
        ran = [
            atom.step.title
            for atom, did in zip(compiled.atoms_placed, model.ran, strict=True)
            if did
        ]
        assert ran.count("getpid") == expected
        assert ran.count("getppid") == 1


def test_unchecked_atoms_carry_their_condition() -> None:
    def fused(s: Any, fd: Any) -> Any:
        n = s.fsync(fd, check=False)
        with s.if_(n < 0):
            s.fdatasync(fd)

    same(text(fused), """
        fused(fd)
          0  fsync(fd) -> n   if negative then 1; then end
          1  fdatasync(fd)    stop if negative; then end
    """)


def test_loops_and_counters() -> None:
    def count(s: Any) -> Any:
        left = s.cell(3)
        with s.loop():
            s.getpid()
            n = s.add(left, -1)
            s.continue_if(n > 0)
            s.stop_if(n < 0)
            s.break_if(n == 0)
        return left

    same(text(count), """
        count()
          0  getpid()              stop if negative; then 1
          1  add(&left, -1) -> n   if not positive then 2; then 0 ↺
          2  test(n)               stop if negative; then 3
          3  test(n)               stop if zero; then 0 ↺
    """)


def test_dead_atoms_are_dropped() -> None:
    def dead(s: Any) -> None:
        with s.loop():
            s.getpid()
        s.getppid()

    assert len(compile_function(dead).atoms_placed) == 1


def test_composition() -> None:
    def both(s: Any, first: Any, second: Any) -> Any:
        return s.call(read_file, first, 100), s.call(read_file, second)

    compiled = compile_function(both)
    assert compiled.describe("both") == (
        "<syslet both(first, second): openat → read → close → openat → read → close>"
    )


def test_structures_are_named() -> None:
    def sized(s: Any, path: Any) -> Any:
        fd = s.openat(path, os.O_RDONLY)
        st = s.fstat(fd)
        with s.if_(st.mode != 0):
            data = s.read(fd, st.size)
        return data

    same(text(sized), """
        sized(path)
          0  openat(AT_FDCWD, path, O_RDONLY|O_CLOEXEC, 0o666) -> fd   stop if negative; then 1
          1  fstat(fd, &st)                                            stop if negative; then 2
          2  load(st.mode)                                             stop if zero; then 3
          3  buffer(0, st.size)                                        stop if negative; then 4
          4  read(fd, data, size(data)) -> len(data)                   stop if negative; then end
    """)  # noqa: E501


def test_an_empty_syslet_is_a_nop() -> None:
    def nothing(s: Any) -> Any:
        return "value"

    compiled: Compiled = compile_function(nothing)
    assert compiled.describe("nothing") == "<syslet nothing(): nop>"
    assert compiled.result == ("const", "value")
