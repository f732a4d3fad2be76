"""From sound files to text with times: what `hf-speech transcribe` does.

A long recording is heard in chunks that overlap, and of each chunk only the middle is believed, so that every frame has
been heard with its surroundings. Chunks begin and end between logit frames, so their log-probabilities join without a
seam, and whatever decodes them (best path or beam search) sees one recording. Memory is that of the waveform and of one
batch of chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from hf_speech.data.audio import AudioSource, read_audio, source_name
from hf_speech.decoding import Hypothesis, make_cues, to_json, to_srt, to_vtt
from hf_speech.errors import AudioError, ModelError
from hf_speech.evaluation.decoders import Decoder, greedy_decoder, seconds_per_frame
from hf_speech.evaluation.loading import LoadedModel


@dataclass(frozen=True)
class Transcript:
    """What was said in a file.

    Attributes:
        file: The file's name.
        duration: Its length in seconds.
        hypothesis: Text, words with times and confidences; empty when there is an error.
        error: Why it could not be read.
    """

    file: str
    duration: float
    hypothesis: Hypothesis
    error: str | None = None


FORMATS: dict[str, Callable[[Transcript], str]] = {
    "text": lambda transcript: transcript.hypothesis.text + "\n",
    "srt": lambda transcript: to_srt(make_cues(transcript.hypothesis.words)),
    "vtt": lambda transcript: to_vtt(make_cues(transcript.hypothesis.words)),
    "json": lambda transcript: to_json(transcript.hypothesis.words),
}
"""What a transcript can be written as."""


def transcribe_files(
    loaded: LoadedModel,
    sources: Iterable[AudioSource],
    *,
    decoder: Decoder | None = None,
    chunk_seconds: float = 20.0,
    overlap_seconds: float = 3.0,
    progress: bool = True,
) -> Iterator[Transcript]:
    """Transcribes sounds one after the other.

    Args:
        loaded: A recogniser, from `load_model`.
        sources: Files, or other sounds that `read_audio` reads.
        decoder: What makes text of log-probabilities; the best path if not given.
        chunk_seconds: Length of the chunks in which a long recording is heard.
        overlap_seconds: How much of a chunk's either end is only heard as surroundings.
        progress: Whether to show a progress bar over the seconds of each recording.

    Yields:
        A transcript for each sound; one that cannot be read has an error instead of text.

    Raises:
        ModelError: If the model is no recogniser.
    """
    decode = decoder or greedy_decoder(loaded)
    rate = loaded.sampling_rate
    for source in sources:
        name = source_name(source)
        try:
            samples = read_audio(source, rate)
        except AudioError as error:
            yield Transcript(name, 0.0, Hypothesis("", 0.0, (), ()), str(error))
            continue
        log_probs = log_probabilities(loaded, samples, chunk_seconds, overlap_seconds, progress)
        yield Transcript(name, len(samples) / rate, decode(log_probs, seconds_per_frame(loaded)))


@torch.inference_mode()
def log_probabilities(
    loaded: LoadedModel,
    samples: np.ndarray,
    chunk_seconds: float = 20.0,
    overlap_seconds: float = 3.0,
    progress: bool = False,
) -> np.ndarray:
    """Log-probabilities of a recording of any length.

    Args:
        loaded: A recogniser.
        samples: Mono waveform `(samples,)` at the model's rate.
        chunk_seconds: Length of a chunk; a recording up to this long is heard as a whole.
        overlap_seconds: How much of a chunk's either end is only heard as surroundings.
        progress: Whether to show a progress bar.

    Returns:
        Float32 `(samples // inputs_to_logits_ratio, vocabulary)`.

    Raises:
        ModelError: If the overlap leaves nothing of a chunk.
    """
    ratio, rate = loaded.model.config.inputs_to_logits_ratio, loaded.sampling_rate
    total = len(samples) // ratio
    chunk, overlap = (round(seconds * rate / ratio) for seconds in (chunk_seconds, overlap_seconds))
    if chunk <= 2 * overlap:
        raise ModelError(
            f"Chunks of {chunk_seconds} s with {overlap_seconds} s of surroundings at either end have no middle: "
            "give longer chunks or less overlap."
        )
    pieces: list[np.ndarray] = []
    with tqdm(total=round(len(samples) / rate), unit="s", disable=not progress, leave=False) as bar:
        known = 0
        while known < total:
            first = max(known - overlap, 0) if total > chunk else 0
            last = total if first + chunk >= total else first + chunk
            # The last chunk keeps the samples behind the last whole frame, as the recording as a whole does.
            end = len(samples) if last == total else last * ratio
            logits = _logits(loaded, samples[first * ratio : end])
            believed = last if last == total else last - overlap
            pieces.append(logits[known - first : believed - first])
            bar.update(round((believed - known) * ratio / rate))
            known = believed
    if not pieces:
        return np.zeros((0, loaded.model.config.vocab_size), dtype=np.float32)
    return np.concatenate(pieces)


def _logits(loaded: LoadedModel, samples: np.ndarray) -> np.ndarray:
    inputs = loaded.feature_extractor(samples, sampling_rate=loaded.sampling_rate, return_tensors="pt").to(
        loaded.device
    )
    log_probs: np.ndarray = loaded.model(**inputs).logits[0].float().log_softmax(dim=-1).cpu().numpy()
    return log_probs


__all__ = ["FORMATS", "Transcript", "log_probabilities", "transcribe_files"]
