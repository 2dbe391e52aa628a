"""The pytest plugin of truebit_async: fixtures and a mark for tests of code that waits for executions.

This module is not part of the package, because pytest imports it at every start, even if no test uses it. Importing a
module of the package would import aiohttp too.
"""

from __future__ import annotations

import inspect
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from truebit_async import TruebitSession
    from truebit_async.testing import Simulator

try:
    from pytest_asyncio import fixture
except ModuleNotFoundError:  # another plugin, such as anyio, runs async tests and fixtures
    fixture = pytest.fixture  # type: ignore[assignment]


# Fixtures

_HAS_LOOP_SCOPES = "loop_scope" in inspect.signature(fixture).parameters  # since pytest-asyncio 0.24


def _define_simulation(loop_scope: str) -> object:
    """Define the fixture that runs a Simulator in the loop of this scope, and closes there what is on its stack."""
    options: dict[str, Any] = {"loop_scope": loop_scope} if _HAS_LOOP_SCOPES else {}

    @fixture(name=f"_truebit_simulation_in_{loop_scope}_loop", **options)
    async def simulation() -> AsyncIterator[tuple[Simulator, AsyncExitStack]]:
        from truebit_async.testing import Simulator  # noqa: PLC0415  # see the docstring of this module

        async with Simulator() as simulator, AsyncExitStack() as stack:
            yield simulator, stack

    return simulation


_in_function_loop = _define_simulation("function")
if _HAS_LOOP_SCOPES:
    _in_class_loop = _define_simulation("class")
    _in_module_loop = _define_simulation("module")
    _in_package_loop = _define_simulation("package")
    _in_session_loop = _define_simulation("session")


@pytest.fixture
def _truebit_simulation(request: pytest.FixtureRequest) -> object:
    """Run a Simulator in the loop of the test.

    pytest-asyncio would choose the loop of an async fixture without regard to that of the test. A test would wait
    forever for a Simulator in another loop, because that one does not run.
    """
    mark = request.node.get_closest_marker("asyncio")
    try:
        default = request.config.getini("asyncio_default_test_loop_scope")
    except ValueError:  # pytest-asyncio is missing, or too old to have this setting
        default = "function"
    loop_scope = (mark and mark.kwargs.get("loop_scope")) or default
    return request.getfixturevalue(f"_truebit_simulation_in_{loop_scope}_loop")


@pytest.fixture
def truebit_simulator(
    _truebit_simulation: tuple[Simulator, AsyncExitStack], monkeypatch: pytest.MonkeyPatch
) -> Simulator:
    """A `truebit_async.testing.Simulator` that runs in the event loop of the test.

    During the test, ``TRUEBIT_BASE_URL`` is its URL and ``TRUEBIT_API_KEY`` is ``test-key``. If the code under test
    creates a ``TruebitSession()``, that session uses the Simulator, and not a real dispatcher or a real key.
    """
    simulator, _ = _truebit_simulation
    monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
    monkeypatch.setenv("TRUEBIT_API_KEY", "test-key")
    return simulator


@pytest.fixture
def truebit_session(
    truebit_simulator: Simulator, _truebit_simulation: tuple[Simulator, AsyncExitStack]
) -> TruebitSession:
    """A `truebit_async.TruebitSession` for ``truebit_simulator``.

    The first polls are milliseconds apart, so that tests are fast. The gaps grow to 10 s, so that a wait of an hour on
    virtual time makes as few requests as in production.
    """
    from tenacity import wait_exponential  # noqa: PLC0415  # see the docstring of this module

    from truebit_async import PollPolicy, TruebitSession  # noqa: PLC0415  # likewise

    policy = PollPolicy(wait=wait_exponential(multiplier=0.002, max=10))
    session = TruebitSession(truebit_simulator.url, policy=policy)
    _, stack = _truebit_simulation
    stack.push_async_callback(session.close)
    return session


# The mark


class _VirtualTimeLoops:
    """The hook of pytest-asyncio that gives tests a `VirtualTimeLoop`.

    It is registered only while pytest-asyncio chooses the loop of a test that has the mark. As soon as any plugin has
    this hook, pytest-asyncio takes the loops of all tests from it, so other tests would change too.
    """

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_asyncio_loop_factories(self) -> dict[str, Callable[[], AbstractEventLoop]]:
        from truebit_async.testing import VirtualTimeLoop  # noqa: PLC0415  # see the docstring of this module

        return {"virtual": VirtualTimeLoop}


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line(
        "markers", "virtual_time: run the test on an event loop whose clock jumps to the next timer (truebit_async)."
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Let a test that has the mark run on a `VirtualTimeLoop`."""
    if metafunc.definition.get_closest_marker("virtual_time") is None:
        yield
        return
    loops = _VirtualTimeLoops()
    metafunc.config.pluginmanager.register(loops)
    yield
    metafunc.config.pluginmanager.unregister(loops)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let pytest-asyncio end the async fixtures of one loop before a test runs on another.

    pytest-asyncio does so only if a plugin has the hook. The hook is not called at this point.
    """
    if any(item.get_closest_marker("virtual_time") for item in session.items):
        session.config.pluginmanager.register(_VirtualTimeLoops())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that has the mark and would run in real time."""
    if item.get_closest_marker("virtual_time") is None or not _is_async(item):
        return
    from truebit_async.testing import VirtualTimeLoop  # noqa: PLC0415  # see the docstring of this module

    callspec = getattr(item, "callspec", None)  # of a test that has parameters, such as the loop
    parameters = callspec.params.values() if callspec else ()
    if any(isinstance(value, type) and issubclass(value, VirtualTimeLoop) for value in parameters):
        return
    hook = getattr(item.config.hook, "pytest_asyncio_loop_factories", None)
    if hook is None or not hook.has_spec():
        reason = "The mark virtual_time needs pytest-asyncio 1.4 or later: pip install 'pytest-asyncio>=1.4'"
    else:
        reason = (
            "The mark virtual_time is for tests that pytest-asyncio runs. Mark this test with pytest.mark.asyncio, or "
            "set asyncio_mode = auto. Put virtual_time on the function, its class or its module, and not on a "
            "parameter."
        )
    pytest.fail(reason, pytrace=False)


def _is_async(item: pytest.Item) -> bool:
    function = getattr(item, "obj", None)
    hypothesis = getattr(function, "hypothesis", None)
    return inspect.iscoroutinefunction(getattr(hypothesis, "inner_test", function))
