"""What of a file is sent: preconditions and ranges, as RFC 9110 has them."""

from __future__ import annotations

import pytest

from syslet_loop.web_conditions import Answer, decide
from syslet_loop.web_headers import http_date, parse_date

TAG, MTIME, SIZE = '"a-1"', 1_700_000_000, 1000
WHOLE = Answer(200, 0, SIZE)
NOW, BEFORE, AFTER = http_date(MTIME), http_date(MTIME - 1), http_date(MTIME + 1)

CASES: list[tuple[dict[str, str], Answer]] = [
    ({}, WHOLE),
    ({"if-none-match": TAG}, Answer(304, 0, 0)),
    ({"if-none-match": f"W/{TAG}"}, Answer(304, 0, 0)),
    ({"if-none-match": f'"x", {TAG}'}, Answer(304, 0, 0)),
    ({"if-none-match": "*"}, Answer(304, 0, 0)),
    ({"if-none-match": '"x"'}, WHOLE),
    ({"if-none-match": "a-1"}, WHOLE),
    ({"if-none-match": '"x"', "if-modified-since": AFTER}, WHOLE),
    ({"if-modified-since": NOW}, Answer(304, 0, 0)),
    ({"if-modified-since": AFTER}, Answer(304, 0, 0)),
    ({"if-modified-since": BEFORE}, WHOLE),
    ({"if-modified-since": "yesterday"}, WHOLE),
    ({"if-match": TAG}, WHOLE),
    ({"if-match": "*"}, WHOLE),
    ({"if-match": f"W/{TAG}"}, Answer(412, 0, 0)),
    ({"if-match": '"x"'}, Answer(412, 0, 0)),
    ({"if-match": TAG, "if-unmodified-since": BEFORE}, WHOLE),
    ({"if-unmodified-since": BEFORE}, Answer(412, 0, 0)),
    ({"if-unmodified-since": NOW}, WHOLE),
    ({"range": "bytes=0-0"}, Answer(206, 0, 1)),
    ({"range": "bytes=10-19"}, Answer(206, 10, 10)),
    ({"range": "bytes=990-"}, Answer(206, 990, 10)),
    ({"range": "bytes=990-5000"}, Answer(206, 990, 10)),
    ({"range": "bytes=-10"}, Answer(206, 990, 10)),
    ({"range": "bytes=-5000"}, Answer(206, 0, 1000)),
    ({"range": "bytes=0-" + "9" * 19}, Answer(206, 0, 1000)),
    ({"range": "Bytes = 1 - 2 "}, Answer(206, 1, 2)),
    ({"range": "bytes=1000-"}, Answer(416, 0, 0)),
    ({"range": "bytes=-0"}, Answer(416, 0, 0)),
    ({"range": "bytes=5-4"}, WHOLE),
    ({"range": "bytes=-"}, WHOLE),
    ({"range": "bytes="}, WHOLE),
    ({"range": "lines=1-2"}, WHOLE),
    ({"range": "bytes=a-b"}, WHOLE),
    ({"range": "bytes=0-" + "9" * 5000}, WHOLE),
    ({"range": "bytes=\u0661-\u0662"}, WHOLE),
    ({"range": "bytes=0-0,2-2"}, WHOLE),
    ({"range": "bytes=" + ",".join(["0-"] * 1000)}, WHOLE),
    ({"range": "bytes=0-0", "if-range": TAG}, Answer(206, 0, 1)),
    ({"range": "bytes=0-0", "if-range": NOW}, Answer(206, 0, 1)),
    ({"range": "bytes=0-0", "if-range": f"W/{TAG}"}, WHOLE),
    ({"range": "bytes=0-0", "if-range": '"x"'}, WHOLE),
    ({"range": "bytes=0-0", "if-range": AFTER}, WHOLE),
    ({"range": "bytes=0-0", "if-range": "nonsense"}, WHOLE),
    ({"range": "bytes=0-0", "if-none-match": TAG}, Answer(304, 0, 0)),
    ({"range": "bytes=0-0", "if-match": '"x"'}, Answer(412, 0, 0)),
]


@pytest.mark.parametrize(("headers", "answer"), CASES, ids=lambda p: str(p)[:60])
def test_the_answer(headers: dict[str, str], answer: Answer) -> None:
    fields = {k.encode(): v.encode("utf-8") for k, v in headers.items()}
    assert decide(fields, "GET", TAG, MTIME, SIZE) == answer


def test_only_get_has_ranges() -> None:
    assert decide({b"range": b"bytes=0-0"}, "HEAD", TAG, MTIME, SIZE) == WHOLE


def test_of_an_empty_file_no_range_can_be_had() -> None:
    for value in (b"bytes=0-", b"bytes=-5", b"bytes=0-0"):
        assert decide({b"range": value}, "GET", TAG, MTIME, 0) == Answer(416, 0, 0)
    assert decide({}, "GET", TAG, MTIME, 0) == Answer(200, 0, 0)


@pytest.mark.parametrize(
    "text", ["", "x", "0", "Wed, 99 Nov 2026 99:99:99 GMT", "1e99"]
)
def test_what_is_no_date(text: str) -> None:
    assert parse_date(text) is None
    assert parse_date(NOW) == MTIME
