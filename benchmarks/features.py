"""Compares the speed of SpeechFeatureExtractor with six other implementations of 80 log-mel features.

Each computes log-mel features of a float32 NumPy array with 30 s of noise at 16 kHz: 80 mel bins, a Hann window of 400
samples, a hop of 160 and an FFT of 400. torchaudio, librosa and transformers.audio_utils are configured to compute the
same features (HTK mel scale, zero padding, natural logarithm), and the table shows the largest difference.
WhisperFeatureExtractor and ParakeetFeatureExtractor have a fixed mel scale, logarithm and normalization, so the table
also includes SpeechFeatureExtractor with normalization over the utterance, as in Parakeet. asrfront is a native
implementation of Whisper's features only (`pip install asrfront`; skipped if missing).

All run on one thread, with objects, windows and filters created beforehand. In each round they take turns, so that
other load affects all of them equally. Prints medians over the rounds; "times real time" is seconds of audio per second
of computation.

    python benchmarks/features.py [--seconds 30] [--rounds 40] [--threads 1]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.util import find_spec

# The libraries below read these variables when they are imported, before the command line is parsed.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import librosa
import numpy as np
import torch
import torchaudio
import transformers
from transformers import ParakeetFeatureExtractor, WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from hf_speech.models.feature_extraction_speech import SpeechFeatureExtractor

RATE, MELS, WINDOW, HOP, FLOOR = 16_000, 80, 400, 160, 1e-6

Features = Callable[[np.ndarray], np.ndarray]


def ours(normalization: str) -> Features:
    extractor = SpeechFeatureExtractor(
        sampling_rate=RATE,
        num_mel_bins=MELS,
        win_length=WINDOW,
        hop_length=HOP,
        log_floor=FLOOR,
        normalization=normalization,
    )
    return lambda samples: extractor(samples, sampling_rate=RATE)["input_features"][0].numpy()


def torchaudio_features() -> Features:
    transform = torchaudio.transforms.MelSpectrogram(
        RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS, pad_mode="constant"
    )
    return lambda samples: transform(torch.from_numpy(samples)).clamp_(min=FLOOR).log_().T.numpy()


def librosa_features() -> Features:
    # As librosa.feature.melspectrogram does, without creating the filters in every call.
    filters = librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=MELS, htk=True, norm=None)

    def compute(samples: np.ndarray) -> np.ndarray:
        mel = filters @ np.abs(librosa.stft(samples, n_fft=WINDOW, hop_length=HOP)) ** 2
        return np.log(np.maximum(mel, FLOOR, out=mel), out=mel).T

    return compute


def audio_utils_features() -> Features:
    window = window_function(WINDOW, "hann")
    filters = mel_filter_bank(WINDOW // 2 + 1, MELS, 0.0, RATE / 2, RATE)
    return lambda samples: (
        spectrogram(
            samples,
            window,
            WINDOW,
            HOP,
            power=2.0,
            pad_mode="constant",
            mel_filters=filters,
            mel_floor=FLOOR,
            log_mel="log",
        ).T
    )


def whisper_features(seconds: float) -> Features:
    # Whisper pads to its chunk length, so set it to the length of the utterance.
    extractor = WhisperFeatureExtractor(feature_size=MELS, n_fft=WINDOW, hop_length=HOP, chunk_length=round(seconds))
    return lambda samples: extractor(samples, sampling_rate=RATE, return_tensors="np")["input_features"][0].T


def parakeet_features() -> Features:
    extractor = ParakeetFeatureExtractor(
        feature_size=MELS, n_fft=WINDOW, win_length=WINDOW, hop_length=HOP, preemphasis=None
    )
    return lambda samples: extractor(samples, sampling_rate=RATE, return_tensors="pt")["input_features"][0].numpy()


def asrfront_features() -> Features:
    from asrfront import whisper

    return lambda samples: whisper.log_mel(samples, n_mels=MELS).T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=30, help="Length of the utterance.")
    parser.add_argument("--rounds", type=int, default=40, help="How many times to time each candidate.")
    parser.add_argument("--threads", type=int, default=1, help="Threads of torch.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    name = "**hf_speech SpeechFeatureExtractor**"
    candidates = {
        name: ours("none"),
        "torchaudio MelSpectrogram + log": torchaudio_features(),
        "librosa stft, mel filters, log": librosa_features(),
        "transformers.audio_utils.spectrogram": audio_utils_features(),
        "WhisperFeatureExtractor": whisper_features(arguments.seconds),
        "ParakeetFeatureExtractor": parakeet_features(),
        "hf_speech, normalized over the utterance": ours("utterance"),
    }
    same_features = list(candidates)[1:4]
    if find_spec("asrfront"):
        candidates["asrfront, Whisper's features"] = asrfront_features()
    rng = np.random.default_rng(0)
    samples = (0.1 * rng.standard_normal(arguments.seconds * RATE)).astype(np.float32)
    expected = candidates[name](samples)
    differences = {name: "-"}
    for key in same_features:
        largest = np.abs(candidates[key](samples)[: len(expected)] - expected).max()
        differences[key] = f"{largest:.0e}"

    times: dict[str, list[float]] = {key: [] for key in candidates}
    for compute in candidates.values():
        for _ in range(3):
            compute(samples)
    for _ in range(arguments.rounds):
        for key, compute in candidates.items():
            start = time.perf_counter()
            compute(samples)
            times[key].append(time.perf_counter() - start)

    medians = {key: statistics.median(values) for key, values in times.items()}
    peers = {key: value for key, value in medians.items() if "hf_speech" not in key}
    fastest = min(peers, key=peers.__getitem__)
    print(f"80 log-mel features of {arguments.seconds} s, medians of {arguments.rounds} interleaved rounds\n")
    print("| extractor | milliseconds | times real time | time relative to hf_speech | largest difference |")
    print("|---|--:|--:|--:|--:|")
    for key, median in sorted(medians.items(), key=lambda item: item[1]):
        row = [key, f"{1000 * median:.2f}", f"{arguments.seconds / median:,.0f}", f"{median / medians[name]:.2f}"]
        print(f"| {' | '.join(row)} | {differences.get(key, 'different features')} |")
    print(f"\nThe fastest peer, {fastest}, takes {medians[fastest] / medians[name]:.2f} times as long as hf_speech.")
    print(
        f"torch {torch.__version__}, torchaudio {torchaudio.__version__}, librosa {librosa.__version__}, transformers "
        f"{transformers.__version__}, numpy {np.__version__}, Python {platform.python_version()}, "
        f"{platform.machine()}, {torch.get_num_threads()} thread(s)"
    )


if __name__ == "__main__":
    main()
