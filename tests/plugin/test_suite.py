"""--syslet-loop: a whole suite on our loop, whatever makes its loops."""

from __future__ import annotations

import pytest
from pytests import VERSIONS, Suites

pytest_plugins = ("pytester",)

with_each_asyncio = pytest.mark.parametrize("with_asyncio", VERSIONS, indirect=True)

ASYNCIO = """
    import asyncio
    import pytest
    import pytest_asyncio

    def kind():
        return type(asyncio.get_running_loop()).__module__

    @pytest_asyncio.fixture
    async def made():
        yield kind()
        assert kind() == "LOOP"

    @pytest.mark.asyncio
    async def test_marked(made):
        assert made == kind() == "LOOP"

    @pytest.mark.asyncio(loop_scope="module")
    class TestModule:
        loop = None

        async def test_one(self):
            TestModule.loop = asyncio.get_running_loop()
            assert kind() == "LOOP"

        async def test_two(self):
            assert TestModule.loop is asyncio.get_running_loop()

    @pytest.mark.parametrize("number", [1, 2])
    @pytest.mark.asyncio
    async def test_parameter(number):
        assert kind() == "LOOP"
"""
OURS, ASYNCIOS = "syslet_loop.loop", "asyncio.unix_events"


def on(loop: str, text: str = ASYNCIO) -> str:
    return text.replace("LOOP", loop)


@with_each_asyncio
def test_pytest_asyncio(with_asyncio: Suites) -> None:
    with_asyncio.write(test_it=on(OURS))
    with_asyncio.run("--syslet-loop").assert_outcomes(passed=5)
    with_asyncio.write(test_it=on(ASYNCIOS))
    with_asyncio.run().assert_outcomes(passed=5)


@pytest.mark.parametrize("with_asyncio", ["installed", "0.26"], indirect=True)
def test_pytest_asyncio_in_auto_mode(with_asyncio: Suites) -> None:
    text = ASYNCIO.replace("    @pytest.mark.asyncio\n", "").replace("_asyncio.", ".")
    text = text.replace("import pytest_asyncio", "")
    with_asyncio.write(test_it=on(OURS, text))
    options = ("--syslet-loop", "--asyncio-mode=auto")
    with_asyncio.run(*options).assert_outcomes(passed=5)


@pytest.mark.parametrize("with_asyncio", ["installed"], indirect=True)
def test_the_names_of_tests_stay(with_asyncio: Suites) -> None:
    with_asyncio.write(test_it=on(OURS))
    selected = ("test_it.py::test_marked", "test_it.py::test_parameter[2]")
    with_asyncio.run("--syslet-loop", *selected).assert_outcomes(passed=2)


@pytest.mark.parametrize("with_asyncio", ["installed"], indirect=True)
def test_factories_of_the_suite_itself(with_asyncio: Suites) -> None:
    """What docs/testing.md says for single tests; the option overrules it."""
    with_asyncio.write(
        conftest="""
            import asyncio
            import syslet_loop

            def pytest_asyncio_loop_factories(config, item):
                return {
                    "syslet_loop": syslet_loop.new_event_loop,
                    "asyncio": asyncio.SelectorEventLoop,
                }
        """,
        test_it="""
            import asyncio
            import pytest

            seen = []

            @pytest.mark.asyncio
            async def test_both():
                seen.append(type(asyncio.get_running_loop()).__module__)

            @pytest.mark.asyncio(loop_factories=["syslet_loop"])
            async def test_ours():
                seen.append(type(asyncio.get_running_loop()).__module__)

            def test_seen():
                print(sorted(seen))
        """,
    )
    result = with_asyncio.run("-s")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([f"*{[ASYNCIOS, OURS, OURS]}*"])
    result = with_asyncio.run("-s", "--syslet-loop")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines([f"*{[OURS, OURS]}*"])


@pytest.mark.parametrize("with_asyncio", ["0.26"], indirect=True)
def test_a_policy_of_the_suite_itself(with_asyncio: Suites) -> None:
    """What docs/testing.md says for versions before 1.4."""
    with_asyncio.write(
        conftest="""
            import pytest
            import syslet_loop

            @pytest.fixture(scope="session")
            def event_loop_policy():
                return syslet_loop.EventLoopPolicy()
        """,
        test_it=on(OURS),
    )
    with_asyncio.run().assert_outcomes(passed=5)


ANYIO = """
    import asyncio
    import pytest

    pytestmark = pytest.mark.anyio

    def kind():
        return type(asyncio.get_running_loop()).__module__

    @pytest.fixture
    async def made(anyio_backend_name):
        assert anyio_backend_name == "asyncio"
        yield kind()
        assert kind() == "LOOP"

    async def test_made(made):
        assert made == kind() == "LOOP"

    async def test_alone():
        assert kind() == "LOOP"
"""


def test_anyio(suites: Suites) -> None:
    suites.write(test_it=on(OURS, ANYIO))
    names = ("test_it.py::test_made[asyncio]", "test_it.py::test_alone[asyncio]")
    suites.run("--syslet-loop", *names).assert_outcomes(passed=2)
    suites.write(test_it=on(ASYNCIOS, ANYIO))
    suites.run(*names).assert_outcomes(passed=2)


def test_a_backend_of_the_suite_itself(suites: Suites) -> None:
    """What docs/testing.md says for single tests."""
    suites.write(
        conftest="""
            import pytest
            import syslet_loop

            OPTIONS = {"loop_factory": syslet_loop.new_event_loop}

            OURS = pytest.param(("asyncio", OPTIONS), id="syslet_loop")

            @pytest.fixture(params=[OURS])
            def anyio_backend(request):
                return request.param
        """,
        test_it=on(OURS, ANYIO),
    )
    result = suites.run("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_alone[[]syslet_loop[]]*"])


UNITTEST = """
    import asyncio
    import sys
    import unittest
    import syslet_loop

    class OnOurLoop(unittest.IsolatedAsyncioTestCase):
        loop_factory = syslet_loop.EventLoop  # Python 3.13 and newer

        if sys.version_info < (3, 13):

            @classmethod
            def setUpClass(cls):
                syslet_loop.install()
                cls.addClassCleanup(syslet_loop.uninstall)

    class TestOurs(OnOurLoop):
        async def asyncSetUp(self):
            self.loop = asyncio.get_running_loop()

        async def test_it(self):
            self.assertIsInstance(self.loop, syslet_loop.EventLoop)
            self.assertIs(self.loop, asyncio.get_running_loop())

    class TestOthers(unittest.IsolatedAsyncioTestCase):
        async def test_it(self):
            self.assertEqual(type(asyncio.get_running_loop()).__module__, "LOOP")
"""


def test_unittest(suites: Suites, pytester: pytest.Pytester) -> None:
    """The recipe of docs/testing.md, under pytest and without it, and the option."""
    suites.write(test_it=on(ASYNCIOS, UNITTEST))
    suites.run().assert_outcomes(passed=2)
    done = pytester.runpython_c("import unittest; unittest.main('test_it')")
    assert done.ret == 0, done.stderr.str()
    suites.write(test_it=on(OURS, UNITTEST))
    suites.run("--syslet-loop").assert_outcomes(passed=2)


def test_asyncio_run(suites: Suites) -> None:
    suites.write(
        test_it="""
            import asyncio

            async def kind():
                return type(asyncio.get_running_loop()).__module__

            def test_it():
                assert asyncio.run(kind()) == "syslet_loop.loop"
        """
    )
    suites.run("--syslet-loop").assert_outcomes(passed=1)


def test_a_setting_instead_of_the_option(
    suites: Suites, pytester: pytest.Pytester
) -> None:
    pytester.makeini("[pytest]\nsyslet_loop = true\n")
    suites.write(test_it=on(OURS, ANYIO))
    result = suites.run("-k", "asyncio")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["syslet_loop: *, backend *"])
