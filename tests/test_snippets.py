"""Every snippet of a page runs, and what is wrong with one makes its page fail."""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import SkipTest

import pytest
import snippets
from snippets import EXTRAS, ROOT, SNIPPETS
from sybil.example import SybilFailure

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("[!_]*.md"), *(ROOT / "docs").glob("[!_]*/*.md")])
LANGUAGE_OF_A_BLOCK = re.compile(r"^[ \t>*-]*(?:`{3,}|~{3,})[ \t]*(?:\{code\S*\}[ \t]*)?([^\s`{].*)$", re.MULTILINE)

Part = str | tuple[str, str]
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


@pytest.mark.parametrize(
    ("block", "is_run"),
    [
        ("```python\n```", True),
        ("1. Words:\n\n   ```python\n   ```", True),
        ("````{note}\n```sh\n```\n````", True),
        ("```{code-block} console\n```", True),
        ("```bash\n```", False),
        ("``` python\n```", False),
        ("~~~py\n~~~", False),
        ("```{code-block} pycon\n```", False),
    ],
)
def test_a_block_that_is_left_out_would_be_noticed(tmp_path: Path, block: str, is_run: bool) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{block}\n")
    assert blocks_shown(page)
    assert (blocks_run(page) == blocks_shown(page)) is is_run


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
    """Run a page that consists of (language, snippet) and of text between them."""

    def run(*parts: Part) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "\n\n".join(part if isinstance(part, str) else f"```{part[0]}\n{part[1]}\n```" for part in parts) + "\n"
        )
        document = SNIPPETS.parse(page)
        assert SNIPPETS.teardown is not None
        try:
            for example in document.examples():
                with contextlib.suppress(SkipTest):
                    example.evaluate()
        finally:
            SNIPPETS.teardown(document.namespace)

    return run


ID = "abf5e6d2-f72d-4324-a046-bc6e9f27b303"
WAIT = f"""\
from truebit_async import TruebitSession

async with TruebitSession() as session:
    print((await session.wait_for_verification("{ID}")).output)
"""
SCRIPT = """\
import asyncio
from truebit_async import wait_for_verification

async def main():
    print((await wait_for_verification("success-03", base_url="http://127.0.0.1:8080")).output)

asyncio.run(main())
"""
TEST = """\
import pytest
from truebit_async import TruebitSession

@pytest.mark.asyncio
async def test_it(dispatcher):
    async with TruebitSession(dispatcher) as session:
        assert (await session.get_execution_status("success-01")).verification_status.value
"""
FIXTURE = """\
import pytest

@pytest.fixture
def dispatcher():
    return "http://127.0.0.1:8080"
"""
SERVED = "success-01\n...\nA simulated dispatcher listens at http://127.0.0.1:8080; Ctrl-C ...\nTry: ...:8080 ..."

GOOD: dict[str, list[Part]] = {
    "an ID of the page, and what it prints": [("python", WAIT), ("text", "42")],
    "one namespace": [("python", "x = 1"), "and", ("python", "assert x == 1")],
    "a hidden snippet": ["<!-- invisible-code-block: python\nx = 1\n-->", ("python", "assert x == 1")],
    "a script": [("python", SCRIPT), ("text", "4")],
    "scripts of other kinds": [
        ("python", "import uvloop\n\n\nasync def main():\n    print(2)\n\n\nuvloop.run(main())"),
        ("text", "2"),
        ("python", "import asyncio\n\nwith asyncio.Runner() as runner:\n    print(runner.run(asyncio.sleep(30, 3)))"),
        ("text", "3"),
    ],
    "a script that is saved": ["Save this as `it.py`:", ("python", SCRIPT), ("console", "$ python it.py\n4")],
    "a script that fails as the page says": [
        "Save it as `it.py`:",
        ("python", "if __name__ == '__main__':\n    raise SystemExit('no')"),
        ("console", "$ python it.py\nno\n$ echo $?\n1"),
    ],
    "a module": ["Save this as `it.py`:", ("python", "x = 1"), ("python", "import it\n\nassert it.x == 1")],
    "tests": [("python", FIXTURE), ("python", TEST), ("text", ".  ...\n1 passed in ...")],
    "tests that are saved": [
        *("Save it as `conftest.py`:", ("python", FIXTURE), "Save it as `test_it.py`:", ("python", TEST)),
        ("console", "$ pytest\n...\n====... 1 passed in ... ====..."),
    ],
    "a terminal": [
        ("sh", "mkdir folder\ncd folder\nexport NAME=value"),
        (
            "console",
            "$ echo $NAME; basename $PWD\nvalue\nfolder\n$ cat <<end\n> one\n> end\none\n$ echo \\\n  two\ntwo",
        ),
    ],
    "no output": [("console", "$ true\n$ true # said nothing")],
    "a server of the page": [
        "Save this as `it.py`:",
        ("python", "from http.server import test\n\nif __name__ == '__main__':\n    test(port=0, bind='127.0.0.1')"),
        ("console", "$ python -u it.py > log &\n$ until [ -s log ]; do sleep 0.1; done; cat log\nServing HTTP on ..."),
    ],
    "a server": [
        ("console", f"$ truebit-async simulate --port 8080\n{SERVED}"),
        ("console", "$ truebit-async status --base-url http://127.0.0.1:8080 missing-01\n... was not found..."),
    ],
    "servers that would be in each other's way, and of which nothing is shown": [
        ("sh", "truebit-async simulate --port 8080"),
        ("console", "$ python -m truebit_async simulate"),
    ],
    "an installation": [
        ("sh", "git clone https://example.org/it.git && cd it\npython -m venv .venv"),
        ("sh", ".venv/bin/pip install -U '.[cli]' -e . 'fastapi[standard]>=1' \\\n  'truebit-async[cli]'  # so"),
        ("console", "$ pip install httpx\nSuccessfully ...\n$ .venv/bin/truebit-async --version\ntruebit-async ..."),
    ],
    "a file": ["Save this as `ids/a.json`:", ("json", "[1]"), ("console", "$ cat ids/a.json\n[1]")],
    "TOML": [("toml", "a = 1")],
    "text that no command precedes": [("console", "$ echo a\na"), "words", ("text", "anything")],
    "a program that prints by itself": [
        ("python", "import subprocess\nassert subprocess.run(['echo', 'a']).returncode == 0"),
        ("python", "print('b')"),
        ("text", "b"),
    ],
    "a skipped snippet": ['<!-- skip: next "it is wrong" -->', ("python", "1 / 0")],
}


@pytest.mark.parametrize("parts", GOOD.values(), ids=GOOD)
def test_a_good_page_passes(run: Run, parts: list[Part]) -> None:
    run(*parts)


BAD: dict[str, tuple[list[Part], str]] = {
    "wrong output of a command": ([("console", "$ echo a\nb")], "The page shows:\nb\n\nIt printed:\na"),
    "wrong output of Python": ([("python", "print(1)"), ("text", "2")], "The page shows:\n2"),
    "output of less than is shown": ([("console", "$ echo a\na\nb")], "It printed:\na"),
    "output of more than is shown": ([("console", "$ printf 'a\\nb'\na")], "It printed:\na\nb"),
    "wrong output of a server": ([("console", "$ truebit-async simulate\nhello")], "still running after"),
    "a server that ends": (
        [("console", "$ truebit-async simulate --port x\n...\nhello")],
        "Invalid value for '--port'",
    ),
    "a server that ends without a word": ([("console", "$ truebit-async simulate --port x")], "Invalid value"),
    "a command that fails": ([("console", "$ ls nowhere")], "exit code 2"),
    "a command that hangs": ([("console", "$ sleep 60")], "still running after"),
    "a step that fails": ([("sh", "false\ntrue")], "exit code 1"),
    "a shell variable nobody set": ([("sh", "echo $NOBODY")], "NOBODY: unbound variable"),
    "steps that hang": ([("sh", "sleep 60 & wait")], "still running after"),
    "Python that fails": ([("python", "x = 1\nnobody")], 'page.md", line 3, in <module>\n    nobody\n'),
    "Python that ends": ([("python", "exit(0)")], "SystemExit"),
    "Python that vanishes": ([("python", "import os\nos._exit(0)")], "the page's Python has ended"),
    "Python that hangs": ([("python", "while True:\n    pass")], "still running after"),
    "Python that waits for ever": ([("python", "import asyncio\nawait asyncio.Event().wait()")], "still running after"),
    "a warning": ([("python", "import warnings\nwarnings.warn('old')")], "UserWarning: old"),
    "a session that is left open": (
        [("python", "import aiohttp\n\n\nasync def leave():\n    aiohttp.ClientSession()\n\n\nawait leave()")],
        "Unclosed client session",
    ),
    "a script that fails": ([("python", "import asyncio\n\nasyncio.run(nobody())")], "NameError"),
    "a test that fails": ([("python", "def test_it():\n    assert 1 == 2")], "assert 1 == 2"),
    "a fixture that cannot be imported": ([("python", "@pytest.fixture\ndef it(): ...")], "NameError"),
    "another host": (
        [("python", WAIT.replace("()", "('https://run.truebit.network')", 1))],
        "this machine only, not to run.truebit.network",
    ),
    "another host of a command": (
        [("console", f"$ truebit-async status --base-url http://192.0.2.1 {ID}\nanything")],
        "this machine only, not to 192.0.2.1",
    ),
    "an extra that is missing": (
        [("sh", "python -m venv .venv && .venv/bin/pip install -e '.[cli,cly]'")],
        "pyproject.toml has no extra cly",
    ),
    "an extra that is missing, by name": ([("console", "$ pip install truebit_async[x]")], "has no extra x"),
    "an installation of nothing": ([("sh", "pip install 'it[a'")], "it[a"),
    "an open quote": ([("sh", "pip install '.[cli]")], "No closing quotation"),
    "an installation nobody knows": ([("sh", "git clone --bare x y")], "not understood"),
    "a terminal without a command": ([("console", "echo a")], "begins with a command"),
    "JSON that is none": ([("json", "{...}")], "Expecting property name"),
    "TOML that is none": ([("toml", "a")], "Expected"),
}


@pytest.mark.parametrize(("parts", "problem"), BAD.values(), ids=BAD)
def test_a_bad_page_fails(run: Run, monkeypatch: pytest.MonkeyPatch, parts: list[Part], problem: str) -> None:
    if problem == "still running after":
        monkeypatch.setattr(snippets, "LIMIT", 0.5)
    with pytest.raises(SybilFailure) as caught:
        run(*parts)
    assert problem in str(caught.value)


def test_a_skip_without_a_reason_is_an_error(run: Run) -> None:
    with pytest.raises(ValueError, match=r"page\.md, line 1, column 1: to skip a snippet takes a reason"):
        run("<!-- skip: next -->", ("python", "1 / 0"))


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
        assert written.read() == b"abc"  # and the end of it, for which all writers must have ended
