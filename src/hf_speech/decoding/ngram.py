"""N-gram language models in memory, read from ARPA files and from `.ngram` files, which load at once.

Words are separated by whitespace. A character model is a model of text converted by `characters`. The n-grams
are a `Trie`, with a probability, a back-off weight and a suffix for each node, and the history of a sentence is the
node of its longest suffix in the model. So many histories are advanced in a few operations on arrays, and a `.ngram`
file holds these arrays as they are, in the format of safetensors.
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
# The comment at the head of a file whose "words" are characters.
OF_CHARACTERS = "# units: characters"
# The base 10 logarithm that means "impossible" in ARPA files; `<s>` is never predicted.
NEVER = -99.0
# The suffix of the files of `NgramModel.save`.
BINARY_SUFFIX = ".ngram"
_FORMAT = "hf_speech n-grams, version 1"


def characters(sentence: str, word_delimiter: str = "|") -> str:
    """A sentence as the "words" of a character model: `"TO ME"` becomes `"T O | M E"`."""
    return " ".join(word_delimiter.join(sentence.split()))


class NgramModel:
    """An n-gram model with back-off.

    Args:
        words: The words; the n-th one is symbol n of the trie. `<unk>` is among them.
        ngrams: The n-grams.
        log_probs: Base 10 logarithm of the probability of each node, float32 `(nodes,)`; that of the root is not used.
        backoffs: Base 10 logarithm of the back-off weight of each node, float32 `(nodes,)`.
        suffixes: The node of the longest proper suffix of each n-gram in the model, int32 `(nodes,)`.
        order: Words of the longest n-grams.
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
        """Read an ARPA file, or an `.ngram` file, which `save` wrote.

        Args:
            path: The file.
            max_order: Read no longer n-grams than this from an ARPA file (1 for the vocabulary alone).

        Raises:
            HFSpeechError: If it cannot be read, or is not such a file.
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
            raise HFSpeechError(f"{name} is not an ARPA file in UTF-8: build one with hf-speech build-lm.") from error

    @classmethod
    def read(cls, lines: Iterable[str], name: str, max_order: int | None = None) -> NgramModel:
        """Read the lines of an ARPA file; see `load`.

        Args:
            lines: The lines.
            name: What messages call the file.
            max_order: Read no longer n-grams than this.

        Raises:
            HFSpeechError: If it is not an ARPA file.
        """
        ids: dict[str, int] = {}
        orders: list[_Order] = []
        promised: dict[int, int] = {}
        ended, is_of_characters = False, False
        for number, line in enumerate(lines, start=1):
            # Not split(): a word may hold any white space but a blank and a tab.
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
                    promised[int(n)] = int(count)
                else:
                    is_of_characters |= not promised and line.strip() == OF_CHARACTERS
            except (ValueError, KeyError):
                raise HFSpeechError(
                    f"{name} is not a sound ARPA file: line {number} is {line.strip()[:60]!r}; build it again with "
                    "hf-speech build-lm."
                ) from None
        found = {n: len(each.log_probs) for n, each in enumerate(orders, start=1) if each.log_probs}
        expected = {n: count for n, count in promised.items() if max_order is None or n <= max_order}
        if not promised or expected != {n: found.get(n, 0) for n in expected} or not (ended or max_order):
            raise HFSpeechError(
                f"{name} is not a whole ARPA file: it promises {expected or 'no'} n-grams and holds {found}; build it "
                "again with hf-speech build-lm."
            )
        if UNKNOWN not in ids:
            orders[0].add([str(NEVER), UNKNOWN], 1, ids)
        try:
            arrays = _join(orders, len(ids))
        except ValueError as error:
            raise HFSpeechError(
                f"{name} is not a sound ARPA file: {error}; build it again with hf-speech build-lm."
            ) from None
        return cls(list(ids), *arrays, max(promised), is_of_characters)

    @classmethod
    def _load_arrays(cls, path: Path) -> NgramModel:
        from safetensors import SafetensorError, safe_open

        try:
            with path.open("rb"), safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {}).get("ngrams", "{}"))
                if about.get("format") != _FORMAT:
                    raise ValueError("it does not say that it holds n-grams")
                words = bytes(file.get_tensor("words")).decode().split("\n")
                keys, log_probs, backoffs, suffixes = map(
                    file.get_tensor, ("keys", "log_probs", "backoffs", "suffixes")
                )
            order, is_of_characters = int(about["order"]), bool(about["is_of_characters"])
            nodes = len(keys) + 1
            same = {each.shape for each in (log_probs, backoffs, suffixes)} == {(nodes,)}
            if keys.dtype != np.int64 or not same or np.any(keys[1:] <= keys[:-1]):
                raise ValueError("its arrays do not belong together")
            # A lookup that finds no longer n-gram ends at the 1-gram.
            if not np.array_equal(keys[: len(words)], np.arange(len(words))):
                raise ValueError("it has words without a 1-gram")
            # Every suffix is shorter, and so of a lower number: following suffixes ends.
            if (
                keys[-1] // len(words) >= nodes
                or suffixes.min() < 0
                or np.any(suffixes[1:] > np.arange(nodes - 1, dtype=np.int32))
            ):
                raise ValueError("its n-grams point outside of it")
        except (SafetensorError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise HFSpeechError(
                f"The language model {path} is damaged or something else ({error}): build it again with hf-speech "
                "build-lm."
            ) from error
        return cls(words, Trie(keys, len(words)), log_probs, backoffs, suffixes, order, is_of_characters)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as a file that loads at once; its name must end in `.ngram`.

        Raises:
            FileError: If the file cannot be written.
        """
        from safetensors.numpy import save_file

        about = {"format": _FORMAT, "order": self.order, "is_of_characters": self.is_of_characters}
        arrays = {"words": np.frombuffer("\n".join(self.words).encode(), dtype=np.uint8), **self.arrays()}
        with replacing(path) as part:
            save_file(arrays, part, metadata={"ngrams": json.dumps(about)})  # Several keys would come in any order.

    def arrays(self) -> dict[str, np.ndarray]:
        """The n-grams as arrays: `keys` of the trie, and `log_probs`, `backoffs` and `suffixes` of its nodes."""
        return {
            "keys": self._ngrams.keys,
            "log_probs": self._log_probs,
            "backoffs": self._backoffs,
            "suffixes": self._suffixes,
        }

    def ids(self, words: Iterable[str]) -> np.ndarray:
        """The ids of words, int64; words that the model does not have are `<unk>`."""
        unknown = self._ids[UNKNOWN]
        return np.array([self._ids.get(word, unknown) for word in words], dtype=np.int64)

    def start(self) -> int:
        """The history at the beginning of a sentence."""
        return 0 if BEGIN not in self._ids else int(self._ngrams.find(np.zeros(1, np.int64), self.ids([BEGIN]))[0])

    def unigrams(self, words: np.ndarray) -> np.ndarray:
        """Natural logarithms of the probabilities of words without a context, float64, for ids `(words,)`."""
        log_probs: np.ndarray = self._log_probs[words + 1].astype(np.float64) * math.log(10)  # Node of a word: 1 + id.
        return log_probs

    def advance(self, histories: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add a word to each of many histories.

        Args:
            histories: Histories, int64 `(histories,)`; 0 is one without words.
            words: Ids of words, int64 `(histories,)`.

        Returns:
            The histories with the words, and the natural logarithms of the words' probabilities, float64.
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
        """Natural logarithm of the probability of a word after others.

        Args:
            word: The word, or `</s>`; words never seen are taken for `<unk>`.
            context: What came before it, `<s>` first if it is all of the sentence so far.
        """
        return self._score_all(context, [word])

    def score(self, sentence: str) -> float:
        """Natural logarithm of the probability of a whole sentence, its end included."""
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
        """The perplexity of a text: sentence ends count as words, words never seen as `<unk>`.

        Raises:
            HFSpeechError: If there is no sentence.
        """
        total, predicted = 0.0, 0
        for sentence in sentences:
            total += self.score(sentence)
            predicted += len(sentence.split()) + 1
        if not predicted:
            raise HFSpeechError("There is no text to compute a perplexity of: give sentences, one a line.")
        return math.exp(-total / predicted)


class _Order:
    """The n-grams of one order, in the order of the file: the ids of their words, and base 10 logarithms."""

    def __init__(self) -> None:
        self.words, self.log_probs, self.backoffs = array("i"), array("f"), array("f")

    def add(self, fields: list[str], order: int, ids: dict[str, int]) -> None:
        """Add an n-gram: the fields of its line. A ValueError or KeyError says that the line is wrong."""
        log_prob = float(fields[0])
        if not order < len(fields) < order + 3 or not log_prob <= 0:
            raise ValueError
        if order == 1:
            ids.setdefault(fields[1], len(ids))
        self.words.extend([ids[word] for word in fields[1 : order + 1]])
        self.log_probs.append(max(log_prob, NEVER))
        self.backoffs.append(float(fields[-1]) if len(fields) == order + 2 else 0.0)


def _join(orders: list[_Order], num_words: int) -> tuple[Trie, np.ndarray, np.ndarray, np.ndarray]:
    """The trie of all n-grams, and the arrays of `NgramModel`. A ValueError says what is wrong with the n-grams."""
    ngrams = Trie(np.zeros(0, dtype=np.int64), num_words)
    log_probs, backoffs = np.zeros(1, dtype=np.float32), np.zeros(1, dtype=np.float32)
    suffixes = np.zeros(1, dtype=np.int32)
    for n, each in enumerate(orders, start=1):
        columns = np.frombuffer(each.words, dtype=np.int32).reshape(-1, n).T
        contexts = np.zeros(columns.shape[1], dtype=np.int64)
        for column in columns[:-1]:
            contexts = ngrams.find(contexts, column)
            if not contexts.all():
                raise ValueError(f"it has {n}-grams without the {n - 1}-gram of their first words")
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
