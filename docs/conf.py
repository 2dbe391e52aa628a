"""Sphinx configuration."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from sphinx.application import Sphinx

from truebit_async import __version__
from truebit_async.cli.app import PROGRAM
from truebit_async.cli.app import app as command_group

sys.path.insert(0, str(Path(__file__).with_name("_extensions")))

project = "truebit_async"
author = "The truebit_async authors"
project_copyright = "2026, the truebit_async authors"
release = version = __version__

extensions = [
    "myst_parser",
    "public_names",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_generated", "*-table.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 2
smartquotes_action = "qe"  # two hyphens begin an option, and are no dash
html_theme = "furo"
pygments_dark_style = "github-dark"  # the default one underlines modules as if they were links
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"truebit_async {__version__}"

autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
copybutton_prompt_is_regexp = True
copybutton_prompt_text = r"\$ |>>> "
copybutton_line_continuation_character = "\\"
copybutton_selector = "div:not(.highlight-text):not(.highlight-json) > div.highlight > pre"  # those are output
napoleon_attr_annotations = True
napoleon_google_docstring = True
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
default_role = "any"
nitpicky = True
nitpick_ignore_regex = [  # a build needs no network, so it cannot look up the names of other packages
    ("any|py:.*", r"(aiohttp|opentelemetry|tenacity)\..*"),
    ("any|py:.*", r"(asyncio|collections|contextlib|contextvars|datetime|enum|logging|os|time)(\..*)?|RuntimeError"),
]


def write_command_reference(app: Sphinx) -> None:
    """Write the help of every command to a page."""
    target = Path(app.srcdir, "_generated", "command.md")
    target.parent.mkdir(exist_ok=True)
    target.write_text("# Reference\n\n" + "\n".join(help_of(PROGRAM, command_group)), encoding="utf-8")


def help_of(path: str, entry: click.Command) -> Iterator[str]:
    """Yield a section with the help of a command, and one for each of its commands."""
    context = click.Context(entry, info_name=path, terminal_width=88, **command_group.context_settings)
    yield f"## `{path}`\n\n```text\n{entry.get_help(context)}\n```\n"
    if isinstance(entry, click.Group):
        for name, command in entry.commands.items():
            yield from help_of(f"{path} {name}", command)


def setup(app: Sphinx) -> None:
    """Connect the event handlers. Sphinx calls this."""
    app.connect("builder-inited", write_command_reference)
