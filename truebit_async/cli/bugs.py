"""What the command says of an exception that nobody expected: all that a report needs, and nothing secret."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import traceback

from truebit_async._version import __version__
from truebit_async.cli.api_key import known_api_keys
from truebit_async.cli.output import say


def report_bug(bug: Exception) -> None:
    """Print an exception, its traceback and the versions to stderr, with the API key struck out.

    Args:
        bug: the exception.
    """
    versions = [
        f"truebit_async {__version__}",
        f"{platform.python_implementation()} {platform.python_version()}",
        f"aiohttp {importlib.metadata.version('aiohttp')}",
        f"{platform.system()} {platform.release()} {platform.machine()}",
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
    say(_without_api_keys("".join(report)))


def _without_api_keys(text: str) -> str:
    for key in known_api_keys():
        # An exception may quote what it tells of, and what that quoted before; each time, backslashes come in.
        text = re.sub("".join(rf"\\*{re.escape(char)}" for char in key), "***", text)
    return text
