"""The web benchmark's servers answer with what is asked for; nothing is timed here."""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path

import pytest

from benchmarks import http, web
from benchmarks.loops import OURS
from benchmarks.processes import server

PAIRS = [(row, name) for row in web.CASES for name in (*row.names, OURS)]


@pytest.mark.parametrize(("row", "name"), PAIRS, ids=lambda p: getattr(p, "key", p))
def test_a_server_answers(row: web.Row, name: str, tmp_path: Path) -> None:
    if name != OURS and not web.is_installed(name):
        pytest.skip(f"{name} is not installed")
    if name != OURS and name != "nginx" and not importlib.util.find_spec("uvloop"):
        pytest.skip("uvloop is not installed")
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "f").write_bytes(b"content")
    with server(web.command(name, str(folder))) as running:
        url = f"http://127.0.0.1:{running.address}{row.path}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            wanted = b"Hello, world!" if row.path == "/" else b"content"
            assert answer.read() == wanted


def test_what_wrk_says() -> None:
    said = """
  Latency Distribution
     50%    1.50ms
     75%    2.00ms
     99%  900.00us
  1000 requests in 2.00s, 10MB read
"""
    assert http.parse(said) == {
        "messages": 1000,
        "seconds": 2,
        "p50_us": 1500,
        "p99_us": 900,
    }
    with pytest.raises(RuntimeError, match="wrk"):
        http.parse(said + "Non-2xx or 3xx responses: 5")
