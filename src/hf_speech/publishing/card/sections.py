"""What people write into a card themselves, and how it survives the next rendering.

A hand-written section stands between two HTML comments that name it, `<!-- hand-written: use -->` and
`<!-- /hand-written: use -->`. The templates have some, empty at first; more may be added anywhere under other names.
All else on a card is rendered anew each time.
"""

from __future__ import annotations

import re

from hf_speech.errors import PublishError

_MARK = re.compile(r"<!--\s*(/?)hand-written:\s*([\w-]+)\s*-->")


def hand_written(card: str) -> dict[str, str]:
    """The hand-written sections of a card, by name, as they stand between their comments.

    Raises:
        PublishError: If a section does not end, ends before it begins, or comes twice: text could be lost.
    """
    found: dict[str, str] = {}
    name: str | None = None
    start = 0
    for match in _MARK.finditer(card):
        ends, mark = bool(match.group(1)), match.group(2)
        if ends != (name is not None) or (ends and mark != name) or (not ends and mark in found):
            raise PublishError(
                f"The comments around the card's hand-written section {mark!r} do not pair up: let each section begin "
                f"with `{begin(mark)}` and end with `{end(mark)}`, once."
            )
        if ends:
            found[mark] = card[start : match.start()].strip("\r\n")
            name = None
        else:
            name, start = mark, match.end()
    if name is not None:
        raise PublishError(f"The card's hand-written section {name!r} does not end: add `{end(name)}` behind it.")
    return found


def begin(name: str) -> str:
    """The comment before a section."""
    return f"<!-- hand-written: {name} -->"


def end(name: str) -> str:
    """The comment behind a section."""
    return f"<!-- /hand-written: {name} -->"


def section(name: str, body: str) -> str:
    """A section between its comments."""
    return f"{begin(name)}\n{body}\n{end(name)}" if body else f"{begin(name)}\n{end(name)}"


def rendered_lines(card: str) -> list[str | None]:
    """The lines of a card, with None for each that is hand-written."""
    lines: list[str | None] = []
    inside = False
    for line in card.splitlines():
        marks = list(_MARK.finditer(line))
        lines.append(None if inside or marks else line)
        for match in marks:
            inside = not match.group(1)
    return lines


__all__ = ["begin", "end", "hand_written", "rendered_lines", "section"]
