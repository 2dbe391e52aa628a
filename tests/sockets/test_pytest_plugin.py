"""The pytest plugin, as an empty project meets it."""

from __future__ import annotations

import importlib.util
import sys

import pytest

CONFIGURATION = """
[pytest]
asyncio_mode = {mode}
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

WAITS = """
import pytest

@pytest.mark.asyncio
async def test_it(truebit_simulator, truebit_session):
    truebit_simulator.add("id", polls=3, output="42")
    execution = await truebit_session.wait_for_verification("id")
    assert execution.output == "42"
"""


@pytest.fixture(autouse=True)
def _without_slow_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do without Schemathesis, which takes long to import and is nothing an empty project has."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:schemathesis -p no:cacheprovider")


@pytest.mark.parametrize("mode", ["auto", pytest.param("strict", marks=pytest.mark.full)])
def test_the_fixtures_work(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makeini(CONFIGURATION.format(mode=mode))
    pytester.makepyfile(WAITS)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.full
def test_the_code_under_test_finds_the_simulator_by_itself(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "https://real.example")
    monkeypatch.setenv("TRUEBIT_API_KEY", "real-key")
    pytester.makeini(CONFIGURATION.format(mode="auto"))
    pytester.makepyfile("""
        import os
        from truebit_async import wait_for_verification

        async def test_it(truebit_simulator):
            truebit_simulator.add("id")
            await wait_for_verification("id")
            (request,) = truebit_simulator.requests
            assert request.headers["x-api-key"] == "test-key"

        def test_afterwards():
            assert os.environ["TRUEBIT_API_KEY"] == "real-key"
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=2)


@pytest.mark.full
def test_a_wait_of_an_hour_passes_on_virtual_time(pytester: pytest.Pytester) -> None:
    pytester.makeini(CONFIGURATION.format(mode="auto") + "markers = virtual_time\n")
    pytester.makeconftest("""
        import asyncio
        from truebit_async.testing import VirtualTimeLoop

        def pytest_asyncio_loop_factories(config, item):
            is_virtual = item.get_closest_marker("virtual_time")
            return {"loop": VirtualTimeLoop if is_virtual else asyncio.new_event_loop}
    """)
    pytester.makepyfile("""
        import asyncio, pytest, time

        @pytest.mark.virtual_time
        async def test_it(truebit_simulator, truebit_session):
            truebit_simulator.add("slow", running_for=3600)
            started, real = asyncio.get_running_loop().time(), time.perf_counter()
            await truebit_session.wait_for_verification("slow", deadline=4000)
            assert 3600 <= asyncio.get_running_loop().time() - started <= 3611
            assert time.perf_counter() - real < 5
            assert len(truebit_simulator.requests) < 400
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


@pytest.mark.full
def test_it_costs_nothing_where_it_is_not_used(pytester: pytest.Pytester) -> None:
    pytester.makeini(CONFIGURATION.format(mode="strict"))
    pytester.makepyfile("""
        import sys

        def test_it():
            assert "_truebit_async_pytest" in sys.modules
            assert not {"aiohttp", "attrs", "tenacity", "truebit_async"} & sys.modules.keys()
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_without_pytest_asyncio_the_fixtures_are_ordinary_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest_asyncio", None)
    spec = importlib.util.find_spec("_truebit_async_pytest")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.fixture is pytest.fixture


@pytest.mark.full
def test_the_fixtures_are_listed_with_what_they_do(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines(["*truebit_simulator*", "*truebit_async.testing.Simulator*", "*truebit_session*"])
