"""What became of one test in one process.

Written by child.py as JSON, read by pool.py, judged by judge.py. `hang` and `crash` are
given by the pool alone: the process said nothing.
"""

from __future__ import annotations

import dataclasses
import json

PASS, SKIP, FAIL, ERROR, ALTERED = "pass", "skip", "fail", "error", "altered"
HANG, CRASH = "hang", "crash"


@dataclasses.dataclass
class Outcome:
    """One run of one test; `text` says why it did not pass."""

    kind: str
    text: str = ""
    seconds: float = 0.0
    ours: int = 0  # loops made of the kind asked for
    asyncios: int = 0  # loops made of asyncio's own class

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))


def loads(text: str) -> Outcome:
    return Outcome(**json.loads(text))
