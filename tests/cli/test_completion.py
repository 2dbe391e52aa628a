"""`completion`: the scripts of shells. `test_terminal` runs that of bash."""

from __future__ import annotations

import pytest

from tests.cli.command import Run


@pytest.mark.parametrize(
    ("shell", "registration"),
    [
        ("bash", "complete -o nosort -F _truebit_async_completion truebit-async"),
        ("zsh", "compdef _truebit_async_completion truebit-async"),
        ("fish", "complete --no-files --command truebit-async --arguments"),
    ],
)
def test_a_script_registers_the_command(run: Run, shell: str, registration: str) -> None:
    ran = run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert registration in ran.out
    assert f"_TRUEBIT_ASYNC_COMPLETE={shell}_complete" in ran.out
    assert ran.out.endswith("\n")
    assert not ran.out.endswith("\n\n")


@pytest.mark.parametrize("arguments", [[], ["tcsh"], ["BASH "]])
def test_other_shells(run: Run, arguments: list[str]) -> None:
    ran = run("completion", *arguments)
    assert (ran.code, ran.out) == (2, "")
    for shell in ("bash", "zsh", "fish"):
        assert shell in ran.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_script_asks_for(run: Run, monkeypatch: pytest.MonkeyPatch, shell: str) -> None:
    monkeypatch.setenv("_TRUEBIT_ASYNC_COMPLETE", f"{shell}_complete")
    monkeypatch.setenv("COMP_WORDS", "truebit-async wait --max-" if shell != "fish" else "truebit-async wait")
    monkeypatch.setenv("COMP_CWORD", "2" if shell != "fish" else "--max-")
    found = run().out
    for option in ("--max-errors", "--max-rate", "--max-concurrency"):
        assert option in found
    assert "--deadline" not in found
