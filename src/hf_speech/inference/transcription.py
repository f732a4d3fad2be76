"""Transcription of audio files with timestamps, as `hf-speech transcribe` does it.

The chunks of a recording of any length become seamless log-probabilities (`chunks`), and a long recording is
decoded from pause to pause. Memory grows only with its text and log-probabilities, 10 to 20 MB per hour.
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
from hf_speech.common.text import one_line, same_form
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
        file: The file's name.
        duration: Its length in seconds.
        hypotheses: The best first: at least one if there is no error.
        error: Why the file could not be read.
    """

    file: str
    duration: float
    hypotheses: tuple[Hypothesis, ...]
    error: str | None = None

    @property
    def hypothesis(self) -> Hypothesis:
        """The best one."""
        return self.hypotheses[0] if self.hypotheses else Hypothesis("", 0.0, (), ())

    def format(self, output_format: str = "text", scores: bool = False) -> str:
        """Return the transcript as the content of a file.

        Args:
            output_format: One of `FORMATS`.
            scores: Whether to write all hypotheses with their scores, as lines `SCORE<tab>TEXT` or as the list `nbest`
                in the JSON. Subtitles are always of the best one.
        """
        if output_format == "srt":
            return to_srt(make_cues(self.hypothesis.words))
        if output_format == "vtt":
            return to_vtt(make_cues(self.hypothesis.words))
        if output_format == "json":
            return to_json(self.hypothesis.words, file=self.file, nbest=self.hypotheses if scores else ())
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
    """Transcribe sounds one after the other.

    Args:
        recognizer: A recognizer, from `load_model`, or an exported one.
        sources: Files, or other sounds that `read_audio` reads.
        decoder: The decoder; greedy if None.
        num_best: The number of hypotheses to return for each sound at most; greedy decoding gives only one.
        chunk_seconds: Length of the chunks of a long recording.
        overlap_seconds: Context at either end of a chunk, which is computed and discarded.
        progress: Whether to show a progress bar over the seconds of each recording.

    Yields:
        A transcript for each sound; one that cannot be read has an error instead of text.

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
            found = _decode_long(recognizer, log_probs, decode, num_best, progress)
        else:
            found = decode(log_probs, frame, num_best)
        yield Transcript(recording.name, recording.seconds, tuple(found))


def transcript_files(sources: Sequence[str | Path], folder: Path, suffix: str) -> list[Path]:
    """Return a file in a folder for the transcript of each sound file, named by `distinct_names`.

    Args:
        sources: The sound files. One that is given twice gets one transcript.
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
    """A name for each file that no other one has, as short as it can be.

    That is the name of the file without its suffix, with its suffix if that is not enough, and else with the names of
    as many parent folders as needed. Names are compared as file systems do that ignore case.

    Args:
        paths: Absolute paths; one that comes twice gets one name.
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
    for path in dict.fromkeys(paths):  # what is left differs in case only
        if path not in names:
            name = next(name for number in count(2) if _key(name := f"{path.stem}-{number}") not in taken)
            names[path] = name
            taken.add(_key(name))
    return names


def _key(name: str) -> str:
    return same_form(name).casefold()


def _decode_long(
    recognizer: Recognizer, log_probs: np.ndarray, decode: Decoder, num_best: int, progress: bool
) -> list[Hypothesis]:
    """The hypotheses of a long recording, from pause to pause."""
    frame = seconds_per_frame(recognizer)
    pieces = cut_at_pauses(
        log_probs[:, : len(recognizer.tokens)],
        seconds_per_frame=frame,
        blank=recognizer.blank,
        delimiter=recognizer.tokens.index(recognizer.word_delimiter),
    )
    bar = progress_bar(pieces, desc="Decoding", unit="piece", disable=not progress, leave=False)
    found = [decode(log_probs[first:last], frame, num_best) for first, last in bar]
    return join_pieces(found, [first for first, _ in pieces], seconds_per_frame=frame, num_best=num_best)
