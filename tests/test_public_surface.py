"""What is public: complete, typed, documented, and reached by imports that point one way."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import truebit_async
import truebit_async.testing
from truebit_async import checkpoint, errors, events, models, policy, session

PACKAGE = Path(truebit_async.__file__).parent


def test_everything_public_is_at_the_top() -> None:
    public = {
        *errors.__all__,
        *events.__all__,
        *models.__all__,
        "PollPolicy",
        "TruebitSession",
        "wait_for_verification",
        "__version__",
    }
    assert set(truebit_async.__all__) == public
    assert sorted(truebit_async.__all__) == truebit_async.__all__
    for name in truebit_async.__all__:
        assert hasattr(truebit_async, name)


@pytest.mark.parametrize("module", [checkpoint, errors, events, models, policy, session, truebit_async.testing])
def test_every_public_thing_says_what_it_does(module: object) -> None:
    for name in module.__all__:  # type: ignore[attr-defined]
        thing = getattr(module, name)
        if not inspect.isclass(thing) and not inspect.isroutine(thing):
            continue
        assert inspect.getdoc(thing), name
        for member_name, member in vars(thing).items() if inspect.isclass(thing) else ():
            if not member_name.startswith("_") and (inspect.isroutine(member) or isinstance(member, property)):
                assert inspect.getdoc(member), f"{name}.{member_name}"


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


LAYERS = {
    "_version": set[str](),
    "_arguments": set(),
    "errors": set(),
    "models": {"errors"},
    "policy": {"_arguments"},
    "_wire": {"errors", "models"},
    "_pacing": set(),
    "_wait": {"errors", "models", "policy"},
    "events": {"errors", "models"},
    "_poller": {"_pacing", "_wait", "errors", "events", "models", "policy"},
    "_batch": {"_poller", "_wait", "_wire", "errors", "models", "policy"},
    "checkpoint": {"_wire", "errors", "models"},
    "_transport": {"_version", "_wire", "errors"},
    "session": {
        "_arguments", "_batch", "_pacing", "_poller", "_transport", "_wire", "errors", "events", "models",
        "policy",
    },
}  # fmt: skip
"""Who may import whom, from the bottom up."""


def imports_of(module: str) -> set[str]:
    """Return the modules of this package that a module imports at run time."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text())
    found = set()
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("truebit_async."):
            found.add(node.module.removeprefix("truebit_async."))
    return found


def test_imports_point_one_way() -> None:
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert {module: imports_of(module) for module in modules} == LAYERS
    order = list(LAYERS)
    for module, imported in LAYERS.items():
        assert all(order.index(below) < order.index(module) for below in imported)


def test_only_the_transport_and_the_session_know_aiohttp() -> None:
    users = {path.stem for path in PACKAGE.glob("*.py") if "import aiohttp" in path.read_text()}
    assert users == {"_transport", "session"}


@pytest.mark.parametrize("module", ["_wire", "_wait", "_pacing", "models", "errors", "policy"])
def test_the_rules_know_no_loop(module: str) -> None:
    assert "import asyncio" not in (PACKAGE / f"{module}.py").read_text()


def test_importing_it_imports_no_tools() -> None:
    script = (
        "import sys, truebit_async; "
        "print(*{'typer', 'rich', 'pytest', 'aioresponses', 'truebit_async.cli', 'truebit_async.testing', "
        "'aiohttp.test_utils'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_no_module_is_long() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_modules_import_alone() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.stem != "__main__":
            name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
            importlib.import_module(name.removesuffix(".__init__"))
