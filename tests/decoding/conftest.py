"""Small random utterances, and an exhaustive CTC decoder that enumerates all paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby, product

import numpy as np
import pytest

TOKENS = ("<pad>", "|", "a", "b")


def draw_log_probs(frames: int, tokens: int = len(TOKENS), seed: int = 0, sharpness: float = 2.0) -> np.ndarray:
    """Random log probabilities `(frames, tokens)`."""
    logits = np.random.default_rng(seed).normal(size=(frames, tokens)) * sharpness
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def every_path(log_probs: np.ndarray) -> Iterator[tuple[tuple[int, ...], float]]:
    """Yields every path of one token per frame, with its log probability."""
    frames, tokens = log_probs.shape
    for path in product(range(tokens), repeat=frames):
        yield path, float(sum(log_probs[frame, token] for frame, token in enumerate(path)))


def collapse(path: tuple[int, ...], blank: int = 0) -> tuple[int, ...]:
    """Returns the tokens of a path, with repetitions merged and blanks removed."""
    return tuple(token for token, _ in groupby(path) if token != blank)


def add_up(log_probs: np.ndarray, key: Callable[[tuple[int, ...]], object]) -> dict[object, float]:
    """Returns the log probability of every output, where `key` maps paths to outputs."""
    sums: dict[object, float] = {}
    for path, score in every_path(log_probs):
        meaning = key(path)
        sums[meaning] = float(np.logaddexp(sums.get(meaning, -np.inf), score))
    return sums


def to_words(tokens: tuple[int, ...]) -> tuple[str, ...]:
    """Returns the words that tokens spell."""
    return tuple("".join(TOKENS[token] for token in tokens).replace("|", " ").split())


class BruteForce:
    """The functions above, for tests to take as one fixture."""

    tokens = TOKENS
    draw_log_probs = staticmethod(draw_log_probs)
    every_path = staticmethod(every_path)
    collapse = staticmethod(collapse)
    add_up = staticmethod(add_up)
    to_words = staticmethod(to_words)


@pytest.fixture
def brute_force() -> type[BruteForce]:
    """Functions that compare a decoder with the exhaustive one."""
    return BruteForce
