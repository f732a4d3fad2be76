"""Evaluation of keyword spotters: misses, false alarms and delays."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_speech.data.augmentation import Conditions
from hf_speech.evaluation.detection import detector_details, poisson_interval
from hf_speech.inference import DetectorOptions
from hf_speech.inference.prediction import Prediction
from hf_speech.tasks import get_task

RATE, FRAME = 8000, 800
LABELS = ("other", "yes", "no")


def logits(*events: tuple[int, str], frames: int = 30) -> np.ndarray:
    """Returns logits that are certain of a keyword at some frames and uncertain elsewhere."""
    scores = np.zeros((frames, 3), dtype=np.float32)
    scores[:, 0] = 8
    for frame, keyword in events:
        scores[frame] = 8 * np.eye(3)[LABELS.index(keyword)]
    return scores


class LoudIsYes:
    """A stream that finds "yes" in loud frames, at most `at_most` times."""

    name, task = "spotter", get_task("keyword-spotting")
    sampling_rate, samples_per_frame, labels, latency = RATE, FRAME, LABELS, 0.15

    def __init__(self, at_most: int = 1000) -> None:
        self.at_most = at_most
        self.reset()

    def find_file(self, name: str) -> None:
        return None

    def reset(self) -> None:
        self.found = 0

    def accept(self, samples: np.ndarray) -> np.ndarray:
        frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
        loud = np.flatnonzero(np.abs(frames).max(axis=1) > 0.7)[: self.at_most - self.found].tolist()
        self.found += len(loud)
        return logits(*((frame, "yes") for frame in loud), frames=len(frames))

    def finish(self) -> np.ndarray:
        return logits(frames=0)


@pytest.fixture
def loaded(tmp_path: Path) -> Any:
    DetectorOptions({"yes": 2.0, "no": 3.0}, smoothing_frames=1, refractory_frames=5).save(tmp_path)
    return SimpleNamespace(
        name="spotter",
        task=get_task("keyword-spotting"),
        labels=LABELS,
        sampling_rate=RATE,
        samples_per_frame=FRAME,
        stream=LoudIsYes,
        find_file=lambda name: file if (file := tmp_path / name).is_file() else None,
    )


def details(
    loaded: Any, clips: list[tuple[str, np.ndarray | None, str | None]], conditions: Conditions | None = None
) -> tuple[dict[str, Any], list[str]]:
    references, scores, sources = (list(column) for column in zip(*clips, strict=True))
    predictions = [Prediction(index, one, 360.0) for index, one in enumerate(scores)]
    return detector_details(loaded, [], references, predictions, sources, conditions)


def test_counts_misses_false_alarms_and_delays(loaded: Any, tmp_path: Path) -> None:
    # A word of a second, and silence with a little noise.
    time = np.arange(3 * RATE) / RATE
    word = np.where(time < 1, np.sin(2 * np.pi * 300 * time), 0.001 * np.sin(2 * np.pi * 50 * time))
    soundfile.write(tmp_path / "word.wav", word, RATE)
    source = str(tmp_path / "word.wav")
    found, lines = details(
        loaded,
        [
            ("yes", logits((11, "yes"), (20, "yes")), source),  # known at 1.2 s, and 0.05 s more
            ("yes", logits((11, "no"), (13, "yes")), source),  # the other keyword's refractory time
            ("no", logits((14, "no")), source),
            ("no", None, None),
            ("other", logits((3, "no"), (10, "yes"), (20, "no")), None),
            ("other", logits(), None),
        ],
    )
    table = found["detector"]["keywords"]
    assert found["detector"]["negative_hours"] == pytest.approx(0.2)
    assert [(table[name]["clips"], table[name]["missed"]) for name in table] == [(2, 1), (1, 0), (3, 1)]
    assert [table[name]["false_alarms"] for name in ("yes", "no", "all")] == [1, 2, 3]
    assert table["no"]["false_alarms_per_hour"] == pytest.approx(10)
    assert table["yes"]["delay_median"] == pytest.approx(0.25, abs=0.03)
    assert table["no"]["delay_95"] == pytest.approx(0.55, abs=0.03)
    assert table["all"]["delay_median"] == pytest.approx(0.40, abs=0.03)
    low, high = table["all"]["miss_rate_interval"]
    assert 0 < low < 1 / 3 < high < 1
    assert table["yes"]["threshold"] == 2.0
    assert "33.3%" in lines[-1]


def test_detects_consecutive_keywords(loaded: Any, tmp_path: Path) -> None:
    sound = np.full(2 * RATE, 0.01)
    sound[RATE : RATE + FRAME] = 0.9
    soundfile.write(tmp_path / "yes.wav", sound, RATE)
    clips: list[tuple[str, np.ndarray | None, str | None]]
    clips = [("yes", logits((10, "yes")), str(tmp_path / "yes.wav"))] * 12
    for at_most, missed in ((1000, 0.0), (1, 10 / 12)):  # streams of ten clips and of two
        loaded.stream = lambda at_most=at_most: LoudIsYes(at_most)
        table = details(loaded, clips)[0]["detector"]["keywords"]
        assert table["yes"]["miss_rate"] == 0
        assert table["yes"]["miss_rate_in_stream"] == pytest.approx(missed)
        assert table["all"]["miss_rate_in_stream"] == pytest.approx(missed)
        assert table["no"]["miss_rate_in_stream"] == 0


def test_streams_have_the_noise_of_the_clips(loaded: Any, tmp_path: Path) -> None:
    quiet, loud = np.zeros(2 * RATE), np.full(2 * RATE, 0.9)
    quiet[::FRAME] = 0.01  # `LoudIsYes` hears a keyword in the noise only.
    for name, sound in (("yes.wav", quiet), ("noise/loud.wav", loud)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, sound, RATE)
    clips: list[tuple[str, np.ndarray | None, str | None]] = [("yes", logits((10, "yes")), str(tmp_path / "yes.wav"))]
    noise = Conditions(noise_folder=str(tmp_path / "noise"), noise_snr=-80.0)
    for conditions, missed in ((None, 1.0), (noise, 0.0)):
        table = details(loaded, clips, conditions)[0]["detector"]["keywords"]
        assert table["yes"]["miss_rate_in_stream"] == missed


def test_counts_misses_at_a_rate_relative_to_the_thresholds(loaded: Any) -> None:
    """No common threshold works: false alarms of one keyword have the scores of the other's clips."""
    clip = {"correct": True, "is_keyword": True, "duration": 1.0}
    records = [{**clip, "reference": word, "peaks": [[word, 9, score]]} for word, score in (("yes", 2.5), ("no", 9.0))]
    records.append({**clip, "is_keyword": False, "reference": "other", "duration": 3600.0, "peaks": [["no", 9, 2.9]]})
    metrics = {}
    for thresholds in ({"yes": 2.0, "no": 3.0}, {}):
        DetectorOptions(thresholds).save(loaded.find_file(DetectorOptions.FILE).parent)
        own = [dict(record) for record in records]
        curve = detector_details(loaded, own, ["other"], [Prediction(0, logits(), 360.0)], [None])[0]["curve"]
        rates = loaded.task.metrics_from_counts(loaded.task.tally(own).sum(axis=0))
        metrics[bool(thresholds)] = float(rates["miss_rate_0.5"])
        assert any(
            point["false_alarms_per_hour"] == 0 and point["miss_rate"] == rates["miss_rate_0.5"] for point in curve
        )
    assert metrics == {True: 0.0, False: 0.5}


def test_reports_only_the_curve_without_thresholds(loaded: Any, tmp_path: Path) -> None:
    (tmp_path / DetectorOptions.FILE).unlink()
    found, lines = details(loaded, [("other", logits(), None)])
    assert (set(found), lines) == ({"curve"}, [])


@pytest.mark.parametrize(
    ("events", "hours", "expected"), [(0, 1, (0, 3.689)), (5, 1, (1.623, 11.668)), (5, 10, (0.1623, 1.1668))]
)
def test_confidence_interval_of_a_rate(events: int, hours: float, expected: tuple[float, float]) -> None:
    assert poisson_interval(events, hours) == pytest.approx(expected, abs=1e-3)
