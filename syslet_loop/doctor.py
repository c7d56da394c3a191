"""How syslet_loop runs here: kernel, backend and why, paths, limits, and a self-test.

`examine` gathers everything as a dict, `show` makes a text of it, `run` prints either
and gives the exit status: 0 healthy; 1 degraded (io_uring was wanted and cannot be had,
everything works on epoll) or failing (something does not work). Called by __main__.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections import Counter
from typing import Any

from . import _native, diagnosis, selftest
from .settings import chosen_backend, chosen_bounds

HEALTHY, DEGRADED, FAILING = "healthy", "degraded", "failing"
_RLIMITS = {
    "RLIMIT_NOFILE": resource.RLIMIT_NOFILE,
    "RLIMIT_MEMLOCK": resource.RLIMIT_MEMLOCK,
    "RLIMIT_NPROC": resource.RLIMIT_NPROC,
    "RLIMIT_AS": resource.RLIMIT_AS,
}
_FORMS = {
    "ring": "ring",
    "readiness": "wait for readiness",
    "worker": "worker",
    "kernel": "worker of the kernel",
}


def _try_in_child(backend: str) -> int:
    """Make an engine in a child first: minus the signal that ended it, else 0."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _native.Engine(backend).close()
        finally:
            os._exit(0)
    return min(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)


def _cause_dict(cause: diagnosis.Cause, error: int) -> dict[str, Any]:
    return {
        "name": cause.name,
        "errno": error,
        "text": cause.text,
        "remedy": cause.remedy,
    }


def _backend(facts: diagnosis.Facts) -> dict[str, Any]:
    """Which backend programs get, and why not another. 'active' is '' if none."""
    asked = chosen_backend()
    found: dict[str, Any] = {"asked": asked, "active": "", "cause": None}
    if asked == "epoll":
        found["cause"] = _cause_dict(diagnosis.asked_for(), 0)
    else:
        signal = -_try_in_child(asked)
        if signal:
            found["cause"] = _cause_dict(diagnosis.killed(signal), 0)
            return found
    try:
        engine = _native.Engine(asked)
    except OSError as error:
        number = error.errno or 0
        find = diagnosis.why_no_device if _lacks_device(asked) else diagnosis.why_not
        found["cause"] = _cause_dict(find(number, facts), number)
        return found
    found["active"], number = engine.backend, engine.backend_errno
    found["operations"] = _operations(engine)
    engine.close()
    if number:
        found["cause"] = _cause_dict(diagnosis.why_not(number, facts), number)
    return found


def _lacks_device(asked: str) -> bool:
    """Whether it is the kernel's syslets that are missing, and not already the ring."""
    if asked != "kernel":
        return False
    try:
        _native.Engine("uring").close()
    except OSError:
        return False
    return True


def _operations(engine: _native.Engine) -> dict[str, dict[str, str]]:
    """Each operation: how it is tried without blocking, and where a miss goes."""
    found = {}
    for op in _native.ops():
        miss = engine.miss_path(op["nr"])
        how = _FORMS.get(miss, "")
        if miss == "ring":
            how = f"ring ({op['ring_form']})"
        found[op["name"]] = {"inline": op["inline_form"], "miss": how}
    return found


def _limits() -> dict[str, Any]:
    found: dict[str, Any] = {"engine": _native.limits(), "asked": chosen_bounds()}
    for name, number in _RLIMITS.items():
        pair = resource.getrlimit(number)
        found[name] = [
            None if each == resource.RLIM_INFINITY else each for each in pair
        ]
    return found


def _status(backend: dict[str, Any], tests: list[dict[str, Any]]) -> str:
    if not backend["active"] or any(test["error"] for test in tests):
        return FAILING
    wanted = backend["asked"] == "epoll" or backend["active"] in ("kernel", "uring")
    return HEALTHY if wanted else DEGRADED


def _tests(active: str) -> list[dict[str, Any]]:
    """The self-test of what programs get, and of epoll, which they get elsewhere."""
    found = []
    for backend in dict.fromkeys(name for name in (active, "epoll") if name):
        for each in selftest.run_all(backend):
            test = {"backend": backend, "name": each.name, "error": each.error}
            found.append({**test, "seconds": round(each.seconds, 6)})
    return found


def examine() -> dict[str, Any]:
    """Everything, as JSON has it. Raises ValueError if SYSLET_LOOP_BACKEND is wrong."""
    facts = diagnosis.gather()
    backend = _backend(facts)
    operations = backend.pop("operations", {})
    tests = _tests(backend["active"])
    return {
        "status": _status(backend, tests),
        "kernel": {
            "release": facts.release,
            "machine": platform.machine(),
            "io_uring_disabled": facts.disabled,
            "seccomp": {0: "none", 1: "strict", 2: "filter"}.get(facts.seccomp, "?"),
            "gvisor": facts.is_gvisor,
        },
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "build": {
            "version": sys.modules[__package__].__version__,
            "module": _native.__file__,
        },
        "backend": backend,
        "operations": operations,
        "limits": _limits(),
        "tests": tests,
    }


def _lines(report: dict[str, Any]) -> list[str]:
    kernel, python, build = report["kernel"], report["python"], report["build"]
    backend = report["backend"]
    lines = [
        f"syslet_loop {build['version']}: {report['status']}",
        f"  kernel      Linux {kernel['release']} on {kernel['machine']}, "
        f"seccomp {kernel['seccomp']}" + (", gVisor" if kernel["gvisor"] else ""),
        f"  python      {python['implementation']} {python['version']}",
        f"  module      {build['module']}",
        f"  backend     {backend['active'] or 'none'}"
        + (f" (asked for: {backend['asked']})" if backend["asked"] != "any" else ""),
    ]
    if backend["cause"]:
        lines.append(f"  cause       {backend['cause']['text']}")
        lines.append(f"  remedy      {backend['cause']['remedy']}")
    return lines


def _operation_lines(operations: dict[str, dict[str, str]]) -> list[str]:
    lines = ["", f"{len(operations)} operations: tried inline as; a miss goes to"]
    for name, paths in sorted(operations.items()):
        lines.append(
            f"  {name:<22}{paths['inline'] or '-':<34}{paths['miss'] or '-'}".rstrip()
        )
    kinds = Counter(paths["miss"].split(" (")[0] for paths in operations.values())
    counted = ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds) if kind)
    return [*lines, f"  misses: {counted}; the other {kinds['']} never miss"]


def _limit_lines(limits: dict[str, Any]) -> list[str]:
    lines = ["", "limits"]
    for name, values in limits.items():
        if name not in ("engine", "asked"):
            soft, hard = ("none" if value is None else value for value in values)
            lines.append(f"  {name:<22}{soft} (at most {hard})")
    lines += [
        f"  {name:<22}{value} (asked for)" for name, value in limits["asked"].items()
    ]
    engine = limits["engine"].items()
    return lines + [f"  {name:<22}{value}" for name, value in sorted(engine)]


def _test_lines(tests: list[dict[str, Any]]) -> list[str]:
    lines = ["", "self-test"]
    for test in tests:
        word = test["error"] or f"{test['seconds'] * 1000:.1f} ms"
        lines.append(f"  {test['backend']:<8}{test['name']:<22}{word}")
    return lines


def show(report: dict[str, Any]) -> str:
    """The report as a text for people."""
    lines = _lines(report)
    if report["operations"]:
        lines += _operation_lines(report["operations"])
    lines += _limit_lines(report["limits"]) + _test_lines(report["tests"])
    return "\n".join(lines)


def run(*, as_json: bool = False) -> int:
    """Print the report. Returns the exit status."""
    try:
        report = examine()
    except ValueError as error:
        print(f"syslet_loop: {FAILING}: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if as_json else show(report))
    return 0 if report["status"] == HEALTHY else 1
