"""Compares a card with the files: every claim, in numbers or in metadata, must be in a file.

* Its metadata must be complete, and its model-index that of the evaluation files.
* A line that is exactly what the files render to is right; only the words of the template itself are looked at, never
  the names in it. A class called "95 %" is a name.
* In every other line, including hand-written ones, each metric must be that of an evaluation file.
* A rendered line that was changed must keep all numbers that the files give it.
"""

from __future__ import annotations

import difflib
import html
import operator
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hf_speech.errors import PublishError
from hf_speech.publishing.card.facts import RunFacts, read_facts
from hf_speech.publishing.card.figures import claims_of, figures_of, is_backed
from hf_speech.publishing.card.metadata import check_metadata
from hf_speech.publishing.card.page import CONFIDENCE_LEVEL, RenderedCard, read_marker, render
from hf_speech.publishing.card.sections import body_of, hand_written, rendered_lines
from hf_speech.publishing.card.templates import blanked, unmarked
from hf_speech.publishing.checks.licenses import License
from hf_speech.publishing.checks.structure import read_metadata

_LINK_TARGET = re.compile(r"\]\([^)\s]*\)|https?://[^\s)>\]\"']+|\b(?:sha256:)?[0-9a-f]{40,}\b|doi:\S+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Line:
    """A line of a card, after its metadata.

    Attributes:
        number: From 1, in the whole card.
        text: The text itself, or with its values blanked out if it is exactly what the files render to.
        written: Whether it is in a hand-written section.
        rendered: Whether it is exactly what the files render to.
    """

    number: int
    text: str
    written: bool
    rendered: bool


def check_card(text: str, run_dir: Path) -> None:
    """Refuses a card with a figure that no evaluation file backs.

    Args:
        text: The card.
        run_dir: The run folder, or a folder made of it by `stage`.

    Raises:
        PublishError: On the first figure that the files do not have, and on metadata that is incomplete or differs.
    """
    check(text, read_facts(Path(run_dir)))


def check(text: str, facts: RunFacts, rendered: RenderedCard | None = None) -> None:
    """`check_card` for files that have been read, and for a card that has just been rendered."""
    metadata = read_metadata(text)
    hand_written(text)
    check_metadata(metadata, facts)
    if rendered is None and (marker := read_marker(text)) is not None:
        terms = License(str(metadata["license"]), metadata.get("license_name"), "")
        rendered = render(facts, repo_id=marker.repo_id, revision=marker.revision, license=terms, previous=text)
    lines = _compare(text, rendered)
    _check_claims(lines, facts)
    if rendered is not None:  # A card of one's own: its figures are right, and its other numbers are its own.
        _check_numbers(lines, unmarked(rendered.marked))


def _compare(text: str, rendered: RenderedCard | None) -> list[Line]:
    """The lines of a card, and which of them are rendered."""
    skipped = text.count("\n", 0, len(text) - len(body_of(text)))
    lines = text.replace("\r", "").split("\n")[skipped:]
    written = [line is None for line in rendered_lines("\n".join(lines))]
    static: dict[int, str] = {}
    if rendered is not None:
        marked = rendered.marked.split("\n")
        matcher = difflib.SequenceMatcher(None, lines, [unmarked(line) for line in marked], autojunk=False)
        for block in matcher.get_matching_blocks():
            static |= {block.a + index: blanked(marked[block.b + index]) for index in range(block.size)}
    found = []
    for index, line in enumerate(lines):
        is_rendered = index in static and not written[index]
        found.append(Line(skipped + index + 1, static[index] if is_rendered else line, written[index], is_rendered))
    return found


def _check_claims(lines: list[Line], facts: RunFacts) -> None:
    """Refuses a figure that no evaluation file has."""
    figures = figures_of(facts.evaluations)
    methods = " ".join(str(entry.content.get("confidence_method", "")) for entry in facts.evaluations)
    levels = set(CONFIDENCE_LEVEL.findall(methods))
    for line, text, context, in_table in _in_context(lines):
        for claim in claims_of(text, in_table_of_metrics=in_table):
            if not is_backed(claim, text, context, figures, levels):
                shown = f"{claim.number} to {claim.other_end}" if claim.other_end else claim.number
                shown += " %" if claim.percent else ""
                raise PublishError(
                    f"The card's line {line.number} claims {shown}, which no evaluation file has for it "
                    f"({_excerpt(text)}): take the figure from the files in evaluation/, or leave it out."
                )


def _in_context(lines: list[Line]) -> Iterator[tuple[Line, str, str, bool]]:
    """Each line, its plain text, its context above, and whether it is a row of a table of metrics."""
    heading = head = ""
    fence = False
    for line in lines:
        text = _plain(line.text)
        if text.lstrip().startswith("```"):
            fence = not fence
        if not fence and re.match(r"#{1,6} ", text):
            heading = text
        is_row = text.lstrip().startswith("|")
        if not is_row:
            head = ""
        elif not head:
            head = text
        metrics = is_row and head != text and bool(claims_of(re.sub(r"[|:-]", " ", head) + " is 0.5"))
        yield line, text, f"{heading} {head if is_row else ''}", metrics


def _check_numbers(lines: list[Line], rendered: str) -> None:
    """Refuses a line between the hand-written sections whose numbers are not those that the files give it."""
    expected: dict[str, list[list[str]]] = defaultdict(list)
    everywhere: set[str] = set()
    for own in filter(None, rendered_lines(rendered)):
        expected[_NUMBER.sub("#", own)].append(_NUMBER.findall(own))
        everywhere |= set(_NUMBER.findall(own))
    for line in lines:
        if line.written or line.rendered or not (found := _NUMBER.findall(line.text)):
            continue
        known = expected.get(_NUMBER.sub("#", line.text))
        if known is None:  # Other words; the numbers must be among those that the files say somewhere.
            wrong = next((word for word in found if word not in everywhere), None)
            files = "the files do not say so"
        else:
            nearest = max(known, key=lambda other: sum(map(operator.eq, found, other)))
            wrong, right = next(
                ((ours, theirs) for ours, theirs in zip(found, nearest, strict=True) if ours != theirs), (None, "")
            )
            files = f"the files say {right}"
        if wrong is not None:
            raise PublishError(
                f"The card's line {line.number} has {wrong}, and {files} ({_excerpt(line.text)}): correct it, or write "
                "what is your own between the comments that say hand-written."
            )


def _plain(line: str) -> str:
    """A line without link targets, digests and the ways in which HTML and Markdown escape signs."""
    line = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", html.unescape(line))
    return re.sub(r"<!--.*?-->", "", _LINK_TARGET.sub("]", line))


def _excerpt(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= 80 else f"{line[:80]}..."
