"""The rules of the house that a machine can check: layers, sizes, heads, words.

What is checked is in CONTRIBUTING.md. A file that is too large when a rule arrives is
listed with its size, which may only shrink.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "syslet_loop"
FOLDERS = ("syslet_loop", "pytest_syslet_loop", "native", "tests", "examples")
FOLDERS += ("benchmarks",)
FUNCTION_LINES = 70
FILE_LINES = {".py": 400, ".c": 600, ".h": 600}
LARGE = {
    "tests/binding/test_binding_arguments.py": 416,
    "tests/binding/test_binding_awaitable.py": 545,
    "tests/binding/test_binding_events.py": 548,
    "tests/binding/test_binding_loops.py": 451,
    "tests/binding/test_binding_map.py": 585,
    "tests/binding/test_binding_memory.py": 427,
    "tests/binding/test_binding_processes.py": 458,
}
HEAD_LINES = {".py": 10, ".c": 30, ".h": 40}
# Front doors, whose head is the contract of their room.
HEADS = {
    "native/engine/program.h": 60,
    "syslet_loop/atoms.py": 20,
}

# Lowest first; a file imports from lines above its own, or from its own line.
LAYERS = (
    "op_words ops program_format reports trace",
    "operands settings stats",
    "annotations structs",
    "draft",
    "recorder flow nodes errors",
    "builder explain",
    "picture",
    "compound",
    "generic",
    "methods_files methods_net",
    "methods",
    "plan",
    "atom_values",
    "atoms calls memory",
    "language",
    "files_copy files_direct files_locks",
    "files_whole",
    "files_bulk",
    "files_folders",
    "files_ahead files_copytree files_glob files_remove files_watch",
    "files_tree",
    "files_turns files_codec",
    "files_raw",
    "files_buffered",
    "files_buffers",
    "files_chunks",
    "files_text",
    "files_open files_path",
    "files_os files_stdio files_spool",
    "files_temp",
    "files_shim",
    "files",
    "connections executors processes",
    "loop",
    "attach policy abi",
    "listening stopping",
    "web_conditions web_headers web_settings web_wire",
    "web_body",
    "web_response",
    "web_errors",
    "web_request",
    "web_flights web_framing",
    "web_files web_parser",
    "web_folders web_connection",
    "web_routes",
    "web_app",
    "web_access web_server",
    "web",
    "worker",
    "workers",
    "diagnosis gunicorn selftest",
    "doctor",
    "__main__",
    "__init__",
)
LEVEL = {name: level for level, line in enumerate(LAYERS) for name in line.split()}
NATIVE_USERS = {"attach", "atoms", "connections", "doctor", "loop", "plan"}
NATIVE_USERS |= {
    "executors",
    "files_direct",
    "files_folders",
    "files_whole",
    "language",
    "processes",
}
STDLIB_ONLY = ("op_words", "ops", "program_format")

FORBIDDEN = {
    r"\b(TODO|FIXME|XXX|HACK)\b": "an issue says it better",
    r"(/root|/home|/work)/": "no paths of one machine",
    r"\b(blazing(ly)?|lightning|state[- ]of[- ]the[- ]art|awesome)\b": "say a number",
    r"\bgoto (?!fail\b|done\b)": "one way out, called fail or done",
}


def files(*suffixes: str) -> Iterator[Path]:
    """The project's own files."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            made = path.name in ("_memory.c", "_abi.c")
            generated = path.with_suffix(".o").exists() or made
            if path.suffix in suffixes and not generated and "_driver" not in path.stem:
                yield path


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def at_run_time(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module that are not for the type checker only."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            todo.extend(node.orelse)
            continue
        if isinstance(node, ast.stmt):
            yield node
        todo.extend(ast.iter_child_nodes(node))


def imports_of(path: Path) -> set[str]:
    """The modules of the package that a module imports when it runs."""
    found: set[str] = set()
    for node in at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            found |= {node.module} if node.module else {n.name for n in node.names}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda p: p.stem)
def test_imports_go_down_only(path: Path) -> None:
    imported = imports_of(path)
    assert path.stem in LEVEL, "give it a place in LAYERS"
    assert "_native" not in imported or path.stem in NATIVE_USERS
    assert not (path.stem in STDLIB_ONLY and imported)
    for other in imported - {"_native", "_memory", "_abi"}:
        assert LEVEL[other] <= LEVEL[path.stem], f"{path.stem} imports {other}"


def test_only_the_binding_knows_python_and_only_the_engine_the_ring() -> None:
    for path in files(".c", ".h"):
        text, folder = path.read_text(), path.parent.name
        if folder != "python":
            assert "Python.h" not in text.replace("no Python.h", ""), name_of(path)
        if folder == "python":
            assert not re.search(r'struct sqe|"uring\.h"|"ring\.h"', text), path
    entering = [
        path.name
        for path in files(".c")
        if re.search(r"__NR_io_uring_enter|\b426\b", path.read_text())
    ]
    # ops.c refuses it in programs; floor.c is what the benchmarks compare with.
    assert set(entering) <= {"kernel.c", "ops.c", "floor.c"}


def test_files_are_of_readable_size() -> None:
    wrong = []
    for path in files(".py", ".c", ".h"):
        lines = path.read_text().splitlines()
        if len(lines) > LARGE.get(name_of(path), FILE_LINES[path.suffix]):
            wrong.append(f"{name_of(path)} has {len(lines)} lines")
    assert wrong == []


def python_functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1


def c_functions(path: Path) -> Iterator[tuple[str, int]]:
    text = path.read_text()
    for match in re.finditer(r"^(\w+)\([^;{]*?\)\n\{\n.*?^\}$", text, re.M | re.S):
        yield match[1], match[0].count("\n") + 1


def test_functions_are_of_readable_size() -> None:
    wrong = []
    for path in files(".py", ".c"):
        functions = python_functions if path.suffix == ".py" else c_functions
        for name, lines in functions(path):
            if lines > FUNCTION_LINES:
                wrong.append(f"{name_of(path)}: {name} has {lines} lines")
    assert wrong == []


def head_of(path: Path) -> str:
    """The text a file opens with."""
    text = path.read_text()
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    match = re.match(r"/\*.*?\*/", text, re.S)
    return match[0] if match else ""


def test_every_file_says_what_it_is() -> None:
    wrong = []
    for path in files(".py", ".c", ".h"):
        lines = head_of(path).count("\n") + 1 if head_of(path) else 0
        most = HEADS.get(name_of(path), HEAD_LINES[path.suffix])
        least = 3 if path.parent == PACKAGE else 1
        if not least <= lines <= most:
            wrong.append(f"{name_of(path)}: a head of {lines} lines")
    assert wrong == []


def test_words() -> None:
    wrong = []
    for path in set(files(".py", ".c", ".h")) - {Path(__file__)}:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for pattern, why in FORBIDDEN.items():
                if re.search(pattern, line):
                    wrong.append(f"{name_of(path)}:{number}: {line.strip()} ({why})")
    assert sorted(wrong) == []


def test_nothing_is_empty() -> None:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if "__pycache__" in path.parts or path.name == "py.typed":
                continue
            assert any(path.iterdir()) if path.is_dir() else path.stat().st_size, path
