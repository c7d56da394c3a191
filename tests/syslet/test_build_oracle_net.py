"""Compiled programs do what they say: pipes, sockets, clocks and children."""

import array
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import model

from syslet_loop.plan import compile_function


def fly(function: Any, *arguments: Any) -> Any:
    return model.run(compile_function(function), *arguments)


def test_pairs_and_owned_fds() -> None:
    def pipe(s: Any) -> Any:
        r, w = s.pipe2()
        n = s.write(w, b"through")
        data = s.read(r, 100)
        a, b = s.socketpair()
        s.send(a, b"there")
        copy = s.dup(b)
        return n, data, s.recv(copy, 100), s.eventfd(3)

    n, data, received, event = fly(pipe)
    assert (n, data, received) == (7, b"through", b"there")
    assert os.read(event, 8) == (3).to_bytes(8, "little")
    os.close(event)


def test_an_fd_in_a_cell_can_be_returned() -> None:
    def either(s: Any, flag: int) -> Any:
        fd = s.cell(-1)
        with s.if_(flag == 0):
            s.set(fd, s.memfd_create("zero"))
        with s.otherwise():
            s.set(fd, s.eventfd(0))
        s.fcntl(fd, 1)
        return fd

    for flag in (0, 1):
        os.close(fly(either, flag))


def test_a_server(tmp_path: Path) -> None:
    def serve(s: Any, listener: Any, remaining: Any) -> None:
        buf = s.buffer(4096)
        with s.loop():
            conn = s.accept(listener)
            s.setsockopt(conn, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with s.loop():
                n = s.recv(conn, buf)
                s.break_if(n <= 0)
                s.send(conn, buf, size=n)
            s.close(conn)
            left = s.umem_add(remaining, -1)
            s.break_if(left <= 0)

    remaining, echoed = array.array("q", [3]), []

    def client(address: Any) -> None:
        for _ in range(3):
            with socket.create_connection(address) as conn:
                conn.sendall(b"hello")
                echoed.append(conn.recv(5, socket.MSG_WAITALL))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=client, args=(listener.getsockname(),))
        thread.start()
        assert fly(serve, listener, remaining) is None
        thread.join()
    assert remaining[0] == 0
    assert echoed == [b"hello"] * 3


def test_addresses(tmp_path: Path) -> None:
    def setup(s: Any) -> Any:
        server = s.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.setsockopt(server, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(server, ("127.0.0.1", 0))
        s.listen(server, 5)
        where = s.getsockname(server)
        client = s.socket(socket.AF_INET, socket.SOCK_STREAM)
        s.connect(client, where)
        conn, peer = s.accept(server, address=True)
        option = s.getsockopt(server, socket.SOL_SOCKET, socket.SO_REUSEADDR)
        raw = s.getsockopt(server, socket.SOL_SOCKET, socket.SO_TYPE, 16)
        return where, peer, s.getsockname(client), s.getpeername(conn), option, raw

    where, peer, client, back, option, raw = fly(setup)
    assert where[0] == "127.0.0.1"
    assert peer == client == back
    assert (option, raw) == (1, b"\1\0\0\0")

    path = str(tmp_path / "socket")

    def unix(s: Any, path: Any) -> Any:
        server = s.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.bind(server, path)
        client = s.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        s.send(client, b"hello", address=path)
        first, sender = s.recv(server, 100, address=True)
        s.sendmsg(client, [b"to", b"gether"], address=path)
        second = s.recvmsg(server, 100)
        return first, sender, second, s.getsockname(server)

    assert fly(unix, path) == (b"hello", None, b"together", path)


def test_waiting() -> None:
    def wait(s: Any, r: Any, seconds: float) -> Any:
        early = s.poll(r, 1, 0)
        late = s.poll(r, 1, seconds)
        s.timeout(seconds)
        s.timeout(0.01)
        return early, late, s.clock_gettime(time.CLOCK_MONOTONIC)

    before = time.monotonic_ns()
    r, w = os.pipe()
    early, late, now = fly(wait, r, 0.02)
    assert (early, late) == (0, 0)
    assert before + 50_000_000 <= now <= time.monotonic_ns()
    os.write(w, b"x")
    assert fly(lambda s, fd: s.poll(fd, 1), r) == 1
    os.close(r)
    os.close(w)

    def futex(s: Any, word: Any) -> Any:
        woken = s.futex_wake(word)
        with_other = s.futex_wait(word, 1, check=False)
        return woken, with_other, s.futex_wait(word, 7, 0.001, check=False)

    assert fly(futex, bytearray(b"\7\0\0\0")) == (0, -11, -110)


def test_children() -> None:
    def wait(s: Any, pid: int) -> Any:
        s.kill(pid, signal.SIGTERM)
        return s.waitid(os.P_PID, pid, os.WEXITED)

    pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "10")
    result = fly(wait, pid)
    assert (result.si_pid, result.si_status) == (pid, signal.SIGTERM)


def test_events() -> None:
    def count(s: Any, n: int) -> Any:
        left = s.cell()
        s.set(left, n)
        with s.loop():
            s.emit((left, "left"))
            s.break_if(s.add(left, -1) <= 0)

    assert model.events(compile_function(count), 3) == [
        (3, "left"),
        (2, "left"),
        (1, "left"),
    ]
