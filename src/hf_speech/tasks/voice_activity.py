"""Voice activity detection: when somebody speaks in a recording; class 0 is everything else.

A target is a text with the segments of speech in seconds, such as `0.31-2.4 2.9-4.2`, or `none`. Precision, recall and
F1 count seconds: precision is the share of detected time that is speech, recall the share of speech that is detected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_speech.common.segments import find_segments, format_segments, overlap, parse_segments
from hf_speech.decoding.keywords import frame_probabilities
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.base import Record, Task
from hf_speech.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig

FRAME_SECONDS = 0.01
"""The distance between labeled frames, which is that of feature frames, in seconds."""


class VoiceActivityDetection(Task):
    """Speech or no speech in each frame."""

    name = "voice-activity-detection"
    verb = "segments"
    space = ""
    target_column = "text"
    auto_class = "AutoModelForAudioFrameClassification"
    model_types = ("conv_gru",)
    metrics = {  # noqa: RUF012 - declared as a ClassVar in the base class
        "f1": Metric("F1 of the time of speech", "f1"),
        "precision": Metric("Precision of the time of speech", "precision"),
        "recall": Metric("Recall of the time of speech", "recall"),
    }
    best_metric = "f1"
    needs_whole_sound = True
    has_times = True
    units = "different segmentations"
    open_units = True

    def check_features(self, features: Mapping[str, Any]) -> None:
        """Rejects features that leave out sound, or whose frames are not 10 ms apart like the labels."""
        super().check_features(features)
        rate, hop = features.get("sampling_rate", 16_000), features.get("hop_length", 160)
        if abs(hop / rate - FRAME_SECONDS) > 1e-9:
            raise RecipeError(f"{self.name} needs a frame every 10 ms: set features.hop_length to {round(rate / 100)}.")

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the two classes, the first of which has the id of the CTC blank."""
        names = ("no speech", "speech")
        return {
            "num_labels": 2,
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
            "vocab_size": 2,
            "pad_token_id": 0,
        }

    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> torch.Tensor:
        """Returns the class of each frame of 10 ms, `(frames,)`."""
        import torch

        labels = torch.zeros(round(row["duration"] / FRAME_SECONDS), dtype=torch.long)
        for segment in parse_segments(row["text"]):
            labels[round(segment.start / FRAME_SECONDS) : round(segment.end / FRAME_SECONDS)] = 1
        return labels

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """Computes the metrics over frames; the rules for segments are not applied."""
        found, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
        stride = max(round(labels.shape[1] / found.shape[1]), 1)
        labels = labels[:, stride // 2 :: stride][:, : found.shape[1]]
        found = found[:, : labels.shape[1]]
        both = ((found == 1) & (labels == 1)).sum()
        counts = np.array([both, ((found == 1) & (labels >= 0)).sum(), (labels == 1).sum()], dtype=float)
        return {name: float(value) for name, value in self.metrics_from_counts(counts).items()}

    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """Returns the segments of each row."""
        self.check_columns(rows)
        texts = list(rows["text"])
        if None in texts:
            raise CorpusError("A recording has no segments: write `none` if nobody speaks in it.")
        return [format_segments(parse_segments(text)) for text in texts]

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """Returns the segments of speech in a recording."""
        speech = frame_probabilities(logits)[:, 1]
        segments = find_segments(speech, config.stride * FRAME_SECONDS)
        return {"prediction": format_segments(segments), "probability": float(speech.max(initial=0.0))}

    def score(self, reference: str, decoded: Record) -> Record:
        """Returns the record with the seconds of speech, detected, and both; an F1 of 90% or more is correct."""
        truth, found = parse_segments(reference), parse_segments(decoded["prediction"])
        seconds = [overlap(truth, found), *(sum(segment.duration for segment in own) for own in (found, truth))]
        f1 = float(self.metrics_from_counts(np.array(seconds))["f1"])
        names = ("seconds_right", "seconds_found", "seconds_speech")
        return {"reference": reference, **decoded, "correct": f1 >= 0.9, **dict(zip(names, seconds, strict=True))}

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Counts the seconds detected correctly, detected, and of speech."""
        return np.array([[record[f"seconds_{what}"] for what in ("right", "found", "speech")] for record in records])

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns F1, precision and recall; a ratio of 0/0 counts as 1."""
        right, found, speech = np.moveaxis(counts, -1, 0)

        def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            return np.where(whole > 0, part / np.where(whole > 0, whole, 1), 1.0)

        return {
            "f1": ratio(2 * right, found + speech),
            "precision": ratio(right, found),
            "recall": ratio(right, speech),
        }

    def describe_outputs(self, config: PreTrainedConfig, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the classes in the order of their ids, and the samples per logit frame."""
        return {**super().describe_outputs(config), "samples_per_frame": config.inputs_to_logits_ratio}
