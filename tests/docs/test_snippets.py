"""Every snippet of a page runs, and what is wrong with one makes its page fail."""

from __future__ import annotations

import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sybil.example import SybilFailure

from tests.docs import snippets
from tests.docs.snippets import PAGES, ROOT, SNIPPETS

LANGUAGE_OF_A_BLOCK = re.compile(r"^[ \t>*-]*(?:`{3,}|~{3,})[ \t]*(?:\{code\S*\}[ \t]*)?([^\s`{].*)$", re.MULTILINE)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

Run = Callable[..., None]


def blocks_shown(page: Path) -> Counter[str]:
    return Counter(LANGUAGE_OF_A_BLOCK.findall(page.read_text(encoding="utf-8")))


def blocks_run(page: Path) -> Counter[str]:
    blocks = [example.region.lexemes for example in SNIPPETS.parse(page).examples() if example.region.lexemes]
    return Counter(block["arguments"] for block in blocks if not block.get("directive", "").startswith("invisible"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_a_page_is_left_out(page: Path) -> None:
    assert blocks_run(page) == blocks_shown(page)


def test_the_pages_have_blocks_to_run() -> None:
    assert sum(map(blocks_run, PAGES), Counter()) > Counter(["python", "sh", "console"])


def test_every_extra_that_a_page_names_exists() -> None:
    named = {
        extra
        for page in PAGES
        for extras in re.findall(r"(?:'\.|truebit[-_]async)\[([\w,-]+)\]", page.read_text(encoding="utf-8"))
        for extra in extras.split(",")
    }
    assert {"cli", "docs"} <= named <= EXTRAS.keys()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a page that consists of snippets, each a language and its text."""

    def run(*parts: tuple[str, str]) -> None:
        page = tmp_path / "page.md"
        page.write_text("\n".join(f"```{language}\n{text}\n```\n" for language, text in parts))
        document = SNIPPETS.parse(page)
        assert SNIPPETS.teardown is not None
        try:
            for example in document.examples():
                example.evaluate()
        finally:
            SNIPPETS.teardown(document.namespace)

    return run


STATUS = """\
from truebit_async import TruebitSession

async with TruebitSession("https://run.truebit.network") as session:
    await session.get_execution_status("abf5e6d2-f72d-4324-a046-bc6e9f27b303")
"""

BAD: dict[str, tuple[list[tuple[str, str]], str]] = {
    "wrong output of a command": ([("console", "$ echo a\nb")], "The page shows:\nb\n\nIt printed:\na"),
    "wrong output of a command in two lines": (
        [("console", "$ echo a \\\n    b\nc")],
        "The page shows:\nc\n\nIt printed:\na b",
    ),
    "wrong output of Python": ([("python", "print(1)"), ("text", "2")], "The page shows:\n2"),
    "wrong output of a server": ([("console", "$ truebit-async simulate\nhello")], "still running after"),
    "a server that ends": ([("console", "$ truebit-async simulate --port x")], "Invalid value for '--port'"),
    "a command that fails": ([("console", "$ ls nowhere")], "exit code 2"),
    "a step that fails": ([("sh", "false\ntrue")], "exit code 1"),
    "Python that fails": ([("python", "x = 1\nunknown")], 'page.md", line 3, in <module>\n    unknown\n'),
    "Python that exits": ([("python", "import os\nos._exit(0)")], "the page's Python has ended"),
    "Python that never ends": ([("python", "while True:\n    pass")], "still running after"),
    "a warning": ([("python", "import warnings\nwarnings.warn('old')")], "UserWarning: old"),
    "a session that is left open": (
        [("python", "import aiohttp\n\n\nasync def leave():\n    aiohttp.ClientSession()\n\n\nawait leave()")],
        "Unclosed client session",
    ),
    "a script that fails": ([("python", "import asyncio\n\nasyncio.run(unknown())")], "NameError"),
    "a test that fails": ([("python", "def test_it():\n    assert 1 == 2")], "assert 1 == 2"),
    "another host": ([("python", STATUS)], "this machine only, not to run.truebit.network"),
    "invalid JSON": ([("json", "{...}")], "Expecting property name"),
}


@pytest.mark.full
@pytest.mark.parametrize(("parts", "problem"), BAD.values(), ids=BAD)
def test_a_bad_page_fails(
    run: Run, monkeypatch: pytest.MonkeyPatch, parts: list[tuple[str, str]], problem: str
) -> None:
    if problem == "still running after":
        monkeypatch.setattr(snippets, "LIMIT", 0.5)
    with pytest.raises(SybilFailure) as caught:
        run(*parts)
    assert problem in str(caught.value)


@pytest.mark.full
def test_nothing_is_left_running(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run(
        ("console", f"$ exec 9> {pipe}; printf a >&9; truebit-async simulate"),
        ("console", f"$ exec 9> {pipe}; printf b >&9; sleep 60 &"),
        ("python", f"import os\n\nos.write(os.open({str(pipe)!r}, os.O_WRONLY), b'c')"),
    )
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as written:
        assert written.read() == b"abc"  # the file ends only when all writers have ended
