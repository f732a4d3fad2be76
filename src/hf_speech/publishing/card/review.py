"""Checks every claim of a card, in numbers or metadata, against the files.

* The metadata must be complete, and the model-index must match the evaluation files.
* In a line that equals the rendered one, only the template's own words are checked, not the inserted values: a class
  may be called "95%".
* In all other lines, including hand-written ones, each metric must be in an evaluation file.
* An edited line outside the hand-written sections must keep the numbers of the files.
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
from hf_speech.publishing.card.claims import claims_of, is_backed, measured_values
from hf_speech.publishing.card.facts import RunFacts, read_facts
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
        number: Its number in the whole card, counted from 1.
        text: Its text; of a rendered line, without the inserted values.
        hand_written: Whether it is in a hand-written section.
        rendered: Whether it equals a line rendered from the files.
    """

    number: int
    text: str
    hand_written: bool
    rendered: bool


def check_card(text: str, run_dir: Path) -> None:
    """Rejects a card with numbers or metadata that the files do not support.

    Args:
        text: The card.
        run_dir: The run folder, or a folder that `stage` made from it.

    Raises:
        PublishError: If a number is not in the files, or the metadata is incomplete or differs from the files.
    """
    check(text, read_facts(Path(run_dir)))


def check(text: str, facts: RunFacts, rendered: RenderedCard | None = None) -> None:
    """Checks a card as `check_card` does, given the files' contents and the rendered card, if there is one."""
    metadata = read_metadata(text)
    hand_written(text)
    check_metadata(metadata, facts)
    if rendered is None and (marker := read_marker(text)) is not None:
        terms = License(str(metadata["license"]), metadata.get("license_name"), "")
        rendered = render(facts, repo_id=marker.repo_id, revision=marker.revision, license=terms, previous=text)
    lines = _compare(text, rendered)
    _check_claims(lines, facts)
    if rendered is not None:  # In a card that the user wrote, numbers other than metrics are not checked.
        _check_numbers(lines, unmarked(rendered.marked))


def _compare(text: str, rendered: RenderedCard | None) -> list[Line]:
    """Splits a card into lines and marks those that are rendered or hand-written."""
    skipped = text.count("\n", 0, len(text) - len(body_of(text)))
    lines = text.replace("\r", "").split("\n")[skipped:]
    is_hand_written = [line is None for line in rendered_lines("\n".join(lines))]
    template_words: dict[int, str] = {}
    if rendered is not None:
        marked = rendered.marked.split("\n")
        matcher = difflib.SequenceMatcher(None, lines, [unmarked(line) for line in marked], autojunk=False)
        for block in matcher.get_matching_blocks():
            template_words |= {block.a + index: blanked(marked[block.b + index]) for index in range(block.size)}
    found = []
    for index, line in enumerate(lines):
        is_rendered = index in template_words and not is_hand_written[index]
        line = template_words[index] if is_rendered else line
        found.append(Line(skipped + index + 1, line, is_hand_written[index], is_rendered))
    return found


def _check_claims(lines: list[Line], facts: RunFacts) -> None:
    """Rejects numbers that no evaluation file has."""
    values = measured_values(facts.evaluations)
    methods = " ".join(str(entry.content.get("confidence_method", "")) for entry in facts.evaluations)
    levels = set(CONFIDENCE_LEVEL.findall(methods))
    for line, text, context, in_table in _in_context(lines):
        for claim in claims_of(text, in_table_of_metrics=in_table):
            if not is_backed(claim, text, context, values, levels):
                shown = f"{claim.number} to {claim.other_bound}" if claim.other_bound else claim.number
                shown += "%" if claim.percent else ""
                raise PublishError(
                    f"The card's line {line.number} claims {shown}, which no evaluation file supports "
                    f"({_excerpt(text)}): use a value from the files in evaluation/, or remove it."
                )


def _in_context(lines: list[Line]) -> Iterator[tuple[Line, str, str, bool]]:
    """Yields each line with its plain text, its heading and table head, and whether it is in a table of metrics."""
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
    """Rejects edited lines outside the hand-written sections whose numbers differ from the rendered card."""
    expected: dict[str, list[list[str]]] = defaultdict(list)
    everywhere: set[str] = set()
    for own in filter(None, rendered_lines(rendered)):
        expected[_NUMBER.sub("#", own)].append(_NUMBER.findall(own))
        everywhere |= set(_NUMBER.findall(own))
    for line in lines:
        if line.hand_written or line.rendered or not (found := _NUMBER.findall(line.text)):
            continue
        known = expected.get(_NUMBER.sub("#", line.text))
        if known is None:  # In a reworded line, each number must be somewhere in the rendered card.
            wrong = next((word for word in found if word not in everywhere), None)
            files = "which is not in the files"
        else:
            nearest = max(known, key=lambda other: sum(map(operator.eq, found, other)))
            wrong, right = next(((a, b) for a, b in zip(found, nearest, strict=True) if a != b), (None, ""))
            files = f"but the files have {right}"
        if wrong is not None:
            raise PublishError(
                f"The card's line {line.number} has {wrong}, {files} ({_excerpt(line.text)}): correct it, or move your "
                "own text between the comments of a hand-written section."
            )


def _plain(line: str) -> str:
    """Removes link targets, digests, comments, and escapes of HTML and Markdown from a line."""
    line = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", html.unescape(line))
    return re.sub(r"<!--.*?-->", "", _LINK_TARGET.sub("]", line))


def _excerpt(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= 80 else f"{line[:80]}..."
