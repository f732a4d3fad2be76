"""The templates of `model_cards/`, and the escaping that keeps names from being read as Markdown, HTML or metrics.

Every value that a template inserts is escaped, unless it says that it is Markdown already. It is also marked,
invisibly to the template: so a card can be read with its values blanked out, and what a template itself claims can be
told from the names of classes, speakers and corpora, which may be any words and numbers.
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
from hf_speech.publishing.card.sections import foreign_sections, hand_written, section
from hf_speech.publishing.card.words import FILTERS

# Around each inserted value while a card is rendered: code points that are not characters, hence in no text.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
_MARKS = re.compile(f"[{_OPEN}{_CLOSE}]")
_VALUE = re.compile(f"{_OPEN}[^{_CLOSE}]*{_CLOSE}")


def templates_dir() -> Path:
    """The folder of the cards' templates."""
    return bundled_folder("model_cards")


def corpus_domain(name: object) -> str | None:
    """What is said in a corpus of this package, in a few words, as its template in `corpora/` says it."""
    path = templates_dir() / "corpora" / f"{name}.md.jinja"
    if not re.fullmatch(r"\w+", str(name)) or name == "other" or not path.is_file():
        return None
    found = re.search(r"macro domain\(\) %\}([^{}]+)\{%", path.read_text(encoding="utf-8"))
    return found[1] if found else None


def render_template(name: str, context: dict[str, Any], previous: str = "", *, edited: bool = True) -> str:
    """Renders a template as Markdown, without superfluous empty lines, its values marked.

    The template places the hand-written sections of the previous card; those that it does not know are in `further`.

    Args:
        name: The template's file in `model_cards/`.
        context: What it is given, besides `hand_written` and `further`.
        previous: The card that is on the Hub now.
        edited: Whether sections may have been added to it outside of our comments.

    Raises:
        PublishError: If the context lacks what the template needs, or the comments of `previous` do not pair up.
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
    with explained():
        body = _environment(templates_dir()).get_template(name).render(context)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", body)).strip("\n")


@contextmanager
def explained() -> Iterator[None]:
    """Turns what goes wrong over files that lack something into one sentence."""
    try:
        yield
    except (jinja2.UndefinedError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        reason = " ".join(str(error).split())[:150]
        raise PublishError(
            f"The files of the run do not say what the card needs ({reason}): write them again with this version."
        ) from error


def unmarked(text: str) -> str:
    """A rendered text as it is published."""
    return _MARKS.sub("", text)


def blanked(text: str) -> str:
    """A rendered text without its values: what the templates themselves say."""
    return _MARKS.sub("", _VALUE.sub("\u00b7", text))


def code(value: object) -> Markup:
    """A value as a code span, whatever backticks are in it."""
    text = " ".join(printable(str(value)).split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return _marked(f"{fence}{space}{text}{space}{fence}")


def code_cell(value: object) -> Markup:
    """A value as a code span in a table, where a bar ends the cell even in code."""
    return Markup(code(value).replace("|", "\\|"))


def cells(values: Iterable[object]) -> Markup:
    """Values as the cells of a row, without the bars at its ends."""
    return Markup(" | ").join(_marked(escape_markdown(str(value))) for value in values)


def verbatim(value: object) -> Markup:
    """A value inside a code block: in one line, and otherwise as it is."""
    return _marked(" ".join(printable(str(value)).split()))


def url(value: object) -> Markup:
    """The address of a page or file as the target of a link; `#` for anything else."""
    text = str(value).strip()
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) and not re.match(r"https?://", text, re.IGNORECASE):
        text = "#"
    return _marked(quote(text, safe="/:?#@!$&'*+,;=%~-._"))


def _marked(text: str) -> Markup:
    return Markup(f"{_OPEN}{_MARKS.sub('', text)}{_CLOSE}" if text else "")


def _finalize(value: object) -> object:
    """What is inserted for a value: its text, escaped and marked."""
    return value if hasattr(value, "__html__") else _marked(escape_markdown(str(value)))


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,  # By `_finalize`, which escapes for Markdown; what jinja2 then does for HTML finds nothing.
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
