"""Sphinx configuration."""

import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

from truebit_async import __version__

project = "truebit_async"
author = "The truebit_async authors"
project_copyright = "2026, the truebit_async authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated", "*-table.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 2
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_title = f"truebit_async {__version__}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 110
napoleon_google_docstring = True
napoleon_use_ivar = True
default_role = "any"
nitpicky = False
suppress_warnings = ["ref.any"]  # the default role also marks names of other packages


def write_command_reference(app: Sphinx) -> None:
    """Generate the reference of the commands and options with Typer."""
    target = Path(app.srcdir, "_generated", "command.md")
    target.parent.mkdir(exist_ok=True)
    module = "truebit_async.cli.app"
    command = [
        sys.executable,
        "-m",
        "typer",
        module,
        "utils",
        "docs",
        "--name",
        "truebit-async",
        "--title",
        "Reference",
    ]
    target.write_bytes(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603


def setup(app: Sphinx) -> None:
    """Connect the event handlers. Sphinx calls this."""
    app.connect("builder-inited", write_command_reference)
