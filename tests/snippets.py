"""Runs the snippets of Markdown pages, each page in a folder of its own and beside a dispatcher of its own.

What the author of a page has to know about it is in CONTRIBUTING.md.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import select
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from sybil import Document, Example, Region, Sybil
from sybil.parsers.myst import CodeBlockParser, SkipParser
from sybil.typing import Evaluator

from truebit_async.cli.cast import add_cast
from truebit_async.testing import Simulator

ROOT = Path(__file__).parents[1]
LIMIT = 10.0  # seconds for a snippet or a command
INSIDE = Path(__file__).parent / "in_snippets"
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

EXECUTION_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
DISPATCHER = re.compile(r"http://(?:127\.0\.0\.1|localhost):8080\b")
SIMULATE = re.compile(r"(\btruebit[-_]async simulate\b)(?: --port[ =]\d+)?")
NAME = re.compile(r"\b[Ss]ave\b[^`]*\bas `([^`\s]+)`")
SCRIPT = re.compile(r"^(?:[^\s#].*\b)?(?:asyncio|uvloop)\.(?:run|Runner)\(|^if __name__ == ", re.MULTILINE)
TEST = re.compile(r"^\s*(?:async )?def test_", re.MULTILINE)
FIXTURE = re.compile(r"^@pytest(?:_asyncio)?\.fixture\b", re.MULTILINE)
INSTALLS = re.compile(r"\bpip install\b|-m venv\b|\bgit clone\b")
NEVER_ENDS = re.compile(SIMULATE.pattern + r"[^&|]*$", re.MULTILINE)


SERVES = "...\nA simulated dispatcher listens at ...\n..."


class SnippetError(Exception):
    """Says what is wrong with a snippet."""


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
    add_cast(simulator)
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
    if TEST.search(source) or FIXTURE.search(source):
        has_tests = TEST.search(source) is not None
        path = page.save(name or (f"test_line_{example.line}.py" if has_tests else "conftest.py"), source)
        _type(page, f"python -m pytest -q {path}", exit_code=0 if has_tests else 5)  # 5 means that there are no tests
    elif SCRIPT.search(source):
        path = page.save(name or f"line_{example.line}.py", source)
        if name and any(name in command for command in _commands_after(example)):
            return
        _type(page, f"python {path}")
    else:
        if name:
            page.save(name, source)
        page.type_into_console(example.path, example.line + source.line_offset, source)


def _run_sh(page: Page, example: Example) -> None:
    page.begin(example.region)
    lines = example.parsed.replace("\\\n", "").splitlines()
    commands = "\n".join(map(_without_installing, lines))
    if NEVER_ENDS.search(commands):
        _leave_running(page, commands, SERVES, options="-euo pipefail")
    else:
        _type(page, commands, options="-euo pipefail")


def _run_console(page: Page, example: Example) -> None:
    page.begin(example.region)
    before, *entries = re.split(r"^\$ ", example.parsed, flags=re.MULTILINE)
    if before.strip() or not entries:
        raise SnippetError("a console snippet begins with a command: $ ...")
    for entry in entries:
        command, shown = _command_and_output(entry)
        to_run = _without_installing(command)
        if NEVER_ENDS.search(to_run):
            _leave_running(page, to_run, shown or SERVES)
        elif shown and to_run == command:
            page.type_into_terminal(command)
            _compare(shown, page.output)
        else:  # nothing is shown, or what an installer printed
            _type(page, to_run)


def _type(page: Page, command: str, *, options: str = "", exit_code: int = 0) -> None:
    code = page.type_into_terminal(command, options=options)
    if code != exit_code:
        raise SnippetError(f"{command}\n{page.output}\nexit code {code}")


def _leave_running(page: Page, command: str, shown: str, *, options: str = "") -> None:
    code = page.type_into_terminal(command, options=options, until=lambda output: _is_like(shown, output))
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


def _command_and_output(entry: str) -> tuple[str, str]:
    """Split what follows a prompt; a command goes on after a backslash and in lines that begin with ``>``."""
    command, *lines = entry.splitlines()
    while lines and (command.endswith("\\") or lines[0].startswith("> ")):
        command += "\n" + lines.pop(0).removeprefix("> ")
    return command, "\n".join(lines).strip("\n")


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


# What installs is not run


def _without_installing(line: str) -> str:
    """Check the steps of a line that install, and replace them by what they would leave here."""
    if not INSTALLS.search(line):
        return line
    return " && ".join(map(_installed, re.split(r"\s*&&\s*", line)))


def _installed(step: str) -> str:
    if not INSTALLS.search(step):
        return step
    try:
        words = shlex.split(step, comments=True)
    except ValueError as error:
        raise SnippetError(f"{step}: {error}") from None
    match words:
        case [_, "-m", "venv", folder]:
            return f"ln -sfn {shlex.quote(sys.prefix)} {shlex.quote(folder)}"
        case ["git", "clone", address]:
            return f"mkdir -p {shlex.quote(Path(address).stem)}"
    if "install" not in words:
        raise SnippetError(f"not understood: {step}")
    for word in words[words.index("install") + 1 :]:
        if not word.startswith("-"):
            _check_requirement(word)
    return "true"


def _check_requirement(word: str) -> None:
    try:
        requirement = Requirement(re.sub(r"^\.(?=\[|$)", "truebit_async", word))
    except InvalidRequirement as error:
        raise SnippetError(f"{word}: {error}") from None
    unknown = requirement.extras - EXTRAS.keys()
    if canonicalize_name(requirement.name) == "truebit-async" and unknown:
        raise SnippetError(f"{word}: pyproject.toml has no extra {', '.join(sorted(unknown))}")


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


class _ReasonedSkipParser(SkipParser):
    """Skips what ``<!-- skip: next "reason" -->`` stands before, and nothing without a reason."""

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in super().__call__(document):
            action, reason = region.parsed
            if action != "end" and not reason:
                msg = f"{document.path}, {document.line_column(region.start)}: to skip a snippet takes a reason"
                raise ValueError(msg)
            yield region


LANGUAGES = {
    "python": _run_python,
    "sh": _run_sh,
    "console": _run_console,
    "text": _read(str),
    "json": _read(json.loads),
    "toml": _read(tomllib.loads),
}
SNIPPETS = Sybil(
    [
        *(CodeBlockParser(language, _evaluator(evaluate)) for language, evaluate in LANGUAGES.items()),
        _ReasonedSkipParser(),
    ],
    path=str(ROOT),
    pattern="*.md",
    excludes=["docs/_*/*"],  # what a build of the documentation leaves behind
    teardown=_close,
)
