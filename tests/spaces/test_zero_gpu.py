"""ZeroGPU, simulated by a package `spaces` that records which functions need a GPU, and when they run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def log(space_module: Callable[[str, str], Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The log of the decorator, on a simulated ZeroGPU machine that computes on its CPU."""
    events: list[str] = []

    def decorate(duration: int) -> Any:
        def wrap(function: Any) -> Any:
            events.append(f"{function.__name__} up to {duration} s")

            def run(*arguments: Any) -> Any:
                assert all(isinstance(value, np.ndarray) for value in arguments[0].values())  # Must be picklable.
                events.append("run")
                return function(*arguments)

            return run

        return wrap

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lambda duration: decorate(duration)))  # type: ignore[arg-type]
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    zero_gpu = space_module("transcribe", "zero_gpu")
    assert (zero_gpu.IS_HERE, zero_gpu.DEVICE) == (True, "cuda")
    monkeypatch.setattr(zero_gpu, "DEVICE", "cpu")
    return events


def test_files_use_the_gpu_and_live_recordings_do_not(
    log: list[str], space_module: Callable[[str, str], Any], beeps_run: Path, make_beeps: Any
) -> None:
    recognizer = space_module("transcribe", "recognizer").SpaceRecognizer(beeps_run)
    assert log == ["_compute up to 30 s"]
    sound = make_beeps("abc cab")
    assert [word.text for word in recognizer.words(sound, False)] == ["abc", "cab"]
    assert log[1:] == ["run"]
    listener = recognizer.listen()
    listener.accept(np.round(32767 * sound).astype(np.int16), 8000)
    assert listener.finish() == "abc cab"
    assert log[1:] == ["run"]


def test_a_classifier_uses_the_gpu(
    log: list[str], space_module: Callable[[str, str], Any], tones_run: Path, make_tone: Any
) -> None:
    settings = space_module("classify", "settings").Settings(str(tones_run))
    classifier = space_module("classify", "classifier").Classifier(tones_run, settings, None)
    assert log == ["_compute up to 30 s"]
    ranking, _ = classifier._answer(make_tone(0.5, 300.0, 8000, 0.3))
    assert ranking[0][0] == "low"
    assert log[1:] == ["run"]


def test_no_effect_without_zero_gpu(space_module: Callable[[str, str], Any]) -> None:
    zero_gpu = space_module("transcribe", "zero_gpu")
    model = object()
    assert zero_gpu.on_gpu(print) is print
    assert zero_gpu.gpu_model(model) is model
