"""Hot words, n-best lists and language models in `hf-speech transcribe`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.inference.transcribing import RATE, read_scores

from hf_speech.errors import HFSpeechError, ModelError
from hf_speech.inference import (
    BeamOptions,
    choose_decoder,
    find_language_model,
    load_model,
    transcribe_files,
)
from hf_speech.inference.decoders import make_search


def test_writes_several_texts_with_scores(transcribe: Any, arpa: str) -> None:
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
        # The confidence of letters that are and are not in the sound.
        sure, unsure = (min(word["confidence"] for word in row["words"]) for row in content["nbest"][:2])
        assert sure > 0.5 > unsure


def test_the_format_of_a_single_text_is_unchanged(transcribe: Any) -> None:
    assert transcribe("--nbest", "1")[1] == "ab c\n"
    assert "nbest" not in json.loads(transcribe("--format", "json")[1])
    for output_format in ("srt", "vtt"):
        blocks = transcribe("--format", output_format)[1].strip().split("\n\n")
        assert len(blocks) == 1 + (output_format == "vtt")
        times, text = blocks[-1].splitlines()[-2:]
        assert "-->" in times
        assert text == "ab c"


def test_every_line_has_its_file_name(transcribe: Any, clip: str) -> None:
    _, output, _ = transcribe("--nbest", "2", files=(clip, clip))
    lines = output.splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{clip}: -") for line in lines)
    _, output, _ = transcribe("--format", "json", files=(clip,))
    assert json.loads(output)["file"] == clip
    assert len(output.splitlines()) > 1


def test_prints_a_line_of_json_for_each_of_several_files(transcribe: Any, clip: str) -> None:
    missing = "missing.wav"
    status, output, error = transcribe("--format", "json", files=(clip, missing, clip))
    first, second, third = map(json.loads, output.splitlines())
    assert first == third == json.loads(transcribe("--format", "json", files=(clip,))[1])
    assert second == {"file": missing, "error": error.strip().removeprefix("error: ")}
    assert status == 1


@pytest.mark.parametrize("output_format", ["srt", "vtt"])
def test_subtitles_of_several_files_need_a_folder(transcribe: Any, clip: str, output_format: str) -> None:
    status, output, error = transcribe("--format", output_format, files=(clip, clip))
    assert (status, output) == (2, "")
    assert "--output_dir" in error


def test_a_hot_word_wins_with_enough_weight(transcribe: Any, arpa: str) -> None:
    """With a lexicon, the word need not be in it; without one, it must be among the hypotheses."""
    scores = read_scores(transcribe("--nbest", "30")[1])
    rival = next(text for text in scores if set(text.split()) - {"ab", "c"})
    (hot, *_) = sorted(set(rival.split()) - {"ab", "c"})
    for words in ([], ["--language_model", arpa]):
        assert transcribe("--hot_words", f"ccc, {hot.upper()}", "--hot_word_weight", "0.001", *words)[1] == "ab c\n"
        assert hot in transcribe("--hot_words", f"ccc, {hot.upper()}", "--hot_word_weight", "90", *words)[1].split()
    found = read_scores(transcribe("--hot_words", hot, "--hot_word_weight", "2.5", "--nbest", "30")[1])
    assert found[rival] == pytest.approx(scores[rival] + 2.5 * rival.split().count(hot), abs=0.02)
    assert found["ab c"] == pytest.approx(scores["ab c"], abs=0.02)


def test_uses_the_language_model_in_the_model_folder(
    transcribe: Any, beeps_run: Path, arpa: str, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(beeps_run, tmp_path / "model"))
    status, _, error = transcribe("--language_model", "auto", model=model)
    assert status == 2
    assert "has no language_model.arpa: build one with hf-speech build-lm" in error
    assert "note:" not in transcribe(model=model)[2]

    shutil.copy(arpa, model / "language_model.arpa")
    status, output, error = transcribe(model=model)
    assert (status, output) == (0, "ab c\n")
    assert f"note: {model} has a language model; --language_model auto uses it." in error
    (model / "language_model.decoder.json").write_text('{"lm_weight": 0.0, "word_score": 7.0, "beam_size": 9}')
    status, output, error = transcribe("--language_model", "auto", "--nbest", "50", model=model)
    assert status == 0
    assert "note:" not in error
    # What was tuned beside it is used: no more than 9 texts.
    assert 1 < len(output.splitlines()) <= 9
    assert output == transcribe("--language_model", str(model / "language_model.arpa"), "--nbest", "50")[1]
    assert output != transcribe("--language_model", "auto", "--nbest", "50", "--word_score", "0", model=model)[1]


def test_writes_files_of_several_texts(transcribe: Any, tmp_path: Path) -> None:
    transcribe("--nbest", "3", "--output_dir", str(tmp_path))
    assert len(read_scores((tmp_path / "clip.txt").read_text())) == 3
    transcribe("--nbest", "3", "--output_dir", str(tmp_path), "--format", "json")
    assert len(json.loads((tmp_path / "clip.json").read_text())["nbest"]) == 3


def test_decodes_long_recordings_between_pauses(
    beeps_run: Path, make_beeps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aligning the whole recording would be rejected, so this fails unless the recording is cut."""
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
        (["--hot_words", " , "], "hot_words contains no words: separate words by commas"),
        (["--hot_word_weight", "3"], "hot_word_weight needs hot words: set hot_words"),
        (["--lm_weight", "1"], "lm_weight needs a language model: set language_model"),
        (["--language_model", "nowhere.arpa"], "no language model nowhere.arpa: build one"),
    ],
)
def test_one_sentence_error_for_options_that_do_not_fit(transcribe: Any, words: list[str], message: str) -> None:
    status, output, error = transcribe(*words)
    assert (status, output) == (2, "")
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_rejects_subtitles_of_several_texts(transcribe: Any) -> None:
    status, _, error = transcribe("--nbest", "3", "--format", "srt")
    assert status == 2
    assert "--nbest" in error
    assert "json" in error


def test_converts_options_to_plain_data(tmp_path: Path) -> None:
    assert BeamOptions(tmp_path / "x.arpa").describe() == {
        "language_model": "x.arpa",
        "lm_weight": 0.5,
        "word_score": 0.0,
        "beam_size": 100,
    }
    described = BeamOptions(hot_words=("ab",)).describe()
    assert (described["language_model"], described["hot_words"], described["hot_word_weight"]) == (None, ("ab",), 5.0)
    with pytest.raises(ModelError, match="but there is none"):
        BeamOptions().save()


def test_a_classifier_has_no_language_model(tones_run: Path) -> None:
    loaded = load_model(tones_run)
    assert find_language_model(loaded) is None
    with pytest.raises(ModelError, match="speech recognition"):
        choose_decoder(loaded, num_best=2)


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
def test_rejects_numbers_that_find_nothing(options: dict[str, Any], message: str) -> None:
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
def test_rejects_invalid_weights(tmp_path: Path, arpa: str, content: str) -> None:
    path = Path(shutil.copy(arpa, tmp_path / "lm.arpa"))
    BeamOptions.file(path).write_text(content)
    with pytest.raises(ModelError, match=r"lm\.decoder\.json has no weights of a beam search"):
        BeamOptions.beside(path)


def test_checks_numbers_of_the_command_line(transcribe: Any, arpa: str) -> None:
    for words in (["--lm_weight", "nan"], ["--word_score", "inf"], ["--beam_size", "99999999"]):
        status, output, error = transcribe("--language_model", arpa, *words)
        assert (status, output) == (2, "")
        assert error.startswith("error: ")
        assert error.count("\n") == 1


class Written:
    """A recognizer of which only `normalize` and the tokens are used."""

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
def test_hot_words_are_spelled_in_the_case_of_the_model(letters: str, hot: str, written: str) -> None:
    search = make_search(Written(letters), BeamOptions(hot_words=(hot,)))  # type: ignore[arg-type]
    assert search.hot_words == (written,)
