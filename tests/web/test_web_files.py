"""Static files: bytes, ranges, conditions, types, folders, files that change."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from clients import Answer, Client, ask, serving

import syslet_loop
from syslet_loop import web, web_flights
from syslet_loop.web_folders import Folder

CONTENT = os.urandom(3_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What is served; beside it is a file that must not be."""
    served = tmp_path / "served"
    (served / "below" / "deep").mkdir(parents=True)
    (served / "small.txt").write_text("small\n")
    (served / "below" / "large.bin").write_bytes(CONTENT)
    (served / "below" / "deep" / "page.html").write_text("<p>")
    (served / "empty").touch()
    (served / "a b%41ä.js").write_text("1")
    (served / "packed.tar.gz").write_bytes(b"z")
    (served / "out").symlink_to("../secret")
    (served / "absolute").symlink_to(tmp_path / "secret")
    (served / "away").symlink_to("..")
    (served / "inside").symlink_to("small.txt")
    (served / "broken").symlink_to("nowhere")
    os.mkfifo(served / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(os.path.relpath(served / "socket"))
    (tmp_path / "secret").write_text("secret")
    return served


def made(folder: Path, stepwise: bool = False, **options: Any) -> web.Application:
    app = web.Application()
    served: Any = app.router.add_static("/files/", folder, **options)
    if stepwise:  # as on a kernel without openat2
        served.flights = web_flights.STEPWISE

        async def knows(fd: int) -> None:
            pass

        served._find_out = knows
    return app


def answers(app: web.Application, *requests: Any) -> list[Answer]:
    """Answers to requests on one connection: a path, or path, headers, method."""

    def client(port: int) -> list[Answer]:
        with Client(port) as conn:
            found = []
            for each in requests:
                path, *headers = [each] if isinstance(each, str) else each
                method = headers.pop() if headers and ":" not in headers[-1] else "GET"
                found.append(conn.get(path, *headers, method=method))
            return found

    found: list[Answer] = ask(app, client)
    return found


@pytest.mark.parametrize("stepwise", [False, True])
def test_files(backend: str, folder: Path, stepwise: bool) -> None:
    paths = ["small.txt", "below/large.bin", "empty", "below/deep/page.html"]
    twice = [f"/files/{path}" for path in paths] * 2
    found = answers(made(folder, stepwise), *twice, "/files/small.txt?a=b")
    assert [each.status for each in found] == [200] * 9
    bodies = [b"small\n", CONTENT, b"", b"<p>"]
    assert [each.body for each in found] == [*bodies, *bodies, b"small\n"]


def test_names_are_unescaped_once(folder: Path) -> None:
    name = "/files/a%20b%2541%C3%A4.js"
    found = answers(made(folder), name, name, "/files/a%20b%41%C3%A4.js")
    assert [each.status for each in found] == [200, 200, 404]
    assert found[1].headers["content-type"] == "text/javascript"


OUTSIDE = [
    "/files/../secret",
    "/files/below/../../secret",
    "/files/%2e%2e/secret",
    "/files/%2e%2e%2fsecret",
    "/files/below%2f..%2f..%2fsecret",
    "/files/..%5csecret",
    "/files//etc/passwd",
    "/files/%2fetc%2fpasswd",
    "/files/.//small.txt",
    "/files/./small.txt",
    "/files/small.txt%00",
    "/files/small.txt/",
    "/files/small.txt/x",
    "/files/out",
    "/files/absolute",
    "/files/away/secret",
    "/files/broken",
    "/files/missing",
    "/files/below",
    "/files/below/",
    "/files/",
    "/files",
    "/files/fifo",
    "/files/socket",
    "/files/" + "x" * 300,
    "/files/" + "x/" * 3000 + "x",
    "/files/%ff%fe",
    "/filesX/small.txt",
]


@pytest.mark.parametrize("stepwise", [False, True])
@pytest.mark.parametrize("symlinks", ["inside", "never"])
def test_what_is_outside_or_no_file(
    folder: Path, stepwise: bool, symlinks: str
) -> None:
    app = made(folder, stepwise, symlinks=symlinks)
    found = answers(app, *OUTSIDE, "/files/small.txt")
    wrong = [
        (p, a.status) for p, a in zip(OUTSIDE, found, strict=False) if a.status != 404
    ]
    assert wrong == []
    assert found[-1].body == b"small\n"


@pytest.mark.parametrize(
    ("symlinks", "inside", "outside"),
    [("inside", 200, 404), ("never", 404, 404), ("anywhere", 200, 200)],
)
def test_links(folder: Path, symlinks: str, inside: int, outside: int) -> None:
    paths = ["/files/inside", "/files/out", "/files/absolute"]
    found = answers(made(folder, symlinks=symlinks), *paths)
    assert [each.status for each in found] == [inside, outside, outside]


def test_what_may_not_be_read(folder: Path) -> None:
    (folder / "small.txt").chmod(0)
    if os.access(folder / "small.txt", os.R_OK):
        pytest.skip("root reads everything")
    assert answers(made(folder), "/files/small.txt")[0].status == 403


def test_the_head_of_a_file(folder: Path) -> None:
    os.utime(folder / "small.txt", ns=(0, 1_700_000_000 * 10**9))
    options = {"headers": {"Cache-Control": "max-age=60"}}
    get, head = answers(
        made(folder, **options), "/files/small.txt", ("/files/small.txt", "HEAD")
    )
    assert get.headers.pop("date") and head.headers.pop("date")
    assert get.headers == head.headers
    assert get.headers.pop("etag").startswith('"')
    assert get.headers == {
        "content-type": "text/plain",
        "content-length": "6",
        "last-modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "accept-ranges": "bytes",
        "cache-control": "max-age=60",
        "server": "syslet_loop",
    }


def test_what_is_compressed_is_not_its_content(folder: Path) -> None:
    found = answers(made(folder), "/files/packed.tar.gz")[0].headers
    assert found["content-type"] == "application/gzip"
    assert "content-encoding" not in found


@pytest.mark.parametrize("stepwise", [False, True])
def test_ranges(backend: str, folder: Path, stepwise: bool) -> None:
    path = "/files/below/large.bin"
    wanted = ["0-0", "1000-999999", "2999990-", "-10", "5000000-", "0-1,5-6"]
    requests = [(path, f"Range: bytes={each}") for each in wanted]
    found = answers(made(folder, stepwise), *requests)
    assert [each.status for each in found] == [206, 206, 206, 206, 416, 200]
    assert found[0].body == CONTENT[:1]
    assert found[1].body == CONTENT[1000:1_000_000]
    assert found[2].body == found[3].body == CONTENT[-10:]
    assert found[2].headers["content-range"] == "bytes 2999990-2999999/3000000"
    assert found[4].headers["content-range"] == "bytes */3000000"
    assert (found[4].body, found[5].body) == (b"", CONTENT)


def test_conditions(folder: Path) -> None:
    path = "/files/small.txt"
    first = answers(made(folder), path)[0].headers
    tag, date = first["etag"], first["last-modified"]
    found = answers(
        made(folder),
        (path, f"If-None-Match: {tag}"),
        (path, f"If-Modified-Since: {date}"),
        (path, f"If-None-Match: {tag}", "HEAD"),
        (path, 'If-Match: "x"'),
        (path, f"If-Range: {tag}", "Range: bytes=1-2"),
        (path, 'If-Range: "x"', "Range: bytes=1-2"),
        path,
    )
    assert [each.status for each in found] == [304, 304, 304, 412, 206, 200, 200]
    assert found[0].headers["etag"] == tag
    assert "content-length" not in found[0].headers
    assert found[4].body == b"ma"


def test_a_file_that_changes_is_looked_at_again(folder: Path) -> None:
    def client(port: int) -> list[Answer]:
        path, found = folder / "small.txt", []
        with Client(port) as conn:
            found.append(conn.get("/files/small.txt"))
            path.write_text("longer than it was\n")
            found.append(conn.get("/files/small.txt"))
            (folder / "new").write_text("another file")
            os.rename(folder / "new", path)
            found.append(conn.get("/files/small.txt", "Range: bytes=0-6"))
            path.unlink()
            found.append(conn.get("/files/small.txt"))
            path.symlink_to("../secret")
            found.append(conn.get("/files/small.txt"))
        return found

    found = ask(made(folder), client)
    assert [each.status for each in found] == [200, 200, 206, 404, 404]
    assert [each.body for each in found[:2]] == [b"small\n", b"longer than it was\n"]
    assert found[2].body == b"another"
    assert len({each.headers.get("etag") for each in found[:3]}) == 3


def test_a_file_that_is_written_all_the_time_is_sent_as_long_as_it_was(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, learn = folder / "small.txt", Folder.learn

    async def learn_and_grow(self: Folder, name: str) -> Any:
        known = await learn(self, name)
        with path.open("a") as file:
            file.write("more\n")
        return known

    monkeypatch.setattr(Folder, "learn", learn_and_grow)
    found = answers(made(folder), "/files/small.txt", "/files/small.txt")
    assert all(each.status == 200 for each in found)
    assert all(path.read_bytes().startswith(each.body) for each in found)


def test_a_folder_has_no_list_unless_it_is_asked_for(folder: Path) -> None:
    assert answers(made(folder), "/files/below/")[0].status == 404
    app = made(folder, show_index=True)
    paths = ("/files/", "/files/below", "/files/below/", "/files/away/", "/files/none/")
    top, moved, below, away, none = answers(app, *paths)
    assert (moved.status, moved.headers["location"]) == (301, "./below/")
    assert b'<a href="./deep/">deep/</a>' in below.body
    assert b'href="./a%20b%2541%C3%A4.js"' in top.body
    assert top.headers["content-type"] == "text/html; charset=utf-8"
    assert (away.status, none.status) == (404, 404)


def test_names_in_lists_are_escaped(folder: Path) -> None:
    (folder / "<script>&").touch()
    (folder / os.fsdecode(b"\xff")).touch()
    body = answers(made(folder, show_index=True), "/files/")[0].body
    assert b"<script>" not in body
    assert b'<a href="./%3Cscript%3E%26">&lt;script&gt;&amp;</a>' in body
    assert b'<a href="./%FF">' in body


@pytest.mark.parametrize("stepwise", [False, True])
def test_the_index_of_a_folder(folder: Path, stepwise: bool) -> None:
    app = made(folder, stepwise, index="page.html")
    paths = ("/files/below/deep/", "/files/below/deep", "/files/below/")
    page, moved, none = answers(app, *paths)
    assert (page.body, page.headers["content-type"]) == (b"<p>", "text/html")
    assert (moved.status, none.status) == (301, 404)


def test_a_file_as_a_response(backend: str, folder: Path) -> None:
    async def handler(request: web.Request) -> web.FileResponse:
        name = request.match_info["name"]
        return web.FileResponse(folder / name, headers={"Content-Type": "a/b"})

    app = web.Application()
    app.router.add_get("/{name}", handler)
    found = answers(
        app, "/small.txt", ("/small.txt", "Range: bytes=-2"), "/none", "/below", "/fifo"
    )
    assert [each.status for each in found] == [200, 206, 404, 404, 404]
    assert [each.body for each in found[:2]] == [b"small\n", b"l\n"]
    assert found[0].headers["content-type"] == "a/b"


def test_what_is_no_folder(tmp_path: Path) -> None:
    router = web.Application().router
    with pytest.raises(FileNotFoundError):
        router.add_static("/", tmp_path / "none")
    with pytest.raises(ValueError, match="may be"):
        router.add_static("/", tmp_path, symlinks="sometimes")


def test_cached_files_need_no_turn_of_the_loop(folder: Path) -> None:
    async def main() -> dict[str, int]:
        async with serving(made(folder)) as server:
            loop: Any = server.loop
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            request = b"GET /files/small.txt HTTP/1.1\r\nHost: a\r\n\r\n"
            for _ in range(3):
                before = loop.stats()
                writer.write(request)
                await reader.readuntil(b"small\n")
            after = loop.stats()
            writer.close()
            await writer.wait_closed()
        return {name: after[name] - before[name] for name in after}

    used = syslet_loop.run(main())
    assert (used["launched"], used["to_worker"], used["to_ring"]) == (1, 0, 0)
