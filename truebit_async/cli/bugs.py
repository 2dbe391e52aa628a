"""Report an unexpected exception with everything a bug report needs, but without the API key."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import traceback

from truebit_async import __version__
from truebit_async.cli.api_key import known_api_keys
from truebit_async.cli.output import print_to_stderr


def report_bug(bug: Exception) -> None:
    """Print an exception, its traceback and the versions in use to stderr. API keys are replaced by ``***``.

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
        "truebit-async: this is a bug in truebit-async: ",
        *traceback.format_exception_only(bug),
        "\n",
        *traceback.format_exception(bug),
        "\n",
        ", ".join(versions),
        "\n\nPlease report this bug, and include the text above.",
    ]
    for line in _without_api_keys("".join(report)).split("\n"):
        print_to_stderr(line)


def _without_api_keys(text: str) -> str:
    for key in known_api_keys():
        # Each `repr` of a text that contains the key adds backslashes before some of its characters.
        text = re.sub("".join(rf"\\*{re.escape(char)}" for char in key), "***", text)
    return text
