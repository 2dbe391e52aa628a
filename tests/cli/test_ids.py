"""Reading IDs: from arguments, files and stdin, as text, JSON and CSV."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.cli.command import Ran, Run
from truebit_async.cli import ids as cli_ids
from truebit_async.cli.ids import IdParser
from truebit_async.cli.runner import UsageProblem
from truebit_async.testing import Simulator


def parsed(content: bytes, column: str | None = None) -> tuple[list[str], list[str]]:
    """Return the IDs in a source, and what is wrong with it."""
    problems: list[str] = []
    return list(IdParser("ids", problems.append, column).parse_all(content.split(b"\n"))), problems


def in_csv(text: str) -> tuple[list[str], list[str]]:
    return parsed(text.encode(), "id")


class Wait:
    """Runs `wait` with a source of IDs.

    Args:
        run: runs the command.
        file: the file to write the source to; None pipes it.
    """

    def __init__(self, run: Run, file: Path | None) -> None:
        self._run = run
        self._file = file
        self.name = "stdin" if file is None else str(file)

    def __call__(self, content: bytes, *arguments: str) -> Ran:
        if self._file is None:
            return self._run("wait", "--from", "-", *arguments, stdin=content)
        self._file.write_bytes(content)
        return self._run("wait", "--from", str(self._file), *arguments)


@pytest.fixture(params=["file", "stdin"])
def wait(request: pytest.FixtureRequest, run: Run, server: Simulator, tmp_path: Path) -> Wait:
    return Wait(run, tmp_path / "ids.txt" if request.param == "file" else None)


def add(server: Simulator, *execution_ids: str) -> None:
    for execution_id in execution_ids:
        server.add(execution_id)


# Encodings


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("column", [None, "id"])
def test_utf_16_is_refused_as_a_whole(server: Simulator, wait: Wait, encoding: str, column: str | None) -> None:
    content = "id\r\nsuccess-01\r\nsuccess-02\r\n".encode(encoding)
    ran = wait(content, *([] if column is None else ["--column", column]))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"truebit-async: {wait.name} is UTF-16; convert it: iconv -f UTF-16 -t UTF-8 FILE\n"
    assert not server.requests


@pytest.mark.parametrize("column", [None, "id"])
def test_utf_8_may_have_a_byte_order_mark(server: Simulator, wait: Wait, column: str | None) -> None:
    add(server, "a", "b")
    content = "\ufeffid\r\na\r\nb\r\n" if column else "\ufeffa\r\nb\r\n"
    ran = wait(content.encode(), *([f"--column={column}"] if column else []))
    assert (ran.code, set(ran.lines)) == (0, {"a", "b"})


def test_a_line_in_another_encoding_is_malformed(server: Simulator, wait: Wait) -> None:
    add(server, "a")
    ran = wait("ü\na\n".encode("latin-1"), "-q")
    assert (ran.code, set(ran.lines)) == (3, {"a"})
    assert f"{wait.name}:1: not UTF-8: invalid start byte at byte 1\n" in ran.err


# Plain and JSON


@pytest.mark.parametrize(
    "line", ["a b", "a,b", "a;b", '"a"', "'a'", "a\tb", "id-1, id-2", '"executionId": "a",', "a\x1bb", "..", "x" * 513]
)
def test_what_is_no_plain_id(line: str) -> None:
    found, problems = parsed(f"first\n{line}\nlast".encode())
    assert found == ["first", "last"]
    assert len(problems) == 1
    assert problems[0].startswith("ids:2: ")


@pytest.mark.parametrize(
    "line", ["", "   ", "# a comment", "\t# a comment, with \"quotes'", "\r", '{"executionId": "", "tag": 1}']
)
def test_what_is_skipped(line: str) -> None:
    assert parsed(f"first\n{line}\nlast".encode()) == (["first", "last"], [])


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('["a", "b"]', "a JSON array; write one ID per line: jq -r '.[]' FILE"),
        ("[", "a JSON array; write one ID per line: jq -r '.[]' FILE"),
        ("{", "not a JSON object with an executionId"),
        ("{}", "not a JSON object with an executionId"),
        ('{"execution_id": "a"}', "not a JSON object with an executionId"),
        ('{"executionId": "a"', "not a JSON object with an executionId"),
        ('{"a": ' * 100_000, "not a JSON object with an executionId"),
        ('{"executionId": ""}', "it is empty"),
        ('{"executionId": 7}', "it is not a str but int"),
        ('{"executionId": null}', "it is not a str but NoneType"),
        ('{"executionId": "a\\nb"}', "it has control characters"),
    ],
)
def test_json_without_an_id(line: str, problem: str) -> None:
    found, problems = parsed(f"first\n{line}\nlast".encode())
    assert found == ["first", "last"]
    assert [problem in text and text.startswith("ids:2: ") for text in problems] == [True]


def test_json_of_run_and_wait_is_read(run: Run, server: Simulator, wait: Wait) -> None:
    add(server, "a", "b")
    results = run("wait", "a", "b").out
    ran = wait(results.encode() + b'  {"executionId": "a", "more": [1, 2]}\r\n', "--json")
    *lines, last = map(json.loads, ran.out.splitlines())
    assert (ran.code, sorted(line["executionId"] for line in lines)) == (0, ["a", "b"])
    assert last["summary"]["total"] == 2


def test_indented_json_waits_for_nothing_of_its_own(server: Simulator, wait: Wait) -> None:
    add(server, "a")
    ran = wait(b'{\n  "executionId": "a"\n}\n', "-q")
    assert ran.code == 3
    assert f"{wait.name}:1: not a JSON object with an executionId\n" in ran.err
    assert f"{wait.name}:2: a space, comma, quote or bracket is no part of a plain ID; write one ID per line" in ran.err
    assert "a" not in ran.lines


# CSV


@pytest.mark.parametrize(
    "text",
    [
        "id\na\nb\n",
        "id\r\na\r\nb\r\n",
        "name,id\nx,a\ny,b",
        'id,name\na,"Smith, Jane"\nb,"say ""hi"""\n',
        '"name","id"\n"two\nlines","a"\n"three\r\n\nlines","b"\n',
        'name,id\n"""",a\n"","b"\n',
        'name,id\n",\n,",a\n"x\n""\n",b\n',
        'name,id\n5" pipe,a\n6" pipe,b\n',  # quotes within a cell are its text
        'name,id\n"x"y"z,a\nw,b\n',
        'id,name\na, "not, quoted\nb,\n',  # nor is a cell that begins with a space
        "id,name\na,\nb\n",
        "name, id \nx, a \ny, b\n",
        "id,id\na,x\nb,y\n",
        "\n\nid\n\n  \na\n\nb\n\n",
        '"a ""strange""\nheader",id\nx,a\ny,b',
    ],
)  # fmt: skip
def test_a_column_of_csv(text: str) -> None:
    assert in_csv(text) == (["a", "b"], [])


def test_a_column_with_a_strange_name() -> None:
    assert parsed(b'"the ""id"",\nof it",x\na,y\n', 'the "id",\nof it') == (["a"], [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("id,x\nfirst\n,x\nlast", "ids:3: the row has nothing in column 'id'"),
        ("x,id\ny,first\nx\ny,last", "ids:3: the row has nothing in column 'id'"),
        ('id,x\nfirst\n"  ","two\nlines"\nlast', "ids:3: the row has nothing in column 'id'"),
        ("id\nfirst\n..\nlast", "ids:3: '..' is not an execution ID"),
        ('id\nfirst\n"a\nb"\nlast', "ids:3: 'a\\nb' is not an execution ID"),
        ("id\nfirst\na\rb\nlast", "ids:3: not CSV: "),
        (f"x,id\ny,first\n{'x' * 200_000},a\ny,last", "ids:3: not CSV: field larger than field limit"),
    ],
)
def test_a_malformed_row(text: str, problem: str) -> None:
    found, problems = in_csv(text)
    assert found == ["first", "last"]
    assert [text.startswith(problem) for text in problems] == [True]


def test_a_row_that_is_not_utf_8() -> None:
    content = 'id,x\nfirst\nb,"ü\nü"\nlast'.encode("latin-1")
    assert parsed(content, "id") == (["first", "last"], ["ids:3: not UTF-8: invalid start byte at byte 4"])


def test_a_quote_that_is_never_closed_is_reported(server: Simulator, wait: Wait) -> None:
    """All IDs after it are in its cell. Without a message, they would be lost."""
    add(server, "a", "b")
    ran = wait(b'id,name\na,x\nb,"y\nc,z\nd,z\n', "--column=id", "--json")
    *results, summary = map(json.loads, ran.out.splitlines())
    assert (ran.code, [line["executionId"] for line in results]) == (3, ["a"])
    assert summary["summary"]["malformed"] == 1
    assert ran.err.startswith(f"{wait.name}:3: the row has a quote that is never closed; nothing after it was read\n")


def test_a_row_that_is_too_long_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_ids, "MAX_LINE", 2**20)
    text = 'id,x\na,"' + "\n".join(f"id-{number}," for number in range(200_000)) + "\nlast"
    started = time.monotonic()
    found, problems = in_csv(text)
    assert time.monotonic() - started < 10  # it would take minutes if each line were added to a copy
    assert problems == ["ids:2: the row is longer than 1 MiB"]
    assert found[-2:] == ["id-199999", "last"]


def test_many_rows_with_line_breaks_are_not_one_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_ids, "MAX_LINE", 50)
    assert in_csv("id,x\n" + 'a,"two\nlines"\n' * 10) == (["a"] * 10, [])


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("customer,execution", "ids has no column 'id', but 'customer', 'execution'"),
        ("ID", "ids has no column 'id', but 'ID'; commas must separate the columns"),
        ("customer;id", "ids has no column 'id', but 'customer;id'; commas must separate the columns"),
        ("customer\tid", "ids has no column 'id', but 'customer\\tid'; commas must separate the columns"),
    ],
)
def test_a_missing_column_ends_the_command(header: str, problem: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        in_csv(f"{header}\nx,a\n")
    assert str(caught.value) == problem


def test_a_missing_column_is_a_usage_error(server: Simulator, wait: Wait) -> None:
    ran = wait(b"a,b\n1,2\n", "--column", "id\x1b")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == rf"truebit-async: {wait.name} has no column 'id\x1b', but 'a', 'b'" + "\n"
    assert not server.requests


@pytest.mark.parametrize("content", [b"", b"id,name\n", b"\n\n"])
def test_csv_without_rows(wait: Wait, content: bytes) -> None:
    ran = wait(content, "--column=id")
    assert (ran.code, ran.err) == (2, f"truebit-async: {wait.name} contains no execution ID\n")


def test_a_column_needs_a_source(run: Run) -> None:
    ran = run("wait", "id", "--column", "id")
    assert (ran.code, "--column needs --from" in ran.err) == (2, True)


def test_csv_is_waited_for(server: Simulator, wait: Wait) -> None:
    add(server, "a", "b")
    ran = wait(b'name,id\r\n"Smith, Jane",a\r\n"two\r\nlines",b\r\n', "--column=id")
    assert (ran.code, set(ran.lines)) == (0, {"a", "b"})


def test_each_file_has_its_own_header(run: Run, server: Simulator, tmp_path: Path) -> None:
    add(server, "a", "b")
    (tmp_path / "one").write_text("id,x\na,1\n")
    (tmp_path / "two").write_text("x,id\n1,b\n")
    ran = run("wait", "--from", str(tmp_path / "one"), "--from", str(tmp_path / "two"), "--column=id")
    assert (ran.code, set(ran.lines)) == (0, {"a", "b"})


plain_ids = st.text("abc-123", min_size=1, max_size=5)
cells = st.text("ab\",;\n\r' \t", max_size=8)


@given(st.lists(st.tuples(cells, plain_ids, cells), max_size=6))
@example([('"', "a", "\n"), ("\r\n", "b", '""')])
def test_whatever_is_written_as_csv_is_read(rows: list[tuple[str, str, str]]) -> None:
    file = io.StringIO()
    csv.writer(file).writerows([("x", "id", "y"), *rows])
    assert in_csv(file.getvalue()) == ([row[1] for row in rows], [])


@given(st.text('ab",\n', max_size=20))
@example('"')
@example('a"\n"a')
@example('"a""\n",b')
@example('"a"b"\n')
def test_rows_are_those_of_the_module_csv(text: str) -> None:
    *rows, last = csv.reader(io.StringIO(f"{text}\nlast", newline="\n"))
    is_closed = last == ["last"]
    expected = [row[0].strip() for row in rows if row]
    found, problems = in_csv(f"id,x\n{text}")
    assert found == [cell for cell in expected if cell and "\n" not in cell]
    assert len(problems) == len(expected) - len(found) + (not is_closed)
    assert any("never closed" in problem for problem in problems) is not is_closed


# Streams


async def test_rows_are_yielded_as_they_end() -> None:
    """With one that never ends, what came before it is there all the same."""
    lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def arriving() -> AsyncIterator[bytes]:
        while (line := await lines.get()) is not None:
            yield line

    problems: list[str] = []
    stream = IdParser("stdin", problems.append, "id").stream(["known"], arriving())
    assert await anext(stream) == "known"
    for line in (b"x,id", b'"two', b'lines",a'):
        lines.put_nowait(line)
    async with asyncio.timeout(5):
        assert await anext(stream) == "a"
        for end in (b'"open,b', b"y,c", None):
            lines.put_nowait(end)
        assert [execution_id async for execution_id in stream] == []
    assert problems == ["stdin:4: the row has a quote that is never closed; nothing after it was read"]
