"""From sound files to text with times: what `hf-speech transcribe` does.

A recording of any length becomes log-probabilities without a seam (`recordings`), and a long one is decoded from pause
to pause. So all that grows with it is its text and its log-probabilities, 10 to 20 MB an hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from hf_speech.common.text import one_line
from hf_speech.data.audio import AudioSource, source_name
from hf_speech.decoding import Hypothesis, cut_at_pauses, join_pieces, make_cues, to_json, to_srt, to_vtt
from hf_speech.errors import AudioError
from hf_speech.inference.chunks import CHUNK_SECONDS, OVERLAP_SECONDS, log_probabilities
from hf_speech.inference.decoders import Decoder, greedy_decoder, seconds_per_frame
from hf_speech.inference.recognizer import Recognizer
from hf_speech.inference.recordings import LONG_SECONDS, Recording

FORMATS = ("text", "srt", "vtt", "json")
"""What a transcript can be written as."""


@dataclass(frozen=True)
class Transcript:
    """What was said in a file.

    Attributes:
        file: The file's name.
        duration: Its length in seconds.
        hypotheses: Texts, words with times and confidences, the best first: at least one if there is no error, and
            more where the decoder gives more.
        error: Why it could not be read.
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
        """The transcript as the content of a file.

        Args:
            output_format: One of `FORMATS`.
            scores: Whether all hypotheses are to be written, with their scores, and not only the best: a line
                `SCORE<tab>TEXT` each, or the list `nbest` of the JSON. Subtitles are always of the best.
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
    """Transcribes sounds one after the other.

    Args:
        recognizer: A recognizer, from `load_model`, or an exported one.
        sources: Files, or other sounds that `read_audio` reads.
        decoder: What makes text of log-probabilities; the best path if not given.
        num_best: How many hypotheses to give of each sound at most; the best path is only one.
        chunk_seconds: Length of the chunks in which a long recording is heard.
        overlap_seconds: How much of a chunk's either end is only heard as surroundings.
        progress: Whether to show a progress bar over the seconds of each recording.

    Yields:
        A transcript for each sound; one that cannot be read has an error instead of text.

    Raises:
        ModelError: If the model is no recognizer.
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
    bar = tqdm(pieces, desc="Decoding", unit="piece", disable=not progress, leave=False)
    found = [decode(log_probs[first:last], frame, num_best) for first, last in bar]
    return join_pieces(found, [first for first, _ in pieces], seconds_per_frame=frame, num_best=num_best)


__all__ = ["FORMATS", "Transcript", "transcribe_files"]
