"""Phones and dictionaries in `hf-speech transcribe`, `tune-decoder` and `evaluate`."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.inference.transcribing import RATE, SENTENCES, read_scores

from hf_speech.data import read_audio
from hf_speech.decoding import BeamSearchDecoder, build_arpa, phone_scores
from hf_speech.errors import CorpusError
from hf_speech.evaluation import evaluate_model
from hf_speech.inference import (
    BeamOptions,
    choose_decoder,
    load_model,
    transcribe_files,
    tune_beam,
)
from hf_speech.inference.beam_options import PhoneOptions
from hf_speech.inference.chunks import log_probabilities
from hf_speech.inference.decoders import beam_decoder
from hf_speech.inference.tuning import RESCORING_WEIGHTS
from hf_speech.training import load_recipe, train


@pytest.fixture(scope="module")
def phones_run(beeps_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer that also predicts the phones x, y and z, one for each letter."""
    folder = tmp_path_factory.mktemp("phones")
    spellings = ["".join(word) for length in (1, 2, 3) for word in itertools.product("abc", repeat=length)]
    sounds = str.maketrans("abc", "xyz")
    (folder / "words.dic").write_text("".join(f"{word} {' '.join(word.translate(sounds))}\n" for word in spellings))
    words = ["--text.lexicon", str(folder / "words.dic"), "--model.intermediate_ctc_weight", "0.3"]
    words += ["--model.num_hidden_layers", "2", "--training.num_train_epochs", "9"]
    return train(load_recipe(beeps_recipe, words), folder / "run").run_dir


def test_phones_rerank_the_hypotheses(transcribe: Any, phones_run: Path, clip: str, arpa: str) -> None:
    scores, asked = (
        read_scores(transcribe("--language_model", arpa, "--nbest", "9", *words, model=phones_run)[1])
        for words in ([], ["--phone_weight", "0.4"])
    )
    loaded = load_model(phones_run)
    heard = log_probabilities(loaded, read_audio(clip, RATE))
    assert heard.shape[1] == len(loaded.tokens) + 4
    ids = {"a": 1, "b": 2, "c": 3}
    for text in scores.keys() & asked.keys():
        (phones,) = phone_scores(heard[:, -4:], [[ids[letter] for letter in text if letter != " "]])
        assert asked[text] == pytest.approx(scores[text] + 0.4 * phones, abs=0.02)
    assert asked != scores
    assert len(scores.keys() & asked.keys()) > 3
    # Texts with an unpronounceable word cannot be compared.
    hot = ["--language_model", arpa, "--nbest", "9", "--hot_words", "cccc", "--hot_word_weight", "40"]
    assert transcribe(*hot, "--phone_weight", "0.4", model=phones_run) == transcribe(*hot, model=phones_run)


def test_tunes_saves_and_uses_the_phone_weight(
    beeps_recipe: Path, phones_run: Path, arpa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]
    language_model = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))

    def only_phones(self: BeamSearchDecoder, log_probs: np.ndarray) -> dict[str, float]:
        """Returns a search with uninformative scores, so that the phones select the right text."""
        return dict.fromkeys(["a", "b", "c", *map(str, rows["text"])], 0.0)

    monkeypatch.setattr(BeamSearchDecoder, "candidates", only_phones)
    best, tuning = tune_beam(loaded, rows, BeamOptions(language_model))
    assert tuning.best.error < 0.2
    assert best.phone_weight in RESCORING_WEIGHTS[1:]
    best.save(corpus="beeps", command="")
    assert BeamOptions.beside(language_model).phone_weight == best.phone_weight
    assert best.describe()["phone_weight"] == best.phone_weight


def test_evaluation_uses_phones_like_transcription(beeps_recipe: Path, phones_run: Path, arpa: str) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]

    def evaluated(options: BeamOptions) -> list[str]:
        report = evaluate_model(
            loaded, rows, corpus="beeps", split="validation", command="", progress=False, beam=options
        )
        return [record["prediction"] for record in report.records]

    # A weight below 0 selects the worst text, which no other setting would.
    options = BeamOptions(Path(arpa), phone_weight=-20.0)
    decoder = choose_decoder(loaded, Path(arpa), phone_weight=-20.0)
    transcripts = transcribe_files(loaded, rows["audio"], decoder=decoder, progress=False)
    assert [transcript.hypothesis.text for transcript in transcripts] == evaluated(options)
    assert evaluated(options) != evaluated(BeamOptions(Path(arpa)))


def test_a_search_by_phones_finds_the_text(
    beeps_recipe: Path, phones_run: Path, tmp_path: Path, transcribe: Any
) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]
    language_model = build_arpa([*rows["text"], *SENTENCES], 2, tmp_path / "lm.arpa").path
    # A search by letters with these absurd weights would find nothing.
    BeamOptions(language_model, 0.5, -90.0, phones=PhoneOptions(0.5, 0.0, 0.3)).save(corpus="beeps")
    options = BeamOptions.beside(language_model)
    decoder = beam_decoder(loaded, options)
    transcripts = list(transcribe_files(loaded, rows["audio"], decoder=decoder, progress=False))
    found = [transcript.hypothesis.text for transcript in transcripts]
    assert sum(text == said for text, said in zip(found, rows["text"], strict=True)) >= 0.7 * len(found)
    for transcript in transcripts:
        words = transcript.hypothesis.words
        assert " ".join(word.text for word in words) == transcript.hypothesis.text
        assert all(0 <= word.start < word.end <= transcript.duration + 0.1 for word in words)
    report = evaluate_model(loaded, rows, corpus="beeps", split="validation", command="", progress=False, beam=options)
    assert [record["prediction"] for record in report.records] == found
    assert report.decoder["phones"] == {"lm_weight": 0.5, "word_score": 0.0, "letter_weight": 0.3}
    # Without the dictionary, the search uses letters.
    model = Path(shutil.copytree(phones_run, tmp_path / "model"))
    (model / "lexicon.txt").unlink()
    status, output, _ = transcribe("--language_model", str(language_model), model=model)
    assert (status, output.strip()) == (0, "")


def test_very_short_sound_gives_no_text_that_does_not_fit(phones_run: Path, arpa: str) -> None:
    loaded = load_model(phones_run)
    decoder = beam_decoder(loaded, BeamOptions(Path(arpa), phones=PhoneOptions(0.5, 0.0, 1.0)))
    phones = np.log(np.full((1, 4), 0.25, dtype=np.float32))
    letters = np.log(np.full((1, len(loaded.tokens)), 1 / len(loaded.tokens), dtype=np.float32))
    (best,) = decoder(np.concatenate((letters, phones), axis=1), 0.04)
    assert len(best.text) <= 1


def test_rejects_a_dictionary_of_other_phones(phones_run: Path, arpa: str, tmp_path: Path, transcribe: Any) -> None:
    model = Path(shutil.copytree(phones_run, tmp_path / "model"))
    (model / "lexicon.txt").write_text("AB x y\n")
    status, _, error = transcribe("--language_model", arpa, "--phone_weight", "0.3", model=model)
    assert status == 2
    assert "lexicon.txt has 2 phones and" in error
    assert "predicts 3: restore the dictionary that the model was trained with." in error
    (model / "lexicon.txt").unlink()
    words = ["--language_model", arpa]
    assert "has no lexicon.txt" in transcribe(*words, "--phone_weight", "0.3", model=model)[2]
    assert "predicts no phones, so phone_weight has no effect" in transcribe("--phone_weight", "0.3")[2]
    # A weight that was tuned is no order: what cannot be asked is not.
    tuned = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))
    content = {"lm_weight": 0.5, "word_score": 0.0, "phone_weight": 2.0, "beam_size": 100}
    tuned.with_suffix(".decoder.json").write_text(json.dumps(content))
    found = transcribe("--language_model", str(tuned), model=model)
    assert found == transcribe(*words, model=model)
    assert found[0] == 0


def test_rejects_tuning_without_utterances(beeps_recipe: Path, phones_run: Path, arpa: str) -> None:
    rows = load_recipe(beeps_recipe).corpus.load()["validation"].select([])
    with pytest.raises(CorpusError, match="no validation split to find the weights on"):
        tune_beam(load_model(phones_run), rows, BeamOptions(Path(arpa)))
