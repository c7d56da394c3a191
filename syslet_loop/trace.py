"""SYSLET_LOOP_TRACE=file.json: a timeline of what the loops of a process did.

In Chrome's trace format, for ui.perfetto.dev or chrome://tracing: a track per flight
with its atoms, and the ticks and waits of each loop. An engine is traced from its
making (loop.py calls `begin`); its spans are added to the file when it is closed
(`finish`) and when the interpreter ends. `%p` in the name is the process; a forked
child adds its own number. Without the variable nothing here does anything.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import Engine

VARIABLE = "SYSLET_LOOP_TRACE"
_OPEN, _BETWEEN, _CLOSE = "[\n", ",\n", "\n]\n"


class _File:
    """The file of one process."""

    def __init__(self, name: str, is_forked: bool) -> None:
        self.pid = os.getpid()
        suffix = f".{self.pid}" if is_forked and "%p" not in name else ""
        self.path = name.replace("%p", str(self.pid)) + suffix
        self.engines: weakref.WeakKeyDictionary[Engine, int] = (
            weakref.WeakKeyDictionary()
        )
        self.numbers = 0
        self.is_new = True
        self.lock = threading.Lock()  # loops are made and closed in any thread

    def enter(self, engine: Engine) -> None:
        """From now on its spans belong here."""
        with self.lock:
            self.numbers += 1
            self.engines[engine] = self.numbers

    def leave(self, engine: Engine) -> int:
        """Its number; 0 if it does not belong here."""
        with self.lock:
            return self.engines.pop(engine, 0)

    def add(self, events: list[dict[str, Any]]) -> None:
        """Append events: the file is whole after each call."""
        import json  # seldom needed

        text = _BETWEEN.join(json.dumps(event) for event in events)
        with self.lock:
            self._append(text)

    def _append(self, text: str) -> None:
        if self.is_new:
            self.is_new = False
            with open(self.path, "w") as file:
                file.write(_OPEN + text + _CLOSE)
            return
        with open(self.path, "r+") as file:
            file.seek(os.path.getsize(self.path) - len(_CLOSE))
            file.write(_BETWEEN + text + _CLOSE)


_files: dict[int, _File] = {}  # by process: this one's, and that of its parent


def _own_file() -> _File | None:
    """A forked child does not write into its parent's."""
    return _files.get(os.getpid())


def _open_file(name: str) -> _File:
    file = _own_file()
    if file is None:
        if not _files:
            atexit.register(_finish_all)
        new = _File(name, is_forked=bool(_files))
        file = _files.setdefault(new.pid, new)  # another thread may have been faster
    return file


def begin(engine: Engine) -> None:
    """Trace a new engine, if the environment asks for it."""
    name = os.environ.get(VARIABLE)
    if name:
        engine.trace(True)
        _open_file(name).enter(engine)


def finish(engine: Engine) -> None:
    """Write what an engine did that was closed, or that is about to be left."""
    file = _own_file()
    number = 0 if file is None else file.leave(engine)
    if file is None or number == 0:
        return
    spans, dropped = engine.take_spans()
    events = [event for span in spans for event in _events(number, span)]
    events.sort(key=_order)
    if dropped:
        events.append(_note(f"{dropped} spans were too many", number, events))
    try:
        file.add(events or [_note("nothing happened", number, [])])
    except OSError as error:
        print(f"syslet_loop: {VARIABLE}: {error}", file=sys.stderr)


def _finish_all() -> None:
    file = _own_file()
    if file is not None:
        for engine in list(file.engines):
            finish(engine)


def _note(text: str, number: int, events: list[dict[str, Any]]) -> dict[str, Any]:
    time = events[-1]["ts"] if events else 0
    common = {"pid": os.getpid(), "tid": number, "ts": time}
    return {"name": text, "cat": "note", "ph": "i", "s": "p", **common}


def _events(number: int, span: tuple[Any, ...]) -> Iterator[dict[str, Any]]:
    """The events of one span. Flights overlap, so they are pairs with an id."""
    kind, label, op, nr, atom, flight, path, start, end, result, thread = span
    is_turn = kind in ("tick", "wait")
    event = {"pid": os.getpid(), "tid": thread, "ts": start / 1000}
    args = {"kind": kind, "loop": number}
    if is_turn:
        event |= {"name": kind, "cat": "loop", "ph": "X", "dur": (end - start) / 1000}
        yield {**event, "args": args}
        return
    event |= {"cat": "flight", "id": f"{number}.{flight}"}
    event["name"] = label if kind == "flight" else op
    args |= {"path": path, "result": result}
    if kind == "atom":
        args |= {"syslet": label, "atom": atom, "nr": nr}
    yield {**event, "ph": "b", "args": args}
    yield {**event, "ph": "e", "ts": end / 1000, "args": {"kind": kind, "loop": number}}


def _order(event: dict[str, Any]) -> tuple[float, int]:
    """By time; then the end of an atom comes before the beginning of the next."""
    places = {"bflight": 0, "eatom": 1, "eflight": 3}
    return event["ts"], places.get(event["ph"] + event["args"]["kind"], 2)


def watch(engine: Engine | None) -> None:
    """For debug mode: note the slowest atom, unless everything is noted anyway."""
    if engine is not None:
        with contextlib.suppress(RuntimeError, OSError):  # flights are in the air
            engine.trace(False)
