"""Training from text: the written recipe, and the whole process from text to metrics."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from stub_voices import Tones

from hf_speech.cli import main
from hf_speech.data.voices import ENGINES
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.training.from_text import FEW_SENTENCES, from_text_recipe, read_sentences
from hf_speech.training.preparation import prepare

SENTENCES = ["Lights on.", "lights off", "open the door", "close the door", "lights on!"]
VOICES = ["tones:1+2+3+4+5"]
TINY = (
    *("--train_speakers", "3", "--validation_speakers", "2", "--test_speakers", "1", "--training.max_steps", "2"),
    *("--training.dataloader_num_workers", "0", "--augmentation.probability", "0", "--training.report_to", "none"),
)


@pytest.fixture(autouse=True)
def tones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tones:
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    engine = Tones()
    monkeypatch.setitem(ENGINES, "tones", engine)
    return engine


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "house.txt"
    path.write_text("\n".join([*SENTENCES, "", "lights off"]), encoding="utf-8")
    return path


def corpus_of(recipe: Any) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(recipe.to_yaml())["corpus"]
    return content


def test_trains_from_text_and_evaluates_on_voices_and_recordings(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "text"])
        for number in range(2):
            soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, 9000), 16_000)
            writer.writerow([f"{number}.wav", "Lights on"])
    run = tmp_path / "run"
    words = ["from-text", str(text), "--voices", VOICES[0], "--clips", str(tmp_path / "clips.csv"), *TINY]
    words += [
        "--output_dir",
        str(run),
        "--model.hidden_size",
        "8",
        "--model.channels",
        "8",
        "--model.stem_channels",
        "4",
    ]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    printed = capsys.readouterr().out
    assert "wer on held-out synthetic voices" in printed
    assert "wer on real recordings" in printed
    reports = {path.stem: json.loads(path.read_text()) for path in (run / "evaluation").glob("*.json")}
    assert reports.keys() >= {"validation", "test", "test-lm", "clips", "clips-lm"}
    assert reports["test"]["num_utterances"] == 5
    assert reports["clips"]["num_utterances"] == 2
    assert "language_model" in json.dumps(reports["clips-lm"])
    grams = (run / "language_model.arpa").read_text(encoding="utf-8")
    assert "\tlights on" in grams, "as the model writes: in lower case, without punctuation"
    assert (run / "language_model.decoder.json").is_file()


def test_holds_out_sentences_only_if_there_are_many(text: Path, tmp_path: Path) -> None:
    few = corpus_of(from_text_recipe(text, voices=VOICES))
    assert few["sentences"] == SENTENCES, "each line once, as it stands"
    assert (few["sentence_fraction"], few["train_speakers"], few["voices"]) == (0, 100, VOICES)
    (tmp_path / "many.txt").write_text("\n".join(f"sentence {number}" for number in range(FEW_SENTENCES + 1)))
    many = from_text_recipe(tmp_path / "many.txt", test_voices=["en-us"], overrides=["--train_speakers", "9"])
    assert (corpus_of(many)["sentence_fraction"], corpus_of(many)["train_speakers"]) == (0.1, 9)
    assert corpus_of(many)["test_voices"] == ["en-us"]
    assert many.name == "many"


def test_samples_sentences_from_a_grammar(tmp_path: Path) -> None:
    path = tmp_path / "house.jsgf"
    path.write_text("#JSGF V1.0;\npublic <s> = lights (on | off) [now] | <d> <d> <d>;\n<d> = one | two | three;\n")
    few = corpus_of(from_text_recipe(path, voices=VOICES))
    assert len(few["sentences"]) == 4 + 27
    assert few["sentence_fraction"] == 0
    drawn = corpus_of(from_text_recipe(path, voices=VOICES, sentences=10))["sentences"]
    assert len(drawn) == 10
    assert drawn == read_sentences(path, 10)
    assert set(drawn) != set(read_sentences(path, 10, seed=1)), "the language model is of other draws"
    assert set(drawn) < set(few["sentences"])


def test_trains_classes_from_words(text: Path, tmp_path: Path) -> None:
    text.write_text("yes\nno\n", encoding="utf-8")
    recipe = from_text_recipe(text, "fsdd", voices=VOICES)
    assert corpus_of(recipe)["name"] == "synthetic"
    assert recipe.corpus.load()["train"].features["label"].names == ["yes", "no"]
    assert recipe.features["sampling_rate"] == 8000, "the rest is the recipe's"


def test_trains_keywords_from_words(text: Path, tmp_path: Path) -> None:
    text.write_text("hey marvin\nstop\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "a.wav", np.random.default_rng(0).normal(0, 0.1, 9000), 16_000)
    negatives = ["--train_negatives", f"[{tmp_path / 'other'}]"]
    recipe = from_text_recipe(text, "wake_words", voices=VOICES, overrides=negatives)
    splits = recipe.corpus.load()
    assert splits["train"].features["label"].names == ["other", "hey marvin", "stop"]
    assert len(splits["test"]) == 2 * 10 * 4
    again = from_text_recipe(text, "wake_words", voices=VOICES, overrides=negatives)
    assert corpus_of(again)["data_dir"] == corpus_of(recipe)["data_dir"]


def test_init_from_provides_features_and_corpus(text: Path, beeps_run: Path, beeps_recipe: Path) -> None:
    recipe = from_text_recipe(text, init_from=str(beeps_run), voices=VOICES)
    assert recipe.features["sampling_rate"] == 8000
    assert recipe.warm_start.init_from == str(beeps_run)
    assert recipe.augmentation.reverberation is not None, "that of the recipe"
    recipe = from_text_recipe(text, init_from=str(beeps_run), old_data_dir=beeps_recipe.parent, voices=VOICES)
    members = [(entry["name"], entry["weight"]) for entry in corpus_of(recipe)["corpora"]]
    assert members == [("synthetic", 1.0), ("csv", 1.0)]
    _, report = prepare(recipe)  # The default recipe has max_batch_seconds, which weights exclude.
    assert report.shares == {"synthetic": 0.5, "csv": 0.5}


@pytest.mark.parametrize(("weights", "expected"), [((2, 1), (2 / 3, 1 / 3)), ((None, None), (1 / 2, 1 / 2))])
def test_half_of_the_training_is_on_the_old_corpus(
    text: Path, tmp_path: Path, beeps_run: Path, beeps_recipe: Path, weights: Any, expected: Any
) -> None:
    names = ("synthetic", "an4")
    corpora = [{"name": name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
    (tmp_path / "mixed.yaml").write_text(yaml.safe_dump({"task": "automatic-speech-recognition", "corpus": corpora}))
    options: dict[str, Any] = {"init_from": str(beeps_run), "old_data_dir": beeps_recipe.parent, "voices": VOICES}
    entries = corpus_of(from_text_recipe(text, tmp_path / "mixed.yaml", **options))["corpora"]
    assert [entry["weight"] for entry in entries] == pytest.approx([*expected, 1.0])


def test_mixes_real_speech_with_the_sentences(text: Path, tmp_path: Path) -> None:
    path = tmp_path / "mixed.yaml"
    content: dict[str, Any] = {"task": "automatic-speech-recognition"}
    content["corpus"] = [{"name": "synthetic", "train_speakers": 7, "weight": 2}, {"name": "an4", "weight": 1}]
    path.write_text(yaml.safe_dump(content))
    entry = corpus_of(from_text_recipe(text, path, voices=VOICES))["corpora"][0]
    assert (entry["train_speakers"], entry["weight"], len(entry["sentences"])) == (7, 2, 5)
    content["corpus"] = content["corpus"][1:]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match="a mixture without synthesized speech"):
        from_text_recipe(text, path)


def test_one_sentence_error_for_invalid_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["from-text", str(tmp_path / "none.txt")])
    assert "There is no text" in capsys.readouterr().err
    (tmp_path / "one.txt").write_text("only this\n")
    with pytest.raises(CorpusError, match="has 1 sentence:"):
        from_text_recipe(tmp_path / "one.txt").corpus.load()
