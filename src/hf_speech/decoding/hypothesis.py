"""The result type of all decoders, the validation of their input, and the conversion to words with times.

Frames are counted from 0, the `end` of a span is exclusive, and times are seconds from the start of the recording. All
scores are natural logarithms.

The confidence of a token is its highest probability in any of its frames, because CTC divides the frames around a spike
between token and blank even if the token is certain. The confidence of a word is that of its least certain token,
because one wrong letter makes the word wrong, and a product or mean would depend on the length of the word. It does not
account for letters that the model missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hf_speech.errors import HFSpeechError

if TYPE_CHECKING:
    import torch

BLANK = 0
WORD_DELIMITER = "|"
# The logarithm of a probability of 0, finite so that impossible paths can be compared.
FLOOR = -1e4

LogProbs: TypeAlias = "np.ndarray | torch.Tensor"


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A token and the frames that emit it.

    Attributes:
        id: The token.
        start: The first frame.
        end: The frame after the last one.
        probability: The highest probability of the token in these frames.
    """

    id: int
    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Word:
    """A word with times.

    Attributes:
        text: The word.
        start: Start of the first frame of the first token, in seconds.
        end: End of the last frame of the last token, in seconds.
        confidence: The probability of the least certain token, between 0 and 1.
        tokens: Text, start and end of each token, if known.
    """

    text: str
    start: float
    end: float
    confidence: float
    tokens: tuple[tuple[str, float, float], ...] = field(default=(), compare=False, repr=False)

    def shift(self, seconds: float) -> Word:
        """Returns the word with its times increased by `seconds`."""
        tokens = tuple((text, start + seconds, end + seconds) for text, start, end in self.tokens)
        return replace(self, start=self.start + seconds, end=self.end + seconds, tokens=tokens)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """The result of a decoder.

    Attributes:
        text: The words, separated by spaces.
        score: The logarithm that the decoder maximizes; see the decoders.
        words: The words with times and confidences.
        tokens: The tokens with frames, including word delimiters.
    """

    text: str
    score: float
    words: tuple[Word, ...]
    tokens: tuple[TokenSpan, ...]


def make_hypothesis(
    spans: Sequence[TokenSpan], score: float, tokens: Sequence[str], seconds_per_frame: float, word_delimiter: str
) -> Hypothesis:
    """Joins tokens to words.

    Args:
        spans: The tokens in order.
        score: The score of the hypothesis.
        tokens: The string of each token id.
        seconds_per_frame: Time from one frame to the next, such as 0.04.
        word_delimiter: The token between words; several in a row count as one.
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
        tokens=tuple((tokens[span.id], span.start * seconds_per_frame, span.end * seconds_per_frame) for span in spans),
    )


def check_log_probs(log_probs: LogProbs, num_tokens: int | None = None) -> np.ndarray:
    """Checks log probabilities and converts them to NumPy.

    Args:
        log_probs: Natural logarithms of the tokens' probabilities `(frames, tokens)`, on any device, of any float type.
        num_tokens: The number of tokens, if known.

    Returns:
        Float32 `(frames, tokens)`, on the CPU, not below `FLOOR`.

    Raises:
        HFSpeechError: If the shape is wrong, or the probabilities do not sum to 1 in every frame.
    """
    if not isinstance(log_probs, np.ndarray) and hasattr(log_probs, "detach"):
        log_probs = log_probs.detach().float().cpu().numpy()
    array = np.asarray(log_probs, dtype=np.float32)
    if array.ndim != 2 or array.shape[1] != (num_tokens or array.shape[1]):
        raise HFSpeechError(
            f"Log probabilities of shape {array.shape} cannot be decoded: give those of one utterance, "
            f"(frames, {num_tokens or 'tokens'})."
        )
    with np.errstate(over="ignore"):
        sums = np.exp(array).sum(axis=1)
    # The tolerance is for bfloat16. Comparisons with NaN are false.
    if not np.all(np.abs(sums - 1) < 0.1):
        raise HFSpeechError(
            "These are not log probabilities, since probabilities do not sum to 1 in every frame: apply log_softmax to "
            "the logits, and if they contain NaN, train the model again."
        )
    return np.maximum(array, FLOOR)


def number_tokens(tokens: Sequence[str]) -> dict[str, int]:
    """Returns the id of each token; duplicates have the id of the first one."""
    return {token: index for index, token in reversed(list(enumerate(tokens)))}


def encode(text: str, tokens: Sequence[str], word_delimiter: str = WORD_DELIMITER) -> list[int]:
    """Returns the token ids of a text, one for each character.

    Args:
        text: Words separated by whitespace.
        tokens: The string of each token id.
        word_delimiter: The token between words.

    Raises:
        HFSpeechError: If a character is not a token.
    """
    ids = number_tokens(tokens)
    characters = word_delimiter.join(text.split())
    unknown = sorted(set(characters) - ids.keys())
    if unknown:
        raise HFSpeechError(
            f"The text {shorten(text)!r} has characters that are not among the model's tokens "
            f"({' '.join(unknown[:10])}): write it like the model's training transcripts."
        )
    return [ids[character] for character in characters]


def shorten(text: str, length: int = 60) -> str:
    """Shortens a text for an error message."""
    return text if len(text) <= length else f"{text[: length - 3]}..."
