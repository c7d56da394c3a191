"""`suites` runs suites with the packages that are installed."""

from __future__ import annotations

import pytest
from pytests import Suites, version_path


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """With what is installed."""
    monkeypatch.setenv("PYTHONPATH", "")  # it is put back afterwards
    return Suites(pytester, [])


@pytest.fixture
def with_asyncio(
    request: pytest.FixtureRequest,
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
) -> Suites:
    """With a version of pytest-asyncio, the parameter of this fixture."""
    monkeypatch.setenv("PYTHONPATH", "")
    return Suites(pytester, version_path(request.param))
