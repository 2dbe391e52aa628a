"""Runs the snippets of Markdown pages, each page in a folder of its own and beside a dispatcher of its own.

CONTRIBUTING.md tells authors of pages how to use it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from sybil import Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, SkipParser
from sybil.typing import Evaluator

from truebit_async.cli.scenarios import add_scenarios
from truebit_async.testing import Simulator

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("[!_]*.md"), *(ROOT / "docs").glob("[!_]*/*.md")])
LIMIT = 10.0  # seconds for a snippet or a command
INSIDE = Path(__file__).parent / "in_snippets"

EXECUTION_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
DISPATCHER = re.compile(r"http://(?:127\.0\.0\.1|localhost):8080\b")
SIMULATE = re.compile(r"(\btruebit[-_]async simulate\b)(?: --port[ =]\d+)?")
NAME = re.compile(r"\b[Ss]ave\b[^`]*\bas `([^`\s]+)`")
SCRIPT = re.compile(r"^(?:[^\s#].*\b)?(?:asyncio|uvloop)\.(?:run|Runner)\(|^if __name__ == ", re.MULTILINE)
TEST = re.compile(r"^\s*(?:async )?def test_", re.MULTILINE)
PIP_INSTALL = re.compile(r"\S*\bpip install [^&\n]*")
VENV = re.compile(r"\S*python -m venv (\S+)")
NEVER_ENDS = re.compile(SIMULATE.pattern + r"[^&|]*$", re.MULTILINE)
SERVES = "...\nA simulated dispatcher listens at ...\n..."


class SnippetError(Exception):
    """A snippet is wrong; the text says how."""


class Page:
    """What the snippets of a page share: a folder, a dispatcher, a terminal and a Python console.

    Attributes:
        folder: where the reader is.
        output: what the last snippet printed.
        last: the last snippet that ran; None if there was none.
    """

    def __init__(self, text: str) -> None:
        self.output = ""
        self.last: Region | None = None
        self._open = ExitStack()
        self._home = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="page-")))
        self.folder = self._home / "folder"
        self.folder.mkdir()
        self._dispatcher = self._open.enter_context(_dispatcher(EXECUTION_ID.findall(text)))
        self._console: subprocess.Popen[str] | None = None
        self._exit_code = 0
        self._outputs = (self._home / f"output-{number}" for number in itertools.count())

    def close(self) -> None:
        """End what was started, and remove the folder."""
        self._open.close()

    def begin(self, snippet: Region) -> None:
        """Note that a snippet is about to run."""
        self.last, self.output = snippet, ""

    def save(self, name: str, text: str) -> Path:
        """Save a file that the reader is told to save."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self._with_dispatcher(text), encoding="utf-8")
        return path

    def type_into_console(self, path: str, line: int, source: str) -> None:
        """Run Python in the one namespace that the page has."""
        if self._console is None:
            self._console = self._start(
                sys.executable, INSIDE / "page_console.py", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert self._console.stdin is not None
        assert self._console.stdout is not None
        snippet = {"path": path, "line": line, "source": self._with_dispatcher(source)}
        with suppress(BrokenPipeError):
            self._console.stdin.write(f"{json.dumps(snippet)}\n")
            self._console.stdin.flush()
        if not select.select([self._console.stdout], [], [], LIMIT)[0]:
            _stop(self._console)
            raise SnippetError(f"still running after {LIMIT:g} s")
        answer = self._console.stdout.readline()
        if not answer:
            raise SnippetError("the page's Python has ended")
        self.output, problem = json.loads(answer).values()
        if problem:
            raise SnippetError(f"{self.output}{problem}")

    def type_into_terminal(
        self, command: str, *, options: str = "", until: Callable[[str], bool] | None = None
    ) -> int | None:
        """Run a command where the last one has left the folder, the exported variables and ``$?``.

        Args:
            command: for bash.
            options: of bash.
            until: leave it running once this is true of its output.

        Returns:
            Its exit code; None if it was left running.
        """
        output = next(self._outputs)
        resume = 'if [ -e "$STATE" ]; then . "$STATE"; fi'
        keep = """trap 'export -p > "$STATE"; printf "cd %q\\n" "$PWD" >> "$STATE"' EXIT"""
        last = f"(exit {self._exit_code})" if not options else ""
        on_a_free_port = SIMULATE.sub(r"\1 --port 0", self._with_dispatcher(command))
        script = f"{resume}\n{keep}\n{last}\n{on_a_free_port}"
        with output.open("w") as file:
            process = self._start(
                "bash", *options.split(), "-c", script, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )
        ends = time.monotonic() + LIMIT
        while True:
            code = process.poll()
            self.output = output.read_text(encoding="utf-8", errors="replace")
            if code is not None:
                self._exit_code = code
                return code
            if until is not None and until(self.output):
                return None
            if time.monotonic() > ends:
                _stop(process)
                raise SnippetError(f"still running after {LIMIT:g} s: {command}\n{self.output}")
            time.sleep(0.01)

    def _start(self, *command: str | Path, **options: Any) -> subprocess.Popen[Any]:
        process = subprocess.Popen(command, cwd=self.folder, env=self._environment(), start_new_session=True, **options)
        self._open.callback(_stop, process)
        return process

    def _environment(self) -> dict[str, str]:
        nowhere = "http://127.0.0.1:9"  # for what is no Python and has no sitecustomize
        return {
            "HOME": str(self._home),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]),
            # Schemathesis takes two seconds to import; pytest-asyncio warns of a default that is about to change.
            "PYTEST_ADDOPTS": "-p no:schemathesis -p no:cacheprovider -o asyncio_default_fixture_loop_scope=function",
            "PYTHONPATH": os.pathsep.join([str(INSIDE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
            "PYTHONWARNINGS": "error",
            "STATE": str(self._home / "state"),
            "TRUEBIT_BASE_URL": self._dispatcher,
            **dict.fromkeys(["http_proxy", "https_proxy"], nowhere),
            "no_proxy": "127.0.0.1,localhost",
        }

    def _with_dispatcher(self, text: str) -> str:
        return DISPATCHER.sub(self._dispatcher, text)


@contextmanager
def _dispatcher(execution_ids: Iterable[str]) -> Iterator[str]:
    """Run the dispatcher of ``truebit-async simulate``, with some more executions; yield its URL."""
    simulator = Simulator()
    add_scenarios(simulator)
    for execution_id in execution_ids:
        simulator.add(execution_id, polls=1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.__aenter__(), loop).result()
        yield simulator.url
        asyncio.run_coroutine_threadsafe(simulator.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _stop(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # and what it has started
    with process:  # closes its pipes and waits
        pass


# What is done with a snippet, by its language


def _run_python(page: Page, example: Example) -> None:
    page.begin(example.region)
    source, name = example.parsed, _name(example)
    if TEST.search(source):
        path = page.save(name or f"test_line_{example.line}.py", source)
        _type(page, f"python -m pytest -q {path}")
    elif SCRIPT.search(source):
        path = page.save(name or f"line_{example.line}.py", source)
        if not (name and any(name in command for command in _commands_after(example))):
            _type(page, f"python {path}")
    else:
        if name:
            page.save(name, source)
        page.type_into_console(example.path, example.line + source.line_offset, source)


def _run_sh(page: Page, example: Example) -> None:
    page.begin(example.region)
    _type(page, _without_installing(example.parsed), options="-euo pipefail")


def _run_console(page: Page, example: Example) -> None:
    page.begin(example.region)
    for entry in re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)[1:]:
        command, _, shown = entry.strip("\n").replace("\\\n", "").partition("\n")
        if NEVER_ENDS.search(command):
            _leave_running(page, command, shown or SERVES)
        elif shown:
            page.type_into_terminal(command)
            _compare(shown, page.output)
        else:
            _type(page, command)


def _without_installing(commands: str) -> str:
    """Replace what installs: a virtual environment of a page is this one, and everything is in it already."""
    return VENV.sub(rf"ln -sfn {sys.prefix} \1", PIP_INSTALL.sub("true", commands))


def _type(page: Page, command: str, *, options: str = "") -> None:
    code = page.type_into_terminal(command, options=options)
    if code != 0:
        raise SnippetError(f"{command}\n{page.output}\nexit code {code}")


def _leave_running(page: Page, command: str, shown: str) -> None:
    code = page.type_into_terminal(command, until=lambda output: _is_like(shown, output))
    if code is not None:
        raise SnippetError(f"{command}\n{page.output}\nended with exit code {code}")


def _read(parse: Callable[[str], object]) -> Callable[[Page, Example], None]:
    """Make the evaluator of a language that is not run: output, or the content of a file."""

    def read(page: Page, example: Example) -> None:
        before = _region_before(example)
        if before is not None and before is page.last and not example.document.text[before.end : example.start].strip():
            _compare(example.parsed, page.output)
            return
        try:
            parse(example.parsed)
        except ValueError as error:
            raise SnippetError(str(error)) from None
        if name := _name(example):
            page.save(name, example.parsed)

    return read


def _name(example: Example) -> str | None:
    """Return the name under which the text before a snippet tells the reader to save it."""
    before = _region_before(example)
    names = NAME.findall(example.document.text[0 if before is None else before.end : example.start])
    return names[-1] if names else None


def _commands_after(example: Example) -> list[str]:
    regions = [region for start, region in example.document.regions if start > example.start]
    return [region.parsed for region in regions if region.lexemes.get("arguments") in ("console", "sh")]


def _region_before(example: Example) -> Region | None:
    regions = [region for start, region in example.document.regions if start < example.start]
    return regions[-1] if regions else None


def _compare(shown: str, printed: str) -> None:
    if not _is_like(shown, printed):
        raise SnippetError(f"The page shows:\n{shown}\n\nIt printed:\n{printed}")


def _is_like(shown: str, printed: str) -> bool:
    """Compare line by line; ``...`` stands for any text in a line, and alone for any number of lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()).replace(r"\.\.\.", ".*") + r"\n"
        for line in shown.strip("\n").splitlines()
    )
    printed = re.sub(r"http://127\.0\.0\.1:\d+", "http://127.0.0.1:8080", printed)
    lines = [f"{line.rstrip()}\n" for line in printed.strip("\n").splitlines()]
    return re.fullmatch(pattern, "".join(lines)) is not None


# What pytest finds


def _evaluator(run: Callable[[Page, Example], None]) -> Evaluator:
    def evaluate(example: Example) -> str | None:
        page = example.namespace.get("page") or Page(example.document.text)
        example.namespace["page"] = page
        try:
            run(page, example)
        except SnippetError as error:
            return str(error)
        return None

    return evaluate


def _close(namespace: dict[str, Any]) -> None:
    if "page" in namespace:
        namespace.pop("page").close()


LANGUAGES = {
    "python": _run_python,
    "sh": _run_sh,
    "console": _run_console,
    "text": _read(str),
    "json": _read(json.loads),
}
SNIPPETS = Sybil(
    [
        *(CodeBlockParser(language, _evaluator(evaluate)) for language, evaluate in LANGUAGES.items()),
        SkipParser(),
    ],
    path=str(ROOT),
    pattern="*.md",
    excludes=["docs/_*/*"],  # what a build of the documentation leaves behind
    teardown=_close,
)
