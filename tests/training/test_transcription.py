from __future__ import annotations

import json
from pathlib import Path

import pytest

from hf_speech.errors import HFSpeechError
from hf_speech.training import load_recipe, train
from hf_speech.training.preparation import prepare


def test_a_recognizer_learns_and_is_saved_with_its_tokenizer(beeps_run: Path) -> None:
    report = json.loads((beeps_run / "evaluation" / "test.json").read_text())
    assert report["task"] == "automatic-speech-recognition"
    assert report["metrics"]["wer"] < 0.2
    assert {path.name for path in beeps_run.iterdir()} >= {"vocab.json", "tokenizer_config.json", "frontends.py"}


def test_prints_samples_at_each_evaluation(
    beeps_recipe: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(load_recipe(beeps_recipe, ["--training.num_train_epochs", "1"]), tmp_path / "run")
    printed = capfd.readouterr()
    assert "wer" in printed.out
    assert any(letter in printed.out for letter in ("REF", "reference", "said"))


def test_rejects_transcripts_longer_than_their_sound(beeps_recipe: Path, tmp_path: Path) -> None:
    words = ["--model.subsampling", "8", "--features.hop_length", "400", "--features.win_length", "800"]
    with pytest.raises(HFSpeechError, match="too short for their transcripts"):
        train(load_recipe(beeps_recipe, words), tmp_path / "run")


def test_trains_phones_in_the_middle_layer_and_joins_utterances(beeps_recipe: Path, tmp_path: Path) -> None:
    letters = [f"{word} {' '.join(word)}" for word in sorted(_words(beeps_recipe))]
    (tmp_path / "letters.dic").write_text("\n".join(letters), encoding="utf-8")
    words = ["--text.lexicon", str(tmp_path / "letters.dic"), "--augmentation.joining", "0.5"]
    with pytest.raises(HFSpeechError, match=r"set model\.intermediate_ctc_weight"):
        prepare(load_recipe(beeps_recipe, words))
    words += ["--model.intermediate_ctc_weight", "0.3", "--model.num_hidden_layers", "2"]
    with pytest.raises(
        HFSpeechError, match=r"augmentation\.joining needs speakers with at least two utterances.* to 0"
    ):
        prepare(load_recipe(beeps_recipe, words))
    words += ["--train_file", "spoken.csv", "--speaker_column", "speaker"]
    parts, _ = prepare(load_recipe(beeps_recipe, words))
    assert parts.model.config.num_phones == len(set("".join(_words(beeps_recipe)))) + 1
    dataset = parts.datasets["train"]
    index = next(index for index in range(len(dataset)) if index in dataset._followers)
    item = dataset[index]
    said, joined = (
        parts.tokenizer.decode(ids.tolist(), group_tokens=False) for ids in (dataset.targets[index], item["target"])
    )
    assert joined.startswith(f"{said} ")
    assert len(item["phones"]) == len(joined.replace(" ", ""))
    assert "phones" not in parts.datasets["validation"][0]
    result = train(load_recipe(beeps_recipe, [*words, "--training.max_steps", "2"]), tmp_path / "run")
    assert result.metrics["test"]["wer"] >= 0
    assert (tmp_path / "run" / "lexicon.txt").read_text().split("\n")[0] == "A\ta"


def test_rejects_a_lexicon_with_missing_words(beeps_recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.dic").write_text("zzz z z z\n", encoding="utf-8")
    with pytest.raises(HFSpeechError, match=r"lacks .* words of the transcripts"):
        prepare(load_recipe(beeps_recipe, ["--text.lexicon", str(tmp_path / "letters.dic")]))
    with pytest.raises(HFSpeechError, match=r"No lexicon comes with this corpus"):
        prepare(load_recipe(beeps_recipe, ["--text.lexicon", "corpus"]))


def test_classes_cannot_be_joined() -> None:
    with pytest.raises(HFSpeechError, match=r"set augmentation\.joining to 0"):
        prepare(load_recipe("digits", ["--augmentation.joining", "0.5", "--repetitions", "1", "--train_speakers", "1"]))


def _words(beeps_recipe: Path) -> set[str]:
    lines = (beeps_recipe.parent / "beeps.csv").read_text().splitlines()[1:]
    return {word for line in lines for word in line.split(",")[1].split()}
