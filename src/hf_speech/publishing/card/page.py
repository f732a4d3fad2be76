"""Renders the model card from the files of a run folder.

The contents of the files (`facts`) are formatted (`words`) and inserted into a template of `model_cards/`, one for
each task. The same files give the same card, so that a new card is published only if something changed. Text that
users wrote into the card on the Hub is kept (`sections`, `metadata`).
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import ModelCard

from hf_speech.common.digests import digest_bytes
from hf_speech.common.hub import Repository
from hf_speech.publishing.card.context import card_context
from hf_speech.publishing.card.corpora import corpus_template, trained_on
from hf_speech.publishing.card.facts import RunFacts, read_facts
from hf_speech.publishing.card.metadata import card_data
from hf_speech.publishing.card.sections import FORMER_HEADINGS, begin, body_of, end, rendered_lines
from hf_speech.publishing.card.templates import explain_errors, find_template, render_template, templates_dir, unmarked
from hf_speech.publishing.checks.licenses import CODE_LICENSE, License, find_license
from hf_speech.publishing.checks.structure import read_metadata

_MARKER = re.compile(r"<!-- hf_speech card: repo_id=(\S+) revision=(\S*)(?: digest=(\w+))?")
CONFIDENCE_LEVEL = re.compile(r"\b(\d+(?:\.\d+)?)\s?%")


@dataclass(frozen=True)
class Marker:
    """The comment that identifies a rendered card.

    Attributes:
        repo_id: `NAME/MODEL`.
        revision: The revision at which the example pins the code, if any.
        digest: The digest of the rendered text; None in cards of version 0.1.
    """

    repo_id: str
    revision: str | None
    digest: str | None


@dataclass(frozen=True)
class RenderedCard:
    """A rendered card.

    Attributes:
        text: The card.
        marked: Its body with the values marked, for `templates.blanked`.
        notes: Messages about text of the card on the Hub that was not kept, one sentence each.
    """

    text: str
    marked: str
    notes: tuple[str, ...] = ()


def render_card(
    run_dir: Path, *, repo_id: str, revision: str | None = None, previous: str | None = None, license: str | None = None
) -> str:
    """Renders the card of a run folder: YAML metadata and Markdown.

    Args:
        run_dir: The run folder.
        repo_id: `NAME/MODEL`, for the usage example.
        revision: The tag, branch or commit at which the example pins the code; None for an example that explains how.
        previous: The card on the Hub, whose hand-written text is kept.
        license: The name of the license on the Hub; None for that of the run folder or the previous card.

    Raises:
        PublishError: If a file that the card needs is missing, damaged or of another model.
    """
    Repository(repo_id)  # Raises if this is not the name of a repository.
    facts = read_facts(Path(run_dir))
    terms = find_license(facts.folder, license, read_metadata(previous or "").get("license"))
    return render(facts, repo_id=repo_id, revision=revision, license=terms, previous=previous).text


def render(
    facts: RunFacts, *, repo_id: str, revision: str | None, license: License, previous: str | None
) -> RenderedCard:
    """Renders a card as `render_card` does, from files that have been read."""
    template = f"{facts.task}.md.jinja"
    if not (templates_dir() / template).is_file():
        template = "default.md.jinja"
    metadata = read_metadata(previous or "")
    level = CONFIDENCE_LEVEL.search(str(facts.main.content.get("confidence_method", "")))
    with explain_errors():
        context = card_context(facts, repo_id, revision)
    context |= {
        "license": license,
        "code_license": CODE_LICENSE,
        "level": level.group(1) if level else None,
        "corpus_template": find_template("corpora", corpus_template(trained_on(facts))),
        "architecture_template": find_template("architectures", facts.config.get("model_type")),
    }
    body = render_template(template, context, previous or "", edited=not _is_untouched(previous or ""))
    marker = _marker(repo_id, revision, unmarked(body))
    body = f"{marker}\n\n{body}"
    card = card_data(facts, repo_id, license, metadata)
    text = str(ModelCard(f"---\n{card.to_yaml()}\n---\n\n{unmarked(body)}\n"))
    return RenderedCard(text, body, _notes(previous or "", text))


def read_marker(card: str) -> Marker | None:
    """Reads the marker of a rendered card; returns None for any other card."""
    match = _MARKER.search(card)
    return None if match is None else Marker(match[1], match[2] or None, match[3])


def _marker(repo_id: str, revision: str | None, body: str) -> str:
    return (
        f"<!-- hf_speech card: repo_id={repo_id} revision={revision or ''} digest={_digest(body)} . Rendered from the "
        "files of this repository each time it is published: write only between comments that say hand-written. -->"
    )


def _digest(card: str) -> str:
    """Returns the digest of a card without its metadata, hand-written sections and marker."""
    lines = (line.rstrip() for line in rendered_lines(body_of(card)) if line is not None and not _MARKER.search(line))
    return digest_bytes("\n".join(line for line in lines if line).encode())[:16]


def _is_untouched(previous: str) -> bool:
    """Returns whether a rendered card was edited only in its hand-written sections."""
    marker = read_marker(previous)
    return not previous or (marker is not None and marker.digest == _digest(previous))


def _notes(previous: str, text: str) -> tuple[str, ...]:
    """Returns a message if the new card lacks text that users wrote into the card on the Hub."""
    if _is_untouched(previous):
        return ()
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    lost = [
        line.strip()
        for line in dict.fromkeys(rendered_lines(body_of(previous)))
        if line and line.strip() and not _MARKER.search(line) and line.strip("# ") not in FORMER_HEADINGS
        if not difflib.get_close_matches(line.strip(), kept, 1)
    ]
    if not lost:
        return ()
    lines = f"{len(lost)} lines" if len(lost) > 1 else "One line"
    return (
        f"{lines} of the card on the Hub will be lost, such as {lost[0][:60]!r}: to keep text, move it between "
        f"`{begin('notes')}` and `{end('notes')}`.",
    )
