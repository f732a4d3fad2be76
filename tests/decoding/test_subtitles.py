"""Subtitles: limits, increasing times, and valid files."""

from __future__ import annotations

import html
import json
import random
import re
from itertools import pairwise

import pytest

from hf_speech.common.text import column_width
from hf_speech.decoding.hypothesis import Word
from hf_speech.decoding.subtitles import Cue, make_cues, to_json, to_srt, to_vtt
from hf_speech.errors import HFSpeechError


def speak(text: str, seconds: float = 0.3, pause: float = 0.1, start: float = 0.0) -> list[Word]:
    """Returns words of equal duration with equal pauses between them."""
    return [
        Word(word, start + i * (seconds + pause), start + i * (seconds + pause) + seconds, 0.9)
        for i, word in enumerate(text.split())
    ]


def test_fills_the_lines_of_a_cue():
    cues = make_cues(speak("one two three four five six seven"), max_line_length=9, max_lines=2, min_duration=0)
    assert [cue.lines for cue in cues] == [("one two", "three"), ("four five", "six seven")]
    assert [(cue.start, cue.end) for cue in cues] == [(0, 1100), (1200, 2700)]


def test_a_long_word_has_its_own_line():
    cues = make_cues(speak("an incomprehensible-word it is"), max_line_length=8, max_lines=3)
    assert [cue.lines for cue in cues] == [("an", "incomprehensible-word", "it is")]


@pytest.mark.parametrize(
    ("letters", "columns"),
    [("今天天气真好我们去公园吧", 2), ("ขอบคุณครับสวัสดี", 1), ("これはテストです", 2), ("ﾃｽﾄﾃﾞｽ", 1)],
)
def test_wraps_scripts_without_spaces(letters: str, columns: int):
    """For a word of one minute: lines of 42 columns, no cue over 7 s, and no gaps."""
    text = letters * 100
    cues = make_cues([Word(text, 5.0, 65.0, 0.9)])
    lines = [line for cue in cues for line in cue.lines]
    assert "".join(lines) == text
    assert max(column_width(line) for line in lines) in range(42 - 2 * columns, 43)
    assert max(len(cue.lines) for cue in cues) <= 2
    assert max(cue.end - cue.start for cue in cues) <= 7000
    assert cues[0].start == 5000
    assert all(after.start - before.end <= 1 for before, after in pairwise(cues))
    assert 65_000 <= cues[-1].end <= 65_800


def test_measures_lines_in_columns():
    words = speak("東京 と 大阪 a\u0301b")
    assert make_cues(words, max_line_length=7, min_duration=0)[0].lines == ("東京 と", "大阪 a\u0301b")
    cues = make_cues(words, max_line_length=6, min_duration=0)
    assert [cue.lines for cue in cues] == [("東京", "と"), ("大阪", "a\u0301b")]


def test_a_pause_inside_a_word_ends_a_cue():
    tokens = (("今", 1.0, 1.1), ("天", 1.2, 1.3), ("好", 9.0, 9.1))
    cues = make_cues([Word("今天好", 1.0, 9.1, 0.9, tokens)])
    assert cues == [Cue(1000, 1800, ("今天",)), Cue(9000, 9800, ("好",))]


def test_a_pause_ends_a_cue_and_a_shorter_one_does_not():
    words = [*speak("one two"), *speak("three", start=2.0)]
    assert len(make_cues(words, max_pause=1.29)) == 2
    assert len(make_cues(words, max_pause=1.31)) == 1


def test_no_cue_is_longer_than_allowed():
    words = speak(" ".join(["word"] * 40))
    cues = make_cues(words, max_line_length=1000, max_duration=2.0)
    assert max(cue.end - cue.start for cue in cues) <= 2000
    # Five words take 1.9 s.
    assert [len(cue.lines[0].split()) for cue in cues] == [5] * 8
    assert make_cues([Word("endless", 1.0, 60.0, 0.5)], max_duration=2.0) == [Cue(1000, 3000, ("endless",))]


def test_short_cues_stay_as_long_as_the_next_one_allows():
    words = [Word("one", 0.0, 0.1, 0.9), Word("two", 0.5, 0.6, 0.9), Word("three", 5.0, 5.1, 0.9)]
    cues = make_cues(words, max_pause=0.0, min_duration=0.8)
    assert [(cue.start, cue.end) for cue in cues] == [(0, 500), (500, 1300), (5000, 5800)]


def test_times_never_decrease():
    rng = random.Random(0)
    for _ in range(50):
        words = [Word("a", start, start + rng.choice([0, 1e-5, 0.4]), 0.5) for start in (rng.random(),) * 3]
        words += [Word("b", start, start - rng.random(), 0.5) for start in sorted(rng.random() for _ in range(5))]
        cues = make_cues(
            words, max_line_length=1, max_lines=1, max_pause=rng.random(), min_duration=rng.choice([0, 0.8])
        )
        times = [time for cue in cues for time in (cue.start, cue.end)]
        assert times == sorted(times)
        assert all(cue.start < cue.end for cue in cues)
        assert " ".join(line for cue in cues for line in cue.lines) == " ".join(word.text for word in words)


def test_srt_can_be_read_again():
    cues = [
        Cue(0, 999, ("one & two",)),
        Cue(59_999, 3_600_000, ("three", "four")),
        Cue(360_000_001, 360_000_002, ("x",)),
    ]
    text = to_srt(cues)
    assert text.startswith(
        "1\n00:00:00,000 --> 00:00:00,999\none & two\n\n2\n00:00:59,999 --> 01:00:00,000\nthree\nfour\n"
    )
    blocks = [block.split("\n") for block in text.strip().split("\n\n")]
    assert [int(block[0]) for block in blocks] == [1, 2, 3]
    assert [read_cue(block[1], block[2:], ",") for block in blocks] == cues


def test_vtt_can_be_read_again():
    cues = [Cue(5, 999, ("R&B <unk>", "--> 'here'")), Cue(59_999, 3_600_000, ("three",))]
    text = to_vtt(cues)
    head, *blocks = text.strip().split("\n\n")
    assert head == "WEBVTT"
    assert "R&amp;B &lt;unk&gt;\n--&gt; 'here'\n" in text
    lines = [html.unescape(block).split("\n") for block in blocks]
    assert [read_cue(block[0], block[1:], ".") for block in lines] == cues


def read_cue(times: str, lines: list[str], point: str) -> Cue:
    match = re.fullmatch(
        rf"(\d\d+):(\d\d):(\d\d){re.escape(point)}(\d\d\d)"
        + r" --> "
        + rf"(\d\d+):(\d\d):(\d\d){re.escape(point)}(\d\d\d)",
        times,
    )
    assert match, times
    numbers = [int(number) for number in match.groups()]
    start, end = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (numbers[:4], numbers[4:]))
    return Cue(start, end, tuple(lines))


def test_json_keeps_words_times_and_confidences():
    words = [Word("füß", 0.12345, 0.5, 0.98765), Word('"b"', 0.6, 0.7, 1.0)]
    content = json.loads(to_json(words))
    assert content["text"] == 'füß "b"'
    assert content["words"][0] == {"text": "füß", "start": 0.123, "end": 0.5, "confidence": 0.9877}
    assert len(content["words"]) == 2
    assert "füß" in to_json(words)


def test_empty_transcripts():
    assert make_cues([]) == []
    assert make_cues([Word(" ", 0, 1, 0.5)]) == []
    assert (to_srt([]), to_vtt([]), json.loads(to_json([]))) == ("", "WEBVTT\n", {"text": "", "words": []})


@pytest.mark.parametrize(
    "limits",
    [{"max_line_length": 0}, {"max_lines": 0}, {"max_duration": 0.0, "min_duration": 0.0}, {"max_duration": 0.5}],
)
def test_rejects_impossible_limits(limits):
    with pytest.raises(HFSpeechError, match="No subtitle fits"):
        make_cues([], **limits)


@pytest.mark.parametrize(
    "text",
    ["00:00:01,000 --> 00:00:02,000", "a\n\nb", "a\n\n2\n00:00:01,000 --> 00:00:02,000\nb", "\u2028--> x", "<v Bob>"],
)
def test_escapes_text_that_resembles_a_cue(text: str) -> None:
    cues = [Cue(0, 1000, (text, "x")), Cue(2000, 3000, ("y",))]
    for written, point in ((to_srt(cues), ","), (to_vtt(cues), ".")):
        blocks = written.removeprefix("WEBVTT\n\n").strip().split("\n\n")
        assert len(blocks) == 2
        assert written.count("-->") == 2
        assert f"00:00:02{point}000 --> 00:00:03{point}000\ny" in blocks[1]
