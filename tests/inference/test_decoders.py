"""Hot words, n-best lists and language models, as `hf-speech transcribe` offers them."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.cli.app import main
from hf_speech.data import read_audio
from hf_speech.decoding import BeamSearchDecoder, build_arpa, phone_scores
from hf_speech.errors import CorpusError, HFSpeechError, ModelError
from hf_speech.evaluation import evaluate_model
from hf_speech.inference import (
    BeamOptions,
    choose_decoder,
    find_language_model,
    load_model,
    transcribe_files,
    tune_beam,
)
from hf_speech.inference.beam_options import PhoneOptions
from hf_speech.inference.chunks import log_probabilities
from hf_speech.inference.decoders import beam_decoder, make_search
from hf_speech.inference.tuning import RESCORING_WEIGHTS
from hf_speech.training import load_recipe, train

RATE = 8000
SENTENCES = ["ab c", "c ab", "ab ab c", "c c", "cab", "b a"] * 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, make_beeps: Any) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.wav"
    soundfile.write(path, make_beeps("ab c"), RATE)
    return str(path)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_arpa(SENTENCES, 2, tmp_path_factory.mktemp("lm") / "lm.arpa").path)


@pytest.fixture
def transcribe(beeps_run: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `hf-speech transcribe RUN CLIP words...` and gives its exit status, output and errors."""

    def run(*words: str, model: Path = beeps_run, files: tuple[str, ...] = (clip,)) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(["transcribe", str(model), *files, *words])
        return int(exit_.value.code or 0), *capsys.readouterr()

    return run


def read_scores(output: str) -> dict[str, float]:
    rows = [line.split("\t") for line in output.splitlines()]
    return {text: float(score) for score, text in rows}


def test_several_texts_with_scores(transcribe: Any, arpa: str) -> None:
    for words in ([], ["--language_model", arpa]):
        status, output, _ = transcribe("--nbest", "4", *words)
        assert status == 0
        scores = read_scores(output)
        assert len(scores) == 4
        assert next(iter(scores)) == "ab c"
        assert list(scores.values()) == sorted(scores.values(), reverse=True)
        _, output, _ = transcribe("--nbest", "4", "--format", "json", *words)
        content = json.loads(output)
        assert {row["text"]: round(row["score"], 2) for row in content["nbest"]} == scores
        assert content["nbest"][0]["words"] == content["words"]
        for row in content["nbest"]:
            assert [word["text"] for word in row["words"]] == row["text"].split()
            assert all(0 < word["confidence"] <= 1 for word in row["words"])
        # How sure the model is of the letters that it did hear, and did not.
        sure, unsure = (min(word["confidence"] for word in row["words"]) for row in content["nbest"][:2])
        assert sure > 0.5 > unsure


def test_one_text_is_written_as_ever(transcribe: Any) -> None:
    assert transcribe("--nbest", "1")[1] == "ab c\n"
    assert "nbest" not in json.loads(transcribe("--format", "json")[1])
    for output_format in ("srt", "vtt"):
        blocks = transcribe("--format", output_format)[1].strip().split("\n\n")
        assert len(blocks) == 1 + (output_format == "vtt")
        times, text = blocks[-1].splitlines()[-2:]
        assert "-->" in times
        assert text == "ab c"


def test_every_line_names_its_file(transcribe: Any, clip: str) -> None:
    _, output, _ = transcribe("--nbest", "2", files=(clip, clip))
    lines = output.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{clip}: -") for line in lines)
    _, output, _ = transcribe("--format", "json", files=(clip,))
    assert json.loads(output)["file"] == clip


def test_a_hot_word_wins_if_it_weighs_enough(transcribe: Any, arpa: str) -> None:
    """With a lexicon it need not even be known; without, it must be among what was heard."""
    scores = read_scores(transcribe("--nbest", "30")[1])
    rival = next(text for text in scores if set(text.split()) - {"ab", "c"})
    (hot, *_) = sorted(set(rival.split()) - {"ab", "c"})
    for words in ([], ["--language_model", arpa]):
        assert transcribe("--hot_words", f"ccc, {hot.upper()}", "--hot_word_weight", "0.001", *words)[1] == "ab c\n"
        assert hot in transcribe("--hot_words", f"ccc, {hot.upper()}", "--hot_word_weight", "90", *words)[1].split()
    found = read_scores(transcribe("--hot_words", hot, "--hot_word_weight", "2.5", "--nbest", "30")[1])
    assert found[rival] == pytest.approx(scores[rival] + 2.5 * rival.split().count(hot), abs=0.02)
    assert found["ab c"] == pytest.approx(scores["ab c"], abs=0.02)


def test_a_language_model_in_the_models_folder(transcribe: Any, beeps_run: Path, arpa: str, tmp_path: Path) -> None:
    model = Path(shutil.copytree(beeps_run, tmp_path / "model"))
    status, _, error = transcribe("--language_model", "auto", model=model)
    assert status == 2
    assert "brings no language_model.arpa: make one with hf-speech build-lm" in error
    assert "note:" not in transcribe(model=model)[2]

    shutil.copy(arpa, model / "language_model.arpa")
    status, output, error = transcribe(model=model)
    assert (status, output) == (0, "ab c\n")
    assert f"note: {model} brings a language model, which --language_model auto would use." in error
    (model / "language_model.decoder.json").write_text('{"lm_weight": 0.0, "word_score": 7.0, "beam_size": 9}')
    status, output, error = transcribe("--language_model", "auto", "--nbest", "50", model=model)
    assert status == 0
    assert "note:" not in error
    # What was tuned beside it is used: no more than 9 texts.
    assert 1 < len(output.splitlines()) <= 9
    assert output == transcribe("--language_model", str(model / "language_model.arpa"), "--nbest", "50")[1]
    assert output != transcribe("--language_model", "auto", "--nbest", "50", "--word_score", "0", model=model)[1]


def test_files_of_several_texts(transcribe: Any, tmp_path: Path) -> None:
    transcribe("--nbest", "3", "--output_dir", str(tmp_path))
    assert len(read_scores((tmp_path / "clip.txt").read_text())) == 3
    transcribe("--nbest", "3", "--output_dir", str(tmp_path), "--format", "json")
    assert len(json.loads((tmp_path / "clip.json").read_text())["nbest"]) == 3


def test_long_recordings_are_searched_between_their_pauses(
    beeps_run: Path, make_beeps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An alignment of so much at once is refused, so that this fails if the recording is not cut."""
    from hf_speech.decoding import alignment

    loaded = load_model(beeps_run)
    samples = [make_beeps("ab c"), np.zeros(3 * RATE, np.float32), make_beeps("cab")] * 8
    source = {"array": np.concatenate(samples), "sampling_rate": RATE}
    monkeypatch.setattr(alignment, "_MAX_BYTES", 10_000)
    decoder = choose_decoder(loaded, num_best=3)
    (transcript,) = transcribe_files(loaded, [source], decoder=decoder, num_best=3, progress=False)
    assert transcript.hypothesis.text.split() == ["ab", "c", "cab"] * 8
    assert len(transcript.hypotheses) == 3
    assert len({hypothesis.text for hypothesis in transcript.hypotheses}) == 3
    ends = [word.end for word in transcript.hypothesis.words]
    assert ends == sorted(ends)
    assert 0.9 * transcript.duration < ends[-1] < transcript.duration


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hot_words", "ab c"], "The hot word 'ab c' cannot be spelled with the model's tokens: give single words"),
        (["--hot_words", "né"], "The hot word 'né' cannot be spelled"),
        (["--hot_words", " , "], "no word among the hot words: separate them by commas"),
        (["--hot_word_weight", "3"], "no hot words for the hot_word_weight: give some"),
        (["--lm_weight", "1"], "no language model that lm_weight could weigh: give one"),
        (["--language_model", "nowhere.arpa"], "no language model nowhere.arpa: make one"),
    ],
)
def test_options_that_do_not_fit_are_one_sentence(transcribe: Any, words: list[str], message: str) -> None:
    status, output, error = transcribe(*words)
    assert (status, output) == (2, "")
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_subtitles_of_several_texts_are_refused(transcribe: Any) -> None:
    status, _, error = transcribe("--nbest", "3", "--format", "srt")
    assert status == 2
    assert "--nbest" in error
    assert "json" in error


def test_options_as_plain_data(tmp_path: Path) -> None:
    assert BeamOptions(tmp_path / "x.arpa").describe() == {
        "language_model": "x.arpa",
        "lm_weight": 0.5,
        "word_score": 0.0,
        "beam_size": 100,
    }
    described = BeamOptions(hot_words=("ab",)).describe()
    assert (described["language_model"], described["hot_words"], described["hot_word_weight"]) == (None, ("ab",), 5.0)
    with pytest.raises(ModelError, match="no place to be saved"):
        BeamOptions().save()


@pytest.fixture(scope="module")
def phones_run(beeps_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recognizer that also writes the phones x, y and z, one for each letter."""
    folder = tmp_path_factory.mktemp("phones")
    spellings = ["".join(word) for length in (1, 2, 3) for word in itertools.product("abc", repeat=length)]
    sounds = str.maketrans("abc", "xyz")
    (folder / "words.dic").write_text("".join(f"{word} {' '.join(word.translate(sounds))}\n" for word in spellings))
    words = ["--text.lexicon", str(folder / "words.dic"), "--model.intermediate_ctc_weight", "0.3"]
    words += ["--model.num_hidden_layers", "2", "--training.num_train_epochs", "9"]
    return train(load_recipe(beeps_recipe, words), folder / "run").run_dir


def test_phones_order_the_hypotheses_anew(transcribe: Any, phones_run: Path, clip: str, arpa: str) -> None:
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
    # Nothing can be compared with a word that nobody knows how to say.
    hot = ["--language_model", arpa, "--nbest", "9", "--hot_words", "cccc", "--hot_word_weight", "40"]
    assert transcribe(*hot, "--phone_weight", "0.4", model=phones_run) == transcribe(*hot, model=phones_run)


def test_the_weight_of_phones_is_tuned_saved_and_used(
    beeps_recipe: Path, phones_run: Path, arpa: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]
    language_model = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))

    def only_phones(self: BeamSearchDecoder, log_probs: np.ndarray) -> dict[str, float]:
        """A search whose scores say nothing, so that it is the phones which find the right one among its texts."""
        return dict.fromkeys(["a", "b", "c", *map(str, rows["text"])], 0.0)

    monkeypatch.setattr(BeamSearchDecoder, "candidates", only_phones)
    best, tuning = tune_beam(loaded, rows, BeamOptions(language_model), progress=False)
    assert tuning.best.error < 0.2
    assert best.phone_weight in RESCORING_WEIGHTS[1:]
    best.save(corpus="beeps", command="")
    assert BeamOptions.beside(language_model).phone_weight == best.phone_weight
    assert best.describe()["phone_weight"] == best.phone_weight


def test_evaluation_asks_the_phones_as_transcribing_does(beeps_recipe: Path, phones_run: Path, arpa: str) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]

    def evaluated(options: BeamOptions) -> list[str]:
        report = evaluate_model(
            loaded, rows, corpus="beeps", split="validation", command="", progress=False, beam=options
        )
        return [record["prediction"] for record in report.records]

    # Below 0, the worst of the texts is wanted, which nothing else would want.
    options = BeamOptions(Path(arpa), phone_weight=-20.0)
    decoder = choose_decoder(loaded, Path(arpa), phone_weight=-20.0)
    transcripts = transcribe_files(loaded, rows["audio"], decoder=decoder, progress=False)
    assert [transcript.hypothesis.text for transcript in transcripts] == evaluated(options)
    assert evaluated(options) != evaluated(BeamOptions(Path(arpa)))


def test_a_search_by_phones_finds_what_was_said(
    beeps_recipe: Path, phones_run: Path, tmp_path: Path, transcribe: Any
) -> None:
    loaded, rows = load_model(phones_run), load_recipe(beeps_recipe).corpus.load()["validation"]
    language_model = build_arpa([*rows["text"], *SENTENCES], 2, tmp_path / "lm.arpa").path
    # Letters alone, whose weights are absurd, would give nothing.
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
    # Without the dictionary there is a search by letters all the same.
    model = Path(shutil.copytree(phones_run, tmp_path / "model"))
    (model / "lexicon.txt").unlink()
    status, output, _ = transcribe("--language_model", str(language_model), model=model)
    assert (status, output.strip()) == (0, "")


def test_very_short_sound_has_no_text_that_does_not_fit(phones_run: Path, arpa: str) -> None:
    loaded = load_model(phones_run)
    decoder = beam_decoder(loaded, BeamOptions(Path(arpa), phones=PhoneOptions(0.5, 0.0, 1.0)))
    phones = np.log(np.full((1, 4), 0.25, dtype=np.float32))
    letters = np.log(np.full((1, len(loaded.tokens)), 1 / len(loaded.tokens), dtype=np.float32))
    (best,) = decoder(np.concatenate((letters, phones), axis=1), 0.04)
    assert len(best.text) <= 1


def test_a_dictionary_of_other_phones_is_refused(phones_run: Path, arpa: str, tmp_path: Path, transcribe: Any) -> None:
    model = Path(shutil.copytree(phones_run, tmp_path / "model"))
    (model / "lexicon.txt").write_text("AB x y\n")
    status, _, error = transcribe("--language_model", arpa, "--phone_weight", "0.3", model=model)
    assert status == 2
    assert "lexicon.txt has 2 phones and" in error
    assert "writes 3: put the dictionary there with which it was trained." in error
    (model / "lexicon.txt").unlink()
    words = ["--language_model", arpa]
    assert "has lost its lexicon.txt" in transcribe(*words, "--phone_weight", "0.3", model=model)[2]
    assert "writes no phones, so that phone_weight weighs nothing" in transcribe("--phone_weight", "0.3")[2]
    # A weight that was tuned is no order: what cannot be asked is not.
    tuned = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))
    content = {"lm_weight": 0.5, "word_score": 0.0, "phone_weight": 2.0, "beam_size": 100}
    tuned.with_suffix(".decoder.json").write_text(json.dumps(content))
    found = transcribe("--language_model", str(tuned), model=model)
    assert found == transcribe(*words, model=model)
    assert found[0] == 0


def test_a_classifier_brings_no_language_model(tones_run: Path) -> None:
    loaded = load_model(tones_run)
    assert find_language_model(loaded) is None
    with pytest.raises(ModelError, match="speech recognition"):
        choose_decoder(loaded, num_best=2)


def test_weights_are_not_tuned_on_nothing(beeps_recipe: Path, phones_run: Path, arpa: str) -> None:
    rows = load_recipe(beeps_recipe).corpus.load()["validation"].select([])
    with pytest.raises(CorpusError, match="no validation split to find the weights on"):
        tune_beam(load_model(phones_run), rows, BeamOptions(Path(arpa)), progress=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"lm_weight": float("nan")}, "lm_weight is nan"),
        ({"word_score": float("-inf")}, "word_score is -inf"),
        ({"phone_weight": float("nan")}, "phone_weight is nan"),
        ({"hot_word_weight": float("inf")}, "hot_word_weight is inf"),
    ],
)
def test_numbers_that_find_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HFSpeechError, match=message):
        BeamOptions(**options)


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[1]",
        "{",
        '{"lm_weight": NaN, "word_score": 0, "beam_size": 9}',
        '{"lm_weight": 1, "word_score": 0}',
        '{"lm_weight": "1", "word_score": 0, "beam_size": 9}',
        '{"lm_weight": 1, "word_score": 0, "beam_size": 0}',
    ],
)
def test_weights_that_are_none_are_refused(tmp_path: Path, arpa: str, content: str) -> None:
    path = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))
    BeamOptions.file(path).write_text(content)
    with pytest.raises(ModelError, match=r"lm\.decoder\.json does not have the weights of a beam search"):
        BeamOptions.beside(path)


def test_numbers_of_the_command_line_are_checked(transcribe: Any, arpa: str) -> None:
    for words in (["--lm_weight", "nan"], ["--word_score", "inf"], ["--beam_size", "99999999"]):
        status, output, error = transcribe("--language_model", arpa, *words)
        assert (status, output) == (2, "")
        assert error.startswith("error: ")
        assert error.count("\n") == 1


class Written:
    """A recognizer that is asked for nothing but how it writes."""

    blank, word_delimiter = 0, "|"

    def __init__(self, letters: str) -> None:
        self.tokens = ["<pad>", "|", *letters]

    def normalize(self, text: str) -> str:
        return " ".join(text.split())


@pytest.mark.parametrize(
    ("letters", "hot", "written"),
    [
        ("abc", "AB", "ab"),
        ("ABC", "ab", "AB"),
        ("é", "e\u0301", "é"),
        ("e\u0301", "É", "e\u0301"),
        ("don't", "Don\u2019t", "don't"),
        ("don't", "DON\u00b4T", "don't"),
        ("istanbul\u0307", "İSTANBUL", "i\u0307stanbul"),
        ("İSTANBUL", "i\u0307stanbul", "İSTANBUL"),
        ("STRAE", "straße", "STRASSE"),
    ],
)
def test_hot_words_are_written_as_the_model_writes(letters: str, hot: str, written: str) -> None:
    search = make_search(Written(letters), BeamOptions(hot_words=(hot,)))  # type: ignore[arg-type]
    assert search.hot_words == (written,)
