"""Cutting recordings at pauses, and combining the results of the pieces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hf_speech.decoding.beam import BeamSearchDecoder
from hf_speech.decoding.greedy import greedy_decode
from hf_speech.decoding.hypothesis import Hypothesis
from hf_speech.decoding.pauses import cut_at_pauses, join_pieces

FRAME = 0.1


def say(path: str, certainty: float = 0.97) -> np.ndarray:
    """Returns log probabilities of a path of the tokens `.` (blank), `|`, `a` and `b`."""
    ids = [".|ab".index(token) for token in path]
    probabilities = np.full((len(ids), 4), (1 - certainty) / 3, dtype=np.float32)
    probabilities[np.arange(len(ids)), ids] = certainty
    return np.log(probabilities)


def pieces_of(path: str, **limits: float) -> list[str]:
    cuts = cut_at_pauses(say(path), seconds_per_frame=FRAME, blank=0, delimiter=1, **limits)
    assert [first for first, _ in cuts] == [0, *(last for _, last in cuts)][: len(cuts)]
    return [path[first:last] for first, last in cuts]


def test_cuts_pauses_in_the_middle_but_not_short_gaps():
    assert pieces_of("..a.b" + "." * 10 + "ab" + "." * 9 + "a", pause_seconds=1.0) == [
        "..a.b.....",
        ".....ab.........a",
    ]


def test_does_not_cut_silence_at_the_ends():
    for path in ("." * 30 + "ab" + "." * 30, "." * 50, "a", "." * 30 + "a", "a" + "." * 30):
        assert pieces_of(path) == [path]
    assert pieces_of("") == []


def test_delimiters_in_a_pause_are_silence():
    assert pieces_of("a...|....|...b") == ["a...|..", "..|...b"]


def test_cuts_long_pieces_at_the_longest_gap_of_the_second_half():
    assert pieces_of("ab...|..a.|.b..|..a.|.b.b", max_seconds=2.0) == ["ab...|..a.|.b..", "|..a.|.b.b"]


def test_prefers_cuts_between_words():
    assert pieces_of("a.b.a|b.a.....b.a.b.a.b", max_seconds=1.6, pause_seconds=9.0)[0] == "a.b.a|b.a.."
    assert pieces_of("a.b.a.b.a.|b.....b.a.b.a", max_seconds=1.8, pause_seconds=9.0)[0] == "a.b.a.b.a."


def test_cuts_at_the_limit_without_silence():
    assert pieces_of("ab" * 20, max_seconds=1.5) == [("ab" * 20)[i : i + 15] for i in (0, 15, 30)]


def test_no_piece_exceeds_the_limit():
    rng = np.random.default_rng(0)
    for _ in range(50):
        path = "".join(rng.choice(list("...||ab"), rng.integers(1, 300)))
        pieces = pieces_of(path, max_seconds=2.0)
        assert "".join(pieces) == path
        assert max(map(len, pieces)) <= 20


def test_words_of_a_recording_are_ordered_and_separate():
    """Also if the model emits no delimiter in a pause."""
    path = "..ab" + "." * 14 + "ba|.a" + "." * 14 + "b"
    log_probs = say(path)
    whole = greedy_decode(log_probs, ".|ab", seconds_per_frame=FRAME)
    assert whole.text == "abba ab"
    cuts = cut_at_pauses(log_probs, seconds_per_frame=FRAME, blank=0, delimiter=1)
    found = [[greedy_decode(log_probs[first:last], ".|ab", seconds_per_frame=FRAME)] for first, last in cuts]
    (joined,) = join_pieces(found, [first for first, _ in cuts], seconds_per_frame=FRAME)
    assert joined.text == "ab ba a b"
    assert [word.start for word in joined.words] == pytest.approx([0.2, 1.8, 2.2, 3.7])
    assert [word.end for word in joined.words] == pytest.approx([0.4, 2.0, 2.3, 3.8])
    assert joined.tokens == whole.tokens
    assert joined.score == pytest.approx(whole.score)


def hypothesis(text: str, score: float) -> Hypothesis:
    return Hypothesis(text, score, (), ())


def test_finds_the_best_combinations():
    rng = np.random.default_rng(1)
    found = [
        sorted((hypothesis(f"{piece}{index}", rng.normal()) for index in range(3)), key=lambda one: -one.score)
        for piece in "abcd"
    ]
    every = {
        " ".join(part.text for part in parts): sum(part.score for part in parts) for parts in itertools.product(*found)
    }
    best = sorted(every.items(), key=lambda item: -item[1])[:7]
    joined = join_pieces(found, [0, 10, 20, 30], seconds_per_frame=FRAME, num_best=7)
    assert [one.text for one in joined] == [text for text, _ in best]
    assert [one.score for one in joined] == pytest.approx([score for _, score in best])
    assert join_pieces(found, [0, 10, 20, 30], seconds_per_frame=FRAME)[0].text == best[0][0]


def test_merges_equal_texts_and_ignores_empty_pieces():
    found = [[hypothesis("a b", -1.0), hypothesis("a", -1.5)], [hypothesis("c", -1.0), hypothesis("b c", -2.0)]]
    found.append([hypothesis("", 0.0)])
    joined = join_pieces(found, [0, 5, 9], seconds_per_frame=FRAME, num_best=5)
    assert [(one.text, one.score) for one in joined] == [("a b c", -2.0), ("a c", -2.5), ("a b b c", -3.0)]
    (nothing,) = join_pieces([], [], seconds_per_frame=FRAME)
    assert (nothing.text, nothing.score) == ("", 0.0)


def test_searching_pieces_equals_searching_the_whole():
    """With a lexicon, where a word must be complete before the next begins, and certain pauses."""
    rng = np.random.default_rng(2)
    silence = say("|" + "." * 12, certainty=1 - 1e-6)
    parts = []
    for _ in range(4):
        # One word each, so that each text of the whole has only one derivation.
        logits = rng.normal(size=(5, 4)) + np.array([-20, -20, 0, 0])
        parts += [(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32), silence]
    log_probs = np.concatenate(parts)
    decoder = BeamSearchDecoder(".|ab", lexicon=["a", "ab", "ba", "bab"], beam_size=3000, beam_threshold=1e6)
    whole = decoder.decode(log_probs, seconds_per_frame=FRAME, num_best=4)
    cuts = cut_at_pauses(log_probs, seconds_per_frame=FRAME, blank=0, delimiter=1)
    assert len(cuts) > 2
    found = [decoder.decode(log_probs[first:last], seconds_per_frame=FRAME, num_best=4) for first, last in cuts]
    joined = join_pieces(found, [first for first, _ in cuts], seconds_per_frame=FRAME, num_best=4)
    assert [one.text for one in joined] == [one.text for one in whole]
    assert [one.score for one in joined] == pytest.approx([one.score for one in whole], abs=0.01)
    assert [word.text for word in joined[0].words] == whole[0].text.split()
    assert [word.end for word in joined[0].words] == pytest.approx([word.end for word in whole[0].words])
    assert [span.start for span in joined[0].tokens if span.id != 1] == [
        span.start for span in whole[0].tokens if span.id != 1
    ]
