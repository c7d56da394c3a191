"""aiofiles' own tests, from its source distribution, on our files under its names.

On each of our backends and on the loops of asyncio and uvloop; by nobody if root runs
this, and by root once. `make` gets the sources when it can; without them these tests
are skipped.
"""

from __future__ import annotations

import os

import judge
import kinds
import nobody
import pytest

ALL = 219
SKIPPED_AT_MOST = 8  # 4 from Python 3.12 on
# Fails on aiofiles' own files as well: root may do what a file's mode forbids.
OF_ROOT = {"test_access"}

pytestmark = pytest.mark.skipif(
    judge.sources() is None, reason="aiofiles' sources are not there: make test"
)


@pytest.mark.parametrize(
    ("loop", "backend", "user"),
    [
        ("ours", "uring", "nobody"),
        ("ours", "epoll", "nobody"),
        ("asyncio", "", "nobody"),
        ("uvloop", "", "nobody"),
        ("ours", "uring", "root"),
    ],
)
def test_aiofiles_own_tests_pass(
    loop: str, backend: str, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_root = os.geteuid() == 0
    if user == "root" and not is_root:
        pytest.skip("only root can be root")
    explained = (
        OF_ROOT if is_root and (user == "root" or not nobody.can_be()) else set()
    )
    if loop == "ours":
        kinds.factory(backend, monkeypatch)  # skips where there is no io_uring
    verdict = judge.run("ours", loop, backend, user)
    assert verdict.failed.keys() == explained, verdict.failed
    assert verdict.passed + verdict.skipped + len(explained) == ALL
    assert verdict.skipped <= SKIPPED_AT_MOST
