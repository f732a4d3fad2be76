"""Probe clips: short sounds that are published with a model, together with its logits for them.

They show whether the model computes the same logits wherever it is loaded. The sounds (vowels, a sweep, noise, a click
in silence) are synthesized by the formulas below, so no one's recordings are published. A safetensors file contains
them as 16-bit samples, together with the logits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from hf_speech.decoding.ngram import NgramModel
from hf_speech.errors import PublishError
from hf_speech.inference import BeamOptions, LoadedModel, load_model
from hf_speech.inference.decoders import load_lexicon
from hf_speech.publishing.checks.structure import check_regular

PROBE_FILE = "verification/probes.safetensors"
# Machines round float32 differently; wrong weights change the first digits.
TOLERANCE = 1e-4
_CLIP, _LOGITS = "clip.", "logits."
_VOWELS = ((730.0, 1090.0, 2440.0), (270.0, 2290.0, 3010.0), (300.0, 870.0, 2240.0))  # Peterson & Barney 1952


@dataclass(frozen=True)
class Probes:
    """Probe clips and their expected logits.

    Attributes:
        sampling_rate: The sampling rate of the clips in Hz.
        clips: 16-bit samples `(samples,)` by name.
        logits: Float32 logits `(classes,)` or `(frames, vocabulary)` by name of the clip.
    """

    sampling_rate: int
    clips: dict[str, np.ndarray]
    logits: dict[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """Returns the content of a probe file."""
        tensors = {_CLIP + name: clip for name, clip in self.clips.items()}
        tensors |= {_LOGITS + name: logits for name, logits in self.logits.items()}
        # One metadata entry, since the order of several varies and the bytes must be reproducible.
        return save(tensors, {"probes": json.dumps({"sampling_rate": self.sampling_rate, "clips": list(self.clips)})})

    @classmethod
    def load(cls, path: Path) -> Probes:
        """Reads a probe file."""
        try:
            with safe_open(path, "numpy") as file:
                metadata = json.loads(file.metadata()["probes"])
                return cls(
                    int(metadata["sampling_rate"]),
                    {name: file.get_tensor(_CLIP + name) for name in metadata["clips"]},
                    {name: file.get_tensor(_LOGITS + name) for name in metadata["clips"]},
                )
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise PublishError(f"{path.name} contains no probe clips ({error}): publish the model again.") from error

    def differences(self, logits: dict[str, np.ndarray]) -> Iterator[str]:
        """Yields a clause for each clip whose logits differ from the expected ones."""
        for name, expected in self.logits.items():
            found = logits.get(name)
            if found is None or found.shape != expected.shape:
                shape = "none" if found is None else f"logits {found.shape}"
                yield f"the clip '{name}' gives {shape} instead of {expected.shape}"
            elif not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
                yield f"the logits of the clip '{name}' differ by up to {np.abs(found - expected).max():.2g}"

    def largest_difference(self, logits: dict[str, np.ndarray]) -> float:
        """Returns the largest difference between two logits."""
        return max(float(np.abs(logits[name] - expected).max()) for name, expected in self.logits.items())


def make_clips(sampling_rate: int) -> dict[str, np.ndarray]:
    """Synthesizes the 16-bit clips by name."""

    def time(seconds: float) -> np.ndarray:
        return np.arange(round(seconds * sampling_rate)) / sampling_rate

    nyquist = sampling_rate / 2
    clips = {}
    t = time(0.4)
    pitch = 110 + 40 * t
    phase = 2 * np.pi * np.cumsum(pitch) / sampling_rate
    vowels = []
    for formants in _VOWELS:
        voice = np.zeros_like(t)
        for harmonic in range(1, int(min(nyquist, 4000) / 130)):
            strength = sum(np.exp(-(((harmonic * 125 - formant) / 120) ** 2)) for formant in formants)
            voice += strength * np.sin(harmonic * phase)
        vowels.append(voice * np.hanning(len(t)))
    clips["vowels"] = np.concatenate(vowels)
    t = time(0.8)
    clips["sweep"] = np.sin(2 * np.pi * (100 * t + (0.9 * nyquist - 100) * t**2 / (2 * 0.8)))
    # A linear congruential generator gives the same numbers on every machine and with every version of numpy.
    state, noise = 1, np.empty(len(time(0.5)))
    for index in range(len(noise)):
        state = (1664525 * state + 1013904223) % 2**32
        noise[index] = state / 2**31 - 1
    clips["noise"] = noise
    click = np.zeros(len(time(0.3)))
    click[len(click) // 2] = 1
    clips["click"] = click
    return {name: np.round(clip / np.abs(clip).max() * 12_000).astype(np.int16) for name, clip in clips.items()}


def make_probes(run_dir: Path) -> Probes:
    """Loads a model folder with its decoder and runs the clips through the model.

    Raises:
        ModelError: If a part of the model is missing, damaged or does not match the others.
        PublishError: If the model cannot be run.
    """
    loaded = load_model(run_dir, device="cpu")
    extractor, model = loaded.feature_extractor, loaded.model
    _check_decoding(loaded, run_dir)
    try:
        clips = make_clips(int(extractor.sampling_rate))
        logits = {}
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # For reproducible bytes.
        try:
            for name, clip in clips.items():
                sound = clip.astype(np.float32) / 32768
                inputs = extractor(sound, sampling_rate=extractor.sampling_rate, return_tensors="pt")
                with torch.inference_mode():
                    logits[name] = model(**inputs).logits[0].float().numpy()
        finally:
            torch.set_num_threads(threads)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise PublishError(f"The model in {run_dir} cannot be run ({reason}): train or save it again.") from error
    return Probes(int(extractor.sampling_rate), clips, logits)


def _check_decoding(loaded: LoadedModel, run_dir: Path) -> None:
    """Raises if a language model, its weights or a lexicon cannot be used with the model."""
    for path in sorted([*run_dir.glob("*.arpa"), *run_dir.glob("*.ngram")]):
        check_regular(path, path.name)
        NgramModel.load(path)
        BeamOptions.beside(path)
    if loaded.tokenizer is not None:
        load_lexicon(loaded)


def keep_if_same(fresh: Probes, published: bytes | None, scratch: Path) -> bytes:
    """Returns the published probes if the model still gives their logits, else the fresh ones.

    Otherwise an unchanged model would be published again only because another machine rounds differently.
    """
    if published is not None:
        path = scratch / "published.safetensors"
        path.write_bytes(published)
        try:
            probes = Probes.load(path)
        except PublishError:
            return fresh.to_bytes()
        same_clips = list(probes.clips) == list(fresh.clips) and all(
            np.array_equal(probes.clips[name], clip) for name, clip in fresh.clips.items()
        )
        if same_clips and probes.sampling_rate == fresh.sampling_rate and not any(probes.differences(fresh.logits)):
            return published
    return fresh.to_bytes()
