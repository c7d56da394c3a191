"""How Sphinx builds the documentation: `make docs`.

The pages are Markdown (MyST); the reference is made of docstrings. For operations the
rows of the operations table are added to what their docstrings say: which system call
it is, its number, what it gives, and when it leaves the thread.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import syslet_loop  # noqa: E402
from syslet_loop import ops  # noqa: E402
from syslet_loop.op_words import SAYS  # noqa: E402

project = "syslet_loop"
author = "the syslet_loop developers"
release = version = syslet_loop.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"syslet_loop {release}"
exclude_patterns = ["_build"]
default_role = "literal"
highlight_language = "none"  # indented blocks are commands and tables
manpages_url = "https://man7.org/linux/man-pages/man{section}/{page}.{section}.html"
myst_heading_anchors = 3
viewcode_line_numbers = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_type_aliases = {"Path": "str | bytes | os.PathLike"}
python_use_unqualified_type_names = True

RESULTS = {
    "i": "a number",
    "n": "the data, if a size was given, or how many bytes were filled",
    "f": "a new fd, closed when the flight lands unless it is returned or emitted",
    "P": "two new fds",
    "D": "a new fd for commands that duplicate, else a number",
    "0": "0",
}
MARKUP = re.compile(r"\*|(?<=\w)_(?!\w)")  # what would mean something to docutils
BUILDER = "syslet_loop.methods.Builder."


def row_of(name: str) -> ops.Op | None:
    """The operation that a documented name is about."""
    if not name.startswith(BUILDER):
        return None
    title = name.removeprefix(BUILDER)
    op = ops.BY_TITLE.get(title)
    return op if op is not None and not op.is_pseudo else None


def when(op: ops.Op) -> str:
    """How it is executed."""
    if op.inline_only:
        return "made inline: it is about the thread itself"
    if not op.may_block:
        return "made inline: it does not block"
    wait = "; it may wait for a peer or a clock without bound" if op.waits else ""
    return f"tried inline, and leaves the thread if it would block{wait}"


def add_row(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Behind an operation's docstring: what the table knows."""
    op = row_of(name)
    if op is None:
        return
    page = op.name.removesuffix("64") if "fadvise" not in op.name else op.name
    rows = [f":System call: :manpage:`{page}(2)`, number {op.nr} on {ops.MACHINE}"]
    if op.name in SAYS:  # else its docstring says what it gives
        rows.append(f":Gives: {RESULTS[op.result]}; not checked, a negative errno too")
    rows.append(f":Runs: {when(op)}")
    lines += ["", *rows, ""]


def with_self(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: Any, result: Any
) -> tuple[str, None] | None:
    """Methods made from rows have signatures without `self`, which autodoc cuts off.

    Values of a builder are made by it alone: how is nobody's business.
    """
    if what == "class" and name.startswith("syslet_loop.operands."):
        return "", None
    if what != "method" or not name.startswith(BUILDER):
        return None
    found = inspect.signature(obj)
    parameters = [p for p in found.parameters.values() if p.name != "self"]
    bare = [p.replace(annotation=p.empty) for p in parameters]
    return str(inspect.Signature(bare)), None


def as_markup(
    app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Docstrings are plain text with indented code: say so to docutils."""
    found: list[str] = []
    is_code = False
    for line in lines:
        before = found[-1] if found else ""
        if line.startswith("    ") and not is_code and not before:
            found += ["::", ""]
            is_code = True
        elif line and not line.startswith(" "):
            is_code = False
        found.append(line if is_code else MARKUP.sub(r"\\\g<0>", line))
    lines[:] = found


def only_present(app: Any, page: str, source: list[str]) -> None:
    """The index lists some pages by patterns, `name*`: they need not be there."""
    if page == "index":
        kept = [
            line
            for line in source[0].splitlines()
            if not re.fullmatch(r"\w+\*", line) or list(HERE.glob(f"{line}.md"))
        ]
        source[0] = "\n".join(kept)


def skip_aliases(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """An operation is documented under the C library's name only."""
    op = ops.BY_NAME.get(name)
    if op is not None and op.title != name and what == "class":
        return True
    return None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", only_present)
    app.connect("autodoc-process-docstring", as_markup)
    app.connect("autodoc-process-docstring", add_row)
    app.connect("autodoc-process-signature", with_self)
    app.connect("autodoc-skip-member", skip_aliases)
