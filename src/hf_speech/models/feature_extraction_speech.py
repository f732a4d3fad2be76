"""SpeechFeatureExtractor: waveforms in, padded features and their mask out.

`feature_types.py` defines the feature types, `feature_options.py` checks the options, and `spectral.py` contains the
signal processing. Design decisions:

* `frames == samples // hop_length`, exactly, for every feature type. Frames are centered as in librosa (`center=True`,
  zeros outside the utterance), and the extra last frame of a centered transform is dropped.
* An utterance has the same features alone and in any batch, and padded frames are exactly 0.
* Features are computed with torch, on the CPU or an accelerator (`device=`), one batch at a time. The object holds only
  plain numbers, so its JSON file is the complete extractor, including global statistics.
* Input without meaningful features (non-finite samples, less than one hop of sound, another sampling rate) raises a
  `ValueError` instead of turning into NaN during training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .feature_options import (
    Logarithm,
    MelScale,
    Normalization,
    WindowType,
    check_options,
    check_sampling_rate,
    check_statistics,
    hop_in_words,
    transformers_fields,
)
from .feature_types import FEATURE_TYPES, FeatureType
from .raw_speech import split_utterances, to_samples
from .spectral import VARIANCE_FLOOR, deltas, limit_dynamic_range, normalize_utterances, preemphasize


class SpeechFeatureExtractor(SequenceFeatureExtractor):
    """Log-mel, spectrogram, MFCC or waveform features of speech, with deltas and normalization.

    Args:
        sampling_rate: Sampling rate of the sound (Hz).
        feature_type: An entry of `FEATURE_TYPES`: "log_mel", "spectrogram", "mfcc", or "waveform" (frames of
            `hop_length` raw samples).
        num_mel_bins: Mel filters of "log_mel" and "mfcc".
        num_mfcc: Cepstral coefficients of "mfcc", at most `num_mel_bins`.
        hop_length: Samples from one frame to the next.
        win_length: Samples in the analysis window.
        n_fft: Length of the Fourier transform, even; None for `win_length` (the next even number).
        window_type: Shape of the (periodic) analysis window.
        min_frequency: Lower end of the mel filters (Hz).
        max_frequency: Upper end of the mel filters (Hz); None for half the sampling rate.
        mel_scale: Formula of the mel scale.
        mel_norm: "slaney" gives all filters the same area, None the same height.
        preemphasis: Coefficient of a first-order high-pass over the samples; 0 for none, 0.97 is usual.
        power: Exponent of the magnitude spectrum: 2 for power, 1 for amplitude.
        log: "ln" for the natural logarithm, "db" for decibels, "none" (with "spectrogram" only) for no logarithm.
        log_floor: Smaller values are raised to this before the logarithm; 1e-6 is about the noise of 16-bit sound.
        top_db: With "db": dynamic range; smaller values are raised to the maximum minus this. None for no limit.
        num_deltas: 1 appends the deltas of the features (their slopes over time), 2 the delta-deltas too.
        delta_window: Frames from which a delta is computed, odd and at least 3.
        normalization: "utterance" is CMVN (each feature to mean 0 and variance 1 over the utterance), "global" uses
            statistics of the training split instead, "peak" scales the samples to a maximum of 1.
        normalize_variance: If False, "utterance" and "global" only subtract the mean.
        offset: Seconds to skip at the beginning of every utterance.
        max_duration: Every utterance is cut, or padded with masked frames, to this many seconds; None for no limit.
        time_average: Return the mean over the valid frames, one vector per utterance.
        feature_mean: Mean of each feature for "global"; `fit_global_statistics` sets it.
        feature_std: Standard deviation of each feature for "global"; `fit_global_statistics` sets it.
        **kwargs: Fields that transformers adds to the saved file and passes back.

    Attributes:
        feature_size (int): Features per frame, including deltas.

    Raises:
        ValueError: For options that are unknown, out of range, or contradict each other.

    Example:
        >>> extractor = SpeechFeatureExtractor(num_mel_bins=40, normalization="none")
        >>> extractor(np.zeros(16_000), sampling_rate=16_000)["input_features"].shape
        torch.Size([1, 100, 40])
    """

    model_input_names = ["input_features", "attention_mask"]  # noqa: RUF012 - as transformers declares it

    # For parts of a long recording: the peak that "peak" normalization divides by, instead of each part's own.
    recording_peak: float | None = None

    def __init__(
        self,
        sampling_rate: int = 16_000,
        feature_type: str = "log_mel",
        num_mel_bins: int = 80,
        num_mfcc: int = 13,
        hop_length: int = 160,
        win_length: int = 400,
        n_fft: int | None = None,
        window_type: WindowType = "hann",
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        mel_scale: MelScale = "htk",
        mel_norm: Literal["slaney"] | None = None,
        preemphasis: float = 0.0,
        power: float = 2.0,
        log: Logarithm = "ln",
        log_floor: float = 1e-6,
        top_db: float | None = None,
        num_deltas: Literal[0, 1, 2] = 0,
        delta_window: int = 5,
        normalization: Normalization = "utterance",
        normalize_variance: bool = True,
        offset: float = 0.0,
        max_duration: float | None = None,
        time_average: bool = False,
        feature_mean: list[float] | None = None,
        feature_std: list[float] | None = None,
        **kwargs: Any,
    ) -> None:
        self.feature_type = feature_type
        self.num_mel_bins = num_mel_bins
        self.num_mfcc = num_mfcc
        self.hop_length = hop_length
        self.win_length = win_length
        self.n_fft = n_fft
        self.window_type = window_type
        self.min_frequency = min_frequency
        self.max_frequency = max_frequency
        self.mel_scale = mel_scale
        self.mel_norm = mel_norm
        self.preemphasis = preemphasis
        self.power = power
        self.log = log
        self.log_floor = log_floor
        self.top_db = top_db
        self.num_deltas = num_deltas
        self.delta_window = delta_window
        self.normalization = normalization
        self.normalize_variance = normalize_variance
        self.offset = offset
        self.max_duration = max_duration
        self.time_average = time_average
        self.feature_mean = feature_mean
        self.feature_std = feature_std
        self.sampling_rate = sampling_rate
        check_options(self)
        feature_size = self.kind.num_features(self) * (1 + self.num_deltas)
        check_statistics(self, feature_size)
        # Not named kwargs: jsonargparse, which reads recipes by this signature, follows **kwargs into the base class
        # and would offer transformers' own fields as options.
        stored = transformers_fields(type(self), kwargs)
        super().__init__(feature_size=feature_size, sampling_rate=self.sampling_rate, padding_value=0.0, **stored)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of sound, before any averaging over time."""
        return self.sampling_rate / self.hop_length

    @property
    def min_samples(self) -> int:
        """Length in samples of the shortest utterance that has a frame."""
        return self.first_sample + self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Returns the number of valid frames of an utterance of `num_samples`: the sum of its attention mask."""
        num_samples = max(num_samples - self.first_sample, 0)
        frames = min(num_samples, self.max_samples or num_samples) // self.hop_length
        return min(frames, 1) if self.time_average else frames

    @property
    def kind(self) -> FeatureType:
        """The entry of `FEATURE_TYPES` for `feature_type`."""
        return FEATURE_TYPES[self.feature_type]

    @property
    def frame_span(self) -> tuple[int, int]:
        """Samples in a frame, and how many of them precede the frame's own hop."""
        if not self.kind.windowed:
            return self.hop_length, 0
        # A centered frame reaches fft_length // 2 samples back, and the window is centered in it.
        return self.win_length, self.fft_length // 2 - (self.fft_length - self.win_length) // 2

    @property
    def fft_length(self) -> int:
        """Length of the Fourier transform in samples, including the zeros next to the window."""
        return self.win_length + self.win_length % 2 if self.n_fft is None else self.n_fft

    @property
    def upper_frequency(self) -> float:
        """Upper end of the mel filters in Hz."""
        return self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency

    @property
    def first_sample(self) -> int:
        """Samples skipped at the beginning."""
        return round(self.offset * self.sampling_rate)

    @property
    def max_samples(self) -> int | None:
        """Largest number of samples of an utterance; None for no limit."""
        return None if self.max_duration is None else round(self.max_duration * self.sampling_rate)

    @torch.no_grad()
    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: int | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | TensorType | None = "pt",
        return_attention_mask: bool | None = None,
        device: str | torch.device | None = None,
    ) -> BatchFeature:
        """Compute the features of one utterance or of a batch.

        Args:
            raw_speech: Mono sound. A 1-D array, tensor or list of floats is one utterance; a list of those, or a 2-D
                array or tensor `(batch, samples)`, is a batch. Integers of 8, 16 or 32 bits are scaled to [-1, 1].
            sampling_rate: Sampling rate of `raw_speech` (Hz), which must be the extractor's.
            padding: True or "longest" pads to the longest utterance, "max_length" to `max_length` at least, False
                not at all (utterances of different lengths then need `return_tensors=None`).
            max_length: Samples per utterance for `padding` and `truncation`; see `max_duration` for a permanent limit.
            truncation: Cut utterances to `max_length` samples.
            pad_to_multiple_of: Pad to a multiple of this many frames.
            return_tensors: "pt", "np", or None for lists of numpy arrays.
            return_attention_mask: Whether to return the mask; None for the extractor's setting. With True, an utterance
                of less than one hop becomes one masked frame, because transformers' pipeline passes chunks of a
                recording, the last of which can be that short.
            device: Device to compute on; None for that of the samples.

        Returns:
            `input_features` `(batch, frames, features)`, float32, and `attention_mask` `(batch, frames)`, int64,
            which is 1 on valid frames.

        Raises:
            ValueError: For another sampling rate, samples that are not finite, less than one hop of sound (unless
                `return_attention_mask` is True), several channels, or missing global statistics.
        """
        check_sampling_rate(self, sampling_rate)
        strategy = self._get_padding_strategies(padding, max_length or self.max_samples)
        if truncation and max_length is None:
            raise ValueError("truncation=True needs max_length, in samples.")
        limits = [limit for limit in (self.max_samples, max_length if truncation else None) if limit is not None]
        utterances = self._read_utterances(
            raw_speech, min(limits, default=None), allow_short=bool(return_attention_mask)
        )
        is_short = [len(samples) < self.hop_length for samples in utterances]
        if any(is_short):
            utterances = [
                samples.new_zeros(self.hop_length) if short else samples
                for samples, short in zip(utterances, is_short, strict=True)
            ]
        features, lengths, mask = self._extract(utterances, torch.device(device or utterances[0].device))
        features = self._normalize(features, lengths, mask)
        if any(is_short):
            features[is_short], mask[is_short] = 0.0, False

        if self.time_average:
            features = features.sum(1, keepdim=True) / lengths[:, None, None]
            lengths, mask = torch.ones_like(lengths), mask[:, :1]
        elif strategy != PaddingStrategy.DO_NOT_PAD:
            fixed = [self.max_samples or 0, max_length or 0 if strategy == PaddingStrategy.MAX_LENGTH else 0]
            num_frames = max(features.shape[1], max(fixed) // self.hop_length)
            multiple = pad_to_multiple_of or 1
            extra = math.ceil(num_frames / multiple) * multiple - features.shape[1]
            if extra:  # pad() copies in any case
                features, mask = pad(features, (0, 0, 0, extra)), pad(mask, (0, 0, 0, extra))

        data: dict[str, Any] = {"input_features": features}
        if self.return_attention_mask if return_attention_mask is None else return_attention_mask:
            data["attention_mask"] = mask[..., 0].long()
        if strategy == PaddingStrategy.DO_NOT_PAD and len(set(lengths.tolist())) > 1:
            if return_tensors is not None:
                raise ValueError("Utterances of different lengths without padding need return_tensors=None.")
            data = {key: [row[:length] for row, length in zip(data[key], lengths, strict=True)] for key in data}
        return _as_type(data, return_tensors)

    @torch.no_grad()
    def fit_global_statistics(self, waveforms: Iterable[np.ndarray]) -> None:
        """Set mean and standard deviation of each feature, over all valid frames, for `normalization="global"`.

        Args:
            waveforms: The utterances of the training split, one at a time, `(samples,)` at `sampling_rate`.

        Raises:
            ValueError: Without utterances, for one that cannot be used, or if the normalization is another.
        """
        self.set_global_statistics(map(self.frame_statistics, waveforms))

    @torch.no_grad()
    def frame_statistics(self, waveform: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """Return the contribution of an utterance to the global statistics.

        Args:
            waveform: `(samples,)` at `sampling_rate`.

        Returns:
            The number of its frames, and the sums of its features and squared features over them, `(feature_size,)`.

        Raises:
            ValueError: If the utterance has no features.
        """
        utterances = self._read_utterances(waveform, self.max_samples)
        frames = self._extract(utterances, torch.device("cpu"))[0][0].double().numpy()
        return len(frames), frames.sum(0), np.square(frames).sum(0)

    def set_global_statistics(self, statistics: Iterable[tuple[int, np.ndarray, np.ndarray]]) -> None:
        """Set mean and standard deviation of each feature from the `frame_statistics` of the training split.

        Raises:
            ValueError: Without utterances, or if the normalization is another.
        """
        if self.normalization != "global":
            raise ValueError(f"normalization={self.normalization!r} has no global statistics: set it to 'global'.")
        count, total, squares = 0, np.zeros(self.feature_size), np.zeros(self.feature_size)
        for frames, sums, squared_sums in statistics:
            count += frames
            total += sums
            squares += squared_sums
        if count == 0:
            raise ValueError("Global statistics need utterances: give those of the training split.")
        mean = total / count
        self.feature_mean = mean.tolist()
        self.feature_std = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)).tolist()

    def _read_utterances(
        self, raw_speech: Any, max_samples: int | None, allow_short: bool = False
    ) -> list[torch.Tensor]:
        """Returns the float32 samples of each utterance: checked, cut, peak-normalized and preemphasized."""
        utterances = []
        for index, utterance in enumerate(split_utterances(raw_speech)):
            name = f"Utterance {index}"
            samples = to_samples(utterance, name)[self.first_sample :][:max_samples]
            if len(samples) < self.hop_length and not allow_short:
                after = f" after the first {self.offset:g} s" if self.offset else ""
                raise ValueError(
                    f"{name} has {len(samples)} samples{after}, less than one hop ({hop_in_words(self)}): leave it out."
                )
            if self.normalization == "peak" and len(samples):
                peak = samples.abs().max() if self.recording_peak is None else samples.new_tensor(self.recording_peak)
                samples = torch.where(peak > 0, samples / peak, samples)
            utterances.append(preemphasize(samples, self.preemphasis) if self.preemphasis else samples)
        return utterances

    def _extract(
        self, utterances: Sequence[torch.Tensor], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features before normalization.

        Returns:
            Features `(batch, frames, features)`, 0 on padded frames; lengths `(batch,)`; mask `(batch, frames, 1)`.
        """
        pieces = self.kind.compute(self, utterances, device)
        features = pad_sequence(pieces, batch_first=True) if len(pieces) > 1 else pieces[0][None]
        lengths = torch.tensor([len(piece) for piece in pieces], device=device)
        mask = (torch.arange(features.shape[1], device=device) < lengths[:, None])[..., None]
        if self.kind.windowed and self.top_db is not None:
            features = limit_dynamic_range(features, mask, self.top_db)
        if self.kind.projection is not None:
            features = features @ self.kind.projection(self, device)
        if self.num_deltas:
            orders = [features]
            for _ in range(self.num_deltas):
                orders.append(deltas(orders[-1], lengths, mask, self.delta_window))
            features = torch.cat(orders, dim=-1)
        return features, lengths, mask

    def _normalize(self, features: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.normalization == "utterance":
            return normalize_utterances(features, lengths, mask, self.normalize_variance)
        if self.normalization != "global":
            return features
        if self.feature_mean is None or self.feature_std is None:
            raise ValueError(
                "normalization='global' has no statistics yet: call fit_global_statistics(waveforms) with the "
                "training split, or load a saved extractor."
            )
        features = features - torch.tensor(self.feature_mean, device=features.device)
        if self.normalize_variance:
            features /= torch.tensor(self.feature_std, device=features.device).clamp_(min=math.sqrt(VARIANCE_FLOOR))
        return features.mul_(mask)


def _as_type(data: dict[str, Any], return_tensors: str | TensorType | None) -> BatchFeature:
    """Converts torch tensors, or lists of them, to the type that the caller requested."""
    if return_tensors is None:
        return BatchFeature({key: [row.cpu().numpy() for row in value] for key, value in data.items()})
    if TensorType(return_tensors) == TensorType.NUMPY:
        data = {key: value.cpu().numpy() for key, value in data.items()}
    return BatchFeature(data, tensor_type=return_tensors)


__all__ = ["SpeechFeatureExtractor"]
