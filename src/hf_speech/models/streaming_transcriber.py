"""Live transcription: the same logits as for the whole recording, while it is still being recorded.

Streaming is exact, not an approximation. Each stage keeps what it needs of the past and waits for what it needs of the
future:

- features: the samples under the analysis windows that reach beyond the last frame;
- front end: the frames of its receptive field, which are run again with the new ones, and their outputs dropped;
- recurrence: the state of each layer;
- lookahead: the frames whose future frames have not arrived yet.

So memory does not grow with the recording, apart from its text.
"""

from __future__ import annotations

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
        self._samples = np.zeros(0, dtype=np.float32)
        self._first_sample = 0
        self._num_samples = 0
        self._num_features = 0
        self._features = torch.zeros(0, self.model.config.input_size, device=self.model.device, dtype=self.model.dtype)
        self._first_feature = 0
        self._num_encoded = 0
        self._states: list[torch.Tensor | None] = [None] * len(self.model.layers)
        self._awaiting: torch.Tensor | None = None
        self._last_id = self.model.config.pad_token_id
        self._text = ""
        self._finished = False

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
        expected = self.feature_extractor.sampling_rate
        if sampling_rate is not None and sampling_rate != expected:
            raise ValueError(f"The model needs {expected} Hz and the piece has {sampling_rate} Hz: resample it.")
        if self._finished:
            raise ValueError("This recording was ended by finish(): call reset() before the next one.")
        piece = to_samples(without_channel(samples), "The piece of sound").cpu().numpy()
        self._samples = np.concatenate((self._samples, piece))
        self._num_samples += len(piece)
        # A frame is known when the window centered on its first sample is.
        return self._advance(max((self._num_samples - self._reach) // self._hop + 1, 0), final=False)

    def finish(self) -> StreamingUpdate:
        """Ends the recording; `reset` starts another one.

        Returns:
            The whole text and the last logits.
        """
        self._finished = True
        return self._advance(self._num_samples // self._hop, final=True)

    @torch.inference_mode()
    def _advance(self, num_features: int, final: bool) -> StreamingUpdate:
        num_features = min(num_features, self._num_samples // self._hop)
        if num_features > self._num_features:
            self._extract(num_features)
        logits = self.model.classifier(self.model.norm(self._look_ahead(self._encode(), final)))
        self._read(logits)
        return StreamingUpdate(" ".join(self._text.split()), logits)

    def _extract(self, num_features: int) -> None:
        """Computes the features of the frames up to `num_features` and appends them to the front end's input."""
        first = self._first_sample // self._hop
        computed = self.feature_extractor(
            self._samples, sampling_rate=self.feature_extractor.sampling_rate, return_tensors="pt"
        )["input_features"][0].to(self.model.device, self.model.dtype)
        new = computed[self._num_features - first : num_features - first]
        self._features = torch.cat((self._features, new))
        self._num_features = num_features
        keep_from = max(num_features - self._context_frames, first)
        self._samples = self._samples[(keep_from - first) * self._hop :]
        self._first_sample = keep_from * self._hop

    def _encode(self) -> torch.Tensor:
        """Front end and recurrence for the new features, `(frames, size)`."""
        stride = self.model.config.stride
        total = self._num_features // stride
        if total <= self._num_encoded:
            return self._features.new_zeros(0, self.model.norm.normalized_shape[0])
        usable = self._features[: total * stride - self._first_feature][None]
        lengths = torch.tensor([usable.shape[1]], device=usable.device)
        frames, _ = self.model.frontend(usable, lengths)
        frames = frames[:, self._num_encoded - self._first_feature // stride :]
        lengths = torch.tensor([frames.shape[1]], device=frames.device)
        for index, layer in enumerate(self.model.layers):
            inputs = layer.normalize(frames, lengths)
            frames, self._states[index] = layer.recurrence.forward_rnn(inputs, self._states[index])
        self._num_encoded = total
        keep_from = max(total * stride - self._receptive_frames, 0)
        self._features = self._features[keep_from - self._first_feature :]
        self._first_feature = keep_from
        return frames[0]

    def _look_ahead(self, frames: torch.Tensor, final: bool) -> torch.Tensor:
        """Those of the frames whose future frames are known, or will not come."""
        lookahead = self.model.lookahead
        if lookahead is None:
            return frames
        if self._awaiting is not None:
            frames = torch.cat((self._awaiting, frames))
        if final:
            frames = F.pad(frames, (0, 0, 0, lookahead.lookahead))
        ready = max(len(frames) - lookahead.lookahead, 0)
        self._awaiting = frames[:0] if final else frames[ready:]
        if ready == 0:
            return frames[:0]
        return F.relu(lookahead.convolution(frames.mT[None])[0].mT)

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
                self._text += " " if token == self.tokenizer.word_delimiter_token else token
            self._last_id = token_id


__all__ = ["StreamingTranscriber", "StreamingUpdate"]
