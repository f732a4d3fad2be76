"""Forced alignment compared with all paths, and texts that cannot be aligned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_speech.decoding import alignment
from hf_speech.decoding.alignment import align, align_text, min_frames
from hf_speech.decoding.greedy import best_path
from hf_speech.errors import HFSpeechError


@pytest.mark.parametrize("ids", [[], [2], [2, 2], [2, 3], [2, 2, 2], [2, 3, 2], [3, 1, 3], [2, 2, 3, 1], [1, 2, 3, 2]])
@pytest.mark.parametrize("seed", range(3))
def test_finds_the_best_of_all_paths(brute_force, ids, seed):
    log_probs = brute_force.draw_log_probs(6, seed=seed)
    paths = brute_force.every_path(log_probs)
    path, score = max(
        ((path, score) for path, score in paths if brute_force.collapse(path) == tuple(ids)), key=lambda item: item[1]
    )
    spans, found = align(log_probs, ids)
    assert found == pytest.approx(score, abs=1e-5)
    filled = [0] * 6
    for span in spans:
        filled[span.start : span.end] = [span.id] * (span.end - span.start)
        assert span.probability == pytest.approx(np.exp(log_probs[span.start : span.end, span.id].max()))
    assert tuple(filled) == path
    assert [span.id for span in spans] == ids


@pytest.mark.parametrize("ids", [[], [2], [2, 2], [2, 3], [2, 2, 2], [2, 1, 1, 2], [3, 3, 2, 2]])
def test_min_frames_is_the_length_of_the_shortest_path(brute_force, ids):
    lengths = [
        frames
        for frames in range(8)
        if any(brute_force.collapse(path) == tuple(ids) for path, _ in brute_force.every_path(np.zeros((frames, 4))))
    ]
    assert min_frames(ids) == lengths[0]
    log_probs = brute_force.draw_log_probs(lengths[0])
    assert [span.id for span in align(log_probs, ids)[0]] == ids
    if ids:
        with pytest.raises(HFSpeechError, match=f"need {lengths[0]} frames, but there are {lengths[0] - 1}"):
            align(log_probs[:-1], ids)


def test_aligns_many_tokens_over_many_frames(brute_force):
    """With more states than fit into a byte, the aligned best path is found again."""
    log_probs = brute_force.draw_log_probs(400, tokens=12)
    spans = best_path(log_probs)
    assert len(spans) > 200
    aligned, score = align(log_probs, [span.id for span in spans])
    assert aligned == spans
    assert score == pytest.approx(log_probs.max(axis=1).sum(), rel=1e-6)


def test_times_of_words(brute_force):
    path = [0, 2, 2, 0, 3, 1, 1, 0, 0, 3]
    log_probs = np.log(np.full((10, 4), 0.1))
    log_probs[np.arange(10), path] = np.log(0.7)
    found = align_text(torch.from_numpy(log_probs), "ab b", brute_force.tokens, seconds_per_frame=0.5)
    assert found.text == "ab b"
    assert [(word.text, word.start, word.end) for word in found.words] == [("ab", 0.5, 2.5), ("b", 4.5, 5.0)]
    assert [word.confidence for word in found.words] == pytest.approx([0.7, 0.7])
    assert found.score == pytest.approx(10 * np.log(0.7))


def test_a_word_that_is_not_spoken_has_low_confidence(brute_force):
    path = [2, 0, 1, 0, 3]
    log_probs = np.log(np.full((5, 4), 0.1))
    log_probs[np.arange(5), path] = np.log(0.7)
    found = align_text(log_probs, "a a", brute_force.tokens, seconds_per_frame=0.04)
    assert [word.confidence for word in found.words] == pytest.approx([0.7, 0.1])


def test_error_for_a_text_longer_than_its_sound(brute_force):
    with pytest.raises(HFSpeechError, match=r"'aab' needs 4 frames, but the recording has 3 \(0\.12 s\)"):
        align_text(brute_force.draw_log_probs(3), "aab", brute_force.tokens, seconds_per_frame=0.04)


def test_empty_text_and_no_frames(brute_force):
    assert align_text(brute_force.draw_log_probs(3), " ", brute_force.tokens, seconds_per_frame=0.04).words == ()
    assert align(np.zeros((0, 4)), []) == ([], 0.0)


def test_rejects_more_frames_than_fit_into_memory(brute_force, monkeypatch):
    monkeypatch.setattr(alignment, "_MAX_BYTES", 29)
    assert align(brute_force.draw_log_probs(4), [2, 3])
    with pytest.raises(HFSpeechError, match="cut the recording"):
        align(brute_force.draw_log_probs(6), [2, 3])
