"""Checks of the feature extractor's options.

A saved extractor may come from an untrusted source, so every number is bounded before anything is computed or allocated
with it.
"""

from __future__ import annotations

import inspect
import math
from difflib import get_close_matches
from typing import Any, Literal, get_args

import numpy as np
from transformers.utils import logging

from .feature_types import FEATURE_TYPES

logger = logging.get_logger(__name__)

WindowType = Literal["hann", "hamming"]
MelScale = Literal["htk", "slaney"]
Logarithm = Literal["ln", "db", "none"]
Normalization = Literal["none", "utterance", "global", "peak"]

CHOICES: dict[str, tuple[Any, ...]] = {
    "window_type": get_args(WindowType),
    "mel_scale": get_args(MelScale),
    "mel_norm": ("slaney", None),
    "log": get_args(Logarithm),
    "num_deltas": (0, 1, 2),
    "normalization": get_args(Normalization),
}
SWITCHES = ("normalize_variance", "time_average")
POSITIVE = ("sampling_rate", "num_mel_bins", "num_mfcc", "hop_length", "win_length", "power", "log_floor")
# The largest allowed value of each integer option.
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
HUGE = 1e30  # Far below the largest float32.
# The most values to which `max_duration` may pad an utterance: two hours of 80 features at 100 frames per second.
MAX_PADDED = 1 << 26
# Fields that transformers writes into a saved extractor besides its options.
TRANSFORMERS_FIELDS = (
    "feature_size",
    "padding_value",
    "padding_side",
    "return_attention_mask",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
)


def check_options(extractor: Any) -> None:
    """Checks the options of an extractor, which are its attributes.

    Raises:
        ValueError: For an option that is unknown, out of range, or contradicts another one.
    """
    choices = {"feature_type": tuple(FEATURE_TYPES)} | CHOICES
    for name, known in choices.items():
        if getattr(extractor, name) not in known:
            raise ValueError(f"{name}={getattr(extractor, name)!r:.80} is unknown: take one of {known}.")
    _check_numbers(extractor)
    for name in POSITIVE:
        if not getattr(extractor, name) > 0:
            raise ValueError(f"{name}={getattr(extractor, name)} must be above 0.")
    kind, half = FEATURE_TYPES[extractor.feature_type], extractor.sampling_rate / 2
    if extractor.fft_length < extractor.win_length or extractor.fft_length % 2:
        raise ValueError(f"n_fft={extractor.n_fft} must be even and at least win_length={extractor.win_length}.")
    if not 0 <= extractor.min_frequency < extractor.upper_frequency <= half:
        raise ValueError(
            f"min_frequency={extractor.min_frequency:g} and max_frequency={extractor.upper_frequency:g} must lie in "
            f"this order between 0 and half the sampling rate, {half:g} Hz."
        )
    if kind.check is not None:
        kind.check(extractor)
    if extractor.log == "none" and kind.needs_log:
        raise ValueError(f"feature_type={extractor.feature_type!r} needs a logarithm: take log='ln' or 'db'.")
    if extractor.top_db is not None and (extractor.log != "db" or extractor.top_db <= 0):
        raise ValueError(f"top_db={extractor.top_db} must be above 0 and needs log='db'.")
    if extractor.delta_window < 3 or extractor.delta_window % 2 == 0:
        raise ValueError(f"delta_window={extractor.delta_window} must be odd and at least 3.")
    if extractor.time_average and extractor.normalization == "utterance":
        raise ValueError(
            "time_average with normalization='utterance' gives zeros only: take 'global', 'peak' or 'none'."
        )
    if not 0 <= extractor.offset < math.inf:
        raise ValueError(f"offset={extractor.offset} must be at least 0, in seconds.")
    if extractor.max_samples is not None and extractor.max_samples < extractor.hop_length:
        raise ValueError(f"max_duration={extractor.max_duration} s is less than one hop ({hop_in_words(extractor)}).")


def _check_numbers(extractor: Any) -> None:
    for name in SWITCHES:
        if not isinstance(getattr(extractor, name), bool | np.bool_):
            raise ValueError(f"{name}={getattr(extractor, name)!r:.80} must be true or false.")
    for name in (*LARGEST, *REAL):
        value: Any = getattr(extractor, name)
        if value is None and name in OPTIONAL:
            continue
        if not _is_number(value, whole=name in LARGEST):
            what = "a whole number" if name in LARGEST else "a finite number"
            raise ValueError(f"{name}={value!r:.80} must be {what}.")
        if value > LARGEST.get(name, math.inf):
            raise ValueError(f"{name}={value} must be at most {LARGEST[name]}.")
        if isinstance(value, np.generic):  # JSON cannot store most of NumPy's number types.
            setattr(extractor, name, value.item())


def check_statistics(extractor: Any, feature_size: int) -> None:
    """Checks the global statistics of an extractor, and that `max_duration` is not excessive.

    Args:
        extractor: The extractor.
        feature_size: Features per frame, including deltas.

    Raises:
        ValueError: If the statistics are not `feature_size` finite numbers, or `max_duration` is too long.
    """
    for name in ("feature_mean", "feature_std"):
        values = getattr(extractor, name)
        if values is None:
            continue
        if not isinstance(values, list | tuple | np.ndarray) or not all(map(_is_number, values)):
            raise ValueError(f"{name} must be a list of finite numbers: call fit_global_statistics again.")
        if len(values) != feature_size:
            raise ValueError(
                f"{name} has {len(values)} numbers for {feature_size} features: fit_global_statistics has to be "
                "called again after the features were changed."
            )
        setattr(extractor, name, [float(value) for value in values])
    if (extractor.max_samples or 0) // extractor.hop_length * feature_size > MAX_PADDED:
        raise ValueError(f"max_duration={extractor.max_duration} s is too much to pad each utterance to: take less.")


def transformers_fields(extractor_class: type, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Returns the keyword arguments that transformers adds to a saved extractor, and rejects misspelled options.

    Args:
        extractor_class: The class whose signature lists the options.
        kwargs: Further keyword arguments.

    Raises:
        ValueError: If an argument looks like a misspelled option, or requests padding other than zeros on the right.
    """
    options = [name for name in inspect.signature(extractor_class).parameters if name != "kwargs"]
    for name in kwargs:
        if name not in TRANSFORMERS_FIELDS and (nearest := get_close_matches(name, options, n=1)):
            raise ValueError(f"{name} is no option of SpeechFeatureExtractor: did you mean {nearest[0]}?")
    if kwargs.get("padding_value", 0.0) != 0.0 or kwargs.get("padding_side", "right") != "right":
        raise ValueError("SpeechFeatureExtractor pads with zeros on the right only: leave out padding_value and _side.")
    # The size follows from the options, and the padding value is fixed.
    return {name: value for name, value in kwargs.items() if name not in ("feature_size", "padding_value")}


def check_sampling_rate(extractor: Any, sampling_rate: int | None) -> None:
    """Checks the sampling rate of the sound, and logs a warning if it is not given.

    Raises:
        ValueError: If it differs from the extractor's.
    """
    if sampling_rate is None:
        logger.warning_once(
            f"Give {type(extractor).__name__} the sampling_rate of the sound: without it, sound of another rate than "
            f"{extractor.sampling_rate} Hz goes unnoticed."
        )
    elif sampling_rate != extractor.sampling_rate:
        raise ValueError(
            f"The sound has {sampling_rate} Hz and this {type(extractor).__name__} needs {extractor.sampling_rate} Hz: "
            "resample it first."
        )


def hop_in_words(extractor: Any) -> str:
    """Describes the hop in samples and milliseconds."""
    return f"{extractor.hop_length} samples, {1000 * extractor.hop_length / extractor.sampling_rate:g} ms"


def _is_number(value: Any, whole: bool = False) -> bool:
    """Returns whether a value is a number (an integer if `whole`) that float32 can represent."""
    kinds: Any = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool) and abs(value) < HUGE


__all__ = ["check_options", "check_sampling_rate", "check_statistics", "hop_in_words", "transformers_fields"]
