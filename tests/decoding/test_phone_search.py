"""The search by phones with a pronouncing dictionary and a language model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hf_speech.decoding.estimation import build_arpa
from hf_speech.decoding.ngram import NgramModel
from hf_speech.decoding.phone_search import PhoneSearch
from hf_speech.decoding.phones import phone_scores
from hf_speech.errors import HFSpeechError

# Phones: 1 "t", 2 "uu", 3 "b", 4 "ii".
WORDS = {"to": [1, 2], "two": [1, 2], "be": [3, 4], "bee": [3, 4], "beet": [3, 4, 1], "tea": [1, 4], "ee": [4]}
TEXT = ["two bee beet", "to be ee", "two bee", "to be tea", "to be", "beet tea", "qu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_arpa(TEXT, 3, tmp_path_factory.mktemp("lm") / "lm.arpa").path


def make(model: Path | None, **options: object) -> PhoneSearch:
    arguments = {"beam_size": 2000, "beam_threshold": 1000.0, "lm_weight": 0.7, "word_score": 0.3, **options}
    return PhoneSearch(5, lambda word: WORDS.get(word, []), language_model=model, **arguments)


def emissions(*phones: int, sharpness: float = 6.0, seed: int = 0) -> np.ndarray:
    """Returns log probabilities of frames in which these phones are likely (0 is the blank)."""
    logits = np.random.default_rng(seed).normal(0, 1, (len(phones), 5))
    logits[np.arange(len(phones)), phones] += sharpness
    scores: np.ndarray = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return scores.astype(np.float32)


def best(search: PhoneSearch, log_probs: np.ndarray) -> str:
    found = search.candidates(log_probs)
    return max(found, key=lambda text: found[text])


def test_the_language_model_distinguishes_homophones(model: Path) -> None:
    same = (0, 1, 2, 2, 0, 3, 4)
    assert best(make(model), emissions(*same, 0, 0, 0)) in ("to be", "two bee")
    assert best(make(model), emissions(*same, 0, 1, 4)) == "to be tea"
    assert best(make(model), emissions(*same, 3, 4, 1)) == "two bee beet"


def test_equal_phones_across_words_need_a_blank(model: Path) -> None:
    assert best(make(model), emissions(3, 4, 1, 0, 1, 4, sharpness=9)) == "beet tea"
    assert best(make(model), emissions(3, 4, 0, 4, sharpness=9, seed=1)) in ("be ee", "bee ee")
    assert best(make(model), emissions(3, 4, 4, 4, sharpness=9, seed=1)) in ("be", "bee")


@pytest.mark.parametrize("seed", range(6))
def test_scores_sum_over_all_alignments(model: Path, seed: int) -> None:
    log_probs = emissions(*np.random.default_rng(seed).integers(0, 5, 6), sharpness=1.5, seed=seed)
    found = make(model).candidates(log_probs)
    language_model = NgramModel.load(model)
    assert len(found) > 20
    for text, score in found.items():
        words = text.split()
        history = ["<s>", *words, "</s>"]
        logs = sum(language_model.log_prob(history[i], history[:i]) for i in range(1, len(history)))
        ids = [phone for word in words for phone in WORDS[word]]
        expected = phone_scores(log_probs, [ids])[0] + 0.7 * logs + 0.3 * len(words)
        assert score == pytest.approx(expected, abs=1e-3), text


def test_finds_hot_words_but_no_words_without_pronunciation(model: Path) -> None:
    assert "qu" not in " ".join(make(model).candidates(emissions(1, 2, 3, 4)))
    sound = emissions(0, 1, 2, 2, 0, 0, 0)
    plain = make(model).candidates(sound)
    hot = make(model, hot_words=["two"], hot_word_score=3.0).candidates(sound)
    assert hot["two"] == pytest.approx(plain["two"] + 3, abs=1e-3)
    assert hot["to"] == pytest.approx(plain["to"], abs=1e-3)
    with pytest.raises(HFSpeechError, match="The hot word 'xu' has no pronunciation"):
        make(model, hot_words=["xu"])


def test_rejects_invalid_searches(tmp_path: Path) -> None:
    characters = build_arpa(TEXT, 2, tmp_path / "c.arpa", unit="character").path
    with pytest.raises(HFSpeechError, match="needs a word language model"):
        make(characters)
    with pytest.raises(HFSpeechError, match="needs a word language model"):
        make(None)
    others = build_arpa(["other words"], 2, tmp_path / "o.arpa").path
    with pytest.raises(HFSpeechError, match=r"lexicon\.txt has no word of the language model"):
        make(others)
