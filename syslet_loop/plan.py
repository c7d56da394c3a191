"""Compiles a draft into a program, and makes the plan that a syslet flies.

`compile_function` builds and compiles a decorated function, `compile_draft` whatever
else has written a draft; both give a Compiled, which is plain data and can be looked at
without the native module. Only `make_syslet` needs that. Everything a user can get
wrong is refused here or before, as TypeError or ValueError; the engine verifies the
program once more and trusts nothing of this.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import explain, flow, program_format
from .annotations import allowed_kinds, check_default
from .draft import Draft, Fill, Item
from .methods import Builder
from .nodes import Node, located, template
from .operands import Buffer, Param, Slot

if TYPE_CHECKING:
    from . import _native

# kind, name, cell, cell of the length, least bytes, converter, has default, default
ParamRow = tuple[str, str, int, int, int, Callable[[Any], Any] | None, bool, Any]


@dataclass(eq=False)
class Compiled:
    """A compiled syslet: the packed program and what is known about it.

    The bytes are arrays of the structures in native/engine/program.h; `result` and
    `emits` are templates (nodes.py); `atoms_placed` serves explain() and error notes.
    """

    name: str
    atoms: bytes
    cells: bytes
    relocs: bytes
    buffers: bytes
    bounds: bytes
    consts: bytes
    params: tuple[ParamRow, ...]
    result: Node
    emits: tuple[Node, ...]
    draft: Draft = field(repr=False)
    atoms_placed: list[flow.Placed] = field(repr=False)
    signature: inspect.Signature
    function: Callable[..., object] | None = None

    def explain(self, format: str = "text") -> str:
        """The graph as 'text', as 'dot' for graphviz, or as an 'svg' picture.

        Raises ValueError for another format.
        """
        if format == "svg":
            from . import picture

            return picture.svg(self)
        return explain.explain(self, format)

    def describe(self, name: str) -> str:
        """One line: name, parameters and the operations in order."""
        return explain.describe(self, name)

    def plan_arguments(self) -> dict[str, Any]:
        """The keyword arguments of `_native.Plan`."""
        names = ("atoms", "cells", "relocs", "buffers", "bounds", "consts", "params")
        arguments = {name: getattr(self, name) for name in names}
        return arguments | {"result": self.result, "emits": self.emits, "info": self}


def compile_function(
    function: Callable[..., object], name: str | None = None
) -> Compiled:
    """Run a builder's function once and compile what it wrote."""
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters:
        raise TypeError("a syslet's function takes the builder as its first argument")
    builder = Builder()
    parameters = parameters[1:]
    params = [_param(builder, each, index) for index, each in enumerate(parameters)]
    either = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signature = inspect.Signature([each.replace(kind=either) for each in parameters])
    called = name or str(getattr(function, "__name__", "syslet"))
    return compile_builder(
        called, builder, params, lambda: function(builder, *params), signature, function
    )


def _param(builder: Builder, parameter: inspect.Parameter, index: int) -> Param:
    kinds = (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    if parameter.kind not in kinds:
        raise TypeError(f"{parameter.name!r}: a syslet's parameters are positional")
    param = Param(builder, parameter.name, index)
    if parameter.default is not parameter.empty:
        param.has_default, param.default = True, parameter.default
    param.allowed, param.origin = allowed_kinds(parameter)
    return param


def compile_builder(
    name: str,
    builder: Builder,
    params: Sequence[Param],
    body: Callable[[], object],
    signature: inspect.Signature,
    function: Callable[..., object] | None = None,
) -> Compiled:
    """Have `body` write with `builder`, then compile; calls.py comes in here."""
    draft = builder._draft
    draft.params = list(params)
    value = body()
    if inspect.iscoroutine(value) or inspect.isgenerator(value):
        value.close()
        raise TypeError("a syslet's function is a plain def: it runs once, here")
    builder._innermost_must_be_closed()
    result = template(draft, value)
    emits = [template(draft, emitted) for emitted in builder.emits]
    draft.code = _settle_buffers(draft, builder.buffers)
    atoms = flow.arrange(draft)
    builder._finished = True
    return compile_draft(name, draft, atoms, result, emits, signature, function)


def _settle_buffers(draft: Draft, buffers: Sequence[Buffer]) -> list[Item]:
    """Decide where the length of each buffer comes from."""
    dropped: set[int] = set()
    for buffer in buffers:
        filled, fillers = buffer.filled, buffer.fillers
        if len(fillers) > 1 and buffer.is_asked:
            if any(filler.before is not None for filler in fillers):
                raise TypeError("several reads fill this buffer: give its length")
            draft.add(filled)
            continue
        dropped.add(id(filled))
        if fillers:
            if fillers[0].before is not None and buffer.is_asked:
                raise TypeError("a vectored read fills this buffer: give its length")
            filled.alias = fillers[0].put
        elif buffer.is_whole and buffer.memory.capacity is not None:
            filled.alias = buffer.memory.capacity
            draft.zero(buffer.memory)
        else:
            filled.alias = draft.number(0)
    return [
        item
        for item in draft.code
        if not (isinstance(item, Fill) and id(item.filled) in dropped)
    ]


def compile_draft(
    name: str,
    draft: Draft,
    atoms: list[flow.Placed],
    result: Node,
    emits: Sequence[Node],
    signature: inspect.Signature,
    function: Callable[..., object] | None = None,
) -> Compiled:
    """Verify and pack atoms that are in their final order."""
    flow.verify(atoms)
    for param in draft.params:
        check_default(param)
    for index, slot in enumerate(draft.slots):
        slot.index = index
    packed = Compiled(
        name=name,
        atoms=b"".join(map(_pack_atom, atoms)),
        cells=b"".join(slot.initial.to_bytes(8, "little") for slot in draft.slots),
        relocs=b"".join(_pack_relocs(draft)),
        buffers=b"".join(_pack_buffers(draft)),
        bounds=b"".join(_pack_bounds(atoms)),
        consts=bytes(draft.consts),
        params=tuple(map(_param_row, draft.params)),
        result=located(result),
        emits=tuple(map(located, emits)),
        draft=draft,
        atoms_placed=atoms,
        signature=signature,
        function=function,
    )
    _check_limits(packed)
    return packed


def _check_limits(packed: Compiled) -> None:
    counts = {
        "ATOMS_MAX": ("atoms", len(packed.atoms) // program_format.ATOM.size),
        "CELLS_MAX": ("cells", len(packed.cells) // 8),
        "RELOCS_MAX": ("addresses", len(packed.relocs) // program_format.RELOC.size),
        "CONSTS_BYTES_MAX": ("bytes of constants", len(packed.consts)),
    }
    for limit, (what, count) in counts.items():
        if count > program_format.LIMITS[limit]:
            most = f"at most {program_format.LIMITS[limit]} are allowed"
            raise ValueError(f"{packed.name}: {count} {what}, {most}")


def _pack_atom(atom: flow.Placed) -> bytes:
    step = atom.step
    args = [slot.resolve().index for slot in step.args]
    args += [0] * (program_format.ARGS_MAX - len(args))
    ret = step.ret.resolve().index if step.ret is not None else 0
    private = (program_format.PRIVATE_CHECK if step.check else 0) | step.site.line
    flags = atom.flags | step.flags
    return program_format.ATOM.pack(flags, step.nr, ret, atom.next, *args, private)


def _pack_relocs(draft: Draft) -> list[bytes]:
    kinds = {
        "cell": program_format.RELOC_CELL,
        "const": program_format.RELOC_CONST,
        "buffer": program_format.RELOC_BUFFER,
        "host": program_format.RELOC_HOST,
    }
    least = {id(param.slot): param.least for param in draft.params}
    rows = []
    for slot in draft.slots:
        if slot.origin in kinds:
            value = slot.value
            if slot.target is not None:
                value = slot.target.resolve().index * 8
            elif slot.origin == "host":
                value = least.get(id(slot), 0)
            rows.append(
                program_format.RELOC.pack(slot.index, kinds[slot.origin], value)
            )
    return rows


def _pack_buffers(draft: Draft) -> list[bytes]:
    def cell(slot: Slot | None) -> int:
        return slot.index if slot is not None else 0

    return [
        program_format.BUFFER.pack(
            row.size,
            program_format.BUFFER_ZEROED if row.is_zeroed else 0,
            cell(row.address),
            cell(row.capacity),
        )
        for row in draft.buffers
    ]


def _pack_bounds(atoms: list[flow.Placed]) -> list[bytes]:
    return [
        program_format.BOUND.pack(index, arg, capacity.resolve().index)
        for index, atom in enumerate(atoms)
        for arg, capacity in atom.step.bounds
    ]


def _param_row(param: Param) -> ParamRow:
    cell = param.slot.index if param.kind else 0
    is_memory = param.kind in ("readable", "writable")
    length = param.length.index if is_memory and param.length is not None else 0
    return (
        param.kind or "object",
        param.name,
        cell,
        length,
        param.least,
        param.convert,
        param.has_default,
        param.default,
    )


def make_syslet(compiled: Compiled, function: object) -> _native.Syslet:
    """The object that users hold, from a compiled syslet."""
    from . import _native

    plan = _native.Plan(**compiled.plan_arguments())
    doc = inspect.getdoc(function) if function is not None else None
    module = getattr(function, "__module__", None) or __name__
    qualname = getattr(function, "__qualname__", compiled.name)
    return _native.Syslet(plan, compiled.name, doc, module, qualname)
