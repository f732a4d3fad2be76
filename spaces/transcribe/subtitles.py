"""Words in time as files to take along: plain text, SubRip (srt), WebVTT (vtt), and JSON for programs.

A cue is what is on the screen at once: as many words as fit into its lines and its time, up to a pause. It stays long
enough to be read and never overlaps the next one. The files are those of `hf-speech transcribe`; a test compares them.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoding import Word

MAX_LINE_LENGTH, MAX_LINES = 42, 2
MAX_DURATION, MIN_DURATION, MAX_PAUSE = 7.0, 0.8, 1.5  # seconds


@dataclass(frozen=True)
class Cue:
    """Lines of text, and when they are shown.

    Attributes:
        start: Milliseconds from the start of the sound.
        end: The same, always after `start` and never after the next cue's.
        lines: The text.
    """

    start: int
    end: int
    lines: tuple[str, ...]


def make_cues(words: Sequence[Word]) -> list[Cue]:
    """Shares words out among cues."""
    groups: list[list[Word]] = []
    for word in words:
        if groups and _fits(word, groups[-1]):
            groups[-1].append(word)
        else:
            groups.append([word])
    starts: list[int] = []
    for group in groups:
        starts.append(max(_milliseconds(group[0].start), starts[-1] + 1 if starts else 0))
    cues = []
    for index, (start, group) in enumerate(zip(starts, groups, strict=True)):
        end = max(_milliseconds(group[-1].end), start + _milliseconds(MIN_DURATION))
        latest = starts[index + 1] if index + 1 < len(starts) else end
        cues.append(Cue(start, min(end, start + _milliseconds(MAX_DURATION), latest), tuple(_wrap(group))))
    return cues


def to_txt(words: Sequence[Word]) -> str:
    """The text alone."""
    return " ".join(word.text for word in words) + "\n"


def to_srt(words: Sequence[Word]) -> str:
    """A SubRip file; the format has no way to escape, so the text is as it is."""
    return "\n".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(make_cues(words), start=1)
    )


def to_vtt(words: Sequence[Word]) -> str:
    """A WebVTT file; `&`, `<` and `>` are escaped, since it reads them as markup."""
    blocks = (
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n" + html.escape("\n".join(cue.lines), quote=False) + "\n"
        for cue in make_cues(words)
    )
    return "\n".join(["WEBVTT\n", *blocks])


def to_json(words: Sequence[Word]) -> str:
    """The text, and the words with their times in seconds (to the millisecond) and confidences, as JSON."""
    rows = [
        {
            "text": word.text,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in words
    ]
    content = {"text": " ".join(word.text for word in words), "words": rows}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


WRITERS: dict[str, Callable[[Sequence[Word]], str]] = {"txt": to_txt, "srt": to_srt, "vtt": to_vtt, "json": to_json}


def _fits(word: Word, group: list[Word]) -> bool:
    return (
        word.end - group[0].start <= MAX_DURATION
        and word.start - group[-1].end <= MAX_PAUSE
        and len(_wrap([*group, word])) <= MAX_LINES
    )


def _wrap(group: Sequence[Word]) -> list[str]:
    text = " ".join(word.text for word in group)
    return textwrap.wrap(text, MAX_LINE_LENGTH, break_long_words=False, break_on_hyphens=False)


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _time(milliseconds: int, point: str) -> str:
    """`HH:MM:SS` and milliseconds after the format's decimal point; hours may have more digits."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
