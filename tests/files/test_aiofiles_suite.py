"""aiofiles' own tests, from its source distribution, on our files under its names.

On each of our backends and on the loops of asyncio and uvloop. `make` gets the sources
when it can; without them these tests are skipped.
"""

from __future__ import annotations

import os

import judge
import kinds
import pytest

ALL = 219
SKIPPED_AT_MOST = 8  # 4 from Python 3.12 on
# Fails on aiofiles' own files as well: root may do what a file's mode forbids.
EXPLAINED = {"test_access"} if os.geteuid() == 0 else set()

pytestmark = pytest.mark.skipif(
    judge.sources() is None, reason="aiofiles' sources are not there: make test"
)


@pytest.mark.parametrize(
    ("loop", "backend"),
    [("ours", "uring"), ("ours", "epoll"), ("asyncio", ""), ("uvloop", "")],
)
def test_aiofiles_own_tests_pass(
    loop: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loop == "ours":
        kinds.factory(backend, monkeypatch)  # skips where there is no io_uring
    verdict = judge.run("ours", loop, backend)
    assert verdict.failed.keys() == EXPLAINED, verdict.failed
    assert verdict.passed + verdict.skipped + len(EXPLAINED) == ALL
    assert verdict.skipped <= SKIPPED_AT_MOST
