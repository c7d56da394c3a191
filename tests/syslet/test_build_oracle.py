"""Compiled programs do what they say: run by the oracle over real files and sockets."""

import mmap
import os
from pathlib import Path
from typing import Any

import model
import pytest

from syslet_loop import ops
from syslet_loop.plan import compile_function


def fly(function: Any, *arguments: Any) -> Any:
    return model.run(compile_function(function), *arguments)


def read_file(s: Any, path: Any, size: int = 65536) -> Any:
    fd = s.openat(path, os.O_RDONLY)
    data = s.read(fd, size)
    s.close(fd)
    return data


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def store(s: Any, path: Any, data: Any) -> Any:
        fd = s.openat(path, os.O_RDWR | os.O_CREAT, 0o600)
        n = s.write(fd, data)
        s.pwrite(fd, b"HEAD", 0)
        part = s.pread(fd, 6, 2)
        end = s.lseek(fd, 0, os.SEEK_END)
        s.ftruncate(fd, 8)
        s.fsync(fd)
        return {"n": n, "part": part, "end": end, "is": ("const", [n])}

    got = fly(store, path, bytearray(b"0123456789"))
    assert got == {"n": 10, "part": b"AD4567", "end": 10, "is": ("const", [10])}
    assert fly(read_file, path) == b"HEAD4567" == path.read_bytes()
    assert fly(read_file, os.fsencode(path), 3) == b"HEA"
    assert path.stat().st_mode & 0o777 == 0o600


def test_errors_name_file_atom_and_results(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        fly(read_file, missing)
    assert caught.value.filename == str(missing)
    line = read_file.__code__.co_firstlineno + 1
    place = f"(line {line} of test_build_oracle.py)"
    assert caught.value.__notes__ == [f"atom 0: openat {place}"]

    with pytest.raises(IsADirectoryError) as caught2:
        fly(read_file, tmp_path)
    assert "atom 2: read" in caught2.value.__notes__[0]
    assert "; results so far: openat = " in caught2.value.__notes__[0]

    with pytest.raises(FileNotFoundError) as caught3:
        fly(lambda s, a: s.renameat2(a, "/nowhere/at/all"), missing)
    assert caught3.value.filename == str(missing)
    assert caught3.value.filename2 == "/nowhere/at/all"


def test_unchecked_results_stay(tmp_path: Path) -> None:
    def careful(s: Any, path: Any) -> Any:
        fd = s.openat(path, os.O_RDONLY, check=False)
        with s.if_(fd < 0):
            s.mkdirat(path)
        with s.otherwise():
            s.close(fd)
        data = s.read(0, 8, check=False)
        return fd, data

    read_end, write_end = os.pipe()
    os.close(write_end)
    saved = os.dup(0)
    os.dup2(read_end, 0)
    try:
        assert fly(careful, tmp_path / "new") == (-2, b"")
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(read_end)
    assert (tmp_path / "new").is_dir()


def test_buffers(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(10_000))

    def copy(s: Any, source: Any, target: Any, piece: int = 1000) -> Any:
        src = s.openat(source, os.O_RDONLY)
        dst = s.openat(target, os.O_WRONLY | os.O_CREAT)
        buf, total = s.buffer(piece), s.cell()
        with s.loop():
            n = s.read(src, buf)
            s.break_if(n == 0)
            s.write(dst, buf, n)
            s.add(total, n)
        return total

    assert fly(copy, source, target) == 10_000
    assert fly(copy, source, target, 3333) == 10_000
    assert source.read_bytes() == target.read_bytes()

    def twice(s: Any, path: Any) -> Any:
        fd = s.openat(path, os.O_RDONLY)
        buf = s.buffer(64)
        s.read(fd, buf, 10)
        s.pread(fd, buf, 5, 20)
        s.write(fd, buf, check=False)
        return buf

    assert fly(twice, source) == source.read_bytes()[5:25]

    def from_data(s: Any, source: Any, target: Any) -> Any:
        src = s.openat(source, os.O_RDONLY)
        data = s.read(src, 7)
        dst = s.openat(target, os.O_WRONLY | os.O_TRUNC)
        return s.write(dst, data), data.length

    assert fly(from_data, source, target) == (7, 7)
    assert target.read_bytes() == source.read_bytes()[:7]


@pytest.mark.parametrize("make", [bytearray, lambda n: mmap.mmap(-1, n)])
def test_lent_memory(tmp_path: Path, make: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def into(s: Any, path: Any, memory: bytearray) -> Any:
        fd = s.openat(path, os.O_RDONLY)
        n = s.read(fd, memory)
        return n, memory

    memory = make(4096)
    assert fly(into, path, memory)[0] == 10
    assert bytes(memory[:10]) == b"0123456789"
    with pytest.raises(TypeError, match="writable"):
        fly(into, path, b"12345")

    def limited(s: Any, path: Any, memory: bytearray, n: int) -> Any:
        fd = s.openat(path, os.O_RDONLY)
        s.read(fd, memory, 4)
        return s.read(fd, memory, n)

    assert fly(limited, path, make(4096), 5) == 5
    with pytest.raises(ValueError, match="4 are needed"):
        fly(limited, path, bytearray(3), 2)
    with pytest.raises(OSError, match="Bad address"):
        fly(limited, path, bytearray(8), 9)


def test_vectors(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def vectors(s: Any, path: Any, lent: Any) -> Any:
        fd = s.openat(path, os.O_RDWR | os.O_CREAT)
        n = s.writev(fd, [b"head:", lent, b":tail"])
        s.pwritev(fd, [b"HE"], 0)
        first, second = s.buffer(5), s.buffer(100)
        s.preadv(fd, [first, second], 0)
        return n, first, second

    assert fly(vectors, path, b"body") == (14, b"HEad:", b"body:tail")


def test_structures(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 1234)

    def structures(s: Any, path: Any) -> Any:
        fd = s.openat(path, os.O_RDONLY)
        st = s.fstat(fd)
        data = s.read(fd, st.size)
        s.utimensat(path, (5 * 10**9 + 7, 9 * 10**9))
        other = s.fstatat(path)
        return st, data, st.st_mode, s.statx(path), s.fstatfs(fd), other.mtime

    st, data, mode, stx, fs, mtime = fly(structures, path)
    real = os.stat(path)
    for name in ("st_ino", "st_size", "st_mode", "st_ctime_ns", "st_dev", "st_blksize"):
        if name != "st_ctime_ns":
            assert getattr(st, name) == getattr(real, name)
    assert isinstance(st, os.stat_result)
    assert len(data) == 1234
    assert mode == real.st_mode
    assert mtime == 9
    assert real.st_atime_ns == 5 * 10**9 + 7 == stx.stx_atime_ns
    assert (stx.stx_size, stx.stx_ino, stx.stx_dev) == (1234, real.st_ino, real.st_dev)
    vfs = os.statvfs(path)
    assert (fs.f_bsize, fs.f_blocks, fs.f_namemax) == (
        vfs.f_bsize,
        vfs.f_blocks,
        vfs.f_namemax,
    )


def test_every_directory_operation(tmp_path: Path) -> None:
    def tree(s: Any, root: Any) -> Any:
        fd = s.openat(root, os.O_RDONLY | os.O_DIRECTORY)
        s.mkdirat("sub", dir_fd=fd)
        s.symlinkat("sub", "link", dir_fd=fd)
        target = s.readlinkat("link", dir_fd=fd)
        s.mknodat("node", 0o100644, dir_fd=fd)
        s.linkat("node", "node2", old_dir_fd=fd, new_dir_fd=fd)
        s.renameat2("node", "sub/node", old_dir_fd=fd, new_dir_fd=fd)
        s.fchmodat("sub", 0o700, dir_fd=fd)
        s.unlinkat("node2", dir_fd=fd)
        entries = s.getdents64(fd, 4096)
        found = s.faccessat("sub/node", os.R_OK, dir_fd=fd)
        how = s.openat2("sub/node", os.O_RDONLY, dir_fd=fd)
        return target, entries, found, how

    target, entries, found, opened = fly(tree, tmp_path)
    assert (target, found) == (b"sub", 0)
    assert b"link\0" in entries and b"node2" not in entries
    assert not os.get_inheritable(opened)
    os.close(opened)
    assert sorted(os.listdir(tmp_path)) == ["link", "sub"]


def test_copies_in_the_kernel(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def copies(s: Any, source: Any, target: Any) -> Any:
        src = s.openat(source, os.O_RDONLY)
        dst = s.openat(target, os.O_WRONLY | os.O_CREAT)
        at = s.cell(2)
        s.copy_file_range(src, at, dst, None, 3)
        s.sendfile(dst, src, 8, 2)
        r, w = s.pipe2()
        s.splice(src, 0, w, None, 4)
        return at, s.read(r, 10)

    target = tmp_path / "copy"
    assert fly(copies, path, target) == (5, b"0123")
    assert target.read_bytes() == b"23489"


def test_how_much_to_send_is_no_length_of_the_offset(tmp_path: Path) -> None:
    def send(s: Any, source: Any, target: Any, count: int, offset: int) -> Any:
        src = s.openat(source, os.O_RDONLY)
        dst = s.openat(target, os.O_WRONLY | os.O_CREAT)
        place = s.cell(0)
        s.set(place, offset)
        return s.sendfile(dst, src, place, count), s.sendfile(dst, src, 0, 100)

    path, target = tmp_path / "file", tmp_path / "copy"
    path.write_bytes(bytes(range(50)))
    assert fly(send, path, target, 40, 20) == (30, 50)
    assert target.read_bytes() == bytes(range(20, 50)) + bytes(range(50))


def test_any_system_call(tmp_path: Path) -> None:
    def raw(s: Any, path: Any, memory: bytearray) -> Any:
        pid = s.syscall(ops.BY_NAME["getpid"].nr)
        fd = s.syscall(ops.BY_NAME["openat"].nr, -100, path, os.O_RDONLY, 0)
        n = s.syscall(ops.BY_NAME["read"].nr, fd, memory, 4)
        return pid, n, s.syscall(4000, check=False)

    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    memory = bytearray(10)
    assert fly(raw, path, memory) == (os.getpid(), 4, -38)
    assert memory[:4] == b"0123"


def test_composition(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")

    def both(s: Any, path: Any) -> Any:
        return s.call(read_file, path), s.call(read_file, path, size=2)

    assert fly(both, path) == (b"0123456789", b"01")


def test_nested_loops_and_branches() -> None:
    def triangle(s: Any, rows: int) -> Any:
        total, outer, inner = s.cell(), s.cell(), s.cell()
        s.set(outer, rows)
        with s.loop():
            s.set(inner, outer)
            with s.loop():
                s.add(total, 1)
                s.continue_if(s.add(inner, -1) > 0)
                s.break_if(inner == 0)
            s.stop_if(s.add(outer, -1) <= 0)
        return total

    assert fly(triangle, 5) == 15
    assert fly(triangle, 1) == 1


def test_other_parameters() -> None:
    marker = object()

    def kinds(s: Any, thing: Any, sleep: float = 0.001, cloexec: int = 0) -> Any:
        s.timeout(sleep)
        return thing, s.memfd_create("x", cloexec)

    thing, fd = fly(kinds, marker)
    assert thing is marker
    assert not os.get_inheritable(fd)
    os.close(fd)
