"""Chooses the threshold of each keyword for a wished rate of false alarms, on a split with hours of negatives.

Beginning where there is no false alarm at all, thresholds are lowered step by step, each time that of the keyword which
gains the most detections for a further false alarm, as long as the wished rate allows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from hf_speech.common.tables import format_text
from hf_speech.errors import CorpusError
from hf_speech.inference import DetectorOptions, LoadedModel, predict
from hf_speech.tasks import KeywordSpotting, Record

MARGIN = 0.1
"""By how much a threshold is above the highest score that must not reach it."""


@dataclass(frozen=True)
class TunedThresholds:
    """Thresholds, and what they give on the split that they were chosen on.

    Attributes:
        options: The options of a detector with these thresholds.
        hours: Hours of negatives.
        clips: Clips of each keyword.
        misses: Clips of each keyword that are missed.
        false_alarms: False alarms of each keyword.
        curve: The detection error trade-off with one threshold for all keywords, as of `KeywordSpotting.curve`.
    """

    options: DetectorOptions
    hours: float
    clips: dict[str, int]
    misses: dict[str, int]
    false_alarms: dict[str, int]
    curve: list[dict[str, float]]

    def format_table(self) -> str:
        """A line for each keyword, and one for all."""
        rows = [
            [
                keyword,
                f"{threshold:.2f}",
                str(self.clips[keyword]),
                f"{self.misses[keyword] / max(self.clips[keyword], 1):.1%}",
                f"{self.false_alarms[keyword] / self.hours:.2f}",
            ]
            for keyword, threshold in self.options.thresholds.items()
        ]
        clips, misses, alarms = (sum(x.values()) for x in (self.clips, self.misses, self.false_alarms))
        rows.append(["all", "", str(clips), f"{misses / max(clips, 1):.1%}", f"{alarms / self.hours:.2f}"])
        return format_text(["keyword", "threshold", "clips", "missed", "false alarms an hour"], rows)


def choose_thresholds(loaded: LoadedModel, rows: Dataset, rate: float, progress: bool = True) -> TunedThresholds:
    """Chooses the thresholds of a keyword spotter.

    Args:
        loaded: The keyword spotter.
        rows: The validation split.
        rate: False alarms an hour that all keywords together may have.
        progress: Whether to show a progress bar.

    Raises:
        CorpusError: If the split has no clip of a keyword, or no negatives.
    """
    task, config = loaded.task, loaded.model.config
    assert isinstance(task, KeywordSpotting)
    references = task.references(rows, config)
    records = [
        {"duration": prediction.duration, **task.score(reference, task.decode(prediction.logits, config))}
        for reference, prediction in zip(references, predict(loaded, rows["audio"], progress=progress), strict=True)
        if prediction.logits is not None
    ]
    keywords = loaded.labels[1:]
    hours = sum(record["duration"] for record in records if not record["is_keyword"]) / 3600
    if not hours or all(not record["is_keyword"] for record in records):
        raise CorpusError(
            "Thresholds are chosen on clips of the keywords and on hours of other recordings, and the validation split "
            "lacks one of them: give it validation_negatives, and a validation_fraction of the clips."
        )
    hits = {keyword: _hits(records, keyword) for keyword in keywords}
    alarms = {keyword: _alarms(records, keyword) for keyword in keywords}
    counts = _lower(hits, alarms, int(rate * hours))
    # The threshold is between the last false alarm that is accepted and the first that is not.
    thresholds = {
        keyword: round(float(alarms[keyword][count]) + MARGIN if count < len(alarms[keyword]) else 0.0, 2)
        for keyword, count in counts.items()
    }
    return TunedThresholds(
        DetectorOptions(thresholds),
        hours,
        clips={keyword: len(hits[keyword]) for keyword in keywords},
        misses={keyword: int((hits[keyword] < thresholds[keyword]).sum()) for keyword in keywords},
        false_alarms={keyword: int((alarms[keyword] >= thresholds[keyword]).sum()) for keyword in keywords},
        curve=task.curve(records),
    )


def _hits(records: list[Record], keyword: str) -> np.ndarray:
    """The highest score of a keyword in each of its clips, `-inf` where it has no peak."""
    return np.array(
        [
            max((score for name, _, score in record["peaks"] if name == keyword), default=-np.inf)
            for record in records
            if record["reference"] == keyword
        ]
    )


def _alarms(records: list[Record], keyword: str) -> np.ndarray:
    """The scores of a keyword's peaks in the negatives, highest first."""
    peaks = [peak for record in records if not record["is_keyword"] for peak in record["peaks"]]
    return np.array(sorted((score for name, _, score in peaks if name == keyword), reverse=True))


def _lower(hits: dict[str, np.ndarray], alarms: dict[str, np.ndarray], allowed: int) -> dict[str, int]:
    """How many false alarms each keyword may have, so that most keywords are found with the allowed number in all."""
    counts = dict.fromkeys(hits, 0)

    def found(keyword: str, count: int) -> int:
        scores = alarms[keyword]
        return int((hits[keyword] >= (scores[count] + MARGIN if count < len(scores) else 0.0)).sum())

    while (left := allowed - sum(counts.values())) > 0:
        gains = {
            (keyword, step): (found(keyword, count + step) - found(keyword, count)) / step
            for keyword, count in counts.items()
            for step in range(1, min(left, len(alarms[keyword]) - count) + 1)
        }
        best = max(gains, key=lambda choice: (gains[choice], -choice[1]), default=None)
        if best is None or gains[best] <= 0:
            break
        counts[best[0]] += best[1]
    return counts


__all__ = ["MARGIN", "TunedThresholds", "choose_thresholds"]
