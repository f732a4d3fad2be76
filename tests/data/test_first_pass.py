"""The first pass decodes once for durations, checks, digests, statistics and waveforms."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import DatasetDict

from hf_speech.data import audio, copies, dataset, first_pass, inspect_corpus, inspection, make_corpus, read_audio
from hf_speech.data.corpora import Corpus
from hf_speech.data.first_pass import FirstPass
from hf_speech.errors import CorpusError
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training import load_recipe
from hf_speech.training.preparation import prepare

GEOMETRY = {"sampling_rate": 8000, "num_mel_bins": 20, "hop_length": 80, "win_length": 200}


@pytest.fixture
def corpus(digit_folder: Path) -> Corpus:
    return make_corpus("folder", data_dir=str(digit_folder), test_fraction=0.2, validation_fraction=0.2)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is decoded."""
    counts: Counter[str] = Counter()
    decode = audio._decode

    def counting(source, seconds):
        counts[audio.source_name(source)] += 1
        return decode(source, seconds)

    monkeypatch.setattr(audio, "_decode", counting)
    return counts


def sources(rows: DatasetDict, split: str) -> list[dict]:
    return list(rows[split]["audio"])


@pytest.mark.parametrize("max_bytes", [2 << 30, 100_000, 0])
def test_results_equal_those_of_separate_passes(corpus, monkeypatch, max_bytes):
    monkeypatch.setattr(first_pass, "KEEP_DECODED_BYTES", max_bytes)
    expected = SpeechFeatureExtractor(**GEOMETRY, normalization="global")
    extractor = SpeechFeatureExtractor(**GEOMETRY, normalization="global")
    one = FirstPass(extractor)
    rows, _ = inspect_corpus(corpus.load(), corpus, 8000, one)
    chosen = sources(rows, "train")[3:]  # as if the first ones had bad targets
    expected.fit_global_statistics(read_audio(source, 8000) for source in chosen)
    one.fit(chosen)
    assert extractor.feature_mean == expected.feature_mean
    assert extractor.feature_std == expected.feature_std
    for split in ("train", "validation", "test"):
        for source in sources(rows, split):
            np.testing.assert_array_equal(one.read(source), read_audio(source, 8000))


@pytest.mark.parametrize("max_bytes", [2 << 30, 0])
def test_decodes_each_recording_once_before_training(corpus, monkeypatch, decoded, max_bytes):
    monkeypatch.setattr(first_pass, "KEEP_DECODED_BYTES", max_bytes)
    monkeypatch.setattr(dataset, "KEEP_DECODED_BYTES", max_bytes)
    recipe = load_recipe(
        {
            "task": "audio-classification",
            "corpus": {"name": "folder", "data_dir": corpus.data_dir},
            "features": GEOMETRY | {"normalization": "global"},
            "model": {"hidden_size": 8, "num_hidden_layers": 1},
        }
    )
    parts, _ = prepare(recipe)
    assert len(decoded) == 60
    assert set(decoded.values()) == {1}
    assert len(parts.datasets["train"][0]["waveform"]) > 0
    assert sum(decoded.values()) == (60 if max_bytes else 61)


def test_makes_copies_from_decoded_sound(corpus, decoded, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_SPEECH_CACHE", str(tmp_path / "cache"))
    one = FirstPass(SpeechFeatureExtractor(**GEOMETRY))
    rows, _ = inspect_corpus(corpus.load(), corpus, 8000, one)
    copies.multiply(rows["train"].select(range(3)), 8000, [1.2], [0.0], one)
    assert set(decoded.values()) == {1}


@pytest.mark.parametrize("options", [{"offset": 0.4}, {"hop_length": 4000, "win_length": 4000}, {"offset": 0.45}])
def test_finds_rows_without_features_before_training(corpus, options):
    extractor = SpeechFeatureExtractor(**GEOMETRY | options)
    rows = corpus.load()
    with pytest.raises(CorpusError, match=r"too short.*, such as: .* lasts 0.\d+ s, but features need 0\.\d+ s;"):
        inspect_corpus(rows, corpus, 8000, FirstPass(extractor))
    corpus.bad_rows = "skip"
    good, report = inspect_corpus(rows, corpus, 8000, FirstPass(extractor))
    assert 0 < report.num_bad < 60
    for split in good:
        for source in sources(good, split):
            assert extractor.num_frames(len(read_audio(source, 8000))) >= 1


def test_stores_only_the_length_of_a_sound_that_is_too_long(corpus, digit_folder, monkeypatch):
    import soundfile

    soundfile.write(digit_folder / "low" / "hours.flac", np.zeros(8000 * 600), 8000)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 8000)
    corpus.bad_rows, corpus.max_duration = "skip", 2.0
    largest = 0

    def concatenate(blocks):
        nonlocal largest
        largest = max(largest, sum(map(len, blocks)))
        return np.hstack(blocks)

    monkeypatch.setattr(inspection.np, "concatenate", concatenate)
    _, report = inspect_corpus(corpus.load(), corpus, 8000, FirstPass(SpeechFeatureExtractor(**GEOMETRY)))
    found = [f for split in report.splits.values() for kind, f in split.bad.items() if kind == "too long"]
    assert "lasts 600 s, over 2 s" in found[0].examples[0]
    assert largest <= 16_000


def test_stores_a_shared_recording_once(corpus, digit_folder):
    shutil.copy(digit_folder / "low" / "speaker0_0.wav", digit_folder / "low" / "again.wav")
    one = FirstPass(SpeechFeatureExtractor(**GEOMETRY))
    content = (digit_folder / "low" / "speaker0_0.wav").read_bytes()
    one.begin("train", [1.0])
    samples = read_audio(content, 8000)
    for name in ("a", "b"):
        one.store({"path": name, "bytes": content}, samples)
    assert one.read({"path": "c", "bytes": content}) is samples
