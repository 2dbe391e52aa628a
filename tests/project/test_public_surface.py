"""What is public: complete, typed, documented, and reached by imports that point one way."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import truebit_async
import truebit_async.testing
from truebit_async import audit, checkpoint, errors, events, models, otel, policy, session, sharding, strategies, tasks

PACKAGE = Path(truebit_async.__file__).parent
DOCS = Path(__file__).parents[2] / "docs"


# What is public


def test_everything_public_is_at_the_top() -> None:
    public = {
        *errors.__all__,
        *events.__all__,
        *models.__all__,
        "CheckpointError",
        "LearnedWait",
        "PollPolicy",
        "ProportionalWait",
        "Tasks",
        "TruebitSession",
        "wait_for_verification",
        "__version__",
    }
    assert set(truebit_async.__all__) == public
    assert [name for name in truebit_async.__all__ if not hasattr(truebit_async, name)] == []


PUBLIC_MODULES = (
    audit,
    checkpoint,
    errors,
    events,
    models,
    otel,
    policy,
    session,
    sharding,
    strategies,
    tasks,
    truebit_async.testing,
)


def test_the_reference_has_every_public_name_as_users_import_it() -> None:
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    found = re.findall(r"^\.\. auto\w+:: (\S+)$", pages, re.MULTILINE)
    top = set(truebit_async.__all__) - {"__version__"}
    expected = {f"truebit_async.{name}" for name in top}
    for module in PUBLIC_MODULES:
        expected |= {f"{module.__name__}.{name}" for name in set(module.__all__) - top}
    assert sorted(found) == sorted(expected)


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


# Docstrings: ruff checks that they are there, but not that they name all fields of a class and the units of amounts


def find_public_things() -> Iterator[tuple[str, Any]]:
    """Yield every public class, function, method and property, with its name."""
    for module in PUBLIC_MODULES:
        for name in module.__all__:
            thing = getattr(module, name)
            if inspect.isclass(thing) or inspect.isroutine(thing):
                yield name, thing
            for member_name, member in vars(thing).items() if inspect.isclass(thing) else ():
                if not member_name.startswith("_") and isinstance(member, FunctionType | classmethod | property):
                    is_property = isinstance(member, property)
                    yield f"{name}.{member_name}", member if is_property else getattr(thing, member_name)


PUBLIC = dict(find_public_things())


def parameters(thing: Any) -> dict[str, str]:
    """Return the public parameters of a function, or parameters and attributes of a class: names and annotations."""
    if isinstance(thing, property):
        return {}
    found: dict[str, str] = {}
    if inspect.isclass(thing):
        annotations = vars(thing).get("__annotations__", {})
        found.update({name: str(getattr(one, "__forward_arg__", one)) for name, one in annotations.items()})
        found.update(dict.fromkeys(getattr(thing, "__members__", ()), ""))
        found.update(dict.fromkeys(re.findall(r"\n        self\.(\w+)\b.* = ", inspect.getsource(thing)), ""))
        is_made_by_attrs = hasattr(thing, "__attrs_attrs__")
        thing = None if is_made_by_attrs else vars(thing).get("__init__")
    if thing is not None:
        found.update({name: str(one.annotation) for name, one in inspect.signature(thing).parameters.items()})
    return {name: annotation for name, annotation in found.items() if not name.startswith("_") and name != "self"}


def documented(thing: Any) -> dict[str, str]:
    """Return what is said of each parameter and attribute: in a section, or in a string below an assignment."""
    found: dict[str, str] = {}
    section = name = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line and not line.startswith(" "):
            section = line
        elif section in ("Args:", "Attributes:"):
            if entry := re.match(r"    (\w+): ", line):
                name = entry[1]
            found[name] = found.get(name, "") + line
    if inspect.isclass(thing):
        nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(thing))))
        for node in (node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)):
            for assignment, text in pairwise(node.body):
                is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                if is_text and isinstance(assignment, ast.Assign | ast.AnnAssign):
                    target = assignment.target if isinstance(assignment, ast.AnnAssign) else assignment.targets[0]
                    found[ast.unparse(target).removeprefix("self.")] = ast.unparse(text)
    return found


def test_every_parameter_and_attribute_is_documented_by_name() -> None:
    for name, thing in PUBLIC.items():
        assert parameters(thing).keys() == documented(thing).keys(), name


UNITS = {
    "byte_gas_price": "per byte",
    "completed": "how many executions",
    "consecutive_failures": "how many transient failures",
    "count": "how many shards",
    "default_requests": "number of requests",
    "effort": "how many requests",
    "expected_requests": "number of requests",
    "failures": "how many transient failures",
    "fraction": "in proportion to the age",
    "jitter": "how much of a gap",
    "max_concurrency": "requests",
    "max_consecutive_errors": "how many transient failures",
    "max_pending": "how many",
    "max_response_bytes": "in bytes",
    "max_rate": "requests per second",
    "gas_limit": "how many steps",
    "max_submissions": "how many tasks",
    "mean_requests": "number of requests",
    "peak_memory_used": "unit is not documented",
    "per_second": "requests",
    "polls": "how many",
    "required_solutions": "how many nodes",
    "shards": "how many shards",
    "step_gas_price": "per step",
    "task_created_time_stamp": "in milliseconds",
    "timestamp": "unit is not documented",
    "total_solutions": "how many nodes",
    "total_steps_computed": "how many steps",
    "wait": "seconds",
}
"""The unit of an amount; a float that is not in here is in seconds."""

NO_AMOUNTS = {"index", "log_level", "port", "status", "v", "version", "tag", "wait_number"}
"""Integers that are names."""


def test_every_time_size_and_rate_names_its_unit() -> None:
    for name, thing in PUBLIC.items():
        for parameter, annotation in parameters(thing).items():
            if name == "TransferredBytes":
                assert "how many bytes" in documented(thing)[parameter]
            elif parameter in UNITS or re.search(r"\bfloat\b", annotation):
                assert UNITS.get(parameter, "seconds") in documented(thing)[parameter], f"{name}: {parameter}"
            elif re.search(r"\bint\b", annotation):
                assert parameter in NO_AMOUNTS, f"{name}: {parameter}"


# Imports

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}
"""Every module by its name within the package."""

CORE = {
    name: path for name, path in MODULES.items() if name.split(".")[0] not in {"__init__", "__main__", "cli", "testing"}
}
"""The modules below the command and the Simulator."""


def imported_by(path: Path) -> set[str]:
    """Return the names that a module imports, wherever in it, except those for type checkers only."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "this test does not understand relative imports"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        todo.extend(ast.iter_child_nodes(node))
    return found


def nearest(name: str, names: set[str]) -> str | None:
    """Return the longest of some dotted names that is this name or a parent of it."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name or None


def read_layers() -> dict[str, set[str]]:
    """Return the table of the page on the architecture: who may import whom, from the bottom up.

    A row is about a module, or about a package with all modules in it that have no row of their own.
    """
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \|([^|]*)\|", page, re.MULTILINE)
    return {name: set(re.findall(r"`([\w.]+)`", imports)) for name, imports in rows}


def test_imports_point_one_way() -> None:
    layers = read_layers()
    found: dict[str, set[str]] = {}
    for name, path in CORE.items():
        row = nearest(name, set(layers))
        assert row, f"the table has no row for {name}"
        own = {each.removeprefix("truebit_async.") for each in imported_by(path) if each.startswith("truebit_async.")}
        modules = {nearest(each, set(MODULES)) for each in own}
        assert None not in modules, f"{name} imports from truebit_async itself"
        found.setdefault(row, set()).update({nearest(str(each), set(layers)) or str(each) for each in modules} - {row})
    assert found == layers
    order = list(layers)
    for row, imported in layers.items():
        assert [below for below in imported if order.index(below) >= order.index(row)] == [], row


def users_of(library: str) -> set[str]:
    return {name for name, path in CORE.items() if any(each.split(".")[0] == library for each in imported_by(path))}


def test_only_the_transport_and_the_session_import_aiohttp() -> None:
    assert users_of("aiohttp") == {"_connections", "_transport", "session"}


def test_the_protocol_the_models_and_the_policy_import_no_asyncio() -> None:
    pure = {name for name in CORE if name.split(".")[0] in {"_protocol", "models", "errors", "policy"}}
    pure |= {"_scheduler.pacer", "_scheduler.timetable"}
    assert pure <= CORE.keys()
    assert {name.split(".")[0] for name in pure} == {"_protocol", "_scheduler", "models", "errors", "policy"}
    assert pure & users_of("asyncio") == set()


def test_a_name_is_loaded_when_it_is_used() -> None:
    script = (
        "import sys, truebit_async; print('aiohttp' in sys.modules, 'TruebitSession' in dir(truebit_async)); "
        "truebit_async.PollPolicy, truebit_async.Execution; print('aiohttp' in sys.modules); "
        "from truebit_async import TruebitSession; print('aiohttp' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True", "False", "True"]
    with pytest.raises(AttributeError, match="module 'truebit_async' has no attribute 'Session'"):
        truebit_async.Session  # type: ignore[attr-defined]  # noqa: B018


def test_its_names_can_be_listed() -> None:
    assert dir(truebit_async) == sorted(truebit_async.__all__)


def test_importing_it_imports_no_tools() -> None:
    script = (
        "import sys; from truebit_async import TruebitSession; "
        "print(*{'click', 'rich', 'pytest', 'aioresponses', 'truebit_async.cli', 'truebit_async.testing', "
        "'aiohttp.test_utils', 'opentelemetry', 'eth_keys', 'Crypto', 'truebit_async.audit'} & sys.modules.keys())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_no_module_is_long() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_every_module_can_be_imported() -> None:
    for name in MODULES.keys() - {"__init__", "__main__"}:
        importlib.import_module(f"truebit_async.{name}")
