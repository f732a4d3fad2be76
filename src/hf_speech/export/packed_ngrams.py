"""Packs a language model for browsers, in about seven bytes per n-gram.

The safetensors file has a row for each node of the trie of n-grams, level by level: the last word, the number of
children, and two logarithms as 16-bit integers. The reader (`web/src/ngrams.js`) computes suffixes and the trie of the
words' letters. The file contains the spellings of the words in the recognizer's tokens, because they need the Unicode
rules of `decoding.words`, and the phones of each word if the beam search needs pronunciations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from hf_speech.common.digests import digest_file
from hf_speech.common.files import replacing
from hf_speech.decoding.ngram import END, UNKNOWN, NgramModel
from hf_speech.decoding.phone_search import PhoneSearch
from hf_speech.decoding.words import choose_words, spell_lexicon
from hf_speech.inference.beam_options import BeamOptions, PhoneOptions, find_language_model
from hf_speech.inference.decoders import load_lexicon, make_search
from hf_speech.inference.recognizer import Recognizer

if TYPE_CHECKING:
    from hf_speech.tasks.lexicon import Lexicon

FILE = "language_model.safetensors"
STEPS = 2048
"""The number of integer steps per unit of a base 10 logarithm; the logarithms are clipped at -16."""


def pack_language_model(recognizer: Recognizer, folder: Path) -> dict[str, Any] | None:
    """Writes the language model of a recognizer.

    Args:
        recognizer: The recognizer.
        folder: The folder to write to.

    Returns:
        An entry for `export.json` with the name, size and digest of the file and the options of the beam search; None
        if the recognizer has no language model.

    Raises:
        HFSpeechError: If the language model is damaged, or no word can be spelled.
    """
    source = find_language_model(recognizer)
    if source is None:
        return None
    model, tokens, delimiter = NgramModel.load(source), recognizer.tokens, recognizer.word_delimiter
    arrays = model.arrays()
    parents, symbols = np.divmod(arrays["keys"], len(model.words))
    packed = {
        "symbols": _smallest(symbols),
        "children": _smallest(np.bincount(parents, minlength=len(symbols) + 1)),
        "log_probs": _fixed_point(arrays["log_probs"]),
        "backoffs": _fixed_point(arrays["backoffs"]),
    }
    words = choose_words(None, model, tokens, delimiter)
    if words is None:
        packed["tokens"] = model.ids([*tokens, delimiter]).astype(np.int32)
    else:
        letters = {token for token in tokens if len(token) == 1} - {tokens[recognizer.blank], delimiter}
        spelled, _ = spell_lexicon(words, letters)
        lines = "\n".join(spelled.get(word, "") for word in model.words)
        packed["spellings"] = np.frombuffer(lines.encode(), dtype=np.uint8)
    options = BeamOptions.beside(source)
    lexicon = load_lexicon(recognizer) if words is not None and options.uses_lexicon else None
    if lexicon is not None:
        packed["pronunciations"] = _pronunciations(recognizer, options, lexicon, model.words)
    with replacing(folder / FILE) as part:
        save_file(packed, part)
    return {
        "file": FILE,
        "bytes": (folder / FILE).stat().st_size,
        "sha256": digest_file(folder / FILE),
        "start": model.start(),
        "end": int(model.ids([END])[0]),
        "unknown": int(model.ids([UNKNOWN])[0]),
        "beam_size": options.beam_size,
        **_weights(options, lexicon),
    }


def _weights(options: BeamOptions, lexicon: Lexicon | None) -> dict[str, Any]:
    """Returns the weights of the search, and whether it searches phones and rescores by letters or vice versa."""
    weights: BeamOptions | PhoneOptions = options if lexicon is None or options.phones is None else options.phones
    rescoring_weight = 0.0
    if lexicon is not None:
        rescoring_weight = options.phone_weight if options.phones is None else options.phones.letter_weight
    return {
        "lm_weight": weights.lm_weight,
        "word_score": weights.word_score,
        "search_phones": weights is options.phones,
        "num_phones": 0 if lexicon is None else lexicon.num_ids,
        "rescoring_weight": rescoring_weight,
    }


def _pronunciations(recognizer: Recognizer, options: BeamOptions, lexicon: Lexicon, words: Sequence[str]) -> np.ndarray:
    """Returns the phone ids of each word, followed by a 0; words that cannot be recognized have none."""
    search = make_search(recognizer, options, lexicon)
    known: Mapping[str, Sequence[int]]
    if isinstance(search, PhoneSearch):
        known = search.pronunciations()
    else:
        known = {word: lexicon.phone_ids(word) for word in words if lexicon.covers(word)}
    return _smallest(np.array([id for word in words for id in (*known.get(word, ()), 0)]))


def _smallest(numbers: np.ndarray) -> np.ndarray:
    """Converts non-negative integers to the smallest type that can represent them."""
    types = (np.uint8, np.uint16, np.uint32)
    return numbers.astype(next(dtype for dtype in types if numbers.max(initial=0) <= np.iinfo(dtype).max))


def _fixed_point(logarithms: np.ndarray) -> np.ndarray:
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(logarithms * float(STEPS)), limits.min, limits.max).astype(np.int16)
