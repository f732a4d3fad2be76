"""Live transcription: the same logits as for the whole recording, while it is still being recorded.

Streaming is exact, not an approximation. Each stage keeps what it needs of the past and waits for what it needs of the
future:

- features: the samples under the analysis windows that reach beyond the last frame;
- front end: the frames of its receptive field, which are run again with the new ones, and their outputs dropped;
- recurrence: the state of each layer;
- lookahead: the frames whose future frames have not arrived yet.

So memory does not grow with the recording, apart from its text. Samples wait until a whole logit frame can be made of
them, so that tiny pieces cost little, and streams that are at the same point are computed as one batch.
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
        tokenizer: Its tokenizer; without one the text stays empty.

    Raises:
        ValueError: If model or extractor need the future of the recording.
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
        # Samples from the beginning of a frame's hop until the frame is known: its window, and its whole hop.
        self._reach = window - lead
        # Frames whose samples are kept before a new one: its window begins there, and pre-emphasis needs a sample more.
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
        """Seconds from the beginning of a logit frame until its logits are known."""
        config = self.model.config
        last_feature = (config.lookahead + 1) * config.stride - 1
        samples = last_feature * self._hop + max(self._reach, self._hop)
        return samples / float(self.feature_extractor.sampling_rate)

    def reset(self) -> None:
        """Forgets everything, ready for another recording."""
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
        # Whether the last piece was fed, and whether it was processed.
        self._finished = self._ended = False

    def accept(self, samples: np.ndarray | torch.Tensor, sampling_rate: int | None = None) -> StreamingUpdate:
        """Takes a piece of sound; one that is refused leaves the stream as it was.

        Args:
            samples: Any number of mono samples, `(samples,)` or, as microphones deliver them, `(samples, 1)`; floats,
                or integers as the feature extractor takes them.
            sampling_rate: Their rate in Hz, to be checked against the feature extractor's.

        Returns:
            The text so far and the logits that have become known.

        Raises:
            ValueError: If the samples are not mono, not finite or have another rate, or the recording was
                ended.
        """
        self.feed(samples, sampling_rate)
        return self.advance([self])[0]

    def finish(self) -> StreamingUpdate:
        """Ends the recording; `reset` starts another one.

        Returns:
            The whole text and the last logits.
        """
        self._finished = True
        return self.advance([self])[0]

    def feed(self, samples: np.ndarray | torch.Tensor, sampling_rate: int | None = None, final: bool = False) -> None:
        """Takes a piece of sound that `advance` processes; see `accept`.

        Args:
            samples: The piece.
            sampling_rate: Its rate in Hz, to be checked.
            final: Whether the recording ends with it.
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
        """Processes what streams of one model were fed: those at the same point, and with as much, as one batch.

        Args:
            streams: The streams, each once.

        Returns:
            The update of each, as if it had been alone.
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
        """Features to compute now: those of whole logit frames, whose samples are there."""
        num_samples = self._first_sample + len(self._samples) + self._num_waiting
        known = num_samples // self._hop
        if not self._finished:  # A frame is known when the window centered on its first sample is.
            known = min(known, max((num_samples - self._reach) // self._hop + 1, 0))
        stride = self.model.config.stride
        return int(known // stride * stride) - self._num_features

    def _point(self, count: int) -> tuple[int, ...]:
        """What must be equal for streams to be a batch: model and end, and the sizes of what each remembers."""
        if self._pieces:
            self._samples = np.concatenate((self._samples, *self._pieces))
            self._pieces, self._num_waiting = [], 0
        sizes = (len(self._under_windows(count)), self._num_known, len(self._features), len(self._awaiting))
        return id(self.model), self._finished, *sizes

    @property
    def _num_known(self) -> int:
        """Frames of the kept samples whose features were computed before."""
        return self._num_features - self._first_sample // self._hop

    def _under_windows(self, count: int) -> np.ndarray:
        """The samples that `count` new features are made of, with those before them."""
        end = (self._num_known + count - 1) * self._hop + max(self._reach, self._hop)
        return self._samples[:end]

    def _read(self, logits: torch.Tensor) -> None:
        """Appends the new tokens of the best path: repeats merged, blanks dropped (Graves et al. 2006).

        Unknown tokens stay, as in the tokenizer's own `decode`: one between two equal letters separates them.
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
    """The new logits `(frames, vocab_size)` of streams at the same point, each with `count` new features."""
    model, awaiting = group[0].model, group[0]._awaiting
    frames = _encode(group, count) if count else awaiting.new_zeros(len(group), 0, awaiting.shape[1])
    frames = _look_ahead(group, frames)
    logits = model.classifier(model.norm(frames.flatten(0, 1)))
    return list(logits.view(len(group), frames.shape[1], logits.shape[1]))


def _extract(group: Sequence[StreamingTranscriber], count: int) -> torch.Tensor:
    """The new features and those that the front end sees again, `(streams, frames, features)`."""
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
    """Front end and recurrence for `count` new features, `(streams, frames, size)`."""
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
    """Those of the frames `(streams, frames, size)` whose future frames are known, or will not come."""
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
