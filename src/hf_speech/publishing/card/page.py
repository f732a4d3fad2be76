"""The model card: rendered of the files of a run folder, and held against them.

A card is data and a template. The data are what the files say (`facts`), in the card's words (`presentation`); the
templates are in `model_cards/`, one for each task. Rendering is repeatable: the same files give the same card, so that
nothing new is published where nothing changed. A card that people edited is checked in three ways:

* Its metadata must be complete, and its model-index that of the evaluation files.
* Each figure it claims, in the rendered part and in the hand-written ones, must be in an evaluation file.
* A line of the rendered part that differs from what the files render to by its numbers alone is wrong, whatever the
  numbers are of.
"""

from __future__ import annotations

import functools
import html
import operator
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import ModelCard

from hf_speech.errors import PublishError
from hf_speech.publishing.card.facts import RunFacts, read_facts
from hf_speech.publishing.card.figures import claims_of, figures_of, is_backed
from hf_speech.publishing.card.metadata import card_data, check_metadata, read_metadata
from hf_speech.publishing.card.sections import hand_written, rendered_lines, section
from hf_speech.publishing.card.words import FILTERS, card_context, corpus_template, trained_on
from hf_speech.publishing.checks.licenses import OF_THE_CODE, License, find_license

REPO_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")
_MARKER = re.compile(r"<!-- hf_speech card: repo_id=(\S+) revision=(\S*?)[.\s]")
_FRONT_MATTER = re.compile(r"\A---\s*\n.*?\n---[ \t]*\n", re.DOTALL)
_LINK_TARGET = re.compile(r"\]\([^)\s]*\)|https?://[^\s)>\]\"']+|\b(?:sha256:)?[0-9a-f]{40,}\b|doi:\S+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LEVEL = re.compile(r"\b(\d+(?:\.\d+)?)\s?%")


def templates_dir() -> Path:
    """The folder of the cards' templates: in a checkout, or inside the installed package."""
    installed = Path(__file__).resolve().parents[2] / "model_cards"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[4] / "model_cards"


def render_card(
    run_dir: Path,
    *,
    repo_id: str,
    revision: str | None = None,
    previous: str | None = None,
    license: str | None = None,
) -> str:
    """Renders the card of a run folder: YAML metadata and Markdown.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/MODEL`, as the usage example will name it.
        revision: Tag, branch or commit at which the example pins the code; None for an example that says how to.
        previous: The card that is on the Hub now, whose hand-written sections survive.
        license: The Hub's name of the license; None for what the run folder or the previous card says.

    Raises:
        PublishError: If a file that the card needs is missing, damaged or of other weights.
    """
    run_dir = Path(run_dir)
    if not REPO_ID.fullmatch(repo_id):
        raise PublishError(f"{repo_id!r} is no name of a repository: give NAME/MODEL.")
    facts = read_facts(run_dir)
    metadata = read_metadata(previous) if previous else {}
    terms = find_license(run_dir, license, metadata.get("license"))
    return _render(facts, repo_id, revision, terms, previous or "", metadata)


def check_card(text: str, run_dir: Path) -> None:
    """Refuses a card with a number that no evaluation file backs.

    Args:
        text: The card.
        run_dir: The run folder, or a folder made of it by `stage`.

    Raises:
        PublishError: On the first number that the files do not have, and on metadata that is incomplete or differs.
    """
    facts = read_facts(Path(run_dir))
    metadata = read_metadata(text)
    hand_written(text)
    check_metadata(metadata, facts)
    _check_claims(text, facts)
    marker = _MARKER.search(text)
    if marker is None:  # Not one of ours: its figures are right, and its other numbers are its own.
        return
    terms = License(str(metadata["license"]), metadata.get("license_name"), "")
    rendered = _render(facts, marker.group(1), marker.group(2) or None, terms, text, metadata)
    _check_numbers(text, rendered)


def _render(
    facts: RunFacts, repo_id: str, revision: str | None, license: License, previous: str, metadata: dict[str, Any]
) -> str:
    folder = templates_dir()
    template = f"{facts.task}.md.jinja"
    if not (folder / template).is_file():
        template = "default.md.jinja"
    written = hand_written(previous)
    used: set[str] = set()

    def place(name: str) -> str:
        used.add(name)
        return section(name, written.get(name, ""))

    def template_of(kind: str, name: object) -> str:
        found = f"{kind}/{name}.md.jinja"
        return found if (folder / found).is_file() else f"{kind}/other.md.jinja"

    level = _LEVEL.search(str(facts.main.content.get("confidence_method", "")))
    context = card_context(facts, repo_id, revision) | {
        "marker": f"<!-- hf_speech card: repo_id={repo_id} revision={revision or ''} . Rendered of the files of this "
        "repository, and again whenever it is published: write only between comments that say hand-written. -->",
        "license": license,
        "code_license": OF_THE_CODE,
        "level": level.group(1) if level else None,
        "hand_written": place,
        "further": {},
        "corpus_template": template_of("corpora", corpus_template(trained_on(facts).name)),
        "architecture_template": template_of("architectures", facts.config.get("model_type")),
    }
    body = render_template(template, context)
    further = {name: text for name, text in written.items() if name not in used}
    if further:  # Sections that somebody added by hand, wherever they stood.
        body = render_template(template, context | {"further": further})
    card = card_data(facts, repo_id, license, metadata)
    return str(ModelCard(f"---\n{card.to_yaml()}\n---\n\n{body}\n"))


def render_template(name: str, context: dict[str, Any]) -> str:
    """Renders a template of `model_cards/` as Markdown, without superfluous empty lines.

    Args:
        name: The template's file.
        context: What it is given.
    """
    body = _environment(templates_dir()).get_template(name).render(context)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"[ \t]+\n", "\n", body)).strip("\n")


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, not HTML.
    )
    environment.filters |= FILTERS
    return environment


def _check_claims(text: str, facts: RunFacts) -> None:
    """Refuses a figure that no evaluation file has."""
    figures = figures_of(facts.evaluations)
    methods = " ".join(str(entry.content.get("confidence_method", "")) for entry in facts.evaluations)
    levels = set(_LEVEL.findall(methods))
    for number, line, context, in_table in _lines_in_context(text):
        for claim in claims_of(line, in_table_of_metrics=in_table):
            if not is_backed(claim, line, context, figures, levels):
                shown = f"{claim.number} to {claim.other_end}" if claim.other_end else claim.number
                shown += " %" if claim.percent else ""
                raise PublishError(
                    f"The card's line {number} claims {shown}, which no evaluation file has for it "
                    f"({_excerpt(line)}): take the figure from the files in evaluation/, or leave it out."
                )


def _lines_in_context(text: str) -> Iterator[tuple[int, str, str, bool]]:
    """Each line behind the metadata: its number, its text, what stands above it, whether its table is of metrics."""
    front = _FRONT_MATTER.match(text)
    first = text.count("\n", 0, front.end()) if front else 0
    heading = head = ""
    fence = False
    for number, line in enumerate(text.splitlines()[first:], first + 1):
        line = _plain(line)
        if line.lstrip().startswith("```"):
            fence = not fence
        if not fence and re.match(r"#{1,6} ", line):
            heading = line
        is_row = line.lstrip().startswith("|")
        if not is_row:
            head = ""
        elif not head:
            head = line
        metrics = is_row and head != line and bool(claims_of(re.sub(r"[|:-]", " ", head) + " is 0.5"))
        yield number, line, f"{heading} {head if is_row else ''}", metrics


def _check_numbers(text: str, rendered: str) -> None:
    """Refuses a rendered line whose numbers are not those that the files give it."""
    expected: dict[str, list[list[str]]] = defaultdict(list)
    everywhere: set[str] = set()
    for own in filter(None, rendered_lines(rendered)):
        expected[_NUMBER.sub("#", own)].append(_NUMBER.findall(own))
        everywhere |= set(_NUMBER.findall(own))
    for number, line in enumerate(rendered_lines(text), 1):
        if line is None or not (found := _NUMBER.findall(line)):
            continue
        known = expected.get(_NUMBER.sub("#", line))
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
                f"The card's line {number} has {wrong}, and {files} ({_excerpt(line)}): correct it, or write what is "
                "your own between the comments that say hand-written."
            )


def _plain(line: str) -> str:
    """A line without link targets, digests and HTML's spellings."""
    line = html.unescape(line).replace("\\%", "%")
    return re.sub(r"<!--.*?-->", "", _LINK_TARGET.sub("]", line))


def _excerpt(line: str) -> str:
    line = " ".join(line.split())
    return line if len(line) <= 80 else f"{line[:80]}..."


__all__ = ["check_card", "render_card", "render_template", "templates_dir"]
