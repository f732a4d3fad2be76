"""Greedy CTC decoding: merging of repetitions, blanks, and times."""

from __future__ import annotations

import numpy as np
import pytest
from transformers import Wav2Vec2CTCTokenizer

from hf_speech.decoding.greedy import greedy_decode

TOKENS = ("<pad>", "|", "a", "b")


def say(path: str, sure: float = 0.7) -> np.ndarray:
    """Returns log probabilities with this best path (`-` is the blank), which has probability `sure` in every frame."""
    ids = ["-|ab".index(character) for character in path]
    probabilities = np.full((len(path), len(TOKENS)), (1 - sure) / (len(TOKENS) - 1))
    probabilities[np.arange(len(path)), ids] = sure
    return np.log(probabilities)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", ""),
        ("----", ""),
        ("a", "a"),
        ("aaa", "a"),
        ("a-a", "aa"),
        ("aabb", "ab"),
        ("aa--bb|-|b", "ab b"),
        ("||-a||", "a"),
        ("|", ""),
    ],
)
def test_merges_repetitions_and_separates_at_blanks(path, text):
    assert greedy_decode(say(path), TOKENS, seconds_per_frame=0.04).text == text


def test_times_of_tokens_and_words():
    found = greedy_decode(say("-aa-b||--bb-"), TOKENS, seconds_per_frame=0.5)
    assert [(span.id, span.start, span.end) for span in found.tokens] == [(2, 1, 3), (3, 4, 5), (1, 5, 7), (3, 9, 11)]
    assert [(word.text, word.start, word.end) for word in found.words] == [("ab", 0.5, 2.5), ("b", 4.5, 5.5)]


def test_confidence_is_that_of_the_least_certain_token():
    log_probs = np.concatenate([say("a", 0.4), say("a", 0.9), say("-", 0.3), say("b", 0.6), say("|", 0.35)])
    found = greedy_decode(log_probs, TOKENS, seconds_per_frame=0.04)
    assert [span.probability for span in found.tokens] == pytest.approx([0.9, 0.6, 0.35])
    assert found.words[0].confidence == pytest.approx(0.6)
    assert found.score == pytest.approx(np.log([0.4, 0.9, 0.3, 0.6, 0.35]).sum())


def test_score_is_that_of_the_best_path(brute_force):
    log_probs = brute_force.draw_log_probs(5)
    path, score = max(brute_force.every_path(log_probs), key=lambda item: item[1])
    found = greedy_decode(log_probs, brute_force.tokens, seconds_per_frame=0.04)
    assert tuple(span.id for span in found.tokens) == brute_force.collapse(path)
    assert found.score == pytest.approx(score, abs=1e-5)


def test_text_equals_that_of_the_transformers_pipeline(tmp_path):
    (tmp_path / "vocab.json").write_text('{"<pad>": 0, "|": 1, "a": 2, "b": 3}')
    tokenizer = Wav2Vec2CTCTokenizer(
        str(tmp_path / "vocab.json"), bos_token=None, eos_token=None, unk_token="<pad>", pad_token="<pad>"
    )
    for seed in range(20):
        ids = np.random.default_rng(seed).integers(0, 4, 30)
        log_probs = say("".join("-|ab"[token] for token in ids))
        expected = tokenizer.decode(ids.tolist())
        # The tokenizer makes a blank of every delimiter, and these of a random path come in rows.
        assert greedy_decode(log_probs, TOKENS, seconds_per_frame=0.04).text == " ".join(expected.split())


def test_supports_other_blanks_and_delimiters():
    tokens = ("a", "_", "b", "<blank>")
    path = [3, 0, 3, 0, 1, 2, 2, 3]
    log_probs = np.log(np.full((8, 4), 0.1))
    log_probs[np.arange(8), path] = np.log(0.7)
    found = greedy_decode(log_probs, tokens, seconds_per_frame=0.04, blank=3, word_delimiter="_")
    assert found.text == "aa b"
