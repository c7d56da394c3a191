"""The patched kernel, as far as it can be judged without building one.

`make kernel-test` builds and boots it; here the patch must be well formed, its header
must agree with libsyslet's, and the suite that runs inside must compile.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNEL = ROOT / "native" / "kernel"
HEADERS = KERNEL / "linux" / "include" / "uapi"
LIBRARY = ROOT / "native" / "abi" / "syslet.h"
HOOK_LINES_MAX = 20
COMPILER = shutil.which("cc")

ATOM = ("flags", "nr", "ret_ptr", "next", "arg_ptr", "private")
NAMES = (
    *("ASYNC", "SYNC", "NO_COMPLETE", "STOP_ON_NONZERO", "STOP_ON_ZERO"),
    *("STOP_ON_NEGATIVE", "STOP_ON_NON_POSITIVE", "STOP_MASK"),
    *("SKIP_TO_NEXT_ON_STOP", "NR_UMEM_ADD"),
)
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers")
LAYOUT = """
#include <stddef.h>
#include <stdio.h>
#include %s
int main(void)
{
    struct syslet_uatom *atom = 0;
    printf("%%zu\\n", sizeof(*atom));
    %s
}
"""

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")


def hunks(patch: str) -> list[tuple[str, int, int]]:
    """(file, lines taken away, lines added) of each hunk, whose counts must hold."""
    found, name = [], ""
    # A patch may open with words.
    lines = patch[patch.index("--- ") :].splitlines()
    at = 0
    while at < len(lines):
        if lines[at].startswith("--- "):
            assert lines[at + 1].startswith("+++ b/"), lines[at + 1]
            name = lines[at + 1].removeprefix("+++ b/")
            at += 2
            continue
        head = re.fullmatch(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*", lines[at])
        assert head, f"line {at + 1}: {lines[at]}"
        left, right = int(head[2] or 1), int(head[4] or 1)
        gone = added = 0
        at += 1
        while left or right:
            sign = lines[at][:1]
            assert sign in (" ", "-", "+"), f"line {at + 1}: {lines[at]}"
            left -= sign in " -"
            right -= sign in " +"
            gone += sign == "-"
            added += sign == "+"
            at += 1
        found.append((name, gone, added))
    return found


def test_hooks_are_well_formed_and_few() -> None:
    found = hunks((KERNEL / "hooks.patch").read_text())
    hooked = set(re.findall(r"[\w/.-]+", build_variable("hooked")))
    assert {name for name, _, _ in found} == hooked
    assert sum(gone for _, gone, _ in found) <= 2
    code = [added for name, _, added in found if not name.endswith("Kconfig")]
    assert sum(code) <= HOOK_LINES_MAX


def build_variable(name: str) -> str:
    """What build.sh sets `name` to."""
    match = re.search(rf'^{name}="(.*)"$', (KERNEL / "build.sh").read_text(), re.M)
    assert match
    return match[1]


def test_whole_patch_makes_the_new_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [KERNEL / "mkpatch.sh"], capture_output=True, text=True, check=True
    )
    new = {
        str(path.relative_to(KERNEL / "linux")): path
        for path in (KERNEL / "linux").rglob("*.[ch]")
    }
    assert {name for name, _, _ in hunks(done.stdout)} > set(new)
    for name, path in new.items():
        part = re.search(
            rf"^\+\+\+ b/{re.escape(name)}\n@@.*\n((?:\+.*\n)*)", done.stdout, re.M
        )
        assert part
        assert re.sub(r"^\+", "", part[1], flags=re.M) == path.read_text()


@pytest.mark.parametrize("script", sorted(path.name for path in KERNEL.glob("*.sh")))
def test_scripts_are_shell(script: str) -> None:
    subprocess.run(["sh", "-n", KERNEL / script], check=True)


def test_licence_of_every_file() -> None:
    assert "GNU GENERAL PUBLIC LICENSE" in (KERNEL / "LICENSE").read_text()
    unmarked = [
        path.name
        for path in sorted(KERNEL.rglob("*"))
        if path.is_file() and path.name != "LICENSE"
        if "SPDX-License-Identifier: GPL-2.0-only" not in path.read_text()[:200]
    ]
    assert unmarked == []
    # The rest of the project is MIT, and must not take anything from here.
    for path in (ROOT / "native").rglob("*.[ch]"):
        if KERNEL not in path.parents:
            assert "linux/syslet.h" not in path.read_text(), path


def layout_of(header: str, folder: Path, *options: str) -> str:
    """Size, offsets and values, as this header has them."""
    lines = [
        f'printf("%zu\\n", offsetof(struct syslet_uatom, {name}));' for name in ATOM
    ]
    lines += [f'printf("%u\\n", (unsigned)SYSLET_{name});' for name in NAMES]
    lines += [f'printf("%zu\\n", sizeof(atom->{name}));' for name in ATOM]
    source = folder / "layout.c"
    source.write_text(LAYOUT % (header, "\n    ".join(lines)))
    program = folder / "layout"
    assert COMPILER
    subprocess.run(
        [COMPILER, "-Wall", "-Werror", *options, "-o", str(program), str(source)],
        check=True,
    )
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout


@needs_compiler
def test_layout_is_that_of_the_sixth_version(tmp_path: Path) -> None:
    layout = layout_of("<linux/syslet.h>", tmp_path, f"-I{HEADERS}").split()
    assert layout[:7] == ["80", "0", "4", "8", "16", "24", "72"]
    assert layout[7:16] == ["1", "2", "4", "8", "16", "32", "64", "120", "128"]


@needs_compiler
def test_layout_agrees_with_the_library(tmp_path: Path) -> None:
    if not LIBRARY.exists():
        pytest.skip("libsyslet is not here")
    ours = layout_of("<linux/syslet.h>", tmp_path, f"-I{HEADERS}")
    assert layout_of(f'"{LIBRARY}"', tmp_path) == ours


@needs_compiler
def test_suite_compiles() -> None:
    if not Path("/usr/include/linux/io_uring.h").exists():
        pytest.skip("no headers of the kernel")
    assert COMPILER
    files = sorted(str(path) for path in (KERNEL / "suite").glob("*.c"))
    options = ("-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", "-Wno-psabi")
    paths = (f"-I{HEADERS}", f"-I{LIBRARY.parent}")
    subprocess.run([COMPILER, *options, *WARNINGS, *paths, *files], check=True)


PAIRS = {
    "syslet_uatom device_atom": "flags nr ret_ptr:ret next arg_ptr:arg private",
    "syslet_emitted device_note": "atom ret:result",
    "syslet_run device_run": "pc last ret:result done executed budget emit_head:noted "
    "flags emit_entries:notes_count emit_ptr:notes reserved",
    "syslet_info device_info": "magic version budget_max inline_max allowed attempted",
}
VALUES = {
    "SYSLET_MAGIC": "DEVICE_MAGIC",
    "SYSLET_VERSION": "DEVICE_VERSION",
    "SYSLET_CALLS_MAX": "DEVICE_CALLS",
    "SYSLET_EMIT": "DEVICE_EMIT",
    "SYSLET_RUN_NOWAIT": "DEVICE_NOWAIT",
    "SYSLET_RUN_QUIET": "DEVICE_QUIET",
    "SYSLET_CMD_EXEC": "DEVICE_CMD_EXEC",
    "SYSLET_NR_UMEM_ADD": "DEVICE_ADD",
    "SYSLET_IOC_INFO": "DEVICE_IOC_INFO",
    "SYSLET_IOC_EXEC": "DEVICE_IOC_EXEC",
    "offsetof(struct syslet_run, flags)": "offsetof(struct device_run, flags)",
    "sizeof(((struct syslet_run *)0)->budget)": "4",
}


@needs_compiler
def test_the_engine_knows_the_interface(tmp_path: Path) -> None:
    """native/engine has its own words for it, as it takes nothing from here."""
    checks = [f"{theirs} == {ours}" for theirs, ours in VALUES.items()]
    for pair, fields in PAIRS.items():
        theirs, ours = pair.split()
        checks.append(f"sizeof(struct {theirs}) == sizeof(struct {ours})")
        for field in fields.split():
            left, _, right = field.partition(":")
            right = right or left
            checks.append(
                f"offsetof(struct {theirs}, {left}) == offsetof(struct {ours}, {right})"
            )
    source = tmp_path / "same.c"
    lines = [
        f'_Static_assert({check}, "{index}");' for index, check in enumerate(checks)
    ]
    includes = '#include <stddef.h>\n#include <linux/syslet.h>\n#include "device.h"\n'
    source.write_text(includes + "\n".join(lines) + "\n")
    engine = ROOT / "native" / "engine"
    options = ("-std=gnu11", "-fsyntax-only", f"-I{HEADERS}", "-iquote", str(engine))
    assert COMPILER
    done = subprocess.run(
        [COMPILER, *options, str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
