"""What every decoder gives, and the two conversions they share: checked log-probabilities in, words with times out.

Frames are counted from 0, spans end before their `end`, times are seconds from the start of the sound. All scores are
natural logarithms.

How sure a model is of a word is the probability of its least certain token, and of a token the highest probability
that any of its frames gives it. The highest, because CTC shares the frames around a spike with the blank without any
doubt about the token; the least certain, because one wrong letter makes a wrong word, however sure the others are, and
because a product or mean would punish or hide it by the length of the word. It is the model's own opinion, and says
nothing of letters that it missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hf_speech.errors import HFSpeechError

if TYPE_CHECKING:
    import torch

BLANK = 0
WORD_DELIMITER = "|"
# What a model calls impossible stays finite, so that impossible paths can still be compared.
FLOOR = -1e4

LogProbs: TypeAlias = "np.ndarray | torch.Tensor"


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A token and the frames that emit it.

    Attributes:
        id: The token.
        start: Its first frame.
        end: The frame after its last.
        probability: The highest probability of the token in these frames.
    """

    id: int
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word in time.

    Attributes:
        text: The word.
        start: Start of its first token's first frame, in seconds.
        end: End of its last token's last frame, in seconds.
        confidence: The probability of its least certain token, between 0 and 1.
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a decoder takes for said.

    Attributes:
        text: The words, separated by blanks.
        score: Natural logarithm of what the decoder maximizes; it says what that is.
        words: The words with times and confidences.
        tokens: The tokens with frames, word delimiters included.
    """

    text: str
    score: float
    words: tuple[Word, ...]
    tokens: tuple[TokenSpan, ...]


def make_hypothesis(
    spans: Sequence[TokenSpan], score: float, tokens: Sequence[str], seconds_per_frame: float, word_delimiter: str
) -> Hypothesis:
    """Join tokens into words.

    Args:
        spans: The tokens in time.
        score: The decoder's score.
        tokens: The string of each token id.
        seconds_per_frame: Time from a frame to the next, such as 0.04.
        word_delimiter: The token between words; any number of them in a row separate just as one.
    """
    groups = groupby(spans, key=lambda span: tokens[span.id] == word_delimiter)
    words = tuple(_join(list(group), tokens, seconds_per_frame) for is_delimiter, group in groups if not is_delimiter)
    return Hypothesis(" ".join(word.text for word in words), score, words, tuple(spans))


def _join(spans: Sequence[TokenSpan], tokens: Sequence[str], seconds_per_frame: float) -> Word:
    return Word(
        text="".join(tokens[span.id] for span in spans),
        start=spans[0].start * seconds_per_frame,
        end=spans[-1].end * seconds_per_frame,
        confidence=min(span.probability for span in spans),
    )


def check_log_probs(log_probs: LogProbs, num_tokens: int | None = None) -> np.ndarray:
    """Log-probabilities as NumPy, made sure to be what they should be.

    Args:
        log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`, on any device, of any float type.
        num_tokens: How many tokens there are to be, if known.

    Returns:
        Float32 `(frames, tokens)`, on the CPU, not below `FLOOR`.

    Raises:
        HFSpeechError: If they have another shape, are not numbers, or not logarithms of probabilities.
    """
    if not isinstance(log_probs, np.ndarray) and hasattr(log_probs, "detach"):
        log_probs = log_probs.detach().float().cpu().numpy()
    array = np.asarray(log_probs, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != (num_tokens or array.shape[1]):
        raise HFSpeechError(
            f"Log-probabilities of shape {array.shape} cannot be decoded: give those of one utterance, "
            f"(frames, {num_tokens or 'tokens'})."
        )
    with np.errstate(over="ignore"):
        sums = np.exp(array).sum(axis=1)
    # Within what bfloat16 leaves of a sum of 1. A comparison with NaN is false.
    if not np.all(np.abs(sums - 1) < 0.1):
        raise HFSpeechError(
            "What is to be decoded are no log-probabilities, for they do not sum to 1 in every frame: apply "
            "log_softmax to the logits, and if there are NaNs among them, train the model anew."
        )
    return np.maximum(array, FLOOR)


def encode(text: str, tokens: Sequence[str], word_delimiter: str = WORD_DELIMITER) -> list[int]:
    """The token ids of a text, character by character, as a CTC model learns them.

    Args:
        text: Words separated by whitespace.
        tokens: The string of each token id.
        word_delimiter: The token between words.

    Raises:
        HFSpeechError: If a character is not among the tokens.
    """
    ids = {token: index for index, token in reversed(list(enumerate(tokens)))}
    characters = word_delimiter.join(text.split())
    unknown = sorted(set(characters) - ids.keys())
    if unknown:
        raise HFSpeechError(
            f"The text {shorten(text)!r} has characters that are not among the model's tokens "
            f"({' '.join(unknown[:10])}): write it as the model's training transcripts are written."
        )
    return [ids[character] for character in characters]


def shorten(text: str, length: int = 60) -> str:
    """A text as a sentence about it may show it."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
