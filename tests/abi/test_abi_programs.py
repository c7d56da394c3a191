"""C programs against the built library: the examples, programs of 2007, faults.

`make lib` and `make install-lib` are what is tested; Python only compiles and runs.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES, PROGRAMS = ROOT / "examples" / "abi", Path(__file__).parent / "programs"
NAMES = ("async_exec", "async_register", "async_thread", "async_unregister")
NAMES += ("async_wait", "syslet_cancel")

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("cc") or not shutil.which("make"), reason="needs cc and make"
    ),
    pytest.mark.skipif(
        bool(os.environ.get("SYSLET_SANITIZE") or os.environ.get("LD_PRELOAD")),
        reason="the programs are not sanitized here",
    ),
]


def output(*command: object, **options: object) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library below a prefix of its own, without Python's help.

    Built beside it: build/lib may be in use by another run of the tests.
    """
    prefix = tmp_path_factory.mktemp("prefix")
    build = f"LIB={tmp_path_factory.mktemp('build')}"
    environment = {k: v for k, v in os.environ.items() if k != "MAKEFLAGS"}
    environment["PATH"] = "/usr/local/bin:/usr/bin:/bin"
    command = ("make", "-s", "install-lib", build, f"PREFIX={prefix}")
    output(*command, cwd=ROOT, env=environment)
    return prefix


def compiled(
    source: Path, installed: Path, folder: Path, *flags: str, static: bool = False
) -> Path:
    """A program, with warnings as errors unless it is one of 2007."""
    target = folder / source.stem
    options = ["-O1", "-pthread", f"-I{installed}/include", f"-I{PROGRAMS}", *flags]
    library = [f"-L{installed}/lib", "-lsyslet", f"-Wl,-rpath,{installed}/lib"]
    if static:
        library = [f"{installed}/lib/libsyslet.a"]
    output("cc", *options, source, "-o", target, *library, "-ldl")
    return target


STRICT = ("-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror")
OLD = ("-std=gnu89", "-Wall", "-Werror", "-Wno-sign-compare")


@pytest.mark.parametrize("static", [False, True], ids=["shared", "static"])
def test_hello(installed: Path, tmp_path: Path, static: bool) -> None:
    program = compiled(
        EXAMPLES / "hello.c", installed, tmp_path, *STRICT, static=static
    )
    assert output(program) == "hello, syslet\n14 bytes written\n"


def test_vfs(installed: Path, tmp_path: Path) -> None:
    program = compiled(EXAMPLES / "vfs.c", installed, tmp_path, *STRICT)
    (tmp_path / "five").write_text("12345")
    (tmp_path / "empty").touch()
    lines = output(program, tmp_path / "five", tmp_path / "empty", "/nowhere")
    assert lines.splitlines() == [
        "ended at atom 4: open ok, size 5, read 5, close 0",
        "ended at atom 4: open ok, size 0, read 0, close 0",
        "ended at atom 0: open No such file or directory, size 0, read 0, close 0",
    ]


def test_drawing(installed: Path, tmp_path: Path) -> None:
    program = compiled(EXAMPLES / "drawing.c", installed, tmp_path, *STRICT)
    with subprocess.Popen([program, "20"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for size in range(20):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"x" * 5000 * size)
        assert server.stdout.read() == "ended at atom 4, 0 left\n"
    assert server.returncode == 0


def test_async_test(installed: Path, tmp_path: Path) -> None:
    program = compiled(EXAMPLES / "async_test.c", installed, tmp_path, *STRICT)
    table = output(program, tmp_path, "1", "keep")
    assert re.search(r"^cached: .* 31\.6 ms \| 26\.5 ms \( \+19\.2% \)", table, re.M)
    assert "uncached:" in table


@pytest.mark.parametrize("name", ["old_v1", "old_v3"])
def test_programs_of_2007(installed: Path, tmp_path: Path, name: str) -> None:
    program = compiled(PROGRAMS / f"{name}.c", installed, tmp_path, *OLD)
    blocks = tmp_path / "blocks"
    blocks.write_text("".join(chr(ord("a") + i) * 512 for i in range(16)))
    # The last chain of old_v3 is posted as well if the file has left the cache.
    expected = {
        "old_v1": "hello from 2007\n100 bytes: " + "a" * 100,
        "old_v3": "0 (0|15)\n",
    }[name]
    assert re.match(expected, output(program, blocks))


def test_faults_by_signals(installed: Path, tmp_path: Path) -> None:
    program = compiled(PROGRAMS / "faults.c", installed, tmp_path, *STRICT)
    assert output(program) == "no crash\n"


def test_signals_fork_descriptors(installed: Path, tmp_path: Path) -> None:
    program = compiled(PROGRAMS / "signals.c", installed, tmp_path, *STRICT)
    assert output(program, tmp_path / "file") == "as promised\n"


SAID = {
    "crashes": "no worse",
    "descriptors": "as plain calls",
    "given": "served and gone",
    "heads_v1": "one head each",
    "kept": "woken",
    "masks": "signals where they belong",
}


@pytest.mark.parametrize("name", SAID)
def test_found_by_reading(installed: Path, tmp_path: Path, name: str) -> None:
    """A deadlock or a crash there was found by reading; each file says which."""
    program = compiled(
        PROGRAMS / f"{name}.c", installed, tmp_path, *STRICT, "-rdynamic"
    )
    assert output(program, tmp_path / "fifo", tmp_path / "file") == f"{SAID[name]}\n"


def test_stress(installed: Path, tmp_path: Path) -> None:
    program = compiled(PROGRAMS / "stress.c", installed, tmp_path, *STRICT)
    assert output(program) == "every end once\n"


def test_no_threads_no_memory(installed: Path, tmp_path: Path) -> None:
    program = compiled(PROGRAMS / "scarce.c", installed, tmp_path, *STRICT, "-rdynamic")
    assert output(program) == "refused and recovered\n"


def test_only_the_interface_is_visible(installed: Path) -> None:
    if not shutil.which("nm"):
        pytest.skip("needs nm")
    expected = {name + suffix for name in NAMES for suffix in ("", "_v3", "_v1")}
    expected |= {"umem_add", "syslet_threads_max", "syslet_faults"}
    for options, file in (("-D", "libsyslet.so"), ("-g", "libsyslet.a")):
        names = output("nm", options, "--defined-only", installed / "lib" / file)
        assert set(re.findall(r" [TDBRW] (\w+)$", names, re.M)) == expected, names


def test_soname_and_pkg_config(installed: Path) -> None:
    if shutil.which("readelf"):
        dynamic = output("readelf", "-d", installed / "lib" / "libsyslet.so")
        assert "libsyslet.so.0" in dynamic
    text = (installed / "lib" / "pkgconfig" / "syslet.pc").read_text()
    assert "-I${includedir}" in text and f"libdir={installed}/lib" in text
    version = re.search(
        r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert version is not None and f"Version: {version[1]}\n" in text


def test_the_header_alone_compiles(installed: Path, tmp_path: Path) -> None:
    for abi in (1, 3, 6):
        source = tmp_path / f"abi{abi}.c"
        source.write_text(f"#define SYSLET_ABI {abi}\n#include <syslet.h>\nint x;\n")
        output("cc", "-c", *STRICT, f"-I{installed}/include", source, "-o", "/dev/null")
    if shutil.which("c++"):
        source = tmp_path / "plus.cc"
        source.write_text("#include <syslet.h>\nint x;\n")
        output("c++", "-c", f"-I{installed}/include", source, "-o", "/dev/null")
