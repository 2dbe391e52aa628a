"""Every example is run by a test module of its own, tests/examples/test_NAME.py for NAME.py or NAME.yaml."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1] / "examples"
FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = [path for path in FOLDER.iterdir() if path.suffix in {".py", ".yaml"}]


def test_every_example_is_run_by_a_test() -> None:
    names = {path.stem for path in EXAMPLES}
    assert len(names) == len(EXAMPLES) > 0
    assert {path.stem.removeprefix("test_") for path in TESTS.glob("test_*.py")} == names
    for name in names:  # the fixture `example` is the path of that file, and of no other
        assert "example: Path" in (TESTS / f"test_{name}.py").read_text(encoding="utf-8"), name


def test_the_list_of_examples_is_complete() -> None:
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES:
        assert f"[{path.name}]({path.name})" in listed
