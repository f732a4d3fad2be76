"""The listener in JavaScript equals `Detector`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_models import sound as synthesize

from hf_speech.export.exporting import export_model
from hf_speech.inference import Detector, DetectorOptions, load_model
from hf_speech.publishing.web_page import served

RATE = 8000


@pytest.mark.parametrize(
    "options", [None, DetectorOptions({"high": 0.3, "low": 1.5}, smoothing_frames=1, refractory_frames=4)]
)
def test_events_equal_those_of_python(run: Any, spotter: Path, tmp_path: Path, options: DetectorOptions | None) -> None:
    if options is not None:
        options.save(spotter, origin="a test")
    export_model(load_model(spotter, "cpu"), tmp_path / "onnx", int8=False)
    samples = np.concatenate([synthesize(2.0, seed) for seed in range(8)])
    pieces = np.split(samples, [1, 160, 4000, 4001, 40_000])
    detector = Detector(load_model(spotter, "cpu"))
    expected = list(detector.listen(pieces))
    assert {event.keyword for event in expected} == {"high", "low"}
    assert Detector(tmp_path / "onnx").options == detector.options
    with served(tmp_path / "onnx") as url:
        answer = run("listen", url=url, pieces=[piece.tolist() for piece in pieces], rate=RATE)
    assert answer["keywords"] == list(detector.keywords)
    for events in (answer["events"], answer["whole"]):
        for event, same in zip(events, expected, strict=True):
            assert (event["keyword"], event["time"]) == (same.keyword, pytest.approx(same.time))
            assert event["score"] == pytest.approx(same.score, abs=1e-2)
