"""Cards must not contain metrics that no evaluation file has."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from cards import AN4, DIGITS, figures, written

from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.card import page, templates


def shown(value: float) -> str:
    return f"{100 * value:.1f}"


def tampered(card: str) -> dict[str, tuple[str, str]]:
    """Yields the card with one changed number and the expected message, by kind of change."""
    best, beam, validation = (figures(AN4, name) for name in ("test", "test-lm", "validation"))
    wer, (low, high) = shown(best["metrics"]["wer"]), (shown(end) for end in best["confidence"]["wer"])
    figure, interval = f"| **{wer}%** |", f" {low} to {high}% |"
    speakers = sorted(best["per_speaker"].items(), key=lambda item: item[1]["wer"])
    (good, of_good), (poor, of_poor) = speakers[0], speakers[-1]
    row, count = f"| {poor} | {of_poor['num_utterances']} | {shown(of_poor['wer'])}% |", of_poor["num_utterances"]
    factor = best["real_time_factor"]
    hours = json.loads((AN4 / "inspection.json").read_text())["splits"]["train"]["hours"]
    edits = {
        "a better figure": (figure, "| **1.5%** |", "claims 1.5%"),
        "a narrower interval": (interval, f" {low} to {low}% |", f"claims {low} to {low}%"),
        "the figure with a language model": (figure, f"| **{shown(beam['metrics']['wer'])}%** |", "the files have"),
        "the figure of another split": (
            figure,
            f"| **{shown(validation['metrics']['wer'])}%** |",
            "no evaluation file",
        ),
        "the end of the interval": (figure, f"| **{low}%** |", f"claims {low}%"),
        "another speaker's figure": (
            row,
            row.replace(shown(of_poor["wer"]), shown(of_good["wer"])),
            "no evaluation file",
        ),
        "more utterances": (
            row,
            row.replace(f"| {count} |", f"| {count}0 |"),
            f"has {count}0, but the files have {count}",
        ),
        "a speed": (f"that is {1 / factor:,.0f} times", "that is 5,000 times", "claims 5,000"),
        "a real-time factor": (f"factor {factor:.2g}", "factor 0.0007", "claims 0.0007"),
        "a larger split": (f"{best['num_utterances']} utterances", "13,000 utterances", "has 13,000"),
        "fewer parameters": (f"{best['num_parameters']:,}", "1,000,000", "has 1,000,000"),
        "more hours": (f"{60 * hours:.1f} minutes", "6400.0 minutes", "has 6400.0"),
        "the index": (f"value: {round(100 * best['metrics']['wer'], 2)}", "value: 0.05", "model-index has wer = 0.05"),
        "another split in the index": ("      split: test", "      split: other", "which no evaluation file has"),
        "no license": ("license: apache-2.0\n", "", "has no license"),
        "another task": (
            "pipeline_tag: automatic-speech-recognition",
            "pipeline_tag: text-to-speech",
            "pipeline_tag is",
        ),
        "broken metadata": ("language:\n- en", "language: [", "metadata at the top of the card is not valid"),
    }
    assert all(before in card for before, _, _ in edits.values()), [
        key for key, edit in edits.items() if edit[0] not in card
    ]
    assert good != poor
    return {key: (card.replace(before, after, 1), message) for key, (before, after, message) in edits.items()}


TAMPERINGS = (
    *("a better figure", "a narrower interval", "the figure with a language model", "the figure of another split"),
    *("the end of the interval", "another speaker's figure", "more utterances", "a speed", "a real-time factor"),
    *("a larger split", "fewer parameters", "more hours", "the index", "another split in the index", "no license"),
    *("another task", "broken metadata"),
)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_rejects_changed_numbers(an4_card: str, what: str) -> None:
    check_card(an4_card, AN4)
    card, message = tampered(an4_card)[what]
    with pytest.raises(PublishError, match=re.escape(message)) as error:
        check_card(card, AN4)
    assert "\n" not in str(error.value)


def test_reports_metrics_missing_from_the_model_index(an4_card: str) -> None:
    start = an4_card.index("    - type: cer")
    without = an4_card[:start] + an4_card[an4_card.index("    - type: wer", start) :]
    with pytest.raises(PublishError, match="lacks cer"):
        check_card(without, AN4)


@pytest.mark.parametrize(
    "claim",
    [
        "It has an accuracy of 99.9% on the test split.",
        "It is right 98 per cent of the time.",
        "On my own recordings: 97.5%.",
        "Test accuracy: 100%.",  # Of the validation split, and of some speakers.
        "Accuracy at least 98.1%.",  # One end of an interval.
        "Accuracy 99.9% (98.1 to 99.9%).",
        "Accuracy between 98.1 and 100%.",
        "An accuracy of 99.7 % (97.1-99.9 %).",
        "An F1 of 0.91.",
        "The accuracy is 97.",
        "It is 5,000 times faster than real time.",
        "It runs at 2x real time.",
        "A real-time factor of 0.5.",
        "theo: accuracy 98.0%.",  # The value of yweweler.
        "| speaker | accuracy |\n|---|---|\n| me | 99.0 |",
        "| test | accuracy |\n|---|---|\n| the street | 0.93 |",
        "95% of all digits.",  # The level of the intervals.
        "99.7&nbsp;% here, and 91&#37; there.",
        "```\naccuracy 91.5%\n```",
    ],
)
def test_rejects_claims_without_an_evaluation_file(digits_card: str, known: Path, claim: str) -> None:
    with pytest.raises(PublishError, match="which no evaluation file supports"):
        check_card(written(digits_card, claim), known)


@pytest.mark.parametrize(
    "claim",
    [
        "On the test split its accuracy is 99.7% (95% interval: 98.1 to 99.9%).",
        "Test accuracy 99.7% (98.1-99.9), that is between 98.1 and 99.9%.",
        "Accuracy on the validation split: 100%.",
        "An accuracy of 0.997.",
        "yweweler: 98.0% of the test split.",
        "It is 1,010 times as fast as real time.",
        "evaluation/validation.json has an accuracy of 100.0%.",
        "Recorded in 2019 with 3 microphones, 16 bit, at 8 kHz; tried with torch 2.14 and Python 3.11.",
        "Accuracy was measured with torch 2.14 on 300 clips.",
        "See [all of it](https://example.org/99%25).",
        "| microphone | price |\n|---|---|\n| a | 12.50 |",
    ],
)
def test_accepts_claims_with_a_file_and_other_numbers(digits_card: str, known: Path, claim: str) -> None:
    check_card(written(digits_card, claim), known)


def test_rejects_numbers_in_templates_without_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(templates.templates_dir(), tmp_path / "model_cards"))
    path = folder / "audio-classification.md.jinja"
    path.write_text(path.read_text().replace("For recordings", "Right in 98.8% of all cases. For recordings"))
    for module in (page, templates):
        monkeypatch.setattr(module, "templates_dir", lambda: folder)
    card = render_card(DIGITS, repo_id="anna/digits")
    assert "98.8%" in card
    with pytest.raises(PublishError, match=r"claims 98\.8%"):
        check_card(card, DIGITS)


def test_allows_changed_words_but_not_changed_numbers(digits_card: str, known: Path) -> None:
    check_card(digits_card.replace("It prints the most likely classes", "You will see the most likely classes"), known)
    check_card(digits_card.replace("20 epochs", "all of 20 epochs"), known)
    with pytest.raises(PublishError, match="has 77, which is not in the files"):
        check_card(digits_card.replace("20 epochs", "all of 77 epochs"), known)


def test_checks_a_custom_card(digits_card: str, known: Path) -> None:
    front = digits_card[: digits_card.index("\n<!-- hf_speech card")]
    check_card(f"{front}\n# My digits\n\n99.7% accuracy on the test split, since 2019.\n", known)
    with pytest.raises(PublishError, match=r"claims 98\.7%"):
        check_card(f"{front}\n# My digits\n\n98.7% accuracy on the test split.\n", known)
    with pytest.raises(PublishError, match="has no license"):
        check_card("# My digits\n", known)
