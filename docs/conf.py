"""Sphinx configuration."""

from truebit_async import __version__

project = "truebit_async"
author = "The truebit_async authors"
project_copyright = "2026, the truebit_async authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "*-table.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 2
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pictures.css"]
html_title = f"truebit_async {__version__}"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "separated"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 110
napoleon_google_docstring = True
napoleon_use_ivar = True
default_role = "any"
nitpicky = False
suppress_warnings = ["ref.any"]  # the default role also marks names of other packages
