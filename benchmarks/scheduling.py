"""Question: what do a loop's own operations cost, without any network?

Every contender runs operations.py in a process of its own, once per round and row. The
figure is CPU time of all its threads on one processor, which others' work disturbs
least; where a child is waited for, it is elapsed time on any processor. `floor sync`
makes the same system calls from Python without a loop.
"""

from __future__ import annotations

import compileall
import json
import os
import sys
from pathlib import Path

from benchmarks.compare import Case, Choice, Figures, budget_table, interleave
from benchmarks.loops import MODULES
from benchmarks.operations import PLAIN, WAITING
from benchmarks.processes import PYTHON, ROOT, SERVER_CORE, output

CASES = [
    Case("call_soon", "call_soon, one to a turn", 0.68),
    Case("batches", "call_soon, 500 to a turn"),
    Case("sleep", "await sleep(0)", 0.76),
    Case("call_later_cancel", "call_later + cancel", 0.80),
    Case("timeouts", "asyncio.timeout around sleep(0)"),
    Case("timers", "timers that fire", 0.75),
    Case("tasks", "tasks (gather of sleep(0))", 0.82),
    Case("futures", "future resolved by call_soon"),
    Case("executor", "run_in_executor round trip", 0.85),
    Case("threadsafe", "run_coroutine_threadsafe round trip"),
    Case("socketpair", "socketpair sendall + recv", 0.70, floors=(PLAIN,)),
    Case("subprocess", "subprocess spawn and wait", 0.9, floors=(PLAIN,)),
    Case("life", "new_event_loop, run, close"),
    Case("import", "import", 1.5),
    Case("start", "import, new_event_loop, run, close", 1.5),
]
TIMEOUT = 20.0
IMPORT = """
import os, sys, time
if sys.argv[1] == "before":
    sys.path.insert(0, os.environ["BENCH_BEFORE"])
start = time.process_time_ns()
module = __import__(sys.argv[2])
if sys.argv[3] == "start":
    loop = module.new_event_loop()
    loop.run_until_complete(loop.create_task(__import__("asyncio").sleep(0)))
    loop.close()
print('{"ns": %d}' % (time.process_time_ns() - start))
"""
STARTING = ("import", "start")


def run(case: Case, name: str, seconds: float) -> Figures:
    """One contender, one process."""
    if case.key in STARTING:
        command = [sys.executable, "-c", IMPORT, name, MODULES[name], case.key]
    else:
        command = [*PYTHON, "benchmarks.operations", name, case.key, str(seconds)]
    core = None if case.key in WAITING else SERVER_CORE
    figures: Figures = json.loads(output(command, core, seconds + TIMEOUT))
    return figures


def compile_ours() -> None:
    """As an installer does for the peers: a checkout may have no bytecode."""
    for folder in filter(None, (str(ROOT), os.environ.get("BENCH_BEFORE"))):
        compileall.compile_dir(Path(folder, "syslet_loop"), quiet=1)


def report(quick: bool, choice: Choice) -> str:
    """Nanoseconds per operation with budgets as Markdown."""
    compile_ours()
    rounds = choice.rounds or (3 if quick else 5)
    seconds = choice.seconds or (0.1 if quick else 0.2)
    outcomes = interleave(
        choice.select(CASES),
        choice.loop_names(),
        rounds,
        lambda case, name: run(case, name, seconds),
    )
    choice.outcomes += outcomes
    head = "## Scheduling\n\nTime per operation, ns:\n\n"
    return head + budget_table(outcomes, "ns")
