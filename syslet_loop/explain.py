"""A compiled syslet for readers: as text, as a graph for graphviz, as one line.

Operands are shown by the names they have in the source where it can be read: those of
parameters, of the variables that results were assigned to, of flags. Purely for
looking; nothing is decided here.
"""

from __future__ import annotations

import linecache
import os
import re
import socket
from typing import TYPE_CHECKING

from . import ops, program_format
from .draft import Step
from .flow import Placed
from .operands import Record, Site, Slot

if TYPE_CHECKING:
    from .plan import Compiled

_ASSIGNED = re.compile(r"\s*(?:async\s+)?([A-Za-z_]\w*)\s*(?::[^=]+)?=\s*\w+\.(\w+)\(")
_HIDDEN = ("test", "move", "jump", "load", "buffer")
_SHOWN_MAX = 16

# Names of flags, per operation and argument; the others are shown as numbers.
_OPEN = ("WRONLY", "RDWR", "CREAT", "EXCL", "TRUNC", "APPEND", "NONBLOCK", "CLOEXEC",
         "DIRECTORY", "NOFOLLOW", "DIRECT", "NOATIME", "SYNC", "DSYNC",
         "TMPFILE", "PATH")  # fmt: skip
_SOCK = ("SOCK_NONBLOCK", "SOCK_CLOEXEC")
_MSG = ("MSG_DONTWAIT", "MSG_PEEK", "MSG_WAITALL", "MSG_NOSIGNAL", "MSG_TRUNC",
        "MSG_MORE", "MSG_OOB")  # fmt: skip


def _open_flags(value: int) -> str:
    names = ["O_RDONLY"] if value & 3 == os.O_RDONLY else []
    for name in _OPEN:
        bits = getattr(os, f"O_{name}", 0)
        if bits and value & bits == bits and not (name == "SYNC" and not value & bits):
            names.append(f"O_{name}")
            value &= ~bits
    rest = value & ~3 if names else value
    return "|".join(names + ([hex(rest)] if rest else []))


def _flags(value: int, known: tuple[str, ...], base: str = "") -> str:
    names = [base] if base else []
    for name in known:
        bits = int(getattr(socket, name, 0))
        if bits and value & bits == bits:
            names.append(name)
            value &= ~bits
    return "|".join(names + ([str(value)] if value or not names else []))


def _socket_type(value: int) -> str:
    names = {1: "SOCK_STREAM", 2: "SOCK_DGRAM", 3: "SOCK_RAW", 5: "SOCK_SEQPACKET"}
    return _flags(value & ~0xF, _SOCK, names.get(value & 0xF, str(value & 0xF)))


def _family(value: int) -> str:
    names = {1: "AF_UNIX", 2: "AF_INET", 10: "AF_INET6"}
    return names.get(value, str(value))


def _constant(step: Step, at: int, value: int) -> str:
    if step.op is None:
        return str(value)
    name, argument = step.op.name, step.op.names[at]
    if step.letters[at] == "d" and value == ops.AT_FDCWD:
        return "AT_FDCWD"
    if name == "openat" and argument == "flags":
        return _open_flags(value)
    if name in ("pipe2",) and argument == "flags":
        return _open_flags(value).removeprefix("O_RDONLY|") or "0"
    if name in ("openat", "mkdirat", "fchmod", "fchmodat") and argument == "mode":
        return oct(value) if value else "0"
    if name in ("socket", "socketpair") and argument in ("type", "family"):
        return (_socket_type if argument == "type" else _family)(value)
    if name == "accept4" and argument == "flags":
        return _flags(value, _SOCK)
    if name in ("recvfrom", "sendto", "recvmsg", "sendmsg") and argument == "flags":
        return _flags(value, _MSG)
    return str(value)


class _Names:
    """Names for the cells of one program."""

    def __init__(self, compiled: Compiled) -> None:
        self.draft = compiled.draft
        self.names: dict[int, str] = {}
        self.taken: set[str] = set()
        for param in self.draft.params:
            self._name(param.slot, param.name)
            if param.length is not None:
                self._name(param.length, f"len({param.name})")
        steps = [atom.step for atom in compiled.atoms_placed]
        self.written = {id(step.ret.resolve()) for step in steps if step.ret}
        self.fields: dict[tuple[int, int], str] = {}  # of structures, by offset
        records = {self._name_fields(record) for record in self.draft.records}
        places: set[tuple[Site, str]] = set()
        for slot in self.draft.slots[1:]:
            origin = self.draft.origins.get(id(slot))
            if id(slot) not in self.names and origin is not None:
                name = origin[1] if origin[0] in records else _variable(*origin)
                again = (origin[0], name) in places  # data, and how much of it
                places.add((origin[0], name))
                self._name(slot, f"len({name})" if again else name)
        for row in self.draft.buffers:
            self._name(row.address, _variable(Site("", 0), "buf"))
            if row.capacity is not None:
                self._name(row.capacity, f"size({self.names[id(row.address)]})")

    def _name_fields(self, record: Record) -> Site:
        site, title = self.draft.origins[id(record.block)]
        name = self._name(record.block, _variable(site, title, record.layout.name))
        start = self.draft.slots.index(record.block)
        for field, (offset, width, _) in record.layout.fields.items():
            self.fields[id(record.block), offset] = f"{name}.{field}"
            if width == 8 and offset:
                self._name(self.draft.slots[start + offset // 8], f"{name}.{field}")
        return site

    def _name(self, slot: Slot, wanted: str) -> str:
        if id(slot) in self.names:
            return self.names[id(slot)]
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        self.names[id(slot)] = name
        return name

    def of(self, slot: Slot) -> str | None:
        """The name of a cell; None for a constant."""
        slot = slot.resolve()
        if id(slot) in self.names:
            return self.names[id(slot)]
        if id(slot) in self.draft.texts:
            return _short(repr(self.draft.texts[id(slot)]))
        if slot.origin == "const":
            return _short(repr(self.text_at(slot.value)))
        if slot.target is not None:
            target = slot.target.resolve()
            return f"&{self.names.get(id(target), f'cell{target.index}')}"
        if id(slot) in self.written or slot.origin != "plain":
            return f"cell{slot.index}"
        return None

    def text_at(self, offset: int) -> bytes:
        """The constant bytes at an offset, up to their NUL."""
        consts = self.draft.consts
        return bytes(consts[offset : consts.index(0, offset)])


def _short(text: str) -> str:
    return text if len(text) <= 32 else text[:24] + "…" + text[-1]


def _variable(site: Site, title: str, otherwise: str = "") -> str:
    """The variable that the result of a call in the source was assigned to."""
    line = linecache.getline(site.file, site.line) if site.line else ""
    found = _ASSIGNED.match(line)
    if found and (title in ("", "record") or found[2] == title):
        return found[1]
    return otherwise or title or "data"


def call_text(names: _Names, step: Step) -> str:
    """The atom as a call, in C's order of arguments."""
    if step.title == "load" and step.args[0].target is not None:
        field = (id(step.args[0].target), step.args[-1].initial)
        if field in names.fields:
            return f"load({names.fields[field]})"
    args = []
    for at, slot in enumerate(step.args):
        text = names.of(slot)
        args.append(
            _constant(step, at, program_format.signed(slot.resolve().initial))
            if text is None
            else text
        )
    least = step.op.least if step.op is not None else len(args)
    while len(args) > least and args[-1] == "0":
        args.pop()
    return f"{step.title}({', '.join(args)})"


def atom_text(names: _Names, step: Step) -> str:
    """The call, and where its result goes if that has a name of its own."""
    text = call_text(names, step)
    ret = names.of(step.ret) if step.ret is not None else step.title
    return text if ret is None or ret.startswith(step.title) else f"{text} -> {ret}"


def call_names(compiled: Compiled) -> list[str]:
    """Every atom as a call with names, and where its result goes."""
    names = _Names(compiled)
    return [
        atom_text(names, atom.step) + _how(atom.step.flags)
        for atom in compiled.atoms_placed
    ]


def condition_words(atom: Placed) -> str:
    """For which results the atom stops: "negative", "zero or negative", or nothing."""
    tests = {
        program_format.STOP_ON_ZERO: "zero",
        program_format.STOP_ON_NONZERO: "nonzero",
        program_format.STOP_ON_NEGATIVE: "negative",
        program_format.STOP_ON_NON_POSITIVE: "not positive",
    }
    flags = atom.flags | atom.step.flags
    return " or ".join(text for flag, text in tests.items() if flags & flag)


def condition_text(atom: Placed, index: int) -> str:
    """What the atom's result decides, and where it goes."""
    flags, signs = atom.flags | atom.step.flags, condition_words(atom)
    skips = flags & program_format.SKIP_TO_NEXT_ON_STOP
    onward = f"then {atom.next - 1}" if atom.next else "then end"
    if not signs:
        return onward
    stop = f"if {signs} then {index + 1}" if skips else f"stop if {signs}"
    return f"{stop}; {onward}"


def explain(compiled: Compiled, format: str = "text") -> str:
    """The program as 'text' or 'dot'. Raises ValueError for another format."""
    if format == "dot":
        return _dot(compiled)
    if format != "text":
        raise ValueError(f"format is 'text', 'dot' or 'svg', not {format!r}")
    rows = []
    atoms = zip(call_names(compiled), compiled.atoms_placed, strict=True)
    for index, (text, atom) in enumerate(atoms):
        back = " ↺" if atom.next and atom.next - 1 <= index else ""
        rows.append((f"{index:3}  {text}", condition_text(atom, index) + back))
    width = min(max(len(text) for text, _ in rows), 60)
    head = compiled.name + parameters(compiled)
    return "\n".join([head, *(f"{text:{width}}   {goes}" for text, goes in rows)])


def _how(flags: int) -> str:
    names = ("ASYNC", "SYNC", "NO_COMPLETE")
    shown = [name for name in names if flags & getattr(program_format, name)]
    return f" [{'|'.join(shown)}]" if shown else ""


def _dot(compiled: Compiled) -> str:
    names = _Names(compiled)
    lines = [f'digraph "{compiled.name}" {{', "  node [shape=box, fontname=monospace];"]
    for index, atom in enumerate(compiled.atoms_placed):
        text = atom_text(names, atom.step)
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'  a{index} [label="{quoted}"];')
    lines.append('  end [shape=doublecircle, label=""];')
    for index, atom in enumerate(compiled.atoms_placed):
        lines += _edges(atom, index)
    return "\n".join([*lines, "}"])


def _edges(atom: Placed, index: int) -> list[str]:
    flags = atom.flags | atom.step.flags
    onward = f"a{atom.next - 1}" if atom.next else "end"
    lines = [f"  a{index} -> {onward};"]
    if flags & program_format.STOP_MASK:
        stop = f"a{index + 1}" if flags & program_format.SKIP_TO_NEXT_ON_STOP else "end"
        reason = condition_text(atom, index).split(" if ")[-1].partition(";")[0]
        reason = reason.removeprefix("if ").partition(" then ")[0]
        lines.append(f'  a{index} -> {stop} [label="{reason}", style=dashed];')
    return lines


def parameters(compiled: Compiled) -> str:
    """Names and defaults, without annotations."""
    every = compiled.signature.parameters.values()
    bare = [each.replace(annotation=each.empty) for each in every]
    return str(compiled.signature.replace(parameters=bare))


def describe(compiled: Compiled, name: str) -> str:
    """The repr of a syslet: its operations in order, ↺ for a jump back."""
    parts: list[str] = []
    shown: dict[int, str] = {}
    atoms = compiled.atoms_placed
    for index, atom in enumerate(atoms):
        if atom.step.title not in _HIDDEN:
            shown[index] = atom.step.title
            parts.append(atom.step.title)
        for after in atom.follows(index):
            target = next((shown[i] for i in range(after, index + 1) if i in shown), "")
            if after <= index and target and parts:
                parts[-1] += f" ↺ {target}"
    more = [f"… {len(parts) - _SHOWN_MAX} more"] if len(parts) > _SHOWN_MAX else []
    text = " → ".join(parts[:_SHOWN_MAX] + more) or "nothing"
    return f"<syslet {name}{parameters(compiled)}: {text}>"
