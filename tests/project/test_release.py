"""The version and CHANGELOG.md tell the same story."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.version import Version

from truebit_async import __version__

CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"


def problem(changelog: str, version: str) -> str | None:
    """Return what does not fit, or None.

    While there are unreleased changes, the version is one that has not been released yet; otherwise it is the last one.
    """
    sections = re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]
    bodies = {section.partition("\n")[0]: section.partition("\n")[2].strip() for section in sections}
    released = []
    for heading in bodies.keys() - {"[Unreleased]"}:
        if not (match := re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}", heading)):
            return f"{heading!r} should be like [1.2.3] - 2026-01-31"
        released.append(Version(match[1]))
    newest = max(released, default=Version("0"))
    if bodies.get("[Unreleased]"):
        return None if Version(version) > newest else f"version {version} is released; what is unreleased needs another"
    return None if Version(version) == newest else f"version {version} has no section"


def test_they_fit() -> None:
    assert problem(CHANGELOG.read_text(encoding="utf-8"), __version__) is None


@pytest.mark.parametrize(
    ("changelog", "version", "fits"),
    [
        ("## [Unreleased]\n- x\n", "0.1.0", True),
        ("## [0.1.0] - 2026-12-01\n- x\n", "0.1.0", True),
        ("## [Unreleased]\n\n## [0.1.0] - 2026-12-01\n- x\n", "0.1.0", True),
        ("## [Unreleased]\n- y\n\n## [0.1.0] - 2026-12-01\n- x\n", "0.2.0", True),
        ("## [Unreleased]\n- y\n\n## [0.1.0] - 2026-12-01\n- x\n", "0.1.0", False),
        ("## [0.1.0] - 2026-12-01\n- x\n", "0.2.0", False),
        ("## [0.10.0] - 2026-12-09\n- x\n\n## [0.9.0] - 2026-12-01\n- x\n", "0.9.0", False),
        ("## 0.1.0\n- x\n", "0.1.0", False),
    ],
)
def test_what_does_not_fit_is_noticed(changelog: str, version: str, fits: bool) -> None:
    assert (problem(changelog, version) is None) is fits
