"""Every snippet of README.md and docs/ is a test; tests/snippets.py runs them."""

from snippets import SNIPPETS

pytest_collect_file = SNIPPETS.pytest()
