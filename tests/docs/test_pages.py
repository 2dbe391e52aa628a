"""What holds of all pages: code fits its column, commands work before there is a release, and links lead somewhere."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.snippets import PAGES, ROOT
from truebit_async import errors

DOCS = ROOT / "docs"
COLUMNS = 88  # that fit the column of the documentation
FENCE = re.compile(r" *(```+)(.*)")
FROM_AN_INDEX = re.compile(r"pip install(?: [^\n`&|]*)? ['\"]?truebit[-_]async\b")


def checked_pages() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        yield name, page.read_text(encoding="utf-8")


def long_lines(text: str) -> list[str]:
    """Return the lines of code that are too long. A line of JSON cannot be divided, so it does not count."""
    open_blocks: list[tuple[str, str]] = []
    found = []
    for line in text.splitlines():
        if fence := FENCE.fullmatch(line):
            if open_blocks and open_blocks[-1][0] == fence[1] and not fence[2]:
                open_blocks.pop()
            else:
                open_blocks.append((fence[1], fence[2]))
        elif open_blocks and not open_blocks[-1][1].startswith("{") and not line.startswith('{"'):
            found += [line] if len(line) > COLUMNS else []
    assert open_blocks == []
    return found


def test_code_fits_its_column() -> None:
    assert {name: found for name, text in checked_pages() if (found := long_lines(text))} == {}


def test_a_long_line_is_found() -> None:
    prose, code, indented = "y" * 89, "x" * 89, "    " + "z" * 85
    lines = [prose, "````{container}", "```{image} a", "```", "````", prose, "```python", code, "short", "```", prose]
    lines += ["- item", "", "  ```console", '{"json": "' + code, indented, "  ```", prose]
    assert long_lines("\n".join(lines)) == [code, indented]


def test_nothing_is_installed_from_an_index_before_there_is_a_release() -> None:
    assert {name: found for name, text in checked_pages() if (found := FROM_AN_INDEX.findall(text))} == {}


@pytest.mark.parametrize(
    ("command", "is_found"),
    [
        ("pip install truebit_async", True),
        ("pip install truebit-async==1.0", True),
        ("pip install fastapi 'truebit_async[cli]'", True),
        ("pip install --upgrade truebit_async", True),
        ("pip install -e '.[cli]'", False),
        ("pip install '/path/to/truebit_async[cli]'", False),
        ("pip install -e . && truebit-async demo", False),
        ("`pip install -e .`, then truebit-async", False),
    ],
)
def test_an_installation_from_an_index_is_found(command: str, *, is_found: bool) -> None:
    assert bool(FROM_AN_INDEX.search(command)) is is_found


def test_the_first_page_links_every_page() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    cards, _, navigation = text.partition("\n## Where to go")[2].partition("```{toctree}")
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES if DOCS in page.parents} - {"index.md"}
    pages = {page for page in pages if not page.startswith("reference/") and not page.endswith("-table.md")}
    assert pages - set(re.findall(r"\]\((.*?\.md)\)", cards)) == set()
    assert pages - {f"{line}.md" for line in navigation.splitlines()} == set()


def test_the_figures_of_pages_are_those_that_were_measured() -> None:
    rows = json.loads((DOCS / "benchmarks.json").read_text(encoding="utf-8"))["rows"]
    measured = {row["what"]: row["value"] for row in rows}
    poll = measured["CPU per poll, batch of 20,000: wait_for_verifications"]
    poll_of_others = measured["CPU per poll, batch of 20,000: gather + tenacity"]
    pending = measured["memory per pending ID at 100,000"]
    pending_of_others = measured["the same, gather + tenacity at 20,000"]
    missed = [row for row in rows if not row["is_met"]]
    expected = {
        "index.md": [
            f"| {poll_of_others:.0f} µs | {poll:.0f} µs, which is {100 * poll / poll_of_others:.0f} % |",
            f"| {pending_of_others:,.0f} bytes (of 20,000 IDs) | {pending:.0f} bytes (of 100,000 IDs), which is ",
            f", which is {100 * pending / pending_of_others:.0f} % |",
        ],
        "benchmarks.md": [
            f"a poll costs {measured['batch poll / plain aiohttp GET, before and after it']:.2f} times as much CPU",
            f"{measured['batch poll / gather + tenacity poll']:.3f} times as much as with gather and tenacity",
            f"takes {pending:.0f} bytes; with gather and tenacity it takes {pending_of_others:,.0f}",
            f"Of {sum(bool(row['target']) for row in rows)} targets, {len(missed)} are missed",
            *(f"{row['value']:.{2 if row['unit'] == 'x' else 0}f}" for row in missed),
        ],
    }
    for page, sentences in expected.items():
        text = " ".join((DOCS / page).read_text(encoding="utf-8").split())
        assert [sentence for sentence in sentences if sentence not in text] == []


def test_the_pictures_of_the_command_are_alike_and_load_nothing() -> None:
    light, dark = (
        (DOCS / "pictures" / f"command-{name}.svg").read_text(encoding="utf-8") for name in ("light", "dark")
    )
    assert text_of(light) == text_of(dark)
    assert "truebit-async wait" in text_of(light)
    for picture in (light, dark):
        assert re.findall(r"url\((?!#).*?\)|@import|href", picture) == []


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"(?s)<style>.*?</style>|<[^>]*>", "", markup)).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.full
@pytest.mark.timeout(120)
def test_the_pictures_of_the_command_can_be_drawn_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DOCS / "pictures" / "command.py", tmp_path], check=True)
    for name in ("command-light.svg", "command-dark.svg"):
        assert "succeeded" in text_of((tmp_path / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built; a reference that leads nowhere ends the build."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "-d", str(folder / "trees")]
    subprocess.run([sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")], check=True)
    return folder / "html"


@pytest.mark.full
@pytest.mark.timeout(120)
def test_the_reference_shows_what_users_import(site: Path) -> None:
    for page in (site / "reference").glob("*.html"):
        text = text_of(page.read_text(encoding="utf-8"))
        internals = r"EllipsisType|Ellipsis\b|NOTHING|_co\b|\b_[a-z]\w+\("
        internals += r"|truebit_async\.(?:tasks(?!\.SubmissionTimes)|models|errors|_)\w*"
        assert re.findall(internals, text) == [], page.name
    assert "truebit_async.TruebitSession(" in text_of((site / "reference" / "session.html").read_text(encoding="utf-8"))
    assert "deadline: float | None = ..." in text_of((site / "reference" / "tasks.html").read_text(encoding="utf-8"))


@pytest.mark.full
@pytest.mark.timeout(120)
def test_names_of_errors_are_links(site: Path) -> None:
    page = (site / "how-to" / "errors.html").read_text(encoding="utf-8")
    for name in errors.__all__:
        assert f'href="../reference/errors.html#truebit_async.{name}"' in page
    for page_with_errors in ("survives", "explanation/statuses", "how-to/submit", "tutorial"):
        text = (site / f"{page_with_errors}.html").read_text(encoding="utf-8")
        article = text.partition("<article")[2].partition("</article>")[0]
        unlinked = re.sub(r"(?s)<a [^>]*>.*?</a>|<pre>.*?</pre>", "", article)
        assert [name for name in re.findall(r"\w+Error\b", text_of(unlinked)) if name in errors.__all__] == []
