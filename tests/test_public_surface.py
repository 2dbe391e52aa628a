"""What is public: complete, typed, documented, and reached by imports that point one way."""

from __future__ import annotations

import ast
import builtins
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
from truebit_async import checkpoint, errors, events, models, otel, policy, session

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


PUBLIC_MODULES = (checkpoint, errors, events, models, otel, policy, session, truebit_async.testing)


def test_the_reference_has_every_public_module() -> None:
    page = (Path(__file__).parents[1] / "docs" / "reference.md").read_text(encoding="utf-8")
    assert [module.__name__ for module in PUBLIC_MODULES if f"automodule:: {module.__name__}\n" not in page] == []


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
every_public_thing = pytest.mark.parametrize("name", PUBLIC)


def bodies(thing: Any) -> list[Any]:
    """Return the functions that run when a thing is used; a class is used by making an instance."""
    if inspect.isclass(thing):
        return [member for name, member in vars(thing).items() if name in {"__init__", "__attrs_post_init__"}]
    return [thing.fget if isinstance(thing, property) else thing]


def parameters(thing: Any) -> dict[str, str]:
    """Return the public parameters of a function, or parameters and attributes of a class: names and annotations."""
    found = {}
    if inspect.isclass(thing):
        found.update(vars(thing).get("__annotations__", {}))
        found.update(dict.fromkeys(getattr(thing, "__members__", ()), ""))
        found.update(dict.fromkeys(re.findall(r"\n        self\.(\w+)\b.* = ", inspect.getsource(thing)), ""))
    is_made_by_attrs = hasattr(thing, "__attrs_attrs__")
    for body in () if is_made_by_attrs else bodies(thing):
        found.update({name: str(one.annotation) for name, one in inspect.signature(body).parameters.items()})
    return {name: annotation for name, annotation in found.items() if not name.startswith("_") and name != "self"}


def sections(thing: Any) -> dict[str, dict[str, str]]:
    """Return what a docstring says under ``Args:``, ``Attributes:`` and ``Raises:``, by name."""
    found: dict[str, dict[str, str]] = {"Args": {}, "Attributes": {}, "Raises": {}}
    section = name = ""
    for line in (inspect.getdoc(thing) or "").splitlines():
        if line and not line.startswith(" "):
            section = line.removesuffix(":")
        elif section in found:
            if entry := re.match(r"    (\w+): ", line):
                name = entry[1]
                found[section][name] = ""
            found[section][name] += line
    return found


def documented(thing: Any) -> dict[str, str]:
    """Return what is said of each parameter and attribute: in a section, or in a string below an assignment."""
    found = {**sections(thing)["Args"], **sections(thing)["Attributes"]}
    if inspect.isclass(thing):
        nodes = ast.walk(ast.parse(textwrap.dedent(inspect.getsource(thing))))
        for node in (node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)):
            for assignment, text in pairwise(node.body):
                is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
                if is_text and isinstance(assignment, ast.Assign | ast.AnnAssign):
                    target = assignment.target if isinstance(assignment, ast.AnnAssign) else assignment.targets[0]
                    found[ast.unparse(target).removeprefix("self.")] = ast.unparse(text)
    return found


@every_public_thing
def test_every_public_thing_says_what_it_does(name: str) -> None:
    assert inspect.getdoc(PUBLIC[name])


@every_public_thing
def test_no_property_begins_with_what_napoleon_takes_for_its_type(name: str) -> None:
    if isinstance(PUBLIC[name], property):
        assert ": " not in str(inspect.getdoc(PUBLIC[name])).partition("\n")[0]


@every_public_thing
def test_every_parameter_and_attribute_is_documented_by_name(name: str) -> None:
    thing = PUBLIC[name]
    assert parameters(thing).keys() - documented(thing).keys() == set()
    assert documented(thing).keys() <= parameters(thing).keys()


UNITS = {
    "max_concurrency": "requests",
    "max_consecutive_errors": "how many transient failures",
    "max_pending": "how many IDs",
    "max_response_bytes": "in bytes",
    "max_rate": "requests per second",
    "per_second": "requests",
    "polls": "how many",
    "wait": "seconds",
}
"""What must be said of an amount; of a float that is not in here: seconds."""

NO_AMOUNTS = {"log_level", "port", "status", "v", "wait_number"}
"""Integers that are names."""


@every_public_thing
def test_every_time_size_and_rate_names_its_unit(name: str) -> None:
    thing = PUBLIC[name]
    for parameter, annotation in parameters(thing).items():
        if parameter in UNITS or re.search(r"\bfloat\b", annotation):
            assert UNITS.get(parameter, "seconds") in documented(thing)[parameter], parameter
        elif re.search(r"\bint\b", annotation):
            assert parameter in NO_AMOUNTS, parameter


ANSWER = {"ApiError", "InvalidExecutionIdError", "SessionClosedError", "TransportError", "UnexpectedResponseError"}
VERDICT = {"ExecutionFailedError", "IndeterminateError", "StillRunningError"}
BAD_ARGUMENT = {"TypeError", "ValueError"}

RAISED_BY_OTHERS = {
    "Checkpoint": {"CheckpointError"},
    "Checkpoint.write": {"CheckpointError"},
    "Execution.output": VERDICT,
    "Execution.raise_for_verification": VERDICT,
    "Outcome.unwrap": {"TruebitError"},
    "PollPolicy": BAD_ARGUMENT,
    "TruebitSession": BAD_ARGUMENT,
    "TruebitSession.get_execution_status": ANSWER | {"VerificationTimeoutError"},
    "TruebitSession.wait_for_verification": ANSWER | {"VerificationTimeoutError"} | BAD_ARGUMENT,
    "TruebitSession.wait_for_verifications": {"SessionClosedError", "Exception"} | BAD_ARGUMENT,
    "read_checkpoint": {"CheckpointError"},
    "wait_for_verification": {"TruebitError"} | BAD_ARGUMENT,
}
"""What the functions called by these raise, or what a ``raise`` without a class name stands for."""


def raised_by(body: Any) -> Iterator[str]:
    """Yield what stands behind every ``raise`` of a function itself: a class, or something else than a name."""
    function = ast.parse(textwrap.dedent(inspect.getsource(body))).body[0]
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise):
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            yield "" if raised is None else ast.unparse(raised)
        todo.extend(ast.iter_child_nodes(node))


@every_public_thing
def test_whatever_raises_names_the_classes(name: str) -> None:
    raised = {one for body in bodies(PUBLIC[name]) for one in raised_by(body)}
    classes = {one for one in raised if re.fullmatch(r"[A-Z]\w+", one)}
    assert raised == classes or name in RAISED_BY_OTHERS, "add what it raises to the table"
    said = sections(PUBLIC[name])["Raises"].keys()
    assert said >= classes | RAISED_BY_OTHERS.get(name, set())
    assert all(hasattr(errors, one) or hasattr(builtins, one) for one in said)


def test_the_table_of_what_is_raised_names_public_things() -> None:
    assert RAISED_BY_OTHERS.keys() <= PUBLIC.keys()


def test_the_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def read_layers() -> dict[str, set[str]]:
    """Return who may import whom, from the bottom up, as the page on the architecture says."""
    page = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", page, re.MULTILINE)
    return {module: set(re.findall(r"`(\w+)`", imports)) for module, imports in rows}


LAYERS = read_layers()


def imports_of(module: str) -> set[str]:
    """Return the modules of this package that a module imports at run time, wherever in it and however it does."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse((PACKAGE / f"{module}.py").read_text())]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not seen here"
            within = [alias.name for alias in node.names] if node.module == "truebit_async" else []
            found.update([f"{node.module}.{name}" for name in within] or [str(node.module)])
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        todo.extend(ast.iter_child_nodes(node))
    return {name.removeprefix("truebit_async.") for name in found if name.split(".")[0] == "truebit_async"}


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
        "'aiohttp.test_utils', 'opentelemetry'} & sys.modules.keys())"
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
