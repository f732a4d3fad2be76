"""Computes the log probabilities of recordings of any length in overlapping chunks.

The overlap gives every frame context on both sides and is then discarded. Chunks start and end at logit frames, so
their log probabilities can be concatenated and decoded as one recording.
"""

from __future__ import annotations

import math

import numpy as np

from hf_speech.common.progress import progress_bar
from hf_speech.errors import ModelError
from hf_speech.inference.recognizer import Recognizer
from hf_speech.inference.recordings import Recording

CHUNK_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
"""Recurrent layers have a long memory: with a shorter overlap, 1% of the words depend on the chunk boundaries."""


def log_probabilities(
    recognizer: Recognizer,
    sound: np.ndarray | Recording,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    progress: bool = False,
) -> np.ndarray:
    """Computes the log probabilities of a recording of any length.

    Args:
        recognizer: The recognizer.
        sound: A recording, or a mono waveform `(samples,)` at the model's sampling rate.
        chunk_seconds: Length of a chunk; a shorter recording is processed as a whole.
        overlap_seconds: Context at each end of a chunk, whose log probabilities are discarded.
        progress: Whether to show a progress bar.

    Returns:
        Float32 `(samples // samples_per_frame, tokens + phones)`.

    Raises:
        AudioError: If the recording is damaged.
        ModelError: If the chunks are too short for the overlap.
    """
    ratio, rate = recognizer.samples_per_frame, recognizer.sampling_rate
    if not (0 <= 2 * overlap_seconds < chunk_seconds < math.inf and chunk_seconds * rate >= ratio):
        raise ModelError(
            f"Chunks of {chunk_seconds} s are too short for an overlap of {overlap_seconds} s at each end: choose "
            "longer chunks or a shorter overlap."
        )
    chunk, overlap = (round(seconds * rate / ratio) for seconds in (chunk_seconds, overlap_seconds))
    overlap = min(overlap, (chunk - 1) // 2)  # both were rounded
    if isinstance(sound, np.ndarray):
        sound = Recording("the waveform", rate, len(sound) / rate, sound)
    compute = recognizer.log_probs_fn(sound)
    blocks = sound.blocks()
    # Samples from logit frame `first` on: those of a chunk, and one more frame to tell whether it is the last chunk.
    # `pieces` has the log probabilities of the first `known` frames.
    samples = np.zeros(0, dtype=np.float32)
    pieces: list[np.ndarray] = []
    first = known = 0
    with progress_bar(
        total=round(sound.seconds), unit="s", desc="Recognizing", disable=not progress, leave=False
    ) as bar:
        while True:
            while len(samples) < (chunk + 1) * ratio and (block := next(blocks, None)) is not None:
                samples = np.concatenate((samples, block)) if len(samples) else block
            is_last = len(samples) < (chunk + 1) * ratio
            last = first + (len(samples) // ratio if is_last else chunk)
            if last > known:
                # The last chunk includes the samples after the last complete frame, as the whole recording does.
                inputs = samples if is_last else samples[: chunk * ratio]
                end = last if is_last else last - overlap
                pieces.append(compute(inputs)[known - first : end - first])
                bar.update(round((end - known) * ratio / rate))
                known = end
            if is_last:
                break
            samples = samples[(known - overlap - first) * ratio :]
            first = known - overlap
    width = len(recognizer.tokens) + recognizer.num_phones
    return np.concatenate([np.zeros((0, width), dtype=np.float32), *pieces])
