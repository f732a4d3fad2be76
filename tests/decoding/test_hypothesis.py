"""Checks of log probabilities and texts, and words from tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_speech.decoding.hypothesis import FLOOR, TokenSpan, check_log_probs, encode, make_hypothesis
from hf_speech.errors import HFSpeechError

TOKENS = ("<pad>", "|", "a", "b")


def test_confidence_and_times_of_words():
    spans = [
        TokenSpan(1, 0, 1, 0.1),
        TokenSpan(2, 2, 4, 0.9),
        TokenSpan(3, 5, 6, 0.6),
        TokenSpan(1, 6, 7, 0.2),
        TokenSpan(1, 8, 9, 0.2),
        TokenSpan(3, 10, 12, 0.7),
    ]
    found = make_hypothesis(spans, -1.5, TOKENS, 0.5, "|")
    assert found.text == "ab b"
    assert [(word.text, word.start, word.end, word.confidence) for word in found.words] == [
        ("ab", 1.0, 3.0, 0.6),
        ("b", 5.0, 6.0, 0.7),
    ]
    assert (found.score, found.tokens) == (-1.5, tuple(spans))


def test_delimiters_alone_give_no_words():
    found = make_hypothesis([TokenSpan(1, 0, 1, 0.5)], 0.0, TOKENS, 0.04, "|")
    assert (found.text, found.words) == ("", ())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_converts_log_probs_to_float32_with_a_floor(kind):
    log_probs = torch.randn(5, 30).log_softmax(-1)
    log_probs[0] = -torch.inf
    log_probs[0, 0] = 0.0
    checked = check_log_probs(log_probs.to(kind, copy=True).requires_grad_(), 30)
    assert checked.dtype == np.float32
    assert checked[0].tolist() == [0.0] + [FLOOR] * 29
    np.testing.assert_allclose(checked[1:], log_probs[1:].numpy(), rtol=0.01)


def test_rejects_logits_and_diverged_models():
    for logit in (-3.0, 0.5, 200.0):
        with pytest.raises(HFSpeechError, match="log_softmax"):
            check_log_probs(np.full((4, 3), logit))
    log_probs = np.log(np.full((4, 3), 1 / 3))
    log_probs[2, 1] = np.nan
    with pytest.raises(HFSpeechError, match="train the model again"):
        check_log_probs(log_probs)


def test_rejects_other_shapes():
    with pytest.raises(HFSpeechError, match=r"\(1, 4, 3\).*\(frames, 3\)"):
        check_log_probs(np.zeros((1, 4, 3)), 3)
    with pytest.raises(HFSpeechError, match=r"\(4, 3\).*\(frames, 5\)"):
        check_log_probs(np.log(np.full((4, 3), 1 / 3)), 5)


def test_encodes_text_by_characters():
    assert encode("  ab b\n", TOKENS) == [2, 3, 1, 3]
    assert encode("", TOKENS) == []


def test_reports_unknown_characters():
    with pytest.raises(HFSpeechError, match=r"'aB cab' .*\(B c\)"):
        encode("aB cab", TOKENS)
