"""The web benchmark's servers answer with what is asked for; nothing is timed here."""

from __future__ import annotations

import importlib.util
import urllib.request
from pathlib import Path

import pytest

from benchmarks import http, web, workers
from benchmarks.loops import OURS
from benchmarks.processes import PYTHON, server

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


@pytest.mark.parametrize("count", workers.COUNTS)
def test_workers_answer(count: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    command = [*PYTHON, "benchmarks.workers", str(count), str(tmp_path)]
    answers = {"/": b"Hello, world!", "/files/f": b"content", "/work": b"2400"}
    assert answers.keys() == workers.ROWS.keys()
    with server(command, None) as running:
        assert len(workers.children(running.pid)) == count
        for path, wanted in answers.items():
            url = f"http://127.0.0.1:{running.address}{path}"
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.read() == wanted


def test_the_table_of_workers() -> None:
    def run(rate: float, cpu_ns: float) -> dict[str, float]:
        return {"rate": rate, "cpu_ns": cpu_ns, "p99_us": 1500}

    runs = {(path, 1): [run(1000, 9000), run(900, 9000)] for path in workers.ROWS}
    runs |= {(path, 2): [run(1900, 9900), run(1800, 9900)] for path in workers.ROWS}
    lines = workers.table(runs).splitlines()
    one, two = "950/s, 9.0 µs CPU, p99 1.5 ms", "1850/s, 9.9 µs CPU, p99 1.5 ms"
    assert lines[2] == f"| 13 bytes | {one} | {two} | 1.95 | 1.10 |"
    assert len(lines) == 2 + len(workers.ROWS)


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
