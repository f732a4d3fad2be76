"""Keyword spotting: which keyword occurs in a stream, and when; class 0 is everything else.

A model is trained on clips with one keyword or none. Its metric is the miss rate, the share of keywords that are not
detected, at a given number of false alarms per hour over the negatives of the split. Thresholds chosen by
`tune-detector` are shifted together; without them, all keywords share one threshold. False alarms are summed over the
keywords.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_speech.decoding.keywords import (
    REFRACTORY_FRAMES,
    SMOOTHING_FRAMES,
    KeywordScores,
    find_peaks,
    frame_probabilities,
)
from hf_speech.errors import CorpusError, RecipeError
from hf_speech.tasks.audio_classification import AudioClassification
from hf_speech.tasks.base import Record
from hf_speech.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from datasets import DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig

RATES = (0.5, 0.1, 1.0, 2.0)
"""False alarms per hour at which misses are counted; summaries show the first."""
THRESHOLDS = np.round(np.arange(-6.0, 16.05, 0.1), 1)
"""The thresholds that are tried, relative to those of a tuned detector."""


class KeywordSpotting(AudioClassification):
    """One keyword or none in each clip."""

    name = "keyword-spotting"
    pipeline_tag = "audio-classification"
    verb = "listen"
    space = ""
    auto_class = "AutoModelForAudioFrameClassification"
    architecture_suffixes = ("ForKeywordSpotting",)
    model_types = ("conv_gru",)
    metrics = {  # noqa: RUF012 - declared as a ClassVar in the base class
        **{
            f"miss_rate_{rate:g}": Metric(
                f"Missed keywords at {rate:g} false alarms an hour", "miss_rate", greater_is_better=False
            )
            for rate in RATES
        },
        "accuracy": Metric("Accuracy on clips", "accuracy", is_proportion=True),
    }
    needs_whole_sound = True
    details = "hf_speech.evaluation.detection:detector_details"

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """Returns class names, and a vocabulary of one token per class with class 0 as the CTC blank."""
        from hf_speech.data.corpora.keywords import OTHER

        arguments = super().config_arguments(dataset_dict, tokenizer)
        if arguments["id2label"][0] != OTHER or arguments["num_labels"] < 2:
            raise RecipeError(
                f"This corpus has no keywords after a first class {OTHER!r}: use the corpus `keywords`, which adds it."
            )
        if 0 not in dataset_dict["train"]["label"]:
            raise CorpusError("There are no negatives: name folders of other speech as train_negatives.")
        return {**arguments, "vocab_size": arguments["num_labels"], "pad_token_id": 0}

    def preprocess_logits_for_metrics(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Returns class ids `(batch,)` of logits `(batch, frames, classes)`: the most likely keyword, or 0 for none."""
        scores = logits[0] if isinstance(logits, tuple) else logits
        best, keyword = scores.softmax(dim=-1)[:, :, 1:].amax(dim=1).max(dim=-1)
        return (keyword + 1).where(best >= 0.5, 0)

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """Computes the accuracy of gathered class ids; the other metrics need the duration of each clip."""
        return {"accuracy": super().compute_metrics(prediction, tokenizer)["accuracy"]}

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """Returns the most likely keyword in a clip, or none, and the score peaks as `[keyword, frame, score]`."""
        names = config.id2label
        best = _clip_probabilities(logits)
        keyword = int(best[1:].argmax()) + 1
        keyword = keyword if best[keyword] >= 0.5 else 0
        peaks = find_peaks(KeywordScores(SMOOTHING_FRAMES).accept(logits), REFRACTORY_FRAMES, float(THRESHOLDS[0]))
        return {
            "prediction": names[keyword],
            "probability": float(best[keyword]),
            "peaks": [[names[index + 1], frame, score] for frame, index, score in peaks],
            "other": names[0],
        }

    def score(self, reference: str, decoded: Record) -> Record:
        """Returns the record with whether the detected keyword, or none, is correct at a probability of 0.5."""
        record = super().score(reference, decoded)
        record["is_keyword"] = reference != record.pop("other")
        return record

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Counts for each clip: correct, clips, keywords, hours of negatives; hits and false alarms by threshold."""
        counts = np.zeros((len(records), 4 + 2 * len(THRESHOLDS)))
        for row, record in zip(counts, records, strict=True):
            keyword = record["is_keyword"]
            row[:4] = record["correct"], 1, keyword, 0 if keyword else record["duration"] / 3600
            hits, alarms = row[4:].reshape(2, -1)
            scores = [score for name, _, score in record["peaks"] if name == record["reference"]]
            if keyword and scores:
                hits += max(scores) >= THRESHOLDS
            elif not keyword:
                for _, _, score in record["peaks"]:
                    alarms += score >= THRESHOLDS
        return counts

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns accuracy and miss rates of summed counts."""
        right, rows, keywords, hours = np.moveaxis(counts[..., :4], -1, 0)
        hits, alarms = np.moveaxis(counts[..., 4:].reshape(*counts.shape[:-1], 2, -1), -2, 0)
        metrics = {}
        for rate in RATES:
            allowed = alarms <= (rate * hours)[..., None]
            # The lowest allowed threshold; above the highest one there are no false alarms.
            index = np.where(allowed.any(-1), allowed.argmax(-1), len(THRESHOLDS) - 1)
            found = np.take_along_axis(hits, index[..., None], axis=-1)[..., 0]
            metrics[f"miss_rate_{rate:g}"] = 1 - found / np.maximum(keywords, 1)
        return {**metrics, "accuracy": right / np.maximum(rows, 1)}

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Returns `per_class`: the miss rates of each keyword with clips, at thresholds for its own false alarms."""
        breakdown: dict[str, dict[str, float]] = {}
        for name in list(config.id2label.values())[1:]:
            relevant = [
                {**record, "peaks": [peak for peak in record["peaks"] if peak[0] == name]}
                for record in records
                if record["reference"] == name or not record["is_keyword"]
            ]
            sums = self.tally(relevant).sum(axis=0)
            if not sums[2]:
                continue
            metrics = self.metrics_from_counts(sums)
            breakdown[name] = {
                "num_utterances": int(sums[2]),
                **{key: float(value) for key, value in metrics.items() if key != "accuracy"},
            }
        return {"per_class": breakdown}

    def curve(self, records: Sequence[Record]) -> list[dict[str, float]]:
        """Returns the detection error tradeoff: the points where miss rate or false alarms per hour change."""
        sums = self.tally(records).sum(axis=0)
        hits, alarms = sums[4:].reshape(2, -1)
        points: list[dict[str, float]] = []
        for threshold, found, false in zip(THRESHOLDS, hits, alarms, strict=True):
            rates = {
                "miss_rate": round(float(1 - found / max(sums[2], 1)), 6),
                "false_alarms_per_hour": round(float(false / sums[3]), 6) if sums[3] else 0.0,
            }
            if not points or rates.items() - points[-1].items():
                points.append({"threshold": float(threshold), **rates})
        return points

    def describe_outputs(self, config: PreTrainedConfig, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the classes in the order of their ids, and the samples per logit frame."""
        return {**super().describe_outputs(config), "samples_per_frame": config.inputs_to_logits_ratio}

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        """Returns the most likely keywords of a clip with their probabilities."""
        best = _clip_probabilities(logits)
        order = np.argsort(-best, kind="stable")[:top_k]
        return {"labels": [{"label": labels[index], "score": float(best[index])} for index in order]}


def subtract_thresholds(records: Sequence[Record], thresholds: Mapping[str, float]) -> None:
    """Subtracts the threshold of each peak's keyword from its score, so that a score of 0 or more is a detection."""
    for record in records:
        record["peaks"] = [[name, frame, score - thresholds.get(name, 0.0)] for name, frame, score in record["peaks"]]


def _clip_probabilities(logits: np.ndarray) -> np.ndarray:
    """Returns the probability of no keyword, then the highest of each keyword, of logits `(frames, classes)`."""
    best: np.ndarray = frame_probabilities(logits).max(axis=0, initial=0.0)
    best[0] = 1 - best[1:].max()
    return best
