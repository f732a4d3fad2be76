"""Transcribes audio files with timestamps, for `hf-speech transcribe`.

Log probabilities are computed in chunks (`chunks`), and a long recording is decoded from pause to pause. Memory grows
only with the text and the log probabilities, by 10 to 20 MB per hour.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from hf_speech.common.progress import progress_bar
from hf_speech.common.text import nfc, one_line
from hf_speech.data.audio import AudioSource, source_name
from hf_speech.decoding import Hypothesis, cut_at_pauses, join_pieces, make_cues, to_json, to_srt, to_vtt
from hf_speech.errors import AudioError
from hf_speech.inference.chunks import CHUNK_SECONDS, OVERLAP_SECONDS, log_probabilities
from hf_speech.inference.decoders import Decoder, greedy_decoder, seconds_per_frame
from hf_speech.inference.recognizer import Recognizer
from hf_speech.inference.recordings import LONG_SECONDS, Recording

FORMATS = ("text", "srt", "vtt", "json")
"""The formats of a transcript."""


@dataclass(frozen=True)
class Transcript:
    """The transcript of a file.

    Attributes:
        file: Name of the file.
        duration: Length in seconds.
        hypotheses: At least one hypothesis, the best first; none if there is an error.
        error: The error message of an unreadable file.
    """

    file: str
    duration: float
    hypotheses: tuple[Hypothesis, ...]
    error: str | None = None

    @property
    def hypothesis(self) -> Hypothesis:
        """The best hypothesis."""
        return self.hypotheses[0] if self.hypotheses else Hypothesis("", 0.0, (), ())

    def format(self, output_format: str = "text", scores: bool = False, indent: int | None = 2) -> str:
        """Formats the transcript as the content of a file.

        Args:
            output_format: One of `FORMATS`.
            scores: Whether to write all hypotheses with their scores, as lines `SCORE<tab>TEXT` or as the list `nbest`
                in JSON. Subtitles always show the best hypothesis.
            indent: Spaces of indentation in JSON; None writes one line.
        """
        if output_format == "srt":
            return to_srt(make_cues(self.hypothesis.words))
        if output_format == "vtt":
            return to_vtt(make_cues(self.hypothesis.words))
        if output_format == "json":
            nbest = self.hypotheses if scores else ()
            return to_json(self.hypothesis.words, file=self.file, nbest=nbest, indent=indent)
        if scores:
            return "".join(f"{hypothesis.score:.2f}\t{one_line(hypothesis.text)}\n" for hypothesis in self.hypotheses)
        return f"{one_line(self.hypothesis.text)}\n"


def transcribe_files(
    recognizer: Recognizer,
    sources: Iterable[AudioSource],
    *,
    decoder: Decoder | None = None,
    num_best: int = 1,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    progress: bool = True,
) -> Iterator[Transcript]:
    """Transcribes sounds one after the other.

    Args:
        recognizer: A recognizer from `load_model` or `open_model`.
        sources: Files, or other sounds that `read_audio` accepts.
        decoder: The decoder; None for greedy decoding.
        num_best: Maximum number of hypotheses for each sound; greedy decoding returns only one.
        chunk_seconds: Length of the chunks of a long recording.
        overlap_seconds: Context at either end of a chunk, whose output is discarded.
        progress: Whether to show a progress bar over the seconds of each recording.

    Yields:
        A transcript for each sound; an unreadable sound has an error instead of text.

    Raises:
        ModelError: If the model is not a recognizer.
    """
    decode = decoder or greedy_decoder(recognizer)
    frame = seconds_per_frame(recognizer)
    for source in sources:
        try:
            recording = Recording.open(source, recognizer.sampling_rate)
            log_probs = log_probabilities(recognizer, recording, chunk_seconds, overlap_seconds, progress)
        except AudioError as error:
            yield Transcript(source_name(source), 0.0, (), str(error))
            continue
        if recording.seconds > LONG_SECONDS:
            hypotheses = _decode_long(recognizer, log_probs, decode, num_best, progress)
        else:
            hypotheses = decode(log_probs, frame, num_best)
        yield Transcript(recording.name, recording.seconds, tuple(hypotheses))


def transcript_files(sources: Sequence[str | Path], folder: Path, suffix: str) -> list[Path]:
    """Returns the path of the transcript of each sound file, named by `distinct_names`.

    Args:
        sources: The sound files. Duplicates share a transcript.
        folder: The folder of the transcripts.
        suffix: The suffix of the transcripts, such as ".srt".

    Raises:
        AudioError: If a transcript would replace one of the sound files.
    """
    paths = [Path(os.path.abspath(source)) for source in sources]
    names = distinct_names(paths)
    targets = [folder / f"{names[path]}{suffix}" for path in paths]
    for target in targets:
        if Path(os.path.abspath(target)) in names:
            raise AudioError(f"The transcript {target} would replace the sound file: choose another output folder.")
    return targets


def distinct_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Returns the shortest distinct name for each file.

    This is the file name without its suffix or, if that is not distinct, with its suffix and then with the names of as
    many parent folders as needed. Names that differ only in case are not distinct.

    Args:
        paths: Absolute paths; duplicates share a name.
    """
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for parts in range(max((len(path.parts) for path in paths), default=0)):
        candidates = {
            path: "-".join(path.parts[1:][-parts:]) if parts else path.stem for path in paths if path not in names
        }
        counts = Counter(map(_key, candidates.values()))
        names |= {
            path: name for path, name in candidates.items() if counts[_key(name)] == 1 and _key(name) not in taken
        }
        taken |= set(counts)
    for path in dict.fromkeys(paths):  # The remaining paths differ only in case.
        if path not in names:
            name = next(name for number in count(2) if _key(name := f"{path.stem}-{number}") not in taken)
            names[path] = name
            taken.add(_key(name))
    return names


def _key(name: str) -> str:
    return nfc(name).casefold()


def _decode_long(
    recognizer: Recognizer, log_probs: np.ndarray, decode: Decoder, num_best: int, progress: bool
) -> list[Hypothesis]:
    """Decodes a long recording from pause to pause."""
    frame = seconds_per_frame(recognizer)
    pieces = cut_at_pauses(
        log_probs[:, : len(recognizer.tokens)],
        seconds_per_frame=frame,
        blank=recognizer.blank,
        delimiter=recognizer.tokens.index(recognizer.word_delimiter),
    )
    bar = progress_bar(pieces, desc="Decoding", unit="piece", disable=not progress, leave=False)
    hypotheses = [decode(log_probs[first:last], frame, num_best) for first, last in bar]
    return join_pieces(hypotheses, [first for first, _ in pieces], seconds_per_frame=frame, num_best=num_best)
