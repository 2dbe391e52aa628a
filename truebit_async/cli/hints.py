"""Errors in the language of the command: they name options, and not arguments of Python functions."""

from __future__ import annotations

import re

import click

from truebit_async import errors
from truebit_async.errors import TruebitError

_find_options = re.compile(r"--[a-z-]+").findall

# A prefix and alternatives. An alternative is shown only if the current command has every option that it mentions.
_HINTS: dict[type[TruebitError], tuple[str, tuple[str, ...]]] = {
    errors.AuthenticationError: ("Check the API key: ", ("set TRUEBIT_API_KEY", "give --api-key-file")),
    errors.MissingApiKeyError: ("", ("Set TRUEBIT_API_KEY", "give --api-key-file")),
    errors.ExecutionNotFoundError: (
        "",
        (
            "Check the ID, or the name of the task, and the base URL",
            "for an API task give --kind api",
            "for a task submitted just now give --not-found-grace 30s",
        ),
    ),
    errors.BadRequestError: ("", ("Check the ID, or the name, kind and fields of the task, and the base URL",)),
    errors.RateLimitedError: ("", ("Try later", "lower --max-rate or --max-concurrency", "give a longer --interval")),
    errors.ServerError: ("", ("Try later, since the server may recover", "raise --max-errors")),
    errors.TransportError: ("", ("Check the --base-url and the network",)),
    errors.RequestTimeoutError: ("", ("Check the network and the load of this machine", "raise --request-timeout")),
    errors.UnknownStatusError: ("", ("A newer API may know it: update truebit_async",)),
    errors.ResponseTooLargeError: ("", ("To get it, use a TruebitSession with a larger max_response_bytes",)),
    errors.RedirectError: ("", ("If the new address is to be trusted, make it the --base-url",)),
    errors.VerificationTimeoutError: ("", ("Wait again with the same ID", "allow a longer --deadline")),
    errors.StillRunningError: ("", ("To wait for its final state, use `truebit-async wait`",)),
    errors.InvalidExecutionIdError: ("", ("Give the execution ID that `run`, or the API's execute call, returned",)),
}

# What other messages say, and what they say of the command.
_PHRASES = {
    " ssl:default": "",  # aiohttp says so of http, too
    "resume it, or name another file": "give --resume, or name another file",
    "use an https:// base_url": "use a --base-url with https://",
    " Delete it to learn anew.": "",  # of a broken file of learned waits, which the command sets aside
    "api_key must be": "TRUEBIT_API_KEY must be",  # the key in a file was checked before
}


def in_terms_of_the_command(text: str) -> str:
    """Return a message with the options of the command at hand in place of arguments of Python functions.

    Args:
        text: the text of an error. It may quote other errors.
    """
    for error_class in _HINTS:
        if error_class.hint in text:
            text = text.replace(error_class.hint, hint_for(error_class))
    for phrase, replacement in _PHRASES.items():
        text = text.replace(phrase, replacement)
    return text


def hint_for(error_class: type[TruebitError]) -> str:
    """Return what to do about an error, in one sentence. It may be empty.

    Args:
        error_class: the class of the error.
    """
    if error_class not in _HINTS:
        return error_class.hint
    beginning, ways = _HINTS[error_class]
    context = click.get_current_context(silent=True)
    parameters = [] if context is None else context.command.params
    options = {option for parameter in parameters for option in parameter.opts}
    usable = [way for way in ways if options.issuperset(_find_options(way))]
    return f"{beginning}{', or '.join(usable)}." if usable else ""
