"""The suites that run.py knows: what each needs, and how its project runs it.

Requirements are those of the projects' own test groups, without linters, without uvloop
where a suite would pick it by itself, and without blockbuster, which forbids calls by
the name of the function that asyncio makes them from.
"""

from __future__ import annotations

from dataclasses import dataclass, field

COMMON = ("pytest", "pytest-timeout", "pytest-xdist", "pytest-mock", "trustme")


@dataclass(frozen=True)
class Suite:
    """A project on PyPI whose source distribution contains its tests."""

    name: str
    requires: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    # Left out: they are about the project's own sources, speed or another network.
    ignore: tuple[str, ...] = ()
    # The modules in the unpacked sources, which would hide the installed ones.
    hides: tuple[str, ...] = ()
    # The files whose tests use the loop most; --quick runs these.
    quick: tuple[str, ...] = ()
    test_timeout: int = 60
    whole_timeout: int = 1800
    workers: int = 2
    environment: dict[str, str] = field(default_factory=dict)


SUITES = {
    suite.name: suite
    for suite in (
        Suite(
            "uvicorn",
            requires=(
                *("httptools", "python-dotenv", "pyyaml", "watchfiles", "websockets"),
                *("a2wsgi", "cryptography", "httpx2", "psutil", "wsproto", "zttp"),
            ),
            options=("-o", "addopts="),
            ignore=("tests/benchmarks",),
            hides=("uvicorn",),
        ),
        Suite(
            "aiohttp",
            requires=(
                *("aiodns", "brotli", "backports.zstd; python_version < '3.14'"),
                *(
                    "coverage",
                    "freezegun",
                    "gunicorn",
                    "isal",
                    "pkgconfig",
                    "proxy.py>=2.4.4rc5",
                ),
                *("setuptools-git", "zlib_ng"),
            ),
            options=(
                *("-o", "addopts=", "-o", "junit_logging=no"),
                *("--import-mode=importlib", "--aiohttp-loop=pyloop"),
                *("-m", "not dev_mode and not autobahn and not internal"),
            ),
            ignore=("tests/autobahn", "tests/isolated", "tests/test_benchmarks_*.py"),
            hides=("aiohttp",),
            quick=(
                *("client_functional", "client_session", "client_ws_functional"),
                *("connector", "helpers", "leaks", "loop", "proxy_functional"),
                *("resolver", "run_app", "tcp_helpers", "test_utils", "web_runner"),
                *("web_functional", "web_sendfile_functional", "web_server"),
                *("web_urldispatcher", "web_websocket_functional", "worker"),
            ),
        ),
        Suite(
            "anyio",
            requires=("hypothesis", "psutil", "truststore"),
            options=(
                *("-o", "addopts=", "--strict-markers", "--tb=short"),
                *("-p", "anyio", "-m", "not network"),
            ),
            hides=("src",),
            test_timeout=30,
        ),
        Suite(
            "uvloop",
            requires=("aiohttp", "psutil", "pyOpenSSL"),
            options=(
                *("-o", "addopts=", "--import-mode=importlib"),
                *("-p", "injected_uvloop", "--capture=no"),
                # On asyncio's loop it never ends.
                "--deselect=tests/test_sockets.py::TestUVSockets::"
                "test_socket_connect_and_close",
            ),
            ignore=(
                *("tests/test_cython.py", "tests/test_dealloc.py"),
                *("tests/test_fs_event.py", "tests/test_libuv_api.py"),
                *("tests/test_runner.py", "tests/test_sourcecode.py"),
                *("tests/test_process_spawning.py", "tests/test_testbase.py"),
            ),
            hides=("uvloop",),
            # Its tests look for free ports by trying fixed ones.
            workers=1,
        ),
    )
}
