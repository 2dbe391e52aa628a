"""What the command says of an exception that nobody expected: all that a report needs, and nothing secret."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import traceback

from truebit_async._version import __version__
from truebit_async.cli.api_key import ENVIRONMENT_VARIABLE


def report_bug(bug: Exception) -> None:
    """Print an exception, its traceback and the versions to stderr, with the API key struck out.

    Args:
        bug: the exception.
    """
    versions = [
        f"truebit_async {__version__}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"aiohttp {importlib.metadata.version('aiohttp')}",
        platform.platform(),
    ]
    report = [
        "truebit-async: this is a bug of truebit-async, and no fault of yours: ",
        *traceback.format_exception_only(bug),
        "\n",
        *traceback.format_exception(bug),
        "\n",
        ", ".join(versions),
        "\n\nPlease report this with the text above.",
    ]
    print(_without_api_key("".join(report)), file=sys.stderr)


def _without_api_key(text: str) -> str:
    key = os.environ.get(ENVIRONMENT_VARIABLE)
    if key:
        for spelling in (key, repr(key)[1:-1]):  # an exception may quote what it tells of
            text = text.replace(spelling, "***")
    return text
