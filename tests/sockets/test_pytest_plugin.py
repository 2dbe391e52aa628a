"""The pytest plugin, as an empty project meets it."""

from __future__ import annotations

import asyncio
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
def test_a_replaced_simulator_is_that_of_the_session(pytester: pytest.Pytester) -> None:
    pytester.makeini(CONFIGURATION.format(mode="auto"))
    pytester.makepyfile("""
        import pytest
        from truebit_async.testing import Simulator

        @pytest.fixture
        async def truebit_simulator():
            async with Simulator() as simulator:
                yield simulator

        async def test_it(truebit_simulator, truebit_session):
            truebit_simulator.add("id")
            await truebit_session.wait_for_verification("id")
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


# Loops of larger scopes

LOOPS = """
import asyncio
import pytest

async def wait(simulator, session):
    simulator.add("slow", running_for=0.05)
    await session.wait_for_verification("slow", deadline=5)
    assert len(simulator.requests) > 1
"""


@pytest.mark.full
@pytest.mark.parametrize("fixtures", ["function", "session", "fixture-scope"])
@pytest.mark.parametrize("tests", ["function", "session"])
def test_the_simulator_runs_in_the_loop_of_the_test(pytester: pytest.Pytester, fixtures: str, tests: str) -> None:
    configuration = CONFIGURATION.format(mode="auto").replace("scope = function", f"scope = {fixtures}")
    pytester.makeini(f"{configuration}asyncio_default_test_loop_scope = {tests}\n")
    pytester.makepyfile(
        LOOPS
        + """
async def test_default(truebit_simulator, truebit_session):
    await wait(truebit_simulator, truebit_session)

@pytest.mark.asyncio(loop_scope="session")
async def test_session(truebit_simulator, truebit_session):
    await wait(truebit_simulator, truebit_session)

@pytest.mark.asyncio(loop_scope="package")
async def test_package(truebit_simulator, truebit_session):
    await wait(truebit_simulator, truebit_session)

@pytest.mark.asyncio(loop_scope="module")
async def test_module(truebit_simulator, truebit_session):
    await wait(truebit_simulator, truebit_session)

@pytest.mark.asyncio(loop_scope="class")
class TestClass:
    async def test_class(self, truebit_simulator, truebit_session):
        await wait(truebit_simulator, truebit_session)

    @pytest.mark.asyncio(loop_scope="function")
    async def test_function(self, truebit_simulator, truebit_session):
        await wait(truebit_simulator, truebit_session)

    @pytest.mark.virtual_time
    async def test_virtual(self, truebit_simulator, truebit_session):
        await wait(truebit_simulator, truebit_session)
"""
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=7)


@pytest.mark.full
def test_real_and_virtual_time_share_no_loop_and_no_async_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeini(CONFIGURATION.format(mode="auto"))
    pytester.makepyfile("""
        import asyncio
        import pytest
        import pytest_asyncio
        from truebit_async.testing import VirtualTimeLoop

        pytestmark = pytest.mark.asyncio(loop_scope="session")

        @pytest_asyncio.fixture(scope="session", loop_scope="session")
        async def loop():
            return asyncio.get_running_loop()

        @pytest.mark.virtual_time
        async def test_virtual(loop):
            assert asyncio.get_running_loop() is loop
            await asyncio.sleep(3600)

        @pytest.mark.virtual_time
        async def test_virtual_again(loop):
            assert asyncio.get_running_loop() is loop
            assert loop.time() >= 3600

        async def test_real(loop):
            assert asyncio.get_running_loop() is loop
            assert not isinstance(loop, VirtualTimeLoop)
    """)
    pytester.runpytest_subprocess().assert_outcomes(passed=3)


# The mark


@pytest.mark.parametrize(
    ("mode", "marks"),
    [
        ("auto", "@pytest.mark.virtual_time"),
        pytest.param("auto", "pytestmark = pytest.mark.virtual_time", marks=pytest.mark.full),
        pytest.param("strict", "@pytest.mark.asyncio\n@pytest.mark.virtual_time", marks=pytest.mark.full),
        pytest.param(
            "strict", "@pytest.mark.virtual_time\n@pytest.mark.asyncio(loop_scope='module')", marks=pytest.mark.full
        ),
    ],
    ids=["function", "module", "strict", "loop of the module"],
)
def test_a_wait_of_an_hour_passes_on_virtual_time(pytester: pytest.Pytester, mode: str, marks: str) -> None:
    pytester.makeini(CONFIGURATION.format(mode=mode))
    pytester.makepyfile(f"""
import asyncio, pytest, time

{marks}
async def test_it(truebit_simulator, truebit_session):
    truebit_simulator.add("slow", running_for=3600)
    started, real = asyncio.get_running_loop().time(), time.perf_counter()
    await truebit_session.wait_for_verification("slow", deadline=4000)
    assert 3600 <= asyncio.get_running_loop().time() - started <= 3611
    assert time.perf_counter() - real < 5
    assert len(truebit_simulator.requests) < 400
""")
    pytester.runpytest_subprocess("--strict-markers").assert_outcomes(passed=1)


LOOPS_OF_TESTS = """
import asyncio
import hypothesis
import pytest

class OwnLoop(asyncio.SelectorEventLoop):
    pass

def report(request):
    print(f"{request.node.name}: {type(asyncio.get_running_loop()).__name__}")

@pytest.mark.virtual_time
async def test_marked(request):
    report(request)

@pytest.mark.virtual_time
@pytest.mark.parametrize("number", [1, 2])
async def test_parametrized(number, request):
    report(request)

@pytest.mark.virtual_time
@hypothesis.settings(max_examples=1, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(hypothesis.strategies.integers())
async def test_hypothesis(request, number):
    report(request)

@pytest.mark.virtual_time
@pytest.mark.skip
async def test_skipped():
    pass

@pytest.mark.virtual_time
def test_not_async(request):
    print(f"{request.node.name}: no loop")

async def test_unmarked(request):
    report(request)
"""
ON_VIRTUAL_TIME = [
    "test_marked: VirtualTimeLoop",
    "test_parametrized[1]: VirtualTimeLoop",
    "test_parametrized[2]: VirtualTimeLoop",
    "test_hypothesis: VirtualTimeLoop",
    "test_not_async: no loop",
]


def usual_loop() -> str:
    with asyncio.Runner() as runner:
        return type(runner.get_loop()).__name__


def loops_of_tests(pytester: pytest.Pytester, conftest: str) -> list[str]:
    pytester.makeini(CONFIGURATION.format(mode="auto"))
    pytester.makeconftest(conftest)
    pytester.makepyfile(test_loops=LOOPS_OF_TESTS)
    result = pytester.runpytest_subprocess("-qs")
    assert result.ret == pytest.ExitCode.OK
    return [line.lstrip(".s") for line in result.outlines if ": " in line]


@pytest.mark.full
def test_an_unmarked_test_is_left_alone(pytester: pytest.Pytester) -> None:
    assert loops_of_tests(
        pytester,
        """
        def pytest_collection_modifyitems(items):
            (unmarked,) = [item for item in items if item.name == "test_unmarked"]
            assert not hasattr(unmarked, "callspec")
        """,
    ) == [*ON_VIRTUAL_TIME, f"test_unmarked: {usual_loop()}"]


@pytest.mark.full
def test_a_hook_of_the_project_gives_loops_to_unmarked_tests_only(pytester: pytest.Pytester) -> None:
    assert loops_of_tests(
        pytester,
        """
        import pytest

        @pytest.hookimpl(tryfirst=True)
        def pytest_asyncio_loop_factories(item):
            return {"one": item.module.OwnLoop, "two": item.module.OwnLoop}
        """,
    ) == [*ON_VIRTUAL_TIME, "test_unmarked[one]: OwnLoop", "test_unmarked[two]: OwnLoop"]


@pytest.mark.full
def test_a_hook_that_projects_have_for_a_mark_of_that_name_does_no_harm(pytester: pytest.Pytester) -> None:
    assert loops_of_tests(
        pytester,
        """
        import asyncio
        from truebit_async.testing import VirtualTimeLoop

        def pytest_configure(config):
            config.addinivalue_line("markers", "virtual_time: run on a clock that jumps")

        def pytest_asyncio_loop_factories(item):
            is_virtual = item.get_closest_marker("virtual_time") is not None
            return {"loop": VirtualTimeLoop if is_virtual else asyncio.new_event_loop}
        """,
    ) == [*ON_VIRTUAL_TIME, f"test_unmarked: {usual_loop()}"]


MARKED = """
import pytest

@pytest.mark.virtual_time
async def test_marked():
    pass

def test_unmarked():
    pass
"""


@pytest.mark.parametrize(
    "marks",
    ["", pytest.param("pytestmark = pytest.mark.anyio", marks=pytest.mark.full)],
    ids=["no plugin for async tests", "anyio"],
)
def test_without_the_hook_of_pytest_asyncio_a_marked_test_fails(pytester: pytest.Pytester, marks: str) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(MARKED + marks)
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "--strict-markers")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["The mark virtual_time needs pytest-asyncio 1.4 or later: pip install *"])


@pytest.mark.full
@pytest.mark.parametrize(
    ("mode", "marks", "arguments"),
    [
        ("strict", "@pytest.mark.virtual_time", ""),
        ("strict", "@pytest.mark.virtual_time\n@pytest.mark.anyio", ""),
        ("auto", "@pytest.mark.parametrize('number', [pytest.param(1, marks=pytest.mark.virtual_time)])", "number"),
    ],
    ids=["not run by pytest-asyncio", "anyio", "on a parameter"],
)
def test_a_marked_test_that_would_run_in_real_time_fails(
    pytester: pytest.Pytester, mode: str, marks: str, arguments: str
) -> None:
    pytester.makeini(CONFIGURATION.format(mode=mode))
    pytester.makepyfile(f"import pytest\n{marks}\nasync def test_it({arguments}):\n    pass\n")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["The mark virtual_time is for tests that pytest-asyncio runs. *"])


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
