"""Every snippet of README.md and docs/ is a test; tests/docs/snippets.py runs them."""

import signal

from tests.docs.snippets import SNIPPETS

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for a job of a shell in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_collect_file = SNIPPETS.pytest()
