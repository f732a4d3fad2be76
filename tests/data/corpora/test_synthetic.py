"""The synthetic corpus: deterministic, with different voices in each split."""

from __future__ import annotations

import hashlib
import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hf_speech.data import inspect_corpus, make_corpus, read_audio
from hf_speech.data.corpora.synthetic import record
from hf_speech.data.voices import ENGINES, cast_speakers, espeak
from hf_speech.data.voices.base import Speaker
from hf_speech.data.voices.espeak import FEMALE_TIMBRES, MALE_TIMBRES
from hf_speech.errors import CorpusError

pytestmark = pytest.mark.usefixtures("cache")

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG (espeakng_loader) is not installed"
)
SMALL = {"words": ["yes", "no"], "train_speakers": 4, "validation_speakers": 2, "test_speakers": 2, "repetitions": 2}


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.wav")
    }


@needs_espeak
def test_makes_a_corpus_of_words():
    corpus = make_corpus("synthetic", **SMALL)
    rows = corpus.load()
    assert {split: len(rows[split]) for split in rows} == {"train": 16, "validation": 8, "test": 8}
    assert rows["train"].features["label"].names == ["yes", "no"]
    good, report = inspect_corpus(rows, corpus, 16_000)
    assert report.num_bad == 0
    assert report.warnings == []
    for row in good["train"]:
        samples = read_audio(row["audio"], 16_000)
        assert row["duration"] == len(samples) / 16_000
        assert 0.3 < row["duration"] < 1.5
        assert -35 < 20 * math.log10(np.sqrt(np.mean(samples**2))) < -14


@needs_espeak
def test_the_same_options_give_the_same_bytes(tmp_path):
    made = [make_corpus("synthetic", data_dir=str(tmp_path / name), **SMALL).load() for name in ("a", "b")]
    assert len(digests(tmp_path / "a")) == 32
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert made[0]["train"]["speaker"][:] == made[1]["train"]["speaker"][:]
    make_corpus("synthetic", data_dir=str(tmp_path / "a"), seed=1, **SMALL).load()
    assert len(set(digests(tmp_path / "a").values())) == 64, "another seed is another corpus, beside the first"


@needs_espeak
def test_an_existing_corpus_is_reused(monkeypatch):
    rows = make_corpus("synthetic", **SMALL).load()
    monkeypatch.setattr(espeak.Espeak, "speak", None)
    # The bad utterance is not in the sounds.
    again = make_corpus("synthetic", min_duration=0.2, bad_rows="skip", **SMALL).load()
    assert again["test"]["audio"][:] == rows["test"]["audio"][:]
    with pytest.raises(TypeError):
        make_corpus("synthetic", **SMALL | {"repetitions": 3}).load()


@needs_espeak
def test_progress_counts_each_utterance(monkeypatch):
    steps: list[int] = []
    bar = SimpleNamespace(update=steps.append, close=lambda: None)
    monkeypatch.setattr("hf_speech.data.corpora.synthetic.progress_bar", lambda **options: bar)
    make_corpus("synthetic", **SMALL).load()
    assert sum(steps) == 32
    assert steps.count(1) == 32


@needs_espeak
def test_sentences_are_in_one_split_only():
    sentences = [f"this is sentence {number}" for number in range(20)]
    options = SMALL | {"sentences": sentences}
    rows = make_corpus("synthetic", **options).load()
    texts = [set(rows[split]["text"]) for split in ("train", "validation", "test")]
    assert [len(found) for found in texts] == [16, 2, 2]
    assert set.union(*texts) == set(sentences)
    assert "label" not in rows["train"].column_names
    assert len(rows["train"]) == 32


@needs_espeak
def test_synthesizes_other_languages():
    rows = make_corpus("synthetic", **SMALL | {"words": ["نعم", "لا"], "voices": ["ar"]}).load()
    assert rows["train"].features["label"].names == ["نعم", "لا"]
    assert all(speaker.startswith("ar+") for speaker in rows["train"]["speaker"])


@needs_espeak
def test_every_voice_exists_and_sounds_different():
    names = [f"en-us+{timbre}" for timbre in (*MALE_TIMBRES, *FEMALE_TIMBRES)]
    names += [f"{accent}+m3" for accent in espeak.ENGLISH_ACCENTS]
    spoken = [samples for samples, rate in ENGINES["espeak"].speak([("seven", Speaker(n, 50, 160)) for n in names])]
    assert len({samples.tobytes() for samples in spoken}) == len(names)
    assert min(map(len, spoken)) > 0.2 * 22_050


@needs_espeak
def test_reports_an_unknown_voice_and_writes_nothing(cache):
    with pytest.raises(CorpusError, match=r"stopped after 0 of 32 utterances: .* no voice 'xx-nowhere\+"):
        make_corpus("synthetic", **SMALL | {"voices": ["xx-nowhere"]}).load()
    assert [path for path in (cache / "synthetic").iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize("sound", [np.zeros(99), np.zeros(0), np.full(99, np.nan)])
def test_reports_unpronounceable_text_and_writes_nothing(cache, monkeypatch, sound):
    monkeypatch.setattr(espeak.Espeak, "speak", lambda self, jobs: ((sound, 22_050) for _ in jobs))
    with pytest.raises(CorpusError, match="eSpeak NG gives no sound for 'yes', nor for any other text of the train"):
        make_corpus("synthetic", **SMALL).load()
    assert [path for path in (cache / "synthetic").iterdir() if path.suffix != ".lock"] == []


def test_without_espeak_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CorpusError, match=r"pip install 'hf_speech\[synthetic\]'"):
        make_corpus("synthetic", **SMALL).load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": ["one"]}, "has 1 word: give at least 2"),
        ({"words": ["one", "two", "one"]}, "has duplicate words"),
        ({"words": ["one", "..."]}, "words without a letter or digit"),
        ({"sentences": ["one", "two"]}, "has 2 sentences: give at least 3"),
        ({"test_speakers": 0}, "test_speakers is 0"),
        ({"repetitions": 100_000}, "repetitions is 100000"),
        ({"voices": []}, "has no voices"),
    ],
)
def test_one_sentence_error_for_wrong_options(options, message):
    with pytest.raises(CorpusError, match=message):
        make_corpus("synthetic", **SMALL | options).load()


def test_no_voice_is_in_two_splits():
    counts = {"train": 48, "validation": 8, "test": 10}
    cast = cast_speakers({key: ["en", "en-us"] for key in counts}, counts, np.random.default_rng(0))
    assert {split: len(set(speakers)) for split, speakers in cast.items()} == counts
    timbres = [{speaker.voice.partition("+")[2] for speaker in speakers} for speakers in cast.values()]
    assert len(set.union(*timbres)) == sum(map(len, timbres))
    for found in timbres:
        assert found & set(FEMALE_TIMBRES)
        assert found & set(MALE_TIMBRES)
    assert len(timbres[0]) >= 35
    assert len({speaker.name for speakers in cast.values() for speaker in speakers}) == 66


def test_a_recording_varies_in_loudness_noise_and_silence(make_tone):
    speech = make_tone(0.5)
    made = [record(speech, np.random.default_rng(seed)) for seed in range(50)]
    loudness = [20 * np.log10(np.sqrt(np.mean(samples**2))) for samples in made]
    assert max(loudness) - min(loudness) > 10
    assert all(0 <= len(samples) - len(speech) <= 2 * 0.15 * 16_000 for samples in made)
    assert len({len(samples) for samples in made}) > 40
    assert all(np.abs(samples).max() <= 1 for samples in made)
    assert all(samples[:100].std() > 0 for samples in made), "there is no digital silence"
