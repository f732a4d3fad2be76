"""SpeechFeatureExtractor: waveforms in, padded features and their mask out.

Decided here:

* `frames == samples // hop_length`, exactly, for every feature type; frames are centred as in librosa (`center=True`,
  zeros outside the utterance) and the extra last frame of a centred transform is dropped.
* Padding is invisible: an utterance has the same features alone and in any batch, and padded frames are exactly 0.
* Everything is torch, on the CPU or on an accelerator (`device=`), for a whole batch at once; the mathematics is in
  `spectral.py`. Nothing but plain numbers is stored in the object, so its JSON file is the whole extractor.
* What cannot give meaningful features (samples that are not finite, less than one hop of sound, another sampling
  rate) is refused in one sentence instead of turning into NaN at the first training step.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType, logging

from .spectral import (
    analysis_window,
    cosine_transform,
    deltas,
    limit_dynamic_range,
    mel_filters,
    pack_utterances,
    preemphasize,
    spectral_features,
    standardize,
    utterance_statistics,
)

logger = logging.get_logger(__name__)

# Integer samples are scaled by 2**(bits - 1), so that full scale is 1; 8-bit sound is unsigned, with silence at 128.
INTEGER_SCALES = {torch.uint8: 128.0, torch.int8: 128.0, torch.int16: 32768.0, torch.int32: 2147483648.0}


class SpeechFeatureExtractor(SequenceFeatureExtractor):
    """Log-mel, spectrogram, MFCC or raw-waveform features of speech, with deltas and normalisation.

    Args:
        sampling_rate: Samples a second (Hz) of the sound given.
        feature_type: "log_mel", "spectrogram", "mfcc", or "waveform" (frames of `hop_length` raw samples).
        num_mel_bins: Mel filters of "log_mel" and "mfcc".
        num_mfcc: Cepstral coefficients of "mfcc", at most `num_mel_bins`.
        hop_length: Samples from one frame to the next.
        win_length: Samples the analysis window spans.
        n_fft: Length of the Fourier transform, at least `win_length`; None for `win_length`.
        window_type: Shape of the analysis window (periodic).
        min_frequency: Lowest frequency of the mel filters (Hz).
        max_frequency: Highest frequency of the mel filters (Hz); None for half the sampling rate.
        mel_scale: Formula of the mel scale.
        mel_norm: "slaney" gives each filter the same area, None the same height.
        preemphasis: Coefficient of the first-order high-pass before everything else; 0 for none, 0.97 is usual.
        power: Exponent of the magnitude spectrum: 2 for power, 1 for amplitude.
        log: "ln" natural logarithm, "db" decibels, "none" (for "spectrogram" only) no logarithm.
        log_floor: Smaller values are raised to it before the logarithm; the default is about the noise of 16-bit sound.
        top_db: With "db", values this far below the utterance's maximum are raised to it; None for no limit.
        num_deltas: 1 appends the slopes of the features over time, 2 also the slopes of the slopes.
        delta_window: Frames a slope is fitted to, odd and at least 3.
        normalization: "utterance" (CMVN: each feature to mean 0 and variance 1 over the utterance), "global" (the same
            with statistics of the training split), "peak" (samples scaled to a maximum of 1), or "none".
        normalize_variance: False lets "utterance" and "global" subtract the mean only.
        max_duration: Every utterance is cut, or padded with masked frames, to this many seconds; None for its own length.
        time_average: Return the mean over the valid frames, one vector an utterance.
        feature_mean: Statistics of "global", one number a feature; written by `fit_global_statistics`.
        feature_std: Standard deviations of "global", one a feature; written by `fit_global_statistics`.
        **kwargs: What transformers stores beside these in the JSON file and passes back.

    Raises:
        ValueError: For values out of range or that contradict each other.
    """

    model_input_names = ["input_features", "attention_mask"]  # noqa: RUF012 - transformers reads a list

    def __init__(
        self,
        sampling_rate: int = 16_000,
        feature_type: Literal["log_mel", "spectrogram", "mfcc", "waveform"] = "log_mel",
        num_mel_bins: int = 80,
        num_mfcc: int = 13,
        hop_length: int = 160,
        win_length: int = 400,
        n_fft: int | None = None,
        window_type: Literal["hann", "hamming"] = "hann",
        min_frequency: float = 0.0,
        max_frequency: float | None = None,
        mel_scale: Literal["htk", "slaney"] = "htk",
        mel_norm: Literal["slaney"] | None = None,
        preemphasis: float = 0.0,
        power: float = 2.0,
        log: Literal["ln", "db", "none"] = "ln",
        log_floor: float = 1e-6,
        top_db: float | None = None,
        num_deltas: Literal[0, 1, 2] = 0,
        delta_window: int = 5,
        normalization: Literal["none", "utterance", "global", "peak"] = "utterance",
        normalize_variance: bool = True,
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
        self.max_duration = max_duration
        self.time_average = time_average
        self.feature_mean = feature_mean
        self.feature_std = feature_std
        # Saved files carry the computed size; a recipe has no say in it.
        kwargs.pop("feature_size", None)
        padding_value = kwargs.pop("padding_value", 0.0)
        super().__init__(
            feature_size=self._compute_feature_size(),
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            **kwargs,
        )
        self._check_options()

    def _compute_feature_size(self) -> int:
        """Features a frame, deltas included."""
        size = {
            "log_mel": self.num_mel_bins,
            "mfcc": self.num_mfcc,
            "spectrogram": self._fft_length // 2 + 1,
            "waveform": self.hop_length,
        }
        _check_choice("feature_type", self.feature_type, tuple(size))
        return size[self.feature_type] * (1 + self.num_deltas)

    def _check_options(self) -> None:
        """Refuse options that are out of range or contradict each other."""
        _check_choice("window_type", self.window_type, ("hann", "hamming"))
        _check_choice("mel_scale", self.mel_scale, ("htk", "slaney"))
        _check_choice("mel_norm", self.mel_norm, (None, "slaney"))
        _check_choice("log", self.log, ("ln", "db", "none"))
        _check_choice("num_deltas", self.num_deltas, (0, 1, 2))
        _check_choice("normalization", self.normalization, ("none", "utterance", "global", "peak"))
        for name in (
            "sampling_rate",
            "num_mel_bins",
            "num_mfcc",
            "hop_length",
            "win_length",
            "power",
            "log_floor",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        if self._fft_length < self.win_length:
            raise ValueError(
                f"n_fft={self.n_fft} must be at least win_length={self.win_length}, or null for it."
            )
        if not 0 <= self.min_frequency < self._top_frequency <= self.sampling_rate / 2:
            raise ValueError(
                f"min_frequency={self.min_frequency} and max_frequency={self.max_frequency} must lie in this order "
                f"between 0 and half the sampling rate, {self.sampling_rate / 2:g} Hz."
            )
        if self.feature_type == "mfcc" and self.num_mfcc > self.num_mel_bins:
            raise ValueError(f"num_mfcc={self.num_mfcc} must be at most num_mel_bins={self.num_mel_bins}.")
        if self.log == "none" and self.feature_type in ("log_mel", "mfcc"):
            raise ValueError(
                f'log="none" needs feature_type="spectrogram"; "{self.feature_type}" takes "ln" or "db".'
            )
        if self.top_db is not None and (self.log != "db" or self.top_db <= 0):
            raise ValueError(f'top_db={self.top_db} must be above 0 and needs log="db".')
        if self.delta_window < 3 or self.delta_window % 2 == 0:
            raise ValueError(f"delta_window={self.delta_window} must be odd and at least 3.")
        if self.time_average and self.normalization == "utterance":
            raise ValueError(
                'time_average=True with normalization="utterance" would give zeros only: take "global", "peak" or "none".'
            )
        if self.max_duration is not None and self._max_samples() < self.hop_length:
            raise ValueError(
                f"max_duration={self.max_duration} s is shorter than one hop of {self.hop_length} samples."
            )
        for name in ("feature_mean", "feature_std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.feature_size:
                raise ValueError(
                    f"{name} has {len(values)} numbers and there are {self.feature_size} features: "
                    "call fit_global_statistics again after changing the features."
                )

    @property
    def _fft_length(self) -> int:
        return self.win_length if self.n_fft is None else self.n_fft

    @property
    def _top_frequency(self) -> float:
        return self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency

    @property
    def frames_per_second(self) -> float:
        """Frames of one second of sound, before any averaging over time."""
        return self.sampling_rate / self.hop_length

    def _max_samples(self) -> int | None:
        return None if self.max_duration is None else round(self.max_duration * self.sampling_rate)

    def num_frames(self, num_samples: int) -> int:
        """Valid frames of an utterance of that many samples: what its attention mask sums to."""
        limit = self._max_samples()
        frames = (num_samples if limit is None else min(num_samples, limit)) // self.hop_length
        return min(frames, 1) if self.time_average else frames

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
            raw_speech: Mono samples in [-1, 1]: a 1-D array, tensor or list of floats is one utterance; a list of
                those, or a 2-D array or tensor `(batch, samples)`, is a batch. 8-, 16- and 32-bit integers are scaled.
            sampling_rate: The rate of the samples (Hz), to be compared with the extractor's.
            padding: True or "longest" pads to the longest utterance, "max_length" to `max_length` samples at least,
                False not at all (then utterances of different lengths come as lists, `return_tensors=None`).
            max_length: Samples of an utterance, for `padding` and `truncation`.
            truncation: Cut utterances longer than `max_length` samples.
            pad_to_multiple_of: Pad the frames (not samples) of the batch to a multiple of this.
            return_tensors: "pt", "np", or None for lists of numpy arrays.
            return_attention_mask: False leaves the mask out; None for the extractor's setting (True).
            device: Where to compute; None for where the samples are.

        Returns:
            `input_features` `(batch, frames, features)` float32 and `attention_mask` `(batch, frames)` int64, which is
            1 on valid frames.

        Raises:
            ValueError: For another sampling rate, samples that are not finite, less than one hop of sound, more than
                one channel, or global normalisation without statistics.
        """
        self._check_sampling_rate(sampling_rate)
        strategy = self._get_padding_strategies(padding, max_length)
        if truncation and max_length is None:
            raise ValueError("truncation=True needs max_length, in samples.")
        if self.normalization == "global" and (self.feature_mean is None or self.feature_std is None):
            raise ValueError(
                'normalization="global" has no statistics yet: call fit_global_statistics(waveforms) with the training '
                "split, or load a saved extractor."
            )
        limits = [
            limit for limit in (self._max_samples(), max_length if truncation else None) if limit is not None
        ]
        waveforms = self._read_waveforms(raw_speech, min(limits, default=None))
        features, lengths, mask = self._features(waveforms, torch.device(device or waveforms[0].device))
        features = self._normalize(features, lengths, mask)
        if self.time_average:
            features = features.sum(1, keepdim=True) / lengths[:, None, None]
            lengths, mask = torch.ones_like(lengths), mask[:, :1]
        elif strategy != PaddingStrategy.DO_NOT_PAD:
            wanted = [features.shape[1], (self._max_samples() or 0) // self.hop_length]
            if strategy == PaddingStrategy.MAX_LENGTH and max_length is not None:
                wanted.append(max_length // self.hop_length)
            multiple = pad_to_multiple_of or 1
            extra = -(-max(wanted) // multiple) * multiple - features.shape[1]
            features = torch.nn.functional.pad(features, (0, 0, 0, extra))
            mask = torch.nn.functional.pad(mask, (0, 0, 0, extra))
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask
        data: dict[str, Any] = {"input_features": features}
        if return_attention_mask:
            data["attention_mask"] = mask[..., 0].long()
        if strategy == PaddingStrategy.DO_NOT_PAD and len(set(lengths.tolist())) > 1:
            if return_tensors is not None:
                raise ValueError(
                    "Utterances of different lengths need padding=True, or return_tensors=None for lists."
                )
            data = {k: [row[:n] for row, n in zip(v, lengths, strict=True)] for k, v in data.items()}
        if return_tensors is None:
            return BatchFeature({key: [row.cpu().numpy() for row in value] for key, value in data.items()})
        if TensorType(return_tensors) != TensorType.PYTORCH:
            data = {key: value.cpu().numpy() for key, value in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    @torch.no_grad()
    def fit_global_statistics(self, waveforms: Iterable[np.ndarray]) -> None:
        """Set the mean and deviation of each feature over all valid frames, for `normalization="global"`.

        Args:
            waveforms: The utterances of the training split, one by one, each `(samples,)` at `sampling_rate`.

        Raises:
            ValueError: Where there are no utterances, or the extractor's normalisation is another.
        """
        if self.normalization != "global":
            raise ValueError(f'normalization="{self.normalization}" uses no global statistics.')
        count = 0
        total = np.zeros(self.feature_size)
        squares = np.zeros(self.feature_size)
        for waveform in waveforms:
            utterance = self._read_waveforms(waveform, self._max_samples())
            frames = self._features(utterance, torch.device("cpu"))[0][0].double().numpy()
            count += len(frames)
            total += frames.sum(0)
            squares += np.square(frames).sum(0)
        if count == 0:
            raise ValueError(
                "There are no utterances to fit global statistics on: give those of the training split."
            )
        mean = total / count
        self.feature_mean = mean.tolist()
        self.feature_std = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)).tolist()

    def _check_sampling_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate is None:
            logger.warning_once(
                f"Pass sampling_rate= to {type(self).__name__}: without it, sound of another rate than "
                f"{self.sampling_rate} Hz goes unnoticed."
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The sound has {sampling_rate} Hz and this {type(self).__name__} works at {self.sampling_rate} Hz: "
                f"resample it to {self.sampling_rate} Hz first."
            )

    def _read_waveforms(self, raw_speech: Any, max_samples: int | None) -> list[torch.Tensor]:
        """Float32 samples of each utterance, cut to `max_samples`, checked, peak-normalised and preemphasised."""
        waveforms = []
        for index, utterance in enumerate(_split_batch(raw_speech)):
            waveform = _to_float_samples(utterance, index)[:max_samples]
            if len(waveform) < self.hop_length:
                raise ValueError(
                    f"Utterance {index} has {len(waveform)} samples, less than one hop of {self.hop_length} "
                    f"({1000 * self.hop_length / self.sampling_rate:g} ms): leave it out or give more sound."
                )
            # A sum is finite unless a sample is not, or so huge that the spectrum would overflow as well.
            if not math.isfinite(waveform.sum().item()):
                raise ValueError(
                    f"Utterance {index} has samples that are not finite (NaN or infinity): repair or drop it."
                )
            if self.normalization == "peak":
                peak = waveform.abs().max()
                waveform = torch.where(peak > 0, waveform / peak, waveform)
            waveforms.append(preemphasize(waveform, self.preemphasis) if self.preemphasis else waveform)
        return waveforms

    def _features(
        self, waveforms: Sequence[torch.Tensor], device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features before normalisation `(batch, frames, features)`, lengths `(batch,)`, mask `(batch, frames, 1)`."""
        counts = [len(waveform) // self.hop_length for waveform in waveforms]
        if self.feature_type == "waveform":
            pieces = [
                waveform[: count * self.hop_length].view(count, self.hop_length).to(device)
                for waveform, count in zip(waveforms, counts, strict=True)
            ]
        else:
            rows, starts = self._spectral_rows(waveforms, device)
            pieces = [rows[start : start + count] for start, count in zip(starts, counts, strict=True)]
        features = pieces[0][None] if len(pieces) == 1 else pad_sequence(pieces, batch_first=True)
        lengths = torch.tensor(counts, device=device)
        mask = (torch.arange(features.shape[1], device=device) < lengths[:, None])[..., None]
        if self.top_db is not None and self.feature_type != "waveform":
            features = limit_dynamic_range(features, mask, self.top_db)
        if self.feature_type == "mfcc":
            features = features @ cosine_transform(self.num_mel_bins, self.num_mfcc, device)
        orders = [features]
        for _ in range(self.num_deltas):
            orders.append(deltas(orders[-1], lengths, mask, self.delta_window))
        return torch.cat(orders, dim=-1) if self.num_deltas else features, lengths, mask

    def _spectral_rows(
        self, waveforms: Sequence[torch.Tensor], device: torch.device
    ) -> tuple[torch.Tensor, list[int]]:
        """(Log) spectra or mel spectra of all frames `(rows, bins)`, and the row at which each utterance begins."""
        n_fft = self._fft_length
        lead = n_fft // 2 - (n_fft - self.win_length) // 2
        frames, starts = pack_utterances(waveforms, self.win_length, self.hop_length, lead, device)
        filters = None
        if self.feature_type != "spectrogram":
            filters = mel_filters(
                self.num_mel_bins,
                n_fft,
                self.sampling_rate,
                self.min_frequency,
                self._top_frequency,
                self.mel_scale,
                self.mel_norm,
                device,
            )
        rows = spectral_features(
            frames,
            analysis_window(self.window_type, self.win_length, device),
            n_fft,
            self.power,
            filters,
            None if self.log == "none" else self.log_floor,
        )
        if self.log == "db":
            # 10 log10 of the power; an amplitude (power=1) is squared by the factor.
            rows *= 20 / self.power / math.log(10)
        return rows, starts

    def _normalize(self, features: torch.Tensor, lengths: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.normalization == "utterance":
            mean, variance = utterance_statistics(features, lengths)
        elif self.normalization == "global":
            mean = torch.tensor(self.feature_mean, device=features.device)
            variance = torch.tensor(self.feature_std, device=features.device).square()
        else:
            return features
        normalized = standardize(features, mean, variance if self.normalize_variance else None)
        return normalized.masked_fill_(~mask, 0.0)


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown: choose one of {', '.join(map(repr, choices))}.")


def _split_batch(raw_speech: Any) -> Sequence[Any]:
    """The utterances of whatever was given: one, or a batch of them."""
    if isinstance(raw_speech, (np.ndarray, torch.Tensor)):
        if raw_speech.ndim == 1 and getattr(raw_speech, "dtype", None) != object:
            return [raw_speech]
        if raw_speech.ndim == 2 or (raw_speech.ndim == 1 and len(raw_speech)):
            return list(raw_speech)
        raise ValueError(
            f"An array of shape {tuple(raw_speech.shape)} is neither one utterance (samples,) nor a batch "
            "(batch, samples) of mono sound: average the channels first."
        )
    if not isinstance(raw_speech, (list, tuple)):
        raise ValueError(
            f"Sound must be an array, a tensor or a list of samples, not {type(raw_speech).__name__}."
        )
    if not raw_speech:
        raise ValueError("There is no utterance in an empty list.")
    return [raw_speech] if np.ndim(raw_speech[0]) == 0 else raw_speech


def _to_float_samples(utterance: Any, index: int) -> torch.Tensor:
    """One utterance as float32 `(samples,)` in [-1, 1]."""
    samples = (
        utterance if isinstance(utterance, torch.Tensor) else torch.from_numpy(np.array(utterance, copy=None))
    )
    if samples.ndim != 1:
        raise ValueError(
            f"Utterance {index} has the shape {tuple(samples.shape)} and must be mono (samples,): average its channels."
        )
    if samples.is_floating_point():
        return samples.detach().float()
    if samples.dtype not in INTEGER_SCALES:
        raise ValueError(
            f"Utterance {index} has samples of type {samples.dtype}, whose full scale is unknown: give floats in "
            "[-1, 1], or integers of 8, 16 or 32 bits."
        )
    offset = 128.0 if samples.dtype == torch.uint8 else 0.0
    return (samples.float() - offset) / INTEGER_SCALES[samples.dtype]
