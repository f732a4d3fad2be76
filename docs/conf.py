"""Sphinx: the pages of this folder and the reference made from docstrings. `make docs` builds build/docs."""

from __future__ import annotations

import re
from typing import Any

from hf_speech import __version__

project = "hf_speech"
author = copyright = "The hf_speech developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"hf_speech {__version__}"
exclude_patterns = ["results", "images"]
myst_heading_anchors = 3

default_role = "code"  # Docstrings write code in single backticks, as Markdown does.
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
nitpicky = False

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)]+)\)")


def name_files_outside(app: Any, docname: str, source: list[str]) -> None:
    """Turns links to files outside of this folder, which the site does not have, into their paths."""
    source[0] = OUTSIDE.sub(r"`\2`", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", name_files_outside)
