"""The kinds of loops that syslets fly on: ours on each backend, and other people's.

For the fixtures of the tests of the language, of files and of the binding. On a loop
that is not ours the flights are attached: to the ring on asyncio's, to epoll on
uvloop's, so that both ways of telling a foreign loop are taken.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

import syslet_loop
from syslet_loop import _native

# What SYSLET_LOOP_BACKEND is for each kind.
BACKENDS = {"uring": "uring", "epoll": "epoll", "asyncio": "", "uvloop": "epoll"}
if Path("/dev/syslet").exists():  # a kernel that executes syslets: docs/kernel.md
    BACKENDS["kernel"] = "kernel"
# SYSLET_TEST_KINDS=kernel leaves the others out.
KINDS = tuple(
    kind
    for kind in BACKENDS
    if kind in os.environ.get("SYSLET_TEST_KINDS", kind).split(",")
)

# libuv keeps two descriptors for the process from its first loop on.
uvloop.new_event_loop().close()

FOREIGN: dict[str, Callable[[], Any]] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop.new_event_loop,
}


def factory(kind: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """What makes loops of this kind, until the test ends."""
    backend = BACKENDS[kind]
    if backend:
        try:
            _native.Engine(backend).close()
        except OSError as error:
            pytest.skip(f"{backend} is not to be had here: {error}")
        monkeypatch.setenv("SYSLET_LOOP_BACKEND", backend)
    else:
        monkeypatch.delenv("SYSLET_LOOP_BACKEND", raising=False)
    return FOREIGN.get(kind, syslet_loop.new_event_loop)


def runners(kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Runner]:
    """For a fixture: a Runner with a loop of this kind."""
    with asyncio.Runner(loop_factory=factory(kind, monkeypatch)) as runner:
        yield runner
