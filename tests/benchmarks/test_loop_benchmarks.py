"""The loop benchmarks work: the C programs, every server on our loop, the tables.

Nothing is timed here; the load generator compares every byte it gets back, so each
server under a short load is also a test of the loop.
"""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import network
from benchmarks.compare import Case, Outcome, budget_table, interleave, with_rows
from benchmarks.processes import LOAD_CORE, build, output, server

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
FLOOR = Case("echo", "echo", 0.93, 1.05, ("floor epoll",))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("programs"))
    build(folder, "floor", "load")
    return folder


def few_messages(folder: str, case: network.Load, name: str) -> dict[str, float]:
    """A row of the benchmark, with a handful of messages."""
    count = min(case.connections, 20)
    with server(network.server_command(folder, case, name)) as running:
        load = [str(Path(folder, "load")), case.mode, running.address, str(count)]
        command = [*load, str(case.size), "100", str(running.pid)]
        found: dict[str, float] = json.loads(output(command, LOAD_CORE, 20))
    return found


ROWS = [case for case in network.CASES if case.kind != "tls"]


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.key)
def test_our_loop_answers(programs: str, case: network.Load) -> None:
    found = few_messages(programs, case, "ours")
    assert found.get("messages", 100) >= 100
    assert found.get("cpu_ns", 1) > 0


FLOORS = [
    (case, name)
    for case in ROWS
    for name in case.floors
    if case.key in ("protocol-50-100k", "churn", "unix-50-1k", "udp-50-1k")
]


@pytest.mark.parametrize(("case", "name"), FLOORS, ids=lambda p: getattr(p, "key", p))
def test_the_floor_answers(programs: str, case: network.Load, name: str) -> None:
    try:
        assert few_messages(programs, case, name)["messages"] >= 100
    except RuntimeError as error:
        if "io_uring_setup" not in str(error):
            raise
        pytest.skip(str(error))


def answers(listener: socket.socket, change: Callable[[bytes], bytes]) -> None:
    """One connection, every message changed."""
    conn, _ = listener.accept()
    with conn:
        while data := conn.recv(4096):
            conn.sendall(change(data))


def test_the_load_notices_a_wrong_byte(programs: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        wrong = threading.Thread(
            target=answers, args=(listener, lambda data: data[:-1] + b"?")
        )
        wrong.start()
        port = str(listener.getsockname()[1])
        command = [f"{programs}/load", "echo", port, "1", "64", "10"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        wrong.join()
    assert (done.returncode, done.stderr) == (4, "an echo differs from its message\n")


def test_a_server_that_fails_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match="there is a reason"),
        server(["sh", "-c", "echo there is a reason >&2; exit 1"]),
    ):
        pass


def test_a_process_that_hangs_is_killed() -> None:
    with pytest.raises(RuntimeError, match="hung"):
        output(["sleep", "60"], None, 0.05)


def outcome(**nanoseconds: float) -> Outcome:
    rounds = {name.replace("_", " "): [{"ns": ns}] for name, ns in nanoseconds.items()}
    return Outcome(FLOOR, rounds, {})


def test_the_budget_is_a_ratio_to_the_best_peer() -> None:
    found = outcome(floor_epoll=90, uvloop=120, blazio=100, ours=93)
    assert found.best("ns") == "blazio"
    text = budget_table([found], "ns")
    assert "0.930 of blazio (0.93 to 0.93)" in text
    assert "≤ 0.93 x blazio: met; ≤ 1.05 x floor epoll: met" in text
    found = outcome(floor_epoll=80, uvloop=120, blazio=99, ours=93)
    text = budget_table([found], "ns")
    assert "≤ 0.93 x blazio: NOT met; ≤ 1.05 x floor epoll: NOT met" in text


def test_a_contender_that_failed_is_no_peer() -> None:
    found = outcome(uvloop=120, blazio=100, ours=60)
    found.failures["blazio"] = "hung: killed after 20 s"
    text = budget_table([found], "ns")
    assert "| echo | 120 | - | 60 | 0.500 of uvloop" in text
    assert "- blazio, echo: hung: killed after 20 s" in text
    found.failures["ours"] = "Segmentation fault"
    assert "| echo | 120 | - | - | - |" in budget_table([found], "ns")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_a_terminal_is_told_how_much_is_done(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO]
) -> None:
    errors = stream()
    monkeypatch.setattr("sys.stderr", errors)
    cases = [Case("one", "one"), Case("two", "two")]
    interleave(cases, ["ours"], 2, lambda case, name: {"ns": 1})
    lines = [line.strip() for line in errors.getvalue().split("\r")]
    if stream is io.StringIO:
        assert lines == [""]
        return
    assert lines[1] == f"[{'.' * 30}] 0/4 one"
    assert lines[4] == f"[{'#' * 22}{'.' * 8}] 3/4 two"
    assert lines[-1] == ""


def test_rows_are_named_by_their_beginning() -> None:
    keys = {"network": ["protocol-1", "protocol-50"], "scheduling": ["sleep"]}
    assert with_rows(["protocol"], keys) == ["network"]
    with pytest.raises(SystemExit, match="no row begins with nothing"):
        with_rows(["sleep", "nothing"], keys)
