"""Random sequences of operations on text files, ours and io's, by seed.

Every encoding with a state or a mark of its own, every kind of line end.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from twins import COMMON, MODES, Case, compare

SEEDS = range(8)
ENCODINGS = ("utf-8", "utf-16", "latin-1", "utf-8-sig", "utf-32-le", "shift_jis")
ENCODINGS += ("utf-7", "iso2022_jp", "ascii", "gb18030", "cp1252")


def text_of(seed: int, encoding: str) -> bytes:
    """Lines with every kind of end, encoded; some bytes belong to no encoding."""
    rng = random.Random(seed)
    letters = "aé€\n" if encoding not in ("shift_jis", "iso2022_jp") else "aあ\n漢"
    words = [
        "".join(rng.choices(letters, k=rng.choice((0, 3, 60, 300))))
        + rng.choice(("\n", "\r\n", "\r", ""))
        for _ in range(rng.choice((0, 3, 200)))
    ]
    data = "".join(words).encode(encoding, "replace")
    return data + rng.choice((b"", b"\r", b"\xff", b"\xe2\x82"))


@pytest.mark.parametrize("newline", [None, "", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_text(
    runner: asyncio.Runner, tmp_path: Path, encoding: str, newline: str | None
) -> None:
    # io's text file crashes after seek() to where it wrote (CPython 3.11 to 3.13).
    seeks = not encoding.startswith("iso2022")

    async def main() -> None:
        for seed in SEEDS:
            rng = random.Random(seed)
            options = {
                "encoding": encoding,
                "newline": newline,
                "errors": rng.choice(("strict", "replace", "ignore", "replace")),
                "buffering": rng.choice((-1, 1, 10, 5000)),
            }
            mode = rng.choice(MODES)
            letters = rng.choice(("ab\n", "aé\r\n"))
            content = text_of(seed, encoding)
            names = [each for each in COMMON if each != "seek" or seeks]
            case = Case(seed, mode, content, letters, options=options, names=names)
            await compare(case, tmp_path)

    runner.run(main())
