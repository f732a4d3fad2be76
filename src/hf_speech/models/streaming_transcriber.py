"""Live transcription: computes the logits of a recording while it is still being recorded.

Streaming is exact: the logits equal those of the whole recording. Each stage keeps the past input that it still needs,
and waits for the future input that it depends on:

- features: the samples of analysis windows that extend beyond the last frame;
- front end: the frames of its receptive field, which are computed again with the new ones;
- recurrence: the state of each layer;
- lookahead: the frames whose future frames have not arrived yet.

Memory therefore does not grow with the recording, apart from the text. Samples are buffered until they make a whole
logit frame, so that small pieces cost little, and streams at the same position are computed as one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from .convolutions import FrameConvolution
from .raw_speech import to_samples, without_channel


@dataclass(frozen=True)
class StreamingUpdate:
    """The result of one piece of sound.

    Attributes:
        text: The text so far.
        logits: The new logit frames, `(frames, vocab_size)`.
    """

    text: str
    logits: torch.Tensor


class StreamingTranscriber:
    """Transcribes sound that arrives in pieces of any length, with a causal `ConvGRUForCTC`.

    Args:
        model: A causal model.
        feature_extractor: Its feature extractor.
        tokenizer: Its tokenizer; without one, the text stays empty.

    Raises:
        ValueError: If the model or the extractor depends on the whole recording.
    """

    def __init__(self, model: Any, feature_extractor: Any, tokenizer: Any = None) -> None:
        if not model.can_stream:
            raise ValueError(
                "This model cannot stream, because it needs the whole recording: train one with bidirectional: false "
                "and causal: true."
            )
        if feature_extractor.normalization not in ("none", "global") or feature_extractor.top_db is not None:
            raise ValueError(
                "This feature extractor cannot stream, because its normalization needs the whole recording: use "
                "normalization none or global, without top_db."
            )
        limits = (feature_extractor.offset, feature_extractor.max_duration, feature_extractor.time_average)
        if feature_extractor.num_deltas or any(limits):
            raise ValueError(
                "This feature extractor cannot stream: use it without deltas, offset, max_duration, time_average."
            )
        self.model = model.eval()
        self.feature_extractor = feature_extractor
        self.tokenizer = tokenizer
        self._hop = int(feature_extractor.hop_length)
        window, lead = feature_extractor.frame_span
        # Samples from the start of a frame's hop until the frame can be computed: its window, and its whole hop.
        self._reach = window - lead
        # Frames before a new one whose samples are kept: its window starts there, and pre-emphasis needs one more
        # sample.
        self._context_frames = -(-(lead + bool(feature_extractor.preemphasis)) // self._hop)
        stride = model.config.stride
        field, step = 0, 1
        for module in model.frontend.modules():
            if isinstance(module, FrameConvolution):
                field += module.left * step
                step *= module.time_stride
        self._receptive_frames = -(-field // stride) * stride
        self.reset()

    @property
    def latency(self) -> float:
        """Seconds from the start of a logit frame until its logits can be computed."""
        config = self.model.config
        last_feature = (config.lookahead + 1) * config.stride - 1
        samples = last_feature * self._hop + max(self._reach, self._hop)
        return samples / float(self.feature_extractor.sampling_rate)

    def reset(self) -> None:
        """Discards all state, to start another recording."""
        model = self.model
        self._pieces: list[np.ndarray] = []
        self._num_waiting = 0
        self._samples = np.zeros(0, dtype=np.float32)
        self._first_sample = 0
        self._num_features = 0
        self._features = torch.zeros(0, model.config.input_size, device=model.device, dtype=model.dtype)
        self._states = [self._features.new_zeros(1, 1, layer.recurrence.hidden_size) for layer in model.layers]
        self._awaiting = self._features.new_zeros(0, model.norm.normalized_shape[0])
        self._last_id = model.config.pad_token_id
        self._text = ""
        # Whether the last piece has been fed, and whether it has been processed.
        self._finished = self._ended = False

    def accept(self, samples: np.ndarray | torch.Tensor, sampling_rate: int | None = None) -> StreamingUpdate:
        """Processes a piece of sound; if it raises an error, the stream is unchanged.

        Args:
            samples: Any number of mono samples, `(samples,)` or, as from a microphone, `(samples, 1)`; floats or
                integers.
            sampling_rate: Their sampling rate in Hz, which must be the feature extractor's.

        Returns:
            The text so far and the new logits.

        Raises:
            ValueError: If the samples are not mono, not finite or have another sampling rate, or after `finish`.
        """
        self.feed(samples, sampling_rate)
        return self.advance([self])[0]

    def finish(self) -> StreamingUpdate:
        """Ends the recording; call `reset` to start another one.

        Returns:
            The whole text and the last logits.
        """
        self._finished = True
        return self.advance([self])[0]

    def feed(self, samples: np.ndarray | torch.Tensor, sampling_rate: int | None = None, final: bool = False) -> None:
        """Buffers a piece of sound for `advance`; see `accept`.

        Args:
            samples: The piece.
            sampling_rate: Its sampling rate in Hz, which must be the feature extractor's.
            final: Whether this is the last piece of the recording.
        """
        expected = self.feature_extractor.sampling_rate
        if sampling_rate is not None and sampling_rate != expected:
            raise ValueError(f"The model needs {expected} Hz and the piece has {sampling_rate} Hz: resample it.")
        if self._finished:
            raise ValueError("This recording was ended by finish(): call reset() before the next one.")
        piece = to_samples(without_channel(samples), "The piece of sound").cpu().numpy()
        self._pieces.append(piece.copy())  # The caller may use the array again.
        self._num_waiting += len(piece)
        self._finished = final

    @staticmethod
    @torch.inference_mode()
    def advance(streams: Sequence[StreamingTranscriber]) -> list[StreamingUpdate]:
        """Processes the buffered samples of several streams; streams at the same position are computed as one batch.

        Args:
            streams: The streams, without duplicates.

        Returns:
            The update of each stream, the same as if it were alone.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        logits = [stream._awaiting.new_zeros(0, stream.model.config.vocab_size) for stream in streams]
        for index, stream in enumerate(streams):
            count = stream._num_new_features()
            if count or stream._finished > stream._ended:
                groups.setdefault((count, *stream._point(count)), []).append(index)
        for (count, *_), indices in groups.items():
            group = [streams[index] for index in indices]
            for index, stream, rows in zip(indices, group, _process(group, count), strict=True):
                logits[index] = rows
                stream._ended = stream._finished
                stream._read(rows)
        return [StreamingUpdate(stream.text, rows) for stream, rows in zip(streams, logits, strict=True)]

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text.rstrip()

    def _num_new_features(self) -> int:
        """Returns the number of feature frames that can be computed now, a multiple of the stride."""
        num_samples = self._first_sample + len(self._samples) + self._num_waiting
        known = num_samples // self._hop
        if not self._finished:  # A frame needs the whole window that is centered on its first sample.
            known = min(known, max((num_samples - self._reach) // self._hop + 1, 0))
        stride = self.model.config.stride
        return int(known // stride * stride) - self._num_features

    def _point(self, count: int) -> tuple[int, ...]:
        """Returns a key by which streams are batched: the model, whether they end, and the sizes of their state."""
        if self._pieces:
            self._samples = np.concatenate((self._samples, *self._pieces))
            self._pieces, self._num_waiting = [], 0
        sizes = (len(self._under_windows(count)), self._num_known, len(self._features), len(self._awaiting))
        return id(self.model), self._finished, *sizes

    @property
    def _num_known(self) -> int:
        """Frames of the buffered samples whose features have been computed."""
        return self._num_features - self._first_sample // self._hop

    def _under_windows(self, count: int) -> np.ndarray:
        """Returns the samples for `count` new features, including the context before them."""
        end = (self._num_known + count - 1) * self._hop + max(self._reach, self._hop)
        return self._samples[:end]

    def _read(self, logits: torch.Tensor) -> None:
        """Appends the new tokens of the best path, with repeats merged and blanks removed (Graves et al. 2006).

        Unknown tokens are kept, as in the tokenizer's `decode`.
        """
        if self.tokenizer is None:
            return
        blank = self.model.config.pad_token_id
        for token_id in logits.argmax(dim=-1).tolist():
            if token_id not in (self._last_id, blank):
                token = self.tokenizer.convert_ids_to_tokens(token_id)
                if token != self.tokenizer.word_delimiter_token:
                    self._text += token
                elif self._text and not self._text.endswith(" "):
                    self._text += " "
            self._last_id = token_id


def _process(group: Sequence[StreamingTranscriber], count: int) -> list[torch.Tensor]:
    """Computes the new logits `(frames, vocab_size)` of streams at the same position, for `count` new features."""
    model, awaiting = group[0].model, group[0]._awaiting
    frames = _encode(group, count) if count else awaiting.new_zeros(len(group), 0, awaiting.shape[1])
    frames = _look_ahead(group, frames)
    logits = model.classifier(model.norm(frames.flatten(0, 1)))
    return list(logits.view(len(group), frames.shape[1], logits.shape[1]))


def _extract(group: Sequence[StreamingTranscriber], count: int) -> torch.Tensor:
    """Computes the new features, preceded by those of the receptive field, `(streams, frames, features)`."""
    one = group[0]
    extractor, hop, known = one.feature_extractor, one._hop, one._num_known
    samples = [stream._under_windows(count) for stream in group]
    computed = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"]
    new = computed[:, known : known + count].to(one._features)
    features = torch.cat((torch.stack([stream._features for stream in group]), new), dim=1)
    for stream, row in zip(group, features, strict=True):
        stream._num_features += count
        keep_from = max(stream._num_features - stream._context_frames, stream._first_sample // hop)
        stream._samples = stream._samples[keep_from * hop - stream._first_sample :]
        stream._first_sample = keep_from * hop
        stream._features = row[max(len(row) - stream._receptive_frames, 0) :]
    return features


def _encode(group: Sequence[StreamingTranscriber], count: int) -> torch.Tensor:
    """Runs the front end and the recurrent layers on `count` new features; returns `(streams, frames, size)`."""
    model = group[0].model
    features = _extract(group, count)
    frames, _ = model.frontend(features, torch.full((len(group),), features.shape[1], device=features.device))
    frames = frames[:, -(count // model.config.stride) :]
    lengths = torch.full((len(group),), frames.shape[1], device=frames.device)
    for index, layer in enumerate(model.layers):
        state = torch.cat([stream._states[index] for stream in group], dim=1)
        frames, state = layer.recurrence.forward_rnn(layer.normalize(frames, lengths), state)
        for stream, row in zip(group, state.split(1, dim=1), strict=True):
            stream._states[index] = row
    return frames


def _look_ahead(group: Sequence[StreamingTranscriber], frames: torch.Tensor) -> torch.Tensor:
    """Applies the lookahead to the frames `(streams, frames, size)` whose future frames are known or past the end."""
    lookahead = group[0].model.lookahead
    if lookahead is None:
        return frames
    frames = torch.cat((torch.stack([stream._awaiting for stream in group]), frames), dim=1)
    if group[0]._finished:
        frames = F.pad(frames, (0, 0, 0, lookahead.lookahead))
    ready = max(frames.shape[1] - lookahead.lookahead, 0)
    for stream, row in zip(group, frames, strict=True):
        stream._awaiting = row[ready:]
    if ready == 0:
        return frames[:, :0]
    return F.relu(lookahead.convolution(frames.mT).mT)


__all__ = ["StreamingTranscriber", "StreamingUpdate"]
