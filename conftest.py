"""Every snippet of README.md and docs/ is a test; tests/docs/snippets.py runs them."""

from tests.docs.snippets import SNIPPETS

pytest_collect_file = SNIPPETS.pytest()
