"""Validation of pieces of live recordings."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gradio", reason="the Spaces need gradio: pip install 'hf_speech[demo]'")
TEXT = "abc cab"


@pytest.fixture
def module(space_module: Callable[[str, str], Any]) -> ModuleType:
    return space_module("transcribe", "transcriber")


@pytest.fixture
def transcriber(module: ModuleType, space_module: Callable[[str, str], Any], beeps_run: Path, tmp_path: Path) -> Any:
    settings = space_module("transcribe", "settings").Settings(str(beeps_run), max_seconds=5)
    return module.Transcriber(beeps_run, settings, space_module("transcribe", "uploads").Uploads(60, 1e6, tmp_path))


def piece(samples: np.ndarray, number: int = 0, last: bool = False, rate: Any = 8000, **changes: Any) -> dict[str, Any]:
    content = base64.b64encode(np.round(32767 * samples).astype("<i2").tobytes()).decode()
    return {"piece": number, "rate": rate, "samples": content, "last": last} | changes


def test_transcribes_pieces(transcriber: Any, make_beeps) -> None:
    sound, listener = make_beeps(TEXT), None
    half = len(sound) // 2
    answer, listener = transcriber.listen(piece(sound[:half]), listener)
    assert (answer["piece"], answer["last"]) == (0, False)
    assert TEXT.startswith(answer["text"])
    answer, listener = transcriber.listen(piece(sound[half:], 1, True), listener)
    assert answer["text"] == TEXT
    assert listener is None
    with pytest.raises(ValueError, match="recording has ended"):
        transcriber.listen(piece(sound, 2), None)


def test_the_limit_includes_all_pieces(transcriber: Any) -> None:
    second, listener = np.zeros(8000), None
    for number in range(5):
        _, listener = transcriber.listen(piece(second, number), listener)
    with pytest.raises(ValueError, match="longer than 5 seconds: start a new one"):
        transcriber.listen(piece(second, 5), listener)
    with pytest.raises(ValueError, match="longer than 5 seconds"):
        transcriber.listen(piece(np.zeros(6 * 8000), 0, True), None)


@pytest.mark.parametrize(
    "change",
    [
        *({"rate": rate} for rate in (0, 7, -1, 800_000, 10**15, 10**30, 1e308, float("nan"), "16000", None, [], True)),
        *({"piece": number} for number in (-1, 1.5, 10**30, None, "0", True, [0])),
        *({"last": last} for last in (None, 1, "true", [])),
        *({"samples": samples} for samples in (None, 5, [], {}, "abc", "====", "é", "AAA=\n", "QQ==", "A" * 6_000_000)),
    ],
)
def test_one_sentence_error_for_malformed_pieces(transcriber: Any, change: dict[str, Any]) -> None:
    good = piece(np.zeros(800))
    missing = {name: value for name, value in good.items() if name not in change}
    for event in (good | change, missing):
        with pytest.raises(ValueError, match=r"\.$"):
            transcriber.listen(event, None)


@pytest.mark.parametrize("event", [None, 5, "text", [], [1], {}, {"piece": 0}, float("nan")])
def test_one_sentence_error_for_invalid_events(transcriber: Any, event: Any) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        transcriber.listen(event, None)


@pytest.mark.parametrize("format", ["doc", "", None, 5, ["srt"], {"srt": 1}, "SRT"])
def test_rejects_other_formats(transcriber: Any, format: Any) -> None:
    with pytest.raises(ValueError, match="choose from txt, srt, vtt, json"):
        transcriber.subtitles("anything", format)


@pytest.mark.parametrize("number", [-1, 1 << 31, 10**30, 0.0, True, None, "0", [0]])
def test_does_not_echo_invalid_piece_numbers(module: ModuleType, number: Any) -> None:
    """The JSON of the answer supports only integers of up to 64 bits."""
    assert module.piece_number({"piece": number}) is None
    assert module.piece_number([number]) is None
    assert module.piece_number({"piece": 7}) == 7
