"""From what a syslet's function returns to the template its result is made by.

A template is nested tuples that the binding evaluates when a flight lands or emits:
cells as numbers, memory as bytes, the caller's own objects, Python functions for
structures. Used by plan.py only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .draft import Draft
from .operands import (
    Address,
    Buffer,
    Condition,
    Fd,
    Field,
    Int,
    Param,
    Record,
    Slot,
)
from .structs import SOCKADDR_BYTES, decode_address, read_field

Node = tuple[Any, ...]


def template(draft: Draft, value: object) -> Node:
    """The template of a value, with Slot objects where `located` puts indexes.

    Raises TypeError for what no flight can give.
    """
    if value is None:
        return ("none",)
    if isinstance(value, Int):
        owns = isinstance(value, Fd) or value.slot.holds_fd
        return ("fd" if owns else "int", value.slot)
    if isinstance(value, Param):
        return ("param", value.index)
    if isinstance(value, Buffer):
        return _bytes(draft, value)
    if isinstance(value, Field):
        read = partial(read_field, place=value.record.layout.fields[value.name])
        return ("call", read, [_record(draft, value.record)])
    if isinstance(value, Record):
        return ("call", value.layout.make, [_record(draft, value)])
    if isinstance(value, Address):
        size = draft.number(SOCKADDR_BYTES)
        parts = [("bytes", value.address, size), ("int", value.length)]
        return ("call", decode_address, parts)
    if isinstance(value, Condition):
        raise TypeError("a syslet cannot return a condition: return the value instead")
    return _collection(draft, value)


def _collection(draft: Draft, value: object) -> Node:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return ("call", type(value), [template(draft, part) for part in value])
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return (kind, [template(draft, part) for part in value])
    if isinstance(value, dict):
        return ("dict", list(value), [template(draft, part) for part in value.values()])
    return ("const", value)


def _record(draft: Draft, record: Record) -> Node:
    return ("bytes", record.address, draft.number(record.layout.size))


def _bytes(draft: Draft, buffer: Buffer) -> Node:
    fillers = buffer.fillers
    if len(fillers) == 1 and fillers[0].before is not None:
        if buffer.memory.capacity is None:
            raise TypeError("nobody knows how much of this buffer is filled")
        cut = partial(_part, before=fillers[0].before)
        whole = ("bytes", buffer.memory.address, buffer.memory.capacity)
        return ("call", cut, [whole, ("int", fillers[0].put)])
    return ("bytes", buffer.memory.address, buffer.length.slot)


def _part(data: bytes, total: int, before: int) -> bytes:
    """What a vectored read put into one of its buffers."""
    return data[: max(total - before, 0)]


def located(node: Node) -> Node:
    """The template with the indexes of its cells."""

    def walk(part: object) -> object:
        if isinstance(part, Slot):
            return part.resolve().index
        if isinstance(part, list):
            return [walk(each) for each in part]
        if isinstance(part, tuple) and part and _is_node(part):
            return _located_node(part, walk)
        return part

    return _located_node(node, walk)


_KINDS = (
    *("none", "int", "fd", "bytes", "param", "const"),
    *("tuple", "list", "dict", "call"),
)


def _is_node(part: tuple[Any, ...]) -> bool:
    return isinstance(part[0], str) and part[0] in _KINDS


def _located_node(node: Node, walk: Callable[[object], object]) -> Node:
    if node[0] == "const":
        return node
    if node[0] == "dict":
        return ("dict", node[1], walk(node[2]))
    return (node[0], *(walk(part) for part in node[1:]))
