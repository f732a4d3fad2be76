"""Hand-written sections of a card, which are kept when the card is rendered again.

A hand-written section is between two HTML comments with its name, `<!-- hand-written: use -->` and
`<!-- /hand-written: use -->`. The templates contain empty ones; users may add others anywhere, under other names.
Sections that users added without comments (`## Safety`) get comments. The rest of a card is rendered anew each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hf_speech.errors import PublishError

_MARK = re.compile(r"<!--\s*(/?)hand-written:\s*([\w-]+)\s*-->")
# Headings in templates of earlier versions, which have been renamed.
FORMER_HEADINGS = frozenset({"What it is for, and what not", "How it was made"})
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*\s*$")


def hand_written(card: str) -> dict[str, str]:
    """Returns the text of the hand-written sections of a card by name.

    Raises:
        PublishError: If the comments of a section do not match or a name is used twice, since text could be lost.
    """
    card = body_of(card)
    found: dict[str, str] = {}
    name: str | None = None
    start = 0
    for match in _MARK.finditer(card):
        ends, mark = bool(match.group(1)), match.group(2)
        if ends != (name is not None) or (ends and mark != name) or (not ends and mark in found):
            raise PublishError(
                f"The comments around the card's hand-written section {mark!r} do not match: begin each section with "
                f"one `{begin(mark)}` and end it with one `{end(mark)}`."
            )
        if ends:
            found[mark] = card[start : match.start()].strip("\r\n")
            name = None
        else:
            name, start = mark, match.end()
    if name is not None:
        raise PublishError(f"The card's hand-written section {name!r} does not end: add `{end(name)}` after it.")
    return found


def foreign_sections(previous: str, rendered: str, taken: Mapping[str, str]) -> dict[str, str]:
    """Returns the sections whose headings are in no template, by names made from the headings."""
    headings = {match[2] for line in rendered.splitlines() if (match := _HEADING.match(line)) and len(match[1]) == 2}
    own = headings | FORMER_HEADINGS
    found: dict[str, str] = {}
    name: str | None = None
    fence = False
    for line in rendered_lines(body_of(previous)):
        fence ^= line is not None and line.lstrip().startswith("```")
        heading = None if fence or line is None else _HEADING.match(line)
        if heading is not None and len(heading[1]) <= 2:
            name = None
            if len(heading[1]) == 2 and heading[2] not in own:
                name = _free_name(heading[2], {*taken, *found})
                found[name] = ""
        if name is not None and line is not None:
            found[name] += f"{line}\n"
    return {name: text.strip("\n") for name, text in found.items()}


def body_of(card: str) -> str:
    """Returns a card without its metadata."""
    return re.sub(r"\A---\s*\n.*?\n---[ \t]*\n", "", card, flags=re.DOTALL)


def begin(name: str) -> str:
    """Returns the comment before a section."""
    return f"<!-- hand-written: {name} -->"


def end(name: str) -> str:
    """Returns the comment after a section."""
    return f"<!-- /hand-written: {name} -->"


def section(name: str, body: str) -> str:
    """Returns a section between its comments."""
    return f"{begin(name)}\n{body}\n{end(name)}" if body else f"{begin(name)}\n{end(name)}"


def rendered_lines(card: str) -> list[str | None]:
    """Splits a card at line feeds and replaces each hand-written line by None."""
    lines: list[str | None] = []
    inside = False
    for line in card.split("\n"):
        marks = list(_MARK.finditer(line))
        lines.append(None if inside or marks else line)
        for match in marks:
            inside = not match.group(1)
    return lines


def _free_name(heading: str, taken: set[str]) -> str:
    name = re.sub(r"[^\w]+", "-", heading.lower()).strip("-") or "section"
    while name in taken:
        name += "-2"
    return name
