"""Applications: routes, what handlers are given, what they may return and raise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clients import Answer, Client, ask

from syslet_loop import web

routes = web.RouteTableDef()


@routes.get("/")
async def hello(request: web.Request) -> web.Response:
    return web.Response(text="hello")


@routes.get("/users/{name}/{number:[0-9]{1,3}}")
async def user(request: web.Request) -> web.Response:
    return web.json_response(dict(request.match_info))


@routes.get("/about")
async def about(request: web.Request) -> web.Response:
    return web.json_response(
        {
            "method": request.method,
            "path": request.path,
            "path_qs": request.path_qs,
            "query": list(request.query.items()),
            "host": request.host,
            "scheme": request.scheme,
            "remote": request.remote,
            "cookies": request.cookies,
            "many": request.headers.getall("X-Many", []),
            "version": request.version,
        }
    )


@routes.post("/echo")
async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read(), content_type=request.content_type)


@routes.post("/json")
async def as_json(request: web.Request) -> web.Response:
    try:
        return web.json_response(await request.json())
    except ValueError:
        raise web.HTTPUnprocessableEntity() from None


@routes.post("/form")
async def form(request: web.Request) -> web.Response:
    return web.json_response(list((await request.post()).items()))


@routes.post("/sizes")
async def sizes(request: web.Request) -> web.Response:
    return web.json_response(
        [len(part) async for part in request.content.iter_chunked(4)]
    )


@routes.put("/only-put")
@routes.patch("/only-put")
async def only_put(request: web.Request) -> web.Response:
    return web.Response(status=204)


@routes.get("/stream")
async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"X-Kind": "stream"})
    response.content_type = "text/plain"
    await response.prepare(request)
    for word in ("one ", "two ", "", "three"):
        await response.write(word.encode())
        await asyncio.sleep(0)
    return response


@routes.get("/promised")
async def promised(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 4
    await response.prepare(request)
    await response.write(b"four")
    with pytest.raises(ValueError, match="more than the 4 bytes"):
        await response.write(b"!")
    return response


@routes.get("/cookie")
async def cookie(request: web.Request) -> web.Response:
    response = web.Response(text="")
    response.set_cookie("a", "1; 2", path="/", httponly=True, max_age=5)
    return response


@routes.get("/timeout")
async def timeout(request: web.Request) -> web.Response:
    assert asyncio.current_task() is not None
    try:
        async with asyncio.timeout(0.01):
            await asyncio.get_running_loop().create_future()
    except TimeoutError:
        return web.Response(text="in time")
    return web.Response(text="never")


RAISES: dict[str, Any] = {
    "not-found": web.HTTPNotFound(text="nobody"),
    "found": web.HTTPFound("/elsewhere?a=b"),
    "injected": web.HTTPFound("/a\r\nX-C: d"),
    "teapot": web.HTTPException(status=418),
    "error": ZeroDivisionError("hidden"),
}


@routes.get("/raise/{what}")
async def raises(request: web.Request) -> web.Response:
    raise RAISES[request.match_info["what"]]


def made(**options: Any) -> web.Application:
    app = web.Application(**options)
    app.add_routes(routes)
    return app


def get(path: str, *headers: str, method: str = "GET") -> Answer:
    def client(port: int) -> Answer:
        with Client(port) as conn:
            return conn.get(path, *headers, method=method)

    answer: Answer = ask(made(), client)
    return answer


def post(path: str, body: bytes, *headers: str) -> Answer:
    def client(port: int) -> Answer:
        with Client(port) as conn:
            return conn.post(path, body, *headers)

    answer: Answer = ask(made(), client)
    return answer


def test_hello(backend: str) -> None:
    answer = get("/")
    assert (answer.status, answer.body) == (200, b"hello")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-length"] == "5"
    assert answer.headers["date"].endswith(" GMT")
    assert "connection" not in answer.headers


def test_head_has_everything_but_the_body() -> None:
    def client(port: int) -> list[Answer]:
        with Client(port) as conn:
            return [
                conn.get("/", method="HEAD"),
                conn.get("/stream", method="HEAD"),
                conn.get("/"),
            ]

    first, second, last = ask(made(), client)
    assert (first.status, first.headers["content-length"]) == (200, "5")
    assert second.headers["transfer-encoding"] == "chunked"
    assert last.body == b"hello"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/users/ann/7", {"name": "ann", "number": "7"}),
        ("/users/%C3%A4%2Fb/123?x=/1", {"name": "ä/b", "number": "123"}),
        ("/user%73/a%20b/1", {"name": "a b", "number": "1"}),
        ("http://elsewhere/users/ann/7", {"name": "ann", "number": "7"}),
    ],
)
def test_parameters(path: str, found: dict[str, str]) -> None:
    assert json.loads(get(path).body) == found


@pytest.mark.parametrize(
    "path",
    ["/users/ann/1234", "/users/ann/x", "/users/a/b/7", "/nothing", "//", "/About"],
)
def test_what_no_route_matches(path: str) -> None:
    assert get(path).status == 404


def test_what_a_request_says() -> None:
    lines = ("Cookie: a=1; b=2", "X-Many: 1", "x-many: 2")
    answer = get("/about?a=1&a=%C3%A4&b=&%26=%3D", *lines)
    assert json.loads(answer.body) == {
        "method": "GET",
        "path": "/about",
        "path_qs": "/about?a=1&a=%C3%A4&b=&%26=%3D",
        "query": [["a", "1"], ["a", "ä"], ["b", ""], ["&", "="]],
        "host": "here",
        "scheme": "http",
        "remote": "127.0.0.1",
        "cookies": {"a": "1", "b": "2"},
        "many": ["1", "2"],
        "version": "1.1",
    }


def test_other_methods_are_told_which() -> None:
    for path, allowed in (("/", "GET, HEAD"), ("/only-put", "PATCH, PUT")):
        answer = get(path, method="DELETE")
        assert (answer.status, answer.headers["allow"]) == (405, allowed)


def test_bodies() -> None:
    kind = "Content-Type: application/x-www-form-urlencoded"
    assert (
        post("/echo", b"abc", "Content-Type: a/b; c=d").headers["content-type"] == "a/b"
    )
    assert post("/echo", bytes(range(256)) * 999).body == bytes(range(256)) * 999
    assert json.loads(post("/json", b'{"a": [1]}').body) == {"a": [1]}
    assert post("/json", b"{").status == 422
    assert post("/json", b"\xff").status == 400
    assert json.loads(post("/form", b"a=1&b=%C3%A4", kind).body) == [
        ["a", "1"],
        ["b", "ä"],
    ]
    assert json.loads(post("/form", b"a=1").body) == []
    assert post("/form", b"&".join([b"a=1"] * 1001), kind).status == 400
    assert json.loads(post("/sizes", b"0123456789").body) == [4, 4, 2]
    assert post("/echo", b"").body == b""


def test_a_body_may_be_too_large_to_be_read_at_once() -> None:
    app = made(limits=web.Limits(body_bytes=10))

    def client(port: int) -> list[int]:
        found = []
        for body in (b"x" * 10, b"x" * 11, b"x" * 100_000):
            with Client(port) as conn:
                found.append(conn.post("/echo", body).status)
            with Client(port) as conn:
                conn.send(
                    b"POST /echo HTTP/1.1\r\nHost: a\r\n"
                    b"Transfer-Encoding: chunked\r\n\r\n"
                    b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                )
                found.append(conn.answer().status)
        return found

    assert ask(app, client) == [200, 200, 413, 413, 413, 413]


def test_streams(backend: str) -> None:
    answer = get("/stream")
    assert answer.body == b"one two three"
    assert answer.headers["x-kind"] == "stream"
    assert answer.headers["content-type"] == "text/plain"
    assert get("/promised").body == b"four"


def test_cookies_are_set() -> None:
    found = get("/cookie").headers["set-cookie"]
    assert found == 'a="1\\073 2"; HttpOnly; Max-Age=5; Path=/'


def test_handlers_are_tasks() -> None:
    assert get("/timeout").body == b"in time"


def test_what_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    assert get("/raise/not-found").body == b"nobody"
    found = get("/raise/found")
    assert (found.status, found.headers["location"]) == (302, "/elsewhere?a=b")
    assert get("/raise/teapot").status == 418
    assert not caplog.records
    answer = get("/raise/error")
    assert (answer.status, b"hidden" in answer.body) == (500, False)
    assert "ZeroDivisionError" in caplog.text
    answer = get("/raise/injected")
    assert (answer.status, "x-c" in answer.headers) == (500, False)


def test_middlewares_are_outermost_first() -> None:
    async def outer(request: web.Request, handler: Any) -> web.StreamResponse:
        request["seen"] = ["outer"]
        try:
            response: web.StreamResponse = await handler(request)
        except web.HTTPNotFound as error:
            response = error
        response.headers["X-Seen"] = " ".join(request["seen"])
        return response

    async def inner(request: web.Request, handler: Any) -> web.StreamResponse:
        request["seen"].append("inner")
        response: web.StreamResponse = await handler(request)
        return response

    app = made(middlewares=[outer, inner])

    def client(port: int) -> list[Answer]:
        with Client(port) as conn:
            return [conn.get("/"), conn.get("/nothing")]

    found, missing = ask(app, client)
    assert (found.status, found.headers["x-seen"]) == (200, "outer inner")
    assert (missing.status, missing.headers["x-seen"]) == (404, "outer inner")


def test_the_life_of_an_application() -> None:
    said: list[str] = []

    def says(word: str) -> Any:
        async def say(app: web.Application) -> None:
            said.append(word)

        return say

    async def context(app: web.Application) -> AsyncIterator[None]:
        said.append("begin")
        app["it"] = "shared"
        yield
        said.append("end")

    async def shared(request: web.Request) -> web.Response:
        return web.Response(text=request.app["it"])

    app = web.Application()
    app.cleanup_ctx.append(context)
    app.on_startup.append(says("startup"))
    app.on_shutdown.append(says("shutdown"))
    app.on_cleanup.append(says("cleanup"))
    app.router.add_get("/", shared)

    def client(port: int) -> bytes:
        with Client(port) as conn:
            return conn.get("/").body

    for _ in range(2):
        said.clear()
        assert ask(app, client) == b"shared"
        assert said == ["begin", "startup", "shutdown", "cleanup", "end"]


@pytest.mark.parametrize(
    "path", ["no-slash", "/{", "/}", "/{a", "/{a}/{a}", "/{1a}", "/{a:(}", "/{a-b}"]
)
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError):
        web.Application().router.add_get(path, hello)


def test_a_route_has_one_handler() -> None:
    router = made().router
    with pytest.raises(ValueError, match="has a handler already"):
        router.add_get("/", hello)
    with pytest.raises(ValueError, match="not a method"):
        router.add_route("get", "/x", hello)
    with pytest.raises(ValueError, match="positive"):
        web.Limits(head_s=0)
