"""From transcripts to ids: the tokenizer, and what of a corpus it cannot write or no model could align.

* The tokenizer is transformers' own `Wav2Vec2CTCTokenizer`, so `pipeline` gives character and word timestamps. The
  blank of CTC is its padding token, id 0; then the word delimiter, `<unk>`, and the characters in Unicode order.
* It carries the normalizer's name in its `tokenizer_config.json`: whoever has the model can write references as it
  was taught to.
* An utterance that nothing can be learned from is a bad row of train. In the other splits it stays and is reported: an
  evaluation that left out what the model cannot get right would flatter it.
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

from hf_speech.data.audio import source_name
from hf_speech.data.inspection import InspectionReport
from hf_speech.decoding import min_frames
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.text import TextOptions

BLANK, DELIMITER, UNKNOWN = "<pad>", "|", "<unk>"

# A character heard less often than this can hardly be learned.
RARE = 3

EMPTY = "with an empty transcript"
UNWRITABLE = "with characters that the vocabulary lacks"
UNALIGNABLE = "too short for their transcripts"
UNSPELLED = "with numbers that cannot be spelled"


def build_tokenizer(texts: Iterable[str], options: TextOptions) -> Wav2Vec2CTCTokenizer:
    """Makes the tokenizer of a new model.

    Args:
        texts: The training transcripts, normalized or not.
        options: The recipe's section `text`.

    Returns:
        A tokenizer with the characters of `options.vocabulary` or, without it, of the transcripts.

    Raises:
        RecipeError: If the given vocabulary has the word delimiter among its characters.
        CorpusError: If the transcripts have no characters.
    """
    if options.vocabulary is not None:
        characters = set(options.vocabulary)
        if DELIMITER in characters:
            raise RecipeError(f"text.vocabulary has {DELIMITER!r}, which stands between words: leave it out.")
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
            # Without these it adds <s> and </s>, two more outputs for the model to learn nothing about.
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
    """Writes a transcript as the tokenizer's model was taught to.

    Args:
        text: The transcript as a corpus has it.
        tokenizer: A tokenizer of `build_tokenizer`, as made or as loaded; for any other, only spaces are put in order.
    """
    kept = tokenizer.init_kwargs
    return TextOptions(kept.get("text_normalizer", "none"), kept.get("spell_numbers", False)).normalize(text)


def encode_text(text: str, tokenizer: Any) -> list[int]:
    """The ids of a transcript, one a character; `<unk>` for those that the vocabulary lacks.

    The tokenizer's own call would take a `|` or a literal `<pad>` in the text for its token.

    Args:
        text: The transcript, normalized or not.
        tokenizer: A tokenizer of `build_tokenizer`.
    """
    ids = _character_ids(tokenizer)
    return [ids.get(character, tokenizer.unk_token_id) for character in normalize_for(text, tokenizer)]


def transcript_fault(
    text: str, seconds: float, tokenizer: Any, frames_of: Callable[[float], int]
) -> tuple[str, str] | None:
    """What would stop or spoil learning a transcript.

    Args:
        text: The transcript, normalized or not.
        seconds: How long its sound lasts.
        tokenizer: The model's tokenizer.
        frames_of: The number of logit frames of so many seconds of sound.

    Returns:
        The kind of fault and the end of a sentence about it, or None.
    """
    written = normalize_for(text, tokenizer)
    known = _character_ids(tokenizer)
    missing = sorted(set(written) - set(known))
    needed = min_frames([known.get(character, tokenizer.unk_token_id) for character in written])
    frames = frames_of(seconds)
    numbers = [word for word in written.split() if any(character.isdecimal() for character in word)]
    if not written:
        return EMPTY, f"of the transcript {text!r} nothing is left after normalization"
    if needed > frames:
        return UNALIGNABLE, (
            f"{seconds:.3g} s of sound make {frames} logit frames, and the transcript {_shortened(written)!r} "
            f"needs {needed}"
        )
    if missing:
        listed = ", ".join(repr(character) for character in missing)
        return UNWRITABLE, f"the transcript {_shortened(written)!r} has {listed}"
    if tokenizer.init_kwargs.get("spell_numbers", False) and numbers:
        return UNSPELLED, f"the transcript {_shortened(written)!r} keeps {numbers[0]!r}"
    return None


def is_harmless(kind: str, unknown: Literal["bad_row", "unk"]) -> bool:
    """Whether a training utterance can be learned from despite a fault of this kind.

    Args:
        kind: What `transcript_fault` gave.
        unknown: `TextOptions.unknown`.
    """
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
    """Looks at every transcript for what would stop or spoil a training.

    Args:
        dataset_dict: The corpus that `inspect_corpus` gave.
        report: The report that it gave, to which the findings are added.
        tokenizer: The model's tokenizer.
        unknown: `TextOptions.unknown`.
        bad_rows: `Corpus.bad_rows`.
        frames_of: The number of logit frames of so many seconds of sound.

    Returns:
        The corpus without the training utterances that are bad.

    Raises:
        CorpusError: If there are bad rows and `bad_rows` is "refuse", or if nothing is left to train on.
    """
    kept: dict[str, Dataset] = {}
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
        kept[split] = rows if len(good) == len(before) else rows.select([i for i, j in enumerate(before) if j in good])
    if report.num_bad and bad_rows == "refuse":
        raise CorpusError(report.refusal())
    if "train" in kept:
        if not len(kept["train"]):
            raise CorpusError(
                f"No training utterance of the corpus {report.corpus!r} is left: {len(dataset_dict['train']):,} have a "
                "transcript that cannot be learned."
            )
        report.warnings += _rare_characters(kept["train"], tokenizer)
    return DatasetDict(kept)


def _character_ids(tokenizer: Any) -> dict[str, int]:
    """The ids of characters as they stand in a transcript, a space for the word delimiter."""
    ids = {token: index for token, index in tokenizer.get_vocab().items() if len(token) == 1}
    return {character: index for character, index in ids.items() if character != tokenizer.word_delimiter_token} | {
        " ": tokenizer.word_delimiter_token_id
    }


def _inspect_split(rows: Dataset, tokenizer: Any, frames_of: Callable[[float], int]) -> dict[str, dict[int, str]]:
    """What is wrong with the transcripts of a split: by kind, a sentence by the position of the row."""
    findings: dict[str, dict[int, str]] = defaultdict(dict)
    audio = rows.select_columns("audio")
    for index, (text, duration) in enumerate(zip(list(rows["text"]), list(rows["duration"]), strict=True)):
        if (fault := transcript_fault(text, duration, tokenizer, frames_of)) is not None:
            findings[fault[0]][index] = f"{source_name(audio[index]['audio'])}: {fault[1]}."
    return findings


def _rare_characters(rows: Dataset, tokenizer: Any) -> list[str]:
    """A warning about characters that occur in hardly any training transcript."""
    counts = Counter(character for text in list(rows["text"]) for character in set(normalize_for(text, tokenizer)))
    rare = sorted(character for character in _character_ids(tokenizer) if counts[character] < RARE and character != " ")
    if not rare:
        return []
    return [
        f"Characters that fewer than {RARE} training transcripts have can hardly be learned: "
        f"{', '.join(repr(character) for character in rare)} (see text.normalizer and text.vocabulary)."
    ]


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}..."


__all__ = [
    "build_tokenizer",
    "encode_text",
    "inspect_transcripts",
    "is_harmless",
    "normalize_for",
    "transcript_fault",
]
