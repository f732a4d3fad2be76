"""The registry of tasks, and checks of all tasks."""

from __future__ import annotations

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from hf_speech.errors import RecipeError
from hf_speech.tasks import TASKS, get_task, metric_named


def test_tasks_are_registered_by_name():
    assert all(task.name == name for name, task in TASKS.items())
    assert get_task("audio-classification") is TASKS["audio-classification"]


def test_suggests_the_nearest_task():
    with pytest.raises(RecipeError, match=r"no task 'audio_classify': did you mean 'audio-classification'\?"):
        get_task("audio_classify")
    with pytest.raises(RecipeError, match="use one of audio-classification, automatic-") as caught:
        get_task("xyz")
    assert all(name in str(caught.value) for name in TASKS)


def test_classification_rejects_transcripts():
    rows = Dataset.from_dict({"text": ["one"], "speaker": ["a"]})
    with pytest.raises(RecipeError, match=r"is for automatic-speech-recognition .* the task is audio-classification"):
        get_task("audio-classification").check_columns(DatasetDict(train=rows))


def test_rejects_a_corpus_without_target_and_lists_columns():
    with pytest.raises(RecipeError, match=r"no column `label`.* it has speaker"):
        get_task("audio-classification").check_columns(Dataset.from_dict({"speaker": ["a"]}))


def test_checks_every_split():
    labels = Features({"label": ClassLabel(names=["yes"])})
    good = Dataset.from_dict({"label": [0]}, features=labels)
    bad = Dataset.from_dict({"speaker": ["a"]})
    get_task("audio-classification").check_columns(DatasetDict(train=good))
    with pytest.raises(RecipeError):
        get_task("audio-classification").check_columns(DatasetDict(train=good, test=bad))


@pytest.mark.parametrize("feature", [Value("int64"), Value("string")])
def test_rejects_labels_without_names(feature: Value):
    rows = Dataset.from_dict({"label": ["1"] if feature.dtype == "string" else [1]}, Features({"label": feature}))
    with pytest.raises(RecipeError, match="class_encode_column"):
        get_task("audio-classification").check_columns(rows)


def test_metric_titles_are_those_of_the_first_task() -> None:
    assert metric_named("accuracy").title == "Accuracy"
    assert metric_named("wer").title == get_task("automatic-speech-recognition").metrics["wer"].title
    assert metric_named("words_per_hour").title == "words per hour"
