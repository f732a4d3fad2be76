"""Splitting a corpus by speaker or by class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from hf_speech.data.corpora.splitting import describe_splits, hold_out
from hf_speech.data.corpora.utterance import Utterance
from hf_speech.errors import CorpusError


def utterances(counts: dict[str, int], speakers: int | None = None) -> list[Utterance]:
    return [
        Utterance(
            Path(f"{label}/{index}.wav"), label=label, speaker=None if speakers is None else f"s{index % speakers}"
        )
        for label, count in counts.items()
        for index in range(count)
    ]


def test_takes_a_share_of_each_class_and_at_least_one_utterance():
    rest, taken = hold_out(utterances({"a": 100, "b": 20, "rare": 3, "pair": 2}), 0.1, seed=0)
    assert Counter(u.label for u in taken) == {"a": 10, "b": 2, "rare": 1}
    assert len(rest) + len(taken) == 125
    assert not {u.audio for u in rest} & {u.audio for u in taken}


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_takes_whole_speakers_up_to_the_fraction(fraction):
    rest, taken = hold_out(utterances({"a": 200, "b": 200}, speakers=20), fraction, seed=3)
    assert not {u.speaker for u in rest} & {u.speaker for u in taken}
    assert len(taken) / 400 == pytest.approx(fraction, abs=0.05)


def test_no_class_is_lost_to_training():
    """Class "c" has only one speaker of ten, who must therefore stay in training."""
    everything = [u for u in utterances({"a": 40, "b": 40}, speakers=10) if (u.speaker, u.label) != ("s4", "b")]
    everything += [Utterance(Path(f"c/{index}.wav"), label="c", speaker="s4") for index in range(4)]
    for seed in range(20):
        rest, taken = hold_out(everything, 0.2, seed)
        assert {u.label for u in rest} == {"a", "b", "c"}
        assert taken


def test_one_speaker_cannot_be_split():
    with pytest.raises(CorpusError, match="single speaker"):
        hold_out(utterances({"a": 10}, speakers=1), 0.1, seed=0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 1.5])
def test_rejects_an_impossible_fraction(fraction):
    with pytest.raises(CorpusError, match=f"{fraction} of the corpus is impossible"):
        hold_out(utterances({"a": 10}), fraction, seed=0)


def test_rejects_too_few_utterances():
    with pytest.raises(CorpusError, match="1 utterance is too few"):
        hold_out(utterances({"a": 1}), 0.1, seed=0)


def test_an_empty_corpus_gives_nothing():
    everything = utterances({"a": 10})
    assert hold_out(everything, 0.0, seed=0) == (everything, [])
    assert hold_out([], 0.5, seed=0) == ([], [])


@pytest.mark.parametrize("unknown", [1, 7, 100])
def test_a_few_unknown_speakers_do_not_prevent_a_speaker_split(unknown):
    everything = utterances({"a": 100, "b": 100}, speakers=20)
    for utterance in everything[:unknown]:
        utterance.speaker = None
    caveats: list[str] = []
    rest, taken = hold_out(everything, 0.2, 0, caveats)
    assert not {u.speaker for u in rest} & {u.speaker for u in taken}
    assert None not in {u.speaker for u in taken}
    verbs = "has no known speaker and stays" if unknown == 1 else "have no known speaker and stay"
    assert caveats == [f"{unknown} of 200 utterances {verbs} in train."]


@pytest.mark.parametrize(("unknown", "said"), [(200, "The speakers are unk"), (150, "The speakers of 150 of 200 utt")])
def test_warns_that_unknown_speakers_may_be_in_two_splits(unknown, said):
    everything = utterances({"a": 100, "b": 100}, speakers=20)
    for utterance in everything[:unknown]:
        utterance.speaker = None
    caveats: list[str] = []
    hold_out(everything, 0.2, 0, caveats)
    hold_out(everything, 0.1, 0, caveats)
    assert len(caveats) == 1
    assert caveats[0].startswith(said)
    assert "a speaker may be in two splits" in caveats[0]


def test_warns_about_shared_speakers_and_classes_with_one_recording():
    labels = {"train": ["a", "a", "b"], "validation": ["a"], "test": ["c", "d"]}
    speakers = {"train": ["x", "y", None], "validation": ["z"], "test": ["y", None]}
    assert describe_splits(labels, speakers) == [
        "1 speaker is in both train and test, such as 'y'.",
        "3 classes have a single recording, such as 'b': it cannot be both trained on and tested.",
    ]
    assert describe_splits({"train": [None], "test": [None]}, {"train": ["x"], "test": ["z"]}) == []
