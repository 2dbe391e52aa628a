"""Every snippet of a page runs, and what is wrong with one makes its page fail."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import snippets
from snippets import LANGUAGES, ROOT, SNIPPETS
from sybil.example import SybilFailure

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
LANGUAGE_OF_A_BLOCK = re.compile(r"^[ \t>*-]*(?:`{3,}|~{3,})[ \t]*(?:\{code\S*\}[ \t]*)?([^\s`{].*)$", re.MULTILINE)

Run = Callable[..., None]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_block_of_a_page_is_left_out(path: Path) -> None:
    blocks = [example.region.lexemes for example in SNIPPETS.parse(path).examples() if example.region.lexemes]
    shown = [block["arguments"] for block in blocks if not block.get("directive", "").startswith("invisible")]
    assert Counter(LANGUAGE_OF_A_BLOCK.findall(path.read_text(encoding="utf-8"))) == Counter(shown)


def test_the_pages_have_snippets_of_every_kind() -> None:
    found = Counter(
        example.region.lexemes.get("arguments") for path in PAGES for example in SNIPPETS.parse(path).examples()
    )
    assert min(found["python"], found["sh"], found["console"]) > 0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a page that consists of (language, snippet) and of text between them."""

    def run(*parts: str | tuple[str, str]) -> None:
        page = tmp_path / "page.md"
        page.write_text(
            "\n\n".join(part if isinstance(part, str) else f"```{part[0]}\n{part[1]}\n```" for part in parts) + "\n"
        )
        document = SNIPPETS.parse(page)
        assert SNIPPETS.teardown is not None
        try:
            for example in document.examples():
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
        assert (await session.get_execution_status("success-01")).verification_status.value == "Running"
"""
FIXTURE = """\
import pytest

@pytest.fixture
def dispatcher():
    return "http://127.0.0.1:8080"
"""
SERVED = "success-01\n...\nA simulated dispatcher listens at http://127.0.0.1:8080; Ctrl-C ...\nTry: ...:8080 ..."

GOOD = {
    "an ID of the page, and what it prints": [("python", WAIT), ("text", "42")],
    "one namespace": [("python", "x = 1"), "and", ("python", "assert x == 1")],
    "a hidden snippet": ["<!-- invisible-code-block: python\nx = 1\n-->", ("python", "assert x == 1")],
    "a script": [("python", SCRIPT), ("text", "4")],
    "a script that is saved": ["Save this as `it.py`:", ("python", SCRIPT), ("console", "$ python it.py\n4")],
    "a script that fails as the page says": [
        "Save it as `it.py`:",
        ("python", "if __name__ == '__main__':\n    raise SystemExit('no')"),
        ("console", "$ python it.py\nno\n$ echo $?\n1"),
    ],
    "a module": ["Save this as `it.py`:", ("python", "x = 1"), ("python", "import it\n\nassert it.x == 1")],
    "tests": [("python", FIXTURE), ("python", TEST), ("text", ".  ...\n1 passed in ...")],
    "tests that are saved": ["Save it as `conftest.py`:", ("python", FIXTURE), "Save it as `test_it.py`:"]
    + [("python", TEST), ("console", "$ pytest\n...\n====... 1 passed in ... ====...")],
    "a terminal": [
        ("sh", "mkdir folder\ncd folder\nexport NAME=value"),
        ("console", "$ echo $NAME; basename $PWD\nvalue\nfolder\n$ cat <<end\n> one\n> end\none\n$ echo \\\n  two\ntwo"),
    ],
    "no output": [("console", "$ true\n$ true # said nothing")],
    "a server": [
        ("console", f"$ truebit-async simulate --port 8080\n{SERVED}"),
        ("console", "$ truebit-async status --base-url http://127.0.0.1:8080 missing-01\n... was not found..."),
    ],
    "a server of which nothing is shown": [("sh", "truebit-async simulate"), ("console", "$ python -m truebit_async simulate")],
    "an installation": [
        ("sh", "git clone https://example.org/it.git && cd it\npython -m venv .venv"),
        ("sh", ".venv/bin/pip install -U '.[cli,speed]' -e . pytest 'fastapi[standard]>=1' \\\n  'truebit-async[cli]' # so"),
        ("console", "$ pip install httpx\nSuccessfully ...\n$ .venv/bin/truebit-async --version\ntruebit-async ..."),
    ],
    "a file": ["Save this as `ids/a.json`:", ("json", "[1]"), ("console", "$ cat ids/a.json\n[1]")],
    "TOML": [("toml", "a = 1")],
    "text that no command precedes": [("console", "$ echo a\na"), "words", ("text", "anything")],
    "a skipped snippet": ['<!-- skip: next "it is wrong" -->', ("python", "1 / 0")],
}


@pytest.mark.parametrize("parts", GOOD.values(), ids=GOOD)
def test_good_pages_pass(run: Run, parts: list[str | tuple[str, str]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        run(*parts)
