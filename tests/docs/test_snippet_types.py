"""The Python snippets of the documentation are typed: mypy in strict mode and pyright accept all of them.

The snippets that a reader types into the console become one module per page. Scripts, tests and saved files become
modules of their own. Each line keeps its number, so an error in line 42 of a module is in line 42 of its page.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("[!_]*.md"), *(ROOT / "docs").glob("[!_]*/*.md")])
SNIPPET = re.compile(
    r"^```python\n(?P<shown>.*?)^```$|^<!-- invisible-code-block: python\n(?P<hidden>.*?)^-->$",
    re.DOTALL | re.MULTILINE,
)
NAME = re.compile(r"\b[Ss]ave\b[^`]*\bas\s+`([^`\s]+\.py)`")
STANDS_ALONE = re.compile(
    r"^(?:[^\s#].*\b)?asyncio\.(?:run|Runner)\(|^if __name__ == |^(?:async )?def test_|^@pytest\.fixture", re.MULTILINE
)


def modules_of(page: str, text: str) -> dict[str, str]:
    """Return the modules that the snippets of a page make, by file name.

    Args:
        page: the name of the module for the console.
        text: the Markdown.
    """
    console = ["async def console() -> None:", *[""] * text.count("\n")]  # `await` needs a function around it
    modules: dict[str, str] = {}
    end = 0
    for snippet in SNIPPET.finditer(text):
        source = snippet["shown"] or snippet["hidden"]
        names = NAME.findall(text[end : snippet.start()].rpartition("\n```\n")[2])
        first = text.count("\n", 0, snippet.start()) + 1
        if names or STANDS_ALONE.search(source):
            modules[names[-1] if names else f"{page}_line_{first + 1}.py"] = "\n" * first + source
        else:
            lines = source.splitlines()
            console[first : first + len(lines)] = [f"    {line}".rstrip() for line in lines]
        end = snippet.end()
    if any(console[1:]):
        modules[f"{page}.py"] = "\n".join(console).rstrip() + "\n"
    return modules


def check_with_mypy(folder: Path) -> None:
    run(folder, "mypy", "--strict", "--config-file=", ".")


def check_with_pyright(folder: Path) -> None:
    run(folder, "pyright", "--pythonpath", sys.executable, ".")


def run(folder: Path, *command: str) -> None:
    ran = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


checked = pytest.mark.parametrize("check", [check_with_mypy, check_with_pyright])


@pytest.mark.full
@pytest.mark.timeout(300)
@checked
def test_all_snippets_are_typed(tmp_path: Path, check: Callable[[Path], None]) -> None:
    for page in PAGES:
        name = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
        for file, source in modules_of(name, page.read_text(encoding="utf-8")).items():
            path = tmp_path / file
            assert not path.exists(), f"{page} saves {file}, and so does another page; give one of them another name"
            path.write_text(source, encoding="utf-8")
    assert (tmp_path / "README.py").exists()
    check(tmp_path)


@pytest.mark.full
@pytest.mark.timeout(300)
@checked
def test_a_wrong_type_is_found(tmp_path: Path, check: Callable[[Path], None]) -> None:
    for file, source in modules_of("page", "# Page\n\n```python\nx: int = 'one'\n```\n").items():
        (tmp_path / file).write_text(source, encoding="utf-8")
    with pytest.raises(AssertionError, match=r"page\.py:4:"):
        check(tmp_path)


PAGE = """\
# Page

```python
x = 1
```

Save this as `a.py`:

```python
y = 2
```

Save this as `b.txt`:

```text
z
```

```python
await f(x)
```

<!-- invisible-code-block: python
hidden = 3
-->

```python
asyncio.run(main())
```
"""


def test_modules_of_a_page() -> None:
    modules = modules_of("page", PAGE)
    code = {name: [line.strip() for line in source.splitlines() if line] for name, source in modules.items()}
    assert code == {
        "page.py": ["async def console() -> None:", "x = 1", "await f(x)", "hidden = 3"],
        "a.py": ["y = 2"],
        "page_line_28.py": ["asyncio.run(main())"],
    }


def test_each_line_keeps_its_number() -> None:
    lines = PAGE.splitlines()
    for source in modules_of("page", PAGE).values():
        for number, line in enumerate(source.splitlines()[1:], start=1):
            assert line.strip() in {"", lines[number]}
