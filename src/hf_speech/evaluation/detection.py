"""Measures a keyword spotter as a detector: misses, false alarms and delay at its tuned thresholds.

The metrics of the task shift the thresholds until a rate of false alarms is reached on the measured split itself. This
module keeps the thresholds that `tune-detector` chose on another split and `hf-speech listen` uses.

In a stream, a keyword follows other sound and perhaps another keyword. The clips of keywords are therefore measured
twice: one by one, and concatenated into streams.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import chi2

from hf_speech.common.tables import format_text
from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Conditions
from hf_speech.data.corpora.excerpts import QUIET, sound_bounds
from hf_speech.decoding import KeywordDecoder
from hf_speech.evaluation.intervals import CONFIDENCE, wilson_interval
from hf_speech.inference import Detector, DetectorOptions, LoadedModel
from hf_speech.inference.prediction import Prediction
from hf_speech.tasks import KeywordSpotting, Record
from hf_speech.tasks.keyword_spotting import subtract_thresholds

CLIPS_IN_A_STREAM = 10
GRACE = 0.5
"""Seconds after the end of its clip in which a keyword of a stream may still be detected."""


def detector_details(
    loaded: LoadedModel,
    records: Sequence[Record],
    references: Sequence[str],
    predictions: Sequence[Prediction],
    sources: Sequence[Any],
    conditions: Conditions | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Measures a keyword spotter at its thresholds.

    Args:
        loaded: The keyword spotter.
        records: The records of the clips that could be read; their peaks become relative to the thresholds.
        references: The keyword of each clip, or the class of negatives.
        predictions: The predictions for the clips.
        sources: The clips without added noise; delays are counted from the ends of their words.
        conditions: The recording conditions that the predictions simulate.

    Returns:
        Entries for the evaluation file (`curve`, the detection error trade-off, and `detector` if the model has
        thresholds), and lines to print.
    """
    assert isinstance(loaded.task, KeywordSpotting)
    file = loaded.find_file(DetectorOptions.FILE)
    options = DetectorOptions.load(file)
    subtract_thresholds(records, options.thresholds)
    details: dict[str, Any] = {"curve": loaded.task.curve(records)}
    if file is None:
        return details, []
    keywords, rate = loaded.labels[1:], loaded.sampling_rate
    decoder = KeywordDecoder(keywords, loaded.samples_per_frame / rate, **dataclasses.asdict(options))
    detector = Detector(loaded, options)
    # Seconds of sound beyond a frame's end that its logits depend on.
    lookahead = detector.latency - decoder.seconds_per_frame
    clips, missed, alarms = (dict.fromkeys(keywords, 0) for _ in range(3))
    delays: dict[str, list[float]] = {keyword: [] for keyword in keywords}
    spoken: list[int] = []
    seconds = 0.0
    for index, (reference, prediction, source) in enumerate(zip(references, predictions, sources, strict=True)):
        if prediction.logits is None:
            continue
        decoder.reset()
        events = decoder.accept(prediction.logits)
        if reference not in clips:
            seconds += prediction.duration
            for event in events:
                alarms[event.keyword] += 1
            continue
        clips[reference] += 1
        spoken.append(index)
        detection = next((event for event in events if event.keyword == reference), None)
        if detection is None:
            missed[reference] += 1
        else:
            end = sound_bounds(read_audio(source, rate), rate, QUIET)[1] / rate
            delays[reference].append(detection.time + lookahead - end)
    missed_in_stream = _missed_in_streams(detector, references, sources, spoken, conditions)
    groups = {keyword: [keyword] for keyword in keywords} | {"all": list(keywords)}
    table = {
        name: {
            "threshold": options.thresholds.get(name, 0.0) if name in clips else None,
            **detection_rates(_sum(clips, group), _sum(missed, group), _sum(alarms, group), seconds / 3600),
            "miss_rate_in_stream": _sum(missed_in_stream, group) / max(_sum(clips, group), 1),
            **_delay_quantiles([delay for keyword in group for delay in delays[keyword]]),
        }
        for name, group in groups.items()
    }
    details["detector"] = {"negative_hours": seconds / 3600, "keywords": table}
    return details, _format_lines(table, seconds / 3600)


def _missed_in_streams(
    detector: Detector,
    references: Sequence[str],
    sources: Sequence[Any],
    clips: Sequence[int],
    conditions: Conditions | None,
) -> Counter[str]:
    """Counts missed clips of each keyword in streams of `CLIPS_IN_A_STREAM` clips in random order.

    Args:
        detector: The detector.
        references: As for `detector_details`, like `sources` and `conditions`.
        sources: The sounds.
        clips: The indices of the clips of keywords.
        conditions: The recording conditions, which every clip has as in the predictions.
    """

    def read(index: int) -> np.ndarray:
        samples = read_audio(sources[index], detector.sampling_rate)
        return samples if conditions is None else conditions.apply(samples, detector.sampling_rate, index)

    order = np.random.default_rng(0).permutation(clips).tolist()
    missed: Counter[str] = Counter()
    for first in range(0, len(order), CLIPS_IN_A_STREAM):
        stream = order[first : first + CLIPS_IN_A_STREAM]
        sounds = [read(index) for index in stream]
        ends = np.cumsum([len(sound) / detector.sampling_rate for sound in sounds]).tolist()
        events = list(detector.listen([np.concatenate(sounds)]))
        for index, start, end in zip(stream, [0.0, *ends], ends, strict=False):
            keyword = references[index]
            missed[keyword] += not any(
                event.keyword == keyword and start <= event.time <= end + GRACE for event in events
            )
    return missed


def _sum(counts: Mapping[str, int], keywords: list[str]) -> int:
    return sum(counts[keyword] for keyword in keywords)


def detection_rates(clips: int, missed: int, alarms: int, hours: float) -> dict[str, Any]:
    """Returns the counts and rates of misses and false alarms, with intervals."""
    return {
        "clips": clips,
        "missed": missed,
        "miss_rate": missed / max(clips, 1),
        "miss_rate_interval": wilson_interval(missed, clips) if clips else None,
        "false_alarms": alarms,
        "false_alarms_per_hour": alarms / hours if hours else None,
        "false_alarms_per_hour_interval": poisson_interval(alarms, hours) if hours else None,
    }


def _delay_quantiles(delays: list[float]) -> dict[str, float | None]:
    """Returns the median and the 95th percentile of the seconds from the end of a word to its detection."""
    quantiles = np.quantile(delays, [0.5, 0.95]).round(3).tolist() if delays else [None, None]
    return {"delay_median": quantiles[0], "delay_95": quantiles[1]}


def poisson_interval(events: int, exposure: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Returns the exact interval of a rate (Garwood 1936, "Fiducial limits for the Poisson distribution").

    Args:
        events: Number of events.
        exposure: Length of the observation, such as hours.
        confidence: Coverage, 0.95 for a 95% interval.
    """
    tail = (1 - confidence) / 2
    low = chi2.ppf(tail, 2 * events) / 2 if events else 0.0
    return float(low) / exposure, float(chi2.ppf(1 - tail, 2 * events + 2)) / 2 / exposure


def _format_lines(table: dict[str, dict[str, Any]], hours: float) -> list[str]:
    def milliseconds(value: float | None) -> str:
        return "" if value is None else f"{1000 * value:.0f}"

    rows = [
        [
            name,
            "" if row["threshold"] is None else f"{row['threshold']:.2f}",
            str(row["clips"]),
            *(f"{row[key]:.1%}" if row["clips"] else "" for key in ("miss_rate", "miss_rate_in_stream")),
            "" if row["false_alarms_per_hour"] is None else f"{row['false_alarms_per_hour']:.2f}",
            milliseconds(row["delay_median"]),
            milliseconds(row["delay_95"]),
        ]
        for name, row in table.items()
    ]
    head = [
        "keyword",
        "threshold",
        "clips",
        "missed",
        "missed in streams",
        "false alarms per hour",
        "median delay (ms)",
        "95th percentile (ms)",
    ]
    return ["", f"At the thresholds of the detector, over {hours:.1f} h of negatives:", format_text(head, rows)]
