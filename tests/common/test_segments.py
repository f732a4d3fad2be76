"""Segments of speech from probabilities, in streams, and as text."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hf_speech.common.segments import (
    Segment,
    SegmentDecoder,
    SegmentOptions,
    find_segments,
    format_segments,
    overlap,
    parse_segments,
)
from hf_speech.errors import CorpusError

STEP = 0.02


def frames(pattern: str) -> np.ndarray:
    """Returns a probability for each character: # is speech."""
    return np.array([0.9 if mark == "#" else 0.1 for mark in pattern])


@pytest.mark.parametrize(
    ("pattern", "options", "expected"),
    [
        ("..####....", {}, "0.04-0.12"),
        ("..##.##...", {"min_silence": 0.04}, "0.04-0.14"),
        ("..##..##..", {"min_silence": 0.04}, "0.04-0.08 0.12-0.16"),
        ("..#....###", {"min_speech": 0.05}, "0.14-0.2"),
        ("#########.", {}, "0-0.18"),
        ("..........", {}, "none"),
        ("..##....##", {"padding": 0.02, "min_silence": 0.06}, "0.02-0.1 0.14-0.2"),
        ("..##...##.", {"padding": 0.04, "min_silence": 0.06}, "0-0.2"),
        ("..##......", {"threshold": 0.95}, "none"),
    ],
)
def test_segments_follow_the_duration_rules(pattern: str, options: dict[str, float], expected: str) -> None:
    rules = SegmentOptions(**{"min_silence": 0.02, "min_speech": 0.0, **options})
    assert format_segments(find_segments(frames(pattern), STEP, rules)) == expected


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("padding", [0.0, 0.05])
def test_a_stream_has_the_segments_of_the_whole_recording(size: int, padding: float) -> None:
    rng = np.random.default_rng(1)
    probabilities = np.repeat(rng.random(60), rng.integers(1, 9, 60))
    options = SegmentOptions(min_silence=0.06, min_speech=0.04, padding=padding)
    decoder = SegmentDecoder(STEP, options)
    for _ in range(2):
        found: list[Segment] = []
        for start in range(0, len(probabilities), size):
            found += decoder.accept(probabilities[start : start + size])
        found += decoder.finish()
        assert found == find_segments(probabilities, STEP, options)
        assert len(found) > 5
        assert all(one.end < other.start for one, other in itertools.pairwise(found))
        decoder.reset()


@pytest.mark.parametrize(("padding", "frames_later"), [(0.0, 3), (0.04, 5)])
def test_returns_a_segment_once_it_is_final(padding: float, frames_later: int) -> None:
    decoder = SegmentDecoder(STEP, SegmentOptions(min_silence=0.06, padding=padding))
    given = [decoder.accept(frames(mark)) for mark in "..######..........##"]
    assert [index for index, found in enumerate(given) if found] == [7 + frames_later]


def test_format_and_parse_round_trip() -> None:
    segments = [Segment(0.0, 0.31), Segment(12.5, 3600.25)]
    assert format_segments(segments) == "0-0.31 12.5-3600.25"
    assert parse_segments(format_segments(segments)) == segments
    assert parse_segments(format_segments([])) == []


@pytest.mark.parametrize("text", ["1", "a-b", "2-1", "1-3 2-4", "-1-2", "0-inf", "nan-1"])
def test_rejects_invalid_segments(text: str) -> None:
    with pytest.raises(CorpusError, match="is not a segment"):
        parse_segments(text)


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [("0-1", "2-3", 0), ("0-2", "1-3", 1), ("0-1 2-3 4-5", "0.5-4.5", 2), ("0-5", "1-2 3-4", 2), ("none", "0-1", 0)],
)
def test_overlap_of_segments(one: str, other: str, seconds: float) -> None:
    first, second = parse_segments(one), parse_segments(other)
    assert overlap(first, second) == overlap(second, first) == seconds
