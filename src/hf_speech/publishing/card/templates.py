"""Renders the templates of `model_cards/` and escapes the values that they insert.

Every inserted value is escaped unless it is Markdown already. It is also marked with invisible characters, so that the
review can tell the template's own words from the names of classes, speakers and corpora, which may look like metrics.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from hf_speech.common.files import bundled_folder
from hf_speech.common.text import escape_markdown, printable
from hf_speech.errors import PublishError
from hf_speech.publishing.card.commands import repeatable
from hf_speech.publishing.card.context import FILTERS
from hf_speech.publishing.card.sections import foreign_sections, hand_written, section

# Marks around each inserted value. These code points are noncharacters, so no text contains them.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_VALUE = re.compile(f"{_OPEN}[^{_CLOSE}]*{_CLOSE}")


def templates_dir() -> Path:
    """Returns the folder of the card templates."""
    return bundled_folder("model_cards")


def find_template(kind: str, name: object) -> str:
    """Returns the template of a corpus or an architecture in the folder `kind`, or that of all others."""
    found = f"{kind}/{name}.md.jinja"
    has_own = re.fullmatch(r"\w+", str(name)) and (templates_dir() / found).is_file()
    return found if has_own else f"{kind}/other.md.jinja"


def corpus_domain(name: object) -> str | None:
    """Returns the short description of a corpus' speech in its template in `corpora/`, if it has one."""
    template = find_template("corpora", name)
    if template == find_template("corpora", "other"):
        return None
    text = (templates_dir() / template).read_text(encoding="utf-8")
    found = re.search(r"macro domain\(\) %\}([^{}]+)\{%", text)
    return found[1] if found else None


def render_template(name: str, context: dict[str, Any], previous: str = "", *, edited: bool = True) -> str:
    """Renders a template as Markdown, without superfluous empty lines and with its values marked.

    The template inserts the hand-written sections of the previous card; those without a place in it are in `further`.

    Args:
        name: The file of the template in `model_cards/`.
        context: The variables of the template, besides `hand_written` and `further`.
        previous: The card on the Hub.
        edited: Whether `previous` may have sections outside the comments of hand-written sections.

    Raises:
        PublishError: If the context lacks a variable, or the comments of `previous` do not match.
    """
    written = hand_written(previous)
    placed: set[str] = set()

    def place(section_name: str) -> Markup:
        placed.add(section_name)
        return Markup(section(section_name, written.get(section_name, "")))

    context = context | {"hand_written": place, "further": []}
    body = _render(name, context)
    if edited:
        written |= foreign_sections(previous, unmarked(body), written)
    if further := [section_name for section_name in written if section_name not in placed]:
        body = _render(name, context | {"further": further})
    return body


def _render(name: str, context: dict[str, Any]) -> str:
    with explain_errors():
        body = _environment(templates_dir()).get_template(name).render(context)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", body)).strip("\n")


@contextmanager
def explain_errors() -> Iterator[None]:
    """Turns errors over missing values in the files of a run into `PublishError`."""
    try:
        yield
    except (jinja2.UndefinedError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:150]
        raise PublishError(
            f"The files of the run lack a value that the card needs ({reason}): write them again with this version."
        ) from error


def unmarked(text: str) -> str:
    """Returns a rendered text without the marks, as it is published."""
    return _MARKS.sub("", text)


def blanked(text: str) -> str:
    """Returns a rendered text without the inserted values."""
    return _MARKS.sub("", _VALUE.sub("\u00b7", text))


def code(value: object) -> Markup:
    """Formats a value as a code span; the value may contain backticks."""
    text = " ".join(printable(str(value)).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return _marked(f"{fence}{space}{text}{space}{fence}")


def code_cell(value: object) -> Markup:
    """Formats a value as a code span in a table, where a bar would end the cell."""
    return Markup(code(value).replace("|", "\\|"))


def cells(values: Iterable[object]) -> Markup:
    """Formats values as the cells of a row, without the outer bars."""
    return Markup(" | ").join(_marked(escape_markdown(str(value))) for value in values)


def verbatim(value: object) -> Markup:
    """Formats a value inside a code block: joined to one line, without escapes."""
    return _marked(" ".join(printable(str(value)).split()))


def url(value: object) -> Markup:
    """Formats the address of a page or file as a link target; returns `#` for other schemes."""
    text = str(value).strip()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) and not re.match(r"https?://", text, re.IGNORECASE):
        text = "#"
    return _marked(quote(text, safe="/:?#@!$&'*+,;=%~-._"))


def _marked(text: str) -> Markup:
    return Markup(f"{_OPEN}{_MARKS.sub('', text)}{_CLOSE}" if text else "")


def _finalize(value: object) -> object:
    """Escapes and marks a value for insertion."""
    return value if hasattr(value, "__html__") else _marked(escape_markdown(str(value)))


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,  # Without effect on values that `_finalize` has escaped for Markdown.
        finalize=_finalize,
    )
    environment.filters |= FILTERS
    environment.filters |= {
        "code": code,
        "code_cell": code_cell,
        "cells": cells,
        "verbatim": verbatim,
        "url": url,
        "repeatable": repeatable,
    }
    return environment
