"""Common properties of all corpora: names, columns, and suggestions in errors."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from pathlib import Path

import pytest
from datasets import ClassLabel, Value

from hf_speech.data import CORPORA, make_corpus
from hf_speech.data.corpora import Corpus, ListedCorpus, Utterance
from hf_speech.data.corpora.base import natural_key
from hf_speech.errors import CorpusError


@dataclasses.dataclass(kw_only=True)
class Listed(ListedCorpus):
    """A corpus of given utterances."""

    name = "listed"
    title = "given utterances"

    utterances: list[Utterance] = dataclasses.field(default_factory=list)

    def splits(self) -> dict[str, list[Utterance]]:
        return {"train": self.utterances, "validation": [], "test": []}


def test_finds_every_corpus_by_name():
    for name, cls in CORPORA.items():
        assert cls.name == name
        assert type(make_corpus(name)) is cls


@pytest.mark.parametrize("cls", CORPORA.values(), ids=list(CORPORA))
def test_every_option_is_documented_and_simple(cls):
    """The options become keys of recipes and of the command line, with the docstring as help."""
    classes = [base for base in cls.__mro__ if issubclass(base, Corpus)]
    documented = "".join(inspect.getdoc(base).partition("Args:")[2].partition("Attributes:")[0] for base in classes)
    for field in dataclasses.fields(cls):
        if field.init:
            assert re.search(rf"^ +{field.name}: ", documented, re.MULTILINE), field.name
            json.dumps(getattr(cls(), field.name))


def test_suggests_the_nearest_name_or_option():
    with pytest.raises(CorpusError, match=r"no corpus 'fsd': did you mean 'fsdd'\?"):
        make_corpus("fsd")
    with pytest.raises(CorpusError, match=r"no option 'holdout_speakers': did you mean 'holdout_speaker'\?"):
        make_corpus("fsdd", holdout_speakers="theo")


def test_all_corpora_have_the_same_columns():
    rows = [Utterance(Path("gone.wav"), label="b", speaker="anna"), Utterance({"bytes": b"x"}, label="a", duration=1.5)]
    corpus = Listed(utterances=rows).load()
    features = {
        "audio": {"path": Value("string"), "bytes": Value("binary")},
        "label": ClassLabel(names=["a", "b"]),
        "speaker": Value("string"),
        "duration": Value("float64"),
    }
    assert {split: dict(corpus[split].features) for split in corpus} == dict.fromkeys(corpus, features)
    first, second = corpus["train"]
    assert math.isnan(first.pop("duration"))
    assert first == {"audio": {"path": "gone.wav", "bytes": None}, "label": 1, "speaker": "anna"}
    assert second == {"audio": {"path": None, "bytes": b"x"}, "label": 0, "speaker": None, "duration": 1.5}


def test_a_corpus_of_transcripts_has_no_labels():
    corpus = Listed(utterances=[Utterance({"bytes": b"x"}, text="hello", duration=1.0)]).load()
    assert corpus["train"].column_names == ["audio", "text", "speaker", "duration"]


def test_rows_can_be_mapped_without_decoding(digit_folder):
    """An `Audio` feature would need torchcodec here."""
    rows = make_corpus("folder", data_dir=str(digit_folder)).load()["train"]
    longer = rows.map(lambda row: {**row, "duration": row["duration"] + 1})
    assert longer[0]["audio"] == rows[0]["audio"]


def test_rejects_an_empty_corpus():
    with pytest.raises(CorpusError, match="'listed' has no utterances in here"):
        Listed(data_dir="here").load()


def test_sorts_numbers_in_names_by_value():
    names = ["b", "a10", "a9", "10", "9", "a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "a9", "a10", "b"]


@pytest.mark.parametrize("name", ["folder", "csv", "kaldi", "hub", "synthetic"])
def test_error_for_corpora_without_an_archive(name):
    with pytest.raises(CorpusError, match=f"The corpus '{name}' .* has no archive to download: .*--data_dir"):
        make_corpus(name).fetch()
