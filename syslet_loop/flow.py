"""From a draft's code to atoms in their final order, and what must hold along the way.

Jumps and labels disappear, a test on the result of the unchecked atom before it becomes
that atom's own stop condition, what cannot be reached is dropped. An atom that stops
goes to the atom behind it, so the order is chosen such that branches need no jump atoms
wherever possible. `verify` then follows all paths. plan.py is the only caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import ops
from .draft import Draft, Fill, Jump, Label, Step, Test
from .operands import Site, Slot
from .program_format import (
    SKIP_TO_NEXT_ON_STOP,
    STOP_MASK,
    STOP_ON_NEGATIVE,
    STOP_ON_NON_POSITIVE,
    STOP_ON_NONZERO,
    STOP_ON_ZERO,
)

# Signs for which a stop flag stops, and the flag.
_STOPS = (
    (frozenset("0"), STOP_ON_ZERO),
    (frozenset("-+"), STOP_ON_NONZERO),
    (frozenset("-"), STOP_ON_NEGATIVE),
    (frozenset("-0"), STOP_ON_NON_POSITIVE),
)
_ALL = frozenset("-0+")
NOP = ops.BY_NAME["nop"]


@dataclass(eq=False)
class Node:
    """An atom and where it goes: to `then`, or to `other` if the sign is in `signs`."""

    step: Step
    then: Node | None = None  # None: the end
    other: Node | None = None
    signs: frozenset[str] = frozenset()
    source: int = 0  # its place in the code
    index: int = -1  # its place in the program


@dataclass
class Placed:
    """An atom at its final place."""

    step: Step
    flags: int
    next: int  # index + 1; 0: the end

    def follows(self, index: int) -> Iterator[int]:
        """The indexes of the atoms that may come after this one, at `index`."""
        if self.next:
            yield self.next - 1
        if self.flags & STOP_MASK and self.flags & SKIP_TO_NEXT_ON_STOP:
            yield index + 1


def arrange(draft: Draft) -> list[Placed]:
    """The atoms of a builder's draft in the order in which they will be packed.

    Raises ValueError for a loop that does nothing.
    """
    nodes, entry = _graph(draft)
    if entry is None:
        return [Placed(nothing(draft), 0, 0)]
    _fuse(nodes)
    return _layout(draft, _reachable(nodes, entry), entry)


def nothing(draft: Draft) -> Step:
    """An atom that does nothing: a program has at least one."""
    return Step(NOP, NOP.nr, "nop", [draft.number(0)], None, Site("", 0))


def _graph(draft: Draft) -> tuple[list[Node], Node | None]:
    """Nodes in the order of the code, linked; and the first one to run."""
    code = draft.code
    at = {id(item): i for i, item in enumerate(code) if isinstance(item, Label)}
    made: dict[int, Node] = {}
    for i, item in enumerate(code):
        if isinstance(item, Step):
            made[i] = Node(item)
        elif isinstance(item, Test):
            step = Step(NOP, NOP.nr, "test", [item.slot], None, item.site)
            made[i] = Node(step)
        elif isinstance(item, Fill):
            step = Step(NOP, NOP.nr, "move", [item.count], item.filled, item.site)
            made[i] = Node(step)

    def target(i: int) -> Node | None:
        seen = set()
        while i < len(code):
            if i in made:
                return made[i]
            if i in seen:
                raise ValueError("a loop without an atom would never end")
            seen.add(i)
            item = code[i]
            if isinstance(item, Jump):
                if item.target is None:
                    return None
                i = at[id(item.target)]
            else:
                i += 1
        return None

    for i, node in made.items():
        item = code[i]
        node.source = i
        node.then = target(i + 1)
        if isinstance(item, Test):
            node.other = target(at[id(item.target)])
            node.signs = item.signs
    return list(made.values()), target(0)


def _fuse(nodes: Iterable[Node]) -> None:
    """A test right behind the unchecked atom that made the value is that atom's."""
    for node in nodes:
        test, step = node.then, node.step
        if (
            test is not None
            and test.step.title == "test"
            and not step.check
            and step.title != "test"
            and step.ret is not None
            and step.ret.resolve() is test.step.args[0].resolve()
        ):
            node.then, node.other, node.signs = test.then, test.other, test.signs


def _reachable(nodes: list[Node], entry: Node) -> list[Node]:
    seen: set[int] = set()
    todo: list[Node | None] = [entry]
    while todo:
        node = todo.pop()
        if node is not None and id(node) not in seen:
            seen.add(id(node))
            todo.append(node.then)
            if node.signs:
                todo.append(node.other)
    return [node for node in nodes if id(node) in seen]


def _choices(node: Node) -> list[tuple[int, Node | None, Node | None]]:
    """How a branch can be written: stop flag, where the stop goes, where next goes."""
    found = []
    for signs, flag in _STOPS:
        if signs == node.signs:
            found.append((flag, node.other, node.then))
        if _ALL - signs == node.signs:
            found.append((flag, node.then, node.other))
    return found


def _layout(draft: Draft, nodes: list[Node], entry: Node) -> list[Placed]:
    waiting = [entry] + [node for node in nodes if node is not entry]
    order: list[tuple[Node | None, int, Node | None]] = []  # node, flags, next
    while waiting:
        node: Node | None = waiting[0]
        while node is not None:
            waiting.remove(node)
            node.index = len(order)
            flags, follower, then = _placement(node)
            order.append((node, flags, then))
            node = None
            if follower is not None and follower.index < 0:
                node = follower
            elif follower is not None:
                order.append((None, 0, follower))
    jump = nothing(draft)
    jump.title = "jump"
    placed = []
    for each, flags, then in order:
        step = jump if each is None else each.step
        placed.append(Placed(step, flags, then.index + 1 if then is not None else 0))
    return placed


def _placement(node: Node) -> tuple[int, Node | None, Node | None]:
    """Flags, the node that must follow (or None), and the next one."""
    if not node.signs or node.then is node.other:
        return (STOP_ON_NEGATIVE if node.step.check else 0), None, node.then
    choices = _choices(node)
    for flag, stop, then in choices:
        if stop is None:
            return flag, None, then
    # What is not placed yet can follow; of two such choices, the earlier in the code.
    flag, stop, then = min(
        choices, key=lambda choice: (_is_placed(choice[1]), _source(choice[1]))
    )
    return flag | SKIP_TO_NEXT_ON_STOP, stop, then


def _is_placed(node: Node | None) -> bool:
    return node is not None and node.index >= 0


def _source(node: Node | None) -> int:
    return node.source if node is not None else -1


# Verification.


def verify(atoms: list[Placed]) -> None:
    """Follow fds along all paths.

    Raises ValueError, naming atom and line, for an fd that may be used after it was
    closed, or before the atom that makes it has run.
    """
    _verify_closed(atoms)
    _verify_defined(atoms)


def _fd_args(step: Step) -> Iterator[Slot]:
    for i, (letter, slot) in enumerate(zip(step.letters, step.args, strict=False)):
        replaces = step.op is not None and step.op.name == "dup3" and i == 1
        if letter in "fd" and not replaces:
            yield slot.resolve()


def _closes(step: Step) -> bool:
    return step.op is not None and step.op.name == "close"


def _verify_closed(atoms: list[Placed]) -> None:
    """The fds that may be closed before each atom, as far as they grow."""
    before: list[dict[int, Step]] = [{} for _ in atoms]
    todo = list(range(len(atoms)))
    while todo:
        index = todo.pop(0)
        step = atoms[index].step
        closed = dict(before[index])
        for slot in _fd_args(step):
            if id(slot) in closed:
                raise ValueError(
                    f"atom {index}: {step} uses an fd that may have been closed "
                    f"by {closed[id(slot)]}"
                )
            if _closes(step):
                closed[id(slot)] = step
        if step.ret is not None:
            origin = closed.get(id(step.args[0].resolve())) if step.args else None
            closed.pop(id(step.ret.resolve()), None)
            if step.op is NOP and origin is not None:
                closed[id(step.ret.resolve())] = origin
        for after in atoms[index].follows(index):
            if not closed.keys() <= before[after].keys():
                before[after].update(closed)
                todo.append(after)


def _verify_defined(atoms: list[Placed]) -> None:
    """Every fd that an atom makes is made on all paths to where it is used."""
    defined: list[set[int] | None] = [None] * len(atoms)
    defined[0] = set()
    todo = [0]
    while todo:
        index = todo.pop(0)
        known = set(defined[index] or ())
        ret = atoms[index].step.ret
        if ret is not None:
            known.add(id(ret.resolve()))
        for after in atoms[index].follows(index):
            old = defined[after]
            new = known if old is None else old & known
            if new != old:
                defined[after] = set(new)
                todo.append(after)
    for index, known_here in enumerate(defined):
        for slot in _fd_args(atoms[index].step):
            if known_here is not None and slot.is_result and id(slot) not in known_here:
                raise ValueError(
                    f"atom {index}: {atoms[index].step} may run before its fd is made"
                )
