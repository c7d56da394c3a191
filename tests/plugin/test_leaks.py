"""syslet_no_leaks: what a test leaves behind fails it, and nothing else does."""

from __future__ import annotations

import pytest
from pytests import Suites

pytest_plugins = ("pytester",)

# The tests whose names begin with test_good pass, those with test_bad get an error.
BODY = """
    import asyncio
    import os
    import pytest
    from syslet_loop import calls, files, syslet

    MARK
    kept = []

    @syslet
    def nap(s, seconds):
        s.timeout(seconds)

    @syslet
    def ticks(s, seconds):
        with s.loop():
            s.emit(s.timeout(seconds))

    async def test_good_work(tmp_path):
        await files.write_bytes(tmp_path / "file", b"data")
        async with files.open(tmp_path / "file", "rb") as file:
            assert await file.read() == b"data"
        await asyncio.gather(*(asyncio.create_task(nap(0.001)) for _ in range(5)))

    async def test_good_cancelled():
        task = asyncio.create_task(nap(3600))
        await asyncio.sleep(0)
        task.cancel()

    async def test_bad_task():
        kept.append(asyncio.create_task(asyncio.sleep(3600), name="forgotten"))

    async def test_bad_descriptor():
        kept.append(await calls.openat("/dev/null", os.O_RDONLY))

    async def test_bad_flight():
        events = ticks.events(3600)
        task = asyncio.create_task(anext(events))
        await asyncio.sleep(0.01)
        task.cancel()
        kept.append(events)

    async def test_good_end():
        for each in kept:
            if isinstance(each, int):
                os.close(each)
        kept.clear()

    @pytest.mark.syslet_may_leak
    async def test_good_excuse():
        kept.append(asyncio.create_task(asyncio.sleep(3600)))
"""
FOUND = [
    "*test_bad_descriptor*",
    "*descriptor *: /dev/null",
    "*test_bad_flight*",
    "*1 flight in the air*",
    "*test_bad_task*",
    "*task 'forgotten' of sleep()*",
]


def body(*marks: str) -> str:
    return BODY.replace("MARK", f"pytestmark = [{', '.join(marks)}]")


def check(result: pytest.RunResult) -> None:
    result.assert_outcomes(passed=7, errors=3)
    for line in FOUND:
        result.stdout.fnmatch_lines([line])


@pytest.mark.parametrize(
    ("with_asyncio", "scope", "option"),
    [
        ("installed", "function", "--syslet-loop"),
        ("installed", "module", "--syslet-loop"),
        ("installed", "module", "-q"),  # asyncio's loop
        ("1.3", "function", "-q"),
        ("0.26", "module", "--syslet-loop"),
    ],
    indirect=["with_asyncio"],
)
def test_pytest_asyncio(with_asyncio: Suites, scope: str, option: str) -> None:
    asked = "pytest.mark.usefixtures('syslet_no_leaks')"
    marked = f"pytest.mark.asyncio(loop_scope='{scope}')"
    with_asyncio.write(test_it=body(marked, asked))
    check(with_asyncio.run(option))


@pytest.mark.parametrize("option", ["-q", "--syslet-loop"], ids=["theirs", "ours"])
def test_anyio(suites: Suites, option: str) -> None:
    conftest = """
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
    """
    asked = "pytest.mark.usefixtures('syslet_no_leaks')"
    suites.write(conftest=conftest, test_it=body("pytest.mark.anyio", asked))
    check(suites.run(option))


def test_all_tests_of_a_suite(suites: Suites) -> None:
    suites.write(test_it=body())
    check(suites.run("--asyncio-mode=auto", "--syslet-no-leaks"))


def test_tests_without_a_loop_of_their_own(suites: Suites) -> None:
    suites.write(
        test_it="""
            import asyncio
            import os
            import unittest

            kept = []

            def test_good():
                asyncio.run(asyncio.sleep(0))

            def test_bad():
                kept.extend(os.pipe())

            class TestCase(unittest.IsolatedAsyncioTestCase):
                async def test_good(self):
                    await asyncio.sleep(0)

                async def test_bad(self):
                    kept.extend(os.pipe())
        """
    )
    result = suites.run("--syslet-no-leaks", "--syslet-loop")
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*descriptor *: pipe:*"])


def test_what_fixtures_close_is_not_left(suites: Suites) -> None:
    """A task of a server ends when its fixture does, which is after the test."""
    suites.write(
        test_it="""
            import asyncio
            import pytest
            import pytest_asyncio

            @pytest_asyncio.fixture
            async def port():
                async def echo(reader, writer):
                    while data := await reader.read(100):
                        writer.write(data)
                    writer.close()

                server = await asyncio.start_server(echo, "127.0.0.1", 0)
                async with server:
                    yield server.sockets[0].getsockname()[1]

            @pytest_asyncio.fixture(scope="module", loop_scope="module")
            async def background():
                task = asyncio.create_task(asyncio.sleep(3600))
                yield task
                task.cancel()

            @pytest.mark.asyncio
            async def test_server(port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"here")
                assert await reader.read(100) == b"here"
                writer.close()
                await writer.wait_closed()

            @pytest.mark.asyncio(loop_scope="module")
            async def test_background(background):
                asyncio.get_running_loop().add_signal_handler(10, print)
                asyncio.get_running_loop().remove_signal_handler(10)
                assert not background.done()
        """
    )
    for options in ((), ("--syslet-loop",)):
        suites.run("--syslet-no-leaks", *options).assert_outcomes(passed=2)


def test_a_test_that_fails_is_left_alone(suites: Suites) -> None:
    suites.write(
        test_it="""
            import asyncio

            async def test_it(syslet_no_leaks):
                task = asyncio.create_task(asyncio.sleep(3600))
                raise ValueError
        """
    )
    suites.run("--asyncio-mode=auto").assert_outcomes(failed=1)
