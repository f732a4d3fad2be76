"""SpeechFeatureExtractor: waveforms in, padded features and their mask out.

Decided here:

* `frames == samples // hop_length`, exactly, for every feature type. Frames are centered as librosa's (`center=True`,
  zeros outside the utterance), and the extra last frame of a centered transform is dropped.
* Padding is invisible: an utterance has the same features alone and in any batch, and padded frames are exactly 0.
* All is torch, on the CPU or an accelerator (`device=`), a whole batch at once; the mathematics is in `spectral.py`.
  The object holds plain numbers only: its JSON file is the whole extractor, global statistics included.
* What cannot give meaningful features (samples that are not finite, less than one hop of sound, another sampling
  rate) is refused in one sentence, before it turns into NaN in the middle of a training.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature, SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType, logging

from .raw_speech import split_utterances, to_samples
from .spectral import (
    VARIANCE_FLOOR,
    analysis_window,
    cosine_transform,
    limit_dynamic_range,
    mel_bands,
    normalize_utterances,
    pack_utterances,
    preemphasize,
    slopes,
    spectral_features,
)

logger = logging.get_logger(__name__)

FeatureType = Literal["log_mel", "spectrogram", "mfcc", "waveform"]
WindowType = Literal["hann", "hamming"]
MelScale = Literal["htk", "slaney"]
Logarithm = Literal["ln", "db", "none"]
Normalization = Literal["none", "utterance", "global", "peak"]

CHOICES: dict[str, tuple[Any, ...]] = {
    "feature_type": get_args(FeatureType),
    "window_type": get_args(WindowType),
    "mel_scale": get_args(MelScale),
    "mel_norm": ("slaney", None),
    "log": get_args(Logarithm),
    "num_deltas": (0, 1, 2),
    "normalization": get_args(Normalization),
}
POSITIVE = ("sampling_rate", "num_mel_bins", "num_mfcc", "hop_length", "win_length", "power", "log_floor")
# Whole numbers and the most they may be. A saved extractor may be a stranger's: what it asks for is made.
LARGEST = {
    "sampling_rate": 768_000,
    "num_mel_bins": 1024,
    "num_mfcc": 1024,
    "hop_length": 65_536,
    "win_length": 16_384,
    "n_fft": 16_384,
    "num_deltas": 2,
    "delta_window": 1_001,
}
OPTIONAL = ("n_fft", "max_frequency", "top_db", "max_duration")
REAL = ("min_frequency", "max_frequency", "preemphasis", "power", "log_floor", "top_db", "offset", "max_duration")
HUGE = 1e30  # Far from the end of float32.
# The numbers to which `max_duration` may pad an utterance: two hours of 80 features, 100 times a second.
MOST_PADDED = 1 << 26
# What transformers writes into a saved extractor beside its options.
TRANSFORMERS_FIELDS = (
    "feature_size",
    "padding_value",
    "padding_side",
    "return_attention_mask",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
)


class SpeechFeatureExtractor(SequenceFeatureExtractor):
    """Log-mel, spectrogram, MFCC or waveform features of speech, with deltas and normalization.

    Args:
        sampling_rate: Samples a second (Hz) of the sound.
        feature_type: "log_mel", "spectrogram", "mfcc", or "waveform" (frames of `hop_length` raw samples).
        num_mel_bins: Mel filters of "log_mel" and "mfcc".
        num_mfcc: Cepstral coefficients of "mfcc", at most `num_mel_bins`.
        hop_length: Samples from one frame to the next.
        win_length: Samples under the analysis window.
        n_fft: Length of the Fourier transform, even; None for `win_length` (the next even number).
        window_type: Shape of the (periodic) analysis window.
        min_frequency: Lower end of the mel filters (Hz).
        max_frequency: Upper end of the mel filters (Hz); None for half the sampling rate.
        mel_scale: Formula of the mel scale.
        mel_norm: "slaney" gives all filters the same area, None the same height.
        preemphasis: Coefficient of a first-order high-pass over the samples; 0 for none, 0.97 is usual.
        power: Exponent of the magnitude spectrum: 2 for power, 1 for amplitude.
        log: "ln" for the natural logarithm, "db" for decibels, "none" (with "spectrogram" only) for no logarithm.
        log_floor: Smaller values are raised to it before the logarithm; 1e-6 is about the noise of 16-bit sound.
        top_db: With "db": values further below the utterance's maximum are raised to that; None for no limit.
        num_deltas: 1 appends the slopes of the features over time, 2 the slopes of the slopes too.
        delta_window: Frames a slope is fitted to, odd and at least 3.
        normalization: "utterance" is CMVN (each feature to mean 0 and variance 1 over the utterance), "global" the
            same with statistics of the training split, "peak" scales the samples to a maximum of 1.
        normalize_variance: False lets "utterance" and "global" subtract the mean only.
        offset: Seconds at the beginning of every utterance that are left out.
        max_duration: Every utterance is cut, or padded with masked frames, to this many seconds; None for no limit.
        time_average: Give the mean over the valid frames, one vector an utterance.
        feature_mean: Mean of each feature for "global"; `fit_global_statistics` sets it.
        feature_std: Standard deviation of each feature for "global"; `fit_global_statistics` sets it.
        **kwargs: What transformers adds to the saved file and passes back.

    Attributes:
        feature_size (int): Features a frame, deltas included.

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
        feature_type: FeatureType = "log_mel",
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
        self._check_options()
        sizes = {"log_mel": self.num_mel_bins, "spectrogram": self._fft_length // 2 + 1, "mfcc": self.num_mfcc}
        feature_size = sizes.get(feature_type, self.hop_length) * (1 + self.num_deltas)
        self._check_statistics(feature_size)
        if (self._max_samples or 0) // self.hop_length * feature_size > MOST_PADDED:
            raise ValueError(f"max_duration={max_duration} s is too much to pad each utterance to: take less.")
        # Under another name than kwargs: jsonargparse, which reads recipes by this signature, follows **kwargs into the
        # base class and would offer transformers' own fields as options.
        stored = _transformers_fields(kwargs)
        super().__init__(feature_size=feature_size, sampling_rate=self.sampling_rate, padding_value=0.0, **stored)

    def _check_options(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown: take one of {choices}.")
        self._check_numbers()
        for name in POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0.")
        if self._fft_length < self.win_length or self._fft_length % 2:
            raise ValueError(f"n_fft={self.n_fft} must be even and at least win_length={self.win_length}.")
        if not 0 <= self.min_frequency < self._upper_frequency <= self.sampling_rate / 2:
            raise ValueError(
                f"min_frequency={self.min_frequency:g} and max_frequency={self._upper_frequency:g} must lie in this "
                f"order between 0 and half the sampling rate, {self.sampling_rate / 2:g} Hz."
            )
        if self.feature_type == "mfcc" and self.num_mfcc > self.num_mel_bins:
            raise ValueError(f"num_mfcc={self.num_mfcc} must be at most num_mel_bins={self.num_mel_bins}.")
        if self.log == "none" and self.feature_type in ("log_mel", "mfcc"):
            raise ValueError(f"feature_type={self.feature_type!r} needs a logarithm: take log='ln' or 'db'.")
        if self.top_db is not None and (self.log != "db" or self.top_db <= 0):
            raise ValueError(f"top_db={self.top_db} must be above 0 and needs log='db'.")
        if self.delta_window < 3 or self.delta_window % 2 == 0:
            raise ValueError(f"delta_window={self.delta_window} must be odd and at least 3.")
        if self.time_average and self.normalization == "utterance":
            raise ValueError(
                "time_average with normalization='utterance' gives zeros only: take 'global', 'peak' or 'none'."
            )
        if not 0 <= self.offset < math.inf:
            raise ValueError(f"offset={self.offset} must be at least 0, in seconds.")
        if self._max_samples is not None and self._max_samples < self.hop_length:
            raise ValueError(f"max_duration={self.max_duration} s is less than one hop ({self._hop_in_words}).")

    def _check_numbers(self) -> None:
        for name in (*LARGEST, *REAL):
            value: Any = getattr(self, name)
            if value is None and name in OPTIONAL:
                continue
            if not _is_number(value, whole=name in LARGEST):
                what = "a whole number" if name in LARGEST else "a finite number"
                raise ValueError(f"{name}={value!r:.80} must be {what}.")
            if value > LARGEST.get(name, math.inf):
                raise ValueError(f"{name}={value} must be at most {LARGEST[name]}.")
            if isinstance(value, np.generic):  # Of NumPy's numbers, JSON knows next to none.
                setattr(self, name, value.item())

    def _check_statistics(self, feature_size: int) -> None:
        for name in ("feature_mean", "feature_std"):
            values = getattr(self, name)
            if values is None:
                continue
            if not isinstance(values, list | tuple | np.ndarray) or not all(map(_is_number, values)):
                raise ValueError(f"{name} must be a list of finite numbers: call fit_global_statistics again.")
            if len(values) != feature_size:
                raise ValueError(
                    f"{name} has {len(values)} numbers for {feature_size} features: fit_global_statistics has to be "
                    "called again after the features were changed."
                )
            setattr(self, name, [float(value) for value in values])

    @property
    def frames_per_second(self) -> float:
        """Frames of a second of sound, before any averaging over time."""
        return self.sampling_rate / self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Valid frames of an utterance of that many samples: the sum of its attention mask."""
        num_samples = max(num_samples - self._first_sample, 0)
        frames = min(num_samples, self._max_samples or num_samples) // self.hop_length
        return min(frames, 1) if self.time_average else frames

    @property
    def _fft_length(self) -> int:
        return self.win_length + self.win_length % 2 if self.n_fft is None else self.n_fft

    @property
    def _upper_frequency(self) -> float:
        return self.sampling_rate / 2 if self.max_frequency is None else self.max_frequency

    @property
    def _first_sample(self) -> int:
        return round(self.offset * self.sampling_rate)

    @property
    def _max_samples(self) -> int | None:
        return None if self.max_duration is None else round(self.max_duration * self.sampling_rate)

    @property
    def _hop_in_words(self) -> str:
        return f"{self.hop_length} samples, {1000 * self.hop_length / self.sampling_rate:g} ms"

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
            sampling_rate: Rate of the samples given (Hz), to be compared with the extractor's.
            padding: True or "longest" pads to the longest utterance, "max_length" to `max_length` at least, False
                not at all (utterances of different lengths then need `return_tensors=None`).
            max_length: Samples an utterance, for `padding` and `truncation`; see `max_duration` for a lasting limit.
            truncation: Cut utterances to `max_length` samples.
            pad_to_multiple_of: Pad to a multiple of this many frames.
            return_tensors: "pt", "np", or None for lists of numpy arrays.
            return_attention_mask: False leaves the mask out; None for the extractor's setting. With True, an utterance
                of less than one hop is one masked frame: transformers' pipeline asks so for the chunks of a recording,
                the last of which can be that short.
            device: Where to compute; None for where the samples are.

        Returns:
            `input_features` `(batch, frames, features)`, float32, and `attention_mask` `(batch, frames)`, int64,
            which is 1 on valid frames.

        Raises:
            ValueError: For another sampling rate, samples that are not finite, less than one hop of sound (unless
                `return_attention_mask` is True), several channels, or missing global statistics.
        """
        self._check_sampling_rate(sampling_rate)
        strategy = self._get_padding_strategies(padding, max_length or self._max_samples)
        if truncation and max_length is None:
            raise ValueError("truncation=True needs max_length, in samples.")
        limits = [limit for limit in (self._max_samples, max_length if truncation else None) if limit is not None]
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
            fixed = [self._max_samples or 0, max_length or 0 if strategy == PaddingStrategy.MAX_LENGTH else 0]
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
        if self.normalization != "global":
            raise ValueError(f"normalization={self.normalization!r} has no global statistics: set it to 'global'.")
        count = 0
        total = np.zeros(self.feature_size)
        squares = np.zeros(self.feature_size)
        for waveform in waveforms:
            utterances = self._read_utterances(waveform, self._max_samples)
            frames = self._extract(utterances, torch.device("cpu"))[0][0].double().numpy()
            count += len(frames)
            total += frames.sum(0)
            squares += np.square(frames).sum(0)
        if count == 0:
            raise ValueError("Global statistics need utterances: give those of the training split.")
        mean = total / count
        self.feature_mean = mean.tolist()
        self.feature_std = np.sqrt(np.maximum(squares / count - np.square(mean), 0.0)).tolist()

    def _check_sampling_rate(self, sampling_rate: int | None) -> None:
        if sampling_rate is None:
            logger.warning_once(
                f"Give {type(self).__name__} the sampling_rate of the sound: without it, sound of another rate than "
                f"{self.sampling_rate} Hz goes unnoticed."
            )
        elif sampling_rate != self.sampling_rate:
            raise ValueError(
                f"The sound has {sampling_rate} Hz and this {type(self).__name__} needs {self.sampling_rate} Hz: "
                "resample it first."
            )

    def _read_utterances(
        self, raw_speech: Any, max_samples: int | None, allow_short: bool = False
    ) -> list[torch.Tensor]:
        """Float32 samples of each utterance: checked, cut, peak-normalized, preemphasized."""
        utterances = []
        for index, utterance in enumerate(split_utterances(raw_speech)):
            name = f"Utterance {index}"
            samples = to_samples(utterance, name)[self._first_sample :][:max_samples]
            if len(samples) < self.hop_length and not allow_short:
                after = f" after the first {self.offset:g} s" if self.offset else ""
                raise ValueError(
                    f"{name} has {len(samples)} samples{after}, less than one hop ({self._hop_in_words}): leave it out."
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
        counts = [len(samples) // self.hop_length for samples in utterances]
        if self.feature_type == "waveform":
            pieces = [
                # A copy, lest somebody who masks features in place changes the sound itself.
                samples[: count * self.hop_length].view(count, self.hop_length).to(device, copy=True)
                for samples, count in zip(utterances, counts, strict=True)
            ]
        else:
            rows, starts = self._spectra(utterances, device)
            pieces = [rows[start : start + count] for start, count in zip(starts, counts, strict=True)]
        features = pad_sequence(pieces, batch_first=True) if len(pieces) > 1 else pieces[0][None]
        lengths = torch.tensor(counts, device=device)
        mask = (torch.arange(features.shape[1], device=device) < lengths[:, None])[..., None]
        if self.feature_type != "waveform" and self.top_db is not None:
            features = limit_dynamic_range(features, mask, self.top_db)
        if self.feature_type == "mfcc":
            features = features @ cosine_transform(self.num_mel_bins, self.num_mfcc, device)
        if self.num_deltas:
            orders = [features]
            for _ in range(self.num_deltas):
                orders.append(slopes(orders[-1], lengths, mask, self.delta_window))
            features = torch.cat(orders, dim=-1)
        return features, lengths, mask

    def _spectra(self, utterances: Sequence[torch.Tensor], device: torch.device) -> tuple[torch.Tensor, list[int]]:
        """(Mel) spectra of all frames `(rows, bins)`, and the row at which each utterance begins."""
        n_fft = self._fft_length
        # A centered frame reaches n_fft // 2 samples back, and the window is centered in it.
        lead = n_fft // 2 - (n_fft - self.win_length) // 2
        frames, starts = pack_utterances(utterances, self.win_length, self.hop_length, lead, device)
        bands = None
        if self.feature_type != "spectrogram":
            span = (self.sampling_rate, self.min_frequency, self._upper_frequency)
            bands = mel_bands(self.num_mel_bins, n_fft, *span, self.mel_scale, self.mel_norm, device)
        window = analysis_window(self.window_type, self.win_length, device)
        log_floor = None if self.log == "none" else self.log_floor
        rows = spectral_features(frames, window, n_fft, self.power, bands, log_floor)
        if self.log == "db":
            rows *= 20 / self.power / math.log(10)  # 10 log10 of power, 20 log10 of amplitude
        return rows, starts

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


def _is_number(value: Any, whole: bool = False) -> bool:
    """Whether this is a number, perhaps a whole one, that float32 can be calculated with."""
    kinds: Any = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < HUGE


def _as_type(data: dict[str, Any], return_tensors: str | TensorType | None) -> BatchFeature:
    """Torch tensors, or lists of them, as what the caller wants."""
    if return_tensors is None:
        return BatchFeature({key: [row.cpu().numpy() for row in value] for key, value in data.items()})
    if TensorType(return_tensors) == TensorType.NUMPY:
        data = {key: value.cpu().numpy() for key, value in data.items()}
    return BatchFeature(data, tensor_type=return_tensors)


def _transformers_fields(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments that are no options of ours but transformers' own; a misspelt option is refused."""
    options = [name for name in inspect.signature(SpeechFeatureExtractor).parameters if name != "kwargs"]
    for name in kwargs:
        if name not in TRANSFORMERS_FIELDS and (nearest := get_close_matches(name, options, n=1)):
            raise ValueError(f"{name} is no option of SpeechFeatureExtractor: did you mean {nearest[0]}?")
    if kwargs.get("padding_value", 0.0) != 0.0 or kwargs.get("padding_side", "right") != "right":
        raise ValueError("SpeechFeatureExtractor pads with zeros on the right only: leave out padding_value and _side.")
    # The size follows from the options, and the padding value is fixed.
    return {name: value for name, value in kwargs.items() if name not in ("feature_size", "padding_value")}
