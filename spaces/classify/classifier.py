"""The classifier of the Space, with the functions behind its page and its endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
from transformers.utils import logging

import page
import zero_gpu
from about import About
from gate import MAX_FILES
from settings import Settings
from sound import SoundError, is_silent
from uploads import Uploads

MAX_TOP_K = 1000
_SHOWN_LABELS = 10


class Classifier:
    """A classifier with limits on its input; the docstrings of its endpoints are their API documentation.

    Args:
        folder: The model's folder, whose code is run.
        settings: The limits.
        uploads: The table of uploads.
    """

    def __init__(self, folder: Path, settings: Settings, uploads: Uploads) -> None:
        logging.disable_progress_bar()
        torch.set_num_threads(1)
        self.settings, self.uploads = settings, uploads
        self.about = About.read(folder, settings)
        self.model = AutoModelForAudioClassification.from_pretrained(
            folder, trust_remote_code=True, dtype=torch.float32, use_safetensors=True
        ).eval()
        self.extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
        self.rate = int(self.extractor.sampling_rate)
        self.labels = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]
        self._model = zero_gpu.gpu_model(self.model)
        self._compute = zero_gpu.on_gpu(self._compute)  # type: ignore[method-assign]
        if not zero_gpu.IS_HERE:
            noise = np.random.default_rng(0).normal(0, 0.1, self.rate).astype(np.float32)
            self._answer(noise)  # Warm-up, so that the first visitor does not wait longer.

    def view(self, sound: str | None) -> dict[str, Any]:
        """Returns the data of the page for an upload."""
        samples = self._read(sound)
        ranking, features = self._answer(samples)
        label = page.describe_features(self.extractor)
        return page.view(self.uploads.name(sound), samples, self.rate, features, label) | {
            "labels": [[name, probability] for name, probability in ranking[:_SHOWN_LABELS]]
        }

    def classify(self, sound: str, top_k: int = 5) -> dict[str, Any]:
        """Classifies a sound file.

        Args:
            sound: The sound file: wav, flac, ogg, opus, mp3 or aiff, with any sampling rate and number of channels.
            top_k: Number of labels to return.

        Returns:
            label (the most likely one), duration in seconds, and labels with label and score (0 to 1), the most likely
            first.
        """
        if isinstance(top_k, bool) or not isinstance(top_k, int | float) or not 1 <= top_k <= MAX_TOP_K:
            raise SoundError(f"top_k is {top_k!r}: give a number from 1 to {MAX_TOP_K}.")
        samples = self._read(sound)
        ranking, _ = self._answer(samples)
        labels = [{"label": name, "score": probability} for name, probability in ranking[: int(top_k)]]
        return {"label": ranking[0][0], "duration": round(len(samples) / self.rate, 3), "labels": labels}

    def classify_files(self, sounds: list[str], top_k: int = 5) -> list[dict[str, Any]]:
        """Classifies several sound files; a file that cannot be read does not affect the others.

        Args:
            sounds: The sound files.
            top_k: Number of labels to return for each.

        Returns:
            For each file, its name and the result of `classify`, or its name and an error.
        """
        return self.uploads.answer_each(sounds, lambda sound: self.classify(sound, top_k), MAX_FILES)

    def describe(self) -> dict[str, Any]:
        """Describes the model, its labels, and the limits.

        Returns:
            model, revision, task, corpus, sampling rate, labels and limits.
        """
        return {
            "model": self.settings.model_name,
            "revision": self.settings.revision,
            "task": "audio-classification",
            "trained_on": self.about.corpus,
            "sampling_rate": self.rate,
            "labels": self.labels,
            "max_seconds": self.settings.max_seconds,
            "max_megabytes": self.settings.max_megabytes,
            "max_files": MAX_FILES,
        }

    def _read(self, sound: str | None) -> np.ndarray:
        """Returns the samples of an upload; rejects silence, to which the model would also assign a label."""
        samples = self.uploads.read(sound, self.rate, self.settings)
        if is_silent(samples):
            raise SoundError(f"{self.uploads.name(sound)} is silent: check the microphone.")
        return samples

    @torch.inference_mode()
    def _compute(self, inputs: dict[str, np.ndarray]) -> list[float]:
        """Returns the probability of each label for one clip."""
        output = self._model(**{name: torch.as_tensor(values).to(zero_gpu.DEVICE) for name, values in inputs.items()})
        probabilities: list[float] = output.logits[0].float().softmax(dim=-1).tolist()
        return probabilities

    def _answer(self, samples: np.ndarray) -> tuple[list[tuple[str, float]], np.ndarray]:
        """Returns labels with probabilities, the most likely first, and the model's input `(frames, features)`."""
        try:
            inputs = self.extractor(samples, sampling_rate=self.rate, return_tensors="np")
        except ValueError as error:
            raise SoundError(
                f"This sound has only {len(samples) / self.rate:.3f} seconds: upload a longer one."
            ) from error
        probabilities = self._compute({name: np.asarray(values) for name, values in inputs.items()})
        ranking = sorted(zip(self.labels, probabilities, strict=True), key=lambda pair: -pair[1])
        features: np.ndarray = inputs[self.model.main_input_name][0]
        return ranking, features
