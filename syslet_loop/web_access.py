"""The access log's lines, in the common format.

    127.0.0.1 - - [25/Nov/2026:13:55:36 +0000] "GET /a.txt HTTP/1.1" 200 2326

What a client sends is escaped, so that it cannot write lines of its own. Times are UTC;
the size is that of the body. Called by web_server.py only.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .web_request import Request

_MONTHS = ["", "Jan", "Feb", "Mar", "Apr", "May", "Jun"]
_MONTHS += ["Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 256))}
_ESCAPES |= {ord('"'): '\\"', ord("\\"): "\\\\"}


@functools.lru_cache(2)
def _date(seconds: int) -> str:
    now = time.gmtime(seconds)
    month = _MONTHS[now.tm_mon]
    clock = f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
    return f"{now.tm_mday:02}/{month}/{now.tm_year}:{clock} +0000"


def line(remote: str | None, request: Request | None, status: int, size: int) -> str:
    """One line; a request of None is something that was no request."""
    said = "-"
    if request is not None:
        target = request.target.decode("latin-1").translate(_ESCAPES)
        said = f"{request.method} {target} HTTP/{request.version}"
    date = _date(int(time.time()))
    return f'{remote or "-"} - - [{date}] "{said}" {status} {size or "-"}'
