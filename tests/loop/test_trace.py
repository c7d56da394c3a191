"""SYSLET_LOOP_TRACE: what is in the file, and when; slow atoms in debug mode."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from processes import check_process

import syslet_loop
from syslet_loop import Atom, EventLoop, program
from syslet_loop.language import SYNC

HEAD = """
import asyncio, os, sys, threading, warnings
import syslet_loop
from syslet_loop import calls, syslet

@syslet
def look(s, path):
    pid = s.getpid()
    s.faccessat(path, 0)
    s.timeout(0.001)
    return pid
"""


def traced(path: Path, script: str, backend: str) -> list[dict[str, Any]]:
    """The events of a script's file."""
    check_process(HEAD + script, backend, SYSLET_LOOP_TRACE=str(path))
    events: list[dict[str, Any]] = json.loads(path.read_text())
    return events


def atoms(events: list[dict[str, Any]], syslet: str) -> list[tuple[Any, ...]]:
    """Name, path and result of the atoms of a syslet, in order."""
    found = [e for e in events if e["ph"] == "b" and e["args"].get("syslet") == syslet]
    return [(e["name"], e["args"]["path"], e["args"]["result"]) for e in found]


def check_pairs(events: list[dict[str, Any]]) -> None:
    """Beginnings and ends are nested, and time goes forward."""
    assert [e["ts"] for e in events] == sorted(e["ts"] for e in events)
    open_: dict[str, list[str]] = {}
    for event in events:
        names = open_.setdefault(event.get("id", ""), [])
        if event["ph"] == "b":
            names.append(event["name"])
        elif event["ph"] == "e":
            assert names.pop() == event["name"]
    assert not any(open_.values())


def test_what_was_opened_last_and_waits(backend: str, tmp_path: Path) -> None:
    """A FIFO that nobody opens for writing, when its flight is cancelled."""
    os.mkfifo(tmp_path / "fifo")
    script = f"""
@syslet
def enter(s, path):
    return s.openat(path, os.O_RDONLY)

async def main():
    task = asyncio.ensure_future(enter("{tmp_path}/fifo"))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()

syslet_loop.run(main())
"""
    found = atoms(traced(tmp_path / "trace", script, backend), "enter")
    assert found and {name for name, _, _ in found} == {"openat"}


def test_flights_atoms_and_ticks(backend: str, tmp_path: Path) -> None:
    script = "assert syslet_loop.run(look('/')) == os.getpid()\n"
    events = traced(tmp_path / "trace.json", script, backend)
    check_pairs(events)
    (flight,) = [e for e in events if e["ph"] == "b" and e["name"] == "look"]
    assert flight["args"] == {
        "kind": "flight",
        "loop": 1,
        "path": "worker",
        "result": 0,
    }
    names = [(name, path) for name, path, _ in atoms(events, "look")]
    assert names == [
        ("getpid", "inline"),
        ("faccessat2", "worker"),
        ("nanosleep", "ring"),
    ]
    kinds = {event["name"] for event in events if event["ph"] == "X"}
    assert kinds == {"tick", "wait"}
    sleep = [e["ts"] for e in events if e["name"] == "nanosleep"]
    assert sleep[1] - sleep[0] >= 1000  # microseconds


def test_errors_and_cancellations(backend: str, tmp_path: Path) -> None:
    script = """
async def main():
    try:
        await look("/none")
    except FileNotFoundError:
        pass
    task = asyncio.ensure_future(calls.timeout(60))
    await asyncio.sleep(0.001)
    task.cancel()
    await asyncio.wait([task])

syslet_loop.run(main())
"""
    events = traced(tmp_path / "trace.json", script, backend)
    check_pairs(events)
    assert atoms(events, "look")[1] == ("faccessat2", "worker", -2)
    assert atoms(events, "timeout") == [("nanosleep", "ring", -125)]


def test_several_loops_and_threads(backend: str, tmp_path: Path) -> None:
    """One file for all of the process, whole after each loop that is closed."""
    script = """
import json

def run():
    syslet_loop.run(look("/"))

def closed():
    with open(os.environ["SYSLET_LOOP_TRACE"]) as file:
        return {event["args"]["loop"] for event in json.load(file)}

run()
assert closed() == {1}
threads = [threading.Thread(target=run) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert closed() == {1, 2, 3, 4}
"""
    events = traced(tmp_path / "trace.json", script, backend)
    assert len({e["id"] for e in events if e["name"] == "look"}) == 4


def test_foreign_loops_and_the_end_of_the_interpreter(
    backend: str, tmp_path: Path
) -> None:
    """A loop that nobody closes is written at the end."""
    script = """
warnings.simplefilter("ignore")
asyncio.run(look("/"))
loop = syslet_loop.new_event_loop()
loop.run_until_complete(look("/"))
"""
    events = traced(tmp_path / "trace.json", script, backend)
    flights = {e["id"] for e in events if e["name"] == "look"}
    assert flights == {"1.1", "2.1"}


def test_a_forked_child_has_its_own_file(backend: str, tmp_path: Path) -> None:
    script = """
warnings.simplefilter("ignore", DeprecationWarning)

async def main():
    await look("/")
    pid = os.fork()
    if pid == 0:
        try:
            syslet_loop.run(look("/"))
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    await look("/")

syslet_loop.run(main())
"""
    path = tmp_path / "trace.json"
    events = traced(path, script, backend)
    assert len({e["id"] for e in events if e["name"] == "look"}) == 2
    (child,) = set(tmp_path.iterdir()) - {path}
    pid = int(child.name.rpartition(".")[2])
    assert {e["pid"] for e in json.loads(child.read_text())} == {pid}


def test_the_number_of_the_process_in_the_name(tmp_path: Path) -> None:
    name = str(tmp_path / "trace-%p.json")
    check_process(HEAD + "syslet_loop.run(look('/'))\n", "", SYSLET_LOOP_TRACE=name)
    (made,) = tmp_path.iterdir()
    assert made.name != "trace-%p.json" and json.loads(made.read_text())


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    script = f"""
import io
sys.stderr = io.StringIO()
os.environ["SYSLET_LOOP_TRACE"] = {str(tmp_path)!r} + "/none/trace.json"
syslet_loop.run(look("/"))
assert "SYSLET_LOOP_TRACE: [Errno 2]" in sys.stderr.getvalue()
"""
    check_process(HEAD + script)


def test_too_many_spans_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = syslet_loop._native.limits()
    engine = syslet_loop._native.Engine()
    engine.trace(True)
    for _ in range(limits["TRACE_SPANS_MAX"] // 2 + 10):
        engine.turn(0)  # a wait, and the tick since the last one
    spans, dropped = engine.take_spans()
    assert len(spans) == limits["TRACE_SPANS_MAX"] and dropped == 19
    with pytest.raises(RuntimeError, match="is being traced"):
        engine.trace(True)
    engine.close()
    assert engine.take_spans() == ([], 19)


def test_nothing_is_traced_otherwise(
    runner: asyncio.Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runner.run(asyncio.sleep(0.001))
    loop = runner.get_loop()
    if isinstance(loop, EventLoop):
        assert loop.engine.take_spans() == ([], 0)
        assert loop.engine.take_slowest() is None
    assert os.listdir(tmp_path) == []


def test_debug_mode_names_a_slow_atom(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    duration = (0).to_bytes(8, "little") + (20_000_000).to_bytes(8, "little")
    slow = program(
        [Atom("getpid"), Atom("nanosleep", duration, 0, flags=SYNC)],
        name="slow_one",
    )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        await slow()
        await asyncio.sleep(0)
        time.sleep(0.02)
        await asyncio.sleep(0)

    with asyncio.Runner(debug=True, loop_factory=syslet_loop.new_event_loop) as runner:
        runner.run(main())
    named = [record.getMessage() for record in caplog.records]
    named = [text for text in named if "main()" in text and "Executing" in text]
    assert any("in atom 1 (nanosleep) of the syslet 'slow_one'" in t for t in named)
    assert any("of the syslet" not in text for text in named), "a slow turn without one"
