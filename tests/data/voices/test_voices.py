"""Voices of several synthesizers in one corpus: distribution, shards, and reports."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stub_voices import Tones

from hf_speech.data import make_corpus
from hf_speech.data.corpora.base import SPLITS
from hf_speech.data.voices import ENGINES, cast_speakers, find_engine
from hf_speech.data.voices.base import NORMAL_PACE, Speaker, distribute
from hf_speech.errors import CorpusError

needs_espeak = pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="eSpeak NG (espeakng_loader) is not installed"
)
SENTENCES = ["open the door", "close the door", "lights on", "lights off"]
SMALL: dict[str, Any] = {
    **{"sentences": SENTENCES, "sentence_fraction": 0.0, "repetitions": 1},
    **{"train_speakers": 4, "validation_speakers": 1, "test_speakers": 1},
}


@pytest.fixture
def tones(monkeypatch: pytest.MonkeyPatch) -> Tones:
    engine = Tones()
    monkeypatch.setitem(ENGINES, "tones", engine)
    return engine


def sounds(corpus: Any) -> list[tuple[str, str | None, bytes]]:
    splits = corpus.splits()
    return [(u.text, u.speaker, u.audio.read_bytes()) for split in SPLITS for u in splits[split]]


def test_continues_with_unfinished_shards_after_an_interruption(tones: Tones, tmp_path: Path) -> None:
    def make(name: str) -> Any:
        return make_corpus("synthetic", data_dir=str(tmp_path / name), voices=["tones:1+2+3+4"], **SMALL)

    whole = sounds(make("a"))
    assert len(whole) == len(tones.spoken) == 24
    tones.spoken.clear()
    tones.fails_after = 8
    with pytest.raises(KeyboardInterrupt):
        make("b").splits()
    tones.fails_after = None
    assert sounds(make("b")) == whole, "the same bytes, in the same order"
    assert len(tones.spoken) == 24 + 2, "two utterances of the third shard were made again"
    left = [path.name for path in (tmp_path / "b").iterdir() if path.suffix != ".lock"]
    assert len(left) == 1, "shards are moved into the corpus"


@pytest.mark.parametrize(
    ("is_silent", "left_out"),
    [
        (lambda text, speaker: text == "lights on", 0),  # "lights on." has a sound
        (lambda text, speaker: text.startswith("lights") and speaker.pace != NORMAL_PACE, 0),
        (lambda text, speaker: text == "open the door" and speaker.voice == "2", 0),
        (lambda text, speaker: text.startswith("open") and speaker.voice == "2", 1),
        (lambda text, speaker: speaker.voice == "2", 4),
    ],
)
def test_retries_or_skips_an_utterance_without_sound(
    tones: Tones, tmp_path: Path, is_silent: Any, left_out: int
) -> None:
    options = SMALL | {"validation_voices": ["tones:5"], "test_voices": ["tones:6"]}
    tones.is_silent = is_silent
    for _ in range(2):  # newly made, and from the cache
        corpus = make_corpus("synthetic", data_dir=str(tmp_path), voices=["tones:1+2+3+4"], **options)
        splits = corpus.splits()
        assert len(splits["train"]) == 16 - left_out
        assert {u.text for u in splits["train"]} == set(SENTENCES), "as written, without what was added for the voice"
        notes = [note for note in corpus.notes if "no sound" in note]
        verb = "utterance was" if left_out == 1 else "utterances were"
        expected = f"{left_out} {verb} left out, because the voice gave no sound: 2 ({left_out})."
        assert notes == ([expected] if left_out else [])


def test_a_split_without_any_sound_is_an_error(tones: Tones, tmp_path: Path) -> None:
    options = SMALL | {"validation_voices": ["tones:5"], "test_voices": ["tones:6"]}
    tones.is_silent = lambda text, speaker: speaker.voice == "6"
    with pytest.raises(CorpusError, match=r"Tones gives no sound for 'open the door', nor .* of the test split"):
        make_corpus("synthetic", data_dir=str(tmp_path), voices=["tones:1+2+3+4"], **options).splits()
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_splits_have_different_voices_and_the_same_sentences(tones: Tones, tmp_path: Path) -> None:
    splits = make_corpus("synthetic", data_dir=str(tmp_path), voices=["tones:1+2+3+4"], **SMALL).splits()
    voices = [{str(u.speaker).split("_")[1] for u in splits[split]} for split in SPLITS]
    assert all(voices)
    assert len(set.union(*voices)) == sum(map(len, voices))
    assert all({u.text for u in splits[split]} == set(SENTENCES) for split in SPLITS)


@needs_espeak
def test_spoken_forms_are_used_only_for_synthesis(tones: Tones, tmp_path: Path) -> None:
    texts = ["A B", "B A C", "rubout a", "RUBOUT A", "BAA"]
    options = SMALL | {"sentences": texts, "voices": ["tones:1+2+3+4"], "data_dir": str(tmp_path)}
    spoken_as = {"A": "eigh", "RUBOUT": "rub out"}
    splits = make_corpus("synthetic", **options, spoken_as=spoken_as).splits()
    assert {u.text for utterances in splits.values() for u in utterances} == set(texts)
    assert {text for text, _ in tones.spoken} == {"eigh B", "B eigh C", "rubout a", "rub out eigh", "BAA"}
    tones.spoken.clear()
    make_corpus("synthetic", **options).splits()
    assert {text for text, _ in tones.spoken} == set(texts), "another corpus, beside the first"


def test_speakers_follow_the_shares_of_the_synthesizers(tones: Tones, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "hums", Tones("hums"))

    def engines(shares: dict[str, float] | None) -> list[str]:
        voices = {"train": ["tones:1+2", "hums:3+4"]}
        cast = cast_speakers(voices, {"train": 12}, np.random.default_rng(0), shares)
        return [speaker.engine for speaker in cast["train"]]

    assert engines(None) == engines({}) == ["tones", "hums"] * 6, "as corpora were made before there were shares"
    assert engines({"hums": 0.5}) == ["tones", "tones", "hums"] * 4
    assert engines({"tones": 0.2, "hums": 1}).count("tones") == 2
    for shares, message in (({"hum": 1}, "unknown synthesizer 'hum': did you mean 'hums'"), ({"hums": 0}, "is 0: ")):
        with pytest.raises(CorpusError, match=message):
            engines(shares)


def test_the_share_of_each_synthesizer_is_reported(tones: Tones, tmp_path: Path) -> None:
    options = SMALL | {"validation_voices": ["tones:5"], "test_voices": ["tones:6"]}
    corpus = make_corpus("synthetic", data_dir=str(tmp_path), voices=["en-us", "en-gb-scotland", "tones:7"], **options)
    splits = corpus.splits()
    assert corpus.notes == ["Voices of the training split: 50% espeak, 50% tones."]
    assert {str(u.speaker).split("_")[0] for u in splits["test"]} == {"tones"}
    again = make_corpus("synthetic", data_dir=str(tmp_path), voices=["en-us", "en-gb-scotland", "tones:7"], **options)
    again.splits()
    assert len(tones.spoken) == 8 + 4 + 4, "nothing is made twice"


def test_rejects_a_split_without_its_own_voice(tones: Tones) -> None:
    counts = {"train": 4, "validation": 1, "test": 1}
    with pytest.raises(CorpusError, match=r"no voice left for validation: add other voices to validation_voices"):
        cast_speakers({key: ["tones:1"] for key in SPLITS}, counts, np.random.default_rng(0))


@pytest.mark.parametrize("voice", ["pipr:joe.onnx", "festival:x", ":x"])
def test_reports_an_unknown_synthesizer(voice: str) -> None:
    with pytest.raises(CorpusError, match=r"unknown synthesizer: .*espeak|unknown synthesizer: did you mean 'piper'"):
        find_engine(voice)


@pytest.mark.parametrize(
    ("voice", "message"),
    [
        ("piper:none.onnx", "none.onnx is not a Piper voice"),
        ("piper:.", "has no Piper voices"),
        ("kokoro:nowhere", "nowhere has no Kokoro voices"),
    ],
)
def test_reports_missing_weights(voice: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorpusError, match=message):
        make_corpus("synthetic", data_dir=str(tmp_path), voices=[voice], **SMALL).splits()


def test_voices_depend_only_on_the_files(tmp_path: Path) -> None:
    for name, count in (("joe", 1), ("many", 9)):
        (tmp_path / f"{name}.onnx").write_bytes(b"x")
        (tmp_path / f"{name}.onnx.json").write_text(f'{{"num_speakers": {count}}}')
    names = ("af_one", "af_two", "am_three", "bf_four", "bm_five", "bm_six", "jf_seven")
    np.savez(tmp_path / "voices.npz", **{name: np.zeros((3, 1, 4), np.float32) for name in names})
    (tmp_path / "voices.npz").rename(tmp_path / "voices.bin")
    counts = {"train": 12, "validation": 2, "test": 2}
    cast = cast_speakers({key: [f"piper:{tmp_path}"] for key in counts}, counts, np.random.default_rng(0))
    spoken = [{speaker.voice for speaker in speakers} for speakers in cast.values()]
    assert all(spoken)
    assert len(set.union(*spoken)) == sum(map(len, spoken)) >= 9
    cast = cast_speakers({key: [f"kokoro:{tmp_path}"] for key in counts}, counts, np.random.default_rng(0))
    styles = [{part for s in speakers for part in s.voice.split("-") if "_" in part} for speakers in cast.values()]
    assert set.union(*styles) == set(names) - {"jf_seven"}
    assert sum(map(len, styles)) == 6
    assert any("-" in speaker.voice for speaker in cast["train"]), "mixtures of two styles"
    only = cast_speakers({"test": [f"kokoro:{tmp_path}#bm"]}, {"test": 2}, np.random.default_rng(0))["test"]
    assert {speaker.voice for speaker in only} == {"bm_five", "bm_six"}
    with pytest.raises(CorpusError, match="begins with x or y"):
        cast_speakers({"test": [f"kokoro:{tmp_path}#x,y"]}, {"test": 2}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("names", "counts", "sizes"),
    [
        (10, {"a": 8, "b": 1, "c": 1}, [6, 2, 2]),
        (3, {"a": 50, "b": 1, "c": 1}, [1, 1, 1]),
        (2, {"a": 1, "b": 9, "c": 9}, [1, 1]),
        (1, {"a": 1, "b": 1}, [1]),
        (7, {"a": 3}, [7]),
    ],
)
def test_distributes_names_by_counts(names: int, counts: dict[str, int], sizes: list[int]) -> None:
    shares = distribute(range(names), counts)
    assert [len(found) for found in shares.values()] == sizes
    assert [name for found in shares.values() for name in found] == list(range(names))


@pytest.mark.parametrize(("engine", "package"), [("piper", "piper"), ("kokoro", "kokoro_onnx")])
def test_reports_a_missing_package(engine: str, package: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.config", None)
    for name in ("m.onnx", "voices.bin"):
        (tmp_path / name).touch()
    speaker = Speaker("af_x", 50, 170, engine, str(tmp_path))
    with pytest.raises(CorpusError, match=r"pip install 'hf_speech\[voices\]'"):
        list(ENGINES[engine].speak([("yes", speaker)]))


@pytest.mark.corpora
@pytest.mark.parametrize("engine", ["piper", "kokoro"])
def test_synthesizes_with_neural_voices(engine: str) -> None:
    folder = Path(os.environ.get("HF_SPEECH_VOICES", "")) / engine
    if not os.environ.get("HF_SPEECH_VOICES") or not folder.is_dir():
        pytest.skip(f"there are no voices of {engine}: HF_SPEECH_VOICES names a folder with {engine}/ in it")
    pytest.importorskip({"piper": "piper", "kokoro": "kokoro_onnx"}[engine])
    speaker = cast_speakers({"train": [f"{engine}:{folder}"]}, {"train": 1}, np.random.default_rng(0))["train"][0]
    slow, fast = replace(speaker, pace=130), replace(speaker, pace=210)
    spoken = list(ENGINES[engine].speak([("seven eight nine", slow), ("seven eight nine", fast)]))
    seconds = [len(samples) / rate for samples, rate in spoken]
    assert 0.5 < seconds[1] < 0.8 * seconds[0] < 3
    assert all(0.05 < np.abs(samples).max() <= 1 for samples, _ in spoken)
