"""Draws the pictures of syslets that the pages show: `python docs/draw.py [--check]`.

A page shows `pictures/NAME.svg`; its Python blocks define the syslet NAME. They are run
as tests/test_readme.py runs them, and `NAME.explain("svg")` becomes the file. With
--check nothing is written, and the status is 1 if a file is not what would be.
"""

from __future__ import annotations

import contextlib
import io
import re
import runpy
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
IMAGE = re.compile(r"!\[[^\]]*\]\(pictures/(\w+)\.svg\)")
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n+)?^```python\n(.*?)^```", re.M | re.S)


def pictures_of(page: Path) -> dict[str, str]:
    """The pictures that a page shows, by name."""
    text = page.read_text()
    names = IMAGE.findall(text)
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        script = Path(folder, f"{page.stem}.py")
        script.write_text("\n".join(c for why, c in BLOCK.findall(text) if not why))
        with contextlib.redirect_stdout(io.StringIO()):
            found = runpy.run_path(str(script))
        # While the file is there: names of variables are read from it.
        return {name: found[name].explain("svg") for name in names}


def main() -> int:
    """Draw all, or compare."""
    sys.path.insert(0, str(DOCS.parent))
    differ = []
    for page in sorted(DOCS.glob("*.md")):
        for name, picture in pictures_of(page).items():
            file = DOCS / "pictures" / f"{name}.svg"
            if not file.exists() or file.read_text() != picture:
                differ.append(name)
                if "--check" not in sys.argv:
                    file.parent.mkdir(exist_ok=True)
                    file.write_text(picture)
    print(f"drawn: {' '.join(differ)}" if differ else "all pictures are up to date")
    return 1 if differ and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
