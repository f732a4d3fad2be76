"""Cards: what they say, that they say nothing else, and what of them survives."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from huggingface_hub import ModelCard

from hf_speech.data.corpora import CORPORA
from hf_speech.data.corpora.emotions import EmotionCorpus
from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.card import page, templates
from hf_speech.publishing.card.corpora import corpus_facts
from hf_speech.publishing.card.facts import read_facts
from hf_speech.publishing.card.metadata import eval_results
from hf_speech.publishing.card.words import percent

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
DIGITS, AN4 = PRETRAINED / "fsdd-digits", PRETRAINED / "an4"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits with figures that stay, whatever becomes of the model: 299 and 300 of 300 are right."""
    folder = Path(shutil.copytree(DIGITS, tmp_path_factory.mktemp("known") / "digits"))
    for split, accuracy, interval in (("test", 299 / 300, (0.98136, 0.99941)), ("validation", 1.0, (0.98736, 1.0))):
        report = figures(folder, split)
        report["metrics"] = {"accuracy": accuracy, "f1_micro": accuracy, "f1_macro": 0.99667}
        report["confidence"] = {"accuracy": interval, "f1_macro": (0.98879, 1.0)}
        report["num_utterances"] = 300
        speaker = {"num_utterances": 50, "accuracy": 1.0, "confidence": {"accuracy": [0.92865, 1.0]}}
        report["per_speaker"] = {"theo": speaker, "yweweler": speaker | {"accuracy": 0.98}}
        report["real_time_factor"] = 0.00099 if split == "test" else 0.0013
        (folder / "evaluation" / f"{split}.json").write_text(json.dumps(report))
    recipe = re.sub(r"num_train_epochs: .*", "num_train_epochs: 20.0", (folder / "recipe.yaml").read_text())
    (folder / "recipe.yaml").write_text(recipe)
    return folder


@pytest.fixture(scope="module")
def digits_card(known: Path) -> str:
    return render_card(known, repo_id="anna/digits", revision="v1")


@pytest.fixture(scope="module")
def an4_card() -> str:
    return render_card(AN4, repo_id="anna/an4", revision="v1")


def figures(folder: Path, name: str = "test") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "evaluation" / f"{name}.json").read_text())
    return content


def written(card: str, text: str, name: str = "notes") -> str:
    """The card with a hand-written section."""
    begin, end = f"<!-- hand-written: {name} -->\n", f"<!-- /hand-written: {name} -->"
    assert begin + end in card
    return card.replace(begin + end, f"{begin}{text}\n{end}")


# What a card says


def test_metadata_is_complete_and_made_of_the_files(an4_card: str) -> None:
    data = ModelCard(an4_card).data
    assert data.license == "apache-2.0"
    assert data.language == ["en"]
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "automatic-speech-recognition"
    assert data.datasets == ["espnet/an4"]
    assert data.metrics == ["wer", "cer"]
    assert data.model_name == "an4"
    found = {(result.metric_name, result.dataset_split): result.metric_value for result in data.eval_results}
    best, searched = figures(AN4)["metrics"], figures(AN4, "test-lm")["metrics"]
    beam = ", beam search with language_model.arpa"
    assert found == {
        ("Word error rate (WER)", "test"): round(best["wer"], 4),
        ("Character error rate (CER)", "test"): round(best["cer"], 4),
        (f"Word error rate (WER){beam}", "test"): round(searched["wer"], 4),
        (f"Character error rate (CER){beam}", "test"): round(searched["cer"], 4),
    }


@pytest.mark.parametrize("folder", [DIGITS, AN4], ids=lambda folder: folder.name)
def test_cards_have_every_part(folder: Path) -> None:
    card = render_card(folder, repo_id="anna/x", revision="v1")
    content, report = ModelCard(card).text, figures(folder)
    headings = re.findall(r"^## (.*)$", content, re.MULTILINE)
    assert headings == [
        *("What it is for, and what not", "Use", "Results", "Training data", "The model", "Recipe"),
        *("How it was made", "Known limits", "License", "Citation"),
    ]
    main = "accuracy" if "accuracy" in report["metrics"] else "wer"
    value, (low, high) = report["metrics"][main], report["confidence"][main]
    assert f"**{100 * value:.1f} %** | {100 * low:.1f} to {100 * high:.1f} % |" in content
    assert f"{report['num_parameters']:,}" in content
    for speaker, row in report["per_speaker"].items():
        assert f"| {speaker} | {row['num_utterances']} | {100 * row[main]:.1f} % |" in content
    assert f"{1 / report['real_time_factor']:,.0f} times as fast as real time" in content
    assert f"    hf-speech evaluate anna/x@v1 --corpus {report['corpus']} --split test --data_dir DIR\n" in content
    assert report["corpus_fingerprint"] in content
    for link in re.findall(r"\]\(([^)#]+)\)", content):
        assert link.startswith("http") or link == "LICENSE" or (folder / link).is_file(), link
    assert "trust_remote_code=True" in content
    assert 'revision="v1"' in content
    assert "{{" not in content
    assert "None" not in content
    assert "\n\n\n" not in content


def test_each_task_and_corpus_in_its_own_words(digits_card: str, known: Path, an4_card: str) -> None:
    assert "zero, one, two, three, four, five, six, seven, eight, nine" in digits_card
    assert "cc-by-sa-4.0" in digits_card
    assert "All speakers of the test split were also trained on." in digits_card
    assert "](evaluation/test-confusions.png)" in digits_card
    for name, row in figures(known)["per_class"].items():
        cells = " | ".join(f"{percent(row[key])} %" for key in ("precision", "recall", "f1"))
        assert f"| {name} | {row['num_utterances']} | {cells} |" in digits_card
    assert "LSTM" in digits_card
    assert "by speakers who were then not trained on" in an4_card
    assert "--language_model language_model.arpa" in an4_card
    assert "It needs the whole recording before it writes anything" in an4_card
    assert "A frame spans 40 ms" in an4_card
    assert "None of the voices" not in an4_card


def test_rendering_is_repeatable(digits_card: str, known: Path) -> None:
    assert render_card(known, repo_id="anna/digits", revision="v1") == digits_card
    assert render_card(known, repo_id="anna/digits", revision="v1", previous=digits_card) == digits_card


def test_without_a_revision_the_card_says_how_to_pin() -> None:
    card = render_card(DIGITS, repo_id="anna/digits")
    assert 'revision="main"' in card
    assert "put a commit in the place of `main`" in card
    check_card(card, DIGITS)


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_can_be_spoken_of(name: str, digits: Path) -> None:
    recipe = re.sub(r"(corpus:\n  name: )fsdd", rf"\g<1>{name}", (digits / "recipe.yaml").read_text())
    (digits / "recipe.yaml").write_text(recipe)
    for path in (digits / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"corpus": "fsdd"', f'"corpus": "{name}"'))
    card = render_card(digits, repo_id="anna/digits")
    check_card(card, digits)
    assert CORPORA[name].title in card
    assert (CORPORA[name].license or "not recorded" if name != "synthetic" else "none: the speech") in card
    assert ("It recognizes how actors portray emotions" in card) == issubclass(CORPORA[name], EmotionCorpus)
    language = CORPORA[name].language
    assert ModelCard(card).data.language == (None if language is None else [language])


def test_what_is_known_of_a_corpus_by_its_options() -> None:
    assert corpus_facts("synthetic", {"voices": ["en-us", "en-gb-scotland", "de"]}).languages == ["de", "en"]
    hub = corpus_facts("hub", {"repo": "google/fleurs"})
    assert (hub.title, hub.dataset) == ("google/fleurs", "google/fleurs")
    assert hub.homepage == "https://huggingface.co/datasets/google/fleurs"
    own = corpus_facts("folder", {"data_dir": "path/to/mine"})
    assert (own.dataset, own.license, own.languages) == (None, None, [])


def test_held_out_voice(digits: Path) -> None:
    recipe = (digits / "recipe.yaml").read_text()
    (digits / "recipe.yaml").write_text(recipe.replace("holdout_speaker: null", "holdout_speaker: theo"))
    card = render_card(digits, repo_id="anna/digits")
    assert "The test split is all recordings of the speaker theo" in card
    assert "All speakers of the test split" not in card


# The corpus, its options, and what the card must and must not say of them.
SPLITS = (
    ("fsdd", {"split": "official"}, ["5 to 9 for validation", "All speakers of the test split were"], []),
    ("fsdd", {"split": "random"}, ["They were split at random.", "All speakers of the test split were"], ["official"]),
    (
        "fsdd",
        {"split": "official", "validation_speaker": "theo"},
        ["The other clips of the speaker theo are for validation", "All speakers of the test split but theo"],
        ["5 to 9 for validation"],
    ),
    (
        "fsdd",
        {"holdout_speaker": "theo", "validation_speaker": "lucas"},
        ["all recordings of the speaker theo", "The validation split is all recordings of the speaker lucas"],
        ["official"],
    ),
    ("an4", {}, ["; the validation split was taken from the training utterances"], []),
    ("crema_d", {"split": "speakers"}, ["Training and test have no speaker in common."], []),
    ("crema_d", {"split": "random"}, ["every sentence of the test split was also trained on"], ["in common"]),
    ("speech_commands", {"classes": "12"}, ["other words are `unknown`; pieces of noise are `silence`"], []),
    (
        "speech_commands",
        {"classes": "12", "unknown_fraction": 0.0, "silence_fraction": 0.0},
        ["Ten commands are classes."],
        ["no official split"],
    ),
)


def with_corpus(folder: Path, name: str, options: dict[str, Any]) -> None:
    """Makes a run one of another corpus."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["corpus"] = {"name": name, **options}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (folder / "evaluation").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus": name}))


def without_split(folder: Path, split: str) -> None:
    """Makes a run one whose corpus had no such split."""
    inspection = json.loads((folder / "inspection.json").read_text())
    inspection["splits"][split] |= {"num_rows": 0, "num_good": 0, "hours": 0.0}
    (folder / "inspection.json").write_text(json.dumps(inspection))
    for path in (folder / "evaluation").glob(f"{split}*.json"):
        path.unlink()


@pytest.mark.parametrize(("name", "options", "said", "unsaid"), SPLITS)
def test_splits_are_those_of_the_recipe(
    digits: Path, name: str, options: dict[str, Any], said: list[str], unsaid: list[str]
) -> None:
    with_corpus(digits, name, options)
    card = render_card(digits, repo_id="anna/x")
    check_card(card, digits)
    assert [words for words in said if words not in card] == []
    assert [words for words in unsaid if words in card] == []


@pytest.mark.parametrize(
    ("name", "split", "said", "unsaid"),
    [
        ("an4", "validation", "The official test split has its own speakers.", "validation split"),
        ("fsdd", "test", "All speakers of the validation split were also trained on", "test split"),
        ("crema_d", "test", "It was split at random, which flatters", "test split"),
    ],
)
def test_splits_without_utterances_are_not_spoken_of(
    digits: Path, name: str, split: str, said: str, unsaid: str
) -> None:
    with_corpus(digits, name, {"split": "random"})
    without_split(digits, split)
    training = json.loads((digits / "training.json").read_text())
    if split == "validation":
        training["log"] = [entry for entry in training["log"] if "eval_loss" not in entry]
    (digits / "training.json").write_text(json.dumps(training))
    card = render_card(digits, repo_id="anna/x")
    check_card(card, digits)
    assert said in card
    assert unsaid not in card
    curves = "Loss and learning rate" if split == "validation" else "Loss and metrics on the validation split"
    assert f"![{curves}, over the epochs](curves.png)" in card


@pytest.mark.parametrize("run", ["tones_run", "beeps_run"])
def test_any_run_has_a_card(run: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(run)
    card = render_card(folder, repo_id="anna/x")
    check_card(card, folder)
    assert "license | not recorded" in card
    assert ("low" in card and "high" in card) if run == "tones_run" else "model.stream" in card
    assert "hf_speech.train(recipe)" in card
    training = json.loads((folder / "training.json").read_text())
    assert f"| hardware | {training['machine']['processor']} (cpu), 1 thread |" in card
    assert f"| versions | python {training['versions']['python']}, torch " in card
    assert re.search(r"\| train split \| \d+ utterances, \d+\.\d (seconds|minutes) \|", card)
    assert str(folder) not in card


def test_many_classes_and_perfect_and_nearly_perfect_figures(digits: Path) -> None:
    report = figures(digits)
    rows = {f"class{i}": {"precision": i / 30, "recall": 1.0, "f1": i / 30, "num_utterances": 9} for i in range(30)}
    report["per_class"] = rows
    report["metrics"]["accuracy"] = 0.99996
    (digits / "evaluation" / "test.json").write_text(json.dumps(report))
    card = render_card(digits, repo_id="anna/x")
    check_card(card, digits)
    assert "**99.996 %**" in card
    assert "The 20 worst; 10 more are in" in card
    assert "| class0 | 9 | 0.0 % |" in card
    assert "| class29 |" not in card
    with pytest.raises(PublishError, match="claims 100 %"):
        check_card(card.replace("**99.996 %**", "**100 %**"), digits)
    assert [percent(value) for value in (1.0, 0.0, 0.5, 0.00001, 1.2)] == ["100.0", "0.0", "50.0", "0.001", "120.0"]


# What a card must not say


def shown(value: float) -> str:
    return f"{100 * value:.1f}"


def tampered(card: str) -> dict[str, tuple[str, str]]:
    """The card with one number changed, and what the message must say, by what was done."""
    best, beam, validation = (figures(AN4, name) for name in ("test", "test-lm", "validation"))
    wer, (low, high) = shown(best["metrics"]["wer"]), (shown(end) for end in best["confidence"]["wer"])
    figure, interval = f"| **{wer} %** |", f" {low} to {high} % |"
    speakers = sorted(best["per_speaker"].items(), key=lambda item: item[1]["wer"])
    (good, of_good), (poor, of_poor) = speakers[0], speakers[-1]
    row, count = f"| {poor} | {of_poor['num_utterances']} | {shown(of_poor['wer'])} % |", of_poor["num_utterances"]
    factor = best["real_time_factor"]
    hours = json.loads((AN4 / "inspection.json").read_text())["splits"]["train"]["hours"]
    edits = {
        "a better figure": (figure, "| **1.5 %** |", "claims 1.5 %"),
        "a narrower interval": (interval, f" {low} to {low} % |", f"claims {low} to {low} %"),
        "the figure with a language model": (figure, f"| **{shown(beam['metrics']['wer'])} %** |", "the files say"),
        "the figure of another split": (
            figure,
            f"| **{shown(validation['metrics']['wer'])} %** |",
            "no evaluation file",
        ),
        "the end of the interval": (figure, f"| **{low} %** |", f"claims {low} %"),
        "another speaker's figure": (
            row,
            row.replace(shown(of_poor["wer"]), shown(of_good["wer"])),
            "no evaluation file",
        ),
        "more utterances": (
            row,
            row.replace(f"| {count} |", f"| {count}0 |"),
            f"has {count}0, and the files say {count}",
        ),
        "a speed": (f"that is {1 / factor:,.0f} times", "that is 5,000 times", "claims 5,000"),
        "a real-time factor": (f"factor {factor:.2g}", "factor 0.0007", "claims 0.0007"),
        "a larger split": (f"{best['num_utterances']} utterances", "13,000 utterances", "has 13,000"),
        "fewer parameters": (f"{best['num_parameters']:,}", "1,000,000", "has 1,000,000"),
        "more hours": (f"{60 * hours:.1f} minutes", "6400.0 minutes", "has 6400.0"),
        "the index": (f"value: {round(best['metrics']['wer'], 4)}", "value: 0.05", "model-index says wer = 0.05"),
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
def test_changed_numbers_are_refused(an4_card: str, what: str) -> None:
    check_card(an4_card, AN4)
    card, message = tampered(an4_card)[what]
    with pytest.raises(PublishError, match=re.escape(message)) as error:
        check_card(card, AN4)
    assert "\n" not in str(error.value)


def test_figures_left_out_of_the_index_are_missed(an4_card: str) -> None:
    start = an4_card.index("    - type: cer")
    without = an4_card[:start] + an4_card[an4_card.index("    - type: wer", start) :]
    with pytest.raises(PublishError, match="lacks cer"):
        check_card(without, AN4)


@pytest.mark.parametrize(
    "claim",
    [
        "It has an accuracy of 99.9 % on the test split.",
        "It is right 98 per cent of the time.",
        "On my own recordings: 97.5%.",
        "Test accuracy: 100 %.",  # Of the validation split, and of some speakers.
        "Accuracy at least 98.1 %.",  # One end of an interval.
        "Accuracy 99.9 % (98.1 to 99.9 %).",
        "Accuracy between 98.1 and 100 %.",
        "An accuracy of 99.7 % (97.1-99.9 %).",
        "An F1 of 0.91.",
        "The accuracy is 97.",
        "It is 5,000 times faster than real time.",
        "It runs at 2x real time.",
        "A real-time factor of 0.5.",
        "theo: accuracy 98.0 %.",  # That is yweweler's.
        "| speaker | accuracy |\n|---|---|\n| me | 99.0 |",
        "| test | accuracy |\n|---|---|\n| the street | 0.93 |",
        "95 % of all digits.",  # The level of the intervals.
        "99.7&nbsp;% here, and 91&#37; there.",
        "```\naccuracy 91.5 %\n```",
    ],
)
def test_claims_without_a_file_are_refused(digits_card: str, known: Path, claim: str) -> None:
    with pytest.raises(PublishError, match="which no evaluation file has for it"):
        check_card(written(digits_card, claim), known)


@pytest.mark.parametrize(
    "claim",
    [
        "On the test split its accuracy is 99.7 % (95 % interval: 98.1 to 99.9 %).",
        "Test accuracy 99.7 % (98.1-99.9), that is between 98.1 and 99.9 %.",
        "Accuracy on the validation split: 100 %.",
        "An accuracy of 0.997.",
        "yweweler: 98.0 % of the test split.",
        "It is 1,010 times as fast as real time.",
        "evaluation/validation.json has an accuracy of 100.0 %.",
        "Recorded in 2019 with 3 microphones, 16 bit, at 8 kHz; tried with torch 2.14 and Python 3.11.",
        "Accuracy was measured with torch 2.14 on 300 clips.",
        "See [all of it](https://example.org/99%25).",
        "| microphone | price |\n|---|---|\n| a | 12.50 |",
    ],
)
def test_claims_with_a_file_and_other_numbers_are_not(digits_card: str, known: Path, claim: str) -> None:
    check_card(written(digits_card, claim), known)


def test_a_number_in_a_template_needs_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(templates.templates_dir(), tmp_path / "model_cards"))
    path = folder / "audio-classification.md.jinja"
    path.write_text(path.read_text().replace("For recordings", "Right in 98.8 % of all cases. For recordings"))
    for module in (page, templates):
        monkeypatch.setattr(module, "templates_dir", lambda: folder)
    card = render_card(DIGITS, repo_id="anna/digits")
    assert "98.8 %" in card
    with pytest.raises(PublishError, match=r"claims 98\.8 %"):
        check_card(card, DIGITS)


def test_words_may_be_changed_and_numbers_may_not(digits_card: str, known: Path) -> None:
    check_card(digits_card.replace("It prints the most likely classes", "You will see the most likely classes"), known)
    check_card(digits_card.replace("20 epochs", "all of 20 epochs"), known)
    with pytest.raises(PublishError, match="has 77, and the files do not say so"):
        check_card(digits_card.replace("20 epochs", "all of 77 epochs"), known)


def test_a_card_of_ones_own(digits_card: str, known: Path) -> None:
    front = digits_card[: digits_card.index("\n<!-- hf_speech card")]
    check_card(f"{front}\n# My digits\n\n99.7 % accuracy on the test split, since 2019.\n", known)
    with pytest.raises(PublishError, match=r"claims 98\.7 %"):
        check_card(f"{front}\n# My digits\n\n98.7 % accuracy on the test split.\n", known)
    with pytest.raises(PublishError, match="has no license"):
        check_card("# My digits\n", known)


# What survives


def test_hand_written_sections_survive(digits_card: str, known: Path) -> None:
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


def test_what_is_not_between_the_comments_is_rendered_anew(digits_card: str, known: Path) -> None:
    spoiled = digits_card.replace("**99.7 %**", "**100 %**").replace("# digits", "# The best of digits")
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
def test_text_is_not_lost_to_a_missing_comment(digits_card: str, known: Path, spoiled: str) -> None:
    with pytest.raises(PublishError, match="hand-written section"):
        render_card(known, repo_id="anna/digits", previous=digits_card + spoiled)
    with pytest.raises(PublishError, match="hand-written section"):
        check_card(digits_card + spoiled, known)


def test_metadata_of_others_survives(digits_card: str, known: Path) -> None:
    previous = digits_card.replace("tags:\n", "thumbnail: https://example.org/x.png\ntags:\n- favorite\n")
    previous = previous.replace("value: 0.9967", "value: 0.5")
    data = ModelCard(render_card(known, repo_id="anna/digits", previous=previous)).data
    assert data.thumbnail == "https://example.org/x.png"
    assert data.tags[-1] == "favorite"
    assert data.eval_results == eval_results(read_facts(known))


def test_cards_that_are_none(digits_card: str, known: Path) -> None:
    """The Hub's own first README has metadata or none, and no comment of ours."""
    for previous in ("---\nlicense: apache-2.0\n---\n", "# hello\n", ""):
        assert render_card(known, repo_id="anna/digits", revision="v1", previous=previous) == digits_card
    with pytest.raises(PublishError, match="not valid"):
        render_card(known, repo_id="anna/digits", previous="---\n- a list\n---\n")


# What a card is made of


def spoil(folder: Path, **changes: Any) -> None:
    report = figures(folder) | changes
    (folder / "evaluation" / "test.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_revision": "sha256:" + "0" * 64}, "measured other weights"),
        ({"command": None}, "does not say command"),
        ({"corpus_fingerprint": ""}, "does not say corpus_fingerprint"),
        ({"split": None}, "does not say split"),
        ({"metrics": {}}, "does not say metrics"),
        ({"metrics": {"accuracy": "high"}}, "which is not a figure"),
        ({"task": "automatic-speech-recognition"}, "are of several tasks"),
        ({"task": "text-to-speech"}, "are of several tasks"),
    ],
)
def test_figures_without_an_origin_are_refused(digits: Path, changes: dict[str, Any], message: str) -> None:
    spoil(digits, **changes)
    with pytest.raises(PublishError, match=message):
        render_card(digits, repo_id="anna/digits")


def test_a_model_without_figures_has_no_card(digits: Path) -> None:
    shutil.rmtree(digits / "evaluation")
    with pytest.raises(PublishError, match=r"has no evaluation, .* run `hf-speech evaluate"):
        render_card(digits, repo_id="anna/digits")


def test_other_weights_have_other_figures(digits: Path) -> None:
    content = bytearray((digits / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (digits / "model.safetensors").write_bytes(content)
    with pytest.raises(PublishError, match="measured other weights"):
        render_card(digits, repo_id="anna/digits")


@pytest.mark.parametrize("name", ["digits", "a/b/c", "anna/", "anna/dig its"])
def test_names_of_repositories(name: str) -> None:
    with pytest.raises(PublishError, match="is not the name of a repository"):
        render_card(DIGITS, repo_id=name)


def test_licenses(digits: Path) -> None:
    with pytest.raises(PublishError, match="no license 'apache2'"):
        render_card(digits, repo_id="anna/x", license="apache2")
    with pytest.raises(PublishError, match=r"text of the license mit is missing"):
        render_card(digits, repo_id="anna/x", license="mit")
    (digits / "LICENSE").write_text("MIT License\n\nPermission is hereby granted, free of charge, to any person")
    card = render_card(digits, repo_id="anna/x")
    assert ModelCard(card).data.license == "mit"
    assert "The Python files are under apache-2.0, see [LICENSE-CODE](LICENSE-CODE)." in card
    with pytest.raises(PublishError, match=r"text of mit, not of cc-by-4\.0"):
        render_card(digits, repo_id="anna/x", license="cc-by-4.0")
    (digits / "LICENSE").write_text("The Kitchen License\n\nFor kitchens only.")
    data = ModelCard(render_card(digits, repo_id="anna/x")).data
    assert (data.license, data.license_name, data.license_link) == ("other", "the-kitchen-license", "LICENSE")
    (digits / "LICENSE").write_text(" \n")
    with pytest.raises(PublishError, match="LICENSE is empty"):
        render_card(digits, repo_id="anna/x")


# Whether it can be followed


@pytest.mark.slow
@pytest.mark.parametrize("folder", [DIGITS, AN4], ids=lambda folder: folder.name)
def test_the_example_runs_as_it_stands(folder: Path, tmp_path: Path) -> None:
    """In a process that cannot import hf_speech, on a stereo file of another rate; only the Hub id is a folder here."""
    card = render_card(folder, repo_id="anna/x", revision="v1")
    example = re.search(r"```python\n(.*?)```", card, re.DOTALL)
    assert example is not None
    code = example.group(1)
    assert code.count("\n") == 6
    assert 'model="anna/x", revision="v1"' in code
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "recording.wav", rng.uniform(-0.3, 0.3, (22050, 2)), 44100)
    code = "import sys\nsys.modules['hf_speech'] = None\n" + code.replace("anna/x", str(folder))
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    finished = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    assert finished.stdout.strip() or folder == AN4
