"""The tokenizer of transcripts, and the inspection of transcripts that it cannot encode or a model cannot align.

* The tokenizer is transformers' `Wav2Vec2CTCTokenizer`, with which `pipeline` returns timestamps of characters and
  words. The CTC blank is its padding token, id 0; then come the word delimiter, `<unk>`, and the characters in Unicode
  order.
* The normalizer's name is saved in `tokenizer_config.json`, so that references can be normalized as in training.
* An unusable utterance is a bad row of the training split. In the other splits it is kept and reported, because leaving
  out utterances that the model cannot get right would make its metrics too good.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from datasets import Dataset, DatasetDict
from transformers import Wav2Vec2CTCTokenizer

from hf_speech.common.text import counted
from hf_speech.data.audio import source_name
from hf_speech.data.reports import InspectionReport
from hf_speech.decoding import min_frames
from hf_speech.decoding.hypothesis import shorten
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.text import TextOptions

BLANK, DELIMITER, UNKNOWN = "<pad>", "|", "<unk>"

# A character needs this many training transcripts to be learned.
RARE = 3

EMPTY = "with an empty transcript"
UNWRITABLE = "with characters that the vocabulary lacks"
UNALIGNABLE = "too short for their transcripts"
UNSPELLED = "with numbers that cannot be spelled"


def build_tokenizer(texts: Iterable[str], options: TextOptions) -> Wav2Vec2CTCTokenizer:
    """Builds the tokenizer of a new model.

    Args:
        texts: The training transcripts, normalized or not.
        options: The recipe's section `text`.

    Returns:
        A tokenizer with the characters of `options.vocabulary` or, if that is None, of the transcripts.

    Raises:
        RecipeError: If the vocabulary contains the word delimiter.
        CorpusError: If the transcripts have no characters.
    """
    if options.vocabulary is not None:
        characters = set(options.vocabulary)
        if DELIMITER in characters:
            raise RecipeError(f"text.vocabulary has {DELIMITER!r}, which separates words: leave it out.")
    else:
        characters = {character for text in texts for character in options.normalize(text)} - {DELIMITER}
    characters = {character for character in characters if not character.isspace()}
    if not characters:
        raise CorpusError(
            f"Nothing is left of the training transcripts after text.normalizer {options.normalizer!r}: choose another "
            "normalizer, or look at the corpus."
        )
    vocabulary = {token: index for index, token in enumerate([BLANK, DELIMITER, UNKNOWN, *sorted(characters)])}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "vocab.json"
        file.write_text(json.dumps(vocabulary), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(file),
            # By default it adds <s> and </s>, which would be unused outputs.
            bos_token=None,
            eos_token=None,
            pad_token=BLANK,
            unk_token=UNKNOWN,
            word_delimiter_token=DELIMITER,
            clean_up_tokenization_spaces=False,
            text_normalizer=options.normalizer,
            spell_numbers=options.spell_numbers,
        )


def normalize_for(text: str, tokenizer: Any) -> str:
    """Normalizes a transcript as in the training of the tokenizer's model.

    Args:
        text: The transcript.
        tokenizer: A tokenizer made by `build_tokenizer`. With any other, only white space is collapsed.
    """
    saved = tokenizer.init_kwargs
    return TextOptions(saved.get("text_normalizer", "none"), saved.get("spell_numbers", False)).normalize(text)


def encode_text(text: str, tokenizer: Any) -> list[int]:
    """Returns the id of each character of a transcript; that of `<unk>` for characters outside the vocabulary.

    The tokenizer itself would interpret a `|` or a literal `<pad>` in the text as its token.

    Args:
        text: The transcript, normalized or not.
        tokenizer: A tokenizer made by `build_tokenizer`.
    """
    ids = _character_ids(tokenizer)
    return [ids.get(character, tokenizer.unk_token_id) for character in normalize_for(text, tokenizer)]


def transcript_fault(
    text: str, seconds: float, tokenizer: Any, frames_of: Callable[[float], int]
) -> tuple[str, str] | None:
    """Returns the fault that prevents or impairs learning a transcript, if any.

    Args:
        text: The transcript, normalized or not.
        seconds: The duration of its sound.
        tokenizer: The model's tokenizer.
        frames_of: Returns the number of logit frames for a duration in seconds.

    Returns:
        The kind of fault and a clause that describes it, or None.
    """
    normalized = normalize_for(text, tokenizer)
    known = _character_ids(tokenizer)
    missing = sorted(set(normalized) - set(known))
    needed = min_frames([known.get(character, tokenizer.unk_token_id) for character in normalized])
    frames = frames_of(seconds)
    numbers = [word for word in normalized.split() if any(character.isdecimal() for character in word)]
    if not normalized:
        return EMPTY, f"nothing is left of the transcript {text!r} after normalization"
    if needed > frames:
        return UNALIGNABLE, (
            f"{seconds:.3g} s of sound make {counted(frames, 'logit frame')}, and the transcript "
            f"{shorten(normalized)!r} needs {needed}"
        )
    if missing:
        listed = ", ".join(repr(character) for character in missing)
        return UNWRITABLE, f"the transcript {shorten(normalized)!r} has {listed}"
    if tokenizer.init_kwargs.get("spell_numbers", False) and numbers:
        return UNSPELLED, f"the transcript {shorten(normalized)!r} keeps {numbers[0]!r}"
    return None


def is_harmless(kind: str, unknown: Literal["bad_row", "unk"]) -> bool:
    """Returns whether a training utterance can be used despite a fault of this kind."""
    return kind == UNSPELLED or (kind == UNWRITABLE and unknown == "unk")


def inspect_transcripts(
    dataset_dict: DatasetDict,
    report: InspectionReport,
    tokenizer: Any,
    *,
    unknown: Literal["bad_row", "unk"],
    bad_rows: Literal["refuse", "skip"],
    frames_of: Callable[[float], int],
) -> DatasetDict:
    """Checks every transcript for faults that prevent or impair learning.

    Returns:
        The corpus without bad training utterances.

    Raises:
        CorpusError: If there are bad rows and `bad_rows` is "refuse", or if nothing is left to train on.
    """
    usable: dict[str, Dataset] = {}
    for split, rows in dataset_dict.items():
        found = report.splits[split]
        before = list(found.good_indices)
        for kind, reasons in _inspect_split(rows, tokenizer, frames_of).items():
            if split != "train" or is_harmless(kind, unknown):
                for reason in reasons.values():
                    found.warnings[kind].add(reason)
            else:
                found.reject(kind, {before[row]: reason for row, reason in reasons.items()}, list_all=True)
        good = set(found.good_indices)
        positions = [position for position, row in enumerate(before) if row in good]
        usable[split] = rows if len(good) == len(before) else rows.select(positions)
    if report.num_bad and bad_rows == "refuse":
        raise CorpusError(report.refusal())
    if "train" in usable:
        if not len(usable["train"]):
            raise CorpusError(
                f"No training utterance of the corpus {report.corpus!r} is left: {len(dataset_dict['train']):,} have a "
                "transcript that cannot be learned."
            )
        report.warnings += _rare_characters(usable["train"], tokenizer)
    return DatasetDict(usable)


def _character_ids(tokenizer: Any) -> dict[str, int]:
    """Returns the id of each character in the vocabulary; a space has that of the word delimiter."""
    ids = {token: index for token, index in tokenizer.get_vocab().items() if len(token) == 1}
    return {character: index for character, index in ids.items() if character != tokenizer.word_delimiter_token} | {
        " ": tokenizer.word_delimiter_token_id
    }


def _inspect_split(rows: Dataset, tokenizer: Any, frames_of: Callable[[float], int]) -> dict[str, dict[int, str]]:
    """Returns the faults of a split's transcripts: by kind, a sentence for each row position."""
    findings: dict[str, dict[int, str]] = defaultdict(dict)
    audio = rows.select_columns("audio")
    for index, (text, duration) in enumerate(zip(list(rows["text"]), list(rows["duration"]), strict=True)):
        if (fault := transcript_fault(text, duration, tokenizer, frames_of)) is not None:
            findings[fault[0]][index] = f"{source_name(audio[index]['audio'])}: {fault[1]}."
    return findings


def _rare_characters(rows: Dataset, tokenizer: Any) -> list[str]:
    """Returns a warning about characters in too few training transcripts, if there are any."""
    counts = Counter(character for text in list(rows["text"]) for character in set(normalize_for(text, tokenizer)))
    rare = sorted(character for character in _character_ids(tokenizer) if counts[character] < RARE and character != " ")
    if not rare:
        return []
    return [
        f"Characters in fewer than {RARE} training transcripts can hardly be learned: "
        f"{', '.join(repr(character) for character in rare)} (see text.normalizer and text.vocabulary)."
    ]
