"""Keyword spotting: which keyword occurs in a stream, and when; class 0 is everything that is no keyword.

A model is trained on clips with one keyword or none, and measured as it is used: by the share of the keywords that it
misses at thresholds that give a wished number of false alarms an hour, over the negatives of the split. Those that
`tune-detector` chose are raised or lowered together; without them, one serves all keywords. The false alarms of all
keywords count together.
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
from hf_speech.errors import RecipeError
from hf_speech.tasks.audio_classification import AudioClassification
from hf_speech.tasks.base import Record
from hf_speech.tasks.metric import Metric

if TYPE_CHECKING:
    import torch
    from datasets import DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig

RATES = (0.5, 0.1, 1.0, 2.0)
"""False alarms an hour at which misses are counted; the first one is in headlines."""
THRESHOLDS = np.round(np.arange(-6.0, 16.05, 0.1), 1)
"""The thresholds among which one is chosen; relative to those of a tuned detector."""


class KeywordSpotting(AudioClassification):
    """A keyword or none in each clip."""

    name = "keyword-spotting"
    pipeline_tag = "audio-classification"
    verb = "listen"
    space = ""
    auto_class = "AutoModelForAudioFrameClassification"
    architecture_suffixes = ("ForKeywordSpotting",)
    model_types = ("conv_gru",)
    metrics = {  # noqa: RUF012 - the base class says that it is one for all instances
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
        """Class names, and a token for each, of which the first is the CTC blank."""
        from hf_speech.data.corpora.keywords import OTHER

        arguments = super().config_arguments(dataset_dict, tokenizer)
        if arguments["id2label"][0] != OTHER or arguments["num_labels"] < 2:
            raise RecipeError(
                f"This corpus has no keywords after a first class {OTHER!r}: use the corpus `keywords`, which adds it."
            )
        return {**arguments, "vocab_size": arguments["num_labels"], "pad_token_id": 0}

    def preprocess_logits_for_metrics(
        self, logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor | None
    ) -> torch.Tensor:
        """Class ids `(batch,)` of the logits `(batch, frames, classes)`: the likeliest keyword, or none."""
        scores = logits[0] if isinstance(logits, tuple) else logits
        best, keyword = scores.softmax(dim=-1)[:, :, 1:].amax(dim=1).max(dim=-1)
        return (keyword + 1).where(best >= 0.5, 0)

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """The accuracy of gathered class ids; the other metrics need the length of each clip."""
        return {"accuracy": super().compute_metrics(prediction, tokenizer)["accuracy"]}

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """The likeliest keyword in a clip, or none, and the peaks of the scores: `[keyword, frame, score]`."""
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
        """Whether the right keyword, or none, was detected at the threshold of equal odds."""
        record = super().score(reference, decoded)
        record["is_keyword"] = reference != record.pop("other")
        return record

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Counts of each clip: right, one, keywords, hours without, and at each threshold hits and false alarms."""
        counts = np.zeros((len(records), 4 + 2 * len(THRESHOLDS)))
        for row, record in zip(counts, records, strict=True):
            keyword = record["is_keyword"]
            row[:4] = record["correct"], 1, keyword, 0 if keyword else record["duration"] / 3600
            hits, alarms = row[4:].reshape(2, -1)
            own = [score for name, _, score in record["peaks"] if name == record["reference"]]
            if keyword and own:
                hits += max(own) >= THRESHOLDS
            elif not keyword:
                for _, _, score in record["peaks"]:
                    alarms += score >= THRESHOLDS
        return counts

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Accuracy and miss rates of summed counts."""
        right, rows, keywords, hours = np.moveaxis(counts[..., :4], -1, 0)
        hits, alarms = np.moveaxis(counts[..., 4:].reshape(*counts.shape[:-1], 2, -1), -2, 0)
        metrics = {}
        for rate in RATES:
            allowed = alarms <= (rate * hours)[..., None]
            # The lowest threshold that is allowed; no false alarm is above the highest score.
            index = np.where(allowed.any(-1), allowed.argmax(-1), len(THRESHOLDS) - 1)
            found = np.take_along_axis(hits, index[..., None], axis=-1)[..., 0]
            metrics[f"miss_rate_{rate:g}"] = 1 - found / np.maximum(keywords, 1)
        return {**metrics, "accuracy": right / np.maximum(rows, 1)}

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """`per_class`: the miss rates of each keyword, at thresholds for its own false alarms."""
        breakdown: dict[str, dict[str, float]] = {}
        for name in list(config.id2label.values())[1:]:
            own = [
                {**record, "peaks": [peak for peak in record["peaks"] if peak[0] == name]}
                for record in records
                if record["reference"] == name or not record["is_keyword"]
            ]
            sums = self.tally(own).sum(axis=0)
            metrics = self.metrics_from_counts(sums)
            breakdown[name] = {
                "num_utterances": int(sums[2]),
                **{key: float(value) for key, value in metrics.items() if key != "accuracy"},
            }
        return {"per_class": breakdown}

    def curve(self, records: Sequence[Record]) -> list[dict[str, float]]:
        """The detection error trade-off: misses and false alarms an hour by threshold, where they change."""
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
        """The classes in the order of their ids, and the samples of a logit frame."""
        return {**super().describe_outputs(config), "samples_per_frame": config.inputs_to_logits_ratio}

    def answer(self, logits: np.ndarray, labels: Sequence[str], top_k: int = 3) -> Record:
        """The likeliest keywords of a clip with their probabilities."""
        best = _clip_probabilities(logits)
        order = np.argsort(-best, kind="stable")[:top_k]
        return {"labels": [{"label": labels[index], "score": float(best[index])} for index in order]}


def subtract_thresholds(records: Sequence[Record], thresholds: Mapping[str, float]) -> None:
    """Makes the scores of all peaks relative to the thresholds of their keywords: from 0 on, they are detected."""
    for record in records:
        record["peaks"] = [[name, frame, score - thresholds.get(name, 0.0)] for name, frame, score in record["peaks"]]


def _clip_probabilities(logits: np.ndarray) -> np.ndarray:
    """Of the logits `(frames, classes)` the highest probability of each keyword, after that of no keyword at all."""
    best: np.ndarray = frame_probabilities(logits).max(axis=0, initial=0.0)
    best[0] = 1 - best[1:].max()
    return best


__all__ = ["RATES", "THRESHOLDS", "KeywordSpotting", "subtract_thresholds"]
