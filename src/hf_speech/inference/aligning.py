"""Cuts transcribed recordings into short ones at pauses, by forced alignment with a recognizer.

Short utterances are learned sooner and cost less: CTC has fewer alignments to choose from, and recurrences of a batch
take fewer steps. A cut is made only where the recording is quiet between two words of its transcript, so an alignment
that is some frames off does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from datasets import Dataset

from hf_speech.common.files import replacing, write_text
from hf_speech.common.tables import format_csv
from hf_speech.data.audio import read_audio, source_name
from hf_speech.decoding import align_text
from hf_speech.decoding.hypothesis import Word
from hf_speech.errors import AudioError, HFSpeechError
from hf_speech.inference.prediction import predict
from hf_speech.inference.recognizer import Recognizer, log_softmax

_HOP_SECONDS = 0.01
# A hop is quiet if its level is in the lowest third of the range between the recording's 5th and 95th percentiles.
_QUIET_SHARE = 1 / 3
# How far beyond the letters of the words a pause may reach: CTC emits a letter somewhere within its sound.
_REACH_SECONDS = 0.1


@dataclass(frozen=True)
class CutOptions:
    """Where recordings are cut.

    Attributes:
        min_seconds: Shortest piece.
        max_seconds: A recording, or a piece of it, is cut as long as it is longer than this and has a pause.
        min_pause: Seconds of quiet that make a pause.
    """

    min_seconds: float = 1.0
    max_seconds: float = 5.0
    min_pause: float = 0.15


@dataclass(frozen=True)
class Piece:
    """A stretch of a recording and its words.

    Attributes:
        start: Its beginning in seconds.
        end: Its end in seconds.
        words: The words with their times in the recording.
    """

    start: float
    end: float
    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        """The transcript."""
        return " ".join(word.text for word in self.words)


@dataclass
class CutCounts:
    """What became of the recordings.

    Attributes:
        recordings: Recordings that were read.
        pieces: Rows of the table.
        seconds: Their length together.
        whole: Recordings that were not cut, as they are short or have no pause.
        errors: Why the others were left out, one sentence each.
    """

    recordings: int
    pieces: int
    seconds: float
    whole: int
    errors: list[str]


def cut_recording(samples: np.ndarray, rate: int, words: tuple[Word, ...], options: CutOptions) -> list[Piece]:
    """Cuts a recording between words, again and again in the middle of its longest pause.

    Args:
        samples: The recording, `(samples,)`.
        rate: Samples per second.
        words: Its words with times.
        options: Where to cut.
    """
    levels = _levels(samples, rate)
    pauses = [_pause(levels, before, after, options.min_pause) for before, after in pairwise(words)]
    return list(_cut(0.0, len(samples) / rate, words, pauses, options))


def _cut(
    start: float, end: float, words: tuple[Word, ...], pauses: list[tuple[float, float]], options: CutOptions
) -> Iterator[Piece]:
    """The pieces of a stretch; `pauses` has the length and the middle of the pause after each word but the last."""
    possible = [
        (length, -index)
        for index, (length, middle) in enumerate(pauses)
        if length > 0 and middle - start >= options.min_seconds and end - middle >= options.min_seconds
    ]
    if end - start <= options.max_seconds or not possible:
        yield Piece(start, end, words)
        return
    index = -max(possible)[1]
    middle = pauses[index][1]
    yield from _cut(start, middle, words[: index + 1], pauses[:index], options)
    yield from _cut(middle, end, words[index + 1 :], pauses[index + 1 :], options)


def _levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Levels of hops: 0 for the recording's quietest ones, 1 for its loudest."""
    hop = max(1, round(_HOP_SECONDS * rate))
    hops = samples[: len(samples) // hop * hop].reshape(-1, hop)
    decibels = 10 * np.log10((hops.astype(np.float64) ** 2).mean(axis=1) + 1e-10)
    if len(decibels) < 2:
        return np.ones(len(decibels))
    # Over three hops, since a single one is quiet between two periods of a low voice.
    decibels = np.convolve(np.pad(decibels, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    low, high = np.percentile(decibels, [5, 95])
    levels: np.ndarray = (decibels - low) / max(high - low, 1.0)
    return levels


def _pause(levels: np.ndarray, before: Word, after: Word, min_seconds: float) -> tuple[float, float]:
    """Length and middle, in seconds, of the longest quiet stretch between two words; length 0 if it is too short."""
    first = max(0, round((before.end - _REACH_SECONDS) / _HOP_SECONDS))
    last = round((after.start + _REACH_SECONDS) / _HOP_SECONDS)
    edges = np.flatnonzero(np.diff(levels[first:last] < _QUIET_SHARE, prepend=False, append=False))
    if len(edges) == 0:
        return 0.0, 0.0
    starts, ends = edges[::2], edges[1::2]
    longest = int((ends - starts).argmax())
    length = (ends[longest] - starts[longest]) * _HOP_SECONDS
    middle = (first + (starts[longest] + ends[longest]) / 2) * _HOP_SECONDS
    return (float(length), float(middle)) if length >= min_seconds else (0.0, 0.0)


def align_rows(
    recognizer: Recognizer,
    rows: Dataset,
    folder: Path,
    *,
    name: str = "train",
    options: CutOptions | None = None,
    batch_size: int = 16,
) -> CutCounts:
    """Aligns the rows of a corpus, and writes their pieces as a table that the corpus `csv` reads.

    Args:
        recognizer: The recognizer, whose tokens the transcripts are spelled in.
        rows: Rows with the columns `audio` and `text`, and perhaps `speaker`.
        folder: Where to write: `NAME.csv` with the columns path, text, speaker, recording, start and end, the pieces as
            `NAME/*.flac`, and `NAME.ctm` with the time of each word in its recording (NIST's CTM format).
        name: Name of the table.
        options: Where to cut.
        batch_size: Recordings in a batch.

    Raises:
        HFSpeechError: If the table is there already.
    """
    options = options or CutOptions()
    table = folder / f"{name}.csv"
    if table.exists():
        raise HFSpeechError(f"{table} is there already: give another --output, or remove it.")
    (folder / name).mkdir(parents=True, exist_ok=True)
    rate, sounds, texts = recognizer.sampling_rate, rows["audio"], rows["text"]
    speakers = rows["speaker"] if "speaker" in rows.column_names else [None] * len(rows)
    counts = CutCounts(0, 0, 0.0, 0, [])
    lines: list[list[str]] = []
    times: list[str] = []
    taken: set[str] = set()
    for found in predict(recognizer, sounds, batch_size, bad_rows="skip"):
        counts.recordings += 1
        source = sounds[found.index]
        try:
            if found.logits is None:
                raise AudioError(str(found.error))
            words = _align(recognizer, found.logits, texts[found.index])
            samples = read_audio(source, rate)
        except HFSpeechError as error:
            counts.errors.append(f"{source_name(source)}: {error}")
            continue
        recording = _unique(Path(source_name(source)).stem, taken)
        times += [
            f"{recording} 1 {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence:.2f}\n"
            for word in words
        ]
        pieces = cut_recording(samples, rate, words, options)
        counts.whole += len(pieces) == 1
        for number, piece in enumerate(pieces):
            path = folder / name / (f"{recording}.flac" if len(pieces) == 1 else f"{recording}_{number:03d}.flac")
            with replacing(path) as part:
                soundfile.write(part, samples[round(piece.start * rate) : round(piece.end * rate)], rate, format="FLAC")
            bounds = [f"{piece.start:.3f}", f"{piece.end:.3f}"]
            lines.append([f"{name}/{path.name}", piece.text, speakers[found.index] or "", recording, *bounds])
            counts.seconds += piece.end - piece.start
    counts.pieces = len(lines)
    write_text(folder / f"{name}.ctm", "".join(times))
    write_text(table, format_csv(["path", "text", "speaker", "recording", "start", "end"], lines))
    return counts


def _align(recognizer: Recognizer, logits: np.ndarray, text: str) -> tuple[Word, ...]:
    """The words of a transcript with their times."""
    return align_text(
        log_softmax(logits),
        recognizer.normalize(text),
        recognizer.tokens,
        seconds_per_frame=recognizer.samples_per_frame / recognizer.sampling_rate,
        blank=recognizer.blank,
        word_delimiter=recognizer.word_delimiter,
    ).words


def _unique(name: str, taken: set[str]) -> str:
    """A name for the files of a recording, which no other one has."""
    base = re.sub(r"[^\w.-]", "_", name) or "recording"
    unique, number = base, 2
    while unique.casefold() in taken:
        unique, number = f"{base}-{number}", number + 1
    taken.add(unique.casefold())
    return unique


__all__ = ["CutCounts", "CutOptions", "Piece", "align_rows", "cut_recording"]
