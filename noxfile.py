"""The checks of this project. `nox -l` lists them; `nox -s tests` runs the tests on every Python that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]

nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"


def select_pyenv_versions() -> None:
    """Make pyenv's commands `python3.x` run: each of them fails unless a version that has it is selected."""
    if shutil.which("pyenv"):
        listed = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False)
        selected = [version for version in listed.stdout.split() if version.rpartition(".")[0] in PYTHONS]
        os.environ["PYENV_VERSION"] = ":".join(selected) or "system"


def is_installed(version: str) -> bool:
    """Try it: a command of that name may be there and fail."""
    try:
        return subprocess.run([f"python{version}", "--version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


select_pyenv_versions()
INSTALLED = [version for version in PYTHONS if is_installed(version)]


@nox.session(python=INSTALLED)
def tests(session: nox.Session) -> None:
    """Run the tests that run by default; arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=INSTALLED)
def full(session: nox.Session) -> None:
    """Run all tests, and measure their coverage; arguments go to pytest."""
    session.install("-e", ".[dev]")  # a test runs mypy and pyright over the snippets
    session.run(
        "python", "-m", "pytest", "-m", "full or not full", "--hypothesis-profile=full", "--cov", *session.posargs
    )


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, and run its snippets; arguments go to pytest, in place of all pages."""
    session.install("-e", ".[docs,test]")
    session.run("sphinx-build", "--quiet", "--fail-on-warning", "--keep-going", "docs", "docs/_build")
    session.run("python", "-m", "pytest", *(session.posargs or ["docs", "README.md"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff", "pre-commit")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("pre-commit", "validate-config")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all code, and that the public API is typed to 100 %."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "truebit_async", "--ignoreexternal")
