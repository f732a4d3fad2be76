"""The Space decodes by itself, without hf_speech, and must say what hf_speech says."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hf_speech.decoding import (
    BeamSearchDecoder,
    build_arpa,
    cut_at_pauses,
    greedy_decode,
    make_cues,
    to_json,
    to_srt,
    to_vtt,
)
from hf_speech.decoding.hypothesis import Word
from hf_speech.inference.decoders import pronounced
from hf_speech.tasks.lexicon import Lexicon

TOKENS = ["<pad>", "|", "a", "b", "c"]
FRAME = 0.04


@pytest.fixture
def decoding(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "decoding")


def random_log_probs(frames: int, seed: int, sharpness: float = 3.0) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, sharpness, (frames, len(TOKENS)))
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def as_tuples(words: Any) -> list[tuple[str, float, float, float]]:
    return [(word.text, round(word.start, 6), round(word.end, 6), round(float(word.confidence), 5)) for word in words]


@pytest.mark.parametrize("frames", [0, 1, 2, 50])
@pytest.mark.parametrize("seed", range(5))
def test_best_path_is_the_packages(decoding: ModuleType, frames: int, seed: int) -> None:
    log_probs = random_log_probs(frames, seed)
    expected = greedy_decode(log_probs, TOKENS, seconds_per_frame=FRAME)
    assert as_tuples(decoding.best_path(log_probs, TOKENS, 0, FRAME)) == as_tuples(expected.words)


@pytest.mark.parametrize("delimiter", [None, 1])
@pytest.mark.parametrize("seed", range(4))
def test_long_recordings_are_cut_where_the_package_cuts_them(
    decoding: ModuleType, seed: int, delimiter: int | None
) -> None:
    log_probs = random_log_probs(20_000, seed)
    log_probs[:, 0] += 4.0  # silences of all lengths
    for frame in (0.04, 0.16):
        cuts = decoding.cut_at_pauses(log_probs, 0, delimiter, frame)
        assert cuts == cut_at_pauses(log_probs, seconds_per_frame=frame, blank=0, delimiter=delimiter)
        assert len(cuts) > 10


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    pytest.importorskip("flashlight.lib.text.decoder.kenlm", reason="needs flashlight-text")
    pytest.importorskip("torchaudio", exc_type=ImportError)
    path = tmp_path / "language_model.arpa"
    build_arpa(["ab ca bb", "ab bb ca", "ca ca aab", "bb aab ab"], 3, path)
    return path


@pytest.mark.parametrize("seed", range(6))
def test_beam_search_is_the_packages(decoding: ModuleType, arpa: Path, seed: int) -> None:
    weights = {"lm_weight": 0.7, "word_score": 0.9, "beam_size": 40}
    arpa.with_suffix(".decoder.json").write_text(json.dumps(weights))
    search = decoding.BeamSearch(arpa, TOKENS, 0)
    expected = BeamSearchDecoder(TOKENS, language_model=arpa, **weights)
    log_probs = random_log_probs(30, seed)
    words = search.decode(log_probs, FRAME)
    assert words
    assert as_tuples(words) == as_tuples(expected.decode(log_probs, seconds_per_frame=FRAME)[0].words)
    # What it knows, and nothing else.
    assert {word.text for word in words} <= {"ab", "ca", "bb", "aab"}


@pytest.mark.parametrize("seed", range(6))
def test_phones_order_its_texts_as_the_packages(decoding: ModuleType, arpa: Path, tmp_path: Path, seed: int) -> None:
    weights = {"lm_weight": 0.4, "word_score": 0.9, "beam_size": 40}
    (tmp_path / "lexicon.txt").write_text("AB\tq x\nCA\tz z\nBB\tx\nAAB\ty q\n")
    lexicon = Lexicon.load(tmp_path / "lexicon.txt")
    letters = random_log_probs(30, seed)
    phones = random_log_probs(30, seed + 100)  # as many phones, blank included, as there are tokens
    expected = BeamSearchDecoder(TOKENS, language_model=arpa, **weights)

    def opinion(texts: Sequence[str]) -> np.ndarray:
        return 4.0 * pronounced(lexicon, phones, texts)

    texts = []
    for phone_weight, second_opinion in ((0.0, None), (4.0, opinion)):
        arpa.with_suffix(".decoder.json").write_text(json.dumps(weights | {"phone_weight": phone_weight}))
        search = decoding.BeamSearch(arpa, TOKENS, 0, tmp_path / "lexicon.txt")
        words = search.decode(np.concatenate([letters, phones], axis=1), FRAME)
        (best,) = expected.decode(letters, seconds_per_frame=FRAME, second_opinion=second_opinion)
        assert as_tuples(words) == as_tuples(best.words)
        texts.append(best.text)
    assert len(set(texts)) == 2
    # A word that nobody knows how to say: nothing can be compared.
    (tmp_path / "lexicon.txt").write_text("ZZ\tz\n")
    search = decoding.BeamSearch(arpa, TOKENS, 0, tmp_path / "lexicon.txt")
    found = search.decode(np.concatenate([letters, phones], axis=1), FRAME)
    assert " ".join(word.text for word in found) == texts[0]


def test_beam_search_hears_nothing_in_nothing(decoding: ModuleType, arpa: Path) -> None:
    blanks = np.full((20, len(TOKENS)), -30.0, np.float32)
    blanks[:, 0] = 0.0
    search = decoding.BeamSearch(arpa, TOKENS, 0)
    assert search.decode(blanks, FRAME) == []
    assert search.decode(blanks[:0], FRAME) == []


def test_a_language_model_of_other_letters_is_refused(decoding: ModuleType, arpa: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no model of words"):
        decoding.BeamSearch(arpa, ["<pad>", "|", "x", "y"], 0)
    build_arpa(["a b c", "b c a"], 2, tmp_path / "characters.arpa")
    with pytest.raises(ValueError, match="no model of words"):
        decoding.BeamSearch(tmp_path / "characters.arpa", TOKENS, 0)


def test_files_are_the_packages(space_module: Callable[[str, str], Any]) -> None:
    subtitles = space_module("transcribe", "subtitles")
    rng = np.random.default_rng(0)
    words, now = [], 0.0
    for index in range(60):
        now += float(rng.exponential(0.4)) + (3.0 if index % 17 == 0 else 0.0)
        end = now + float(rng.uniform(0.01, 1.2))
        words.append(Word(str(rng.choice(["a", "<b>", "R&D", "Donaudampfschiff" * 4])), now, end, float(rng.random())))
        now = end
    for some in (words, words[:1], []):
        cues = make_cues(some)
        assert subtitles.to_srt(some) == to_srt(cues)
        assert subtitles.to_vtt(some) == to_vtt(cues)
        assert subtitles.to_json(some) == to_json(some)
    assert subtitles.to_txt(words[:2]) == f"{words[0].text} {words[1].text}\n"
