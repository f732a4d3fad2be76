"""N-gram language models, read from ARPA files or from `.ngram` files, which load faster.

Words are separated by whitespace. A character model is a model of text converted by `characters`. The n-grams
are a `Trie` with a probability, a back-off weight and a suffix for each node. The history of a sentence is the node of
its longest suffix in the model, so a few array operations advance many histories. A `.ngram` file stores the arrays in
the safetensors format.
"""

from __future__ import annotations

import json
import math
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_speech.common.files import replacing
from hf_speech.decoding.trie import Trie
from hf_speech.errors import HFSpeechError

if TYPE_CHECKING:
    from hf_speech.decoding.search import Ngrams

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
MAX_ORDER = 6
# The first line of an ARPA file whose "words" are characters.
OF_CHARACTERS = "# units: characters"
# The base-10 logarithm that means "impossible" in ARPA files, as for `<s>`, which is never predicted.
NEVER = -99.0
# Suffix of files written by `NgramModel.save`.
BINARY_SUFFIX = ".ngram"
_FORMAT = "hf_speech n-grams, version 1"


def characters(sentence: str, word_delimiter: str = "|") -> str:
    """Converts a sentence to the "words" of a character model: `"TO ME"` becomes `"T O | M E"`."""
    return " ".join(word_delimiter.join(sentence.split()))


class NgramModel:
    """An n-gram model with back-off.

    Args:
        words: The words, including `<unk>`; the n-th one is symbol n of the trie.
        ngrams: The n-grams.
        log_probs: Base-10 logarithm of the probability of each node, float32 `(nodes,)`; that of the root is not used.
        backoffs: Base-10 logarithm of the back-off weight of each node, float32 `(nodes,)`.
        suffixes: The node of the longest proper suffix of each n-gram in the model, int32 `(nodes,)`.
        order: Number of words in the longest n-grams.
        is_of_characters: Whether the words are characters; see `build_arpa`.

    Attributes:
        vocabulary: The words, without `<s>`, `</s>` and `<unk>`.
    """

    def __init__(
        self,
        words: list[str],
        ngrams: Trie,
        log_probs: np.ndarray,
        backoffs: np.ndarray,
        suffixes: np.ndarray,
        order: int,
        is_of_characters: bool = False,
    ) -> None:
        self.words = words
        self.order = order
        self.is_of_characters = is_of_characters
        self._ngrams = ngrams
        self._log_probs, self._backoffs, self._suffixes = log_probs, backoffs, suffixes
        self._ids = {word: index for index, word in enumerate(words)}
        self.vocabulary = frozenset(words) - {BEGIN, END, UNKNOWN}

    @classmethod
    def load(cls, path: str | os.PathLike[str], max_order: int | None = None) -> NgramModel:
        """Reads an ARPA file, or an `.ngram` file written by `save`.

        Args:
            path: The file.
            max_order: Maximum length of the n-grams to read from an ARPA file; 1 for the vocabulary only.

        Raises:
            HFSpeechError: If the file cannot be read or has another format.
        """
        name = os.fspath(path)
        try:
            if Path(path).suffix == BINARY_SUFFIX:
                return cls._load_arrays(Path(path))
            with Path(path).open(encoding="utf-8") as stream:
                return cls.read(stream, name, max_order)
        except OSError as error:
            raise HFSpeechError(f"The language model {name} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise HFSpeechError(f"{name} is not a UTF-8 ARPA file: build one with hf-speech build-lm.") from error

    @classmethod
    def read(cls, lines: Iterable[str], name: str, max_order: int | None = None) -> NgramModel:
        """Reads the lines of an ARPA file; see `load`.

        Args:
            lines: The lines.
            name: The name of the file, for messages.
            max_order: Maximum length of the n-grams to read.

        Raises:
            HFSpeechError: If the lines are not those of an ARPA file.
        """
        ids: dict[str, int] = {}
        orders: list[_Order] = []
        declared: dict[int, int] = {}
        ended, is_of_characters = False, False
        for number, line in enumerate(lines, start=1):
            # Not split(), since words may contain any whitespace other than spaces and tabs.
            fields = line.strip(" \t\r\n").replace("\t", " ").split(" ")
            try:
                if fields[0] == "\\end\\":
                    ended = True
                    break
                if fields[0].startswith("\\") and fields[0].endswith("-grams:"):
                    order = int(fields[0].removeprefix("\\").removesuffix("-grams:"))
                    if max_order is not None and order > max_order:
                        break
                    orders.append(_Order())
                    if order != len(orders):
                        raise ValueError
                elif orders and fields != [""]:
                    orders[-1].add(fields, len(orders), ids)
                elif fields[0] == "ngram":
                    n, _, count = "".join(fields[1:]).partition("=")
                    declared[int(n)] = int(count)
                else:
                    is_of_characters |= not declared and line.strip() == OF_CHARACTERS
            except (ValueError, KeyError):
                raise HFSpeechError(
                    f"{name} is not a valid ARPA file: line {number} is {line.strip()[:60]!r}. Build it again with "
                    "hf-speech build-lm."
                ) from None
        if not declared:
            raise HFSpeechError(f"{name} is not an ARPA file: build a language model with hf-speech build-lm.")
        found = {n: len(each.log_probs) for n, each in enumerate(orders, start=1) if each.log_probs}
        expected = {n: count for n, count in declared.items() if max_order is None or n <= max_order}
        if expected != {n: found.get(n, 0) for n in expected} or not (ended or max_order):
            raise HFSpeechError(
                f"{name} is not a complete ARPA file: its header declares {expected} n-grams, and it has "
                f"{found or 'none'}. Build it again with hf-speech build-lm."
            )
        if UNKNOWN not in ids:
            orders[0].add([str(NEVER), UNKNOWN], 1, ids)
        try:
            arrays = _build_trie(orders, len(ids))
        except ValueError as error:
            raise HFSpeechError(
                f"{name} is not a valid ARPA file: {error}. Build it again with hf-speech build-lm."
            ) from None
        return cls(list(ids), *arrays, max(declared), is_of_characters)

    @classmethod
    def _load_arrays(cls, path: Path) -> NgramModel:
        from safetensors import SafetensorError, safe_open

        try:
            with path.open("rb"), safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {}).get("ngrams", "{}"))
                if about.get("format") != _FORMAT:
                    raise ValueError("it has no n-gram metadata")
                words = bytes(file.get_tensor("words")).decode().split("\n")
                keys, log_probs, backoffs, suffixes = map(
                    file.get_tensor, ("keys", "log_probs", "backoffs", "suffixes")
                )
            order, is_of_characters = int(about["order"]), bool(about["is_of_characters"])
            nodes = len(keys) + 1
            same = {each.shape for each in (log_probs, backoffs, suffixes)} == {(nodes,)}
            if keys.dtype != np.int64 or not same or np.any(keys[1:] <= keys[:-1]):
                raise ValueError("its arrays are inconsistent")
            # Every lookup must end at a 1-gram.
            if not np.array_equal(keys[: len(words)], np.arange(len(words))):
                raise ValueError("it has words without a 1-gram")
            # A suffix is shorter and so has a lower number; otherwise, following suffixes would not end.
            if (
                keys[-1] // len(words) >= nodes
                or suffixes.min() < 0
                or np.any(suffixes[1:] > np.arange(nodes - 1, dtype=np.int32))
            ):
                raise ValueError("its n-grams refer to missing n-grams")
        except (SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise HFSpeechError(
                f"The language model {path} is damaged or has another format ({error}): build it again with hf-speech "
                "build-lm."
            ) from error
        return cls(words, Trie(keys, len(words)), log_probs, backoffs, suffixes, order, is_of_characters)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to a `.ngram` file, which loads faster than an ARPA file.

        Raises:
            FileError: If the file cannot be written.
        """
        from safetensors.numpy import save_file

        about = {"format": _FORMAT, "order": self.order, "is_of_characters": self.is_of_characters}
        arrays = {"words": np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8), **self.arrays()}
        with replacing(path) as part:
            save_file(arrays, part, metadata={"ngrams": json.dumps(about)})  # Several keys would come in any order.

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns the arrays of the n-grams: `keys`, and `log_probs`, `backoffs` and `suffixes` of the nodes."""
        return {
            "keys": self._ngrams.keys,
            "log_probs": self._log_probs,
            "backoffs": self._backoffs,
            "suffixes": self._suffixes,
        }

    def ids(self, words: Iterable[str]) -> np.ndarray:
        """Returns the ids of words, int64; unknown words get the id of `<unk>`."""
        unknown = self._ids[UNKNOWN]
        return np.array([self._ids.get(word, unknown) for word in words], dtype=np.int64)

    def start(self) -> int:
        """Returns the history at the beginning of a sentence."""
        return 0 if BEGIN not in self._ids else int(self._ngrams.find(np.zeros(1, np.int64), self.ids([BEGIN]))[0])

    def unigrams(self, words: np.ndarray) -> np.ndarray:
        """Returns the natural logarithms of the unigram probabilities of word ids `(words,)`, float64."""
        log_probs: np.ndarray = self._log_probs[words + 1].astype(np.float64) * math.log(10)  # Node of a word: 1 + id.
        return log_probs

    def advance(self, histories: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Appends a word to each history.

        Args:
            histories: Histories, int64 `(histories,)`; 0 is the empty history.
            words: Ids of words, int64 `(histories,)`.

        Returns:
            The new histories, and the natural logarithms of the probabilities of the words, float64.
        """
        from hf_speech.decoding.search import advance

        nodes, log_probs = advance(self.packed, histories, words)
        return nodes, log_probs

    @property
    def packed(self) -> Ngrams:
        """The arrays, for compiled functions."""
        from hf_speech.decoding.search import Ngrams

        return Ngrams(self._ngrams.keys, self._ngrams.num_symbols, self._log_probs, self._backoffs, self._suffixes)

    def log_prob(self, word: str, context: Iterable[str] = ()) -> float:
        """Returns the natural logarithm of the probability of a word after a context.

        Args:
            word: The word, or `</s>`; unknown words count as `<unk>`.
            context: The preceding words; begins with `<s>` if it includes the start of the sentence.
        """
        return self._score_all(context, [word])

    def score(self, sentence: str) -> float:
        """Returns the natural logarithm of the probability of a sentence, including its end."""
        return self._score_all([BEGIN], [*sentence.split(), END])

    def _score_all(self, context: Iterable[str], words: Iterable[str]) -> float:
        history, total = np.zeros(1, dtype=np.int64), 0.0
        for word in self.ids(context):
            history, _ = self.advance(history, np.array([word]))
        for word in self.ids(words):
            history, log_prob = self.advance(history, np.array([word]))
            total += float(log_prob[0])
        return total

    def perplexity(self, sentences: Iterable[str]) -> float:
        """Returns the perplexity of a text; sentence ends count as words, unknown words as `<unk>`.

        Raises:
            HFSpeechError: If there are no sentences.
        """
        total, predicted = 0.0, 0
        for sentence in sentences:
            total += self.score(sentence)
            predicted += len(sentence.split()) + 1
        if not predicted:
            raise HFSpeechError("There is no text to compute the perplexity of: give sentences, one per line.")
        return math.exp(-total / predicted)


class _Order:
    """The n-grams of one order as the file lists them: ids of their words, and base-10 logarithms."""

    def __init__(self) -> None:
        self.words, self.log_probs, self.backoffs = array("i"), array("f"), array("f")

    def add(self, fields: list[str], order: int, ids: dict[str, int]) -> None:
        """Adds the n-gram of a line; raises ValueError or KeyError if the line is invalid."""
        log_prob = float(fields[0])
        if not order < len(fields) < order + 3 or not log_prob <= 0:
            raise ValueError
        if order == 1:
            ids.setdefault(fields[1], len(ids))
        self.words.extend([ids[word] for word in fields[1 : order + 1]])
        self.log_probs.append(max(log_prob, NEVER))
        self.backoffs.append(float(fields[-1]) if len(fields) == order + 2 else 0.0)


def _build_trie(orders: list[_Order], num_words: int) -> tuple[Trie, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the trie of all n-grams and the arrays of `NgramModel`; raises ValueError if the n-grams are invalid."""
    ngrams = Trie(np.zeros(0, dtype=np.int64), num_words)
    log_probs, backoffs = np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    suffixes = np.zeros(1, dtype=np.int32)
    for n, each in enumerate(orders, start=1):
        columns = np.frombuffer(each.words, dtype=np.int32).reshape(-1, n).T
        contexts = np.zeros(columns.shape[1], dtype=np.int64)
        for column in columns[:-1]:
            contexts = ngrams.find(contexts, column)
            if not contexts.all():
                raise ValueError(f"it has {n}-grams whose first {n - 1} words are not in it")
        keys = contexts * num_words + columns[-1]
        sorting = np.argsort(keys, kind="stable")
        keys = keys[sorting]
        if not np.diff(keys).all():
            raise ValueError(f"it has a {n}-gram twice")
        suffix = np.zeros(len(keys), dtype=np.int64)
        if n > 1:
            suffix = suffixes[contexts[sorting]].astype(np.int64)
            word, missing = columns[-1][sorting], np.arange(len(keys))
            while missing.size:
                found = ngrams.find(suffix[missing], word[missing])
                suffix[missing] = np.where(found, found, suffixes[suffix[missing]])
                missing = missing[found == 0]
        ngrams = Trie(np.concatenate([ngrams.keys, keys]), num_words)
        log_probs = np.concatenate([log_probs, np.frombuffer(each.log_probs, dtype=np.float32)[sorting]])
        backoffs = np.concatenate([backoffs, np.frombuffer(each.backoffs, dtype=np.float32)[sorting]])
        suffixes = np.concatenate([suffixes, suffix.astype(np.int32)])
    return ngrams, log_probs, backoffs, suffixes
