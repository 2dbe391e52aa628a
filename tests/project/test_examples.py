"""Every example is run by a test module of its own, tests/examples/test_NAME.py for examples/NAME.py."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1] / "examples"
EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_run_by_a_test() -> None:
    examples = {path.name for path in EXAMPLES.glob("*.py")}
    assert examples
    assert {path.name.removeprefix("test_") for path in TESTS.glob("test_*.py")} == examples
    for name in examples:  # the fixture `example` is the path of that file, and of no other
        assert "example: Path" in (TESTS / f"test_{name}").read_text(encoding="utf-8"), name


def test_the_list_of_examples_is_complete() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f"[{path.name}]({path.name})" in listed
