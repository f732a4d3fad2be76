"""Cuts transcribed recordings at pauses, by forced alignment with a recognizer.

Short utterances train faster: CTC has fewer alignments to choose from, and recurrent layers take fewer steps. Cuts are
made only where the recording is quiet between two words of its transcript, so small alignment errors do no harm.
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
# A pause may overlap the aligned words by this much, because CTC emits a letter anywhere within its sound.
_OVERLAP_SECONDS = 0.1


@dataclass(frozen=True)
class CutOptions:
    """Options for cutting recordings.

    Attributes:
        min_seconds: Length of the shortest piece.
        max_seconds: Pieces longer than this are cut again if they have a pause.
        min_pause: Length of the shortest pause in seconds.
    """

    min_seconds: float = 1.0
    max_seconds: float = 5.0
    min_pause: float = 0.15


@dataclass(frozen=True)
class Piece:
    """A piece of a recording and its words.

    Attributes:
        start: Start in seconds.
        end: End in seconds.
        words: The words, with their times in the recording.
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
    """The outcome of aligning a corpus.

    Attributes:
        recordings: Number of recordings.
        pieces: Number of pieces, the rows of the table.
        seconds: Total length of the pieces.
        whole: Number of recordings that were not cut, because they are short or have no pause.
        errors: A sentence about each recording that was left out.
    """

    recordings: int
    pieces: int
    seconds: float
    whole: int
    errors: list[str]


def cut_recording(samples: np.ndarray, rate: int, words: tuple[Word, ...], options: CutOptions) -> list[Piece]:
    """Cuts a recording recursively in the middle of its longest pause between two words.

    Args:
        samples: The recording, `(samples,)`.
        rate: Sampling rate in Hz.
        words: The words of the recording, with their times.
        options: Options for cutting.
    """
    levels = _levels(samples, rate)
    pauses = [_pause(levels, before, after, options.min_pause) for before, after in pairwise(words)]
    return list(_cut(0.0, len(samples) / rate, words, pauses, options))


def _cut(
    start: float, end: float, words: tuple[Word, ...], pauses: list[tuple[float, float]], options: CutOptions
) -> Iterator[Piece]:
    """Yields the pieces; `pauses` has the length and the middle of the pause after each word but the last."""
    candidates = [
        (length, -index)
        for index, (length, middle) in enumerate(pauses)
        if length > 0 and middle - start >= options.min_seconds and end - middle >= options.min_seconds
    ]
    if end - start <= options.max_seconds or not candidates:
        yield Piece(start, end, words)
        return
    index = -max(candidates)[1]
    middle = pauses[index][1]
    yield from _cut(start, middle, words[: index + 1], pauses[:index], options)
    yield from _cut(middle, end, words[index + 1 :], pauses[index + 1 :], options)


def _levels(samples: np.ndarray, rate: int) -> np.ndarray:
    """Returns the level of each hop: 0 at the 5th percentile of the recording, 1 at the 95th."""
    hop = max(1, round(_HOP_SECONDS * rate))
    hops = samples[: len(samples) // hop * hop].reshape(-1, hop)
    decibels = 10 * np.log10((hops.astype(np.float64) ** 2).mean(axis=1) + 1e-10)
    if len(decibels) < 2:
        return np.ones(len(decibels))
    # Average over three hops, because a single one can fall between two periods of a low voice.
    decibels = np.convolve(np.pad(decibels, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    low, high = np.percentile(decibels, [5, 95])
    levels: np.ndarray = (decibels - low) / max(high - low, 1.0)
    return levels


def _pause(levels: np.ndarray, before: Word, after: Word, min_seconds: float) -> tuple[float, float]:
    """Returns the length and middle, in seconds, of the longest pause between two words; 0 and 0 if it is too short."""
    first = max(0, round((before.end - _OVERLAP_SECONDS) / _HOP_SECONDS))
    last = round((after.start + _OVERLAP_SECONDS) / _HOP_SECONDS)
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
    """Aligns the rows of a corpus, and writes the pieces as a table for the corpus `csv`.

    Args:
        recognizer: The recognizer; its tokens must be able to spell the transcripts.
        rows: Rows with the columns `audio`, `text` and optionally `speaker`.
        folder: The output folder, for `NAME.csv` with the columns path, text, speaker, recording, start and end, the
            pieces `NAME/*.flac`, and `NAME.ctm` with the time of each word in its recording (NIST's CTM format).
        name: Name of the table.
        options: Options for cutting.
        batch_size: Recordings per batch.

    Raises:
        HFSpeechError: If the table already exists.
    """
    options = options or CutOptions()
    table = folder / f"{name}.csv"
    if table.exists():
        raise HFSpeechError(f"{table} already exists: choose another --output, or remove it.")
    (folder / name).mkdir(parents=True, exist_ok=True)
    rate, sounds, texts = recognizer.sampling_rate, rows["audio"], rows["text"]
    speakers = rows["speaker"] if "speaker" in rows.column_names else [None] * len(rows)
    counts = CutCounts(0, 0, 0.0, 0, [])
    lines: list[list[str]] = []
    times: list[str] = []
    taken: set[str] = set()
    for prediction in predict(recognizer, sounds, batch_size, bad_rows="skip"):
        counts.recordings += 1
        source = sounds[prediction.index]
        try:
            if prediction.logits is None:
                raise AudioError(str(prediction.error))
            words = _align(recognizer, prediction.logits, texts[prediction.index])
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
            lines.append([f"{name}/{path.name}", piece.text, speakers[prediction.index] or "", recording, *bounds])
            counts.seconds += piece.end - piece.start
    counts.pieces = len(lines)
    write_text(folder / f"{name}.ctm", "".join(times))
    write_text(table, format_csv(["path", "text", "speaker", "recording", "start", "end"], lines))
    return counts


def _align(recognizer: Recognizer, logits: np.ndarray, text: str) -> tuple[Word, ...]:
    """Returns the words of a transcript, with their times."""
    return align_text(
        log_softmax(logits),
        recognizer.normalize(text),
        recognizer.tokens,
        seconds_per_frame=recognizer.samples_per_frame / recognizer.sampling_rate,
        blank=recognizer.blank,
        word_delimiter=recognizer.word_delimiter,
    ).words


def _unique(name: str, taken: set[str]) -> str:
    """Returns a file name for a recording that is not in `taken`, and adds it."""
    base = re.sub(r"[^\w.-]", "_", name) or "recording"
    unique, number = base, 2
    while unique.casefold() in taken:
        unique, number = f"{base}-{number}", number + 1
    taken.add(unique.casefold())
    return unique
