"""Log-probabilities of recordings of any length, computed in chunks that overlap.

The overlap is discarded, so that every frame is computed with context on both sides. Chunks start and end at logit
frames: their log-probabilities join without a seam, and decoders see one recording.
"""

from __future__ import annotations

import math

import numpy as np

from hf_speech.common.progress import progress_bar
from hf_speech.errors import ModelError
from hf_speech.inference.recognizer import Recognizer
from hf_speech.inference.recordings import Recording

CHUNK_SECONDS, OVERLAP_SECONDS = 60.0, 10.0
"""With a shorter overlap, one word in a hundred depends on where chunks end: recurrences have a long memory."""


def log_probabilities(
    recognizer: Recognizer,
    sound: np.ndarray | Recording,
    chunk_seconds: float = CHUNK_SECONDS,
    overlap_seconds: float = OVERLAP_SECONDS,
    progress: bool = False,
) -> np.ndarray:
    """Compute the log-probabilities of a recording of any length.

    Args:
        recognizer: A recognizer.
        sound: A recording, or a mono waveform `(samples,)` at the model's rate.
        chunk_seconds: Length of a chunk; a shorter recording is processed at once.
        overlap_seconds: Context at either end of a chunk, the log-probabilities of which are discarded.
        progress: Whether to show a progress bar.

    Returns:
        Float32 `(samples // samples_per_frame, tokens + phones)`.

    Raises:
        AudioError: If the recording is damaged.
        ModelError: If the overlap leaves nothing of a chunk.
    """
    ratio, rate = recognizer.samples_per_frame, recognizer.sampling_rate
    if not (0 <= 2 * overlap_seconds < chunk_seconds < math.inf and chunk_seconds * rate >= ratio):
        raise ModelError(
            f"Chunks of {chunk_seconds} s with {overlap_seconds} s of context at either end have no middle: give "
            "longer chunks or less overlap."
        )
    chunk, overlap = (round(seconds * rate / ratio) for seconds in (chunk_seconds, overlap_seconds))
    overlap = min(overlap, (chunk - 1) // 2)  # both were rounded
    if isinstance(sound, np.ndarray):
        sound = Recording("the waveform", rate, len(sound) / rate, sound)
    compute = recognizer.log_probs_fn(sound)
    blocks = sound.blocks()
    # Samples from logit frame `first` on: a chunk, and one more frame to see whether it is the last one. The
    # log-probabilities of the first `known` frames are in `pieces`.
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
                # The last chunk keeps the samples after its last whole frame, as the whole recording would.
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
