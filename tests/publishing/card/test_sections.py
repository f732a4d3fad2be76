"""The parts of a card that are kept when it is rendered again."""

from __future__ import annotations

from pathlib import Path

import pytest
from cards import written
from huggingface_hub import ModelCard

from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import eval_results


def test_keeps_hand_written_sections(digits_card: str, known: Path) -> None:
    mine = "I use it in my kitchen.\n\n- loud\n- *very* loud"
    edited = written(written(digits_card, mine, "use"), "Not for doors.", "limits")
    edited = edited.replace(
        "## Results", "<!-- hand-written: safety -->\n## Safety\n<!-- /hand-written: safety -->\n## Results"
    )
    again = render_card(known, repo_id="anna/digits", revision="v2", previous=edited)
    assert f"<!-- hand-written: use -->\n{mine}\n<!-- /hand-written: use -->" in again
    assert "Not for doors." in again
    assert again.rstrip().endswith("<!-- hand-written: safety -->\n## Safety\n<!-- /hand-written: safety -->")
    assert 'revision="v2"' in again
    check_card(again, known)
    assert render_card(known, repo_id="anna/digits", revision="v2", previous=again) == again


def test_renders_text_outside_the_comments_again(digits_card: str, known: Path) -> None:
    spoiled = digits_card.replace("**99.7%**", "**100%**").replace("# digits", "# The best of digits")
    assert render_card(known, repo_id="anna/digits", revision="v1", previous=spoiled) == digits_card


@pytest.mark.parametrize(
    "spoiled",
    [
        "<!-- hand-written: mine -->",
        "<!-- /hand-written: mine -->",
        "<!-- hand-written: a --><!-- hand-written: b --><!-- /hand-written: b --><!-- /hand-written: a -->",
        "<!-- hand-written: a --><!-- /hand-written: a --><!-- hand-written: a --><!-- /hand-written: a -->",
    ],
)
def test_does_not_lose_text_with_a_missing_comment(digits_card: str, known: Path, spoiled: str) -> None:
    with pytest.raises(PublishError, match="hand-written section"):
        render_card(known, repo_id="anna/digits", previous=digits_card + spoiled)
    with pytest.raises(PublishError, match="hand-written section"):
        check_card(digits_card + spoiled, known)


def test_keeps_metadata_of_others(digits_card: str, known: Path) -> None:
    previous = digits_card.replace("tags:\n", "thumbnail: https://example.org/x.png\ntags:\n- favorite\n")
    previous = previous.replace("value: 0.9967", "value: 0.5")
    data = ModelCard(render_card(known, repo_id="anna/digits", previous=previous)).data
    assert data.thumbnail == "https://example.org/x.png"
    assert data.tags[-1] == "favorite"
    assert data.eval_results == eval_results(read_facts(known))


def test_rejects_invalid_cards(digits_card: str, known: Path) -> None:
    """The Hub's initial README may have metadata, but no comments of this package."""
    for previous in ("---\nlicense: apache-2.0\n---\n", "# hello\n", ""):
        assert render_card(known, repo_id="anna/digits", revision="v1", previous=previous) == digits_card
    with pytest.raises(PublishError, match="not valid"):
        render_card(known, repo_id="anna/digits", previous="---\n- a list\n---\n")
