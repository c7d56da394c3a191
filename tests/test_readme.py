"""The Python in README.md and in the documentation runs as it stands.

A block of the README is a program. The blocks of any other page are one program, in
their order, as its reader reads them; a page is left out where a package that a comment
`<!-- needs: NAME, … -->` names is not installed, and so is a block right behind a
comment `<!-- not run: WHY -->`.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n+)?^```python\n(.*?)^```", re.M | re.S)
NEEDS = re.compile(r"<!-- needs: (.*?) -->")
README = [code for _, code in BLOCK.findall((ROOT / "README.md").read_text())]
PAGES = [
    page for page in sorted(ROOT.glob("docs/**/*.md")) if "_build" not in page.parts
]


def run(code: str, folder: Path, *, as_main: bool) -> None:
    """In a process of its own, where it may write files.

    A page's program is imported: what stands behind `if __name__ == "__main__":` is for
    its reader, and may serve for ever.
    """
    (folder / "block.py").write_text(code)
    how = (
        ["block.py"] if as_main else ["-c", "import runpy; runpy.run_path('block.py')"]
    )
    command = [sys.executable, "-W", "error", *how]
    subprocess.run(command, cwd=folder, check=True, timeout=60)


@pytest.mark.parametrize("number", range(len(README)))
def test_block(number: int, tmp_path: Path) -> None:
    run(README[number], tmp_path, as_main=True)


def test_there_are_blocks() -> None:
    assert len(README) >= 3


def program_of(page: Path) -> str:
    """The blocks of a page that are run."""
    return "\n".join(code for why, code in BLOCK.findall(page.read_text()) if not why)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if program_of(page)], ids=lambda page: page.stem
)
def test_page(page: Path, tmp_path: Path) -> None:
    for names in NEEDS.findall(page.read_text()):
        for name in names.split(", "):
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"needs {name}")
    run(program_of(page), tmp_path, as_main=False)


LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem
)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^(```.*?^```| {4}.*?$)", "", page.read_text(), flags=re.M | re.S)
    targets = [page.parent / link for link in LINK.findall(text)]
    assert [str(target) for target in targets if not target.exists()] == []


def test_pictures_are_what_the_command_beside_them_draws() -> None:
    command = [sys.executable, str(ROOT / "docs" / "draw.py"), "--check"]
    subprocess.run(command, check=True, timeout=60)
