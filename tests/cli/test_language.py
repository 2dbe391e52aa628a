"""Messages in the language of the command: each option that they name is one that the command has."""

from __future__ import annotations

import re

import click
import pytest

from tests.cli.command import Run
from truebit_async import errors
from truebit_async.cli.app import app
from truebit_async.cli.hints import _HINTS, hint_for, in_terms_of_the_command
from truebit_async.testing import Reply, Simulator

COMMANDS = {
    " ".join(path): command
    for name, entry in app.commands.items()
    for path, command in (
        [((name, each), inner) for each, inner in entry.commands.items()]
        if isinstance(entry, click.Group)
        else [((name,), entry)]
    )
}


@pytest.mark.parametrize("name", COMMANDS)
def test_no_hint_names_an_option_that_the_command_does_not_have(name: str) -> None:
    command = COMMANDS[name]
    options = {option for parameter in command.params for option in parameter.opts}
    with click.Context(command):
        for error_class in _HINTS:
            text = hint_for(error_class)
            assert set(re.findall(r"--[a-z-]+", text)) <= options
            assert not re.search(r"PollPolicy|api_key=|max_rate|session\b", text)
            assert text[:1].isupper() or text == ""
            assert not text or text.endswith(".")


def test_without_a_command_no_option_is_named() -> None:
    assert hint_for(errors.ServerError) == "Try later, since the server may recover."
    assert hint_for(errors.RedirectError) == ""
    assert hint_for(errors.IndeterminateError) == errors.IndeterminateError.hint


def test_an_error_within_an_error_is_translated_too() -> None:
    last = errors.ServerError("id", 500, "down")
    error = errors.VerificationTimeoutError("id", 60.0, None, last, 3, 60.0)
    with click.Context(COMMANDS["wait"]):
        text = in_terms_of_the_command(str(error))
    assert "Try later, since the server may recover, or raise --max-errors." in text
    assert text.endswith("Wait again with the same ID, or allow a longer --deadline.")
    assert "PollPolicy" not in text


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply.error(404, "unknown"), ["--kind api", "--not-found-grace 30s"]),
        (Reply.error(500, "down"), ["--max-errors"]),
        (Reply.error(429, "slow down"), ["Try later"]),
        (Reply.redirect("http://127.0.0.1:1/"), ["make it the --base-url"]),
    ],
    ids=["404", "500", "429", "redirect"],
)
def test_status_names_its_options(run: Run, server: Simulator, reply: Reply, words: list[str]) -> None:
    server.script("id", reply)
    ran = run("status", "id", "--deadline", "2s")
    assert (ran.code, ran.out) == (3, "")
    for word in words:
        assert word in ran.err
    assert not re.search(r"PollPolicy|api_key=|max_rate", ran.err)


def test_status_waits_for_an_execution_that_is_not_there_yet(run: Run, server: Simulator) -> None:
    server.script("late", Reply.error(404, "unknown"), Reply.error(404, "unknown"), Reply.running())
    assert run("status", "late").code == 3
    ran = run("status", "late", "--not-found-grace", "30s", "--format", "text")
    assert (ran.code, ran.out) == (1, "… late  running\n")
