"""Speech recognition: targets, metrics in the Trainer, and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import EvalPrediction, PreTrainedConfig

from hf_speech.data.reports import InspectionReport, SplitReport
from hf_speech.errors import CorpusError, ModelError, RecipeError
from hf_speech.models import ConvGRUConfig, SpeechFeatureExtractor
from hf_speech.tasks import TextOptions, get_task
from hf_speech.tasks.automatic_speech_recognition import sample_lines
from hf_speech.tasks.metrics import ERROR_COUNTS
from hf_speech.tasks.transcripts import build_tokenizer, encode_text
from hf_speech.training import load_recipe

TASK = get_task("automatic-speech-recognition")
CONFIG = PreTrainedConfig()


def corpus(*texts: str | None) -> DatasetDict:
    return DatasetDict(train=Dataset.from_dict({"text": list(texts)}))


def tokenizer(*texts: str, **options: Any) -> Any:
    return TASK.make_tokenizer(corpus(*texts), TextOptions(**options))


def path_logits(ids: list[int], size: int, best: float = 0.9) -> np.ndarray:
    """Returns logits whose best path is `ids`, each with the probability `best`."""
    probabilities = np.full((len(ids), size), (1 - best) / (size - 1), dtype=np.float32)
    probabilities[np.arange(len(ids)), ids] = best
    return np.log(probabilities) + 7


def records(pairs: list[tuple[str, str]]) -> list[dict]:
    return [TASK.score(reference, {"prediction": heard, "probability": 1.0}) for reference, heard in pairs]


def test_the_vocabulary_is_in_the_config():
    config = ConvGRUConfig(**TASK.config_arguments(corpus(), tokenizer("ab")))
    assert config.vocab_size == 5
    assert config.pad_token_id == 0


def test_collates_normalized_transcripts():
    made = tokenizer("AB", normalizer="lower")  # a is 3, b is 4, the delimiter 1
    targets = [TASK.encode_target({"text": text}, made) for text in ("B  A", "a", "")]
    batch = TASK.collate_targets(targets)
    assert batch.dtype == torch.int64
    assert batch.tolist() == [[4, 1, 3], [3, -100, -100], [-100, -100, -100]]


def test_inspection_of_transcripts_follows_the_options():
    rows = {"audio": [{"path": "a.wav", "bytes": None}] * 2, "text": ["ab", "ax"], "duration": [1.0, 1.0]}
    dataset = DatasetDict(train=Dataset.from_dict(rows))

    def inspect(unknown: str, bad_rows: str) -> int:
        report = InspectionReport("made", {"train": SplitReport(2, 2.0, good_indices=[0, 1], durations=[1.0, 1.0])})
        options = TextOptions(vocabulary="ab", unknown=unknown)  # type: ignore[arg-type]
        made = TASK.make_tokenizer(dataset, options)
        clean = TASK.inspect_targets(
            dataset, report, bad_rows=bad_rows, frames_of=lambda seconds: 9, tokenizer=made, options=options
        )
        return len(clean["train"])

    assert inspect("bad_row", "skip") == 1
    assert inspect("unk", "refuse") == 2
    with pytest.raises(CorpusError, match=r"a.wav: the transcript 'ax' has 'x'"):
        inspect("bad_row", "refuse")


def test_gathered_padding_becomes_blanks():
    logits = torch.full((2, 3, 5), -100.0)
    logits[0, :2] = torch.tensor(path_logits([4, 3], 5))
    assert TASK.preprocess_logits_for_metrics(logits, None).tolist() == [[4, 3, 0], [0, 0, 0]]
    assert TASK.preprocess_logits_for_metrics((logits, torch.zeros(1)), None).shape == (2, 3)


def test_computes_error_rates_of_gathered_ids():
    made = tokenizer("ab")
    # "ab a" heard as "aab": repeats without a blank are one letter; then an utterance that was heard as nothing.
    predictions = np.array([[3, 3, 0, 3, 4, 4, -100], [0, 0, 0, 0, 0, -100, -100]])
    labels = np.array([[3, 4, 1, 3], [4, 4, -100, -100]])
    metrics = TASK.compute_metrics(EvalPrediction(predictions, labels), made)
    assert next(iter(metrics)) == TASK.best_metric
    assert metrics["wer"] == 3 / 3
    assert (metrics["word_substitutions"], metrics["word_deletions"]) == (1, 2)
    # Repeated letters in a reference are kept.
    assert metrics["characters"] == 4 + 2


def test_decoding_equals_that_of_the_tokenizer():
    made = tokenizer("ab")
    ids = [0, 3, 3, 1, 1, 0, 1, 4, 0, 4, 2, 0]
    decoded = TASK.decode(path_logits(ids, 5), CONFIG, made)
    assert decoded["prediction"] == " ".join(made.decode(ids).split()) == "a bb<unk>"
    assert decoded["probability"] == pytest.approx(0.9**12, rel=1e-4)


def test_blanks_give_an_empty_transcript():
    made = tokenizer("ab")
    assert TASK.decode(path_logits([0, 0, 1], 5), CONFIG, made)["prediction"] == ""
    assert TASK.decode(np.zeros((0, 5), dtype=np.float32), CONFIG, made) == {"prediction": "", "probability": 1.0}


def test_padded_blank_frames_change_neither_text_nor_probability():
    made = tokenizer("ab")
    logits = path_logits([3, 4], 5)
    padding = np.full((3, 5), -1e4, dtype=np.float32)
    padding[:, 0] = 0
    alone, padded = (TASK.decode(frames, CONFIG, made) for frames in (logits, np.concatenate([logits, padding])))
    assert alone["prediction"] == padded["prediction"] == "ab"
    assert padded["probability"] == pytest.approx(alone["probability"])


def test_references_are_normalized_as_in_training():
    made = tokenizer("it's", normalizer="english", spell_numbers=True)
    rows = corpus("It’s 5, ÉH?", "")["train"]  # noqa: RUF001
    # The vocabulary lacks most of these characters, which is no reason to make the task easier.
    assert TASK.references(rows, CONFIG, made) == ["it's five éh", ""]


def test_reports_a_row_without_transcript():
    with pytest.raises(CorpusError, match="Row 1 has no transcript"):
        TASK.references(corpus("a", None)["train"], CONFIG, tokenizer("a"))


def test_rejects_a_corpus_of_labels():
    with pytest.raises(RecipeError, match="is for audio-classification"):
        TASK.references(Dataset.from_dict({"label": [0]}), CONFIG, tokenizer("a"))


def test_scores_an_utterance_by_its_errors():
    record = records([("turn left", "turn the loft")])[0]
    assert record["correct"] is False
    assert [record[name] for name in ERROR_COUNTS] == [1, 0, 1, 2, 1, 0, 4, 9]
    pairs = [("a b", "a b"), ("", ""), ("a b", "a"), ("a", "a b")]
    assert [record["correct"] for record in records(pairs)] == [True, True, False, False]


def test_summed_counts_give_the_metrics_of_the_split():
    split = records([("a b c", "a c"), ("", "x"), ("d", "d"), ("e f", "g f")])
    tally = TASK.tally(split)
    assert TASK.metrics_from_counts(tally.sum(axis=0))["wer"] == 3 / 6
    parts = TASK.metrics_from_counts(np.stack([tally[:2].sum(0), tally[2:].sum(0)]))
    assert parts["wer"].tolist() == [2 / 3, 1 / 3]
    assert TASK.breakdowns(split, CONFIG)["errors"]["words"] == {
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
        "total": 6,
    }
    assert TASK.breakdowns(split, CONFIG)["errors"]["characters"]["total"] == 9


def test_confusions_are_substituted_words():
    split = records([("p b", "b b"), ("p o", "b o a"), ("d", "t"), ("o", "")])
    assert TASK.confusions(split) == [("p", "b", 2), ("d", "t", 1)]
    assert TASK.confusion_matrix(split, CONFIG) is None


def test_aligns_reference_and_hypothesis():
    lines = sample_lines(["turn left now", "stop", "unseen", ""], ["turn the left", "stop", "unseen", "uh"], count=3)
    assert lines == [
        "REF: turn *** left now",
        "HYP: turn the left ***",
        "          I        D",
        "REF: unseen",
        "HYP: unseen",
        "REF: **",
        "HYP: uh",
        "     I",
    ]


def test_wraps_long_samples_between_words():
    lines = sample_lines(["one two three four"], ["one two three for"], width=9)
    assert lines == [
        "REF: one two",
        "HYP: one two",
        "REF: three",
        "HYP: three",
        "REF: four",
        "HYP: for",
        "     S",
    ]


def test_sample_lines_use_the_same_utterances_each_time():
    made = tokenizer("ab")
    prediction = EvalPrediction(np.array([[3, 4], [0, -100]]), np.array([[3, 4], [4, -100]]))
    assert TASK.sample_lines(prediction, made, count=5) == [
        *("REF: ab", "HYP: ab"),
        *("REF: b", "HYP: *", "     D"),
    ]
    assert TASK.sample_lines(prediction, made, count=1) == ["REF: ab", "HYP: ab"]


def test_loads_a_saved_tokenizer(tmp_path: Path):
    tokenizer("ab").save_pretrained(tmp_path)
    assert TASK.load_tokenizer(str(tmp_path)).get_vocab()["b"] == 4


def test_rejects_a_model_without_a_tokenizer(tmp_path: Path):
    ConvGRUConfig().save_pretrained(tmp_path)
    SpeechFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"has no tokenizer \(tokenizer_config.json, vocab.json\): save"):
        TASK.load_tokenizer(str(tmp_path))


def test_rejects_a_tokenizer_of_another_kind(tmp_path: Path):
    (tmp_path / "vocab.txt").write_text("[UNK]\n[PAD]\na\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    with pytest.raises(ModelError, match="is not a CTC tokenizer"):
        TASK.load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("word", ["offset=0.5", "max_duration=5", "time_average=true"])
def test_a_recognizer_needs_the_whole_sound(word: str):
    with pytest.raises(RecipeError, match=rf"needs all of the sound: leave out features\.{word.partition('=')[0]}"):
        load_recipe("an4", [f"--features.{word}"])
    load_recipe("digits", [f"--features.{word}"])


@pytest.mark.parametrize(
    ("text", "heard"),
    [("aé b", [3, 0, 2, 0, 1, 4]), ("é", [2]), ("ab é", [3, 4, 1, 2]), ("éü", [2, 0, 2])],
)
def test_unknown_characters_are_errors_in_training_and_evaluation(text, heard):
    tok = build_tokenizer(["abc"], TextOptions(vocabulary="abc", unknown="unk"))
    path = np.array([heard])
    while_training = TASK.compute_metrics(EvalPrediction(path, np.array([encode_text(text, tok)])), tok)
    logits = np.full((len(heard), len(tok)), -20.0)
    logits[np.arange(len(heard)), heard] = 0
    record = TASK.score(text, TASK.decode(logits, None, tok))
    evaluated = TASK.metrics_from_counts(TASK.tally([record]).sum(axis=0))
    assert while_training["wer"] == float(evaluated["wer"]) > 0
    assert while_training["cer"] == float(evaluated["cer"]) > 0


def test_the_probability_is_that_of_the_best_path():
    logits = np.log(np.array([[0.5, 0.2, 0.2, 0.05, 0.05, 0], [0.1, 0.1, 0.1, 0.6, 0.1, 0]]) + 1e-30)
    tok = build_tokenizer(["abc"], TextOptions())
    assert TASK.decode(logits + 7, None, tok) == {"prediction": "a", "probability": pytest.approx(0.3)}
    assert TASK.decode(logits[:0], None, tok) == {"prediction": "", "probability": 1.0}
