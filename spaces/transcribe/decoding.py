"""From log-probabilities to words with times and confidences: along the best path, or with a language model.

A word begins with its first token's first frame and ends with its last token's last one. Its confidence is the
probability of its least certain token, and a token's is the highest that any of its frames gives it: one wrong letter
makes a wrong word, and CTC shares the frames around a spike with the blank without any doubt about the token.

The search is torchaudio's `ctc_decoder` over flashlight-text, the alignment of what it finds torchaudio's
`forced_align`. A model that also writes phones is asked which of the texts that survive the search sounds most like
what it heard. All here gives what hf_speech's own decoders give; a test there compares them.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

DELIMITER = "|"
UNKNOWN = "<unk>"
# No word has so long a silence in it, and no piece of a long recording is longer than this.
PAUSE_SECONDS, MOST_SECONDS = 1.0, 60.0
# What a model calls impossible stays finite, so that impossible paths can still be compared.
_FLOOR = -1e4


@dataclass(frozen=True)
class Word:
    """A word in time.

    Attributes:
        text: The word.
        start: Its beginning in seconds.
        end: Its end in seconds.
        confidence: How sure the model is of it, between 0 and 1.
    """

    text: str
    start: float
    end: float
    confidence: float


def best_path(log_probs: np.ndarray, tokens: Sequence[str], blank: int, seconds_per_frame: float) -> list[Word]:
    """The words along the most probable token of every frame, repeats merged and blanks dropped (Graves et al. 2006).

    Args:
        log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`.
        tokens: The string of each token id.
        blank: The id of the CTC blank.
        seconds_per_frame: Time from a frame to the next.
    """
    return _words(log_probs.argmax(axis=1), log_probs, tokens, blank, seconds_per_frame)


def cut_at_pauses(
    log_probs: np.ndarray, blank: int, delimiter: int | None, seconds_per_frame: float
) -> list[tuple[int, int]]:
    """Cuts a long recording in the middle of every pause of a second, and what is still too long in its longest gap.

    Models of short utterances have never seen a pause end, and say no delimiter in it: the words would run together.

    Args:
        log_probs: Logarithms of the tokens' probabilities `(frames, tokens)`.
        blank: The id of the CTC blank.
        delimiter: The id of the token between words, if there is one.
        seconds_per_frame: Time from a frame to the next.

    Returns:
        The first frame of each piece and the one after its last. Together they are all frames.
    """
    total, ids = len(log_probs), log_probs.argmax(axis=1)
    delimiters = ids == delimiter if delimiter is not None else np.zeros(total, dtype=bool)
    silent = (ids == blank) | delimiters
    edges = np.flatnonzero(np.diff(silent, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    # The silence before the first word and behind the last is cut from nothing.
    inner = (starts > 0) & (ends < total)
    starts, ends = starts[inner], ends[inner]
    middles, lengths = (starts + ends) // 2, ends - starts
    counted = np.cumsum(delimiters)
    # Any silence between words before any within one.
    merit = lengths + total * (counted[ends - 1] > counted[starts - 1])
    most = max(2, int(MOST_SECONDS / seconds_per_frame))
    pieces: list[tuple[int, int]] = []
    for first, last in pairwise([0, *middles[lengths * seconds_per_frame >= PAUSE_SECONDS].tolist(), total]):
        while last - first > most:
            near = np.flatnonzero((middles > first + most // 2) & (middles <= first + most))
            # Of equally good ones the last, so that pieces are long.
            cut = int(middles[near[::-1][merit[near[::-1]].argmax()]]) if len(near) else first + most
            pieces.append((first, cut))
            first = cut
        pieces.append((first, last))
    return pieces


def _words(
    path: np.ndarray, log_probs: np.ndarray, tokens: Sequence[str], blank: int, seconds_per_frame: float
) -> list[Word]:
    """The words along a path of one token id a frame."""
    groups = groupby(_spans(path, log_probs, blank), key=lambda span: tokens[span[0]] == DELIMITER)
    words = []
    for spans in (list(group) for is_delimiter, group in groups if not is_delimiter):
        text = "".join(tokens[token] for token, *_ in spans)
        confidence = min(probability for *_, probability in spans)
        words.append(Word(text, spans[0][1] * seconds_per_frame, spans[-1][2] * seconds_per_frame, confidence))
    return words


def _spans(path: np.ndarray, log_probs: np.ndarray, blank: int) -> Iterator[tuple[int, int, int, float]]:
    """Token, first frame, frame after the last, and probability of each run of a token along a path."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(path)) + 1, [len(path)]]) if len(path) else np.zeros(1, int)
    for start, end in pairwise(starts.tolist()):
        token = int(path[start])
        if token != blank:
            yield token, start, end, float(np.exp(log_probs[start:end, token].max()))


class BeamSearch:
    """Decoding with an n-gram model of words, whose words are then all that can be recognized.

    Args:
        arpa: The language model; its weights, as hf_speech tuned them, in `NAME.decoder.json` beside it.
        tokens: The string of each token id.
        blank: The id of the CTC blank.
        lexicon: The phones of each word, lines `WORD PHONE PHONE ...`, if the model writes phones.

    Raises:
        ImportError, OSError, RuntimeError: If flashlight-text or torchaudio cannot be used here.
        ValueError: If the model's words cannot be spelled with the tokens.
    """

    def __init__(self, arpa: Path, tokens: Sequence[str], blank: int, lexicon: Path | None = None) -> None:
        from torchaudio.functional import forced_align
        from torchaudio.models.decoder import ctc_decoder

        self._align = forced_align
        self._tokens, self._blank, self._ids = tokens, blank, {token: index for index, token in enumerate(tokens)}
        letters = {token for token in tokens if len(token) == 1} - {tokens[blank], DELIMITER}
        words = sorted(word for word in _unigrams(arpa) if letters.issuperset(word))
        if DELIMITER not in tokens or all(len(word) == 1 for word in words):
            raise ValueError(f"{arpa.name} is no model of words that {''.join(sorted(letters))!r} can spell")
        weights: dict[str, Any] = {"lm_weight": 0.5, "word_score": 0.0, "beam_size": 100}
        tuned = arpa.with_suffix(".decoder.json")
        if tuned.is_file():
            weights |= json.loads(tuned.read_text(encoding="utf-8"))
        self._phone_weight = float(weights.get("phone_weight", 0.0))
        self._phones = {} if lexicon is None else _pronunciations(lexicon)
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as lexicon:
            lexicon.writelines(f"{word}\t{' '.join(word)} {DELIMITER}\n" for word in words)
            lexicon.flush()
            self._search = ctc_decoder(
                lexicon=lexicon.name,
                tokens=list(tokens),
                lm=str(arpa),
                nbest=int(weights["beam_size"]),
                beam_size=int(weights["beam_size"]),
                beam_threshold=50.0,
                lm_weight=float(weights["lm_weight"]) * math.log(10),  # KenLM gives logarithms to base 10.
                word_score=float(weights["word_score"]),
                log_add=True,
                blank_token=tokens[blank],
                sil_token=DELIMITER,
                unk_word=UNKNOWN,
            )
        self._lock = threading.Lock()  # The search keeps its hypotheses in itself.

    def decode(self, log_probs: np.ndarray, seconds_per_frame: float) -> list[Word]:
        """The words that are most probable by sound and language together.

        Args:
            log_probs: Logarithms of the probabilities of tokens, and, behind them, of phones if the model writes some,
                `(frames, tokens + phones)`.
            seconds_per_frame: Time from a frame to the next.
        """
        log_probs, phones = np.split(log_probs, [len(self._tokens)], axis=1)
        # A word is complete only at a delimiter, but sounds end without one: a last frame is certainly a delimiter.
        emissions = np.full((len(log_probs) + 1, len(self._tokens)), _FLOOR, dtype=np.float32)
        emissions[:-1] = np.maximum(log_probs, _FLOOR)
        emissions[-1, self._ids[DELIMITER]] = 0.0
        scores: dict[tuple[str, ...], float] = {}
        with self._lock:
            for found in self._search(torch.from_numpy(emissions)[None])[0]:
                words = tuple(found.words)
                scores[words] = float(np.logaddexp(scores.get(words, -math.inf), found.score))
        if self._phone_weight and all(word.casefold() in self._phones for words in scores for word in words):
            heard = self._pronounced(phones, list(scores))
            scores = {words: scores[words] + self._phone_weight * score for words, score in heard.items()}
        best, _ = max(scores.items(), key=lambda item: item[1], default=((), 0.0))
        text = DELIMITER.join(best)
        if not text:
            return []
        targets = torch.tensor([[self._ids[token] for token in text]])
        path = self._align(torch.from_numpy(emissions[None, :-1]), targets, blank=self._blank)[0]
        return _words(path[0].numpy(), log_probs, self._tokens, self._blank, seconds_per_frame)

    def _pronounced(self, phones: np.ndarray, texts: list[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        """How probable the phones of each text are, over all alignments; a text longer than the sound is impossible."""
        ids = [[phone for word in words for phone in self._phones[word.casefold()]] for words in texts]
        if not phones.size:
            return dict.fromkeys(texts, 0.0)
        losses = torch.nn.functional.ctc_loss(
            torch.from_numpy(np.maximum(phones, _FLOOR))[:, None].expand(-1, len(texts), -1),
            torch.tensor([phone for text in ids for phone in text], dtype=torch.long),
            torch.full((len(texts),), len(phones)),
            torch.tensor([len(text) for text in ids]),
            reduction="none",
        )
        return dict(zip(texts, (-losses).clamp(min=_FLOOR).tolist(), strict=True))


def _pronunciations(lexicon: Path) -> dict[str, list[int]]:
    """The phone ids of each word; phones are numbered in alphabetical order from 1 on, and 0 is the blank."""
    lines = [line.split() for line in lexicon.read_text(encoding="utf-8").splitlines()]
    ids = {phone: index for index, phone in enumerate(sorted({phone for _, *phones in lines for phone in phones}), 1)}
    return {word.casefold(): [ids[phone] for phone in phones] for word, *phones in lines}


def _unigrams(arpa: Path) -> Iterator[str]:
    """The words of a language model in ARPA format."""
    inside = False
    with arpa.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("\\"):
                if inside:
                    return
                inside = line.strip() == "\\1-grams:"
            elif inside and len(fields := line.split()) > 1 and fields[1] not in ("<s>", "</s>", UNKNOWN):
                yield fields[1]
