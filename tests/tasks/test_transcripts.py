"""The tokenizer, and transcripts that cannot be learned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import AutoTokenizer

from hf_speech.data.reports import InspectionReport, SplitReport
from hf_speech.decoding import min_frames
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks import TextOptions
from hf_speech.tasks.transcripts import (
    build_tokenizer,
    encode_text,
    inspect_transcripts,
    normalize_for,
)

STRANGER = """
import json, sys
sys.modules["hf_speech"] = None  # From here on, importing it raises ImportError.
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
ids = tokenizer(sys.argv[2]).input_ids
print(json.dumps([type(tokenizer).__name__, tokenizer.get_vocab(), ids, tokenizer.decode(ids, group_tokens=False)]))
"""


def splits(train: list[tuple[str, float]], test: list[tuple[str, float]] = ()) -> tuple[DatasetDict, InspectionReport]:
    """Returns a corpus of (text, seconds) and its inspection report, in which one bad row was left out before."""
    corpus, report = DatasetDict(), InspectionReport("made", {})
    for name, rows in (("train", train), ("test", test)):
        corpus[name] = Dataset.from_dict(
            {
                "audio": [{"path": f"{name}{i}.wav", "bytes": None} for i in range(len(rows))],
                "text": [text for text, _ in rows],
                "duration": [seconds for _, seconds in rows],
            }
        )
        seconds = [float("nan"), *(seconds for _, seconds in rows)]
        report.splits[name] = SplitReport(
            len(rows) + 1, sum(seconds[1:]), good_indices=list(range(1, len(rows) + 1)), durations=seconds
        )
    return corpus, report


def inspect(corpus: DatasetDict, report: InspectionReport, options: TextOptions, bad_rows: Any = "skip") -> DatasetDict:
    """Uses ten logit frames per second."""
    return inspect_transcripts(
        corpus,
        report,
        build_tokenizer(corpus["train"]["text"], options),
        unknown=options.unknown,
        bad_rows=bad_rows,
        frames_of=lambda seconds: int(10 * seconds),
    )


def test_the_blank_is_0_and_characters_follow_in_order():
    tokenizer = build_tokenizer(["to be", "or| not'"], TextOptions("upper"))
    tokens = ["<pad>", "|", "<unk>", "'", "B", "E", "N", "O", "R", "T"]
    assert tokenizer.get_vocab() == {token: index for index, token in enumerate(tokens)}
    assert tokenizer.pad_token_id == 0
    assert len(tokenizer) == tokenizer.vocab_size == len(tokens)
    assert tokenizer.bos_token is tokenizer.eos_token is None


def test_uses_a_given_vocabulary():
    tokenizer = build_tokenizer(["xyz"], TextOptions("none", vocabulary="b a ba"))
    assert list(tokenizer.get_vocab())[3:] == ["a", "b"]
    with pytest.raises(RecipeError, match=r"text.vocabulary has '\|'"):
        build_tokenizer([], TextOptions(vocabulary="ab|"))


def test_rejects_transcripts_without_characters():
    with pytest.raises(CorpusError, match=r"Nothing is left of the training transcripts after text\.normalizer 'engl"):
        build_tokenizer(["...", "!"], TextOptions("english"))


def test_saving_and_loading_keeps_ids_and_normalizer(tmp_path: Path):
    made = build_tokenizer(["Ça va < 5 'é' 日"], TextOptions("upper", spell_numbers=True))
    made.save_pretrained(tmp_path / "once")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "once")
    loaded.save_pretrained(tmp_path / "twice")
    for tokenizer in (loaded, AutoTokenizer.from_pretrained(tmp_path / "twice")):
        assert tokenizer.get_vocab() == made.get_vocab()
        assert tokenizer.bos_token is tokenizer.eos_token is None
        assert normalize_for("ça 5", tokenizer) == "ÇA FIVE"
        assert encode_text("ça 5", tokenizer) == encode_text("ça 5", made)


def test_the_tokenizer_loads_without_the_package(tmp_path: Path):
    made = build_tokenizer(["a letter's"], TextOptions("english"))
    made.save_pretrained(tmp_path)
    run = subprocess.run(
        [sys.executable, "-c", STRANGER, str(tmp_path), "letter's tea"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == [
        "Wav2Vec2CTCTokenizer",
        made.get_vocab(),
        encode_text("letter's tea", made),
        "letter's tea",
    ]


def test_ids_equal_those_of_the_tokenizer_except_special_tokens():
    tokenizer = build_tokenizer(["the bell"], TextOptions("lower"))
    assert encode_text("The  BELL ", tokenizer) == tokenizer("the bell").input_ids
    delimiter, unknown = tokenizer.word_delimiter_token_id, tokenizer.unk_token_id
    assert encode_text("b|e <pad>x", tokenizer)[1] == unknown
    assert encode_text("<pad>", tokenizer) == [unknown] * 5
    assert encode_text("b e", tokenizer)[1] == delimiter


def test_another_tokenizer_has_no_normalizer(tmp_path: Path):
    tokenizer = build_tokenizer(["a"], TextOptions("upper"))
    del tokenizer.init_kwargs["text_normalizer"], tokenizer.init_kwargs["spell_numbers"]
    assert normalize_for(" a  5!", tokenizer) == "a 5!"


def test_ctc_needs_exactly_min_frames():
    rng = np.random.default_rng(0)
    for _ in range(30):
        ids = rng.integers(1, 4, rng.integers(2, 9)).tolist()
        for missing, finite in ((0, True), (1, False)):
            frames = min_frames(ids) - missing
            scores = torch.zeros(frames, 1, 4).log_softmax(-1)
            loss = torch.nn.functional.ctc_loss(
                scores, torch.tensor([ids]), torch.tensor([frames]), torch.tensor([len(ids)])
            )
            assert bool(loss.isfinite()) is finite


def test_leaves_out_and_lists_bad_training_transcripts():
    corpus, report = splits(
        [("HELLO", 0.6), ("HELLO", 0.59), ("...", 9), ("OH", 0.2), ("HOLE", 0.3)], test=[("HÉLLO", 0.1), ("...", 9)]
    )
    clean = inspect(corpus, report, TextOptions("english"))
    assert clean["train"]["text"] == ["HELLO", "OH"]
    bad = report.splits["train"].bad
    assert bad["too short for their transcripts"].examples == [
        "train1.wav: 0.59 s of sound make 5 logit frames, and the transcript 'hello' needs 6.",
        "train4.wav: 0.3 s of sound make 3 logit frames, and the transcript 'hole' needs 4.",
    ]
    assert bad["with an empty transcript"].examples == [
        "train2.wav: nothing is left of the transcript '...' after normalization."
    ]
    # The first row had gone before: positions are those of the corpus as it was loaded.
    assert report.splits["train"].good_indices == [1, 4]
    assert report.splits["train"].seconds == pytest.approx(0.8)


def test_other_splits_keep_unlearnable_transcripts():
    corpus, report = splits([("HELLO", 1)], test=[("HÉLLO", 9), ("...", 9), ("HELLO", 0.1)])
    clean = inspect(corpus, report, TextOptions("english"), bad_rows="refuse")
    assert len(clean["test"]) == 3
    assert not report.splits["test"].bad
    warnings = report.splits["test"].warnings
    assert {kind: finding.count for kind, finding in warnings.items()} == {
        "with characters that the vocabulary lacks": 1,
        "with an empty transcript": 1,
        "too short for their transcripts": 1,
    }
    assert "test0.wav: the transcript 'héllo' has 'é'" in str(report)


def test_lists_of_bad_rows_are_complete():
    corpus, report = splits([("HELLO", 1), *[("HELLO", 0.1)] * 7])
    inspect(corpus, report, TextOptions())
    assert len(report.to_dict()["splits"]["train"]["bad"]["too short for their transcripts"]["examples"]) == 7


def test_the_error_names_the_first_bad_row_and_the_remedy():
    corpus, report = splits([("AB", 1), ("A1|", 1), ("BA", 1)])
    with pytest.raises(CorpusError) as error:
        inspect(corpus, report, TextOptions(vocabulary="AB"), bad_rows="refuse")
    assert str(error.value) == (
        "1 of the 5 utterances of the corpus 'made' is bad (1 with characters that the vocabulary lacks), such as: "
        "train1.wav: the transcript 'A1|' has '1', '|'; correct such utterances, or leave them out with bad_rows: skip."
    )


def test_unknown_characters_can_be_trained_as_one_token():
    corpus, report = splits([("AB", 1), ("AÉÉ", 1), ("AÉÉ", 0.3)])
    clean = inspect(corpus, report, TextOptions(vocabulary="AB", unknown="unk"))
    # Two <unk> in a row need a blank between them, as any two equal ids do.
    assert clean["train"]["text"] == ["AB", "AÉÉ"]
    assert report.splits["train"].warnings["with characters that the vocabulary lacks"].count == 1


def test_warns_about_numbers_that_were_not_spelled():
    corpus, report = splits([("the 1st of 3", 5)])
    clean = inspect(corpus, report, TextOptions("english", spell_numbers=True), bad_rows="refuse")
    assert len(clean["train"]) == 1
    assert report.splits["train"].warnings["with numbers that cannot be spelled"].examples == [
        "train0.wav: the transcript 'the 1st of three' keeps '1st'."
    ]


def test_warns_about_rare_characters():
    corpus, report = splits([("AB", 1), ("AB", 1), ("ABÉÉÉ", 1)])
    inspect(corpus, report, TextOptions(vocabulary="ABÉZ"))
    assert report.warnings == [
        "Characters in fewer than 3 training transcripts can hardly be learned: 'Z', 'É' (see text.normalizer "
        "and text.vocabulary)."
    ]


def test_rejects_a_corpus_without_usable_transcripts():
    corpus, report = splits([("HELLO", 0.1)])
    with pytest.raises(CorpusError, match="No training utterance of the corpus 'made' is left: 1 have"):
        inspect(corpus, report, TextOptions())
