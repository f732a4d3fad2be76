"""The content of a card, and whether its instructions work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from cards import AN4, DIGITS, PRETRAINED, figures
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from hf_speech.data.corpora import CORPORA
from hf_speech.data.corpora.emotion_base import EmotionCorpus
from hf_speech.errors import PublishError
from hf_speech.publishing import check_card, render_card
from hf_speech.publishing.card.context import percent
from hf_speech.publishing.card.corpora import corpus_facts, corpus_template
from hf_speech.publishing.card.templates import _environment, templates_dir, unmarked


def test_metadata_is_complete_and_comes_from_the_files(an4_card: str) -> None:
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
        ("Word error rate (WER)", "test"): round(100 * best["wer"], 2),
        ("Character error rate (CER)", "test"): round(100 * best["cer"], 2),
        (f"Word error rate (WER){beam}", "test"): round(100 * searched["wer"], 2),
        (f"Character error rate (CER){beam}", "test"): round(100 * searched["cer"], 2),
    }


@pytest.mark.parametrize("folder", [DIGITS, AN4], ids=lambda folder: folder.name)
def test_cards_have_all_sections(folder: Path) -> None:
    card = render_card(folder, repo_id="anna/x", revision="v1")
    content, report = ModelCard(card).text, figures(folder)
    headings = re.findall(r"^## (.*)$", content, re.MULTILINE)
    assert headings == [
        *("Intended use", "Use", "Results", "Training data", "The model", "Recipe"),
        *("Provenance", "Known limits", "License", "Citation"),
    ]
    main = "accuracy" if "accuracy" in report["metrics"] else "wer"
    value, (low, high) = report["metrics"][main], report["confidence"][main]
    assert f"**{100 * value:.1f}%** | {100 * low:.1f} to {100 * high:.1f}% |" in content
    assert f"{report['num_parameters']:,}" in content
    for speaker, row in report["per_speaker"].items():
        assert f"| {speaker} | {row['num_utterances']} | {100 * row[main]:.1f}% |" in content
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


@pytest.mark.parametrize("folder", sorted(PRETRAINED.iterdir()), ids=lambda folder: folder.name)
def test_the_hub_shows_every_table_as_one(folder: Path) -> None:
    content = ModelCard(render_card(folder, repo_id="anna/x", revision="v1")).text
    tokens = [token.type for token in MarkdownIt("commonmark").enable("table").parse(content)]
    lines = [line for line in content.splitlines() if line.startswith("|")]
    delimiters = [line for line in lines if set(line) <= set("|-\\")]
    assert tokens.count("table_open") == len(delimiters) > 2
    assert tokens.count("tr_open") + len(delimiters) == len(lines)


def test_no_template_inserts_a_text_that_begins_or_ends_with_a_space() -> None:
    # Inserted values are joined to one line without spaces around them.
    for file in templates_dir().rglob("*.jinja"):
        assert not re.findall(r'\{\{ "(?: [^"]*|[^"]* )"', file.read_text(encoding="utf-8")), file.name


def test_texts_match_task_and_corpus(digits_card: str, known: Path, an4_card: str) -> None:
    assert "zero, one, two, three, four, five, six, seven, eight, nine" in digits_card
    assert "cc-by-sa-4.0" in digits_card
    assert "All speakers of the test split were also trained on." in digits_card
    assert "](evaluation/test-confusions.png)" in digits_card
    for name, row in figures(known)["per_class"].items():
        cells = " | ".join(f"{percent(row[key])}%" for key in ("precision", "recall", "f1"))
        assert f"| {name} | {row['num_utterances']} | {cells} |" in digits_card
    assert "The model has 2 bidirectional LSTM layers of 96 units in each direction" in digits_card
    assert "with speakers who were left out of training" in an4_card
    assert "--language_model language_model.arpa" in an4_card
    assert "It needs the whole recording before it writes anything" in an4_card
    assert "A frame spans 40 ms" in an4_card
    assert "3 bidirectional GRU layers of 256 units in each direction and a linear layer" in an4_card
    assert "None of the voices" not in an4_card


def test_rendering_is_deterministic(digits_card: str, known: Path) -> None:
    assert render_card(known, repo_id="anna/digits", revision="v1") == digits_card
    assert render_card(known, repo_id="anna/digits", revision="v1", previous=digits_card) == digits_card


def test_the_card_explains_pinning_without_a_revision() -> None:
    card = render_card(DIGITS, repo_id="anna/digits")
    assert 'revision="main"' in card
    assert "replace `main` with a commit" in card
    check_card(card, DIGITS)


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_corpus_has_texts(name: str, digits: Path) -> None:
    recipe = re.sub(r"(corpus:\n  name: )fsdd", rf"\g<1>{name}", (digits / "recipe.yaml").read_text())
    (digits / "recipe.yaml").write_text(recipe)
    for path in (digits / "evaluation").glob("*.json"):
        path.write_text(path.read_text().replace('"corpus": "fsdd"', f'"corpus": "{name}"'))
    card = render_card(digits, repo_id="anna/digits")
    check_card(card, digits)
    assert CORPORA[name].title in card
    assert (CORPORA[name].license or "not recorded" if name != "synthetic" else "none: the speech") in card
    assert ("It recognizes how actors portray emotions" in card) == issubclass(CORPORA[name], EmotionCorpus)
    assert ("by [eSpeak NG](https://github.com/espeak-ng/espeak-ng) in many voices" in card) == (name == "synthetic")
    language = CORPORA[name].language
    assert ModelCard(card).data.language == (None if language is None else [language])


def test_texts_depend_on_the_options_of_the_corpus() -> None:
    assert corpus_facts("synthetic", {"voices": ["en-us", "en-gb-scotland", "de"]}).languages == ["de", "en"]
    hub = corpus_facts("hub", {"repo": "google/fleurs"})
    assert (hub.title, hub.dataset) == ("google/fleurs", "google/fleurs")
    assert hub.homepage == "https://huggingface.co/datasets/google/fleurs"
    own = corpus_facts("folder", {"data_dir": "path/to/mine"})
    assert (own.dataset, own.license, own.languages) == (None, None, [])


def test_describes_a_held_out_speaker(digits: Path) -> None:
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
    ("an4", {}, ["; the validation split was taken from the official training split"], []),
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
    """Changes the corpus of a run."""
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe["corpus"] = {"name": name, **options}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for path in (folder / "evaluation").glob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"corpus": name}))


def without_split(folder: Path, split: str) -> None:
    """Removes a split from the corpus of a run."""
    inspection = json.loads((folder / "inspection.json").read_text())
    inspection["splits"][split] |= {"num_rows": 0, "num_good": 0, "hours": 0.0}
    (folder / "inspection.json").write_text(json.dumps(inspection))
    for path in (folder / "evaluation").glob(f"{split}*.json"):
        path.unlink()


@pytest.mark.parametrize(("name", "options", "said", "unsaid"), SPLITS)
def test_splits_come_from_the_recipe(
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
        ("crema_d", "test", "It was split at random, which makes the metrics too optimistic", "test split"),
    ],
)
def test_leaves_out_empty_splits(digits: Path, name: str, split: str, said: str, unsaid: str) -> None:
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
def test_every_run_can_have_a_card(run: str, request: pytest.FixtureRequest) -> None:
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


def test_many_classes_and_nearly_perfect_metrics(digits: Path) -> None:
    report = figures(digits)
    rows = {f"class{i}": {"precision": i / 30, "recall": 1.0, "f1": i / 30, "num_utterances": 9} for i in range(30)}
    report["per_class"] = rows
    report["metrics"]["accuracy"] = 0.99996
    (digits / "evaluation" / "test.json").write_text(json.dumps(report))
    card = render_card(digits, repo_id="anna/x")
    check_card(card, digits)
    assert "**99.996%**" in card
    assert "The 20 worst; 10 more are in" in card
    assert "| class0 | 9 | 0.0% |" in card
    assert "| class29 |" not in card
    with pytest.raises(PublishError, match="claims 100%"):
        check_card(card.replace("**99.996%**", "**100%**"), digits)
    assert [percent(value) for value in (1.0, 0.0, 0.5, 0.00001, 1.2)] == ["100.0", "0.0", "50.0", "0.001", "120.0"]


@pytest.mark.slow
@pytest.mark.parametrize("folder", [DIGITS, AN4], ids=lambda folder: folder.name)
def test_the_example_runs_unchanged(folder: Path, tmp_path: Path) -> None:
    """Runs without hf_speech, on a stereo file of another rate; the Hub id is replaced by a folder."""
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


def test_a_card_names_all_corpora_of_a_mixture(digits: Path) -> None:
    entries = "{name: fsdd, data_dir: a}, {name: ravdess, data_dir: b}, {name: ravdess, data_dir: c}"
    recipe = (digits / "recipe.yaml").read_text(encoding="utf-8")
    recipe = recipe.replace("corpus:\n  name: fsdd", f"corpus:\n  corpora: [{entries}]\n  name: mixture")
    (digits / "recipe.yaml").write_text(recipe, encoding="utf-8")
    for path in (digits / "evaluation").glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content["per_corpus"] = {"fsdd": content["per_speaker"]["george"], "ravdess": content["per_speaker"]["jackson"]}
        path.write_text(json.dumps(content | {"corpus": "mixture"}), encoding="utf-8")
    card = render_card(digits, repo_id="anna/digits")
    check_card(card, digits)
    assert "Free Spoken Digit Dataset and RAVDESS" in card
    assert "cc-by-nc-sa-4.0 (RAVDESS)" in card
    assert "By corpus, test split" in card
    assert "hf download anna/digits --local-dir digits && hf-speech evaluate digits --split test" in card
    assert ModelCard(card).data.datasets == ["fsdd", "ravdess"]


@pytest.mark.parametrize(("split", "text"), [("speakers", "no speaker in common"), ("random", "split at random")])
def test_a_mixture_of_acted_emotions_has_their_text(split: str, text: str) -> None:
    parts = [{"name": "crema_d", "split": "speakers"}, {"name": "ravdess", "split": split}]
    corpus = corpus_facts("mixture", {"name": "mixture", "corpora": parts})
    assert corpus_template(corpus) == "acted_emotions"
    assert corpus_template(corpus_facts("mixture", {"corpora": [*parts, {"name": "fsdd"}]})) == "mixture"
    source = "{% import 'corpora/acted_emotions.md.jinja' as about with context %}{{ about.description() }}"
    template = _environment(templates_dir()).from_string(source)
    shown = unmarked(template.render(corpus=corpus, split_names=["test"]))
    assert shown.strip().startswith("CREMA-D and RAVDESS. Actors speak")
    assert [each for each in ("no speaker in common", "split at random") if each in shown] == [text]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("teacher: anna/large\n  teacher_weight: 0.4", "the probabilities of anna/large (weight 0.4)"),
        ("teacher: /home/anna/whisper\n  teacher_weight: 1.0", "the probabilities of whisper (weight 1.0)"),
        (
            "teacher: {model: openai/whisper-tiny.en, layers: [4], weight: 0.25}",
            "the states of the encoder of openai/whisper-tiny.en (weight 0.25)",
        ),
    ],
)
def test_a_card_names_the_teacher(digits: Path, options: str, sentence: str) -> None:
    recipe = (digits / "recipe.yaml").read_text(encoding="utf-8")
    (digits / "recipe.yaml").write_text(recipe.replace("training:\n", f"training:\n  {options}\n"), encoding="utf-8")
    card = render_card(digits, repo_id="anna/digits")
    check_card(card, digits)
    assert f"It also learned {sentence}, which is not needed to use it." in card
